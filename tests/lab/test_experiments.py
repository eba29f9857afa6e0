"""The study end to end: rows resume and never change, summaries by hand, and every preset in quick mode."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standins import make_tiny_gesture

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.cells import Cell
from lightsnn_kit.data import STAND_INS
from lightsnn_kit.figures.results import accuracy_by_method, search_times
from lightsnn_kit.files import RunError, RunExistsError, defaults_of, write_json
from lightsnn_kit.lab import jobs, presets, results
from lightsnn_kit.lab.experiments import Experiment, run_rows
from lightsnn_kit.lab.notebooks import run_notebook
from lightsnn_kit.lab.recorded import RecordedScore
from lightsnn_kit.lab.results import Estimate
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.methods import METHODS, choose
from lightsnn_kit.scoring import ScoringConfig
from lightsnn_kit.spaces import OpMask
from lightsnn_kit.training import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks" / "reproduce"
REPRODUCED = [name for name in presets.PRESETS if name != "digits"]
FOLDER = ROOT / "data" / "results"
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
    experiment = Experiment.open(tmp_path_factory.mktemp("study") / "run", tiny)
    list(run_rows(experiment, ["lightsnn", "snasnet-search", "residual"], [0, 1]))
    return experiment.folder.path


@pytest.fixture
def copied(finished: Path, tiny: presets.Preset, tmp_path: Path) -> Experiment:
    """An experiment in a copy of that folder."""
    return Experiment.open(shutil.copytree(finished, tmp_path / "run"), tiny)


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
        told = Stage(finished / row["method"] / f"seed{row['seed']}").read_json("predictions")
        right = [int(a == b) for a, b in zip(told["predicted"], told["labels"], strict=True)]
        assert row["right"] == "".join(map(str, right))
        assert sum(right) == row["test_correct"]
        assert told["labels"] == presets.get("digits").quick().load().test.y.tolist()
    assert (rows[2]["convs"], rows[2]["feedback_edges"], rows[2]["longest_conv_path"]) == (2, 0, 2)


def test_finished_rows_are_read_back(finished: Path, tiny: presets.Preset) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    rows = list(run_rows(Experiment.open(finished, tiny), ["residual"], [1]))
    assert rows == [row for row in results.gather(finished) if (row["method"], row["seed"]) == ("residual", 1)]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    assert Experiment.open(finished).preset == tiny  # as it was begun
    with pytest.raises(RunExistsError, match=r"preset\.budget was 3, now 4"):
        list(run_rows(Experiment.open(finished, replace(tiny, budget=4)), ["residual"], [1]))
    with pytest.raises(RunExistsError, match=r"train\.learning_rate was 0\.5, now 0\.25"):
        list(run_rows(Experiment.open(finished, tiny.changed(train={"learning_rate": 0.25})), ["residual"], [1]))
    with pytest.raises(ValueError, match="unknown method 'residul'"):
        next(run_rows(Experiment.open(finished, tiny), ["residul"], [9]))
    with pytest.raises(RunError, match="holds no experiment"):
        Experiment.open(finished / "nowhere")


DEFAULTS = [
    *((f"{stage}/seed0/train", ("train", name)) for stage in ("lightsnn",) for name in defaults_of(TrainConfig)),
    *(("experiment", ("preset", name)) for name in defaults_of(presets.Preset) if name not in ("scoring",)),
    *(("experiment", ("preset", "scoring", name)) for name in defaults_of(ScoringConfig)),
]


@pytest.mark.parametrize(("stage", "way"), DEFAULTS, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_a_setting_that_came_later_is_its_default(stage: str, way: tuple, copied: Experiment, monkeypatch) -> None:
    """A run of an earlier version goes on: what its settings lack was made with the default."""
    path = copied.folder.path / stage / "settings.json"
    kept = json.loads(path.read_text())
    del kept["crc32"]
    inside, *names = kept["settings"], *way
    for name in names[:-1]:
        inside = inside[name]
    default = {"train": TrainConfig, "scoring": ScoringConfig}.get(way[-2], presets.Preset)
    was_default = inside.pop(names[-1]) == defaults_of(default)[names[-1]]
    path.write_text(json.dumps(kept))
    if was_default:
        assert [record.epoch for record in copied.row("lightsnn", 0).train()] == [1]
    else:
        with pytest.raises(RunExistsError, match=rf"{names[-1]} was .*, now "):
            list(copied.row("lightsnn", 0).train())


def test_a_row_of_another_run_is_refused(copied: Experiment, tiny: presets.Preset, tmp_path: Path) -> None:
    other = Experiment.open(tmp_path / "other", tiny.changed(budget=4))
    other.load(0)
    shutil.copytree(copied.folder.path / "residual", other.folder.path / "residual")
    for read in (other.rows, lambda: results.gather(other.folder.path), lambda: other.row("residual", 0).choose()):
        with pytest.raises(RunError, match=r"made in another run\. Move it back|experiment was '\w+', now '\w+'"):
            read()
    shutil.rmtree(other.folder.path / "residual")
    assert other.row("residual", 0).choose().cell == copied.row("residual", 0).cell


def test_the_records_of_another_training_are_refused(copied: Experiment) -> None:
    """Its epochs, while it goes on; its weights, when they are tested."""
    row, other = copied.row("lightsnn", 0), copied.row("lightsnn", 1)
    best = row.training.path / "checkpoints" / "best.pt"
    own = best.read_bytes()
    shutil.copy(other.training.path / "checkpoints" / "best.pt", best)
    with pytest.raises(
        RunError, match=r"best\.pt is of another training: .* remove the folder .*train and train again"
    ):
        row.trained()
    best.write_bytes(own)
    (row.training.path / "result.json").unlink()
    epoch = row.training.records("epochs")[0]
    (row.training.path / "epochs.jsonl").unlink()
    row.training.append("epochs", epoch | {"val_loss": 0.125})
    with pytest.raises(RunError, match=r"epochs in .* are not those of the checkpoints: epoch 1\.val_loss was 0\.125"):
        list(row.train())
    shutil.rmtree(row.training.path)  # the way on that the first names
    before = other.training.result
    assert [record.epoch for record in row.train()] == [1]
    assert row.trained().design == row.cell
    assert other.training.result == before


def without_seconds(row: dict) -> dict:
    return {key: value for key, value in row.items() if "seconds" not in key}


def test_an_interrupted_row_goes_on(finished: Path, copied: Experiment) -> None:
    """After 20 of 60 scores, nothing of the training: the same row."""
    place = copied.folder.path / "lightsnn" / "seed0"
    scores = (place / "scores.jsonl").read_text().splitlines(keepends=True)
    steps = (place / "steps.jsonl").read_text()
    (place / "scores.jsonl").write_text("".join(scores[:20]))
    for name in ("result.json", "chosen.json", "steps.jsonl", "layers.json"):
        (place / name).unlink()
    shutil.rmtree(place / "train")
    [row] = run_rows(copied, ["lightsnn"], [0])
    assert without_seconds(row) == without_seconds(results.gather(finished)[0])
    assert len(copied.row("lightsnn").stage.records("scores")) == 60 + 1  # and the chosen cell's own
    assert (place / "steps.jsonl").read_text() == steps


def test_the_steps_of_a_row_can_be_taken_one_by_one(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    """As the stage notebooks do: choose here, train there, test later; the same row."""
    row = Experiment.open(tmp_path, tiny).row("snasnet-search", 1)
    measured = row.measure()
    assert row.choose().score == pytest.approx(measured.sahd)
    with pytest.raises(RunError, match="has not ended"):
        row.trained()
    epochs = list(Experiment.open(tmp_path).row("snasnet-search", 1).train())
    assert [record.epoch for record in epochs] == [1]
    [row] = Experiment.open(tmp_path).rows()
    assert row.training.finished
    figures = without_seconds(row.test())
    assert (figures.pop("sahd"), figures.pop("hd")) == (measured.sahd, measured.hd)
    assert figures == without_seconds(results.gather(finished)[4])
    assert next(layer["name"] for layer in row.stage.read_json("layers")) == "stem.0"


def test_the_same_search_is_not_made_twice(finished: Path, copied: Experiment, tiny, tmp_path: Path) -> None:
    """The cut cell comes from LightSNN's scores, with the seconds that they took; its cell is its forward part."""
    [row] = run_rows(copied, ["lightsnn-cut"], [0])
    scores = [copied.row(method).stage.records("scores") for method in ("lightsnn", "lightsnn-cut")]
    assert scores[0][:60] == scores[1][:60]
    assert row["cell"] == results.gather(finished)[0]["cell"].partition("/")[0]
    assert row["feedback_edges"] == 0
    [computed] = run_rows(Experiment.open(tmp_path / "alone", tiny), ["lightsnn-cut"], [0])
    assert without_seconds(computed) == without_seconds(row)


