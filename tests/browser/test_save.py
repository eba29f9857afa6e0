"""The menu on every figure: four files, by mouse and by key, of static figures, widgets and reports."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page

from lightsnn_kit.cells import as_cell
from lightsnn_kit.lab.report import html_report

from .lab import PICTURES, Lab

pytestmark = pytest.mark.browser
STATIC = """import numpy as np
from lightsnn_kit import figures
figures.spike_raster(np.eye(8), title="Eight, each once")"""
WIDGET = """from lightsnn_kit.widgets import LIFPlayground
LIFPlayground()"""


def saved(page: Page, host: Locator, kind: str) -> tuple[str, Path]:
    """Name and place of the file that an entry of the menu gives."""
    host.locator(".lightsnn-save > button").first.click()
    with page.expect_download() as coming:
        host.locator(f"[role=menuitem][data-kind={kind}]").first.click()
    return coming.value.suggested_filename, coming.value.path()


def check_menu(page: Page, host: Locator, name: str, *, traces: int) -> list[list[str]]:
    """All four files; the rows of the table."""
    assert page.evaluate("() => document.querySelectorAll('.js-plotly-plot').length") > 0
    host.locator(".lightsnn-save").first.wait_for()
    found = {kind: saved(page, host, kind) for kind in ("svg", "png", "csv", "json")}
    assert {kind: file for kind, (file, _) in found.items()} == {kind: f"{name}.{kind}" for kind in found}
    texts = {kind: path.read_bytes() for kind, (_, path) in found.items()}
    assert texts["svg"].startswith(b"<svg")
    assert len(texts["svg"]) > 5000
    assert texts["png"].startswith(b"\x89PNG")
    kept = json.loads(texts["json"])
    assert len(kept["traces"]) == traces
    head, *rows = csv.reader(texts["csv"].decode().splitlines())
    assert head == ["trace", "name", "x", "y", "z", "text"]
    assert len({row[0] for row in rows}) == traces
    return rows


def test_static_figures_and_widgets_are_saved(lab: Lab, write_notebook) -> None:
    path = write_notebook(lab.folder / "save.ipynb", "", STATIC, WIDGET)
    with lab.notebook(path) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=4)
        static = notebook.panel.locator(".jp-RenderedPlotly").first
        rows = check_menu(lab.page, static, "eight-each-once", traces=2)
        assert sorted((int(x), int(y)) for at, _, x, y, z, _ in rows if at == "1" and z == "1") == [
            (step, step) for step in range(8)
        ]
        widget = notebook.panel.locator(".lightsnn-lif .lightsnn-plot").first
        widget.locator(".lightsnn-save").first.wait_for()
        name, file = saved(lab.page, widget, "csv")
        assert name.endswith(".csv")
        assert len(file.read_text().splitlines()) > 10
        button = static.locator(".lightsnn-save > button").first
        button.focus()
        lab.page.keyboard.press("Enter")
        menu = static.locator(".lightsnn-save [role=menu]").first
        assert menu.is_visible()
        lab.page.keyboard.press("ArrowDown")
        assert lab.page.evaluate("() => document.activeElement.dataset.kind") == "png"
        lab.page.keyboard.press("Escape")
        assert not menu.is_visible()
        assert button.evaluate("it => it === document.activeElement")


def test_figures_of_a_report_are_saved(lab: Lab, tmp_path: Path) -> None:
    from lightsnn_kit.figures import rate_curve

    data = {"application/vnd.plotly.v1+json": json.loads(rate_curve([0.5, 1.5], [0, 1]).to_json())}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "", "outputs": [output], "execution_count": 1}
    page = tmp_path / "report.html"
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    page.write_text(html_report(nbformat.from_dict(notebook), title="x"))
    with lab.watched("report-save"):
        lab.page.goto(page.as_uri())
        (plot,) = lab.check_plots(exactly=1)
        host = lab.page.locator(".lightsnn-saves").first
        name, file = saved(lab.page, host, "json")
        assert name.endswith(".json")
        assert len(json.loads(file.read_text())["traces"]) == plot["traces"]


def test_a_cell_graph_is_saved(lab: Lab, write_notebook) -> None:
    """As it looks, without the page's styles; its table is the cell."""
    code = "from lightsnn_kit.widgets import CellExplorer\nCellExplorer('0303 0030 2002 0200', space='snasnet')"
    with lab.notebook(write_notebook(lab.folder / "save_graph.ipynb", "", code)) as notebook:
        notebook.run_all()
        frame = notebook.panel.locator(".lightsnn-graph .frame").first
        frame.locator(".lightsnn-save").wait_for()
        files = {kind: saved(lab.page, frame, kind) for kind in ("svg", "png", "csv", "json")}
        assert [name for name, _ in files.values()] == [f"cell-graph.{kind}" for kind in files]
        picture = files["svg"][1].read_text()
        assert picture.startswith("<svg")
        assert "var(" not in re.sub('--op:[^;"]*', "", picture)
        assert picture.count("data-key=") == 12
        assert files["png"][1].read_bytes().startswith(b"\x89PNG")
        shutil.copy(files["png"][1], PICTURES / "saved-cell-graph.png")
        rows = {edge: ops for edge, ops, _ in csv.reader(files["csv"][1].read_text().splitlines()[1:])}
        cell = as_cell("0303 0030 2002 0200")
        assert rows == {str(edge): str(op) for edge, op in cell.edge_ops.items()}
        assert {one["edge"] for one in json.loads(files["json"][1].read_text())["edges"]} == set(rows)
        notebook.run(1)  # drawn anew: the menu stays
        frame.locator(".lightsnn-save").wait_for()
