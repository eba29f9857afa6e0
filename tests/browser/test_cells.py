"""CellExplorer in JupyterLab: keys, clicks and drags change the cell, and every linked view follows."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles

import pytest

from .lab import ROOT as PROJECT
from .lab import Lab, Notebook

pytestmark = pytest.mark.browser
ROOT = ".lightsnn-cell-explorer"
SCORES = ".lightsnn-cell-scores"
LINKED = (f"{ROOT}-graph", f"{SCORES}-kernel", f"{SCORES}-rates")
EDITS = 30  # timed ones
SHOWN = "0313 1030 0003 3300"  # for the pictures: something of everything


def test_explore_cells(lab: Lab, note: Callable[[str], None]) -> None:
    sizes = {"num_cells": 12, "batch_size": 16}  # the network keeps its full size, for the times
    with lab.notebook(PROJECT / "notebooks" / "explore_cells.ipynb", **sizes) as notebook:
        notebook.run_all()
        assert len(notebook.check_plots(ROOT, at_least=2)) == 2
        notebook.panel.locator(f"{ROOT}-preset select").select_option("all conv3x3")
        notebook.until(lambda: notebook.panel.locator(f"{ROOT}-text input").input_value().count("conv3x3") == 12)
        check_edits(notebook)
        check_messages(notebook)
        plain = [edit_time(notebook) for _ in range(EDITS)]
        check_compare(notebook)
        pinned = [edit_time(notebook) for _ in range(EDITS)]
        note(f"CellExplorer, an edit to its last redraw: {in_words(plain)}; with a pinned cell {in_words(pinned)}")
        note(f"with a pinned cell an edit takes {median(pinned) / median(plain):.2f} times as long (median; aim: 1.3)")
        notebook.panel.locator(f"{ROOT}-compare select").select_option("nothing")
        drawn = notebook.draws(LINKED[1])
        write(notebook, SHOWN)
        notebook.until(lambda: notebook.draws(LINKED[1]) > drawn)
        assert "zeroize" in notebook.panel.locator(f'{ROOT} [data-key="3<-1"]').get_attribute("aria-label")
        notebook.pictures("cell_explorer", ROOT)


TRAIN = """import numpy as np
from lightsnn_kit import data
from lightsnn_kit.lab.workshop import Workshop
from lightsnn_kit.widgets import CellExplorer

