"""How well a score predicts accuracy: rank statistics with bootstrap intervals.

Scores and accuracies are one number per cell, larger is better; −inf is a score (a dead cell), NaN is not. Ties are
everywhere (few convolutions, one accuracy for all collapsed cells), so every function says what it does with them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import scipy.stats

Statistic = Callable[[np.ndarray, np.ndarray], float]


def _pair(score: Sequence[float], accuracy: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(score, float), np.asarray(accuracy, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"expected one score and one accuracy for each of 2 or more cells, got {x.shape}, {y.shape}.")
    if np.isnan(x).any() or not np.isfinite(y).all():
        raise ValueError("scores may be -inf but not NaN, accuracies must be finite; drop those cells first.")
    return scipy.stats.rankdata(x), y  # all statistics below see the score's order alone


def kendall_tau(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """Kendall's tau-b: (concordant − discordant) / √(pairs untied in score · pairs untied in accuracy).

    NaN if either side is constant. A tie in the score counts for neither side but shortens the denominator: a coarse
    score that is never wrong may have a higher tau-b than a fine one that is mostly right.

    >>> round(kendall_tau([1, 1, 2, 3], [80, 81, 81, 88]), 4)  # 4 pairs agree, 0 do not, 5 untied on each side
    0.8
    """
    return float(scipy.stats.kendalltau(*_pair(score, accuracy)).statistic)


def _balance(x: np.ndarray, y: np.ndarray) -> tuple[int, int, int]:
    """Concordant minus discordant pairs, pairs untied in y, all pairs; scipy's tau-b with its denominator undone."""
    pairs = comb(len(x), 2)
    untied_x, untied_y = (pairs - sum(comb(int(n), 2) for n in np.unique(v, return_counts=True)[1]) for v in (x, y))
    tau = scipy.stats.kendalltau(x, y).statistic if untied_x and untied_y else 0.0
    return round(tau * math.sqrt(untied_x * untied_y)), untied_y, pairs


