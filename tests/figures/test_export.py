"""Figures as files: what they show by hand, pages without a network, pictures or a word on what they need."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest

from lightsnn_kit import figures
from lightsnn_kit.figures.export import export, traces
from lightsnn_kit.files import RunError, RunExistsError


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_table_by_hand(tmp_path: Path) -> None:
    figure = go.Figure(layout={"title": "<b>Two</b> traces<br>and a note"})
    figure.add_scatter(x=[1, 2], y=np.array([0.5, np.inf]), name='a, "b"', text=["p", "q\nr"])
    figure.add_heatmap(z=np.arange(4).reshape(2, 2), x=["u", "v"])
    path = export(figure, tmp_path / "deep" / "f.csv")
    assert path == tmp_path / "deep" / "f.csv"
    assert table(path) == [
        ["trace", "name", "x", "y", "z", "text"],
        ["0", 'a, "b"', "1", "0.5", "", "p"],
        ["0", 'a, "b"', "2", "", "", "q\nr"],
        ["1", "trace 1", "u", "0", "0", ""],
        ["1", "trace 1", "v", "0", "1", ""],
        ["1", "trace 1", "u", "1", "2", ""],
        ["1", "trace 1", "v", "1", "3", ""],
    ]
    kept = json.loads(export(figure, tmp_path / "f.json").read_text())
    assert kept == {
        "title": "Two traces",
        "traces": [
            {"type": "scatter", "name": 'a, "b"', "x": [1, 2], "y": [0.5, None], "text": ["p", "q\nr"]},
            {"type": "heatmap", "name": "trace 1", "x": ["u", "v"], "z": [[0, 1], [2, 3]]},
        ],
    }


def test_every_value_of_our_own_figures_is_there(tmp_path: Path) -> None:
    spikes = np.random.default_rng(0).integers(0, 2, (4, 6))
    figure = figures.spike_raster(spikes)
    rows = [row for row in table(export(figure, tmp_path / "f.csv")) if row[0] == "1"]  # the raster
    assert {(int(x), int(y)): int(z) for _, _, x, y, z, _ in rows} == {
        (step, neuron): spikes[step, neuron] for step in range(4) for neuron in range(6)
    }
    assert traces(figure)[0]["y"] == (100 * spikes.mean(1)).tolist()


def test_a_widget_is_written_as_it_is_shown(tmp_path: Path) -> None:
    view = SimpleNamespace(figure=lambda: go.Figure(go.Bar(y=[2, 1])))
    assert json.loads(export(view, tmp_path / "f.json").read_text())["traces"][0]["y"] == [2, 1]


def test_a_page_needs_no_network(tmp_path: Path) -> None:
    page = export(go.Figure(go.Bar(y=[2, 1])), tmp_path / "f.html").read_text()
    assert len(page) > 10**6  # plotly.js is inside
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    figure = go.Figure(go.Bar(y=[2, 1]))
    path = export(figure, tmp_path / "f.csv")
    before = path.read_bytes()
    with pytest.raises(RunExistsError, match="replace=True"):
        export(go.Figure(), path)
    assert path.read_bytes() == before
    assert table(export(go.Figure(), path, replace=True)) == [["trace", "name", "x", "y", "z", "text"]]


def test_what_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"unknown kind of file '\.svgg'.*Did you mean '\.svg'"):
        export(go.Figure(), tmp_path / "f.svgg")
    with pytest.raises(ValueError, match=r"\.csv, \.json, \.html"):
        export(go.Figure(), tmp_path / "f")
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(RunError, match="Install kaleido and a browser, or save the picture from the menu"):
        export(go.Figure(), tmp_path / "f.svg")
    assert list(tmp_path.iterdir()) == []


def test_pictures_where_kaleido_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(go.Figure, "to_image", lambda self, **options: asked.update(options) or b"picture")
    assert export(go.Figure(), tmp_path / "f.PNG").read_bytes() == b"picture"
    assert asked == {"format": "png", "scale": 2}
