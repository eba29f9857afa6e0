"""Evidence for the checklist: rows, settings and provenance as run folders and result files hold them (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import at_root, project_root, read_json
from .results import OWN_PROVENANCE, by_method, made_with, row_stages

Row = Mapping[str, object]


@dataclass(frozen=True)
class Evidence:
    """What is known of an experiment: rows of figures, settings, and where and with what the rows were made."""

    rows: tuple[Row, ...]
    preset: Mapping[str, object]
    provenance: tuple[Mapping[str, object], ...]
    bench_cells: int = 0  # cells of a tabular benchmark that this project's score study used

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a checklist needs at least one row of results, got none.")

    @property
    def seeds(self) -> dict[str, list[int]]:
        """The seeds of each method."""
        return {method: sorted(row["seed"] for row in group) for method, group in by_method(self.rows).items()}

    @property
    def commits(self) -> list[str]:
        """The commits at which rows were made; "none" where there was no repository."""
        return sorted({(made.get("git") or {}).get("commit") or "none" for made in self.provenance})

    @property
    def changed(self) -> int:
        """How many of the records were made from a working copy with uncommitted changes."""
        return sum(bool((made.get("git") or {}).get("dirty")) for made in self.provenance)

    @property
    def versioned(self) -> bool:
        """True if the code of every row is known by its commit."""
        return bool(self.commits) and "none" not in self.commits

    def distinct(self, *names: str) -> int:
        """How many different values of these entries the provenance holds."""
        return len({str([made.get(name) for name in names]) for made in self.provenance})


def read_evidence(place: str | Path) -> Evidence:
    """The evidence in a run folder of ``notebooks/reproduce`` or in a result file; ``RunError`` if there is none."""
    path, bench = at_root(place), _bench_cells()
    if path.is_file():
        kept = read_json(path)
        made = tuple(
            kept["provenance"][place] | {name: row[name][i] for name in OWN_PROVENANCE}
            for row in kept["rows"]
            for i, place in enumerate(row["made_with"])
        )
        return Evidence(tuple(kept["rows"]), kept.get("preset") or {}, made, bench_cells=bench)
    stages = row_stages(path)
    made = tuple(record for stage in stages for record in made_with(stage))
    rows = tuple(stage.result for stage in stages)
    return Evidence(rows, stages[0].settings["preset"], made, bench_cells=bench)


def stage_evidence(results: Mapping[str, object]) -> Evidence:
    """The evidence in the ``results.json`` that ``notebooks/report.ipynb`` writes: one found cell and two others."""
    settings, seconds = results["settings"], results["seconds"]
    search, train = settings["search"], settings["train"]["train"]
    methods = {"lightsnn": results} | {
        name.removesuffix("_cell").replace("_", "-"): row for name, row in results["comparison"].items()
    }
    timed = {"found": results["found_seconds"]} | {name: row["seconds"] for name, row in results["comparison"].items()}
    rows = []
    for (method, row), own in zip(methods.items(), timed.values(), strict=True):
        figures = {key: row[key] for key in ("cell", "test_accuracy", "test_samples", "val_accuracy")}
        told = {"method": method, "seed": search["seed"], "dataset": results["dataset"], "preset": "stage notebooks"}
        searched = method == "lightsnn"
        told |= {"evaluations": results["search"]["evaluations"] * searched, "quick": search["quick"]}
        told |= {"seconds": {"search": (seconds["warm_up"] + seconds["search"]) * searched, **own}, "stand_in": False}
        rows.append(figures | told)
    preset = {"train": train, "space": search["space"], "network": search["network"]}
    preset |= {"scoring": {name: search[name] for name in ("batch_size", "num_batches")}}
    return Evidence(tuple(rows), preset, tuple(results["provenance"].values()), bench_cells=_bench_cells())


def _bench_cells() -> int:
    path = project_root() / "data" / "results" / "score_correlations.json"
    return int(read_json(path)["cells"]["at hand"]) if path.is_file() else 0
