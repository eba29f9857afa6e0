"""Which cells do searches by scores choose, how stable are pruning's decisions, and what does feedback bring?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from lightsnn_kit.cells import Cell, Op
from lightsnn_kit.checkpoints import load_network
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.presets import Preset
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.methods import choose
from lightsnn_kit.networks import build_network
from lightsnn_kit.paths import CellPaths, cell_paths, rank_cells
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import PruneStep, Score, Settle, prune_search, random_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask
from lightsnn_kit.training import TrainConfig, evaluate, fit
from studies.correlations import FORWARD
from studies.measures import Setting, candidate_scores, kit_scores
from studies.spikenas_bench import BenchCell

FULL = SPACES["lightsnn"]
Search = Callable[[Setting, int], tuple[Cell, int]]  # (setting, seed) -> (cell, scores or trainings computed)


def lightest_deepest() -> tuple[Cell, ...]:
    """The cells with the longest path and, of those, the fewest convolutions: eight chains with or without skips."""
    ranked = [(cell, cell_paths(cell)) for cell in rank_cells(FORWARD)]
    best = ranked[0][1]
    return tuple(cell for cell, paths in ranked if (paths.depth, paths.convs) == (best.depth, best.convs))


def _pruning(*, nats_per_conv: float = 0.0, **settings) -> Search:
    """LightSNN's search, each convolution that is still alive at a price."""

    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        scorer = setting.scorer(FORWARD, seed, **settings)
        score = lambda mask: scorer(mask) - nats_per_conv * mask.num_conv_ops  # noqa: E731
        chosen = choose("lightsnn", FORWARD, score=score)
        return chosen.cell, chosen.evaluations

    return search


def _best_of_60(proxy: str) -> Search:
    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        options = {"budget": 60, "rng": np.random.default_rng(seed)}
        found = list(random_search(FORWARD, setting.scorer(FORWARD, seed, proxy=proxy), **options))
        return max(found, key=lambda scored: scored.score).cell, len(found)

    return search


def _by_paths(key: Callable[[CellPaths], tuple[int, ...]]) -> Search:
    """A cell that is best by its paths, drawn among equals with the seed: no network is scored."""

    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        keyed = [(key(cell_paths(cell)), cell) for cell in rank_cells(FORWARD)]
        best = max(value for value, _ in keyed)
        equals = [cell for value, cell in keyed if value == best]
        return equals[np.random.default_rng(seed).integers(len(equals))], 0

    return search


def _deepest_by(name: str, *, draws: int = 1) -> Search:
    """Of the eight lightest deepest cells the one with the best measured score, mean over draws."""

    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        cells, total = lightest_deepest(), 0.0
        for draw in range(draws * seed, draws * (seed + 1)):
            scorers, batches = [setting.scorer(FORWARD, draw)], setting.labelled_batches(draw, 1)
            if name.endswith("_batch"):
                values = [kit_scores(scorers, OpMask.from_cell(cell, FORWARD))[name] for cell in cells]
            else:
                values = [candidate_scores(cell, setting.config, batches, seed=draw)[name] for cell in cells]
            total = total + np.array(values)
        return cells[int(np.argmax(total))], draws * len(cells)

    return search


def _deepest_by_training(setting: Setting, seed: int) -> tuple[Cell, int]:
    """Of the eight, the one with the best validation accuracy after three epochs on digits (a minute; else hours)."""
    config, cells = TrainConfig(epochs=3, learning_rate=0.05, seed=seed), lightest_deepest()
    setting = replace(setting, dataset="digits")
    last = [list(fit(build_network(c, setting.config, seed=seed), setting.splits, config))[-1] for c in cells]
    return cells[int(np.argmax([record.val_accuracy for record in last]))], len(cells)


def _balanced(setting: Setting, seed: int) -> tuple[Cell, int]:
    """The method's cell; its one score says whether it is alive."""
    cell = choose("balanced", FORWARD).cell
    if setting.scorer(FORWARD, seed)(OpMask.from_cell(cell, FORWARD)) == -math.inf:
        raise ValueError(f"two samples are alike in every spike of {cell}; take a larger width or another batch.")
    return cell, 1