def test_a_torn_record_of_an_epoch_is_made_up_for(finished: Path, copied: Experiment) -> None:
    """Trained and checkpointed, but the record was not written: it comes from the checkpoint."""
    place = copied.folder.path / "residual" / "seed0"
    (place / "result.json").unlink()
    (place / "train" / "result.json").unlink()
    (place / "train" / "epochs.jsonl").unlink()
    [row] = run_rows(copied, ["residual"], [0])
    assert without_seconds(row) == without_seconds(results.gather(finished)[2])


@pytest.mark.parametrize("value", ["0303 0030 2002 0200", [[0, 3], [0, 0]], "file"], ids=["text", "matrix", "file"])
def test_any_cell_is_trained_and_tested(value: object, tiny: presets.Preset, tmp_path: Path) -> None:
    """A string, a matrix, the file of a saved cell: rows beside those of methods, under names of their own."""
    if value == "file":
        value = tmp_path / "my cell.json"
        write_json(value, {"cell": "|conv3x3~0|+|skip~0|conv3x3~1|"})
    experiment = Experiment.open(tmp_path / "run", tiny)
    row = experiment.row(seed=1, cell=value)
    tested = row.run()
    assert tested["method"] == row.method == ("my-cell" if isinstance(value, Path) else row.method)
    assert isinstance(value, Path) or row.method.startswith("cell-")
    assert (tested["evaluations"], tested["score"]) == (0, None)
    assert [each.name for each in Experiment.open(tmp_path / "run").rows(1)] == [row.name]
    with pytest.raises(RunExistsError, match="cell was"):
        experiment.row(row.method, 1, cell="|skip~0|").choose()
    with pytest.raises(RunError, match="'lightsnn' is a method"):
        experiment.row("lightsnn", cell="|skip~0|")
    with pytest.raises(RunError, match="no saved cell"):
        experiment.row(cell=str(tmp_path / "none.json"))


