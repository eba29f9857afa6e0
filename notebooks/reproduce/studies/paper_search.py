"""LightSNN's search at the paper's size: what it takes, what it chooses, how sure it is; and one score of SNASNet's.

Every score is a record of a run folder: stopped, the study goes on where it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations

from lightsnn_kit.cells import Cell
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.results import SNASNET_BUDGET, provenance_of
from lightsnn_kit.lab.row_figures import SEARCHED, cell_figures
from lightsnn_kit.records import read_steps

SNASNET = ("snasnet-space", "avg-pool")  # variants that make a preset's space and pooling SNASNet's


def study_paper_search(pruned: Experiment, drawn: Experiment, seeds: Sequence[int]) -> dict[str, object]:
    """LightSNN's search of every seed, and the scores of the random search of ``drawn``, whose preset has the budget.

    The rows have seconds and choices, those of the pruning each decision with its margin, too. ``agreement``: for each
    two seeds the share of edges that hold the same op in both cells.
    """
    rows, random = [], []
    for seed in seeds:
        rows.append(_chosen(pruned, "lightsnn", seed) | {"decisions": _decisions(pruned, seed)})
        random.append(_chosen(drawn, "snasnet-search", seed))
    cells = {row["seed"]: Cell.parse(row["cell"]) for row in rows}
    agreement = [{"seeds": [a, b], "same_edges": _agreement(cells[a], cells[b])} for a, b in combinations(cells, 2)]
    return {"pruning": rows, "random": random, "agreement": agreement, "extrapolated": extrapolated(rows, random)}


def _decisions(experiment: Experiment, seed: int) -> list[dict[str, object]]:
    steps = experiment.row("lightsnn", seed).stage.records("steps")
    rounds = read_steps(steps, space=experiment.preset.cell_space)
    return [
        {"round": step.round, "edge": str(one.edge), "op": str(one.op), "margin": one.margin}
        for step in rounds
        for one in step.pruned
    ]


def _chosen(experiment: Experiment, method: str, seed: int) -> dict[str, object]:
    row = experiment.row(method, seed)
    chosen, kept = row.choose(), row.stage.read_json("chosen")
    seconds = f"{chosen.evaluations} scores, {kept['search_seconds']:.1f} s"
    print(f"{method}, seed {seed}: {seconds}, {chosen.cell}", flush=True)
    found = {"method": method, "seed": seed, "cell": str(chosen.cell), "score": chosen.score}
    found |= {"evaluations": chosen.evaluations} | {name: kept[name] for name in SEARCHED}
    return found | cell_figures(chosen.cell) | {"provenance": provenance_of(row.stage)}


def _agreement(first: Cell, second: Cell) -> float:
    edges = first.edges
    return sum(first.op(edge) == second.op(edge) for edge in edges) / len(edges)


def extrapolated(pruning: Sequence[Mapping], random: Sequence[Mapping]) -> dict[str, float]:
    """What ``SNASNET_BUDGET`` scores of the random search would take beside a pruning: medians over seeds, in seconds.

    ``scores``: the ratio of the numbers of scores alone; ``seconds``: of the seconds, extrapolated, not measured.

    >>> pruned, drawn = {"evaluations": 60, "search_seconds": 600}, {"score_seconds_median": 6.0}
    >>> extrapolated([pruned], [drawn])
    {'pruning_seconds': 600, 'random_seconds': 30000.0, 'scores': 83.33333333333333, 'seconds': 50.0}
    """
    ours = statistics.median(row["search_seconds"] for row in pruning)
    theirs = SNASNET_BUDGET * statistics.median(row["score_seconds_median"] for row in random)
    ratio = SNASNET_BUDGET / pruning[0]["evaluations"]
    return {"pruning_seconds": ours, "random_seconds": theirs, "scores": ratio, "seconds": theirs / ours}
