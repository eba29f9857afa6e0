"""The notebooks and their widgets, as a reader meets them in JupyterLab."""

from __future__ import annotations

import pytest

from .lab import ROOT, Lab

pytestmark = pytest.mark.browser
NOTEBOOKS = ROOT / "notebooks"


def test_start_here(lab: Lab) -> None:
    with lab.notebook(NOTEBOOKS / "00_start_here.ipynb", quick=True) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=8)
        assert notebook.python("found.num_convs") > 0
