"""Genetic searches (by pymoo): for the best score, or for the score against what a cell costs; one T, or T as a gene.

A *genome* has a gene per edge, the place of its op in ``space.ops``, and one for T. Duplicates are never scored: a
search takes as many scores as random search with the same budget, each of another cell. No torch; pymoo is imported
when a search begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .cells import Cell
from .checks import flag, make_plain, whole
from .ops import refuse_own
from .pareto import OBJECTIVES, Point, as_objectives, num_weights
from .search import Score, check_scores, score_all
from .spaces import CellSpace, OpMask

if TYPE_CHECKING:
    from pymoo.algorithms.base.genetic import GeneticAlgorithm
    from pymoo.core.population import Population

    from .scoring import Scorer

Genome = tuple[int, ...]
_MATINGS = 10  # rounds of mating per generation; what they leave open is filled with random cells
_DRAWS = 1000  # uniform draws in vain before what is left of a space is looked through in its order


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """Settings of a genetic search; ``ValueError`` for an unknown objective.

    >>> Evolution(objectives=["score", "synops"]).objectives
    ('score', 'synops')
    """

    objectives: tuple[str, ...] = ("score",)  # one: a genetic algorithm; several: NSGA-II (Deb et al., 2002)
    keep_path: bool = True  # False: cells without a path from input to output are scored, too, as random search does
    population: int = 0  # 0: √budget, at least 4: as many generations as members

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", as_objectives(self.objectives))
        object.__setattr__(self, "keep_path", flag("keep_path", self.keep_path))
        make_plain(self, wholes={"population": 0}, reals={})


# ---- the search ------------------------------------------------------------------------------------------------------


def evolve(
    space: CellSpace,
    score: Score | Mapping[int, Score],
    settings: Evolution | None = None,
    *,
    budget: int,
    rng: np.random.Generator,
    executor: Executor | None = None,
) -> Iterator[Point]:
    """Breed cells for ``settings.objectives``, and yield a ``Point`` for each score taken, ``budget`` in all.

    The first generation is drawn as random search draws. Then: parents by binary tournament, uniform crossover, and
    each gene drawn anew with probability 1 / (number of genes); the best of parents and children live on (NSGA-II: by
    rank of non-dominance, then crowding distance). A child that was scored before is dropped, and where ten rounds of
    mating breed too few new ones, random cells join. The search ends early only when all cells are scored. Any live
    cell comes before a dead one (−inf); cells without a path are not scored (``keep_path``).

    ``score``: a score, or one for each T to choose from, which makes T a gene. Scores of different T are compared as
    they are: ``across_steps`` makes scores that can be compared. ``ValueError`` if the budget is no positive integer,
    for a NaN, or if no cell has a path.

    >>> space, size = CellSpace(("zeroize", "skip", "conv3x3"), 3, backward=False), lambda mask: mask.num_conv_ops
    >>> points = list(evolve(space, size, budget=20, rng=np.random.default_rng(0)))
    >>> len(points), len({point.cell for point in points}), max(point.score for point in points)
    (20, 20, 3.0)
    """
    settings, budget = settings or Evolution(), whole("budget", budget)
    scores = _by_steps(score)
    cells = _Cells(space, tuple(scores), settings.keep_path, rng)
    size = min(budget, settings.population or max(4, round(math.sqrt(budget))))
    wave, index, breeder = cells.draw(size), 0, None
    if not wave:
        raise ValueError(f"no cell of {space} has a path from input to output.")
    while wave:
        found = _score_wave(cells, scores, wave, settings, executor)
        points = [Point(index + place, *each) for place, each in enumerate(found)]
        yield from points
        index += len(wave)
        breeder = breeder or _Breeder(cells, settings, len(wave))
        wave = breeder.next_wave(points, wave, min(size, budget - index))


def _by_steps(score: Score | Mapping[int, Score]) -> dict[int | None, Score]:
    if not isinstance(score, Mapping):
        return {None: score}
    if not score:
        raise ValueError("a search over T needs a score for at least one T, got none.")
    return {whole("T", steps): one for steps, one in score.items()}


class _Cells:
    """The genomes of a space: those that are known, and new ones. As pymoo's ``eliminate_duplicates`` it has ``do``."""

    def __init__(
        self, space: CellSpace, steps: tuple[int | None, ...], keep_path: bool, rng: np.random.Generator
    ) -> None:
        self.space, self.steps, self.keep_path, self.rng = space, steps, keep_path, rng
        self.sizes = [len(space.ops)] * len(space.edges) + [len(steps)]
        self.known: set[Genome] = set()
        self._rest = product(*map(range, self.sizes))  # goes on where it stopped: what is known stays so

    def cell(self, genome: Sequence[int]) -> Cell:
        return Cell(self.space.num_nodes, tuple(self.space.ops[gene] for gene in genome[:-1]))

    def is_new(self, genome: Genome) -> bool:
        if genome in self.known:
            return False
        return not self.keep_path or self.cell(genome).conv_path_lengths() is not None

    def draw(self, count: int) -> list[Genome]:
        """New genomes, uniformly at random; fewer than ``count`` only if no more are left."""
        drawn = []
        while len(drawn) < count and (genome := self._draw()) is not None:
            self.known.add(genome)
            drawn.append(genome)
        return drawn

    def _draw(self) -> Genome | None:
        for _ in range(_DRAWS):
            ops = self.space.sample(self.rng).ops
            steps = self.rng.integers(len(self.steps)) if len(self.steps) > 1 else 0  # else the draws of random search
            if self.is_new(genome := (*map(self.space.ops.index, ops), int(steps))):
                return genome
        return next(filter(self.is_new, self._rest), None)

    def do(self, population: Population, *others: Population) -> Population:
        """The new ones of a population, each once; ``others``: the parents, and what was bred for this generation."""
        bred, kept = {genome for other in others for genome in genomes(other)}, []
        for place, genome in enumerate(genomes(population)):
            if genome not in bred and self.is_new(genome):
                bred.add(genome)
                kept.append(place)
        return population[kept]


