"""The lessons: solutions pass their checkers, stubs and typical wrong answers do not; each version gets its part."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import checks
import course
import numpy as np
import pytest
import torch
from studies import trained_cells as study

from lightsnn_kit.cells import Cell
from lightsnn_kit.lab.notebooks import run_notebook
from lightsnn_kit.neurons import LIFSettings, simulate_lif
from lightsnn_kit.spaces import OpMask
from tests.test_notebooks import PLOTLY, check_outputs, outputs

LESSONS = course.lessons()
CHECK = re.compile(r"checks\.check_(\w+)\((\w+)\)")

lesson_test = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


def cells_of(lesson: Path, *tags: str) -> list[dict]:
    """The cells of a lesson with one of the tags, or all of them."""
    cells = course.read(lesson)["cells"]
    return [cell for cell in cells if not tags or course.tag_of(cell) in tags]


def exercises(lesson: Path) -> list[tuple[str, str, str]]:
    """(checker, name of the answer, stub, solution) of each exercise, in order."""
    parts = [course.text_of(cell) for cell in cells_of(lesson, "exercise", "solution", "check")]
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return [(*CHECK.fullmatch(check).groups(), stub, solution) for stub, solution, check in triples]


EXERCISES = [(lesson, *exercise) for lesson in LESSONS for exercise in exercises(lesson)]


@pytest.fixture(scope="module")
def namespace(root: Path) -> Callable[[Path], dict]:
    """A function that gives what a lesson has once its imports ran."""

    def run_imports(lesson: Path) -> dict:
        names: dict = {}
        for cell in [cell for cell in cells_of(lesson) if cell["cell_type"] == "code"][:3]:
            exec(course.text_of(cell), names)
        return names

    return run_imports


# ---- exercises -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lesson", "check", "answer", "stub", "solution"), EXERCISES, ids=[f"{e[0].stem}-{e[1]}" for e in EXERCISES]
)
def test_a_checker_tells_right_from_wrong(
    lesson: Path, check: str, answer: str, stub: str, solution: str, namespace: Callable, capsys: pytest.CaptureFixture
) -> None:
    names, checker = namespace(lesson), getattr(checks, f"check_{check}")
    exec(stub, names)
    with pytest.raises(NotImplementedError, match=rf"exercise \d: write {answer}$"):
        checker(names[answer])
    for earlier in exercises(lesson):  # a solution may use those before it
        exec(earlier[3], names)
        if earlier[1] == answer:
            break
    capsys.readouterr()
    checker(names[answer])
    assert "correct" in capsys.readouterr().out
    with pytest.raises(checks.NotYet) as wrong:
        checker(getattr(checks, f"wrong_{check}"))
    assert len(str(wrong.value)) > 20  # a hint, not a mere refusal
    with pytest.raises(checks.NotYet, match=r"should|return"):  # type or shape come first
        checker(lambda *_: "nonsense")


def test_every_checker_belongs_to_an_exercise() -> None:
    named = {name.removeprefix("check_") for name in vars(checks) if name.startswith("check_")}
    assert named == {check for _, check, *_ in EXERCISES}
    assert named == {name.removeprefix("wrong_") for name in vars(checks) if name.startswith("wrong_")}


def test_the_golden_trace_is_spikingjellys() -> None:
    potentials, spikes = simulate_lif(np.array(checks.GOLDEN_INPUTS), LIFSettings())
    assert spikes.tolist() == [list(row) for row in checks.GOLDEN_SPIKES]
    after = np.where(spikes == 1, 0, potentials)
    assert np.allclose(after, checks.GOLDEN_POTENTIALS, atol=1e-6)


@pytest.mark.parametrize("trained_on", checks.LEAGUE_SETS)
def test_half_of_the_league_is_held_back(trained_on: str) -> None:
    shown, held = checks.league_cells(trained_on)
    cells = [{str(mask.to_cell()) for mask, _ in part} for part in (shown, held)]
    assert [len(part) for part in cells] == [20, 20]
    assert not cells[0] & cells[1]
    assert checks.league_cells(trained_on) == (shown, held)
    other = {str(mask.to_cell()) for mask, _ in checks.league_cells(trained_on, seed=1)[1]}
    assert 0 < len(other & cells[1]) < 20
    with pytest.raises(ValueError, match="no league of 'digits'; expected one of motion-dvs"):
        checks.league_cells("digits")


def test_the_trained_cells_are_the_studys() -> None:
    """The cells shown are those that had been looked at, and every set that was trained has its league."""
    assert checks.SHOWN == study.LOOKED_AT
    assert tuple(study.SETS) == checks.LEAGUE_SETS
    for name, preset in study.SETS.items():
        masks, accuracies, scores = checks.trained_set(name)
        assert [mask.to_cell() for mask in masks] == list(study.draw_cells(preset.cell_space, len(masks), seed=0))
        assert {mask.space for mask in masks} == {preset.cell_space}
        assert {values.shape for values in scores.values()} == {accuracies.shape} == {(len(masks),)}
    with pytest.raises(ValueError, match="no cells were trained on 'digits'; expected one of motion-dvs"):
        checks.trained_set("digits")


def test_a_round_is_tried_later_in_a_search_too() -> None:
    """An answer that holds for the first round alone: it takes an op off edges that have three, and off no others."""

    def first_round_only(mask: OpMask, score: Callable) -> OpMask:
        after = mask
        for edge, ops in mask.items():
            if len(ops) == 3:
                after = after.without(edge, max(ops, key=lambda op: score(mask.without(edge, op))))
        return after

    with pytest.raises(checks.NotYet, match="every edge with more than one op should lose one"):
        checks.check_one_round(first_round_only)


def test_lesson_9_says_how_many_cells_of_its_exam_lesson_7_has_shown() -> None:
    masks, *_ = checks.trained_cells()
    _, held = checks.league_cells("motion-dvs")
    seen = {mask.to_cell() for mask in masks[: checks.SHOWN]} & {mask.to_cell() for mask, _ in held}
    assert (len(held), len(seen)) == (20, 8)
    [text] = [text for cell in cells_of(LESSONS[8]) if "honour" in (text := course.text_of(cell))]
    assert "of the twenty held back here you have seen eight there" in text


def test_the_league_by_hand() -> None:
    """Accuracies 3 > 2 > 1: convolutions order all pairs right, their reverse none, a constant half."""
    masks = [OpMask.from_cell(Cell.parse(text)) for text in ("0333 0000 0000 0000", "0330 0000 0000 0000", "03 00")]
    cells = list(zip(masks, (3.0, 2.0, 1.0), strict=True))
    size = lambda mask: sum(op == "conv3x3" for op in mask.to_cell().ops)  # noqa: E731
    entries = {"less": lambda mask: -size(mask), "constant": lambda mask: 0, "more": size}
    rows = checks.league_table(entries, cells, resamples=40)
    assert [(row["entry"], row["right"].estimate) for row in rows] == [("more", 1), ("constant", 0.5), ("less", 0)]
    assert [row["behind"].estimate for row in rows] == [0, 0.5, 1]
    assert (rows[0]["tau"].estimate, rows[2]["tau"].estimate) == (1, -1)


def test_entries_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "ann.py").write_text("def entry(mask):\n    return 7\n")
    assert {name: entry(None) for name, entry in checks.read_entries(tmp_path).items()} == {"ann": 7}
    (tmp_path / "bo.py").write_text("score = 7\n")
    with pytest.raises(ValueError, match=r"bo\.py has no function entry\(mask\)"):
        checks.read_entries(tmp_path)


def test_what_is_held_back_stays_out_of_the_students_version() -> None:
    [league] = [lesson for lesson in LESSONS if "league" in lesson.stem]
    assert len(cells_of(league, "held")) == 1
    pictures = {cell["id"]: [] for cell in cells_of(league, "picture")}
    text = json.dumps(list(course.student_cells(cells_of(league), pictures)))
    shown, held = checks.league_cells("motion-dvs")
    assert {repr(accuracy) for _, accuracy in held} - {repr(accuracy) for _, accuracy in shown}
    assert not [accuracy for _, accuracy in held if repr(accuracy) in text]
    assert "read_entries" not in text


def test_a_hint_is_shown_without_a_traceback() -> None:
    with pytest.raises(checks.NotYet) as caught:
        checks.need_tensor(torch.zeros(2), (3,), "the kernel")
    assert caught.value._render_traceback_() == ["Not yet: the kernel should have the shape [3], but has [2]."]


# ---- the source ------------------------------------------------------------------------------------------------------


@lesson_test
def test_a_lesson_is_complete(lesson: Path) -> None:
    cells = cells_of(lesson)
    tags = [course.tag_of(cell) for cell in cells]
    first = course.text_of(cells[0])
    assert first.startswith("# ")
    assert course.title_of(lesson).endswith("?")
    assert all(part in first for part in ("**You will**", "**You need**", "**Time:**"))
    assert 10 <= course.minutes_of(lesson) <= 45
    assert 2 <= tags.count("exercise") <= 4
    assert [tag for tag in tags if tag in ("exercise", "hint", "solution", "check")] == [
        "exercise",
        "hint",
        "solution",
        "check",
    ] * tags.count("exercise")
    assert [tag for tag in tags if tag in ("predict", "answer")] == ["predict", "answer"] * tags.count("predict")
    assert tags.count("predict") >= 3
    assert tags.count("notes") == 1
    asserts = [line for cell in cells for line in course.text_of(cell).splitlines() if line.startswith("assert ")]
    assert len(asserts) >= 3


@lesson_test
def test_a_prediction_comes_before_its_answer(lesson: Path) -> None:
    names = [course.predicted_name(cell) for cell in cells_of(lesson, "predict")]
    assert len(set(names)) == len(names)


def test_odd_tags_and_predictions_are_refused() -> None:
    odd = course.code("guess = 3", "odd") | {"metadata": {"tags": ["solutoin"]}}
    with pytest.raises(ValueError, match="expected one tag at most, out of parameters, predict"):
        course.tag_of(odd)
    with pytest.raises(ValueError, match="a prediction is one line 'name = None"):
        course.predicted_name(odd)


def test_the_lessons_fill_two_sessions() -> None:
    """The league comes after them."""
    minutes = [course.minutes_of(lesson) for lesson in LESSONS]
    assert [sum(minutes[:4]), sum(minutes[4:8]), len(minutes)] == [90, 90, 9]


def test_the_reading_order_is_the_readmes(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `lessons/`.*$", text, flags=re.MULTILINE)
    assert re.findall(r"\d_\w+", row) == [path.stem for path in LESSONS]


# ---- the versions ----------------------------------------------------------------------------------------------------


@lesson_test
def test_a_student_gets_no_answer(lesson: Path) -> None:
    shown = list(course.student_cells(cells_of(lesson), {}))
    text = json.dumps(shown, ensure_ascii=False)
    for cell in cells_of(lesson, "solution", "notes", "answer", "held"):
        assert json.dumps(course.text_of(cell), ensure_ascii=False)[1:-1] not in text
    stubs = [course.text_of(cell) for cell in shown if course.tag_of(cell) == "exercise"]
    assert all("raise NotImplementedError" in stub for stub in stubs)
    assert text.count("<details>") == len(cells_of(lesson, "hint"))
    folded = re.findall(r'checks\.unfold\((\w+), \\"(.+?)\\"\)', text)
    assert [name for name, _ in folded] == [course.predicted_name(cell) for cell in cells_of(lesson, "predict")]
    answers = [course.text_of(cell) for cell in cells_of(lesson, "answer")]
    assert [base64.b64decode(answer).decode() for _, answer in folded] == answers


@lesson_test
def test_an_instructor_gets_all(lesson: Path) -> None:
    source, shown = cells_of(lesson), list(course.instructor_cells(cells_of(lesson)))
    assert [cell["id"] for cell in shown] == [cell["id"] for cell in source]
    assert all(course.text_of(cell) in course.text_of(other) for cell, other in zip(source, shown, strict=True))
    assert sum("**For the instructor.**" in course.text_of(cell) for cell in shown) == 1


def test_an_answer_unfolds_after_the_prediction(capsys: pytest.CaptureFixture) -> None:
    answer = checks.fold("In step 2.")
    checks.unfold(None, answer)
    assert "Type your prediction" in capsys.readouterr().out
    checks.unfold(3, answer)
    assert "Type your prediction" not in capsys.readouterr().out


def test_the_line_to_the_next_lesson() -> None:
    names = {"1_a.ipynb": "A?", "2_b.ipynb": "B?", "3_c.ipynb": "C?"}
    assert course.navigation(1, names) == "Lesson 1 of 3 · next: [B?](2_b.ipynb)"
    assert course.navigation(2, names) == "Lesson 2 of 3 · before: [A?](1_a.ipynb) · next: [C?](3_c.ipynb)"
    assert course.navigation(3, names) == "Lesson 3 of 3 · before: [B?](2_b.ipynb)"


def test_the_picture_to_expect_stands_for_the_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what was printed beside it; and it comes back when a student runs its cell."""

    def tagged(tag: str, name: str) -> dict:
        return course.code(f"'{tag}'", name) | {"metadata": {"tags": [tag]}}

    cells = [tagged("exercise", "a"), tagged("solution", "b"), tagged("check", "c"), tagged("picture", "d")]
    cells += [tagged("exercise", "e"), tagged("solution", "f"), tagged("check", "g")]
    picture = {"output_type": "display_data", "data": {PLOTLY: {"data": []}, "text/plain": ["a", "b"]}, "metadata": {}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["4 counts"]}
    shown = {cell["id"]: cell for cell in course.student_cells(cells, {"d": [printed, picture]})}
    assert list(shown) == ["a", "b", "c", "d", "e", "g"]
    assert shown["b"]["outputs"] == [picture]
    assert shown["d"]["outputs"] == []  # drawn by the student's own code
    lasting = {cell["id"]: cell for cell in course.lasting(shown.values())}
    assert {name for name, cell in lasting.items() if cell is not shown[name]} == {"b"}
    assert lasting["b"]["outputs"] == [picture]
    bundles: list[dict] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    exec(lasting["b"]["source"], {"checks": checks})
    assert bundles == [{PLOTLY: {"data": []}, "text/plain": "ab"}]


