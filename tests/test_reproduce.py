"""The study end to end: rows resume and never change, summaries by hand, and every preset in quick mode."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.cells import Cell
from lightsnn_kit.data.standins import make_tiny_gesture
from lightsnn_kit.figures.results import accuracy_by_method, search_times
from lightsnn_kit.lab import jobs, presets, results, runs
from lightsnn_kit.lab.evidence import read_evidence
from lightsnn_kit.lab.results import Estimate
from lightsnn_kit.lab.study import RecordedScore, row_name, run_rows, stand_in_data
from lightsnn_kit.spaces import OpMask

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks" / "reproduce"
REPRODUCED = [name for name in presets.PRESETS if name != "digits"]
FOLDER = Path(__file__).resolve().parents[1] / "data" / "results"
RESULTS = [path for name in presets.PRESETS if (path := FOLDER / f"{name}.json").is_file()]


def a_row(method: str, seed: int, accuracy: float, **others: object) -> dict[str, object]:
    """A row with the entries that summaries read."""
    row = {"preset": "p", "dataset": "d", "method": method, "seed": seed, "test_accuracy": accuracy, "quick": False}
    row |= {"stand_in": False, "evaluations": 60, "search_seconds": 13.0, "build_seconds": 2.0}
    row |= {"first_score_seconds": 3.0, "score_seconds_median": 0.1, "seconds": {"load": 1.0}}
    return row | others


# ---- summaries -------------------------------------------------------------------------------------------------------


def test_estimates_by_hand() -> None:
    """0.4, 0.5, 0.6: sd 0.1, half width 4.302653 · 0.1 / √3 = 0.248414."""
    found = Estimate.of([0.4, 0.5, 0.6])
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(0.5), pytest.approx(0.1))
    assert found.high - found.mean == pytest.approx(found.mean - found.low) == pytest.approx(0.248414, abs=1e-6)
    one = Estimate.of([0.4])
    assert (one.n, one.mean) == (1, 0.4)
    assert all(map(math.isnan, (one.sd, one.low, one.high)))
    with pytest.raises(ValueError, match="at least one value"):
        Estimate.of([])


def test_paired_differences_use_common_seeds() -> None:
    rows = [a_row("a", seed, accuracy) for seed, accuracy in ((0, 0.5), (1, 0.6), (2, 0.9))]
    rows += [a_row("b", seed, accuracy) for seed, accuracy in ((0, 0.4), (1, 0.3), (3, 0.1))]
    gap = results.paired(rows, "a", "b")
    assert (gap.n, gap.mean) == (2, pytest.approx(0.2))
    assert results.paired(rows, "a", "c") is None
    with pytest.raises(ValueError, match=r"rows of one preset, got p, q"):
        results.paired([*rows, a_row("a", 0, 0.1, preset="q")], "a", "b")


def test_search_seconds_count_everything() -> None:
    row = a_row("snasnet-search", 0, 0.5)
    assert results.search_seconds(row) == 1.0 + 13.0
    assert results.extrapolated_seconds(row) == pytest.approx(1.0 + 2.0 + 3.0 + 4999 * 0.1)
    assert math.isnan(results.extrapolated_seconds(row | {"evaluations": 0}))


def test_quoted_figures_are_those_allowed() -> None:
    accuracies = {(quote.dataset, quote.value, quote.sd) for quote in results.PUBLISHED if quote.sd}
    assert accuracies == {
        ("cifar10", 93.12, 0.42),
        ("cifar10", 93.73, 0.32),
        ("cifar100", 70.06, 0.45),
        ("cifar100", 73.04, 0.36),
        ("tiny-imagenet", 52.81, 0.56),
        ("tiny-imagenet", 54.60, 0.48),
    }
    assert {quote.value for quote in results.PUBLISHED if not quote.sd} == {98, 4.49, 30}
    assert all("arXiv" in quote.source for quote in results.PUBLISHED)


def test_caveats() -> None:
    plain = a_row("a", 0, 0.5)
    assert results.caveat([plain]) == ""
    assert results.caveat([plain, plain | {"quick": True}]) == "quick run, not a result"
    assert results.caveat([plain | {"quick": True, "stand_in": True}]) == "synthetic stand-in, not a result"


def test_figures_show_every_seed() -> None:
    rows = [a_row(method, seed, 0.1 * seed + 0.2) for method in ("lightsnn", "snasnet-search") for seed in range(3)]
    points, means = accuracy_by_method(rows, chance=0.1).data
    assert sorted(points.x) == pytest.approx([20, 20, 30, 30, 40, 40])
    assert list(means.x) == pytest.approx([30, 30])
    assert list(means.error_x.array) == pytest.approx([24.8414] * 2, abs=1e-3)
    bars = search_times(rows).data[0]
    assert list(bars.x) == pytest.approx([14.0, 14.0, 505.9])
    assert "extrapolated" in bars.y[-1]
    with pytest.raises(ValueError, match="at least one row"):
        accuracy_by_method([])
    with pytest.raises(ValueError, match="a method that scores networks"):
        search_times([a_row("random", 0, 0.5, evaluations=0)])


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> presets.Preset:
    return presets.get("digits").quick()


@pytest.fixture(scope="module")
def finished(tiny: presets.Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with rows of three methods and two seeds."""
    folder = runs.RunFolder.open(tmp_path_factory.mktemp("study") / "run")
    list(run_rows(folder, tiny, methods=["lightsnn", "snasnet-search", "residual"], seeds=[0, 1]))
    return folder.path