def genomes(population: Population | None) -> list[Genome]:
    """The genomes of a pymoo population."""
    return [tuple(map(int, genes)) for genes in population.get("X")] if population is not None else []


def _score_wave(
    cells: _Cells,
    scores: Mapping[int | None, Score],
    wave: Sequence[Genome],
    settings: Evolution,
    executor: Executor | None,
) -> list[tuple]:
    """What ``Point`` holds after its index, for each genome; the scores of one T are taken together, in their order."""
    if set(settings.objectives) != {"score"}:
        refuse_own(cells.space.ops, "the number of weights")
    found: dict[Genome, tuple] = {}
    for place, (steps, score) in enumerate(scores.items()):
        mine = [genome for genome in wave if genome[-1] == place]
        masks = [OpMask.from_cell(cells.cell(genome), cells.space) for genome in mine]
        weights = [num_weights(mask) for mask in masks]
        synops = [weight * (steps or 1) for weight in weights]
        if masks and "synops" in settings.objectives and hasattr(score, "with_synops"):
            many = getattr(score, "many_with_synops", lambda masks, one=score.with_synops: map(one, masks))
            pairs = executor.map(score.with_synops, masks) if executor else many(masks)
            taken, synops = zip(*pairs, strict=True)
        else:
            taken = score_all(score, masks, executor)
        rows = zip(mine, check_scores(taken), map(float, synops), weights, strict=True)
        found |= {genome: (cells.cell(genome), *row, steps) for genome, *row in rows}
    return [found[genome] for genome in wave]


