"""Is one method better than another? Differences of accuracy over seeds *and* test images, corrected for their number.

Rows tell, image by image, what was right (``right``). With D_si = 1, 0 or −1 for seed s and image i (first method right
and second wrong, equal, or the other way), both seeds and images are samples: other seeds, other images would give
another mean. The standard error of the mean over S seeds and I images counts both, from the mean squares of the two-way
table without repeats (G. W. Snedecor, W. G. Cochran, Statistical Methods):

``se² = max(MS_seeds + MS_images − MS_rest, MS_seeds, MS_images) / (S·I)``

t has S − 1 degrees of freedom, as if the seeds alone varied: Satterthwaite's many would trust a spread of seeds that is
small by chance, and p values small enough to survive a correction would come too often. A bootstrap over three seeds
would have a spread √(2/3) of the right one, and no heavy tail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.stats

from .results import Row


@dataclass(frozen=True)
class Comparison:
    """``first − second`` in shares of test images right: mean, 95 % interval, and p values.

    ``p`` is that of no difference; ``corrected`` is p by Holm's method among the comparisons made together (p itself
    for one alone). ``images`` tells over how many images; 0 where rows do not tell what was right, and the interval is
    over seeds alone. NaN where one value, or no spread at all, says nothing.
    """

    first: str
    second: str
    seeds: int
    images: int
    mean: float
    low: float
    high: float
    p: float
    corrected: float

    @property
    def decided(self) -> bool:
        """True if the difference is told from none at 5 %, all comparisons made together counted; never by one seed."""
        return self.corrected < 0.05 and self.seeds > 1


def right_of(row: Row) -> np.ndarray | None:
    """What was right, image by image, as 0 and 1; None for a row that does not tell."""
    return np.frombuffer(row["right"].encode(), np.uint8) - ord("0") if "right" in row else None


def mcnemar(first: Row, second: Row) -> float:
    """The exact two-sided p of McNemar's test for two networks on the same images (Psychometrika 12:153, 1947).

    Of b images that only the first has right and c that only the second has, b is Binomial(b + c, ½) if they are
    equally good. ``ValueError`` for rows that do not tell what was right, or of other images.

    >>> mcnemar({"right": "1111110"}, {"right": "0000010"})  # 5 of 5: 2 / 32
    0.0625
    """
    a, b = right_of(first), right_of(second)
    if a is None or b is None or len(a) != len(b):
        raise ValueError(
            f"McNemar's test needs two rows that tell what was right, of the same test images; got {_named(first)} and "
            f"{_named(second)}."
        )
    only_first, only_second = int((a > b).sum()), int((b > a).sum())
    if not only_first + only_second:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second).pvalue)


def compare(rows: Iterable[Row], pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
    """The comparisons of all pairs of methods that share a seed, corrected for their number.

    ``ValueError`` for rows of more than one preset, two of one method and seed, and rows that were not tested on the
    same samples (their numbers, ``test_sha256``, quick ones and stand-ins beside real ones).

    >>> rows = [{"preset": "p", "method": m, "seed": s, "test_accuracy": r.count("1") / 4, "right": r}
    ...         for m, s, r in [("a", 0, "1110"), ("a", 1, "1011"), ("b", 0, "0110"), ("b", 1, "1001")]]
    >>> [one] = compare(rows, [("a", "b"), ("a", "c")])
    >>> one.seeds, one.images, one.mean, one.decided
    (2, 4, 0.25, False)
    """
    rows = list(rows)
    if len(presets := sorted({str(row["preset"]) for row in rows})) > 1:
        raise ValueError(f"expected rows of one preset, got {', '.join(presets)}; compare each alone.")
    found = {(row["method"], row["seed"]): row for row in rows}
    if len(found) < len(rows):
        raise ValueError("expected one row of each method and seed; compare quick and whole runs each alone.")
    results = []
    for first, second in pairs:
        seeds = [seed for method, seed in found if method == first and (second, seed) in found]
        if seeds:
            results.append(_compared(first, second, [(found[first, s], found[second, s]) for s in seeds]))
    corrected = holm([one.p for one in results])
    return [replace(one, corrected=p) for one, p in zip(results, corrected, strict=True)]


def _compared(first: str, second: str, pairs: Sequence[tuple[Row, Row]]) -> Comparison:
    everyone = [row for pair in pairs for row in pair]
    for row in everyone[1:]:
        if wrong := [key for key in _TESTED if row.get(key) != everyone[0].get(key)]:
            raise ValueError(
                f"{_named(everyone[0])} and {_named(row)} were not tested alike: {wrong[0]} is "
                f"{everyone[0].get(wrong[0])!r} and {row.get(wrong[0])!r}; compare rows of one test part."
            )
    told = [(right_of(a), right_of(b)) for a, b in pairs]
    if all(a is not None and b is not None for a, b in told):
        table = np.array([a.astype(float) - b for a, b in told])  # [S, I]
    else:
        table = np.array([[a["test_accuracy"] - b["test_accuracy"]] for a, b in pairs])
    images = table.shape[1] if table.shape[1] > 1 else 0
    mean, (se, df) = float(table.mean()), standard_error(table)
    if not se > 1e-12:  # no spread at all, or a single value
        low, high = (0.0, 0.0) if mean == 0 == se else (math.nan, math.nan)
        p = mcnemar(*pairs[0]) if images and mean else 1.0
    else:
        half = float(scipy.stats.t.ppf(0.975, df)) * se
        low, high, p = mean - half, mean + half, float(2 * scipy.stats.t.sf(abs(mean) / se, df))
    return Comparison(first, second, len(pairs), images, mean, low, high, p, p)


_TESTED = ("test_samples", "test_sha256", "quick", "stand_in")  # what rows that are compared must have alike


def _named(row: Row) -> str:
    return f"{row.get('method')}, seed {row.get('seed')}"


def standard_error(table: np.ndarray) -> tuple[float, int]:
    """Standard error and degrees of freedom of the mean of a table [S, I] whose rows and columns are both samples.

    Never less than that of seeds or images alone. With one column it is that of seeds; with one row that of images,
    which tells nothing of seeds. NaN for a single value.

    >>> se, df = standard_error(np.array([[1.0], [2.0], [3.0]]))  # 1 / √3
    >>> round(se, 4), df
    (0.5774, 2)
    """
    seeds, images = table.shape
    by_seed, by_image = table.mean(1), table.mean(0)
    rest = table - by_seed[:, None] - by_image[None] + table.mean()
    ms_seed = images * by_seed.var(ddof=1) if seeds > 1 else 0.0
    ms_image = seeds * by_image.var(ddof=1) if images > 1 else 0.0
    df_rest = (seeds - 1) * (images - 1)
    ms_rest = float((rest**2).sum() / df_rest) if df_rest else 0.0
    if seeds == images == 1:
        return math.nan, 0
    squares = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    return float(math.sqrt(squares / table.size)), (seeds if seeds > 1 else images) - 1


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number: Holm's step-down method (Scand. J. Statist. 6:65, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = float(largest)
    return corrected
