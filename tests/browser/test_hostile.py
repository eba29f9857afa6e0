"""A report of a run that somebody else has made: the browser shows its texts, and runs none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightsnn_kit.lab.notebooks import run_notebook
from tests.lab.hostile import make

from .lab import ROOT, Lab

pytestmark = pytest.mark.browser


def test_no_script_of_a_record_runs(lab: Lab, tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    parameters = {"run_dir": str(folder)}
    page = run_notebook(ROOT / "notebooks" / "report.ipynb", output=tmp_path / "report.ipynb", parameters=parameters)
    with lab.watched("hostile"):
        lab.page.goto(page.with_suffix(".html").as_uri())
        lab.check_plots(exactly=len(lab.page.query_selector_all(".plotly-graph-div")))
        assert lab.page.evaluate("() => window.obeyed") is None
        assert "onerror=window.obeyed" in lab.page.text_content("body")
    with lab.notebook(page.with_suffix(".ipynb")) as notebook:
        notebook.check_plots(at_least=1)
        assert lab.page.evaluate("() => window.obeyed") is None
