"""Make the course from the lessons: one source, a version for students and one for instructors (``make course``).

Tags of a lesson's cells say who gets them:

========== ============================================= =============================================
tag        student's version                             instructor's version
========== ============================================= =============================================
predict    kept: a prediction is typed here              kept
answer     folded until the prediction is typed          kept
exercise   kept: a stub that raises NotImplementedError  kept
hint       folded                                        folded
solution   the expected picture instead, if there is one kept
picture    kept, and where the expected picture is from  kept, with its output
check      kept                                          kept
notes      left out                                      kept: misconceptions, and what to do about them
held       left out                                      kept, with its output: what is held back from students
========== ============================================= =============================================
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import checks

from lightsnn_kit.files import at_root, write_text
from lightsnn_kit.lab.notebooks import run_notebook, unused_path

FOLDER = Path(__file__).resolve().parent
TAGS = ("parameters", "predict", "answer", "exercise", "hint", "solution", "picture", "check", "notes", "held")


def lessons() -> list[Path]:
    """The lessons in reading order: the number in front of their names."""
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def read(notebook: Path) -> dict:
    """A notebook file as a dictionary."""
    return json.loads(notebook.read_text(encoding="utf-8"))


def text_of(cell: Mapping) -> str:
    """What stands in a cell."""
    return "".join(cell["source"])


def tag_of(cell: Mapping) -> str:
    """The tag of a cell that says who gets it, "" without one; ``ValueError`` for an unknown one, or several."""
    tags = cell["metadata"].get("tags", [])
    if len(tags) > 1 or not set(tags) <= set(TAGS):
        raise ValueError(f"cell {cell['id']!r}: expected one tag at most, out of {', '.join(TAGS)}; got {tags}.")
    return tags[0] if tags else ""


def title_of(notebook: Path) -> str:
    """The question that a lesson asks: its first line."""
    return text_of(read(notebook)["cells"][0]).splitlines()[0].removeprefix("# ")


def minutes_of(notebook: Path) -> int:
    """The minutes that a lesson takes people, as its first cell says."""
    return int(re.search(r"\*\*Time:\*\* (\d+) minutes for you", text_of(read(notebook)["cells"][0]))[1])


def markdown(text: str, name: str) -> dict:
    """A text cell."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def code(text: str, name: str, outputs: Sequence[dict] = (), *, hidden: bool = False) -> dict:
    """A code cell; ``hidden``: JupyterLab folds its source but for the first line."""
    metadata = {"jupyter": {"source_hidden": True}} if hidden else {}
    common = {"outputs": list(outputs), "execution_count": None, "metadata": metadata}
    return {"cell_type": "code", "id": name, "source": text} | common


def folded(cell: Mapping) -> dict:
    """A hint behind a line to click."""
    return markdown(f"<details><summary>A hint</summary>\n\n{text_of(cell)}\n\n</details>", cell["id"])


def predicted_name(cell: Mapping) -> str:
    """The variable that a ``predict`` cell sets to None; ``ValueError`` if it does anything else."""
    match ast.parse(text_of(cell)).body:
        case [ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=None))]:
            return name
    raise ValueError(f"cell {cell['id']!r}: a prediction is one line 'name = None  # what to type'.")


def picture_after(cells: Sequence[dict], position: int) -> str:
    """The id of the ``picture`` that a solution leads to, "" if there is none before the next exercise."""
    for cell in cells[position + 1 :]:
        if tag_of(cell) in ("exercise", "picture"):
            return cell["id"] if tag_of(cell) == "picture" else ""
    return ""


def student_cells(cells: Sequence[dict], outputs: Mapping[str, Sequence[dict]]) -> Iterator[dict]:
    """What students get; ``outputs`` of the executed cells by their ids, for the pictures to expect."""
    guess = ""
    for position, cell in enumerate(map(copy.deepcopy, cells)):
        match tag_of(cell):
            case "notes" | "held":
                continue
            case "predict":
                guess = predicted_name(cell)
            case "answer":
                call = f'checks.unfold({guess}, "{checks.fold(text_of(cell))}")'
                cell = code(f"# The answer, once your prediction is typed.\n{call}", cell["id"], hidden=True)
            case "hint":
                cell = folded(cell)
            case "solution":
                shown = outputs.get(picture_after(cells, position), ())
                picture = [output for output in shown if "data" in output]  # printed lines would tell answers
                if not picture:
                    continue
                cell = code("# The picture that your code should draw further below.", cell["id"], picture)
        yield cell


