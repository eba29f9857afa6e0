"""PruneStepper, RunMonitor and CompareRuns in JupyterLab, on a search, a real background job and measured runs."""

from __future__ import annotations

import pytest

from .lab import ROOT as PROJECT
from .lab import Lab, Notebook

pytestmark = pytest.mark.browser
STEPPER, MONITOR, COMPARE = ".lightsnn-prune-stepper", ".lightsnn-run-monitor", ".lightsnn-compare-runs"
SLOW = """import time
from lightsnn_kit.lab.runs import RunFolder
stage = RunFolder.open(run_dir).stage("search", {"total": 300})
stage.expect("scores", 300)
for item in range(len(stage.records("scores")), 300):
    time.sleep(0.6)
    stage.append("scores", {"mask": "0", "score": -100.0 / (1 + item), "seconds": 0.6})
stage.finish({})"""
COMPARED = """from lightsnn_kit.lab import jobs
from lightsnn_kit.widgets import CompareRuns
CompareRuns({results!r})"""
START = 'jobs.start(["slow.ipynb"], run="runs/slow")'
WATCH = """from lightsnn_kit.lab import jobs
from lightsnn_kit.widgets import RunMonitor
RunMonitor("runs/slow")"""


def test_search_and_train(lab: Lab) -> None:
    """The stage notebooks, one after the other in one run folder."""
    with lab.notebook(PROJECT / "notebooks" / "search.ipynb", quick=True) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=4)
        check_stepper(notebook)
        notebook.check_widths(STEPPER, 1200, 1000, 700)
        notebook.pictures("prune_stepper", STEPPER)
    with lab.notebook(PROJECT / "notebooks" / "train.ipynb", quick=True) as notebook:
        notebook.run_all()
        notebook.check_plots(MONITOR)
        assert "finished" in notebook.panel.locator(f"{MONITOR}-state").text_content()


def test_runs(lab: Lab, write_notebook) -> None:
    """A background job of a slow notebook, watched; and the measured runs that the project keeps."""
    write_notebook(lab.folder / "slow.ipynb", "run_dir = 'runs/x'", SLOW)
    compared = COMPARED.format(results=str(PROJECT / "data" / "results" / "motion-dvs.json"))
    path = write_notebook(lab.folder / "runs.ipynb", "", compared, START, WATCH)
    with lab.notebook(path) as notebook:
        notebook.run_all()
        notebook.check_plots(COMPARE)
        check_compare(notebook)
        notebook.pictures("compare_runs", COMPARE)
        check_monitor(notebook)


def check_stepper(notebook: Notebook) -> None:
    """A button, the slider by key, an edge of the graph by key."""
    at = f"{notebook.widget('PruneStepper')}.position.value"
    words = notebook.panel.locator(f"{STEPPER}-words").first
    graph, bars = (notebook.draws(f"{STEPPER}-{part}") for part in ("graph", "bars"))
    said = notebook.changes(words.text_content, notebook.panel.locator(f"{STEPPER}-next").click)
    assert "decision 1 of 24, round 1" in said
    assert notebook.python(at) == 1
    notebook.until(lambda: notebook.draws(f"{STEPPER}-graph") > graph)
    handle = notebook.panel.locator(f"{STEPPER}-position .noUi-handle").first
    handle.focus()
    notebook.changes(lambda: notebook.python(at), lambda: handle.press("ArrowRight"))
    notebook.until(lambda: "decision 2 of 24" in words.text_content() and notebook.draws(f"{STEPPER}-bars") > bars)
    notebook.panel.locator(f'{STEPPER} [data-key="0<-3"]').first.press("Enter")
    notebook.until(lambda: "from 0<-3" in words.text_content())
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
    """Progress by itself; a new kernel that goes on watching the same job; and the job cancelled."""
    state = notebook.panel.locator(f"{MONITOR}-state").first
    stages = notebook.panel.locator(f"{MONITOR}-stages").first
    done = "jobs.status('runs/slow').stages[0].done"
    notebook.until(lambda: "running" in state.text_content() and "of 300 scores" in stages.text_content(), seconds=90)
    notebook.check_plots(MONITOR)
    notebook.changes(stages.text_content, lambda: None)
    before = notebook.python(done)
    notebook.restart()
    notebook.run(3)
    notebook.until(lambda: "running" in state.text_content())
    assert notebook.python(done) > before
    notebook.check_plots(MONITOR)
    notebook.changes(stages.text_content, lambda: None)
    notebook.pictures("run_monitor", MONITOR)
    notebook.panel.locator(f"{MONITOR}-cancel").first.click()
    notebook.until(lambda: "cancelled" in state.text_content(), seconds=60)
    assert notebook.python("jobs.status('runs/slow').state") == "cancelled"
    assert notebook.python(f"{notebook.widget('RunMonitor')}.status.state") == "cancelled"
