"""Build the site from the notebooks, pages and docstrings (``make site``): static files that need no network.

The tour and the lessons are run first, so that their pages and slides have figures; ``--run all`` runs every notebook
that needs no earlier one. What was run is kept beside the site, and run again when the notebook or the kit has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lessons"))  # before what imports from there
import cell_table
import course
import lesson_slides
import reading_order
import site_notebooks
import site_pages
from plotly.offline import get_plotlyjs

from lightsnn_kit.files import RunError, at_root, replacing, write_text
from lightsnn_kit.lab.notebooks import run_notebook
from lightsnn_kit.lab.save_menu import SAVE_MENU

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KIT = ROOT / "lightsnn_kit"
STAGES = ("train", "evaluate", "report")  # go on where another notebook ended
PAGES = ("data/README.md", "data/results/README.md", "notebooks/promises.md", "notebooks/teaching.md", "CHANGELOG.md")
FILES = ("notebooks/pictures", "data/make_fashion_mnist_small.py", "data/LICENSE-fashion-mnist")


# ---- notebooks that are run ------------------------------------------------------------------------------------------


def key_of(*files: Path, quick: bool = False) -> str:
    """What comes out of files depends on, in 12 characters: them, the kit, the checkers, whether it is a rehearsal."""
    files = [*files, *sorted(KIT.rglob("*.py")), *sorted((HERE.parent / "lessons" / "checks").glob("*.py"))]
    return hashlib.sha256(b"".join([*(path.read_bytes() for path in files), bytes([quick])])).hexdigest()[:12]


def kept(folder: Path, name: str, make: Callable[[Path], None], key: str) -> Path:
    """The file that ``make`` writes, from an earlier build if nothing has changed since."""
    stem, _, ending = name.rpartition(".")
    path = folder / f"{stem}-{key}.{ending}"
    if not path.is_file():
        for old in folder.glob(f"{stem}-{'?' * len(key)}.{ending}"):
            old.unlink()
        with replacing(path) as made:
            make(made)
    return path


def executed(notebook: Path, folder: Path, *, quick: bool) -> Path:
    """The executed copy of a notebook."""

    def make(path: Path) -> None:
        parameters = {"quick": True} if quick else {}
        run_notebook(notebook, output=path, parameters=parameters, html=False).replace(path)

    name = "-".join(notebook.relative_to(ROOT).parts[1:])
    return kept(folder, name, make, key_of(notebook, quick=quick))


def measured(folder: Path) -> Path:
    """The table of all forward cells: half a minute, which is why it is made and not committed."""
    return kept(folder, "cells.json", cell_table.write_table, key_of(Path(cell_table.__file__)))


def run_all(notebooks: Sequence[Path], folder: Path, *, quick: bool) -> tuple[dict[Path, Path], Path]:
    """The executed copies by notebook, and the table of cells, made in two processes at a time."""
    os.environ["OMP_NUM_THREADS"] = "1"  # two at a time: more threads would wait for each other
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        table = pool.submit(measured, folder)
        waiting = {notebook: pool.submit(executed, notebook, folder, quick=quick) for notebook in notebooks}
        found = {}
        for notebook, future in waiting.items():
            found[notebook] = future.result()
            print(f"run: {notebook.relative_to(ROOT)}", flush=True)
        return found, table.result()


# ---- the sources that Sphinx reads -----------------------------------------------------------------------------------


def with_outputs(content: dict, made: Path | None) -> dict:
    """A notebook with what its executed copy has put out, if there is one."""
    outputs = course.executed_outputs(content["cells"], course.read(made)["cells"]) if made else {}
    cells = [cell | ({"outputs": outputs[cell["id"]]} if cell["id"] in outputs else {}) for cell in content["cells"]]
    return content | {"cells": cells}


def stage_notebook(notebook: Path, source: Path, made: Path | None, terms: Sequence[str]) -> None:
    """Write a notebook as Sphinx reads it; ``made``: its executed copy, if there is one."""
    content, where = course.read(notebook), notebook.relative_to(ROOT)
    content = with_outputs(content, made)
    cells = content["cells"]
    if reading_order.numbered(notebook):
        outputs = {cell["id"]: cell["outputs"] for cell in cells if cell.get("outputs")}
        titles = {path.name: course.title_of(path) for path in course.lessons()}
        number = 1 + course.lessons().index(notebook)
        cells = list(site_notebooks.student_page(cells, outputs))
        slides = f'<a href="../../slides/{notebook.stem}.html">Slides of this lesson</a>' * bool(made)
        cells = course.with_frame(cells, course.navigation(number, titles), slides)
    depth = len(where.parts) - 1
    page = site_notebooks.page(content, cells, depth=depth, terms=terms)
    write_page(source / where, json.dumps(page, ensure_ascii=False))


def write_page(path: Path, text: str) -> None:
    """Write a source, unless it is there already: what has not changed is not read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def made_pages(slides: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(place, text) of the pages that are made here; ``slides``: the lessons that have some."""
    rows = reading_order.rows()
    index = (HERE / "index.md").read_text(encoding="utf-8")
    yield "index.md", index.replace("<!-- contents -->", site_pages.contents(rows, reading_order.FOLDER))
    yield "settings.md", site_pages.settings_page()
    yield "results.md", site_pages.results_page(ROOT / "data" / "results")
    yield "api/index.md", site_pages.api_index()
    yield from ((f"{name}.rst", text) for name, text in site_pages.api_pages())
    yield "slides.md", lesson_slides.index_page(slides)
    for page in PAGES:
        yield page, (ROOT / page).read_text(encoding="utf-8")
    for page in reading_order.order():
        if page.suffix == ".md":
            yield page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")
    for name in ("glossary.md", "play.md", "conf.py"):
        yield name, (HERE / name).read_text(encoding="utf-8")


def explorer(table: str) -> str:
    """The page without a kernel: the table, the widget's own script, and what stands between the two."""
    script = (KIT / "widgets" / "cell_graph.js").read_text(encoding="utf-8")
    parts = {"TABLE": table, "GRAPH": script, "SHIM": (HERE / "explorer.js").read_text(encoding="utf-8")}
    text = (HERE / "explorer.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part)
    return text


def stage(source: Path, made: dict[Path, Path], table: Path) -> None:
    """Write everything that Sphinx reads into a folder, and take away what it should read no more."""
    terms = site_notebooks.glossary_terms((HERE / "glossary.md").read_text(encoding="utf-8"))
    terms = [term for term in terms if term not in site_notebooks.AMBIGUOUS]
    wanted = {"_static/plotly.min.js": get_plotlyjs(), "_static/save_menu.js": SAVE_MENU}
    wanted["_static/site.css"] = "".join(
        path.read_text(encoding="utf-8") for path in (HERE / "site.css", KIT / "widgets" / "cell_graph.css")
    )
    wanted |= dict(made_pages([path for path in made if reading_order.numbered(path)])) | {
        "explorer.html": explorer(table.read_text(encoding="utf-8"))
    }
    for place, text in wanted.items():
        write_page(source / place, text)
    notebooks = [page for page in reading_order.order() if page.suffix == ".ipynb"]
    for notebook in notebooks:
        stage_notebook(notebook, source, made.get(notebook), terms)
    for place in FILES:
        copy = shutil.copytree if (ROOT / place).is_dir() else shutil.copy2
        options = {"dirs_exist_ok": True} if copy is shutil.copytree else {}
        copy(ROOT / place, source / place, **options)
    kept = {source / place for place in wanted} | {source / path.relative_to(ROOT) for path in notebooks}
    for path in source.rglob("*"):
        if path.suffix in (".md", ".rst", ".ipynb") and path not in kept:
            path.unlink()


# ---- the site --------------------------------------------------------------------------------------------------------


def build(folder: Path, *, run: str = "lessons", quick: bool = False) -> Path:
    """Build the site into a folder; ``RunError`` if something else is there. Warnings of Sphinx are errors."""
    folder = at_root(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / ".buildinfo").is_file():
        raise RunError(f"{folder} holds something that is no site; give another --folder, or move it away.")
    from sphinx.cmd.build import main as sphinx  # of the extra "site"

    work = folder.with_name(f"{folder.name}-work")
    (work / "executed").mkdir(parents=True, exist_ok=True)
    notebooks = [page for page in reading_order.order() if page.suffix == ".ipynb"]
    tour, lessons = notebooks[:1], [page for page in notebooks if reading_order.numbered(page)]
    chosen = {"none": [], "lessons": [*tour, *lessons]}
    chosen["all"] = [page for page in notebooks if page.parent.name != "reproduce" and page.stem not in STAGES]
    made, table = run_all(chosen[run], work / "executed", quick=quick)
    stage(work / "source", made, table)
    status = sphinx(["-q", "-W", "--keep-going", "-d", str(work / "doctrees"), str(work / "source"), str(folder)])
    if status:
        raise RunError("Sphinx found something to warn of: see above.")
    lesson_slides.write({page: with_outputs(course.read(page), made[page]) for page in lessons if page in made}, folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/site"), help="where to (default: %(default)s)")
    parser.add_argument("--run", choices=("none", "lessons", "all"), default="lessons", help="notebooks to run first")
    parser.add_argument(
        "--quick", action="store_true", help="run them as a rehearsal: fewer images, steps and channels"
    )
    given = parser.parse_args()
    try:
        print("open", build(given.folder, run=given.run, quick=given.quick) / "index.html")
    except RunError as error:
        sys.exit(str(error))
