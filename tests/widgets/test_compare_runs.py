"""CompareRuns: means over seeds by hand, sorting, cells by list and by click, rows of both kinds of run folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError, write_json
from lightsnn_kit.lab.results import read_runs
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.widgets import CompareRuns

CELLS = ["|conv3x3~0|", "|skip~0|", "|zeroize~0|"]


def row(name: str, seed: int, accuracy: float, synops: float, cell: str = CELLS[0]) -> dict[str, object]:
    return {
        "name": name, "seed": seed, "cell": cell, "test_accuracy": accuracy, "synops": synops, "energy_pj": 9 * synops,
        "parameters": 1200,
    }  # fmt: skip


ROWS = [row("light", 0, 0.7, 1e3, CELLS[1]), row("heavy", 0, 0.8, 4e3), row("heavy", 1, 0.9, 6e3, CELLS[2])]


@pytest.fixture
def view() -> CompareRuns:
    made = CompareRuns(ROWS)
    yield made
    made.close()


def cells_of(view: CompareRuns) -> list[list[str]]:
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in view.table.value.split("<tr>")[2:]]


def test_the_table_by_hand(view: CompareRuns) -> None:
    """0.8 and 0.9: mean 85, standard deviation 10 / √2 = 7.07."""
    assert cells_of(view) == [
        ["heavy", "2", "85.0 ± 7.1 %", "5 k", "45 nJ", "1.2 k"],
        ["light", "1", "70.0 %", "1 k", "9 nJ", "1.2 k"],
    ]
    view.sort.value = "synops"
    assert [line[0] for line in cells_of(view)] == ["light", "heavy"]
    view.sort.value = "name"
    assert [line[0] for line in cells_of(view)] == ["heavy", "light"]
    assert view.describe() == "CompareRuns: 3 runs, best heavy, seed 1: 90.0 %"


def test_the_picture_follows_the_cost(view: CompareRuns) -> None:
    assert "SynOps" in json.loads(view.scatter.spec)["layout"]["xaxis"]["title"]["text"]
    view.cost.value = "energy_pj"
    assert json.loads(view.scatter.spec)["layout"]["xaxis"]["title"]["text"] == "energy per sample (nJ)"
    assert view.figure().layout.xaxis.title.text == "energy per sample (nJ)"


def test_cells_by_list_and_by_click(view: CompareRuns) -> None:
    shown = lambda: [graph.graph["edges"][0]["ops"][0][0] for graph in view.graphs]  # noqa: E731
    assert shown() == ["skip", "conv3x3"]
    for graph in view.graphs:  # each can draw the ops of every run, not of its first cell alone
        assert {entry["op"] for entry in graph.palette} == {"skip", "conv3x3", "zeroize"}
    view.chosen[0].value = 2
    assert shown() == ["zeroize", "conv3x3"]
    for index in (0, 1):  # the right one first, then the left one
        point = {"kind": "click", "curve": 0, "point": 0, "x": 1, "y": 1, "customdata": index}
        view.scatter._handle_custom_msg(point, [])
    assert [widget.value for widget in view.chosen] == [1, 0]
    assert shown() == ["conv3x3", "skip"]
    view.scatter._handle_custom_msg({"kind": "click", "curve": 0, "point": 0, "customdata": 99}, [])
    assert [widget.value for widget in view.chosen] == [1, 0]


def kept(folder: Path, *rows: dict[str, object]) -> Path:
    """A run folder with finished rows, each of a method that bears the row's name."""
    for each in rows:
        row = {"preset": "digits", "quick": False, **each, "method": each["name"]}
        RunFolder.open(folder).stage(f"{each['name']}/seed{each['seed']}", {}).finish(row)
    return folder


def test_run_folders_and_result_files_are_read(tmp_path: Path) -> None:
    folder = kept(tmp_path / "demo", row("found", 0, 0.9, 1e3), row("random", 0, 0.5, 2e3))
    assert [(r["name"], r["test_accuracy"]) for r in read_runs(folder)] == [("found", 0.9), ("random", 0.5)]
    write_json(tmp_path / "rows.json", {"rows": read_runs(folder)})
    assert [r["name"] for r in read_runs(tmp_path / "rows.json")] == ["found", "random"]
    view = CompareRuns(folder)
    assert len(cells_of(view)) == 2
    view.close()


def test_folders_with_other_seeds_are_runs_of_one_name(tmp_path: Path) -> None:
    """0.8 and 0.9: mean 85, standard deviation 7.07; of another preset, or one seed twice, they are told apart."""
    first, second = (kept(tmp_path / n, row("found", seed, a, 1e3)) for n, seed, a in (("a", 0, 0.8), ("b", 1, 0.9)))
    view = CompareRuns([first, second])
    assert cells_of(view)[0][:3] == ["found", "2", "85.0 ± 7.1 %"]
    assert view.describe() == "CompareRuns: 2 runs, best found, seed 1: 90.0 %"
    view.close()
    other = kept(tmp_path / "c", row("found", 2, 0.9, 1e3) | {"preset": "digits, width 16"})
    for place in (other, kept(tmp_path / "d", row("found", 0, 0.9, 1e3))):
        assert [r["name"] for r in read_runs(first, place)] == ["a: found", f"{place.name}: found"]


def test_rows_of_reproduce_are_read(root: Path) -> None:
    rows = read_runs(root / "data" / "results" / "motion-dvs.json")
    view = CompareRuns(rows)
    assert len({r["name"] for r in rows}) == len(cells_of(view)) > 5
    view.close()


def test_wrong_runs_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one finished run"):
        CompareRuns([])
    with pytest.raises(RunError, match="no finished rows"):
        CompareRuns(tmp_path)
    with pytest.raises(ValueError, match="has no 'synops'"):
        CompareRuns([{"name": "a", "cell": CELLS[0], "test_accuracy": 0.5}])
    with pytest.raises(ValueError, match="a cell string is text"):
        CompareRuns([row("a", 0, 0.5, 1.0, cell="no cell")])
