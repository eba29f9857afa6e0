"""Do scores predict the accuracy of cells trained here? Random cells, trained with small presets, for notebook 02.

    python -m lightsnn_kit.score_study trained_cells --cells 40 --repeats 6

Every training is a stage of ``runs/trained_cells/<preset>``: stopped, it goes on where it was. All cells of a set see
the same data and are trained from the same seed; a few are trained from other seeds too, which tells how much of the
differences between cells is chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..baselines import choose
from ..cells import Cell, Op
from ..data import Splits, scoring_batches
from ..lab import presets
from ..lab.presets import Preset
from ..lab.runs import RunFolder
from ..lab.stats import has_trained, kendall_tau
from ..lab.study import cell_figures, train_and_test
from ..networks import build_supernet
from ..scoring import Scorer
from ..spaces import CellSpace, OpMask
from .measures import kit_scores
from .study import correlations, score_table

RUNS = "runs/trained_cells"
SCORE_BATCH = 64  # samples that a score compares, as LightSNN
KEPT = ("test_accuracy", "val_accuracy", "epoch", "diverged", "parameters", "firing_rate", "synops")


LOOKED_AT = 23  # cells of the feedback space whose accuracies were seen before ``identity_loops`` was thought of


def _shorter(name: str, **changes: int) -> Preset:
    """A preset with a shorter training: time for more cells."""
    preset = presets.get(name)
    return replace(preset, train=replace(preset.train, **changes))


SETS = {
    "motion-dvs": lambda: _shorter("motion-dvs", epochs=6, frozen_norm_epochs=2),  # of 8 and 3
    "fashion-mnist-small+forward": lambda: _shorter("fashion-mnist-small+forward", epochs=4, frozen_norm_epochs=1),
}
"""What is trained: the space with feedback on motions, whose order in time matters, and the forward space on images."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many cells are drawn and trained, and how many of them again: ``ValueError`` if that cannot be."""

    cells: int = 40
    repeats: int = 6  # cells trained from other seeds too: the first ones drawn, so a random choice
    extra_seeds: int = 2
    draw_seed: int = 0  # of the cells
    score_seeds: int = 3  # weights and batches of the scores

    def __post_init__(self) -> None:
        if not 2 <= self.repeats <= self.cells or self.extra_seeds < 1 or self.score_seeds < 1:
            raise ValueError(f"expected 2 <= repeats <= cells and at least one seed of each kind, got {self}.")

    def trainings(self) -> Iterator[tuple[int, int]]:
        """(cell's number, seed): every cell once, then the repeats.

        >>> list(Plan(cells=3, repeats=2, extra_seeds=1).trainings())
        [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
        """
        yield from ((cell, 0) for cell in range(self.cells))
        yield from ((cell, seed) for seed in range(1, self.extra_seeds + 1) for cell in range(self.repeats))


def draw_cells(space: CellSpace, count: int, *, seed: int) -> tuple[Cell, ...]:
    """Different random cells of a space, each with a path from input to output; more cells begin with the same ones.

    >>> from lightsnn_kit.spaces import SPACES
    >>> [str(cell) for cell in draw_cells(SPACES["lightsnn-forward"], 1, seed=0)]
    ['|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|skip~1|skip~2|']
    """
    if count > space.size // 4:  # drawing goes on until as many different ones are found
        raise ValueError(f"cannot draw {count} different cells of a space of {space.size}; expected a quarter at most.")
    rng, found = np.random.default_rng((seed, 5)), {}
    while len(found) < count:
        found.setdefault(choose("random", space, rng=rng))
    return tuple(found)


def train_cells(
    folder: RunFolder, preset: Preset, cells: Sequence[Cell], plan: Plan, splits: Splits
) -> list[dict[str, object]]:
    """One row per training of the plan, read back where it is finished and resumed where it was stopped."""
    rows = []
    for number, seed in plan.trainings():
        cell = cells[number]
        settings = {"preset": preset.to_dict(), "cell": str(cell), "seed": seed}
        stage = folder.stage(f"cell{number:03d}/seed{seed}", settings)
        if not stage.finished:
            row = {"number": number, "cell": str(cell), "seed": seed}
            stage.finish(row | train_and_test(preset, cell, splits, seed=seed, stage=stage))
            print(f"{preset.name} {len(rows) + 1}: {cell} seed {seed} {stage.result['test_accuracy']:.3f}", flush=True)
        rows.append(stage.result)
    return rows


