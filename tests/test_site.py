"""The site's sources: one reading order, linked words, pages made from the kit, slides by rule, a true table."""

from __future__ import annotations

import copy
import doctest
import json
import math
import re
from pathlib import Path
from types import ModuleType

import cell_table
import course
import lesson_slides
import pytest
import reading_order
import site_build
import site_notebooks
import site_pages

from lightsnn_kit import OpMask, Scorer, prune_search
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.cell_measures import measure_cell
from lightsnn_kit.lab.report import PLOTLY

SITE = Path(site_build.__file__).parent
LESSONS = course.lessons()
TERMS = site_notebooks.glossary_terms((SITE / "glossary.md").read_text(encoding="utf-8"))
FIGURE = {"data": [{"y": [1, 2]}], "layout": {"title": {"text": "Two"}}}

lesson_test = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.mark.parametrize("module", [reading_order, site_notebooks, site_pages, lesson_slides], ids=lambda m: m.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


# ---- the reading order -----------------------------------------------------------------------------------------------


def test_every_notebook_has_its_place(root: Path) -> None:
    pages = reading_order.order()
    found = {
        path for path in (root / "notebooks").rglob("*.ipynb") if not {"runs", ".ipynb_checkpoints"} & set(path.parts)
    }
    assert {page for page in pages if page.suffix == ".ipynb"} == found
    assert len(set(pages)) == len(pages)
    assert [page for page in pages if reading_order.numbered(page)] == LESSONS
    assert [page.stem for page in pages if page.stem in ("search", *site_build.STAGES)][:4] == [
        "search",
        *site_build.STAGES,
    ]


def test_every_notebook_leads_to_the_ones_around_it() -> None:
    """``python notebooks/site/reading_order.py`` writes the lines."""
    pages, wrong = reading_order.order(), []
    for page in pages:
        if page.suffix == ".ipynb" and not reading_order.numbered(page):
            last = course.text_of(course.read(page)["cells"][0]).splitlines()[-1]
            wrong += [page.name] if last != reading_order.line_of(page, pages) else []
    assert wrong == []


def test_a_new_page_takes_its_place(tmp_path: Path) -> None:
    """Lines are changed where neighbours are, and nothing else is; a second time nothing is."""

    def notebook(name: str) -> Path:
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"cells": [course.markdown(f"# {name}?\n\nText.", "a"), course.markdown("Rest.", "b")]})
        )
        return path

    table = "| notebook | |\n|---|---|\n| `a` | one |\n| `c` → `b` | `d` is none |\n\n"
    (tmp_path / "README.md").write_text(table)
    a, b, c = map(notebook, "abc")
    assert reading_order.order(a.parent) == [a, c, b]
    assert reading_order.update(a.parent) == [a, c, b]
    first, rest = (course.text_of(cell) for cell in course.read(c)["cells"])
    assert first == "# c?\n\nText.\n\n**Before:** [a?](a.ipynb) · **Next:** [b?](b.ipynb)"
    assert rest == "Rest."
    assert reading_order.update(a.parent) == []
    (tmp_path / "README.md").write_text(table.replace("| `c` → `b`", "| `b` → `c`"))
    assert reading_order.update(a.parent) == [a, b, c]
    assert course.text_of(course.read(c)["cells"][0]) == "# c?\n\nText.\n\n**Before:** [b?](b.ipynb)"


def test_the_contents_follow_the_reading_order(root: Path) -> None:
    text = site_pages.contents(reading_order.rows(), root / "notebooks")
    pages = [page.relative_to(root).as_posix() for page in reading_order.order()]
    assert re.findall(r"^- \[.*\]\((.+)\)$", text, flags=re.MULTILINE) == pages
    bars = re.findall(r"^notebooks/\S+$", text, flags=re.MULTILINE)
    assert bars == [page.rsplit(".", 1)[0] for page in pages]


# ---- the glossary ----------------------------------------------------------------------------------------------------


def test_the_glossary_explains_the_fields_words() -> None:
    assert len(TERMS) >= 35
    assert len({term.lower() for term in TERMS}) == len(TERMS)
    wanted = [
        "LIF",
        "v_threshold",
        "BPTT",
        "cell",
        "edge",
        "op",
        "supernet",
        "SAHD",
        "kernel",
        "log-determinant",
        "SynOps",
        "break-even",
        "NIR",
        "reliability",
        "McNemar's test",
    ]
    assert {*wanted, "membrane potential", "surrogate gradient", "Hamming distance"} <= set(TERMS)