def test_rows_are_complete(finished: Path) -> None:
    rows = results.gather(finished)
    assert [(row["method"], row["seed"]) for row in rows][:3] == [
        ("lightsnn", 0),
        ("snasnet-search", 0),
        ("residual", 0),
    ]
    assert [row["evaluations"] for row in rows] == [60, 3, 0] * 2
    for row in rows:
        assert row["test_accuracy"] == row["test_correct"] / row["test_samples"]
        assert row["energy_pj"] == pytest.approx(4.6 * row["macs"] + 0.9 * row["synops"])
        assert (row["quick"], row["stand_in"], row["diverged"], row["epoch"]) == (True, False, False, 1)
        assert row["search_seconds"] >= row["build_seconds"] >= 0
    assert (rows[2]["convs"], rows[2]["feedback_edges"], rows[2]["longest_conv_path"]) == (2, 0, 2)


def test_finished_rows_are_read_back(finished: Path, tiny: presets.Preset) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    rows = list(run_rows(runs.RunFolder.open(finished), tiny, methods=["residual"], seeds=[1]))
    assert rows == [row for row in results.gather(finished) if (row["method"], row["seed"]) == ("residual", 1)]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    other = replace(tiny, budget=4)
    with pytest.raises(runs.RunExistsError, match="budget was 3, now 4"):
        list(run_rows(runs.RunFolder.open(finished), other, methods=["residual"], seeds=[1]))
    with pytest.raises(ValueError, match="unknown method 'residul'"):
        next(run_rows(runs.RunFolder.open(finished), tiny, methods=["residul"], seeds=[9]))


def without_seconds(row: dict) -> dict:
    return {key: value for key, value in row.items() if "seconds" not in key}


