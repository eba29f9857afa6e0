"""CellExplorer in JupyterLab: keys, clicks and drags change the cell, and every linked view follows."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from .lab import ROOT as PROJECT
from .lab import Lab, Notebook

pytestmark = pytest.mark.browser
ROOT = ".lightsnn-cell-explorer"
LINKED = (f"{ROOT}-graph", f"{ROOT}-kernel", f"{ROOT}-rates")
EDITS = 12  # timed ones
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
        seconds = [edit_time(notebook) for _ in range(EDITS)]
        note(f"CellExplorer, an edit to its last redraw: median {median(seconds):.0f} ms of {EDITS} edits")
        drawn = notebook.draws(LINKED[1])
        write(notebook, SHOWN)
        notebook.until(lambda: notebook.draws(LINKED[1]) > drawn)
        assert "zeroize" in notebook.panel.locator(f'{ROOT} [data-key="3<-1"]').get_attribute("aria-label")
        notebook.pictures("cell_explorer", ROOT)


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


def edit_time(notebook: Notebook) -> float:
    """Milliseconds from a key on an edge to the last change of the page, in which graph, kernel and rates are drawn."""
    before = [notebook.draws(part) for part in LINKED]
    timing = notebook.settle(ROOT, '[data-key="2<-0"]', "ArrowDown")
    assert all(notebook.draws(part) > n for part, n in zip(LINKED, before, strict=True))
    return timing["milliseconds"]