class _Breeder:
    """pymoo's algorithm between two waves: it is told what was scored, and asked for children."""

    def __init__(self, cells: _Cells, settings: Evolution, size: int) -> None:
        from pymoo.config import Config
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.core.variable import Choice

        Config.warnings["not_compiled"] = False  # it would print; nothing here is slow
        self.cells, self.objectives = cells, settings.objectives
        genes = {str(place): Choice(options=np.arange(size)) for place, size in enumerate(cells.sizes)}
        self.problem = Problem(vars=genes, n_obj=len(self.objectives), n_ieq_constr=1)
        self.algorithm = _algorithm(cells, settings, size)
        seed = int(cells.rng.integers(2**31))
        self.algorithm.setup(self.problem, termination=NoTermination(), seed=seed)

    def next_wave(self, points: Sequence[Point], wave: Sequence[Genome], size: int) -> list[Genome]:
        """Tell how the wave did, and breed up to ``size`` new genomes; none are left where there are fewer."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.population import Population
        from pymoo.problems.static import StaticProblem

        if not size:
            return []
        dead = np.array([[point.score == -math.inf] for point in points], dtype=float)  # [n, 1] a broken constraint
        values = np.array([[OBJECTIVES[name](point) for name in self.objectives] for point in points])
        told = Population.new(X=np.array(wave, dtype=object))
        values = np.where(dead, 0.0, values)  # no −inf among what is subtracted
        Evaluator().eval(StaticProblem(self.problem, F=values, G=dead), told)
        self.algorithm.termination.force_termination = False  # as it is after a mating without a new child
        self.algorithm.tell(told)
        self.algorithm.n_offsprings = size
        children = genomes(self.algorithm.ask())
        self.cells.known.update(children)
        return children + self.cells.draw(size - len(children))


def _algorithm(cells: _Cells, settings: Evolution, size: int) -> GeneticAlgorithm:
    from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.rm import ChoiceRandomMutation

    several, freedom = len(settings.objectives) > 1, sum(size > 1 for size in cells.sizes)
    operators = {"crossover": UX(), "mutation": ChoiceRandomMutation(prob_var=1 / max(2, freedom))}
    algorithm = (NSGA2 if several else GA)(pop_size=size, eliminate_duplicates=cells, **operators)
    algorithm.mating.n_max_iterations = _MATINGS
    if several:
        algorithm.survival = RankAndCrowding()
        algorithm.survival.crowding_func = _Untied(algorithm.survival.crowding_func)
    return algorithm


class _Untied:
    """Crowding distances that all differ: which of two equal ones goes first would depend on the processor's sort."""

    def __init__(self, crowding: object) -> None:
        self.crowding = crowding

    def do(self, values: np.ndarray, n_remove: int = 0) -> np.ndarray:
        distance = self.crowding.do(values, n_remove=n_remove)
        return np.minimum(distance, 10.0) - 1e-9 * np.arange(len(distance))  # finite ones are 2 at most


# ---- scores of several T ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerStep:
    """A scorer whose score is a sum over the steps, divided by their number."""

    scorer: Scorer
    num_steps: int

    def __call__(self, mask: OpMask) -> float:
        return self.scorer(mask) / self.num_steps

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        """The score per step, and the SynOps of all steps."""
        score, synops = self.scorer.with_synops(mask)
        return score / self.num_steps, synops


def across_steps(scorers: Mapping[int, Scorer]) -> dict[int, Score]:
    """Scores for ``evolve`` with T as a gene, from one scorer for each T: those that say something across T.

    ``swap`` counts patterns and sums over the steps, so it is divided by T: different patterns per step. Membranes
    need steps to charge: more of them raise it, less and less, while SynOps go on growing, so that the two are an
    exchange. Log-determinants (``sahd``, ``hd``) of different T do not compare, which is a ``ValueError``; nor would
    ranks among cells of one T help: the best cell of every T has the same, and the smallest T is the cheapest.
    """
    found = {}
    for steps, scorer in scorers.items():
        if (proxy := scorer.config.proxy) in ("sahd", "hd"):
            raise ValueError(f"{proxy!r} of different T does not compare; choose T by scorers with proxy='swap'.")
        found[whole("T", steps)] = PerStep(scorer, steps) if proxy == "swap" else scorer
    return found
