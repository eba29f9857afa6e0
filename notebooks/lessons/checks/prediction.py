"""Checkers of the lesson "Do scores predict accuracy?", and the trained cells that it reads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np
import scipy.stats

from lightsnn_kit.spaces import OpMask

from .tools import need, trained_set

SHOWN = 23  # cells of the 40 that one may look at; the others are held back
LEAST_TAU = 0.2  # on the cells shown: what counts as a score of one's own


def trained_cells() -> tuple[list[OpMask], np.ndarray, dict[str, np.ndarray]]:
    """The 40 cells trained on ``motion-dvs``: masks, test accuracies, and scores of the untrained cells by name."""
    return trained_set("motion-dvs")


def check_kendall_tau(tau: Callable) -> None:
    """(score, accuracy) → Kendall's tau-b: against scipy."""
    rng = np.random.default_rng(0)
    cases = [([1, 2, 3, 4], [10, 30, 20, 40]), ([4, 3, 2, 1], [1, 2, 3, 4]), ([1, 1, 2, 3], [80, 81, 81, 88])]
    cases.append((rng.integers(0, 4, 12).tolist(), rng.integers(0, 6, 12).tolist()))
    for score, accuracy in cases:
        got = tau(score, accuracy)
        need(isinstance(got, Real), f"return a number (float), not a {type(got).__name__}.")
        want = float(scipy.stats.kendalltau(score, accuracy).statistic)
        hint = "A pair that is tied on a side is neither right nor wrong, and is left out of that side's number."
        need(abs(got - want) < 1e-9, f"scores {score}, accuracies {accuracy}: tau is {want:.4f}, not {got:.4f}. {hint}")
    print("kendall_tau: correct, equal to scipy.stats.kendalltau.")


def wrong_kendall_tau(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """Ties count as pairs: tau-a."""
    pairs = list(itertools.combinations(zip(score, accuracy, strict=True), 2))
    signs = [np.sign((a[0] - b[0]) * (a[1] - b[1])) for a, b in pairs]
    return float(sum(signs) / len(pairs))


def check_ceiling(ceiling: Callable) -> None:
    """(score, accuracy) → the highest tau of these values: against all ways to deal them to the cells."""
    for score, accuracy in (
        ([3, 1, 2, 1], [80, 81, 82, 88]),
        ([1, 0, 0, 0, 1], [50, 60, 70, 80, 90]),
        ([2, 1, 1, 0, 0], [70, 70, 60, 90, 80]),
        ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5]),
    ):
        got = ceiling(score, accuracy)
        need(isinstance(got, Real), f"return a number (float), not a {type(got).__name__}.")
        dealt = set(itertools.permutations(score))
        want = max(float(scipy.stats.kendalltau(values, accuracy).statistic) for values in dealt)
        hint = "Which cell should get the largest of these values, which the next?"
        near = abs(got - want) < 1e-9
        need(near, f"{score} dealt to accuracies {accuracy} reaches a tau of {want:.4f} at best, not {got:.4f}. {hint}")
    print("ceiling: correct, the best of all ways to deal the values.")


def wrong_ceiling(score: Sequence[float], accuracy: Sequence[float]) -> float:
    """The share of pairs that the score tells apart."""
    pairs = list(itertools.combinations(score, 2))
    return sum(a != b for a, b in pairs) / len(pairs)


def check_my_score(my_score: Callable) -> None:
    """A mask of one cell → a number: finite, the same each time, and better than none on the cells shown."""
    masks, accuracies, _ = trained_cells()
    values = [my_score(mask) for mask in masks]
    wrong = next((value for value in values if not isinstance(value, Real) or math.isnan(value)), None)
    need(wrong is None, f"a score should be a number (float), not {wrong!r}.")
    need(values == [my_score(mask) for mask in masks], "the second time the same cells got other scores.")
    need(len(set(values[:SHOWN])) > 1, "all cells have the same score: nothing can be chosen by it.")
    tau = float(scipy.stats.kendalltau(values[:SHOWN], accuracies[:SHOWN]).statistic)
    hint = "Larger is better. What do the best cells of the table have, or not have, that the worst do not?"
    need(tau >= LEAST_TAU, f"tau with the {SHOWN} accuracies shown is {tau:.2f}; reach {LEAST_TAU}. {hint}")
    print(f"my_score: correct as a score; its tau is {tau:.2f} on the cells shown.")


def wrong_my_score(mask: OpMask) -> float:
    """The size of the cell."""
    return float(mask.to_cell().num_convs)
