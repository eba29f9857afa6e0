"""Do scores predict the accuracy of cells trained here? Random cells, trained with small presets.

Every training is a row of an experiment: stopped, it goes on where it was. All cells of a set see the same data and are
trained from the same seed; a few are trained from other seeds too, which tells how much of the differences between
cells is chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightsnn_kit.cells import Cell, Op
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment, run_each
from lightsnn_kit.lab.presets import Preset
from lightsnn_kit.lab.recorded import RecordedScore
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.spaces import CellSpace, OpMask
from studies.correlations import correlations, score_table
from studies.measures import Values, kit_scores, score_records
from studies.ranks import has_trained, kendall_tau

SCORE_BATCH = 64  # samples that a score compares, as LightSNN
LOOKED_AT = 23  # cells of the feedback space whose accuracies were seen before ``identity_loops`` was thought of
KEPT = ("number", "cell", "seed", "convs", "feedback_edges", "longest_conv_path", "test_accuracy", "val_accuracy")
KEPT += ("epoch", "diverged", "parameters", "firing_rate", "synops")  # what a result file has of a row


_SHORTER = {  # trainings than the presets': time for more cells
    "motion-dvs": {"epochs": 6, "frozen_norm_epochs": 2},  # of 8 and 3
    "fashion-mnist-small+forward": {"epochs": 4, "frozen_norm_epochs": 1},  # of 6 and 2
}
SETS = {name: presets.get(name).changed(train=changes) for name, changes in _SHORTER.items()}
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
        if (cell := space.sample(rng)).conv_path_lengths() is not None:
            found.setdefault(cell)
    return tuple(found)


class SameData(Experiment):
    """Every row sees the data of seed 0: other seeds change first weights and the order of training alone."""

    def data_seed(self, seed: int) -> int:
        """0, whatever the row's seed."""
        return 0


def train_cells(experiment: Experiment, cells: Sequence[Cell], plan: Plan) -> list[dict[str, object]]:
    """One row per training of the plan, with the cell's number."""
    trainings, rows = list(plan.trainings()), []
    wanted = [experiment.row(f"cell{number:03d}", seed, cell=cells[number]) for number, seed in trainings]
    for (number, _), row, result in zip(trainings, wanted, run_each(experiment, wanted), strict=True):
        rows.append({"number": number} | result)
        print(f"{experiment.preset.name} {len(rows)}: {row.name} {result['test_accuracy']:.3f}", flush=True)
    return rows


def score_cells(experiment: Experiment, cells: Sequence[Cell], *, seeds: Sequence[int]) -> list[dict[str, object]]:
    """The kit's scores of every cell for every seed, kept in the experiment's folder, as `score_records`."""
    sizes = {"batch_size": SCORE_BATCH, "num_batches": 1}
    preset, splits = experiment.preset.changed(scoring=sizes), experiment.load(0)[0]

    def scores(seed: int) -> Callable[[Cell], Values]:
        kinds = [preset.changed(scoring={"bn": bn}) for bn in ("batch", "running")]
        scorers = [RecordedScore(kind, splits, seed).scorer(preset.cell_space) for kind in kinds]
        return lambda cell: kit_scores(scorers, OpMask.from_cell(cell, preset.cell_space))

    stage = experiment.folder.stage("scores", {"preset": preset.to_dict()})
    return score_records(cells, seeds, scores, stage=stage)


def training_noise(rows: Sequence[Mapping]) -> dict[str, object]:
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


def structure_table(cells: Sequence[Cell], records: Sequence[Mapping]) -> dict[str, np.ndarray]:
    """Scores of the study by name; where any cell has feedback, the live feedback edges and the identity loops, too."""
    feedback = np.array([sum(edge.is_backward for edge in cell.live_edges) for cell in cells], float)
    loops = np.array([identity_loops(cell) for cell in cells])
    more = {"feedback edges": feedback, "identity loops": loops} if feedback.any() else {}
    return score_table(cells, records) | more


def trained_set(
    preset: Preset,
    cells: Sequence[Cell],
    rows: Sequence[Mapping],
    records: Sequence[Mapping],
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
        "rows": [{name: row.get(name) for name in KEPT} for row in rows],
        "scores": {name: values.tolist() for name, values in table.items()},
    }


def _correlated(
    table: Mapping[str, np.ndarray], accuracy: np.ndarray, keep: np.ndarray, *, resamples: int
) -> list[dict]:
    """Correlations over some of the cells, without scores that are the same for all of them.

    [] for fewer than three cells, or where all accuracies are the same.
    """
    if keep.sum() < 3 or not np.ptp(accuracy[keep]):
        return []
    parts = {name: values[keep] for name, values in table.items()}
    parts = {name: part for name, part in parts.items() if len(np.unique(part)) > 1 or name == "longest path"}
    return correlations(parts, accuracy[keep], resamples=resamples)


def later_cells(found: Mapping[str, object], first: int, *, resamples: int) -> list[dict]:
    """Correlations of a set over its cells from number ``first`` on: a fair test of what the earlier ones suggested."""
    accuracy = np.array([row["test_accuracy"] for row in found["rows"] if row["seed"] == 0])
    table = {name: np.array(values) for name, values in found["scores"].items()}
    return _correlated(table, accuracy, np.arange(len(accuracy)) >= first, resamples=resamples)


def study_trained_cells(
    plan: Plan, *, sets: Mapping[str, Preset] = SETS, resamples: int, stage: Stage, scheduler: str = ""
) -> dict[str, object]:
    """Train, score and correlate the cells of every set; trainings and scores are kept below the stage.

    ``scheduler``: who trains, as of an ``Experiment``.
    """
    found = {}
    for name, preset in sets.items():
        experiment = SameData(RunFolder.open(stage.path / name), preset, scheduler=scheduler)
        cells = draw_cells(preset.cell_space, plan.cells, seed=plan.draw_seed)
        rows = train_cells(experiment, cells, plan)
        records = score_cells(experiment, cells, seeds=range(plan.score_seeds))
        chance = 1 / len(experiment.load(0)[0].class_names)
        found[name] = trained_set(preset, cells, rows, records, chance=chance, resamples=resamples)
        if preset.cell_space.backward:
            later = later_cells(found[name], LOOKED_AT, resamples=resamples)
            found[name] |= {"looked_at": LOOKED_AT, "later_cells": later}
    return {"plan": plan, "data_seed": 0, "sets": found}