def lasting(cells: Iterable[dict]) -> Iterator[dict]:
    """Students' cells for JupyterLab, where running a cell clears it: a picture to expect comes back when it is run."""
    for cell in cells:
        if cell.get("outputs"):
            bundles = [
                {kind: "".join(value) if isinstance(value, list) else value for kind, value in output["data"].items()}
                for output in cell["outputs"]
            ]
            call = f'checks.show("{checks.fold(json.dumps(bundles))}")'
            cell = code(f"{text_of(cell)}\n{call}", cell["id"], cell["outputs"], hidden=True)
        yield cell


def instructor_cells(cells: Sequence[dict]) -> Iterator[dict]:
    """What instructors get: everything, with what was executed."""
    for cell in map(copy.deepcopy, cells):
        match tag_of(cell):
            case "notes":
                cell = markdown(f"**For the instructor.** {text_of(cell)}", cell["id"])
            case "hint":
                cell = folded(cell)
        yield cell


def navigation(number: int, names: Mapping[str, str]) -> str:
    """The line that leads to the lessons before and after ``number`` (from 1); ``names``: file name -> title."""
    links = [f"[{title}]({name})" for name, title in names.items()]
    before, after = ["", *links][number - 1], [*links, ""][number]
    parts = [f"Lesson {number} of {len(links)}", f"before: {before}" * bool(before), f"next: {after}" * bool(after)]
    return " · ".join(part for part in parts if part)


def with_frame(cells: Sequence[dict], line: str, time: str) -> list[dict]:
    """The cells with the navigation at both ends, and the machine's measured time after the people's."""
    first = copy.deepcopy(cells[0])
    first["source"] = f"{text_of(first)}\n\n{time}\n\n{line}"
    return [first, *cells[1:], markdown(line, "navigation")]


def executed_outputs(source: Sequence[Mapping], executed: Sequence[Mapping]) -> dict[str, list[dict]]:
    """Outputs of the source's cells by their ids, from an executed copy."""
    known = {cell["id"] for cell in source}
    return {cell["id"]: cell["outputs"] for cell in executed if cell["id"] in known and cell["cell_type"] == "code"}


def build_lesson(notebook: Path, folder: Path, number: int, *, quick: bool) -> float:
    """Run a lesson and write both of its versions; the seconds that it took."""
    given = {"quick": True} if quick else {}
    run = read(run_notebook(notebook, output=folder / "executed" / notebook.name, parameters=given, html=False))
    source, seconds = read(notebook), run["metadata"]["papermill"]["duration"]
    outputs = executed_outputs(source["cells"], run["cells"])
    solved = [cell | ({"outputs": outputs[cell["id"]]} if cell["id"] in outputs else {}) for cell in source["cells"]]
    line = navigation(number, {path.name: title_of(path) for path in lessons()})
    time = f"The machine that made this page took {seconds:.0f} s{' in quick mode' if quick else ''}."
    versions = {"student": lasting(student_cells(source["cells"], outputs)), "instructor": instructor_cells(solved)}
    for version, cells in versions.items():
        content = source | {"cells": with_frame(list(cells), line, time)}
        (folder / version).mkdir(exist_ok=True)
        write_text(folder / version / notebook.name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return seconds


def build(folder: Path, *, quick: bool = False) -> Path:
    """Write the course into a folder that is not there yet (``course``, else ``course-2``, ...); return it.

    What students wrote into an earlier one stays as it is.
    """
    folder = unused_path(at_root(folder))
    folder.mkdir(parents=True)
    for number, notebook in enumerate(lessons(), 1):
        seconds = build_lesson(notebook, folder, number, quick=quick)
        print(f"{number}  {title_of(notebook)}  {minutes_of(notebook)} minutes, {seconds:.0f} s", flush=True)
    shutil.rmtree(folder / "executed")
    for version in ("student", "instructor"):  # so that each folder can be handed out alone
        shutil.copytree(FOLDER / "checks", folder / version / "checks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the course's versions for students and instructors.")
    parser.add_argument("--folder", type=Path, default=Path("runs/course"), help="where to (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: fewer images, steps and channels")
    given = parser.parse_args()
    print("written to", build(given.folder, quick=given.quick))