SEARCHES: dict[str, Search] = {
    "random cell": lambda setting, seed: (FORWARD.sample(np.random.default_rng(seed)), 0),
    "best SAHD of 60 random cells": _best_of_60("sahd"),
    "best SWAP of 60 random cells": _best_of_60("swap"),
    "pruning by SAHD": _pruning(),
    "pruning by SAHD, running statistics": _pruning(bn="running"),
    "pruning by HD": _pruning(proxy="hd"),
    "pruning by SWAP": _pruning(proxy="swap"),
    "pruning by firing rate": _pruning(proxy="firing_rate"),
    "pruning by SAHD − 1 per convolution": _pruning(nats_per_conv=1.0),
    "pruning by SAHD − 5 per convolution": _pruning(nats_per_conv=5.0),
    "most convolutions": _by_paths(lambda paths: (paths.convs,)),
    "longest path, at random": _by_paths(lambda paths: (paths.depth,)),
    "longest path, then most convolutions": _by_paths(lambda paths: (paths.depth, paths.convs)),
    "longest path, then most direct": _by_paths(lambda paths: (paths.depth, -paths.reach)),
    "longest path, then lightest": _by_paths(lambda paths: (paths.depth, -paths.convs)),
    "longest path, then most direct, then lightest": _by_paths(lambda p: (p.depth, -p.reach, -p.convs)),
    "lightest deepest, by SAHD": _deepest_by("sahd_batch"),
    "lightest deepest, by HD": _deepest_by("hd_batch"),
    "lightest deepest, by firing rate": _deepest_by("firing_batch"),
    "lightest deepest, by alignment": _deepest_by("alignment"),
    "lightest deepest, by alignment, mean of 5": _deepest_by("alignment", draws=5),
    "lightest deepest, by effective rank": _deepest_by("effective_rank"),
    "lightest deepest, by gradient": _deepest_by("gradient"),
    "lightest deepest, by 3 epochs of training": _deepest_by_training,
    "balanced": _balanced,
}
"""Every search tried; the last is the one that was kept."""


class Lookup:
    """Trained accuracies of cells: their own where at hand, and the mean over thresholds of the same ops."""

    def __init__(self, bench: Sequence[BenchCell]) -> None:
        self.own = {cell.cell: cell.accuracy for cell in bench if cell.in_lightsnn_space}
        self.siblings: dict[Cell, list[float]] = {}
        for cell in bench:
            self.siblings.setdefault(cell.cell, []).append(cell.accuracy)

    def summary(self, cells: Sequence[Cell]) -> dict[str, object]:
        """Mean and minimum over the seeds; ``known`` is the share of choices whose own accuracy is at hand."""
        own = [self.own[cell] for cell in cells if cell in self.own]
        siblings = [np.mean(self.siblings[cell]) for cell in cells if cell in self.siblings]
        return {
            "known": len(own) / len(cells),
            "accuracy_mean": np.mean(own) if own else None,
            "accuracy_min": min(own, default=None),
            "siblings_mean": np.mean(siblings) if siblings else None,
            "siblings_min": min(siblings, default=None),
        }


def study_searches(
    bench: Sequence[BenchCell], setting: Setting, *, seeds: Sequence[int], stage: Stage
) -> dict[str, object]:
    """Every search for every seed: what it chose, what that costs, and the trained accuracy of the choice.

    A row is kept in the stage as soon as its search is done for all seeds.
    """
    lookup, done = Lookup(bench), {row["search"] for row in stage.records("rows")}
    for name, search in SEARCHES.items():
        if name not in done:
            started = time.perf_counter()
            found = [search(replace(setting, split_seed=seed), seed) for seed in seeds]
            seconds = (time.perf_counter() - started) / len(seeds)
            stage.append(
                "rows", {"search": name, **_chosen(found, seconds), **lookup.summary([cell for cell, _ in found])}
            )
            print(f"{name}: {seconds:.1f} s a search", flush=True)
    return {"setting": setting, "seeds": len(seeds), "searches": stage.records("rows")}


def _chosen(found: Sequence[tuple[Cell, int]], seconds: float) -> dict[str, object]:
    cells, counts = zip(*found, strict=True)
    return {
        "convs_mean": np.mean([cell.num_convs for cell in cells]),
        "evaluations": np.mean(counts),
        "seconds": seconds,
        "different_cells": len(set(cells)),
        "agreement": agreement([cell.ops for cell in cells]),
    }


def agreement(choices: Sequence[Sequence[object]]) -> float:
    """The share of places at which two lists agree, mean over all pairs of lists; 1 for a single list.

    >>> agreement(["ab", "ab", "cb"])  # pairs agree in 2, 1 and 1 of 2 places
    0.6666666666666666
    """
    pairs = [np.mean([a == b for a, b in zip(*pair, strict=True)]) for pair in combinations(choices, 2)]
    return float(np.mean(pairs)) if pairs else 1.0


def _variations(base: Setting) -> Iterator[tuple[str, Setting, int]]:
    """(what differs, setting, batches per score), the base first."""
    yield "base", base, 2
    for name, factors in (("batch_size", (1 / 4, 1 / 2, 2)), ("width", (1 / 2, 2)), ("num_steps", (1 / 2, 2))):
        for value in (int(getattr(base, name) * factor) for factor in factors):
            yield f"{name} {value}", replace(base, **{name: value}), 2
    yield from ((f"batches {count}", base, count) for count in (1, 4))


