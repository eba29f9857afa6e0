"""Notebooks as pages of the site: figures that need no network, words of the glossary linked, answers folded."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence

import course
import plotly.io

from lightsnn_kit.lab.report import PLOTLY, without_widgets

AMBIGUOUS = {"method", "space", "leak", "mask", "preset"}  # everyday words as well: linked by hand only
_GUARD = "from lightsnn_kit.lab.notebooks import check_injected\n\ncheck_injected()"  # says nothing to a reader
_CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False}
# Parts of a text in which no word is linked: code, headings, links, tables, HTML, formulas and roles.
_KEPT = re.compile(
    r"(^```.*?^```|^:::.*?$|^#+ .*?$|^\|.*?$|^    .*?$|`[^`]*`(?:`[^`]*`)?|\[[^\]]*\]\([^)]*\)|<[^>]+>|\$[^$]*\$"
    r"|\{\w+\}`[^`]*`|\*\*[^*]+\*\*)",
    flags=re.MULTILINE | re.DOTALL,
)


def glossary_terms(text: str) -> list[str]:
    """The words that a glossary page explains, in its order.

    >>> glossary_terms(":::{glossary}\\nLIF\\n  A neuron.\\n\\nv_threshold\\n  Where it spikes.\\n:::")
    ['LIF', 'v_threshold']
    """
    return re.findall(r"^([^\s:`#].*)\n  \S", text, flags=re.MULTILINE)


def link_terms(text: str, terms: Sequence[str], seen: set[str]) -> str:
    """The text with each term that is not in ``seen`` linked where it comes first; ``seen`` then holds it.

    >>> link_terms("`LIF` means: LIF neurons, edges.", ["LIF", "edge"], set())
    '`LIF` means: {term}`LIF` neurons, {term}`edges <edge>`.'
    """
    parts = _KEPT.split(text)  # texts and what is kept take turns
    for term in sorted(terms, key=len, reverse=True):  # 'backward edge' before 'edge'
        word = re.compile(rf"(?<![\w{{*`-]){re.escape(term)}(s?)(?![\w`-])", 0 if term[0].isupper() else re.IGNORECASE)
        for at in range(0, len(parts), 2):
            if term not in seen and (found := word.search(parts[at])):
                role = term if found[0] == term else f"{found[0]} <{term}>"
                linked = f"{{term}}`{role}`"
                before, after = parts[at][: found.start()], parts[at][found.end() :]
                parts[at : at + 1] = [before, linked, after]  # what is linked is kept from now on
                seen.add(term)
    return "".join(parts)


def drawn(cells: Sequence[dict], up: str) -> Iterator[dict]:
    """Cells whose figures are HTML; the first one loads plotly's script, from ``up`` + ``_static``."""
    first = True
    for cell in cells:
        for data in (output["data"] for output in cell.get("outputs", ()) if PLOTLY in output.get("data", {})):
            figure = {key: value for key, value in data.pop(PLOTLY).items() if key in ("data", "layout", "frames")}
            script = f'<script src="{up}_static/plotly.min.js"></script>' if first else ""
            first = False
            title = re.sub("<[^>]+>", " ", str(figure.get("layout", {}).get("title", {}).get("text", "figure")))
            data.clear()
            data["text/html"] = script + figure_html(figure, label=" ".join(title.split()))
        yield cell


def figure_html(figure: Mapping, *, label: str) -> str:
    """A figure without the script that draws it."""
    inside = plotly.io.to_html(figure, config=_CONFIG, validate=False, include_plotlyjs=False, full_html=False)
    inside = " ".join(inside.split("\n"))  # an empty line would end the HTML in a Markdown cell
    label = label.replace('"', "'").replace("<", "‹")
    return f'<div class="figure" role="group" aria-label="{label}">{inside}</div>'


def student_page(cells: Sequence[dict], outputs: Mapping[str, Sequence[dict]]) -> Iterator[dict]:
    """A lesson as a page: the student's version; an answer unfolds by a click, and no cell of the checks' plumbing."""
    answers = {cell["id"]: course.text_of(cell) for cell in cells if course.tag_of(cell) == "answer"}
    shown = {cell["id"] for cell in cells if course.tag_of(cell) in ("", "picture")}
    # A picture that the student's own code draws is shown once, where it is expected.
    shown -= {course.picture_after(cells, at) for at, cell in enumerate(cells) if course.tag_of(cell) == "solution"}
    cells = [cell | ({"outputs": []} if cell["cell_type"] == "code" else {}) for cell in cells]
    for cell in course.student_cells(cells, outputs):
        if cell["id"] in answers:
            fold = "<details><summary>Type your prediction, then open the answer</summary>"
            cell = course.markdown(f"{fold}\n\n{answers[cell['id']]}\n\n</details>", cell["id"])
        elif cell["cell_type"] == "code" and cell["id"] in shown:
            cell = cell | {"outputs": list(outputs.get(cell["id"], ()))}
        yield cell


def page(content: Mapping, cells: Sequence[dict], *, depth: int, terms: Sequence[str]) -> dict:
    """A notebook as Sphinx reads it: ``cells`` in place of its own, for a page so many folders below the index."""
    cells = [cell for cell in cells if not course.text_of(cell).startswith(_GUARD)]
    cells = without_widgets({"cells": copy.deepcopy(cells), "metadata": {}})["cells"]
    seen: set[str] = set()
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = link_terms(course.text_of(cell), terms, seen)
        else:
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    metadata = {key: value for key, value in content["metadata"].items() if key != "papermill"}
    return dict(content) | {"cells": list(drawn(cells, "../" * depth)), "metadata": metadata}
