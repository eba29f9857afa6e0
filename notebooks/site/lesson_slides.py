"""Slides of the lessons: one sentence and a figure each, chosen from a lesson by rule, so that a new one has them, too.

=================================================== ===========================================================
cells of a lesson                                   slides
=================================================== ===========================================================
the first one                                       the question, and what the lesson is for
a text with a heading                               the heading, and the first sentence below it
a prediction                                        the question; the answer's first sentence comes a step later
an exercise                                         what is to be written
a figure                                            the first sentence of the text before it, and the figure
"Recall"                                            the questions
``notes``                                           the speaker's notes of the first slide
=================================================== ===========================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import course
import nbformat
from site_notebooks import figure_html

from lightsnn_kit.files import write_text
from lightsnn_kit.lab.report import PLOTLY

WIDTH, HEIGHT = 1100, 700  # of a slide, in its own units
REVEAL = ("dist/reveal.js", "dist/reveal.css", "dist/theme/white.css", "plugin/notes/notes.js")
_TEMPLATE = """{% extends 'reveal/index.html.j2' %}
{% block html_head_js %}<script src="../_static/plotly.min.js"></script>{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block notebook_css %}<style>
.reveal.reveal { font-size: 32px; font-family: system-ui, sans-serif; }
html .reveal .slide-number { background: #333; }
.reveal h1 { font-size: 1.9em; } .reveal h2 { font-size: 1.4em; }
.reveal.reveal :is(h1, h2, h3) { text-transform: none; font-family: inherit; } .reveal :is(p, li) { text-align: left; }
html, body, main { height: 100%; margin: 0; }
html:not(.reveal-print, .print-pdf) .reveal:not(.overview) .slides > section:not(.present) { visibility: hidden; }
.reveal a.anchor-link { display: none; } .reveal .figure { display: flex; justify-content: center; }
.jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
</style>{% endblock %}
{% block footer_js %}<script src="reveal/dist/reveal.js"></script><script src="reveal/plugin/notes/notes.js"></script>
<script>
const look = { width: WIDTH, height: HEIGHT, transition: "none", slideNumber: "c/t" };
Reveal.initialize({ hash: true, plugins: [RevealNotes], ...look });
</script>{% endblock %}
"""


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph that is no heading, list, code or exercise's number.

    >>> first_sentence("## 1. One step\\n\\nThe neuron holds *v*, e.g. 0.5. It leaks.")
    'The neuron holds *v*, e.g. 0.5.'
    """
    for part in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        part = " ".join(part.split())
        if part and not re.match(r"#|[-*] |1\. |\||\*\*(You|Time)|<", part):
            found = re.match(r".*?[.?!:](?=\*{0,2} +[*`\"(]{0,2}[A-Z]|$)\*{0,2}", part)
            return (found[0] if found else part).rstrip(":")
    return ""


def heading_of(text: str) -> str:
    """The heading of a text without its number, "" if it has none."""
    found = re.search(r"^#+ (?:\d+\. )?(.*)$", text, flags=re.MULTILINE)
    return found[1] if found else ""


def marked(text: str, word: str) -> str:
    """The paragraph of a text that begins with a bold word, such as **Predict:**, in one line."""
    found = re.search(rf"^\*\*{word}.*?(?=\n\s*\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(found[0].split()) if found else ""


def figures_of(outputs: Sequence[Mapping]) -> Iterator[str]:
    """The figures of a cell as HTML that fits onto a slide."""
    for output in outputs:
        if figure := output.get("data", {}).get(PLOTLY):
            layout = figure.get("layout", {}) | {"width": WIDTH - 140, "height": HEIGHT - 240, "autosize": False}
            shown = {"data": figure["data"], "layout": layout}
            yield figure_html(shown, label="the figure of this slide")


def slide(text: str, name: str, kind: str = "slide") -> dict:
    """A text cell with the metadata that nbconvert reads."""
    return course.markdown(text, name) | {"metadata": {"slideshow": {"slide_type": kind}}}


def slides_of(cells: Sequence[Mapping]) -> Iterator[dict]:
    """The cells of a lesson's slides, from its executed copy."""
    said = ""
    for at, cell in enumerate(cells):
        text, tag, name = course.text_of(cell), course.tag_of(cell), cell["id"]
        if tag == "held":  # of the league: these slides are public
            continue
        if cell["cell_type"] == "code":
            for number, figure in enumerate(figures_of(cell.get("outputs", ()))):
                yield slide(f"{said}\n\n{figure}", f"{name}-{number}")
                said = ""
        elif at == 0:
            yield slide(f"# {heading_of(text)}\n\n{first_sentence(text)}", name)
        elif heading_of(text) == "Recall":
            yield slide(text[text.index("## Recall") :].partition("\n**What you have now:**")[0], name)
        elif tag in ("notes", "answer"):
            answer = re.sub(r"^(\d+)\.$", r"\1", first_sentence(text))  # "18." alone would be a list
            yield slide(text, name, "notes") if tag == "notes" else slide(answer, name, "fragment")
        elif not tag:
            said = first_sentence(without_tasks(text)) or said
            yield from slides_of_text(text, name)


def slides_of_text(text: str, name: str) -> Iterator[dict]:
    """Slides of a text between figures: its heading with a sentence, a prediction, an exercise."""
    if heading := heading_of(text):
        below = re.split(r"^#+ .*$", text, maxsplit=1, flags=re.MULTILINE)[1]
        yield slide(f"## {heading}\n\n{first_sentence(without_tasks(below))}", name)
    if asked := marked(text, "Predict"):
        yield slide(asked, f"{name}-predict")
    if asked := marked(text, "Exercise"):
        number, _, rest = asked.partition("** ")
        yield slide(f"{number}** {first_sentence(rest)}", f"{name}-exercise")


def without_tasks(text: str) -> str:
    """A text without its prediction and exercise."""
    for word in ("Predict", "Exercise"):
        text = re.sub(rf"^\*\*{word}.*?(?=\n\s*\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    return text


def deck(executed: Mapping) -> str:
    """The page of slides of an executed lesson."""
    from nbconvert import SlidesExporter

    cells = list(slides_of(executed["cells"]))
    notes = [cell for cell in cells if cell["metadata"]["slideshow"]["slide_type"] == "notes"]
    rest = [cell for cell in cells if cell not in notes]
    notebook = nbformat.from_dict(dict(executed) | {"cells": [rest[0], *notes, *rest[1:]]})
    template = _TEMPLATE.replace("WIDTH", str(WIDTH)).replace("HEIGHT", str(HEIGHT))
    exporter = SlidesExporter(raw_template=template, reveal_url_prefix="reveal", reveal_theme="white")
    title = heading_of(course.text_of(executed["cells"][0]))
    return exporter.from_notebook_node(notebook, {"metadata": {"name": title}})[0]


def write(lessons: Mapping[Path, Mapping], site: Path) -> None:
    """Write the slides of executed lessons below the site, with the script that shows them."""
    own, folder = resources.files("sphinx_revealjs") / "_static" / "revealjs", site / "slides"
    folder.mkdir(exist_ok=True)
    for lesson, executed in lessons.items():
        write_text(folder / f"{lesson.stem}.html", deck(executed))
    for name in REVEAL if lessons else ():
        (folder / "reveal" / name).parent.mkdir(parents=True, exist_ok=True)
        text = (own / name).read_text(encoding="utf-8")
        write_text(
            folder / "reveal" / name, re.sub(r"@import url\([^)]*\);", "", text)
        )  # fonts that a page can do without


def index_page(lessons: Sequence[Path]) -> str:
    """The page that lists the slides of lessons."""
    lines = [
        f'<li><a href="slides/{path.stem}.html">{course.title_of(path)}</a>, {course.minutes_of(path)} minutes</li>'
        for path in lessons
    ]
    text = (
        "# Slides for every lesson\n\nOne sentence and a figure each; → goes on, S opens the speaker's notes, O shows "
    )
    text += "all slides. They are files of this site, and open without a network.\n\n"
    return text + "<ol>\n" + "\n".join(lines) + "\n</ol>\n"
