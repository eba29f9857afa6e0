"""The one registry of ways to choose a cell: searches, rules and cells made by hand, each under one name (no torch).

A *method* is a name. With the same space, score, seed and budget it is the same cell at every door: the command line,
the stage notebooks, experiments and studies all ask ``choose``.

>>> [cell.num_convs for cell in (choose(name, "lightsnn").cell for name in ("balanced", "residual", "all-conv"))]
[3, 2, 12]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .cells import Cell, Edge, Op
from .checks import check_new, not_registered, whole
from .evolution import Evolution, evolve
from .ops import refuse_own
from .pareto import OBJECTIVES, num_weights, pick
from .paths import rank_cells
from .search import PruneStep, Score, prune_search, random_search
from .spaces import PUBLISHED_CELLS, CellSpace, OpMask, as_space


@dataclass(frozen=True)
class Chosen:
    """What a method chose, and what the choice took.

    ``score``: the chosen cell's, by the score given (pruning takes it at the end, beyond its ``evaluations``); None for
    a method that asks for none. ``evaluations``: scores that the search took.
    """

    cell: Cell
    score: float | None
    evaluations: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a method is asked: where to search, and with what."""

    space: CellSpace
    score: Score
    rng: np.random.Generator
    budget: int  # scores that a random or genetic search takes; how many scores pruning takes follows from the space
    keep_path: bool = True  # False: pruning may cut, and breeding lack, a path to the output, as the released code does
    executor: Executor | None = None
    on_step: Callable[[PruneStep], object] = lambda step: None  # is handed each round of pruning

    def score_of(self, cell: Cell) -> float:
        """One score more, taken by a worker where workers score."""
        mask = OpMask.from_cell(cell, self.space)
        return float(self.executor.submit(self.score, mask).result() if self.executor else self.score(mask))


class Found(NamedTuple):
    """A cell, its score if the method asks for scores, and how many the search took."""

    cell: Cell
    score: float | None = None
    evaluations: int = 0


@dataclass(frozen=True)
class Method:
    """A way to choose a cell: the function, one line of explanation, and whether it scores networks."""

    find: Callable[[Request], Found]
    text: str
    scores: bool = False
    same_scores_as: str | None = None  # a method whose search is the same, score by score
    proxy: str | None = None  # the score by which it chooses, a name of scoring.PROXIES; None: the one that is given


def _prune(request: Request, *, cut: bool = False) -> Found:
    evaluations = 0
    options = {"keep_path": request.keep_path, "executor": request.executor}
    for step in prune_search(request.space, request.score, **options):
        request.on_step(step)
        evaluations += step.evaluations
    cell = step.mask.to_cell()
    cell = cell.forward_part() if cut else cell
    return Found(cell, request.score_of(cell), evaluations)


def _prune_forward(request: Request) -> Found:
    return _prune(replace(request, space=replace(request.space, backward=False)))


def _best_of(request: Request, *, snasnet_rules: bool) -> Found:
    options = {"budget": request.budget, "rng": request.rng, "executor": request.executor}
    found = random_search(request.space, request.score, snasnet_rules=snasnet_rules, **options)
    best = max(found, key=lambda scored: scored.score)  # the first of equals
    return Found(best.cell, best.score, request.budget)


def _bred(request: Request, *objectives: str) -> Found:
    settings = Evolution(objectives=objectives, keep_path=request.keep_path)
    options = {"budget": request.budget, "rng": request.rng, "executor": request.executor}
    points = list(evolve(request.space, request.score, settings, **options))
    picked = pick(points, objectives)
    return Found(picked.cell, picked.score, len(points))


def _random(request: Request) -> Found:
    if all(op is Op.ZEROIZE for op in request.space.ops):
        raise ValueError("no cell of a space of zeroize alone has a path from input to output.")
    while (cell := request.space.sample(request.rng)).conv_path_lengths() is None:
        pass
    return Found(cell)


def _most_parameters(request: Request) -> Found:
    refuse_own(request.space.ops, "the number of weights")
    return Found(_best_of(replace(request, score=num_weights, executor=None), snasnet_rules=False).cell)


def _residual(*, feedback: bool) -> Cell:
    edges = {Edge(1, 0): Op.CONV3X3, Edge(2, 1): Op.CONV3X3, Edge(3, 2): Op.SKIP, Edge(3, 0): Op.SKIP}
    edges |= {Edge(0, 3): Op.SKIP} if feedback else {}
    return Cell.from_edges(edges, num_nodes=4, backward=feedback)


def _balanced(request: Request, *, recurrent: bool) -> Found:
    space = replace(request.space, backward=request.space.backward or recurrent)
    return Found(rank_cells(space, recurrent=recurrent)[0])


def _made(cell: Cell) -> Callable[[Request], Found]:
    return lambda request: Found(cell)