def stability(scores: Sequence[Score], *, space: CellSpace = FULL) -> dict[str, object]:
    """How far searches with these scores, one per seed, agree in the first round's decisions and in the end."""
    runs = [list(prune_search(space, score)) for score in scores]
    first = [[decision.op for decision in run[0].pruned] for run in runs]
    gaps = np.array([_gaps(run[0]) for run in runs])  # [seeds, edges]: conv kept over the best other op
    noise, size = gaps.std(0, ddof=1), np.abs(gaps.mean(0))
    cells = [run[-1].mask.to_cell() for run in runs]
    return {
        "first_round_flips": 1 - agreement(first),
        "margin_over_noise": float(np.median(size / np.maximum(noise, 1e-12))),
        "final_agreement": agreement([cell.ops for cell in cells]),
        "different_cells": len(set(cells)),
        "convs_mean": float(np.mean([cell.num_convs for cell in cells])),
    }


def _gaps(step: PruneStep) -> list[float]:
    """Per edge: score without skip minus score without the convolution, so what the convolution is worth more."""
    found: dict = {}
    for edge, op, value in step.scores:
        found.setdefault(edge, {})[op] = value
    return [values[Op.SKIP] - values[Op.CONV3X3] for values in found.values()]


def study_stability(base: Setting, *, space: CellSpace = FULL, seeds: Sequence[int], stage: Stage) -> dict[str, object]:
    """Stability of pruning by the score for several settings, and what ``Settle`` spends and leaves open.

    A row is kept in the stage as soon as its searches are done.
    """
    changes = [
        (name, "weights and images", [(how, count, s, s) for s in seeds]) for name, how, count in _variations(base)
    ]
    changes.append(("base", "weights", [(base, 2, s, seeds[0]) for s in seeds]))
    changes.append(("base", "images", [(base, 2, seeds[0], s) for s in seeds]))
    done = {(row["setting"], row["seeds"]) for row in stage.records("rows")}
    for name, differ, draws in changes:
        if (name, differ) not in done:
            scores = [_scorer(space, *draw) for draw in draws]
            stage.append("rows", {"setting": name, "seeds": differ, **stability(scores, space=space)})
            print(f"{name}, other {differ}", flush=True)
    settled = _settling(base, space, seeds)
    return {"setting": base, "seeds": len(seeds), "rows": stage.records("rows"), "settle": settled}


def _scorer(space: CellSpace, setting: Setting, num_batches: int, weights: int, images: int) -> Scorer:
    return setting.scorer(space, weights, images=images, num_batches=num_batches)


def _settling(base: Setting, space: CellSpace, seeds: Sequence[int]) -> dict[str, object]:
    """Three searches that average over seeds until decisions are settled, each with seeds of its own."""
    rule, found = Settle(first=min(Settle().first, len(seeds))), []
    for block in range(3):
        scores = [_scorer(space, base, 2, seed, seed) for seed in (100 * block + seed for seed in seeds)]
        found.append(list(prune_search(space, scores, settle=rule)))
    cells = [steps[-1].mask.to_cell() for steps in found]
    return {
        "searches": len(found),
        "rule": rule,
        "evaluations": [sum(step.evaluations for step in steps) for steps in found],
        "undecided": [[len(step.undecided) for step in steps] for steps in found],
        "agreement": agreement([cell.ops for cell in cells]),
    }


FEEDBACK = {"none": {}, "0<-3 skip": {"0<-3": "skip"}, "0<-3 conv3x3": {"0<-3": "conv3x3"}}
"""Backward edges tried on the balanced cell: nothing, or its output fed back to its input."""


def study_feedback(preset: Preset, *, seeds: Sequence[int], stage: Stage) -> dict[str, object]:
    """The balanced cell with and without feedback, trained on data whose classes differ in temporal order only.

    Every training is a row below the stage; accuracies are those after its last epoch.
    """
    experiment, rows = Experiment(RunFolder.open(stage.path), preset), []
    forward = {str(edge): op for edge, op in choose("balanced", FORWARD).cell.edge_ops.items()}
    for name, edges in FEEDBACK.items():
        cell, found = Cell.from_edges(forward | edges, num_nodes=4), []
        for seed in seeds:
            row = experiment.row(f"fed-back-{edges.get('0<-3', 'none')}", seed, cell=cell)
            last = list(row.train())[-1]
            network = load_network(row.training.path / "checkpoints" / "last.pt")
            found.append((last.val_accuracy, evaluate(network, row.splits.test).accuracy))
            print(name, seed, *found[-1], flush=True)
        val, test = zip(*found, strict=True)
        rows.append({"feedback": name, "val_accuracy": val, "test_accuracy": test, "convs": cell.num_convs})
    return {"preset": preset.name, "weights": "of the last epoch", "seeds": len(seeds), "rows": rows}
