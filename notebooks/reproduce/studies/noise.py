"""How far does chance move a training? One cell, from other seeds, and from one seed in other orders of summation.

What differs in rounding alone is no property of a cell: a difference between methods must be larger than both.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from lightsnn_kit.cells import Cell
from lightsnn_kit.lab.comparisons import mcnemar, right_of
from lightsnn_kit.lab.presets import Preset
from lightsnn_kit.lab.runs import RunFolder, Stage
from studies.trained_cells import SameData


@contextmanager
def _without_onednn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13 tells of TF32 on GPUs that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield


ORDERS: dict[str, tuple[dict[str, object], Callable[[], AbstractContextManager]]] = {
    "as usual": ({}, nullcontext),
    "contiguous": ({"channels_last": "off"}, nullcontext),
    "without oneDNN": ({}, _without_onednn),
}
"""Ways to compute the same training: changes of its settings, and what it runs within. Sums change their order."""

KEPT = ("seed", "test_accuracy", "test_correct", "test_samples", "val_accuracy", "right")


def study_noise(
    preset: Preset, cell: Cell, *, seeds: Sequence[int], stage: Stage, data: Mapping[str, object]
) -> dict[str, object]:
    """Train the cell from every seed as usual, and from the first seed in every other order, on the same data.

    Each training is a row of an experiment inside the stage. ``rows`` tell the order and what was right; ``seeds`` and
    ``orders`` how far they spread.
    """
    if len(seeds) < 2:
        raise ValueError(f"noise shows between trainings: give at least 2 seeds, got {list(seeds)}.")
    rows = []
    for order, (changes, within) in ORDERS.items():
        folder = RunFolder.open(stage.path / order.replace(" ", "-"))
        experiment = SameData(folder, preset.changed(train=changes), data=dict(data))
        for seed in seeds if order == "as usual" else seeds[:1]:
            with within():
                row = experiment.row("one-cell", seed, cell=cell).run()
            print(f"{preset.name}, {order}, seed {seed}: {row['test_correct']} of {row['test_samples']}", flush=True)
            rows.append({"order": order} | {name: row[name] for name in KEPT})
    usual = [row for row in rows if row["order"] == "as usual"]
    same = [row for row in rows if row["seed"] == seeds[0]]
    return {"preset": preset.to_dict(), "cell": str(cell), "rows": rows, "seeds": spread(usual), "orders": spread(same)}


def spread(rows: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """How far trainings of one cell differ, the first beside the others.

    ``sd`` (n − 1) and ``range`` of the accuracies; ``answers_changed``: the mean share of test samples right in the
    first or the other alone; ``told_apart``: in how many McNemar's test finds a difference (p < 0.05).

    >>> rows = [{"test_accuracy": 0.5, "right": "1100"}, {"test_accuracy": 0.75, "right": "0111"}]
    >>> spread(rows)["range"], spread(rows)["answers_changed"], spread(rows)["told_apart"]
    (0.25, 0.75, 0)
    """
    accuracies, first = [row["test_accuracy"] for row in rows], rows[0]
    changed = [float((right_of(first) != right_of(row)).mean()) for row in rows[1:]]
    found = {"sd": statistics.stdev(accuracies), "range": max(accuracies) - min(accuracies)}
    found |= {"answers_changed": statistics.fmean(changed)}
    return found | {"told_apart": sum(mcnemar(first, row) < 0.05 for row in rows[1:])}