@pytest.mark.notebooks
@lesson_test
def test_a_lesson_runs_and_is_built(lesson: Path, tmp_path: Path) -> None:
    number = 1 + LESSONS.index(lesson)
    course.build_lesson(lesson, tmp_path, number, quick=True)
    check_outputs(tmp_path / "executed" / lesson.name)
    check_outputs(tmp_path / "instructor" / lesson.name)
    student = course.read(tmp_path / "student" / lesson.name)
    drawn = [cell["outputs"] for cell in student["cells"] if cell.get("outputs")]
    assert len(drawn) == sum(
        bool(course.picture_after(cells_of(lesson), position))
        for position, cell in enumerate(cells_of(lesson))
        if course.tag_of(cell) == "solution"
    )
    assert all(any(PLOTLY in output.get("data", {}) for output in outputs) for outputs in drawn)
    assert f"Lesson {number} of {len(LESSONS)}" in course.text_of(student["cells"][0])
    assert "papermill" not in student["metadata"]


@pytest.mark.notebooks
def test_the_memory_lesson_on_real_touches(tmp_path: Path) -> None:
    """``real`` and ``folder`` as a student sets them: both networks tell their accuracy, in order and shuffled."""
    folder = Path(os.environ.get("LIGHTSNN_EXTRA_DATA") or "/none", "events")
    if not (folder / "braille-letters.npz").is_file():
        pytest.skip("LIGHTSNN_EXTRA_DATA names no folder with events/braille-letters.npz")
    [lesson] = [lesson for lesson in LESSONS if "memory" in lesson.stem]
    given = {"quick": True, "real": "braille", "folder": str(folder)}
    executed = run_notebook(lesson, output=tmp_path / lesson.name, parameters=given, html=False)
    check_outputs(executed)
    text = "".join("".join(output.get("text", "")) for output in outputs(executed))
    told = re.findall(r"^braille, ([\w-]+): \d+%, shuffled \d+%$", text, flags=re.MULTILINE)
    assert told == ["residual", "residual-feedback"]


def test_a_course_of_before_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_run(notebook: Path, folder: Path, number: int, *, quick: bool) -> float:
        for part in ("executed", "student", "instructor"):
            (folder / part).mkdir(exist_ok=True)
        return 0.0

    monkeypatch.setattr(course, "build_lesson", no_run)
    first, second = course.build(tmp_path / "course"), course.build(tmp_path / "course")
    assert [first.name, second.name] == ["course", "course-2"]
    assert (second / "student" / "checks" / "tools.py").is_file()
    assert not (second / "executed").exists()
