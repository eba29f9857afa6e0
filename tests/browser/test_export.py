"""What is left without a kernel: executed copies, reports and notebooks saved by hand show every figure, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightsnn_kit import figures
from lightsnn_kit.figures import rate_curve

from .accessibility import findings
from .lab import ROOT, Lab

pytestmark = pytest.mark.browser
NAMES = ("explore_cells", "explore_scores")
WIDGET, PLOTLY = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"
VIEWS = {"explore_cells": ["CellExplorer"], "explore_scores": ["KernelExplorer", "LIFPlayground", "SpikeExplorer"]}
PLAYGROUND = """from lightsnn_kit.widgets import LIFPlayground
import ipywidgets
LIFPlayground()"""


def bundles(path: Path) -> list[dict]:
    """The data of all outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]


@pytest.fixture(scope="module")
def exported(lab: Lab) -> Path:
    """The folder of the executed copies and their reports (by a process of its own, as from a terminal)."""
    folder = lab.folder / "runs" / "export"
    command = [
        sys.executable,
        "-m",
        "lightsnn_kit",
        "run",
        *(str(ROOT / "notebooks" / f"{name}.ipynb") for name in NAMES),
    ]
    command += ["--run", str(folder), "-p", "quick=true"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=lab.folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_exports_show_every_figure(lab: Lab, exported: Path, name: str) -> None:
    found = bundles(exported / f"{name}.ipynb")
    assert not any(WIDGET in data for data in found)
    views = ["".join(data["text/plain"]).split(":")[0] for data in found if PLOTLY in data and "text/plain" in data]
    assert sorted(view for view in views if view.split()[0] != "Figure") == VIEWS[name]
    expected = sum(PLOTLY in data for data in found)
    with lab.watched(f"{name}-html"):
        lab.page.goto((exported / f"{name}.html").as_uri())
        assert len(lab.check_plots(exactly=expected)) == expected
        assert findings(lab.page.locator("html")) == []
    with lab.notebook(exported / f"{name}.ipynb") as notebook:
        assert len(notebook.check_plots(at_least=expected)) == expected
        assert "model not found" not in notebook.panel.text_content()


def test_a_notebook_saved_by_hand_keeps_its_pictures(lab: Lab, write_notebook) -> None:
    path = write_notebook(lab.folder / "saved.ipynb", "", PLAYGROUND, "ipywidgets.IntSlider(description='a slider')")
    with lab.notebook(path) as notebook:
        notebook.run_all()
        notebook.check_plots(".lightsnn-lif", at_least=3)
        lab.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        notebook.check_plots(".lightsnn-lif", at_least=3)  # what is open stays alive
    picture, slider = bundles(path)
    assert PLOTLY in picture
    assert set(slider) == {"text/plain"}
    with lab.notebook(path) as notebook:
        assert len(notebook.check_plots(at_least=1)) == 1
        assert "model not found" not in notebook.panel.text_content()
    with lab.watched("saved-html"):  # the menu "Save and Export Notebook As", entry "Offline_html"
        lab.page.goto(f"{lab.base}/nbconvert/offline_html/{path.name}?token={lab.token}")
        assert len(lab.check_plots(exactly=1)) == 1


def test_pictures_are_made_by_a_real_kaleido(lab: Lab, tmp_path: Path) -> None:
    figure = rate_curve([0.5, 1.5], [0, 1])
    assert figures.export(figure, tmp_path / "f.svg").read_text().startswith("<svg")
    assert figures.export(figure, tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
