"""Searches over a space with any score: pruning by importance, and random search (no torch).

A score is any callable ``OpMask -> float``, larger is better; −inf is allowed, NaN is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .cells import Cell, Edge, Op, tie_rank
from .spaces import CellSpace, OpMask

Score = Callable[[OpMask], float]


@dataclass(frozen=True)
class Decision:
    """What was pruned on an edge, and by how much the choice won.

    ``margin`` is the score left without the pruned op minus the score left without the next best choice
    (0 for a tie). ``undone`` names the op first chosen where the path rule took the next best one instead;
    the margin then is that of the choice undone, negated.
    """

    edge: Edge
    op: Op
    margin: float
    undone: Op | None = None


@dataclass(frozen=True)
class PruneStep:
    """One round: every candidate with the score of the supernet without it, the decisions, the mask after them."""

    round: int
    scores: tuple[tuple[Edge, Op, float], ...]
    pruned: tuple[Decision, ...]
    mask: OpMask


@dataclass(frozen=True)
class Evaluation:
    """One scored cell of a random search."""

    index: int
    cell: Cell
    score: float


def _evaluate(score: Score, masks: Iterable[OpMask], executor: Executor | None) -> list[float]:
    values = [float(value) for value in (executor.map if executor else map)(score, masks)]
    if any(math.isnan(value) for value in values):
        raise ValueError("the score returned NaN; expected a number or -inf for a candidate that is dead.")
    return values


def _ranking(scores: dict[Op, float]) -> list[Op]:
    """Ops in the order in which an edge would prune them: best score without it first, ties by ``tie_rank``."""
    return sorted(scores, key=lambda op: (-scores[op], tie_rank(op)))


def _decide(edge: Edge, scores: dict[Op, float]) -> Decision:
    best, second = _ranking(scores)[:2]
    tied = scores[best] == scores[second]  # also where both are -inf
    return Decision(edge, best, 0.0 if tied else scores[best] - scores[second])


def _apply(mask: OpMask, decisions: Iterable[Decision]) -> OpMask:
    for decision in decisions:
        mask = mask.without(decision.edge, decision.op)
    return mask


def _keep_path(mask: OpMask, decisions: dict[Edge, Decision], scores: dict[Edge, dict[Op, float]]) -> None:
    """Undo choices, smallest margin first, until a non-zeroized forward path remains (in place)."""
    on_path = mask.path_edges()
    while on_path and not (after := _apply(mask, decisions.values())).path_edges():
        cut = [d for e, d in decisions.items() if e in on_path and set(after.alive_on(e)) == {Op.ZEROIZE}]
        worst = min(cut, key=lambda decision: decision.margin)  # the first edge on a tie
        next_best = next(op for op in _ranking(scores[worst.edge]) if op is not worst.op)
        decisions[worst.edge] = Decision(worst.edge, next_best, 0.0 - worst.margin, undone=worst.op)


def prune_search(
    space: CellSpace,
    score: Score,
    *,
    mask: OpMask | None = None,
    keep_path: bool = True,
    executor: Executor | None = None,
) -> Iterator[PruneStep]:
    """Prune the space round by round to one cell, the last step's ``mask.to_cell()`` (LightSNN, Algorithm 1).

    While some edge has more than one op: score the supernet without each alive op of each such edge; on each
    edge prune the op whose removal leaves the highest score. Ties prune zeroize first, then pools, conv1x1,
    conv3x3, skip. If a round would leave no non-zeroized forward path from input to output, the path-cutting
    choice with the smallest margin is undone and that edge's next best op pruned, again until there is a path (an
    undone choice may prove to lie on no path after all); ``keep_path=False`` is the published setting. ``mask``
    resumes from an earlier step; ``executor`` maps the scores over workers.

    >>> size = lambda mask: sum(len(ops) for ops in mask.alive) + 0.1 * str(mask).count("CONV")
    >>> steps = list(prune_search(CellSpace(("zeroize", "skip", "conv3x3"), 3, backward=False), size))
    >>> len(steps), str(steps[-1].mask.to_cell())
    (2, '|conv3x3~0|+|conv3x3~0|conv3x3~1|')
    """
    mask = mask or space.full_mask()
    if mask.space != space:
        raise ValueError(f"the mask belongs to {mask.space}, not to {space}.")
    round_number = len(space.ops) - max(len(ops) for ops in mask.alive)
    while candidates := mask.candidates():
        values = _evaluate(score, [mask.without(edge, op) for edge, op in candidates], executor)
        scored = tuple((edge, op, value) for (edge, op), value in zip(candidates, values, strict=True))
        per_edge: dict[Edge, dict[Op, float]] = {}
        for edge, op, value in scored:
            per_edge.setdefault(edge, {})[op] = value
        decisions = {edge: _decide(edge, values) for edge, values in per_edge.items()}
        if keep_path:
            _keep_path(mask, decisions, per_edge)
        mask = _apply(mask, decisions.values())
        round_number += 1
        yield PruneStep(round_number, scored, tuple(decisions.values()), mask)


def random_search(
    space: CellSpace,
    score: Score,
    *,
    budget: int,
    rng: np.random.Generator,
    snasnet_rules: bool = False,
    executor: Executor | None = None,
) -> Iterator[Evaluation]:
    """Score ``budget`` random cells, one ``Evaluation`` each; the best is ``max(..., key=lambda e: e.score)``.

    Cells are uniform over the space, or drawn by SNASNet's rules (its published search scores 5000). Raises
    ``ValueError`` unless the budget is a positive integer.

    >>> space, rng = CellSpace(("zeroize", "skip")), np.random.default_rng(0)
    >>> found = list(random_search(space, lambda mask: 0.0, budget=3, rng=rng))
    >>> [evaluation.index for evaluation in found]
    [0, 1, 2]
    """
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise ValueError(f"budget must be a positive integer (number of cells to score), got {budget!r}.")
    chunk = 1 if executor is None else 64  # cells drawn ahead, so that workers stay busy
    for start in range(0, budget, chunk):
        draw = space.sample_snasnet if snasnet_rules else space.sample
        cells = [draw(rng) for _ in range(min(chunk, budget - start))]
        values = _evaluate(score, [OpMask.from_cell(cell, space) for cell in cells], executor)
        yield from (Evaluation(start + i, *pair) for i, pair in enumerate(zip(cells, values, strict=True)))
