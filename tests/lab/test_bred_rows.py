"""Rows of genetic searches: recorded score by score with SynOps, gone on with after any score, refused when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.pareto import pareto_front, pick
from lightsnn_kit.records import read_points
from lightsnn_kit.spaces import OpMask

BRED = ("evolution", "nsga2")
PRESET = presets.get("digits").quick().changed(budget=14)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which both searches have chosen."""
    experiment = Experiment.open(tmp_path_factory.mktemp("bred") / "run", PRESET)
    for name in BRED:
        experiment.row(name).choose()
    return experiment.folder.path


def without_seconds(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in records]


def test_the_whole_front_can_be_drawn_from_the_records(finished: Path) -> None:
    row = Experiment.open(finished).row("nsga2")
    points = read_points(row.stage.records("scores"), PRESET.cell_space)
    scorer, chosen = row.scorer(), row.choose()
    assert len(points) == len({point.cell for point in points}) == chosen.evaluations == 14
    assert pick(points).cell == chosen.cell
    assert pick(points) in pareto_front(points)
    masks = [OpMask.from_cell(point.cell, PRESET.cell_space) for point in points]
    assert [(point.score, point.synops) for point in points] == list(map(scorer.with_synops, masks))
    assert "synops" not in Experiment.open(finished).row("evolution").stage.records("scores")[0]


@pytest.mark.parametrize("done", [0, 1, 3, 4, 9, 14])
@pytest.mark.parametrize("name", BRED)
def test_a_search_goes_on_after_any_score(name: str, done: int, finished: Path, tmp_path: Path) -> None:
    row = Experiment.open(shutil.copytree(finished, tmp_path / "run")).row(name)
    before, chosen = row.stage.records("scores"), row.choose()
    lines = (row.stage.path / "scores.jsonl").read_text().splitlines(keepends=True)
    (row.stage.path / "scores.jsonl").write_text("".join(lines[:done]))
    (row.stage.path / "chosen.json").unlink()
    again, after = row.choose(), row.stage.records("scores")
    assert (again.cell, again.score, again.evaluations) == (chosen.cell, chosen.score, chosen.evaluations)
    assert after[:done] == before[:done]  # read back, seconds and all
    assert without_seconds(after) == without_seconds(before)


def test_records_that_do_not_fit_are_refused(finished: Path, tmp_path: Path) -> None:
    """One without SynOps, as that of another search; the masks of another search."""
    experiment = Experiment.open(shutil.copytree(finished, tmp_path / "run"))
    row = experiment.row("nsga2")
    (row.stage.path / "chosen.json").unlink()
    file = row.stage.path / "scores.jsonl"
    records = row.stage.records("scores")
    file.unlink()
    for record in records:
        row.stage.append("scores", {key: value for key, value in record.items() if key != "synops"})
    with pytest.raises(RunError, match=r"score 0 in .*nsga2.*synops"):
        row.choose()
    file.unlink()
    row.stage.append("scores", records[1] | {"index": 0})
    with pytest.raises(RunError, match=r"score 0 in .* is of the mask .* Choose another run folder"):
        row.choose()
