"""Names that may be typed, refused before what they stand for is imported: torch alone takes seconds, or half a minute.

The tuples repeat the registries' own names (a test compares them). Where a registry is loaded already it is asked
itself, so that data sets and presets of your own count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ..checks import listed, unknown

PRESETS = ("cifar10", "cifar100", "dvs128-gesture", "fashion-mnist-small", "motion-dvs", "cifar10-small", "n-mnist")
PRESETS += ("braille", "digits")
DATASETS = (
    "braille",
    "cifar10",
    "cifar100",
    "digits",
    "digits-dvs",
    "dvs128-gesture",
    "event-folder",
    "fashion-mnist-small",
)
DATASETS += ("image-folder", "motion-dvs", "n-mnist", "npz")
VARIANTS = (
    "lightsnn",
    "forward",
    "snasnet-space",
    "snasnet-forward",
    "maxpool-space",
    "swap-score",
    "avg-pool",
    "max-pool",
)
VARIANTS += ("batch16", "small-gpu", "published")
PROXIES = ("sahd", "hd", "swap", "params", "convs", "firing_rate")


def check_names(**given: object) -> None:
    """Refuse names that nothing has: of a ``preset``, ``space``, ``proxy``, ``method``, of ``methods`` or ``others``.

    Other entries, and empty ones, are left alone. ``ValueError`` with the nearest name.

    >>> check_names(preset="digits+forward", methods=["lightsnn", "random"], space="", width=8)
    >>> check_names(method="balancd")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: unknown method 'balancd'; expected one of ... Did you mean 'balanced'?
    """
    from ..methods import METHODS  # with numpy
    from ..spaces import SPACES

    base, *variants = str(given.get("preset") or "").split("+")
    if base and base not in _loaded("data", "names", DATASETS):
        _refuse("preset", [base], _loaded("lab.presets", "PRESETS", PRESETS))
    _refuse("variant", variants, VARIANTS)
    _refuse("space", listed(given.get("space") or []), SPACES)
    _refuse("proxy", listed(given.get("proxy") or []), _loaded("scoring", "PROXIES", PROXIES))
    for entry in ("method", "methods", "others"):
        _refuse("method", listed(given.get(entry) or []), METHODS)


def _refuse(what: str, names: Iterable[object], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(what, name, known)


def _loaded(module: str, registry: str, names: tuple[str, ...]) -> Iterable[str]:
    """The names of a registry, from itself if it is loaded."""
    found = getattr(sys.modules.get(f"{__package__.partition('.')[0]}.{module}"), registry, names)
    return found() if callable(found) else found