@pytest.mark.parametrize("name", ["glossary", "index", "play"])
def test_links_to_terms_lead_somewhere(name: str) -> None:
    text = (SITE / f"{name}.md").read_text(encoding="utf-8")
    linked = re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text)
    assert name == "play" or linked
    assert [term for term in linked if term not in TERMS] == []


def test_words_are_linked_once_and_not_in_code() -> None:
    text = "# Edges\n\nAn `edge` or [edge](x.md), **an edge**.\n\n```\nedge\n```\n\n"
    text += "A backward edge, an edge, edges: knowledge."
    seen: set[str] = set()
    linked = site_notebooks.link_terms(text, ["edge", "backward edge"], seen)
    assert linked == text.replace("A backward edge, an edge,", "A {term}`backward edge`, an {term}`edge`,")
    assert seen == {"edge", "backward edge"}
    assert site_notebooks.link_terms("An edge.", ["edge"], seen) == "An edge."


# ---- notebooks as pages ----------------------------------------------------------------------------------------------


@lesson_test
def test_a_page_holds_no_solution(lesson: Path) -> None:
    cells = course.read(lesson)["cells"]
    page = site_notebooks.page(course.read(lesson), list(site_notebooks.student_page(cells, {})), depth=2, terms=TERMS)
    shown = "\n".join(map(course.text_of, page["cells"]))
    for cell in cells:
        if course.tag_of(cell) in ("solution", "notes", "held"):
            assert course.text_of(cell) not in shown
    assert shown.count("<summary>Type your prediction") == sum(course.tag_of(cell) == "answer" for cell in cells)
    assert "checks.unfold" not in shown
    assert shown.count("{term}`") >= 3


def test_figures_ask_for_one_script_of_the_site() -> None:
    output = {"output_type": "display_data", "data": {PLOTLY: FIGURE, "text/plain": "x"}, "metadata": {}}
    cells = [course.code("draw()", name, [copy.deepcopy(output)]) for name in "ab"]
    page = site_notebooks.page({"metadata": {}}, cells, depth=2, terms=())
    drawn = [cell["outputs"][0]["data"]["text/html"] for cell in page["cells"]]
    assert [text.count('<script src="../../_static/plotly.min.js">') for text in drawn] == [1, 0]
    assert all('aria-label="Two"' in text for text in drawn)
    assert cells[0]["outputs"][0]["data"][PLOTLY] == FIGURE  # what is handed in stays as it is


# ---- pages made from the kit -----------------------------------------------------------------------------------------


def test_settings_are_the_papers() -> None:
    lines = {line.split("|")[1].strip(): [part.strip() for part in line.split("|")[3:-1]] for line in papers_table()}
    assert lines["base width C"] == ["256", "128", "128"]
    assert lines["votes per class V"] == ["10", "5", "10"]
    assert lines["time steps T"] == ["5", "5", "16"]
    assert lines["weight decay"] == ["0.0005"] * 3
    assert lines["loss"][2] == "mse"
    assert lines["time constant τ"] == ["1.333"] * 3


def papers_table() -> list[str]:
    text = site_pages.settings_page()
    part = text[text.index("## Presets of the paper") : text.index("## Presets for one CPU core")]
    return [line for line in part.splitlines() if line.startswith("|")][2:]


def test_every_preset_and_variant_is_on_the_page() -> None:
    text = site_pages.settings_page()
    assert [name for name in [*presets.PRESETS, *presets.VARIANTS] if f"`{name}`" not in text] == []


def test_every_module_has_its_page(root: Path) -> None:
    pages = dict(site_pages.api_pages())
    listed = re.findall(r"automodule:: (\S+)", "\n".join(pages.values()))
    files = [path for path in (root / "lightsnn_kit").rglob("*.py") if path.stem != "__main__"]
    names = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert sorted(listed) == sorted(names - {"lightsnn_kit"})
    index = site_pages.api_index()
    assert all(f"`{name} <" in index for name in ("Cell", "choose", "METHODS"))