def test_an_interrupted_row_goes_on(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    """After 20 of 60 scores, nothing of the training: the same row."""
    folder = runs.RunFolder.open(shutil.copytree(finished, tmp_path / "run"))
    place = folder.path / row_name("lightsnn", 0)
    scores = (place / "scores.jsonl").read_text().splitlines(keepends=True)
    (place / "scores.jsonl").write_text("".join(scores[:20]))
    (place / "result.json").unlink()
    (place / "epochs.jsonl").unlink()
    shutil.rmtree(place / "checkpoints")
    [row] = run_rows(folder, tiny, methods=["lightsnn"], seeds=[0])
    assert without_seconds(row) == without_seconds(results.gather(finished)[0])
    assert len(folder.read(row_name("lightsnn", 0)).records("scores")) == 60


def test_the_same_search_is_not_made_twice(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    """The cut cell comes from LightSNN's scores, with the seconds that they took; its cell is its forward part."""
    folder = runs.RunFolder.open(shutil.copytree(finished, tmp_path / "run"))
    [row] = run_rows(folder, tiny, methods=["lightsnn-cut"], seeds=[0])
    scores = [folder.read(row_name(method, 0)).records("scores") for method in ("lightsnn", "lightsnn-cut")]
    assert scores[0] == scores[1]
    assert row["cell"] == results.gather(finished)[0]["cell"].partition("/")[0]
    assert row["feedback_edges"] == 0
    alone = runs.RunFolder.open(tmp_path / "alone")
    [computed] = run_rows(alone, tiny, methods=["lightsnn-cut"], seeds=[0])
    assert without_seconds(computed) == without_seconds(row)


def test_a_torn_record_of_an_epoch_is_made_up_for(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    """Trained and checkpointed, but the record was not written: it comes from the checkpoint."""
    folder = runs.RunFolder.open(shutil.copytree(finished, tmp_path / "run"))
    place = folder.path / row_name("residual", 0)
    (place / "result.json").unlink()
    (place / "epochs.jsonl").unlink()
    [row] = run_rows(folder, tiny, methods=["residual"], seeds=[0])
    assert without_seconds(row) == without_seconds(results.gather(finished)[2])


def test_switches_reach_the_scorer(tiny: presets.Preset, tmp_path: Path) -> None:
    """The published switches, and other images for each candidate where they are asked for."""
    stage = runs.RunFolder.open(tmp_path).stage("s", {})
    splits, space = tiny.load(), tiny.cell_space
    released = RecordedScore(tiny.variant("published"), splits, 0, stage)
    first, second = (released._prepared(space, index) for index in (0, 1))
    assert (first.bn, first.feedback, first.reset, first.engine_used) == ("running", False, False, "plain")
    assert not (first.batches[0] == second.batches[0]).all()
    assert first.supernet is second.supernet
    ours = RecordedScore(tiny, splits, 0, stage)
    first, second = (ours._prepared(space, index) for index in (0, 1))
    assert first is second
    assert (first.bn, first.feedback, first.reset) == ("batch", True, True)


def test_published_networks_are_trained_without_feedback(tiny: presets.Preset, tmp_path: Path) -> None:
    """As released: what flows back is never read, so the trained network is that of the forward edges."""
    folder = runs.RunFolder.open(tmp_path)
    [row] = run_rows(folder, tiny.variant("published"), methods=["residual-feedback"], seeds=[0])
    [forward] = run_rows(folder, tiny.variant("published"), methods=["residual"], seeds=[0])
    assert sum(edge.is_backward for edge in Cell.parse(row["chosen_cell"]).live_edges) == 1
    assert (row["cell"], row["feedback_edges"], row["parameters"]) == (forward["cell"], 0, forward["parameters"])
    assert "chosen_cell" not in forward


def test_no_network_is_trained_twice(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    """A method that chooses the cell of a finished row takes over its training; another seed's is none of its own."""
    folder = runs.RunFolder.open(tmp_path)
    own = replace(tiny, scoring=replace(tiny.scoring, feedback=False))  # so residual-feedback is trained as residual
    first, again = run_rows(folder, own, methods=["residual", "residual-feedback"], seeds=[0])
    alone = runs.RunFolder.open(tmp_path / "alone")
    [trained] = run_rows(alone, own, methods=["residual-feedback"], seeds=[0])
    assert (again["same_network_as"], again["chosen_cell"]) == ("residual", trained["chosen_cell"])
    assert without_seconds(again) == without_seconds(trained) | {"same_network_as": "residual"}
    assert again["seconds"]["train"] == first["seconds"]["train"]
    assert again["seconds"]["search"] == again["search_seconds"]
    assert not (folder.path / row_name("residual-feedback", 0) / "checkpoints").exists()
    told = json.loads(results.export(folder.path, tmp_path / "told.json").read_text())
    assert [len(row["made_with"]) for row in told["rows"]] == [1, 2]  # its own provenance, and that of the training
    [other] = run_rows(folder, own, methods=["residual-feedback"], seeds=[1])
    assert "same_network_as" not in other


def test_one_folder_holds_rows_of_one_data_set(tmp_path: Path) -> None:
    preset = presets.get("dvs128-gesture").quick()
    for layout in ("tonic", "aedat"):
        make_tiny_gesture(tmp_path / layout, layout, num_events=100)
    folder = runs.RunFolder.open(tmp_path / "run")
    made = {name: {"folder": tmp_path / name} for name in ("tonic", "aedat")}
    list(run_rows(folder, preset, methods=["all-skip"], seeds=[0], data=made["tonic"]))
    with pytest.raises(runs.RunExistsError, match=r"'data' .* other settings.*source"):
        list(run_rows(folder, preset, methods=["residual"], seeds=[0], data=made["aedat"]))


def test_scores_of_other_masks_are_refused(tiny: presets.Preset, tmp_path: Path) -> None:
    stage, mask = runs.RunFolder.open(tmp_path).stage("s", {}), tiny.cell_space.full_mask()
    stage.append("scores", {"index": 0, "mask": "0", "score": -1.0, "seconds": 1.0, "build_seconds": 0.0})
    with pytest.raises(runs.RunError, match="is of the mask '0', but the search now asks for '012"):
        RecordedScore(tiny, tiny.load(), 0, stage)(mask)


@pytest.mark.parametrize("change", [{}, {"fresh_batches": False}], ids=["published", "same images"])
def test_a_search_without_resets_goes_on_as_if_never_stopped(
    tiny: presets.Preset, tmp_path: Path, change: dict[str, bool]
) -> None:
    """Membranes carry over from score to score, so those read back are computed again first."""
    preset, cells = tiny.variant("published"), np.random.default_rng(0)
    preset = replace(preset, scoring=replace(preset.scoring, **change), network=dict(preset.network) | {"num_steps": 4})
    splits, folder = preset.load(), runs.RunFolder.open(tmp_path)
    masks = [OpMask.from_cell(preset.cell_space.sample(cells), preset.cell_space) for _ in range(8)]
    scored = RecordedScore(preset, splits, 0, folder.stage("one", {}))
    whole = [scored(mask) for mask in masks]
    stage = folder.stage("two", {})
    first = RecordedScore(preset, splits, 0, stage)
    assert [first(mask) for mask in masks[:5]] == whole[:5]
    again = RecordedScore(preset, splits, 0, stage)
    assert [again(mask) for mask in masks] == whole
    assert [record["index"] for record in stage.records("scores")] == list(range(8))


def test_the_home_folder_is_one_place_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = runs.RunFolder.open("~/mine")
    folder.stage(row_name("a", 0), {"preset": {}}).finish(a_row("a", 0, 0.5))
    assert folder.path == tmp_path / "mine"
    assert results.gather("~/mine")[0]["method"] == "a"
    assert read_evidence("~/mine").seeds == {"a": [0]}
    assert jobs.status("~/mine").state == "finished"


def test_two_rows_of_one_experiment_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(runs.RunError, match="holds a second row of lightsnn, seed 0 of preset digits"):
        results.gather(finished, finished)
    with pytest.raises(runs.RunError, match="no finished rows"):
        results.gather(tmp_path)


def test_export_keeps_rows_settings_and_provenance(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    path = results.export(finished, tmp_path / "digits.json")
    kept = json.loads(path.read_text())
    assert [record["git"] for record in read_evidence(path).provenance] == [
        record["git"] for record in read_evidence(finished).provenance
    ]
    assert results.gather(path)[0]["cell"] == results.gather(finished)[0]["cell"]
    assert kept["preset"]["network"] == dict(tiny.network)
    assert set(kept["provenance"][0]) >= {"packages", "python", "platform", "processor", "memory", "threads", "git"}
    assert all(row["made_with"] == [0] and row["load"][0] >= 0 for row in kept["rows"])
    assert str(Path.home()) not in path.read_text()
    with pytest.raises(runs.RunError):
        results.export(finished, path)  # nothing is overwritten


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "dvs128-gesture"])
def test_stand_ins_are_marked(name: str, tmp_path: Path) -> None:
    options = stand_in_data(name, tmp_path)
    assert stand_in_data(name, tmp_path) == options  # made once
    preset = presets.get(name).quick()
    assert preset.load(**options).stand_in
    assert stand_in_data("digits", tmp_path) == {}


# ---- committed results -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results(path: Path) -> None:
    """At least three seeds of every method, of real runs of committed code, with the settings of today's preset."""
    kept, rows = json.loads(path.read_text()), results.gather(path)
    assert kept["preset"] == json.loads(json.dumps(presets.get(path.stem).to_dict()))
    assert results.caveat(rows) == ""
    assert min(len(group) for group in results.by_method(rows).values()) >= 3
    assert set(results.by_method(rows)) >= {"lightsnn", "lightsnn-cut", "lightsnn-forward", "snasnet-search", "random"}
    assert all(made["packages"]["torch"] and not made["git"]["dirty"] for made in kept["provenance"])
    assert all(row["test_correct"] == round(row["test_accuracy"] * row["test_samples"]) for row in rows)


# ---- the notebooks ---------------------------------------------------------------------------------------------------


@pytest.mark.notebooks
@pytest.mark.parametrize("name", REPRODUCED)
def test_every_preset_runs_quick(name: str, tmp_path: Path) -> None:
    """``make reproduce PRESET=name QUICK=1``: both notebooks, and a second run that changes nothing."""
    folder = tmp_path / "run"
    both = [str(NOTEBOOKS / f"{stem}.ipynb") for stem in ("run", "report")]
    command = ["run", *both, "--run", str(folder), "-p", f"preset={name}", "-p", "quick=true"]
    assert command_line.main(command) == 0
    rows = results.gather(folder)
    assert [(row["method"], row["seed"]) for row in rows[:5]] == [
        ("lightsnn", 0),
        ("snasnet-search", 0),
        ("residual", 0),
        ("residual-feedback", 0),
        ("lightsnn", 1),
    ]
    real = name in ("fashion-mnist-small", "motion-dvs")
    assert results.caveat(rows) == ("quick run, not a result" if real else "synthetic stand-in, not a result")
    report = (folder / "report.ipynb").read_text()
    assert results.caveat(rows) in report
    assert '"output_type": "error"' not in report
    for stem in ("run", "report"):
        assert (folder / f"{stem}.html").is_file()


@pytest.mark.notebooks
@pytest.mark.skipif(not RESULTS, reason="no committed results to report")
def test_the_report_opens_on_committed_results(tmp_path: Path) -> None:
    executed = runs.run_notebook(NOTEBOOKS / "report.ipynb", output=tmp_path / "report.ipynb")
    assert "not measured here" in executed.read_text()
