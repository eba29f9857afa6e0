"""Does a score predict accuracy? The computations behind notebook 02, one command each (run from the repository).

    python -m lightsnn_kit.score_study measure --seeds 3      # scores of the cells at hand, kept in runs/score_study
    python -m lightsnn_kit.score_study correlations           # -> data/results/score_correlations.json
    python -m lightsnn_kit.score_study searches               # -> data/results/score_searches.json
    python -m lightsnn_kit.score_study stability              # -> data/results/score_stability.json
    python -m lightsnn_kit.score_study feedback               # -> data/results/score_feedback.json
    python -m lightsnn_kit.score_study trained_cells          # -> data/results/score_trained_cells.json: half an hour

The first three need SpikeNAS-Bench (``--bench``, or ``$LIGHTSNN_EXTRA_DATA/spikenas-bench``); what they write holds
figures over cells, never the benchmark's own rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..cells import Cell
from ..criteria import balance, cell_paths
from ..data import Split, load, scoring_batches
from ..files import append_record, project_root, read_records, write_json
from ..lab.runs import provenance
from ..lab.stats import bootstrap, bootstrap_difference, has_trained, kendall_tau, precision_at_k, regret, spearman
from ..networks import NetworkConfig, build_supernet
from ..scoring import Scorer
from ..spaces import SPACES, CellSpace, OpMask
from ..spikenas_bench import CHANCE, BenchCell, load_spikenas_bench
from .measures import candidate_scores, kit_scores

FORWARD = SPACES["lightsnn-forward"]
RESULTS = Path("data/results")
STRUCTURE: dict[str, Callable[[Cell], float]] = {
    "longest path": lambda cell: _paths(cell).depth,
    "shortest path": lambda cell: (cell.conv_path_lengths() or (-1, -1))[0],
    "convolutions": lambda cell: cell.num_convs,
    "parameters": lambda cell: sum(op.is_conv for op in cell.ops),  # every convolution has as many; dead ones count
    "balanced": balance,
}
"""Figures that need no network; −1 or −inf without a path."""


@dataclass(frozen=True)
class _NoPaths:
    depth: int = -1


def _paths(cell: Cell):
    return cell_paths(cell) or _NoPaths()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The small network and the batch on which scores are taken."""

    dataset: str = "fashion-mnist-small"
    width: int = 8
    batch_size: int = 32
    num_steps: int = 5
    pool: str = "avg"  # as the benchmark's networks
    hidden: int = 64
    split_seed: int = 0

    @cached_property
    def splits(self):
        return load(self.dataset, seed=self.split_seed)

    @cached_property
    def config(self) -> NetworkConfig:
        sizes = {"width": self.width, "num_steps": self.num_steps, "pool": self.pool, "hidden": self.hidden}
        return NetworkConfig(**sizes, **self.splits.network_settings())

    def scorer(self, space: CellSpace, seed: int, **options) -> Scorer:
        """A scorer whose weights and one batch are drawn with the seed."""
        batches = scoring_batches(self.splits.train, batch_size=self.batch_size, num_batches=1, seed=seed)
        return Scorer(supernet=build_supernet(space, self.config, seed=seed), batches=batches, **options)

    def labelled_batch(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples [B, C, H, W] and labels [B] drawn with the seed."""
        train: Split = self.splits.train
        order = np.random.RandomState(seed).permutation(len(train))[: self.batch_size]
        return train.batch(torch.from_numpy(order))


def measure(cells: Sequence[Cell], setting: Setting, *, seeds: Sequence[int], cache: Path | None = None) -> list[dict]:
    """Every score of every cell for every seed, one record each; with ``cache`` (.jsonl) what is there is kept."""
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
    known = {(r["cell"], r["seed"]): r for r in (read_records(cache) if cache else [])}
    records = []
    for seed in seeds:
        scorers, (x, y) = None, setting.labelled_batch(seed)
        for cell in cells:
            record = known.get((str(cell), seed))
            if record is None:
                scorers = scorers or [setting.scorer(FORWARD, seed, bn=bn) for bn in ("batch", "running")]
                start = time.perf_counter()
                values = kit_scores(scorers, OpMask.from_cell(cell, FORWARD))
                values |= candidate_scores(cell, setting.config, x, y, seed=seed)
                seconds = time.perf_counter() - start
                record = {"cell": str(cell), "seed": seed, "seconds": seconds, "values": values}
                if cache:
                    append_record(cache, record)
            records.append(record)
    return records


def score_table(cells: Sequence[Cell], records: Sequence[dict], *, random_seed: int = 0) -> dict[str, np.ndarray]:
    """Score name -> one value per cell: the structure's figures, a random score, and measured ones [cells, seeds]."""
    table = {name: np.array([figure(cell) for cell in cells], float) for name, figure in STRUCTURE.items()}
    table["random"] = np.random.default_rng(random_seed).normal(size=len(cells))
    rows: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for name, value in record["values"].items():
            rows.setdefault(name, {}).setdefault(record["cell"], []).append(float(value))
    return table | {name: np.array([rows[name][str(cell)] for cell in cells]) for name in rows}


def _mean(score: np.ndarray) -> np.ndarray:
    return score if score.ndim == 1 else score.mean(1)


def correlations(table: dict[str, np.ndarray], accuracy: np.ndarray, *, resamples: int = 1000) -> list[dict]:
    """One row per score (its mean over seeds): tau, rho, precision, regret with intervals, and tau − that of depth."""
    depth, rows = table["longest path"], []
    statistics = {
        "kendall_tau": kendall_tau,
        "spearman": spearman,
        "precision_at_10": lambda x, y: precision_at_k(x, y, k=min(10, len(x))),
        "regret": regret,
    }
    for name, values in table.items():
        score = _mean(values)
        found = {key: bootstrap(f, score, accuracy, resamples=resamples) for key, f in statistics.items()}
        found["tau_minus_longest_path"] = bootstrap_difference(
            kendall_tau, (score, depth), accuracy, resamples=resamples
        )
        single = [kendall_tau(column, accuracy) for column in np.atleast_2d(values.T)]
        within = {
            str(d): kendall_tau(score[depth == d], accuracy[depth == d]) for d in range(1, 4) if (depth == d).sum() > 1
        }
        rows.append({"score": name, **found, "tau_by_seed": single, "tau_within_depth": within})
    return sorted(rows, key=lambda row: -row["kendall_tau"].estimate)


def sibling_means(ours: Sequence[BenchCell], all_cells: Sequence[BenchCell]) -> np.ndarray:
    """For each cell the mean accuracy of the trained cells with its ops but other thresholds; NaN if there is none.

    As a score it has seen hundreds of trainings: an idea of what any score could reach.
    """
    groups: dict[Cell, list[BenchCell]] = {}
    for cell in all_cells:
        groups.setdefault(cell.cell, []).append(cell)
    others = [[o.accuracy for o in groups[c.cell] if o.id != c.id] for c in ours]
    return np.array([np.mean(values) if values else np.nan for values in others])


def cross_validated(
    table: dict[str, np.ndarray], accuracy: np.ndarray, convs: np.ndarray, *, splits: int = 200
) -> dict[str, dict]:
    """Choose the score on one random half of the cells, use it on the other: mean accuracy of what it picks there.

    A pick is the cell scored best in a half (ties: their mean), one per seed. Chosen is the score with the most
    accurate picks among those with at most 3 convolutions on average.
    """
    rng, picks, chosen = np.random.default_rng(0), {name: [] for name in table}, []
    for _ in range(splits):
        order = rng.permutation(len(accuracy))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        at_hand = {name: _pick(values, accuracy, convs, halves[0]) for name, values in table.items()}
        for name, values in table.items():
            picks[name].append(_pick(values, accuracy, convs, halves[1]))
        light = [name for name in table if at_hand[name][1] <= 3] or list(table)
        best = max(light, key=lambda name: at_hand[name][0])
        chosen.append((best, *picks[best][-1]))
    rows = {
        name: {"accuracy": np.mean([a for a, _ in p]), "convs": np.mean([c for _, c in p])} for name, p in picks.items()
    }
    names = [name for name, *_ in chosen]
    rows["chosen on the other half"] = {
        "accuracy": np.mean([a for _, a, _ in chosen]),
        "convs": np.mean([c for *_, c in chosen]),
        "share": {name: names.count(name) / splits for name in sorted(set(names))},
    }
    return rows


def _pick(values: np.ndarray, accuracy: np.ndarray, convs: np.ndarray, half: np.ndarray) -> tuple[float, float]:
    found = []
    for score in np.atleast_2d(values[half].T):
        best = half[score == score.max()]
        found.append((accuracy[best].mean(), convs[best].mean()))
    return tuple(np.mean(found, axis=0))


def bench_cells(folder: str | Path | None) -> tuple[list[BenchCell], tuple[BenchCell, ...]]:
    """The cells at hand of LightSNN's forward space, and all cells at hand."""
    everything = load_spikenas_bench(folder)
    return [cell for cell in everything if cell.in_lightsnn_space], everything


def cache_file(setting: Setting) -> Path:
    """Where the scores of a setting are kept; git ignores ``runs/``."""
    name = f"{setting.dataset}-width{setting.width}-batch{setting.batch_size}-T{setting.num_steps}.jsonl"
    return project_root() / "runs" / "score_study" / name


def study_correlations(options: argparse.Namespace) -> dict[str, object]:
    """The correlation study on the cells at hand, as a record for ``data/results``."""
    setting = Setting(dataset=options.dataset)
    ours, everything = bench_cells(options.bench)
    cells = [cell.cell for cell in ours]
    records = measure(cells, setting, seeds=range(options.seeds), cache=cache_file(setting))
    table, accuracy = score_table(cells, records), np.array([cell.accuracy for cell in ours])
    trained = has_trained(accuracy, chance=CHANCE["CIFAR10"])
    alive = {name: values[trained] for name, values in table.items()}
    siblings = sibling_means(ours, everything)
    both = trained & ~np.isnan(siblings)
    ceiling = {"accuracy of siblings": siblings[both], "longest path": table["longest path"][both]}
    convs = np.array([cell.num_convs for cell in cells], float)
    return {
        "setting": setting,
        "seeds": options.seeds,
        "cells": {"at hand": len(ours), "trained": int(trained.sum()), "with siblings": int(both.sum())},
        "seconds_per_cell": float(np.mean([record["seconds"] for record in records])),
        "all_cells": correlations(table, accuracy, resamples=options.resamples),
        "trained_cells": correlations(alive, accuracy[trained], resamples=options.resamples),
        "ceiling": correlations(ceiling, accuracy[both], resamples=options.resamples) if both.sum() > 2 else [],
        "cross_validation": cross_validated(alive, accuracy[trained], convs[trained]),
        "accuracy_by_longest_path": _by_depth(table["longest path"][trained], accuracy[trained]),
    }


def _by_depth(depth: np.ndarray, accuracy: np.ndarray) -> dict[str, dict[str, float]]:
    groups = {int(d): accuracy[depth == d] for d in np.unique(depth)}
    return {
        str(d): {"cells": len(a), "mean": a.mean(), "sd": a.std(ddof=1) if len(a) > 1 else None}
        for d, a in groups.items()
    }


def measure_only(options: argparse.Namespace) -> None:
    setting = Setting(dataset=options.dataset)
    ours, _ = bench_cells(options.bench)
    measure([cell.cell for cell in ours], setting, seeds=range(options.seeds), cache=cache_file(setting))


def save(name: str, result: dict[str, object], *, command: str, seconds: float) -> Path:
    """Write a result with its command, its time and where it was made; replaces an earlier one."""
    path = project_root() / RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"command": command, "seconds": seconds, "provenance": provenance(), **result}, replace=True)
    return path
