"""The searches that notebook 02 compares, over seeds, and how stable pruning's decisions are."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from ..cells import Cell, Op
from ..criteria import CellPaths, cell_paths, find_cell, rank_cells
from ..data import scoring_batches
from ..lab import presets
from ..networks import build_network, build_supernet
from ..scoring import Scorer
from ..search import Settle, prune_search, random_search
from ..spaces import SPACES, OpMask
from ..spikenas_bench import BenchCell
from ..training import TrainConfig, evaluate, fit
from .measures import candidate_scores, kit_scores
from .study import FORWARD, Setting, bench_cells

Search = Callable[[Setting, int], tuple[Cell, int]]  # (setting, seed) -> (cell, scores or trainings computed)


def _best(cells: Sequence[Cell], values: Sequence[float]) -> tuple[Cell, int]:
    return cells[int(np.argmax(values))], len(cells)


def lightest_deepest() -> tuple[Cell, ...]:
    """The cells with the longest path and, of those, the fewest convolutions: eight chains with or without skips."""
    ranked = rank_cells(FORWARD)
    figures = [cell_paths(cell) for cell in ranked]
    return tuple(
        cell
        for cell, f in zip(ranked, figures, strict=True)
        if (f.depth, f.convs) == (figures[0].depth, figures[0].convs)
    )


def _pruning(**options) -> Search:
    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        steps = list(prune_search(FORWARD, setting.scorer(FORWARD, seed, **options)))
        return steps[-1].mask.to_cell(), sum(step.evaluations for step in steps)

    return search


def _parsimonious(nats_per_conv: float) -> Search:
    """Pruning by SAHD minus a price for every convolution still alive."""

    def search(setting: Setting, seed: int) -> tuple[Cell, int]:
        scorer = setting.scorer(FORWARD, seed)
        price = lambda mask: nats_per_conv * sum(op.is_conv for ops in mask.alive for op in ops)  # noqa: E731
        steps = list(prune_search(FORWARD, lambda mask: scorer(mask) - price(mask)))
        return steps[-1].mask.to_cell(), sum(step.evaluations for step in steps)

    return search


def _random_sahd(setting: Setting, seed: int) -> tuple[Cell, int]:
    found = list(random_search(FORWARD, setting.scorer(FORWARD, seed), budget=60, rng=np.random.default_rng(seed)))
    return max(found, key=lambda e: e.score).cell, len(found)


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
            scorers, (x, y) = [setting.scorer(FORWARD, draw)], setting.labelled_batch(draw)
            if name.endswith("_batch"):
                values = [kit_scores(scorers, OpMask.from_cell(cell, FORWARD))[name] for cell in cells]
            else:
                values = [candidate_scores(cell, setting.config, x, y, seed=draw)[name] for cell in cells]
            total = total + np.array(values)
        return _best(cells, total)[0], draws * len(cells)

    return search


def _deepest_by_training(setting: Setting, seed: int) -> tuple[Cell, int]:
    """Of the eight, the one with the best validation accuracy after three epochs on digits (a minute; else hours)."""
    config, cells = TrainConfig(epochs=3, learning_rate=0.05, seed=seed), lightest_deepest()
    setting = replace(setting, dataset="digits")
    last = [list(fit(build_network(c, setting.config, seed=seed), setting.splits, config))[-1] for c in cells]
    return _best(cells, [record.val_accuracy for record in last])


def _balanced(setting: Setting, seed: int) -> tuple[Cell, int]:
    found = find_cell(FORWARD, setting.scorer(FORWARD, seed))
    return found.cell, found.evaluations


SEARCHES: dict[str, Search] = {
    "random cell": lambda setting, seed: (FORWARD.sample(np.random.default_rng(seed)), 0),
    "best SAHD of 60 random cells": _random_sahd,
    "pruning by SAHD": _pruning(),
    "pruning by SAHD, running statistics": _pruning(bn="running"),
    "pruning by HD": _pruning(proxy="hd"),
    "pruning by firing rate": _pruning(proxy="firing_rate"),
    "pruning by SAHD − 1 per convolution": _parsimonious(1.0),
    "pruning by SAHD − 5 per convolution": _parsimonious(5.0),
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

    def __init__(self, ours: Sequence[BenchCell], everything: Sequence[BenchCell]) -> None:
        self.own = {cell.cell: cell.accuracy for cell in ours}
        self.siblings: dict[Cell, list[float]] = {}
        for cell in everything:
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


def study_searches(options: argparse.Namespace) -> dict[str, object]:
    """Every search for every seed: what it chose, what that costs, and the trained accuracy of the choice."""
    lookup, rows = Lookup(*bench_cells(options.bench)), []
    setting = Setting(dataset=options.dataset)
    for name, search in SEARCHES.items():
        start, cells, evaluations = time.perf_counter(), [], []
        for seed in range(options.seeds):
            cell, count = search(replace(setting, split_seed=seed), seed)
            cells.append(cell)
            evaluations.append(count)
        seconds = (time.perf_counter() - start) / options.seeds
        print(f"{name}: {seconds:.1f} s a search", flush=True)
        rows.append(
            {
                "search": name,
                "convs_mean": np.mean([cell.num_convs for cell in cells]),
                "evaluations": np.mean(evaluations),
                "seconds": seconds,
                "different_cells": len(set(cells)),
                "agreement": agreement([cell.ops for cell in cells]),
                **lookup.summary(cells),
            }
        )
    return {"setting": setting, "seeds": options.seeds, "searches": rows}


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
    for name, values in (("batch_size", (16, 32, 128)), ("width", (4, 16)), ("num_steps", (2, 10))):
        yield from ((f"{name} {value}", replace(base, **{name: value}), 2) for value in values)
    yield from ((f"batches {count}", base, count) for count in (1, 4))


def _seeded(setting: Setting, batches: int, weights: int, images: int) -> Scorer:
    drawn = scoring_batches(setting.splits.train, batch_size=setting.batch_size, num_batches=batches, seed=images)
    return Scorer(supernet=build_supernet(SPACES["lightsnn"], setting.config, seed=weights), batches=drawn)


def stability(scores: Sequence[Callable[[OpMask], float]]) -> dict[str, object]:
    """How far searches with these scores, one per seed, agree in the first round's decisions and in the end."""
    runs = [list(prune_search(SPACES["lightsnn"], score)) for score in scores]
    first = [[d.op for d in run[0].pruned] for run in runs]
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