def score_cells(
    folder: RunFolder, preset: Preset, cells: Sequence[Cell], seeds: Sequence[int], splits: Splits
) -> list[dict[str, object]]:
    """SAHD, HD and firing rate of every cell for every seed, one record each; earlier records are read back."""
    settings = {"preset": preset.to_dict(), "batch_size": SCORE_BATCH}
    stage = folder.stage("scores", settings)
    known = {(record["cell"], record["seed"]): record for record in stage.records("scores")}
    for seed in seeds:
        scorers = None
        for cell in (cell for cell in cells if (str(cell), seed) not in known):
            scorers = scorers or [_scorer(preset, splits, seed, bn) for bn in ("batch", "running")]
            values = kit_scores(scorers, OpMask.from_cell(cell, preset.cell_space))
            record = known[str(cell), seed] = {"cell": str(cell), "seed": seed, "values": values}
            stage.append("scores", record)
    return [known[str(cell), seed] for seed in seeds for cell in cells]


def _scorer(preset: Preset, splits: Splits, seed: int, bn: str) -> Scorer:
    batches = scoring_batches(splits.train, batch_size=SCORE_BATCH, num_batches=1, seed=seed)
    supernet = build_supernet(preset.cell_space, preset.network_config(splits), seed=seed)
    return Scorer(supernet=supernet, batches=batches, bn=bn)


def training_noise(rows: Sequence[dict]) -> dict[str, object]:
    """How far seeds move an accuracy, beside how far cells do.

    ``within_sd``: √(mean variance over the seeds of a cell), from the cells with more than one. ``between_sd``: that of
    all cells' first trainings, noise included. ``reliability`` = max(0, 1 − within²/between²), the share of the
    variance that is the cells' own; NaN where the cells do not differ. ``tau_first_and_others``: Kendall's tau of the
    repeated cells' first accuracies with the means of their others, as if another training were the score.
    """
    by_cell: dict[int, list[float]] = {}
    for row in sorted(rows, key=lambda row: (row["number"], row["seed"])):
        by_cell.setdefault(row["number"], []).append(row["test_accuracy"])
    repeated = [values for values in by_cell.values() if len(values) > 1]
    if len(repeated) < 2:
        raise ValueError(f"training noise needs two or more cells trained from several seeds, got {len(repeated)}.")
    within = float(np.mean([np.var(values, ddof=1) for values in repeated]))
    between = float(np.var([values[0] for values in by_cell.values()], ddof=1))
    others = [float(np.mean(values[1:])) for values in repeated]
    return {
        "cells": len(repeated),
        "seeds": [len(values) for values in repeated],
        "within_sd": math.sqrt(within),
        "between_sd": math.sqrt(between),
        "reliability": max(0.0, 1 - within / between) if between else math.nan,
        "tau_first_and_others": kendall_tau([values[0] for values in repeated], others),
        "accuracies": repeated,
    }


def identity_gain(cell: Cell) -> float:
    """By what factor a value that runs through identities alone grows per step: 0 it fades, 1 it stays, 2 it doubles.

    With 0/1 matrices L and U of the live forward and backward skips, node values h = f + L·h and f' = U·h, so
    f' = U·(1 − L)⁻¹·f: the gain is that matrix's spectral radius. Its entries are whole numbers, so it is 0 or >= 1.

    >>> cell = "|conv3x3~0|+|{}~0|skip~1|/|zeroize~1|skip~2|+|zeroize~2|"
    >>> [identity_gain(Cell.parse(cell.format(op))) for op in ("zeroize", "skip")]
    [0.0, 1.0]
    """
    matrices = np.zeros((2, cell.num_nodes, cell.num_nodes))
    for edge in cell.live_edges:
        matrices[int(edge.is_backward), edge.target, edge.source] = cell.op(edge) is Op.SKIP
    step = matrices[1] @ np.linalg.inv(np.eye(cell.num_nodes) - matrices[0])
    return round(float(np.abs(np.linalg.eigvals(step)).max()), 4)


