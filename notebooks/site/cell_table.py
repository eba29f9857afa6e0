"""All 729 forward cells, measured in advance, and one search among them: what the page without a kernel shows.

``python notebooks/site/cell_table.py FILE`` writes it; ``make site`` does so by itself.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lightsnn_kit import SPACES, Cell, NetworkConfig, Scorer, build_supernet, load, prune_search
from lightsnn_kit.files import write_text
from lightsnn_kit.lab.cell_measures import CellMeasures, measure_cell
from lightsnn_kit.search import PruneStep
from lightsnn_kit.widgets import PruneStepper
from lightsnn_kit.widgets.cell_graph import CellGraph, graph_data

SPACE = SPACES["lightsnn-forward"]
IMAGES, STEPS, WIDTH = 12, 4, 8  # few images, so that their kernel can be read


def make_scorer(seed: int = 0) -> tuple[Scorer, list[int]]:
    """The score of the table, on digits, and the classes of its images."""
    splits = load("digits", seed=seed)
    config = NetworkConfig(width=WIDTH, num_steps=STEPS, last_pool=1, **splits.network_settings())
    supernet = build_supernet(SPACE, config, seed=seed)
    labels = [place % 10 for place in range(IMAGES)]
    found = np.asarray(splits.train.y)
    places = [int(np.flatnonzero(found == label)[place // 10]) for place, label in enumerate(labels)]
    images = splits.train.batch(torch.tensor(places))[0]
    return Scorer(supernet=supernet, batches=(images,), num_batches=1), labels


def key_of(cell: Cell) -> str:
    """A digit for each edge: the place of its op among the space's."""
    return "".join(str(SPACE.ops.index(op)) for op in cell.ops)


def entry(found: CellMeasures, layers: list[str]) -> dict[str, object]:
    """A cell's numbers in few characters: rates in per mille, distances d_ij (i < j) in thousandths."""
    kernel, graph = found.kernels["sahd"], graph_data(found.cell)
    distances = kernel[0, 0] - kernel[np.triu_indices(len(kernel), 1)]
    rates = {
        name.partition(" (")[0]: [round(1000 * rate) for rate in per_step] for name, per_step in found.rates.items()
    }
    layers += [name for name in rates if name not in layers]
    return {
        "score": round(found.sahd, 3) if math.isfinite(found.sahd) else None,
        "parameters": found.parameters,
        "synops": round(found.synops),
        "convs": found.cell.num_convs,
        "paths": found.cell.conv_path_lengths(),
        "live": [int(edge["live"]) for edge in graph["edges"]],
        "dead": graph["dead"],
        "rates": {layers.index(name): values for name, values in rates.items()},
        "distances": [round(1000 * d) for d in distances],
    }


def search_positions(steps: list[PruneStep]) -> Iterator[dict[str, object]]:
    """What is shown after 0, 1, 2, ... decisions: the graph of what is left, the decision, its candidates' scores."""
    stepper = PruneStepper(steps)
    for position in range(stepper.position.max + 1):
        stepper.position.value = position
        step, decision = stepper.current
        scores = {str(op): round(score, 3) for edge, op, score in step.scores if edge == decision.edge}
        words = stepper.describe().partition(": ")[2]
        yield {
            "graph": graph_data(stepper.mask),
            "words": f"{words}; {stepper.mask.num_cells:,} cells left",
            "edge": str(decision.edge),
            "pruned": str(decision.op) if position else "",
            "scores": scores,
        }
    stepper.close()


def make_table() -> dict[str, object]:
    """The whole table as plain values."""
    scorer, labels = make_scorer()
    layers: list[str] = []
    every = [SPACE.uniform("conv3x3"), *SPACE]  # the first one has all layers, in order
    cells = {key_of(cell): entry(measure_cell(cell, SPACE, scorer), layers) for cell in every}
    steps = list(prune_search(SPACE, scorer))
    ranked = sorted(cells, key=lambda key: cells[key]["score"] or -math.inf, reverse=True)
    graph = CellGraph(steps[-1].mask.to_cell(), space=SPACE)
    settings = f"digits, {IMAGES} images, width {WIDTH}, {STEPS} steps, weights of seed 0"
    found = {"palette": graph.palette, "settings": settings, "labels": labels, "layers": layers, "cells": cells}
    graph.close()
    edges = [{"key": str(edge), "source": edge.source, "target": edge.target} for edge in SPACE.edges]
    found |= {
        "num_nodes": SPACE.num_nodes,
        "edges": edges,
        "found": key_of(steps[-1].mask.to_cell()),
        "best": ranked[0],
    }
    return found | {"search": list(search_positions(steps))}


def write_table(path: Path) -> None:
    """Write the table as JSON."""
    write_text(path, json.dumps(make_table(), ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    write_table(Path(sys.argv[1]))
