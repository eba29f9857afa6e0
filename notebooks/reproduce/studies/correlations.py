"""Does a score predict accuracy? Scores of untrained cells against accuracies of trained ones, with intervals.

What a study returns holds figures over cells, never the benchmark's own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import RunError
from lightsnn_kit.lab.runs import Stage
from lightsnn_kit.paths import balance
from lightsnn_kit.spaces import SPACES, OpMask
from studies.from_papers import apply_ncd, ncd_scores, regularised
from studies.measures import Setting, Values, candidate_scores, kit_scores, score_records
from studies.ranks import (
    Interval,
    Statistic,
    bootstrap,
    bootstrap_difference,
    has_trained,
    kendall_tau,
    kendall_tau_a,
    ordered_right,
    ordered_right_within,
    precision_at_k,
    regret,
    spearman,
    without_errors,
)
from studies.spikenas_bench import CHANCE, BenchCell

FORWARD = SPACES["lightsnn-forward"]
STRUCTURE: dict[str, Callable[[Cell], float]] = {
    "longest path": lambda cell: (cell.conv_path_lengths() or (-1, -1))[1],
    "shortest path": lambda cell: (cell.conv_path_lengths() or (-1, -1))[0],
    "convolutions": lambda cell: cell.num_convs,
    "parameters": lambda cell: OpMask.from_cell(cell).num_conv_ops,  # every convolution has as many; dead ones count
    "balanced": balance,
}
"""Figures that need no network; −1 or −inf without a path."""
STATISTICS: dict[str, Statistic] = {
    "kendall_tau": kendall_tau,
    "tau_a": kendall_tau_a,
    "ordered_right": ordered_right,
    "spearman": spearman,
    "precision_at_10": lambda x, y: precision_at_k(x, y, k=min(10, len(x))),
    "regret": regret,
}


def measure_cells(
    cells: Sequence[Cell], setting: Setting, *, seeds: Sequence[int], stage: Stage | None = None
) -> list[dict[str, object]]:
    """Every score of every forward cell for every seed, as `score_records`."""

    def scores(seed: int) -> Callable[[Cell], Values]:
        scorers = [setting.scorer(FORWARD, seed, bn=bn) for bn in ("batch", "running")]
        masked = apply_ncd(setting.scorer(FORWARD, seed, engine="plain"), seed=seed)
        batches = setting.labelled_batches(seed)
        return lambda cell: (
            kit_scores(scorers, OpMask.from_cell(cell, FORWARD))
            | ncd_scores(masked, OpMask.from_cell(cell, FORWARD))
            | candidate_scores(cell, setting.config, batches, seed=seed)
        )

    return score_records(cells, seeds, scores, stage=stage)


def score_table(cells: Sequence[Cell], records: Sequence[Mapping], *, random_seed: int = 0) -> dict[str, np.ndarray]:
    """Score name -> one value per cell: the structure's figures, a random score, and measured ones [cells, seeds]."""
    table = {name: np.array([figure(cell) for cell in cells], float) for name, figure in STRUCTURE.items()}
    table["random"] = np.random.default_rng(random_seed).normal(size=len(cells))
    rows: dict[str, dict[str, list[float]]] = {}
    if len({tuple(record["values"]) for record in records}) > 1:
        raise RunError("some records lack scores: an earlier version began this run folder; begin in another one.")
    for record in records:
        for name, value in record["values"].items():
            rows.setdefault(name, {}).setdefault(record["cell"], []).append(float(value))
    return table | {name: np.array([rows[name][str(cell)] for cell in cells]) for name in rows}


def correlations(
    table: Mapping[str, np.ndarray], accuracy: np.ndarray, *, resamples: int = 1000
) -> list[dict[str, object]]:
    """One row per score (its mean over seeds): how it orders, what it picks, how much better than depth; intervals.

    ``kendall_tau`` is tau-b, which ties flatter; ``tau_a`` and ``ordered_right`` do not. ``without_errors``: what a
    score with as many ties reaches if it is never wrong. ``within_depth``: tau-b among the cells of one longest path,
    None where the score or the accuracy is the same for all; ``right_within_depth``: pairs of these, all depths.
    """
    rows = [_row(name, values, table["longest path"], accuracy, resamples) for name, values in table.items()]
    return sorted(rows, key=lambda row: -row["kendall_tau"].estimate)


