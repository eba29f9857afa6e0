"""Scored cells and what they cost; of many, those that no other beats, and one of these (no torch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .cells import Cell, Op
from .checks import shown, unknown
from .spaces import OpMask


@dataclass(frozen=True)
class Point:
    """One scored cell of a genetic search, and what it costs.

    ``synops``: per sample, estimated from the spikes of the scorer's own passes (``energy.estimate_synops``), where
    the score has a method ``with_synops`` as a ``Scorer`` has. Of any other score it is ``weights`` times T (times 1
    where T is no gene): what SynOps are proportional to if all neurons fire alike. ``weights``: as ``num_weights``.
    """

    index: int
    cell: Cell
    score: float
    synops: float
    weights: float
    num_steps: int | None = None  # T, where it is a gene


OBJECTIVES: dict[str, Callable[[Point], float]] = {
    "score": lambda point: -point.score,
    "synops": lambda point: point.synops,
    "weights": lambda point: point.weights,
}
"""What a search can strive for: a number of a point that is to be small."""


def as_objectives(names: object) -> tuple[str, ...]:
    """One or more names of ``OBJECTIVES``, each once; ``ValueError`` for anything else."""
    names = [names] if isinstance(names, str) else list(names)
    if wrong := [name for name in names if name not in OBJECTIVES]:
        raise unknown("objective", wrong[0], OBJECTIVES)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a search needs one or more objectives, each once; got {shown(names)}.")
    return tuple(names)


def num_weights(mask: OpMask) -> float:
    """Convolution weights of a one-op mask's live edges, in units of C²: 9 of a 3x3 and 1 of a 1x1 convolution.

    NaN with an op of your own among them, of which that is not known.

    >>> num_weights(OpMask.from_cell(Cell.parse("|conv3x3~0|+|zeroize~0|conv1x1~1|")))
    10.0
    """
    cell = mask.to_cell()
    if any(cell.op(edge).is_own for edge in cell.live_edges):
        return math.nan
    return float(sum({Op.CONV3X3: 9, Op.CONV1X1: 1}.get(cell.op(edge), 0) for edge in cell.live_edges))


def pareto_front(points: Iterable[Point], objectives: Sequence[str] = tuple(OBJECTIVES)) -> list[Point]:
    """The points that none dominates: no other is as good in every objective and better in one; no dead ones (−inf).

    Points that are equal in all objectives are all in it. In the order in which they were scored.

    >>> cell = Cell.parse("|skip~0|")
    >>> points = [Point(i, cell, score, synops, 0.0) for i, (score, synops) in enumerate([(3, 9), (2, 5), (1, 5)])]
    >>> [point.index for point in pareto_front(points, ("score", "synops"))]
    [0, 1]
    """
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    objectives = as_objectives(objectives)
    alive = [point for point in points if point.score > -math.inf]
    if not alive:
        return []
    values = np.array([[OBJECTIVES[name](point) for name in objectives] for point in alive])
    return [alive[place] for place in sorted(NonDominatedSorting().do(values, only_non_dominated_front=True))]


def pick(points: Sequence[Point], objectives: Sequence[str] = tuple(OBJECTIVES), *, share: float = 0.1) -> Point:
    """One point of the front: the lightest of the best tenth.

    Of the front's points whose score is among the best ``share`` of all scores taken (at least the best one), that with
    the fewest SynOps, or what else is the first cost among the objectives; of equals by the next cost, the score, the
    order. The rule goes by ranks, so it is the same for scores of any scale. Without a cost among the objectives, or if
    all are dead, it is the first of the best-scored points.
    """
    costs = [OBJECTIVES[name] for name in objectives if name != "score"]
    front = pareto_front(points, objectives) if costs else []
    if not front:
        return max(points, key=lambda point: point.score)
    scores = sorted((point.score for point in points), reverse=True)
    bar = min(scores[math.ceil(share * len(scores)) - 1], max(point.score for point in front))
    good = [point for point in front if point.score >= bar]
    return min(good, key=lambda point: (*(cost(point) for cost in costs), -point.score))
