"""The picture of a front and its table, as numbers: which cells lie where, what marks them, and wrong questions."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from lightsnn_kit import figures
from lightsnn_kit.cells import Cell
from lightsnn_kit.files import RunExistsError
from lightsnn_kit.pareto import Point, pareto_front, pick

INF = float("inf")
CELL = Cell.parse("|conv3x3~0|/|skip~1|")
ROWS = ((-40.0, 9000.0, 18.0), (-30.0, 12000.0, 27.0), (-45.0, 9000.0, 9.0), (-INF, 1000.0, 0.0), (-50.0, 10000.0, 9.0))
POINTS = [Point(index, CELL, *row) for index, row in enumerate(ROWS)]
FRONT = pareto_front(POINTS)


def drawn(fig: go.Figure) -> dict[str, list[tuple[float, float]]]:
    return {trace.name: list(zip(trace.x, trace.y, strict=True)) for trace in fig.data}


def test_cells_lie_at_their_cost_and_score() -> None:
    fig = figures.pareto_scatter(POINTS, FRONT, picked=pick(POINTS))
    assert [point.index for point in FRONT] == [0, 1, 2]
    assert drawn(fig) == {
        "other cells": [(10.0, -50.0)],
        "front": [(9.0, -40.0), (12.0, -30.0), (9.0, -45.0)],
        "−∞ (dead)": [(1.0, -52.4)],  # 0.12 of the span below the lowest
        "picked": [(12.0, -30.0)],
    }
    assert fig.layout.xaxis.title.text == "SynOps per sample, estimated before training (k)"
    assert "score" in fig.layout.yaxis.title.text
    assert "5 cells scored, 3 on the front" in re.sub("<[^>]+>", "", fig.layout.title.text)
    assert "1 dead" in fig.layout.title.text.replace("<br>", " ")
    symbols = [trace.marker.symbol for trace in fig.data]
    assert len(set(symbols)) == len(symbols)  # not by colour alone


def test_hovering_tells_the_cell() -> None:
    joint = [Point(7, CELL, 2.0, 9000.0, 18.0, 4), Point(8, CELL, 1.0, 3000.0, 18.0, 2)]
    fig = figures.pareto_scatter(joint, joint, cost="num_steps")
    assert fig.data[0].text[0] == "|conv3x3~0|<br>/|skip~1|<br>score 2<br>9,000 SynOps<br>18 C² weights<br>T = 4"
    assert drawn(fig)["front"] == [(4.0, 2.0), (2.0, 1.0)]
    assert "T = " not in figures.pareto_scatter(POINTS, FRONT).data[0].text[0]
    weights = figures.pareto_scatter(POINTS, [], cost="weights")
    assert (list(weights.data[0].x), weights.layout.xaxis.title.text) == (
        [18.0, 27.0, 9.0, 9.0],
        "convolution weights of a cell (C²)",
    )
    dead = figures.pareto_scatter(POINTS[3:4], [])
    assert drawn(dead) == {"−∞ (dead)": [(1.0, -0.12)]}


def test_the_table_holds_what_is_drawn(tmp_path: Path) -> None:
    path = figures.write_pareto_csv(tmp_path / "front.csv", POINTS, FRONT)
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["front"] for row in rows] == ["1", "1", "1", "0", "0"]
    values = [(float(row["score"]), float(row["synops"]), float(row["weights"])) for row in rows]
    assert values == list(ROWS)
    assert {Cell.parse(row["cell"]) for row in rows} == {CELL}
    assert {row["num_steps"] for row in rows} == {""}
    before = path.read_bytes()
    with pytest.raises(RunExistsError, match=r"front\.csv exists"):
        figures.write_pareto_csv(path, POINTS[:1], [])
    assert path.read_bytes() == before
    figures.write_pareto_csv(path, POINTS[:1], [], replace=True)
    assert len(path.read_text().splitlines()) == 2


def test_wrong_questions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one scored cell, got none"):
        figures.pareto_scatter([], [])
    with pytest.raises(ValueError, match=r"unknown cost 'synop'.*Did you mean 'synops'"):
        figures.pareto_scatter(POINTS, FRONT, cost="synop")
    with pytest.raises(ValueError, match="point 4 of the front is not among the 2 points"):
        figures.pareto_scatter(POINTS[:2], [POINTS[4]])
    with pytest.raises(ValueError, match="point 4 of the front is not among the 2 points"):
        figures.write_pareto_csv(tmp_path / "front.csv", POINTS[:2], [POINTS[4]])
    assert not (tmp_path / "front.csv").exists()
    with pytest.raises(ValueError, match="this record has no 'score'"):
        figures.pareto_scatter([{"index": 0, "cell": "", "synops": 1.0}], [])
