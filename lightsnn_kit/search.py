"""Searches over a space with any score: pruning by importance, and random search (no torch).

A score is any callable ``OpMask -> float``, larger is better; −inf is allowed, NaN is not. With ``settle`` a search
takes several scores, one per seed, and spends them where a decision is not yet clear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from .cells import Cell, Edge
from .checks import make_plain, whole
from .ops import Op, tie_rank
from .spaces import CellSpace, OpMask

__all__ = ["Decision", "PruneStep", "Score", "ScoredCell", "Settle", "prune_search", "random_search"]

Score = Callable[[OpMask], float]


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
    first: int = 3  # seeds before the first test; a standard deviation of two numbers says little

    def __post_init__(self) -> None:
        make_plain(self, wholes={"first": 2}, reals={"level": (0, 1)})
        if not 0 < self.level < 1:
            raise ValueError(f"need 0 < level < 1, got {self.level!r}.")

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


def _paired(values: dict[Op, list[float]], best: Op, second: Op) -> list[float]:
    """The differences seed by seed; 0 where both are −inf."""
    return [0.0 if a == b else a - b for a, b in zip(values[best], values[second], strict=True)]


def _is_tie(differences: Sequence[float]) -> bool:
    """True if no seed tells the two choices apart: more of them will not help."""
    return not np.any(differences)


@dataclass(frozen=True)
class Decision:
    """What was pruned on an edge, and by how much the choice won.

    ``margin`` is the score left without the pruned op minus the score left without the next best choice
    (0 for a tie). ``undone`` names the op first chosen where the path rule took the next best one instead;
    the margin then is that of the choice undone, negated. With several seeds, the margin is that of the means over
    ``seeds`` of them, and ``settled`` says whether it passed the test of ``Settle`` (None: not tested).
    """

    edge: Edge
    op: Op
    margin: float
    undone: Op | None = None
    seeds: int = 1
    settled: bool | None = None


@dataclass(frozen=True)
class PruneStep:
    """One round: every candidate with the score of the supernet without it, the decisions, the mask after them."""

    round: int
    scores: tuple[tuple[Edge, Op, float], ...]  # means, where several seeds were scored
    pruned: tuple[Decision, ...]
    mask: OpMask
    evaluations: int = 0  # scores computed in this round

    @property
    def undecided(self) -> tuple[Decision, ...]:
        """The decisions that were tested and did not pass: exact ties, and differences within their noise."""
        return tuple(decision for decision in self.pruned if decision.settled is False)

    @property
    def mask_before(self) -> OpMask:
        """The mask at the start of the round: on the edges it scored the ops it scored, elsewhere what it left."""
        scored: dict[Edge, list[Op]] = {}
        for edge, op, _ in self.scores:
            scored.setdefault(edge, []).append(op)
        return OpMask(self.mask.space, tuple(tuple(scored.get(edge, ops)) for edge, ops in self.mask.items()))


@dataclass(frozen=True)
class ScoredCell:
    """One scored cell of a random search."""

    index: int
    cell: Cell
    score: float


def score_all(score: Score, masks: Iterable[OpMask], executor: Executor | None) -> list[float]:
    """The scores of masks: by workers, or together where the score can take several (``many``), or one by one."""
    if executor is None and hasattr(score, "many"):
        return check_scores(score.many(list(masks)))
    return check_scores((executor.map if executor else map)(score, masks))


def check_scores(values: Iterable[object]) -> list[float]:
    """What a score returned, as floats; ``ValueError`` for NaN."""
    values = [float(value) for value in values]
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
        decisions[worst.edge] = replace(worst, op=next_best, margin=0.0 - worst.margin, undone=worst.op)


class _Round:
    """The scores of one round: seed by seed for every candidate, and how far each edge is settled."""

    def __init__(self, mask: OpMask, scores: Sequence[Score], settle: Settle | None, executor: Executor | None) -> None:
        self.mask, self.scores, self.settle, self.executor = mask, scores, settle, executor
        self.values: dict[Edge, dict[Op, list[float]]] = {}
        for edge, op in mask.candidates():
            self.values.setdefault(edge, {})[op] = []
        self.evaluations = 0

    def run(self) -> None:
        """Score every candidate with the first seeds, then those of unsettled edges with one more seed at a time."""
        for number, score in enumerate(self.scores):
            edges = [edge for edge in self.values if number < (self.settle.first if self.settle else 1)]
            edges = edges or [edge for edge in self.values if self._wants_more(edge)]
            candidates = [(edge, op) for edge in edges for op in self.values[edge]]
            found = score_all(score, [self.mask.without(edge, op) for edge, op in candidates], self.executor)
            self.evaluations += len(found)
            for (edge, op), value in zip(candidates, found, strict=True):
                self.values[edge][op].append(value)

    @property
    def means(self) -> dict[Edge, dict[Op, float]]:
        """The score without each op of each edge, averaged over the seeds it was taken with."""
        return {e: {op: float(np.mean(v)) for op, v in values.items()} for e, values in self.values.items()}

    def _differences(self, edge: Edge) -> list[float]:
        best, second = _ranking({op: float(np.mean(v)) for op, v in self.values[edge].items()})[:2]
        return _paired(self.values[edge], best, second)

    def _wants_more(self, edge: Edge) -> bool:
        differences = self._differences(edge)
        return not _is_tie(differences) and not self.settle.settled(differences, len(self.scores))

    def decide(self) -> dict[Edge, Decision]:
        """The decision on every edge, tested if a test was asked for."""
        decisions = {edge: _decide(edge, values) for edge, values in self.means.items()}
        if self.settle is None:
            return decisions
        tested = {edge: self._differences(edge) for edge in decisions}
        return {
            edge: replace(d, seeds=len(tested[edge]), settled=self.settle.settled(tested[edge], len(self.scores)))
            for edge, d in decisions.items()
        }


def _as_scores(score: Score | Sequence[Score], settle: Settle | None) -> Sequence[Score]:
    if settle is None:
        if not callable(score):
            raise TypeError("without settle=, a search takes one score; pass settle=Settle() to use several seeds.")
        return (score,)
    if callable(score) or len(score) < settle.first:
        raise ValueError(
            f"settle= needs a sequence of at least {settle.first} scores, one per seed; got {score!r:.80}."
        )
    return tuple(score)


def prune_search(
    space: CellSpace,
    score: Score | Sequence[Score],
    *,
    mask: OpMask | None = None,
    keep_path: bool = True,
    executor: Executor | None = None,
    settle: Settle | None = None,
) -> Iterator[PruneStep]:
    """Prune the space round by round to one cell, the last step's ``mask.to_cell()`` (LightSNN, Algorithm 1).

    While some edge has more than one op: score the supernet without each alive op of each such edge; on each
    edge prune the op whose removal leaves the highest score. Ties prune zeroize first, then pools, conv1x1,
    conv3x3, skip. If a round would leave no non-zeroized forward path from input to output, the path-cutting
    choice with the smallest margin is undone and that edge's next best op pruned, again until there is a path (an
    undone choice may prove to lie on no path after all); ``keep_path=False`` is the published setting. ``mask``
    resumes from an earlier step; ``executor`` maps the scores over workers.

    ``settle=Settle()`` takes a sequence of scores, one per seed, decides by their means, and gives further seeds to
    the edges whose decision has not passed its test; what stays open is in ``step.undecided``.

    >>> size = lambda mask: sum(len(ops) for ops in mask.alive) + 0.1 * str(mask).count("CONV")
    >>> steps = list(prune_search(CellSpace(("zeroize", "skip", "conv3x3"), 3, backward=False), size))
    >>> len(steps), str(steps[-1].mask.to_cell())
    (2, '|conv3x3~0|+|conv3x3~0|conv3x3~1|')
    """
    mask, scores = mask or space.full_mask(), _as_scores(score, settle)
    if mask.space != space:
        raise ValueError(f"the mask belongs to {mask.space}, not to {space}.")
    round_number = len(space.ops) - max(len(ops) for ops in mask.alive)
    while mask.candidates():
        scored = _Round(mask, scores, settle, executor)
        scored.run()
        means, decisions = scored.means, scored.decide()
        if keep_path:
            _keep_path(mask, decisions, means)
        rows = tuple((edge, op, means[edge][op]) for edge, op in mask.candidates())
        mask = _apply(mask, decisions.values())
        round_number += 1
        yield PruneStep(round_number, rows, tuple(decisions.values()), mask, scored.evaluations)


def random_search(
    space: CellSpace,
    score: Score,
    *,
    budget: int,
    rng: np.random.Generator,
    snasnet_rules: bool = False,
    executor: Executor | None = None,
) -> Iterator[ScoredCell]:
    """Score ``budget`` random cells, one ``ScoredCell`` each; the best is ``max(..., key=lambda e: e.score)``.

    Cells are uniform over the space, or drawn by SNASNet's rules (its published search scores 5000). Raises
    ``ValueError`` unless the budget is a positive integer.

    >>> space, rng = CellSpace(("zeroize", "skip")), np.random.default_rng(0)
    >>> found = list(random_search(space, lambda mask: 0.0, budget=3, rng=rng))
    >>> [evaluation.index for evaluation in found]
    [0, 1, 2]
    """
    budget = whole("budget", budget)
    chunk = getattr(score, "at_once", 1) if executor is None else 64  # cells drawn ahead, so that workers stay busy
    for start in range(0, budget, chunk):
        draw = space.sample_snasnet if snasnet_rules else space.sample
        cells = [draw(rng) for _ in range(min(chunk, budget - start))]
        values = score_all(score, [OpMask.from_cell(cell, space) for cell in cells], executor)
        yield from (ScoredCell(start + i, *pair) for i, pair in enumerate(zip(cells, values, strict=True)))