def _row(name: str, values: np.ndarray, depth: np.ndarray, accuracy: np.ndarray, resamples: int) -> dict[str, object]:
    score, found = values if values.ndim == 1 else values.mean(1), {}
    for key, statistic in STATISTICS.items():
        found[key] = bootstrap(statistic, score, accuracy, resamples=resamples)
    for key, statistic in (("tau", kendall_tau), ("right", ordered_right)):
        gap = bootstrap_difference(statistic, (score, depth), accuracy, resamples=resamples)
        found[f"{key}_minus_longest_path"] = gap
    best = {key: without_errors(STATISTICS[key], score, accuracy) for key in ("kendall_tau", "ordered_right")}
    within = {str(int(d)): _tau_among(score[depth == d], accuracy[depth == d], resamples) for d in np.unique(depth)}
    pairs = bootstrap(ordered_right_within, score, accuracy, groups=depth, resamples=resamples)
    single = [kendall_tau(column, accuracy) for column in np.atleast_2d(values.T)]
    more = {"without_errors": best, "within_depth": within, "right_within_depth": pairs, "tau_by_seed": single}
    return {"score": name, **found, **more}


def _tau_among(score: np.ndarray, accuracy: np.ndarray, resamples: int) -> Interval | None:
    some = len(score) > 2 and len(np.unique(score)) > 1 and np.ptp(accuracy) > 0
    return bootstrap(kendall_tau, score, accuracy, resamples=resamples) if some else None


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
    table: Mapping[str, np.ndarray], accuracy: np.ndarray, convs: np.ndarray, *, splits: int = 200
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


def study_correlations(
    bench: Sequence[BenchCell], setting: Setting, *, seeds: Sequence[int], resamples: int, stage: Stage
) -> dict[str, object]:
    """Score the benchmark's cells of LightSNN's forward space, and hold every score against their accuracies."""
    ours = [cell for cell in bench if cell.in_lightsnn_space]
    cells, accuracy = [cell.cell for cell in ours], np.array([cell.accuracy for cell in ours])
    records = measure_cells(cells, setting, seeds=seeds, stage=stage)
    table, trained = score_table(cells, records), has_trained(accuracy, chance=CHANCE["CIFAR10"])
    swap = table["swap_batch"]  # [cells, seeds]
    table |= regularised(swap, table["parameters"], len(FORWARD.edges))
    table["path, then swap"] = table["longest path"][:, None] + swap / (swap.max() + 1)  # a fraction breaks the ties
    alive = {name: values[trained] for name, values in table.items()}
    siblings = sibling_means(ours, bench)
    both = trained & ~np.isnan(siblings)
    ceiling = {"accuracy of siblings": siblings[both], "longest path": table["longest path"][both]}
    return {
        "setting": setting,
        "seeds": len(seeds),
        "cells": {"at hand": len(ours), "trained": int(trained.sum()), "with siblings": int(both.sum())},
        "seconds_per_cell": float(np.mean([record["seconds"] for record in records])),
        "all_cells": correlations(table, accuracy, resamples=resamples),
        "trained_cells": correlations(alive, accuracy[trained], resamples=resamples),
        "ceiling": correlations(ceiling, accuracy[both], resamples=resamples) if both.sum() > 2 else [],
        "cross_validation": cross_validated(alive, accuracy[trained], alive["convolutions"]),
        "accuracy_by_longest_path": _by_depth(alive["longest path"], accuracy[trained]),
    }


def _by_depth(depth: np.ndarray, accuracy: np.ndarray) -> dict[str, dict[str, float]]:
    groups = {int(d): accuracy[depth == d] for d in np.unique(depth)}
    return {
        str(d): {"cells": len(a), "mean": a.mean(), "sd": a.std(ddof=1) if len(a) > 1 else None}
        for d, a in groups.items()
    }