def test_results_are_drawn_for_every_file_of_rows(root: Path) -> None:
    text = site_pages.results_page(root / "data" / "results")
    assert text.count("plotly.min.js") == 1
    assert text.count('class="figure"') == text.count("\n## ") >= 4


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something that is no site"):
        site_build.build(tmp_path, run="none")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# ---- the page without a kernel ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return cell_table.make_scorer()[0]


def test_an_entry_of_the_table_is_what_the_kit_measures(scorer: Scorer) -> None:
    cell, layers = cell_table.SPACE.uniform("conv3x3"), []
    assert cell_table.key_of(cell) == "222222"
    found = cell_table.entry(measure_cell(cell, cell_table.SPACE, scorer), layers)
    mask = OpMask.from_cell(cell, cell_table.SPACE)
    [statistics] = scorer.statistics(mask)
    assert found["score"] == pytest.approx(scorer(mask), abs=1e-3)
    assert len(layers) == 9
    assert found["rates"][8] == [round(1000 * float(rate)) for rate in statistics.firing_rate["classifier.2"]]
    kernel = statistics.kernel("sahd").numpy()
    assert found["distances"][0] == round(1000 * (kernel[0, 0] - kernel[0, 1]))
    assert len(found["distances"]) == math.comb(cell_table.IMAGES, 2)
    assert (found["paths"], found["convs"], found["dead"], set(found["live"])) == ((1, 3), 6, [], {1})


def test_a_cell_without_a_path_has_no_score(scorer: Scorer) -> None:
    found = cell_table.entry(measure_cell(cell_table.SPACE.uniform("zeroize"), cell_table.SPACE, scorer), [])
    assert found["score"] is None
    assert found["paths"] is None


def test_the_search_is_stepped_through_from_all_cells_to_one() -> None:
    steps = list(prune_search(cell_table.SPACE, lambda mask: float(mask.num_conv_ops)))
    positions = list(cell_table.search_positions(steps))
    assert len(positions) == 1 + 12  # six edges lose two of three ops
    assert [place["pruned"] == "" for place in positions] == [True] + [False] * 12
    assert [len([op for op, alive in edge["ops"] if alive]) for edge in positions[-1]["graph"]["edges"]] == [1] * 6
    assert positions[0]["words"].endswith("729 cells left")


def test_the_page_carries_the_widgets_own_script(root: Path) -> None:
    text = site_build.explorer("{}")
    assert (root / "lightsnn_kit" / "widgets" / "cell_graph.js").read_text(encoding="utf-8") in text
    assert not re.search(r"/\*[A-Z]+\*/", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_what_was_made_is_kept_until_something_changes(tmp_path: Path) -> None:
    made: list[str] = []

    def make(path: Path) -> None:
        made.append(path.name)
        path.write_text("x")

    first = site_build.kept(tmp_path, "a.json", make, "one")
    assert site_build.kept(tmp_path, "a.json", make, "one") == first
    assert len(made) == 1
    second = site_build.kept(tmp_path, "a.json", make, "two")
    assert [path.name for path in tmp_path.iterdir()] == [second.name] == ["a-two.json"]


# ---- slides ----------------------------------------------------------------------------------------------------------


@lesson_test
def test_a_lesson_gives_slides(lesson: Path) -> None:
    content = course.read(lesson)
    figure = {"output_type": "display_data", "data": {PLOTLY: FIGURE}, "metadata": {}}
    for cell in content["cells"]:
        if course.tag_of(cell) in ("picture", "held"):  # the second is left out
            cell["outputs"] = [figure]
    slides = list(lesson_slides.slides_of(content["cells"]))
    texts = list(map(course.text_of, slides))
    kinds = [slide["metadata"]["slideshow"]["slide_type"] for slide in slides]
    tags = [course.tag_of(cell) for cell in content["cells"]]
    assert course.title_of(lesson) in texts[0]
    assert kinds.count("fragment") == tags.count("answer") == sum("**Predict" in text for text in texts)
    assert kinds.count("notes") == 1
    assert sum("**Exercise " in text for text in texts) == tags.count("exercise")
    assert sum('class="figure"' in text for text in texts) == tags.count("picture")
    words = [len(re.sub("<.*>", "", text, flags=re.DOTALL).split()) for text in texts]
    assert sorted(words)[len(words) // 2] <= 30  # a sentence, not a page
    assert all(text.strip() for text in texts)