def _gaps(step) -> list[float]:
    """Per edge: score without skip minus score without the convolution, so what the convolution is worth more."""
    found: dict = {}
    for edge, op, value in step.scores:
        found.setdefault(edge, {})[op] = value
    return [values[Op.SKIP] - values[Op.CONV3X3] for values in found.values()]


def study_stability(options: argparse.Namespace) -> dict[str, object]:
    """Stability of pruning by SAHD on digits for several settings, and what ``Settle`` spends and leaves open."""
    base = Setting(dataset="digits", batch_size=64, pool="max")
    seeds, rows = range(options.seeds), []
    for name, setting, batches in _variations(base):
        row = stability([_seeded(setting, batches, seed, seed) for seed in seeds])
        rows.append({"setting": name, "seeds": "weights and images", **row})
    for which, pairs in (("weights", [(s, 0) for s in seeds]), ("images", [(0, s) for s in seeds])):
        rows.append({"setting": "base", "seeds": which, **stability([_seeded(base, 2, *pair) for pair in pairs])})
    return {"setting": base, "seeds": options.seeds, "rows": rows, "settle": _settling(base, options.seeds)}


def _settling(base: Setting, available: int) -> dict[str, object]:
    """Three searches that average over seeds until decisions are settled, each with seeds of its own."""
    found = []
    for block in range(3):
        scores = [_seeded(base, 2, s, s) for s in range(100 * block, 100 * block + available)]
        found.append(list(prune_search(SPACES["lightsnn"], scores, settle=Settle())))
    cells = [steps[-1].mask.to_cell() for steps in found]
    return {
        "searches": len(found),
        "rule": Settle(),
        "evaluations": [sum(step.evaluations for step in steps) for steps in found],
        "undecided": [[len(step.undecided) for step in steps] for steps in found],
        "agreement": agreement([cell.ops for cell in cells]),
    }


FEEDBACK = {"none": {}, "0<-3 skip": {"0<-3": "skip"}, "0<-3 conv3x3": {"0<-3": "conv3x3"}}
"""Backward edges tried on the balanced cell: nothing, or its output fed back to its input."""


def study_feedback(options: argparse.Namespace) -> dict[str, object]:
    """The balanced cell with and without feedback, trained on motion-dvs: its classes differ in temporal order only."""
    preset, forward, rows = presets.get("motion-dvs"), rank_cells(FORWARD)[0], []
    named = {str(edge): op for edge, op in forward.edge_ops.items()}
    for name, edges in FEEDBACK.items():
        cell, found = Cell.from_edges(named | edges, num_nodes=4), []
        for seed in range(options.seeds):
            splits = preset.load(seed=seed)
            network = build_network(cell, preset.network_config(splits), seed=seed)
            last = list(fit(network, splits, replace(preset.train, seed=seed)))[-1]
            found.append((last.val_accuracy, evaluate(network, splits.test).accuracy))
            print(name, seed, *found[-1], flush=True)
        val, test = zip(*found, strict=True)
        rows.append({"feedback": name, "val_accuracy": val, "test_accuracy": test, "convs": cell.num_convs})
    return {"preset": "motion-dvs", "weights": "of the last epoch", "seeds": options.seeds, "rows": rows}
