"""The best-practice checklist: each answer follows from a recorded fact, and changes when the fact changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from studies.checklist import ITEMS, Evidence, answer, read_evidence, table, tally

from lightsnn_kit.files import RunError, append_record
from lightsnn_kit.lab import runs

FORWARD, FED_BACK = "|conv3x3~0|+|skip~0|skip~1|", "|conv3x3~0|+|skip~0|skip~1|/|skip~1|skip~2|+|zeroize~2|"
SECONDS = {"load": 1.0, "search": 6.0, "train": 20.0, "evaluate": 3.0, "train_and_checkpoints": 21.0}
PRESET = {
    "train": {"epochs": 8},
    "scoring": {"batch_size": 64},
    "space": "lightsnn",
    "budget": 60,
    "source": "arXiv 2503.21846",
}
MADE = {
    "packages": {"lightsnn_kit": "0.1.0", "torch": "2.13.0"},
    "python": "3.11.7",
    "platform": "Linux",
    "processors": 2,
    "git": {"commit": "abcdef0123", "dirty": False},
}
COUNTS = {"lightsnn": 60, "random-search": 60}


def a_row(method: str, seed: int, accuracy: float = 0.5, **others: object) -> dict[str, object]:
    row = {"preset": "p", "dataset": "d", "source": "s", "method": method, "seed": seed, "cell": FED_BACK}
    row |= {"test_accuracy": accuracy, "test_samples": 100, "val_accuracy": 0.6, "epoch": 3, "diverged": False}
    row |= {"evaluations": COUNTS.get(method, 0), "seconds": SECONDS, "quick": False, "stand_in": False}
    return row | others


METHODS = ("lightsnn", "lightsnn-cut", "random-search", "random")
ROWS = tuple(a_row(method, seed) for method in METHODS for seed in range(3))
COMPLETE = Evidence(ROWS, PRESET, (MADE,) * len(ROWS), bench_cells=356)


def verdict(evidence: Evidence, number: int) -> str:
    return answer(evidence)[number - 1].verdict


def facts(evidence: Evidence, number: int) -> str:
    return answer(evidence)[number - 1].facts


def with_rows(**changes: object) -> Evidence:
    """The complete evidence with entries of its first row changed; None removes one."""
    first = {key: value for key, value in (ROWS[0] | changes).items() if value is not None}
    return replace(COMPLETE, rows=(first, *ROWS[1:]))


def evidence_with(**changes: object) -> Evidence:
    """The complete evidence with the provenance of its first row changed."""
    return replace(COMPLETE, provenance=(MADE | changes, *COMPLETE.provenance[1:]))


def without(*methods: str) -> Evidence:
    return replace(COMPLETE, rows=tuple(row for row in ROWS if row["method"] not in methods))


def test_all_fourteen_are_answered_in_order() -> None:
    answers = answer(COMPLETE)
    assert [a.number for a in answers] == list(range(1, 15))
    assert len({a.item for a in answers}) == len(ITEMS) == 14
    assert [a.verdict for a in answers] == [
        *("yes", "yes", "yes"),
        *("yes", "yes", "yes", "partly", "yes", "yes", "partly", "yes"),
        *("not recorded", "yes", "partly"),
    ]
    assert tally(answers) == "yes 10, partly 3, not recorded 1"


def test_code_with_uncommitted_changes_is_not_kept_as_used() -> None:
    dirty = evidence_with(git={"commit": "abcdef0123", "dirty": True})
    assert [verdict(dirty, number) for number in (1, 2, 3)] == ["partly", "partly", "no"]
    assert "1 of 12 records" in facts(dirty, 3)
    unknown = evidence_with(git=None)
    assert [verdict(unknown, number) for number in (1, 2, 3)] == ["not recorded"] * 3


def test_settings_that_are_missing_are_said_to_be() -> None:
    bare = replace(COMPLETE, preset={})
    assert [verdict(bare, number) for number in (1, 2)] == ["not recorded"] * 2
    assert "training: not recorded" in facts(bare, 1)
    assert "epochs 8" in facts(COMPLETE, 1)
    strange = with_rows(method="mine")
    assert verdict(strange, 2) == "partly"
    assert "not methods of this version: mine" in facts(strange, 2)


def test_another_data_set_or_other_seeds_make_another_benchmark() -> None:
    assert verdict(with_rows(source="t"), 4) == "no"
    assert facts(with_rows(test_samples=50), 4) == "test_samples: 100, 50"
    assert verdict(with_rows(seed=9), 4) == "partly"
    assert "cells without backward edges: lightsnn" in facts(with_rows(cell=FORWARD), 4)
    assert "quick run, not a result" in facts(with_rows(quick=True), 4)


def test_an_ablation_is_a_pair_with_common_seeds() -> None:
    better = replace(
        COMPLETE, rows=tuple(row | {"test_accuracy": 0.75} if row["method"] == "lightsnn" else row for row in ROWS)
    )
    assert "feedback of the found cell (lightsnn − lightsnn-cut): 25.0 points over 3 seeds" in facts(better, 5)
    assert verdict(without("lightsnn-cut"), 5) == "no"


def test_the_protocol_needs_an_epoch_chosen_on_validation() -> None:
    assert verdict(with_rows(val_accuracy=None), 6) == "not recorded"
    diverged = with_rows(val_accuracy=None, diverged=True)
    assert verdict(diverged, 6) == "yes"
    assert "diverged trainings: 1" in facts(diverged, 6)


def test_random_baselines_and_their_effort() -> None:
    assert verdict(without("random"), 8) == verdict(without("random-search"), 8) == "partly"
    assert verdict(without("random", "random-search"), 8) == "no"
    short = replace(
        COMPLETE, rows=tuple(row | {"evaluations": 20} if row["method"] == "random-search" else row for row in ROWS)
    )
    assert verdict(short, 8) == "partly"
    assert "random-search with 20 scores; other searches: at most 60 scores" in facts(short, 8)


@pytest.mark.parametrize(("count", "expected"), [(1, "no"), (2, "partly"), (3, "yes")])
def test_seeds(count: int, expected: str) -> None:
    rows = tuple(row for row in ROWS if row["seed"] < count)
    assert verdict(replace(COMPLETE, rows=rows), 9) == expected
    assert f"the fewest a method has: {count}" in facts(replace(COMPLETE, rows=rows), 9)


def test_tables_of_trained_cells() -> None:
    assert "356 cells of SpikeNAS-Bench" in facts(COMPLETE, 10)
    assert verdict(replace(COMPLETE, bench_cells=0), 10) == "no"


def test_machines_versions_and_commits() -> None:
    assert verdict(evidence_with(processors=64), 11) == "no"
    assert verdict(evidence_with(packages={"torch": "1.0"}), 11) == "no"
    other_commit = evidence_with(git={"commit": "0123456789", "dirty": False})
    assert verdict(other_commit, 11) == "partly"
    assert "commits 2" in facts(other_commit, 11)
    assert verdict(replace(COMPLETE, provenance=()), 11) == "not recorded"


def test_tuning_is_told_only_where_it_was_recorded() -> None:
    assert "settings: arXiv 2503.21846" in facts(COMPLETE, 12)
    tuned = replace(COMPLETE, preset=PRESET | {"tuning": "12 trials, 2 hours"})
    assert (verdict(tuned, 12), "12 trials, 2 hours" in facts(tuned, 12)) == ("yes", True)


def test_time_from_start_to_end_by_hand() -> None:
    """1 + 6 + 21 + 3 seconds a row, 12 rows: 6.2 minutes."""
    assert "lightsnn 31, lightsnn-cut 31" in facts(COMPLETE, 13)
    assert "all rows 6 minutes" in facts(COMPLETE, 13)
    resumed = with_rows(seconds=SECONDS | {"train_and_checkpoints": 5.0})  # its first part's seconds are the epochs'
    assert "lightsnn 31" in facts(resumed, 13)
    partial = with_rows(seconds={"train": 20.0})
    assert [verdict(partial, number) for number in (7, 13)] == ["not recorded"] * 2


def test_the_set_up_tells_what_is_missing() -> None:
    assert facts(COMPLETE, 14).endswith("not recorded: processor model, GPU, memory, threads, other load")
    whole = {"processor": "x", "gpu": "none", "memory": "24 GiB", "threads": 1, "load": 0.2}
    assert verdict(replace(COMPLETE, provenance=(MADE | whole,)), 14) == "yes"
    assert verdict(replace(COMPLETE, provenance=()), 14) == "not recorded"


def test_no_rows_no_checklist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Evidence((), PRESET, (MADE,))
    with pytest.raises(RunError, match="no finished rows"):
        read_evidence(tmp_path)


def test_a_table_has_a_line_for_each_and_no_bars_in_its_cells() -> None:
    lines = table(answer(with_rows(source="a|b"))).splitlines()
    assert len(lines) == 2 + 14
    assert all(line.count("|") == 5 for line in lines)


def test_run_folders_and_result_files_are_read(tmp_path: Path) -> None:
    folder = runs.RunFolder.open(tmp_path / "run")
    kept = {name: value for name, value in PRESET.items() if name != "train"}
    folder.stage("experiment", {"preset": kept}).finish({"train": PRESET["train"]})
    for row in ROWS:
        name = f"{row['method']}/seed{row['seed']}"
        stage = folder.stage(name, {"method": row["method"], "seed": row["seed"]})
        folder.stage(f"{name}/train", {"cell": row["cell"], "train": PRESET["train"] | {"seed": row["seed"]}})
        stage.finish(row)
    found = read_evidence(folder.path)
    assert (len(found.rows), len(found.provenance)) == (12, 24)  # each row has that of its beginning and its training's
    assert found.preset == PRESET
    append_record(stage.path / "resumed.jsonl", MADE | {"platform": "another"}, of=stage.begun["id"])
    resumed = read_evidence(folder.path)
    assert len(resumed.provenance) == 25
    assert verdict(resumed, 11) == "no"  # a row was begun on one machine and finished on another
    path = tmp_path / "rows.json"
    made = [MADE, MADE | {"git": {"commit": "fedcba9876", "dirty": False}}]
    begun = {"started": ["now", "later"]}
    rows = [row | begun | {"provenance": [0, row["seed"] % 2], "load": [row["seed"], 9]} for row in ROWS]
    path.write_text(json.dumps({"preset": PRESET, "provenance": made, "rows": rows}))
    kept = read_evidence(path)
    assert kept.commits == ["abcdef0123", "fedcba9876"]
    assert [record["load"] for record in kept.provenance[:4]] == [0, 9, 1, 9]


def test_the_stage_notebooks_have_one_seed_and_no_random_search() -> None:
    """The three rows of the demo: a search, a random cell, and a convolution on every edge."""
    rows = tuple(a_row(method, 7) for method in ("lightsnn", "random", "all-conv"))
    found = replace(COMPLETE, rows=rows)
    assert found.seeds == {"lightsnn": [7], "random": [7], "all-conv": [7]}
    assert [verdict(found, number) for number in (1, 8, 9, 13)] == ["yes", "partly", "no", "yes"]
