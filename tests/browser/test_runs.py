"""PruneStepper, RunMonitor and CompareRuns in JupyterLab, on a search, a real background job and measured runs."""

from __future__ import annotations

import pytest

from .lab import ROOT as PROJECT
from .lab import Lab, Notebook

pytestmark = pytest.mark.browser
STEPPER, MONITOR, COMPARE = ".lightsnn-prune-stepper", ".lightsnn-run-monitor", ".lightsnn-compare-runs"
SLOW = """import time
from lightsnn_kit.runs import RunFolder
stage = RunFolder.open(run_dir).stage("search", {"total": 300})
stage.expect("scores", 300)
for item in range(len(stage.records("scores")), 300):
    time.sleep(0.3)
    stage.append("scores", {"mask": "0", "score": -100.0 / (1 + item), "seconds": 0.3})
stage.finish({})"""
SEARCH = """from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.widgets import CompareRuns, PruneStepper, RunMonitor
from lightsnn_kit import jobs
import random
values = random.Random(0)
table = {}
steps = list(prune_search(SPACES["lightsnn"], lambda mask: table.setdefault(mask, values.gauss(-50, 5))))
PruneStepper(steps)"""


def test_runs(lab: Lab, write_notebook) -> None:
    write_notebook(lab.folder / "slow.ipynb", "run_dir = 'runs/x'", SLOW)
    results = PROJECT / "data" / "results" / "motion-dvs.json"
    watch = 'jobs.start(["slow.ipynb"], run="runs/slow")\nRunMonitor("runs/slow")'
    path = write_notebook(lab.folder / "runs.ipynb", "", SEARCH, watch, f"CompareRuns({str(results)!r})")
    with lab.notebook(path) as notebook:
        notebook.run_all()
        for root in (STEPPER, COMPARE):
            notebook.check_plots(root)
        check_stepper(notebook)
        check_compare(notebook)
        check_monitor(notebook)
        for name, root in {"prune_stepper": STEPPER, "run_monitor": MONITOR, "compare_runs": COMPARE}.items():
            notebook.pictures(name, root)


def check_stepper(notebook: Notebook) -> None:
    """A button, the slider by key, an edge of the graph by click."""
    at = f"{notebook.widget('PruneStepper')}.position.value"
    told = notebook.panel.locator(f"{STEPPER}-told").first
    graph, bars = (notebook.draws(f"{STEPPER}-{part}") for part in ("graph", "bars"))
    said = notebook.changes(told.text_content, notebook.panel.locator(f"{STEPPER}-next").click)
    assert "decision 1 of 24, round 1" in said
    assert notebook.python(at) == 1
    notebook.until(lambda: notebook.draws(f"{STEPPER}-graph") > graph)
    handle = notebook.panel.locator(f"{STEPPER}-position .noUi-handle").first
    handle.focus()
    notebook.changes(lambda: notebook.python(at), lambda: handle.press("ArrowRight"))
    notebook.until(lambda: "decision 2 of 24" in told.text_content() and notebook.draws(f"{STEPPER}-bars") > bars)
    notebook.panel.locator(f'{STEPPER} [data-key="0<-3"] .mark').first.click()
    notebook.until(lambda: "from 0<-3" in told.text_content())
    assert notebook.python(at) == 9  # six forward edges, then 0<-1, 0<-2, 0<-3


def check_compare(notebook: Notebook) -> None:
    """Another cost and another cell, by the lists."""
    cost = notebook.panel.locator(f"{COMPARE}-cost select").first
    axis = notebook.panel.locator(f"{COMPARE}-scatter .xtitle").first
    assert "energy" in notebook.changes(axis.text_content, lambda: cost.select_option("energy"))
    assert notebook.python(f"{notebook.widget('CompareRuns')}.cost.value") == "energy_pj"
    drawn = notebook.draws(f"{COMPARE}-right-graph")
    notebook.panel.locator(f"{COMPARE}-right select").first.select_option(index=5)
    notebook.until(lambda: notebook.draws(f"{COMPARE}-right-graph") > drawn)
    assert notebook.python(f"{notebook.widget('CompareRuns')}.chosen[1].value") == 5


def check_monitor(notebook: Notebook) -> None:
    """Progress by itself, the job cancelled, and a new kernel that reads the same from the files."""
    told = notebook.panel.locator(f"{MONITOR}-told").first
    stages = notebook.panel.locator(f"{MONITOR}-stages").first
    notebook.until(lambda: "running" in told.text_content() and "of 300 scores" in stages.text_content(), seconds=90)
    notebook.check_plots(MONITOR)
    before = stages.text_content()
    notebook.until(lambda: stages.text_content() != before)
    notebook.panel.locator(f"{MONITOR}-cancel").first.click()
    notebook.until(lambda: "cancelled" in told.text_content(), seconds=60)
    assert notebook.python('jobs.status("runs/slow").state') == "cancelled"
    done = notebook.python('jobs.status("runs/slow").stages[0].done')
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    assert notebook.python("__import__('lightsnn_kit.jobs').jobs.status('runs/slow').stages[0].done") == done