def test_switches_reach_the_scorer(tiny: presets.Preset) -> None:
    """The published switches, and other images for each candidate where they are asked for."""
    splits, space = tiny.load(), tiny.cell_space
    released = RecordedScore(tiny.variant("published"), splits, 0)
    first, second = (released.scorer(space, index) for index in (0, 1))
    assert (first.config.bn, first.config.feedback, first.config.reset) == ("running", False, False)
    assert first.engine_used == "plain"
    assert not (first.batches[0] == second.batches[0]).all()
    assert first.supernet is second.supernet
    ours = RecordedScore(tiny, splits, 0)
    first, second = (ours.scorer(space, index) for index in (0, 1))
    assert first is second
    assert (first.config.bn, first.config.feedback, first.config.reset) == ("batch", True, True)


def test_published_networks_are_trained_without_feedback(tiny: presets.Preset, tmp_path: Path) -> None:
    """As released: what flows back is never read, so the trained network is that of the forward edges."""
    experiment = Experiment.open(tmp_path, tiny.variant("published"))
    row, forward = run_rows(experiment, ["residual-feedback", "residual"], [0])
    assert sum(edge.is_backward for edge in Cell.parse(row["chosen_cell"]).live_edges) == 1
    assert (row["cell"], row["feedback_edges"], row["parameters"]) == (forward["cell"], 0, forward["parameters"])
    assert "chosen_cell" not in forward


def test_no_network_is_trained_twice(tiny: presets.Preset, tmp_path: Path) -> None:
    """A method that chooses the cell of a finished row takes over its training; another seed's is none of its own."""
    own = tiny.changed(scoring={"feedback": False})  # so residual-feedback is trained as residual
    experiment = Experiment.open(tmp_path / "run", own)
    first, again = run_rows(experiment, ["residual", "residual-feedback"], [0])
    [trained] = run_rows(Experiment.open(tmp_path / "alone", own), ["residual-feedback"], [0])
    assert (again["same_network_as"], again["chosen_cell"]) == ("residual", trained["chosen_cell"])
    assert without_seconds(again) == without_seconds(trained) | {"same_network_as": "residual"}
    assert again["seconds"]["train"] == first["seconds"]["train"]
    assert again["seconds"]["search"] == again["search_seconds"]
    assert not (experiment.row("residual-feedback").training.path / "checkpoints").exists()
    kept = json.loads(results.export(experiment.folder.path, tmp_path / "kept.json").read_text())
    assert [len(row["provenance"]) for row in kept["rows"]] == [2, 4]  # row and training, and those of the other row
    [other] = run_rows(experiment, ["residual-feedback"], [1])
    assert "same_network_as" not in other


