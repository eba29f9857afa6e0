"""The figures of a row: what its search took, what its cell tells, what its trained network does on the test part."""

from __future__ import annotations

import statistics

import numpy as np
import torch

from ..cells import Cell
from ..checkpoints import digest
from ..data import Splits
from ..energy import EnergyReport, measure_energy
from ..networks import SpikingNetwork
from ..training import evaluate
from .presets import Preset
from .runs import Stage

ENERGY_SAMPLES = 256  # test samples on which spikes and operations are counted
SEARCHED = ("search_seconds", "build_seconds", "first_score_seconds", "score_seconds_median")
COUNTED = ("firing_rate", "spikes", "synops", "macs", "energy_pj", "spikingjelly_energy_pj", "assumptions")


def search_figures(stage: Stage) -> dict[str, object]:
    """Seconds of all scores of a search with what was built for them, of the first, and the median of one."""
    scores = stage.records("scores")
    taken = [record["seconds"] for record in scores]
    return {
        "search_seconds": sum(record["seconds"] + record["build_seconds"] for record in scores),
        "build_seconds": sum(record["build_seconds"] for record in scores),
        "first_score_seconds": taken[0] if taken else None,
        "score_seconds_median": statistics.median(taken) if taken else None,
    }


def cell_figures(cell: Cell) -> dict[str, object]:
    """What the cell itself tells: live convolutions and feedback edges, and its longest convolution path."""
    paths = cell.conv_path_lengths()
    return {
        "convs": cell.num_convs,
        "feedback_edges": sum(edge.is_backward for edge in cell.live_edges),
        "longest_conv_path": paths[1] if paths else None,
    }


def test_figures(
    network: SpikingNetwork, splits: Splits, preset: Preset
) -> tuple[dict[str, object], EnergyReport, tuple[int, ...]]:
    """Accuracy on the whole test part, counts on the first samples of a fixed shuffle of it, and the classes predicted.

    ``right`` has a digit for each test sample in the order of the test part: 1 where the class is right;
    ``test_sha256`` tells this part from others.
    """
    answer = evaluate(network, splits.test, batch_size=preset.train.batch_size * 4, loss=preset.train.loss)
    chosen = np.random.default_rng(0).permutation(len(splits.test))[:ENERGY_SAMPLES]
    x = splits.test.batch(torch.from_numpy(chosen))[0]
    energy = measure_energy(network, x, batch_size=preset.train.batch_size)
    counts = {"test_accuracy": answer.accuracy, "test_correct": answer.num_correct, "test_samples": answer.num_samples}
    right = [int(a == b) for a, b in zip(answer.predicted, splits.test.y.tolist(), strict=True)]
    counts |= {"parameters": network.num_parameters, "right": "".join(map(str, right))}
    counts |= {"test_sha256": digest([splits.test.x, splits.test.y])}
    return counts | {name: getattr(energy, name) for name in COUNTED}, energy, answer.predicted
