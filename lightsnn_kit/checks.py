"""Names that users type, and what to say of one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: object, known: Iterable[str], more: str = "") -> ValueError:
    """The error for a name that is not among those known, with the nearest of them if one is near.

    >>> print(unknown("theme", "drak", ["light", "dark"]))
    unknown theme 'drak'; expected one of light, dark. Did you mean 'dark'?
    """
    known = [str(one) for one in known]
    return ValueError(f"unknown {what} {name!r}; expected one of {', '.join(known)}{more}.{nearest(name, known)}")


def nearest(name: object, known: Iterable[str]) -> str:
    """`` Did you mean …?`` for the known name nearest to one that is not, nothing if none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