def test_one_folder_holds_rows_of_one_data_set(tmp_path: Path) -> None:
    preset = presets.get("dvs128-gesture").quick()
    for layout in ("tonic", "aedat"):
        make_tiny_gesture(tmp_path / layout, layout, num_events=100)
    made = {name: {"folder": tmp_path / name} for name in ("tonic", "aedat")}
    list(run_rows(Experiment.open(tmp_path / "run", preset, data=made["tonic"]), ["all-skip"], [0]))
    with pytest.raises(RunExistsError, match=r"'experiment' .* other settings.*source"):
        list(run_rows(Experiment.open(tmp_path / "run", preset, data=made["aedat"]), ["residual"], [0]))


def test_scores_of_other_masks_are_refused(tiny: presets.Preset, tmp_path: Path) -> None:
    stage, mask = RunFolder.open(tmp_path).stage("s", {}), tiny.cell_space.full_mask()
    stage.append("scores", {"index": 0, "mask": "0", "score": -1.0, "seconds": 1.0, "build_seconds": 0.0})
    with pytest.raises(RunError, match="is of the mask '0', but the search now asks for '012"):
        RecordedScore(tiny, tiny.load(), 0, stage)(mask)


@pytest.mark.parametrize("change", [{}, {"fresh_batches": False}], ids=["published", "same images"])
def test_a_search_without_resets_goes_on_as_if_never_stopped(
    tiny: presets.Preset, tmp_path: Path, change: dict[str, bool]
) -> None:
    """Membranes carry over from score to score, so those read back are computed again first."""
    preset, cells = tiny.variant("published"), np.random.default_rng(0)
    preset = preset.changed(scoring=change, network={"num_steps": 4})
    splits, folder = preset.load(), RunFolder.open(tmp_path)
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
    folder = RunFolder.open("~/mine")
    folder.stage("a/seed0", {"method": "a", "seed": 0}).finish(a_row("a", 0, 0.5))
    assert folder.path == tmp_path / "mine"
    assert results.gather("~/mine")[0]["method"] == "a"
    assert jobs.status("~/mine").state == "finished"


def test_two_rows_of_one_experiment_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds a second row of lightsnn, seed 0 of preset digits"):
        results.gather(finished, finished)
    with pytest.raises(RunError, match="no finished rows"):
        results.gather(tmp_path)


def test_export_keeps_rows_settings_and_provenance(finished: Path, tiny: presets.Preset, tmp_path: Path) -> None:
    path = results.export(finished, tmp_path / "digits.json")
    kept = json.loads(path.read_text())
    assert results.gather(path) == [
        row | {name: each[name] for name in ("started", "load", "provenance")}
        for row, each in zip(results.gather(finished), kept["rows"], strict=True)
    ]
    assert kept["preset"] == json.loads(json.dumps(tiny.to_dict()))
    assert set(kept["provenance"][0]) >= {"packages", "python", "platform", "processor", "memory", "threads", "git"}
    assert all(row["provenance"] == [0, 0] and row["load"][0] >= 0 for row in kept["rows"])
    assert str(Path.home()) not in path.read_text()
    with pytest.raises(RunError):
        results.export(finished, path)  # nothing is overwritten
    assert results.export(finished, path, replace=True) == path


@pytest.mark.parametrize("name", STAND_INS)
def test_stand_ins_are_marked(name: str) -> None:
    preset = presets.get(name).quick()
    splits = preset.load(stand_in=True)
    assert splits.stand_in
    assert "random" in splits.source
    assert preset.network_config(splits).num_classes == splits.num_classes == STAND_INS[name][1]
    with pytest.raises(ValueError, match="unknown set with a stand-in 'digits'"):
        presets.get("digits").load(stand_in=True)


# ---- one name, one cell, at every door -------------------------------------------------------------------------------


EVENTS = ("lightsnn", "balanced", "balanced-recurrent")  # loading simulated events takes seconds