METHODS: dict[str, Method] = {
    "lightsnn": Method(_prune, "LightSNN's search: pruning by the score (SAHD), with feedback", True),
    "lightsnn-cut": Method(
        lambda request: _prune(request, cut=True),
        "the cell of LightSNN's search with its backward edges removed: what feedback does, all else equal",
        True,
        same_scores_as="lightsnn",
    ),
    "lightsnn-forward": Method(_prune_forward, "LightSNN's search in the space without backward edges", True),
    "swap": Method(_prune, "pruning by the number of different patterns (SWAP), with feedback", True, proxy="swap"),
    "swap-forward": Method(
        _prune_forward, "pruning by the number of different patterns, without backward edges", True, proxy="swap"
    ),
    "snasnet-search": Method(
        lambda request: _best_of(request, snasnet_rules=True), "SNASNet's random search, by its sampling rules", True
    ),
    "random-search": Method(
        lambda request: _best_of(request, snasnet_rules=False), "the best-scored of uniformly random cells", True
    ),
    "evolution": Method(
        lambda request: _bred(request, "score"), "a genetic search for the best score, by as many scores", True
    ),
    "nsga2": Method(
        lambda request: _bred(request, *OBJECTIVES),
        "NSGA-II, score against SynOps and weights: of the best tenth by score the cell with the fewest SynOps",
        True,
    ),
    "balanced": Method(
        lambda request: _balanced(request, recurrent=False), "deepest, lightest, most direct cell by its paths"
    ),
    "balanced-recurrent": Method(
        lambda request: _balanced(request, recurrent=True), "the same, its output fed back by a skip: for event data"
    ),
    "random": Method(_random, "one random cell with a path from input to output"),
    "most-parameters": Method(_most_parameters, "the largest of uniformly random cells: no network is scored"),
    "all-conv": Method(lambda request: Found(request.space.uniform(Op.CONV3X3)), "a 3x3 convolution on every edge"),
    "all-skip": Method(lambda request: Found(request.space.uniform(Op.SKIP)), "an identity on every edge"),
    "snasnet-cifar10": Method(_made(PUBLISHED_CELLS["snasnet-cifar10"]), "SNASNet's published cell for CIFAR10"),
    "snasnet-cifar100": Method(_made(PUBLISHED_CELLS["snasnet-cifar100"]), "SNASNet's published cell for CIFAR100"),
    "residual": Method(_made(_residual(feedback=False)), "by hand: two convolutions beside an identity"),
    "residual-feedback": Method(_made(_residual(feedback=True)), "the same, its output fed back to its input"),
}
"""All ways to choose a cell. Hand-made and published cells are the same in every space, and may lie outside it."""


_KIT = tuple(METHODS)


def register_method(name: str, method: Method, *, replace: bool = False) -> None:
    """Make a way of your own to choose a cell known by a name, in this process: ``choose(name, space)`` takes it.

    ``method.find`` is a function ``Request -> Found``; with ``scores=True`` it is handed a score and says how many it
    took. It must draw from ``request.rng`` alone, so that a seed means the same cell. ``ValueError`` for a name that is
    taken or malformed, ``TypeError`` for other than a ``Method``.

    >>> register_method("last", Method(lambda request: Found(request.space.uniform(request.space.ops[-1])), "an op"))
    >>> str(choose("last", CellSpace(("zeroize", "skip"), 2, backward=False)).cell), METHODS.pop("last").scores
    ('|skip~0|', False)
    """
    check_new("method", name, getattr(method, "find", method), known=METHODS, kept=_KIT, replace=replace)
    if not isinstance(method, Method):
        raise TypeError(f"expected a Method, such as Method(find, 'what it does', scores=True), got {method!r:.80}.")
    METHODS[name] = method


def method_of(name: str) -> Method:
    """A method by name; ``ValueError`` with the nearest name if it is not known."""
    if name not in METHODS:
        raise not_registered("method", name, METHODS, "register_method")
    return METHODS[name]


def choose(
    name: str, space: CellSpace | str, *, score: Score | None = None, seed: int = 0, budget: int = 5000, **options
) -> Chosen:
    """The cell that a method chooses in a space (or the space of a name).

    ``score``: any callable ``OpMask -> float`` such as a ``Scorer``, for methods that score networks. ``seed``: of what
    is drawn, by ``default_rng((seed, 5))``. ``budget``: scores of a random or genetic search (SNASNet: 5000).
    ``options``: ``keep_path``, ``executor``, ``on_step`` of ``Request``. ``ValueError`` for an unknown name, a budget
    below 1, or a missing score.

    >>> chosen = choose("lightsnn", "lightsnn-forward", score=lambda mask: float(mask.num_conv_ops))
    >>> chosen.cell.num_convs, chosen.score, chosen.evaluations
    (6, 6.0, 30)
    """
    method, space = method_of(name), as_space(space)
    budget, seed = whole("budget", budget), whole("seed", seed, low=0)
    if method.scores and score is None:
        raise ValueError(f"{name!r} scores networks; pass score=, a callable OpMask -> float such as a Scorer.")
    if method.proxy and (proxy := getattr(getattr(score, "config", None), "proxy", method.proxy)) != method.proxy:
        raise ValueError(f"{name!r} chooses by the score {method.proxy!r}, got a Scorer of {proxy!r}.")
    started, rng = time.perf_counter(), np.random.default_rng((seed, 5))
    found = method.find(Request(space=space, score=score, rng=rng, budget=budget, **options))
    return Chosen(*found, time.perf_counter() - started)
