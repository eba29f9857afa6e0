"""What users type: names that are known or not, and numbers in any of the types that mean one."""

from __future__ import annotations

import contextlib
import difflib
import math
import operator
import re
import reprlib
import warnings
from collections.abc import Container, Iterable, Mapping


def unknown(what: str, name: object, known: Iterable[str], more: str = "") -> ValueError:
    """The error for a name that is not among those known, with the nearest of them if one is near.

    >>> print(unknown("theme", "drak", ["light", "dark"]))
    unknown theme 'drak'; expected one of light, dark. Did you mean 'dark'?
    """
    known = [str(one) for one in known]
    return ValueError(f"unknown {what} {shown(name)}; expected one of {', '.join(known)}{more}.{nearest(name, known)}")


class NotRegisteredError(ValueError):
    """A name of something of your own that this process does not know."""


def not_registered(what: str, name: object, known: Iterable[str], how: str) -> NotRegisteredError:
    """``unknown`` for names that users may add: ``how`` is the function that makes one known.

    >>> print(not_registered("neuron", "plif", ["lif"], "register_neuron"))
    unknown neuron 'plif'; expected one of lif, or register_neuron() it in this process. Did you mean 'lif'?
    """
    return NotRegisteredError(unknown(what, name, known, f", or {how}() it in this process"))


def check_new(
    what: str, name: object, made: object, *, known: Container[str], kept: Container[str] = (), replace: bool = False
) -> None:
    """Refuse a name that cannot be given to something of a user's own, which must be callable.

    ``TypeError`` for other than a text and a function; ``ValueError`` for a name that is malformed, one of the kit's
    own (``kept``), or taken while ``replace`` is not set.
    """
    if not isinstance(name, str) or not callable(made):
        raise TypeError(f"expected a name and a function for the {what}, got {shown(name)} and {shown(made)}.")
    if not re.fullmatch("[a-z][a-z0-9_-]{0,39}", name):
        raise ValueError(f"a name is of a-z, 0-9, _ and -, and begins with a letter; got {shown(name)}.")
    if name in kept:
        raise ValueError(f"the {what} {name!r} is the kit's own and stays as it is; choose another name.")
    if name in known and not replace:
        raise ValueError(f"the {what} {name!r} exists already; choose another name, or pass replace=True.")


def tell_once(text: str) -> None:
    """Warn, once in a process for each text."""
    if text not in _told:
        _told.add(text)
        warnings.warn(text, UserWarning, stacklevel=3)


_told: set[str] = set()


def shown(value: object) -> str:
    """A value as a message shows it: never longer than a few lines, however long or deeply nested it is.

    >>> shown("skip"), len(shown("-" * 10**6)) < 300, shown([[[[[[[[0]]]]]]]])
    ("'skip'", True, '[[[[[[...]]]]]]')
    """
    try:
        text = _SHORT.repr(value)
    except Exception:  # whatever the value's own repr does, the message is about the value
        text = f"a {type(value).__name__}"
    return text if len(text) <= 400 else f"{text[:300]} … {text[-80:]}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


def nearest(name: object, known: Iterable[str]) -> str:
    """A space and ``Did you mean …?`` for the known name nearest to one that is not, nothing if none is near."""
    near = difflib.get_close_matches(name if isinstance(name, str) else shown(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def whole(name: str, value: object, *, low: int = 1, high: float = math.inf) -> int:
    """A whole number as a plain ``int``: Python's, NumPy's or torch's, also as an array of one value and no dimension.

    ``ValueError`` for another type (booleans and floats too) and outside ``low`` to ``high``.

    >>> import numpy as np
    >>> whole("num_classes", np.uint8(9)), whole("epochs", np.array(4))
    (9, 4)
    """
    try:
        number = operator.index(value)  # a float is refused: 2.5 epochs would become 2
    except TypeError:
        number = None
    if number is None or _is_bool(value) or not low <= number <= high:
        limits = f"of {low} or more" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, got {shown(value)}.")
    return number


def real(name: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number as a plain ``float``: Python's, NumPy's or torch's, also as an array of no dimension.

    ``ValueError`` for another type (booleans and text too), NaN, infinity, and outside ``low`` to ``high``.

    >>> import numpy as np
    >>> real("tau", np.float32(2.5)), real("dropout", 0)
    (2.5, 0.0)
    """
    number = math.nan
    if not isinstance(value, str | bytes) and not _is_bool(value):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            number = float(value)
    if not (math.isfinite(number) and low <= number <= high):
        limits = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
        raise ValueError(f"{name} must be a finite number{limits}, got {shown(value)}.")
    return number


def flag(name: str, value: object) -> bool:
    """Yes or no as a plain ``bool``: Python's or NumPy's, 0 or 1; ``ValueError`` for texts such as "no" and all else.

    >>> flag("flip", 0), flag("flip", True)
    (False, True)
    """
    if _is_bool(value) and not getattr(value, "shape", ()):
        return bool(value)
    with contextlib.suppress(TypeError):
        if operator.index(value) in (0, 1):
            return bool(value)
    raise ValueError(f"{name} must be True or False, got {shown(value)}.")


def make_plain(settings: object, *, wholes: Mapping[str, int], reals: Mapping[str, tuple[float, float]]) -> None:
    """Make numbers of a frozen dataclass plain ones, in place; ``ValueError`` names the field that is none.

    ``wholes``: the lowest value of each whole number; ``reals``: the lowest and highest of each other one.
    """
    found = {name: whole(name, getattr(settings, name), low=low) for name, low in wholes.items()}
    found |= {name: real(name, getattr(settings, name), low=low, high=high) for name, (low, high) in reals.items()}
    for name, value in found.items():
        object.__setattr__(settings, name, value)


def listed(value: object) -> list:
    """The entries of a list, tuple or array; a single value is one entry.

    >>> listed((3, 8)), listed(0.5)
    ([3, 8], [0.5])
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's or torch's, without importing either
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_bool(value: object) -> bool:
    return "bool" in str(getattr(value, "dtype", type(value).__name__))  # Python's, NumPy's, torch's
