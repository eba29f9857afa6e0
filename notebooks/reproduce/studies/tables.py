"""Numbers, intervals and tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with a real minus sign; a dash where there is none.

    >>> number(-0.5), number(None), number(0.25, 1, sign=True)
    ('−0.50', '–', '+0.2')
    """
    return "–" if value is None else f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return (
        "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        .replace("| --- |", "|---|", 1)
        .replace(" --: |", "--:|")
    )


def interval(low: float, high: float, digits: int = 2) -> str:
    """An interval, and a mark if it holds no 0; a dash where there is none."""
    if math.isnan(low):
        return "–"
    return f"{number(low, digits)} to {number(high, digits)}" + " ●" * (not low <= 0 <= high)
