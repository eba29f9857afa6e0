"""When is a pruning decision settled? Paired differences over seeds, and a t test with a stated error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cells import Op


@dataclass(frozen=True, kw_only=True)
class Settle:
    """Score with more seeds until the best choice on an edge beats the next one, or the seeds are used up.

    Every seed is a score with weights and batches of its own, the same for all candidates (common random numbers), so
    what is tested is the mean of the paired differences d_s between the two best choices: settled if
    |mean(d)|·√n / sd(d) exceeds the two-sided quantile of Student's t with n − 1 degrees of freedom at
    ``level`` / (number of looks): a decision without any true difference is called settled with at most the
    probability ``level``, however many looks are taken.
    """

    level: float = 0.05
    first: int = 3  # seeds before the first look; a standard deviation of two numbers says little

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or not isinstance(self.first, int) or self.first < 2:
            raise ValueError(f"need 0 < level < 1 and an integer first >= 2, got {self.level!r}, {self.first!r}.")

    def critical(self, seeds: int, available: int) -> float:
        """The t value to exceed with ``seeds`` of ``available`` seeds.

        >>> round(Settle(first=5).critical(5, 5), 3), round(Settle(level=0.3, first=5).critical(5, 10), 3)
        (2.776, 2.776)
        """
        from scipy.stats import t

        looks = available - self.first + 1
        return float(t.ppf(1 - self.level / looks / 2, seeds - 1))

    def settled(self, differences: Sequence[float], available: int) -> bool:
        """True if the differences are, by the test, not of a coin flip; equal or infinite ones count by their sign.

        >>> Settle().settled([1.0, 1.1, 0.9], 3), Settle().settled([1.0, -0.5, 0.4], 3), Settle().settled([0.0] * 3, 3)
        (True, False, False)
        """
        d = np.asarray(differences, float)
        if not np.isfinite(d).all() or np.ptp(d) == 0:
            return bool((d > 0).all() or (d < 0).all())
        return bool(abs(d.mean()) * math.sqrt(len(d)) / d.std(ddof=1) > self.critical(len(d), available))


def paired(values: dict[Op, list[float]], best: Op, second: Op) -> list[float]:
    """The differences seed by seed; 0 where both are −inf."""
    return [0.0 if a == b else a - b for a, b in zip(values[best], values[second], strict=True)]


def is_tie(differences: Sequence[float]) -> bool:
    """True if no seed tells the two choices apart: more of them will not help."""
    return not np.any(differences)