@pytest.mark.parametrize(("data", "name"), [*(("digits", n) for n in METHODS), *(("motion-dvs", n) for n in EVENTS)])
def test_a_name_is_one_cell_at_every_door(data: str, name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    """The function, the command line with and without a run folder, and an experiment's row; for event data, too."""
    preset = presets.get(data).quick()
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(preset, name="tiny"))
    [row] = run_rows(Experiment.open(tmp_path / "rows", presets.get("tiny")), [name], [3])
    score = RecordedScore(presets.get("tiny").scored_for(name), preset.load(seed=3), 3)
    direct = choose(name, preset.cell_space, score=score, seed=3, budget=preset.budget)
    assert row["cell"] == str(direct.cell)
    assert row["score"] == direct.score
    for more in ([], ["--run", str(tmp_path / "search")]):
        options = ["search", "--method", name, "--preset", "tiny", "--seed", "3", "--json", *more]
        assert command_line.main(options) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["cell"], found["evaluations"]) == (row["cell"], row["evaluations"])


def test_commands_search_train_and_test(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(presets.get("digits").quick(), name="tiny"))
    assert command_line.main(["search", "--space", "lightsnn-forward", "--seed", "7", "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Cell.parse(line["cell"]) == Cell.from_edges(line["edges"], num_nodes=4, backward=False)
    assert (line["method"], line["dataset"], line["seed"], line["evaluations"]) == ("balanced", "digits", 7, 0)
    assert math.isfinite(line["score"])
    assert command_line.main(["search", "--preset", "tiny", "--method", "snasnet-search"]) == 0
    assert "SNASNet's random search" in capsys.readouterr().out
    options = ["search", "--preset", "tiny", "--method", "lightsnn", "--space", "lightsnn-forward", "--proxy", "swap"]
    assert command_line.main([*options, "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["score"] == int(line["score"]) > 0  # a count
    assert line["preset"].endswith(", proxy swap")
    assert (
        command_line.main(
            [
                "train",
                "--cell",
                "0303 0030 2002 0200",
                "--dataset",
                "tiny",
                "--epochs",
                "2",
                "--setting",
                "recompute=true",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "epoch 2 of 2" in said
    assert "evaluate --run runs/train" in said
    [settings] = [
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "train").glob("*/seed0/train/settings.json")
    ]
    assert settings["settings"]["train"]["recompute"] is True
    assert command_line.main(["evaluate", "--run", "runs/train", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert row == results.gather(tmp_path / "runs" / "train")[0]
    assert Cell.parse(row["cell"]) == Cell.parse("0303 0030 2002 0200")
    whole = ["train", "--cell", "0303 0030 2002 0200", "--dataset", "tiny", "--epochs", "1", "--name", "mine", "--test"]
    assert command_line.main([*whole, "--run", "runs/whole", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    [row] = results.gather(tmp_path / "runs" / "whole")
    assert (row["method"], found["row"], found["test_accuracy"]) == ("mine", "mine/seed0", row["test_accuracy"])
    assert jobs.status("runs/whole").state == "finished"  # a RunMonitor can watch it
    assert command_line.main(["train", "--method", "balanced", "--preset", "tiny"]) == 0  # the next free name
    assert (tmp_path / "runs" / "train-2" / "balanced" / "seed0" / "train" / "result.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--preset", "no-such-set"], "unknown preset 'no-such-set'"),
        (["search", "--method", "balancd"], "Did you mean 'balanced'"),
        (["search", "--space", "lightsn"], "unknown space 'lightsn'"),
        (["search", "--proxy", "swop"], "Did you mean 'swap'"),
        (["train", "--cell", "0303 0030"], "square"),
        (["train", "--setting", "acumulate=2"], "unknown setting of train 'acumulate'"),
        (["train", "--setting", "recompute=maybe"], "recompute must be True or False, got 'maybe'"),
        (["evaluate", "--run", "nowhere"], "holds no experiment"),
    ],
)
def test_commands_refuse_in_one_message(arguments: list[str], message: str, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.main(arguments) == 2
    assert message in capsys.readouterr().err


# ---- committed results -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results(path: Path) -> None:
    """At least three seeds of every method, of real runs of committed code, with the settings of today's preset."""
    kept, rows = json.loads(path.read_text()), results.gather(path)
    begun = {"samples": {}} | kept["preset"]
    begun["train"] = defaults_of(TrainConfig) | begun["train"]  # settings that came later count as their defaults
    assert begun == json.loads(json.dumps(presets.get(path.stem).to_dict()))
    assert results.caveat(rows) == ""
    assert min(len(group) for group in results.by_method(rows).values()) >= 3
    assert set(results.by_method(rows)) >= {"lightsnn", "snasnet-search", "random", "residual", "balanced"}
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
    executed = run_notebook(NOTEBOOKS / "report.ipynb", output=tmp_path / "report.ipynb")
    assert "not measured here" in executed.read_text()
