"""Ways to choose a cell, by name: LightSNN's search, SNASNet's, and what a search must beat (no torch).

Each is a function ``(space, score, budget, rng, keep_path=True) -> Cell``; those that need no score never call it.

>>> space, rng = CellSpace(("zeroize", "skip", "conv3x3")), np.random.default_rng(0)
>>> str(choose("residual", space, rng=rng))
'|conv3x3~0|+|zeroize~0|conv3x3~1|+|skip~0|zeroize~1|skip~2|'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .cells import Cell, Edge, Op
from .checks import unknown
from .criteria import rank_cells
from .search import Score, prune_search, random_search
from .spaces import PUBLISHED_CELLS, CellSpace, OpMask

Choose = Callable[..., Cell]


@dataclass(frozen=True)
class Method:
    """A way to choose a cell: the function, whether it scores networks, and one line of explanation."""

    choose: Choose
    scores: bool
    text: str
    same_scores_as: str | None = None  # a method whose search is the same, score by score


def prune(space: CellSpace, score: Score, budget: int, rng: np.random.Generator, keep_path: bool = True) -> Cell:
    """LightSNN's search by pruning: its number of scores follows from the space, whatever the budget."""
    *_, last = prune_search(space, score, keep_path=keep_path)
    return last.mask.to_cell()


def _best_of(
    space: CellSpace, score: Score, budget: int, rng: np.random.Generator, *_: object, snasnet_rules: bool
) -> Cell:
    found = random_search(space, score, budget=budget, rng=rng, snasnet_rules=snasnet_rules)
    return max(found, key=lambda evaluation: evaluation.score).cell  # the first of equals


def _random(space: CellSpace, score: Score, budget: int, rng: np.random.Generator, *_: object) -> Cell:
    if all(op is Op.ZEROIZE for op in space.ops):
        raise ValueError("no cell of a space of zeroize alone has a path from input to output.")
    while (cell := space.sample(rng)).conv_path_lengths() is None:
        pass
    return cell


def num_weights(mask: OpMask) -> float:
    """Convolution weights of a one-op mask's live edges, in units of C²: 9 of a 3x3 and 1 of a 1x1 convolution.

    >>> num_weights(OpMask.from_cell(Cell.parse("|conv3x3~0|+|zeroize~0|conv1x1~1|")))
    10.0
    """
    cell = mask.to_cell()
    return float(sum({Op.CONV3X3: 9, Op.CONV1X1: 1}.get(cell.op(edge), 0) for edge in cell.live_edges))


def _residual(space: CellSpace, *, feedback: bool) -> Cell:
    edges = {Edge(1, 0): Op.CONV3X3, Edge(2, 1): Op.CONV3X3, Edge(3, 2): Op.SKIP, Edge(3, 0): Op.SKIP}
    edges |= {Edge(0, 3): Op.SKIP} if feedback else {}
    return Cell.from_edges(edges, num_nodes=4, backward=feedback)


def _balanced(space: CellSpace, *, recurrent: bool) -> Cell:
    return rank_cells(replace(space, backward=space.backward or recurrent), recurrent=recurrent)[0]


def _published(name: str) -> Choose:
    return lambda *_: PUBLISHED_CELLS[name]


def forward_part(cell: Cell) -> Cell:
    """The cell without its backward edges: the same within a step, and nothing carried to the next.

    >>> str(forward_part(Cell.parse("|skip~0|/|conv3x3~1|")))
    '|skip~0|'
    """
    kept = {edge: op for edge, op in cell.edge_ops.items() if not edge.is_backward}
    return Cell.from_edges(kept, num_nodes=cell.num_nodes, backward=False)


def _forward_space(space: CellSpace) -> CellSpace:
    return replace(space, backward=False)


METHODS: dict[str, Method] = {
    "lightsnn": Method(prune, True, "LightSNN's search: pruning by SAHD, with feedback"),
    "lightsnn-cut": Method(
        lambda *args: forward_part(prune(*args)),
        True,
        "the cell of LightSNN's search with its backward edges removed: what feedback does, all else equal",
        same_scores_as="lightsnn",
    ),
    "lightsnn-forward": Method(
        lambda space, *rest: prune(_forward_space(space), *rest),
        True,
        "LightSNN's search in the space without backward edges",
    ),
    "snasnet-search": Method(
        lambda *args: _best_of(*args, snasnet_rules=True), True, "SNASNet's random search, by its sampling rules"
    ),
    "random-search": Method(
        lambda *args: _best_of(*args, snasnet_rules=False), True, "the best-scored of uniformly random cells"
    ),
    "balanced": Method(
        lambda space, *_: _balanced(space, recurrent=False), False, "deepest, lightest, most direct cell by its paths"
    ),
    "balanced-recurrent": Method(
        lambda space, *_: _balanced(space, recurrent=True), False, "the same, its output fed back: for event data"
    ),
    "random": Method(_random, False, "one random cell with a path from input to output"),
    "most-parameters": Method(
        lambda space, score, *rest: _best_of(space, num_weights, *rest, snasnet_rules=False),
        False,
        "the largest of uniformly random cells: no network is scored",
    ),
    "all-conv": Method(lambda space, *_: space.uniform(Op.CONV3X3), False, "a 3x3 convolution on every edge"),
    "all-skip": Method(lambda space, *_: space.uniform(Op.SKIP), False, "an identity on every edge"),
    "snasnet-cifar10": Method(_published("snasnet-cifar10"), False, "SNASNet's published cell for CIFAR10"),
    "snasnet-cifar100": Method(_published("snasnet-cifar100"), False, "SNASNet's published cell for CIFAR100"),
    "residual": Method(
        lambda space, *_: _residual(space, feedback=False), False, "by hand: two convolutions beside an identity"
    ),
    "residual-feedback": Method(
        lambda space, *_: _residual(space, feedback=True), False, "the same, its output fed back to its input"
    ),
}
"""All ways to choose a cell. Hand-made and published cells are the same in every space, and may lie outside it."""


def get(name: str) -> Method:
    """A method by name; ``ValueError`` with the nearest name if it is not known."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def no_score(mask: OpMask) -> float:
    """The score of methods that need none: calling it is an error."""
    raise ValueError("this method scores networks; pass score=, a callable OpMask -> float such as a Scorer.")


def choose(
    name: str,
    space: CellSpace,
    *,
    rng: np.random.Generator,
    score: Score = no_score,
    budget: int = 5000,
    keep_path: bool = True,
) -> Cell:
    """The cell that a method chooses; ``budget`` is the number of cells that a random search draws.

    ``keep_path=False`` lets LightSNN's search cut every path from input to output, as the released code does.
    """
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise ValueError(f"budget must be a positive integer (number of cells), got {budget!r}.")
    return get(name).choose(space, score, budget, rng, keep_path)