def load_tiny(seed):  # a data set of one's own, so small that nobody waits for it
    x, y = np.arange(240 * 16).reshape(240, 1, 4, 4) % 251, np.arange(240) % 2
    x = (x // 2 + 100 * y[:, None, None, None]).astype(np.uint8)
    return data.Splits.from_tensors(name="tiny", train=(x[:200], y[:200]), test=(x[200:], y[200:]), seed=seed)

data.register("tiny", load_tiny, replace=True)
workshop = Workshop("tiny", width=4, num_steps=2, batch_size=16, epochs=3)
CellExplorer("0303 0030 0003 0000", scorer=workshop)"""
TRAINING = ".lightsnn-cell-training"


def test_train_this_cell(lab: Lab, write_notebook) -> None:
    """Two clicks to an accuracy; the page is left while it trains, and finds the row when it is opened again."""
    path = write_notebook(lab.folder / "train_cell.ipynb", "", TRAIN)
    with lab.notebook(path) as notebook:
        notebook.run_all()
        panel = notebook.panel
        panel.locator(f"{ROOT}-pane button").get_by_text("Train").click()
        assert "--epochs 3" in panel.locator(f"{TRAINING}-command").text_content()
        panel.locator(f"{TRAINING}-start").click()
        state = panel.locator(".lightsnn-run-monitor-state")
        notebook.until(lambda: "running" in state.text_content())
        notebook.until(lambda: panel.locator(f"{TRAINING}-start").is_disabled())
    with lab.notebook(path) as notebook:  # another kernel: the job knows nothing of it
        notebook.run_all()
        notebook.panel.locator(f"{ROOT}-pane button").get_by_text("Train").click()
        table = notebook.panel.locator(f"{TRAINING}-table")
        notebook.until(lambda: "%" in table.text_content(), seconds=400)  # seconds on a quiet machine
        [row] = notebook.python("[dict(row) for row in workshop.rows()]")
        assert f"{row['test_accuracy']:.1%}" in table.text_content()
        notebook.check_plots(TRAINING)
        other = notebook.panel.locator(f'{ROOT} [data-key="3<-0"]')
        other.focus()
        notebook.changes(lambda: notebook.panel.locator(f"{TRAINING}-command").text_content(), lambda: other.press("2"))
        notebook.panel.locator(f"{TRAINING}-epochs input").fill("2000")
        notebook.panel.locator(f"{TRAINING}-epochs input").press("Enter")
        notebook.until(lambda: "--epochs 2000" in notebook.panel.locator(f"{TRAINING}-command").text_content())
        notebook.panel.locator(f"{TRAINING}-start").click()
        stop = notebook.panel.locator(".lightsnn-run-monitor-cancel")
        notebook.until(lambda: "running" in notebook.panel.locator(".lightsnn-run-monitor-state").text_content())
        notebook.until(stop.is_enabled)
        stop.click()
        ended = notebook.panel.locator(".lightsnn-run-monitor-state")
        notebook.until(lambda: "cancelled" in ended.text_content(), seconds=400)
        notebook.until(notebook.panel.locator(f"{TRAINING}-start").is_enabled)
        notebook.pictures("cell_training", ROOT)


def test_what_a_page_goes_through(lab: Lab, write_notebook) -> None:
    """A window made narrower, a palette that is selected, a kernel that is restarted."""
    with lab.notebook(write_notebook(lab.folder / "strain.ipynb", "", TRAIN)) as notebook:
        notebook.run_all()
        notebook.check_plots(ROOT, at_least=2)
        cell = f"str({notebook.widget('CellExplorer')}.cell)"
        palette = notebook.panel.locator(f"{ROOT} .palette")
        assert palette.evaluate("part => (getSelection().selectAllChildren(part), String(getSelection()))") == ""
        skip, target = palette.locator('[data-op="skip"]'), notebook.panel.locator(f'{ROOT} [data-key="0<-3"] .chip')
        after = notebook.changes(lambda: notebook.python(cell), lambda: skip.drag_to(target))
        assert "skip~3" in after
        notebook.restart()
        note = notebook.panel.locator(f"{ROOT} .lightsnn-gone-note").first
        notebook.until(lambda: "was restarted or has ended" in note.text_content())
        notebook.panel.locator(f'{ROOT} [data-key="3<-0"]').press("ArrowDown")
        notebook.until(lambda: "has not answered" in notebook.panel.locator(f"{ROOT} .hint").text_content())
        notebook.run_all()
        notebook.until(lambda: note.text_content() == "")
        assert "Click an edge" in notebook.panel.locator(f"{ROOT} .hint").text_content()


def check_compare(notebook: Notebook) -> None:
    """A pinned cell stands beside the one that is edited, and what differs is marked in both."""
    other = notebook.panel.locator(f"{ROOT}-other-graph")
    notebook.panel.locator(f"{ROOT}-pin").click()
    notebook.until(lambda: "pinned-1" in other.text_content())
    notebook.until(lambda: notebook.draws(f"{SCORES}-other-kernel"))
    notebook.panel.locator(f'{ROOT}-graph [data-key="1<-0"]').press("ArrowDown")
    notebook.until(lambda: other.locator('[data-key="1<-0"].marked').count() == 1)
    marked = other.locator(".marked")
    assert "differs from the other cell" in marked.get_attribute("aria-label")
    assert "pinned-1" in notebook.panel.locator(f"{ROOT}-facts thead").text_content()


def test_settings_and_time(lab: Lab, write_notebook) -> None:
    """Another width is built while the page stays free; a negative one is told; the newest cell is shown in time."""
    with lab.notebook(write_notebook(lab.folder / "settings.ipynb", "", TRAIN)) as notebook:
        notebook.run_all()
        panes = notebook.panel.locator(f"{ROOT}-pane button")
        panes.get_by_text("Settings").click()
        said = notebook.panel.locator(".lightsnn-cell-settings-message")
        width = notebook.panel.locator(".lightsnn-cell-settings-width input")
        for text, words in (("6", "ready: tiny, width 6"), ("-3", "width must be a whole number")):
            width.fill(text)
            width.press("Enter")
            notebook.until(lambda words=words: words in said.text_content())
        assert width.input_value() == "6"
        explorer = notebook.widget("CellExplorer")
        assert notebook.python(f"{explorer}.workshop.run") == "runs/explorer/tiny-width-6-num-steps-2"
        panes.get_by_text("Watch time").click()
        notebook.check_plots(".lightsnn-cell-time", at_least=5)
        drawn = notebook.draws(".lightsnn-cell-time-unrolled")
        notebook.panel.locator(f'{ROOT} [data-key="0<-3"]').press("2")
        notebook.until(lambda: notebook.draws(".lightsnn-cell-time-unrolled") > drawn)
        assert "Dashed" in notebook.panel.locator(".lightsnn-cell-time-unrolled .gtitle").text_content()
        notebook.pictures("cell_time", ROOT)


def write(notebook: Notebook, cell: str) -> None:
    """Type a cell into the widget's field, as a string or matrix."""
    text = notebook.panel.locator(f"{ROOT}-text input")
    text.fill(cell)
    text.press("Enter")


def check_edits(notebook: Notebook) -> None:
    """A key, two clicks, a drag, a button and a preset; each is seen on the page and in the kernel."""
    cell = f"str({notebook.widget('CellExplorer')}.cell)"
    edge = notebook.panel.locator(f'{ROOT} [data-key="3<-0"]')

    def changed(act: Callable[[], object]) -> str:
        drawn = [notebook.draws(part) for part in LINKED]
        before = notebook.python(cell)
        after = notebook.changes(lambda: notebook.python(cell), act)
        notebook.until(lambda: all(notebook.draws(part) > n for part, n in zip(LINKED, drawn, strict=True)))
        assert notebook.panel.locator(f"{ROOT}-text input").input_value() == after != before
        return after

    first = notebook.python(cell)
    edge.focus()
    second = changed(lambda: notebook.page.keyboard.press("ArrowDown"))
    assert "zeroize, from node 0" in edge.get_attribute("aria-label")
    assert changed(notebook.panel.locator(f"{ROOT}-undo").click) == first
    assert changed(notebook.panel.locator(f"{ROOT}-redo").click) == second
    notebook.panel.locator(f'{ROOT} [data-key="2<-1"] .chip').click()
    changed(notebook.panel.locator(f'{ROOT} [data-key="2<-1"] .chip').click)
    skip, target = (
        notebook.panel.locator(f"{ROOT} {part}") for part in ('.palette [data-op="skip"]', '[data-key="0<-3"] .chip')
    )
    changed(lambda: skip.drag_to(target))
    changed(lambda: notebook.panel.locator(f"{ROOT}-preset select").select_option("all conv3x3"))


def check_messages(notebook: Notebook) -> None:
    """What cannot be read is a message, and the cell stays."""
    cell = f"str({notebook.widget('CellExplorer')}.cell)"
    before = notebook.python(cell)
    write(notebook, "0404 0000 0000 0000")
    assert "avgpool3x3" in notebook.panel.locator(f"{ROOT}-message [role=alert]").text_content()
    assert notebook.python(cell) == before
    write(notebook, before)


def in_words(times: list[float]) -> str:
    """Median and 95th percentile."""
    return f"median {median(times):.0f} ms, 95th percentile {quantiles(times, n=20)[-1]:.0f} ms of {len(times)}"


def edit_time(notebook: Notebook) -> float:
    """Milliseconds from a key on an edge to the last change of the page, in which graph, kernel and rates are drawn."""
    before = [notebook.draws(part) for part in LINKED]
    timing = notebook.settle(ROOT, f'{ROOT}-graph [data-key="2<-0"]', "ArrowDown")
    assert all(notebook.draws(part) > n for part, n in zip(LINKED, before, strict=True))
    return timing["milliseconds"]
