"""A lesson from start to end, as a student meets it: stub, hint, prediction, wrong answer, right answer."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import checks
import course
import pytest

from .accessibility import findings
from .lab import PICTURES, Lab, Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser
SOURCE = {cell["id"]: course.text_of(cell) for cell in course.read(course.FOLDER / "1_neuron.ipynb")["cells"]}
EXERCISES = ("neuron-step", "neuron-period", "neuron-image")

_WRITE = """([cell, text]) =>
    window.jupyterapp.shell.currentWidget.content.widgets[cell].model.sharedModel.setSource(text)"""
_FIGURES = """cell => window.jupyterapp.shell.currentWidget.content.widgets[cell].model.outputs.toJSON()
    .map(output => output.data?.['application/vnd.plotly.v1+json']?.data).filter(Boolean)"""


@dataclass(frozen=True)
class Desk:
    """The open lesson, whose cells have names."""

    notebook: Notebook
    names: list[str]

    def cell(self, name: str) -> Locator:
        """A cell in the page."""
        return self.notebook.panel.locator(".jp-Cell").nth(self.names.index(name))

    def run(self, name: str) -> str:
        """Run a cell without an error; what it shows."""
        self.notebook.run(self.names.index(name))
        return self.shown(name)

    def fail(self, name: str) -> tuple[str, str]:
        """Run a cell that ends in an error; the error, and what is shown of it."""
        [error] = self.notebook.said(self.names.index(name))
        return error, self.shown(name)

    def shown(self, name: str) -> str:
        """The text below a cell."""
        return " ".join(self.cell(name).locator(".jp-OutputArea-output").all_text_contents())

    def write(self, name: str, text: str) -> None:
        """Put text into a cell."""
        self.notebook.page.evaluate(_WRITE, [self.names.index(name), text])

    def figures(self, name: str) -> list:
        """The data of the figures below a cell."""
        return self.notebook.page.evaluate(_FIGURES, self.names.index(name))


@pytest.fixture
def lesson(lab: Lab) -> Path:
    """The student's version of the first lesson in a folder of its own, with the checkers beside it."""
    folder = lab.folder / "course"
    course.build_lesson(course.FOLDER / "1_neuron.ipynb", folder, 1, quick=True)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(course.FOLDER / "checks", folder / "student" / "checks", ignore=skipped)
    return folder / "student" / "1_neuron.ipynb"


def test_a_lesson_from_start_to_end(lab: Lab, lesson: Path) -> None:
    cells = course.read(lesson)["cells"]
    with lab.notebook(lesson) as notebook:
        desk = Desk(notebook, [cell["id"] for cell in cells])
        code = [cell["id"] for cell in cells if cell["cell_type"] == "code"]
        check_stub(desk, code[: code.index("neuron-step-check")])
        check_hint(desk)
        check_prediction(desk)
        check_answers(desk)
        check_whole(desk)


def check_stub(desk: Desk, before: Iterable[str]) -> None:
    """All runs up to the first check, which names what is to be written; nothing else happens to the page."""
    for name in before:
        desk.run(name)
    error, shown = desk.fail("neuron-step-check")
    assert error == "NotImplementedError: exercise 1: write lif_step"
    assert error in shown
    assert desk.notebook.panel.locator(".jp-Cell").count() == len(desk.names)
    assert desk.notebook.python("lif_step.__name__") == "lif_step"  # the kernel is there, too


def check_hint(desk: Desk) -> None:
    """It is folded, and opens by a click."""
    hint = desk.cell("neuron-step-hint")
    words = hint.locator("details").get_by_text("is 0 exactly where")
    assert not words.is_visible()
    hint.locator("summary").click()
    words.wait_for(state="visible")


def check_prediction(desk: Desk) -> None:
    """The answer asks for the prediction, and unfolds beside it; its own text cannot be read before."""
    answer = "neuron-answer-first"
    assert desk.cell(answer).locator(".jp-InputArea-editor:visible").count() == 0
    assert "Type your prediction in the cell above" in desk.run(answer)
    desk.write("neuron-predict-first", "first_spike = 3")
    desk.run("neuron-predict-first")
    shown = desk.run(answer)
    assert "You said: 3" in shown
    assert SOURCE[answer].split(".")[0] in shown


def check_answers(desk: Desk) -> None:
    """A wrong answer gets a hint without a traceback, the solution is right."""
    head = SOURCE["neuron-step-stub"].splitlines()[0]
    body = inspect.getsource(checks.wrong_lif_step).split("\n", 1)[1]
    desk.write("neuron-step-stub", f"{head}\n{body}")
    desk.run("neuron-step-stub")
    error, shown = desk.fail("neuron-step-check")
    assert shown.strip() == error.replace("NotYet: ", "Not yet: ")
    assert "v must be 0 after a spike" in shown
    desk.write("neuron-step-stub", SOURCE["neuron-step-solution"])
    desk.run("neuron-step-stub")
    assert "lif_step: correct" in desk.run("neuron-step-check")


def check_whole(desk: Desk) -> None:
    """With all exercises done the lesson runs through, and draws what was expected; nothing of it bars anybody."""
    expected = {name: desk.figures(f"{name}-solution") for name in ("neuron-step", "neuron-image")}
    for name in EXERCISES:
        desk.write(f"{name}-stub", SOURCE[f"{name}-solution"])
    desk.notebook.run_all()
    assert all(": correct" in desk.shown(f"{name}-check") for name in EXERCISES)
    desk.notebook.check_plots(at_least=8)  # two to expect, three of the student's, three of the playground
    for name, drawn in {"neuron-step": "neuron-raster", "neuron-image": "neuron-image"}.items():
        assert len(expected[name]) == 1
        assert desk.figures(f"{name}-solution") == expected[name]  # still there
        assert desk.figures(drawn) == expected[name]
    desk.cell("neuron-step-solution").scroll_into_view_if_needed()
    desk.notebook.page.screenshot(path=PICTURES / "lesson.png")
    parts = desk.notebook.panel.locator(".jp-Notebook .jp-RenderedMarkdown, .jp-Notebook .jp-OutputArea-output")
    assert parts.count() > 30
    assert not (found := findings(parts)), "\n".join(found)