def identity_loops(cell: Cell) -> float:
    """1 for a cell that keeps a value (gain 1), 0 for one that cannot, −gain for one in which it explodes."""
    gain = identity_gain(cell)
    return gain if gain <= 1 else -gain


def structure_table(cells: Sequence[Cell], records: Sequence[dict]) -> dict[str, np.ndarray]:
    """Scores of the study by name; where any cell has feedback, the live feedback edges and the identity loops, too."""
    feedback = np.array([cell_figures(cell)["feedback_edges"] for cell in cells], float)
    loops = np.array([identity_loops(cell) for cell in cells])
    more = {"feedback edges": feedback, "identity loops": loops} if feedback.any() else {}
    return score_table(cells, records) | more


def trained_set(
    preset: Preset,
    cells: Sequence[Cell],
    rows: Sequence[dict],
    records: Sequence[dict],
    *,
    chance: float,
    resamples: int,
) -> dict[str, object]:
    """Correlations of one set over all cells and over those that learned (above 1.5 times chance), noise and cells."""
    first = {row["number"]: row for row in rows if row["seed"] == 0}
    accuracy = np.array([first[number]["test_accuracy"] for number in range(len(cells))])
    table, learned = structure_table(cells, records), has_trained(accuracy, chance=chance)
    return {
        "preset": preset.to_dict(),
        "cells": {"at hand": len(cells), "trained": int(learned.sum()), "chance": chance},
        "training_seconds": sum(row["seconds"]["train_and_checkpoints"] + row["seconds"]["evaluate"] for row in rows),
        "noise": training_noise(rows),
        "all_cells": _correlated(table, accuracy, np.full(len(cells), True), resamples=resamples),
        "trained_cells": _correlated(table, accuracy, learned, resamples=resamples),
        "rows": [_told(row, cells[row["number"]]) for row in rows],
        "scores": {name: values.tolist() for name, values in table.items()},
    }


def _correlated(
    table: Mapping[str, np.ndarray], accuracy: np.ndarray, keep: np.ndarray, *, resamples: int
) -> list[dict]:
    """Correlations over some of the cells; [] for fewer than three, and without scores that are the same for all."""
    parts = {name: values[keep] for name, values in table.items()}
    parts = {name: part for name, part in parts.items() if len(np.unique(part)) > 1 or name == "longest path"}
    return correlations(parts, accuracy[keep], resamples=resamples) if keep.sum() > 2 else []


def _told(row: dict, cell: Cell) -> dict[str, object]:
    figures = {name: row.get(name) for name in KEPT}
    return {"number": row["number"], "cell": row["cell"], "seed": row["seed"]} | cell_figures(cell) | figures


def later_cells(found: Mapping[str, object], first: int, *, resamples: int) -> list[dict]:
    """Correlations of a set over its cells from number ``first`` on: a fair test of what the earlier ones suggested."""
    accuracy = np.array([row["test_accuracy"] for row in found["rows"] if row["seed"] == 0])
    table = {name: np.array(values) for name, values in found["scores"].items()}
    return _correlated(table, accuracy, np.arange(len(accuracy)) >= first, resamples=resamples)


def study_trained_cells(options: argparse.Namespace) -> dict[str, object]:
    """Train, score and correlate both sets, as a record for ``data/results``."""
    plan = Plan(cells=options.cells, repeats=options.repeats, score_seeds=options.seeds)
    sets = {}
    for name, make in SETS.items():
        preset, folder = make(), RunFolder.open(f"{RUNS}/{name}")
        splits, cells = preset.load(seed=0), draw_cells(preset.cell_space, plan.cells, seed=plan.draw_seed)
        rows = train_cells(folder, preset, cells, plan, splits)
        records = score_cells(folder, preset, cells, range(plan.score_seeds), splits)
        chance = 1 / len(splits.class_names)
        found = trained_set(preset, cells, rows, records, chance=chance, resamples=options.resamples)
        if preset.cell_space.backward:
            later = later_cells(found, LOOKED_AT, resamples=options.resamples)
            found |= {"looked_at": LOOKED_AT, "later_cells": later}
        sets[name] = found
    return {"plan": plan, "data_seed": 0, "sets": sets}