def kendall_tau_a(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """Kendall's tau-a: (concordant − discordant) / all pairs; ties earn nothing and cost nothing, so no bonus for them.

    0 if either side is constant.

    >>> round(kendall_tau_a([1, 1, 2, 3], [80, 81, 81, 88]), 4)  # 4 of 6 pairs agree
    0.6667
    """
    balance, _, pairs = _balance(*_pair(score, accuracy))
    return balance / pairs


def ordered_right(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """Share of the pairs of different accuracy that the score orders right, its ties counted half; NaN without any.

    What to expect where ties are broken at random: 1 of a perfect score, 0.5 of a constant one.

    >>> ordered_right([1, 1, 2, 3], [80, 81, 81, 88])  # 5 pairs differ: 4 are right, 1 is tied
    0.9
    """
    balance, untied, _ = _balance(*_pair(score, accuracy))
    return (1 + balance / untied) / 2 if untied else math.nan


def ordered_right_within(score: Sequence[float], accuracy: Sequence[float], groups: Sequence[int]) -> float:
    """``ordered_right`` of the pairs within a group alone, all groups together: what is left to order beyond them.

    >>> ordered_right_within([1, 2, 3, 3], [80, 81, 88, 87], [0, 0, 1, 1])  # one of two pairs is right, one is tied
    0.75
    """
    (x, y), groups = _pair(score, accuracy), np.asarray(groups)
    parts = [_balance(x[groups == group], y[groups == group]) for group in np.unique(groups)]
    balance, untied = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return (1 + balance / untied) / 2 if untied else math.nan


def without_errors(statistic: Statistic, score: Sequence[float], accuracy: Sequence[float]) -> float:
    """The statistic if the score's values were dealt to the cells in the order of their accuracy.

    It is what ties leave within reach: no pair is then wrong, and no dealing of these values to these accuracies has a
    higher tau or more pairs right.

    >>> round(without_errors(kendall_tau, [3, 1, 2, 1], [80, 81, 82, 88]), 4)  # 5 of 6 pairs, √(5·6) below the line
    0.9129
    """
    return statistic(*(np.sort(values) for values in _pair(score, accuracy)))


def spearman(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """Spearman's rho: Pearson's correlation of average ranks; NaN if either side is constant.

    >>> round(spearman([1, 2, 3, 4], [80, 88, 86, 89]), 4)
    0.8
    """
    x, y = _pair(score, accuracy)
    return float(scipy.stats.spearmanr(x, y).statistic) if np.ptp(x) and np.ptp(y) else math.nan


def _top_k_share(values: np.ndarray, k: int) -> np.ndarray:
    """The probability of each cell to be among the k best when ties are broken at random."""
    cutoff = np.sort(values)[-k]
    above, at = values > cutoff, values == cutoff
    return above + at * (k - above.sum()) / at.sum()


def _check_k(k: int, n: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= n:
        raise ValueError(f"k must be an integer from 1 to the number of cells ({n}), got {k!r}.")


def precision_at_k(score: Sequence[float], accuracy: Sequence[float], *, k: int) -> float:
    """Share of the k cells scored best that are among the k most accurate; ties on each side broken at random,

    in expectation: Σ_i p_i·q_i / k with the two probabilities of cell i to be among the k best.

    >>> precision_at_k([3, 2, 2, 0], [89, 88, 80, 85], k=2)  # the first for sure, the second half of the time
    0.75
    """
    x, y = _pair(score, accuracy)
    _check_k(k, len(x))
    return float(_top_k_share(x, k) @ _top_k_share(y, k) / k)


def regret(score: Sequence[float], accuracy: Sequence[float], *, k: int = 1) -> float:
    """Best accuracy of all minus the best accuracy among the k cells scored best (as if those k were trained).

    Ties in the score at the cut are broken at random, in expectation: of n tied cells, m are taken, and the i-th
    best of them is the best taken with probability C(n−i, m−1) / C(n, m).

    >>> regret([3, 3, 1], [80, 86, 89])  # 89 − (80 + 86)/2
    6.0
    """
    x, y = _pair(score, accuracy)
    _check_k(k, len(x))
    cutoff = np.sort(x)[-k]
    sure, tied = y[x > cutoff], np.sort(y[x == cutoff])[::-1]
    n, m = len(tied), k - len(sure)
    chances = np.array([comb(n - i, m - 1) / comb(n, m) for i in range(1, n - m + 2)])
    best = np.maximum(tied[: n - m + 1], sure.max(initial=-np.inf))
    return float(y.max() - chances @ best)


@dataclass(frozen=True)
class Interval:
    """An estimate with a bootstrap interval of a confidence level."""

    estimate: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    statistic: Callable[..., float],
    score: Sequence[float],
    accuracy: Sequence[float],
    *,
    groups: Sequence[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic with its 95 % percentile interval over cells drawn with replacement (``scipy.stats.bootstrap``).

    It says how far another draw of cells would move the figure; training noise is in it, the seeds of a score are not.
    ``groups`` are a third argument of the statistic, drawn with their cells.

    >>> print(bootstrap(kendall_tau, [1, 2, 3, 4], [80, 81, 82, 83], resamples=20))
    1.000 [1.000, 1.000]
    """
    samples = _pair(score, accuracy)
    return _resampled(statistic, samples if groups is None else (*samples, np.asarray(groups)), resamples, seed)


def bootstrap_difference(
    statistic: Statistic,
    scores: tuple[Sequence[float], Sequence[float]],
    accuracy: Sequence[float],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """statistic(first score) − statistic(second score), both on the same resampled cells (paired).

    >>> print(bootstrap_difference(kendall_tau, ([1, 2, 3], [1, 2, 3]), [80, 81, 82], resamples=20))
    0.000 [0.000, 0.000]
    """
    (a, y), (b, _) = (_pair(score, accuracy) for score in scores)
    return _resampled(lambda a, b, y: statistic(a, y) - statistic(b, y), (a, b, y), resamples, seed)


def _resampled(statistic: Callable[..., float], samples: tuple[np.ndarray, ...], resamples: int, seed: int) -> Interval:
    options = {"paired": True, "vectorized": False, "method": "percentile", "rng": np.random.default_rng(seed)}
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant resample has no correlation: NaN, and left out
        drawn = scipy.stats.bootstrap(samples, statistic, n_resamples=resamples, **options).bootstrap_distribution
        low, high = np.nanquantile(drawn, [0.025, 0.975])  # NaN, too, if none is left
    return Interval(statistic(*samples), float(low), float(high))


def has_trained(accuracy: Sequence[float], *, chance: float, factor: float = 1.5) -> np.ndarray:
    """True for cells above ``factor`` times chance level: the others collapsed, and any score finds those.

    >>> has_trained([10.0, 81.2], chance=10.0).tolist()
    [False, True]
    """
    return np.asarray(accuracy, float) > factor * chance
