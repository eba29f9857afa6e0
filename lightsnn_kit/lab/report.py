"""Notebooks for readers without a kernel: pictures in place of widgets, and HTML that needs no network.

``jupyter nbconvert --to offline_html x.ipynb`` and JupyterLab's menu "Save and Export Notebook As" find
`ReportExporter` by its entry point; nbconvert's own ``--to html`` draws neither widgets nor plotly figures.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import nbconvert
import plotly.io

from ..files import RunError, reading
from .save_menu import SAVE_MENU

if TYPE_CHECKING:
    from traitlets.config import Config

WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
_CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False}
_TAG = re.compile("<[^>]*>")
_TEMPLATE = (
    """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}<script>{% raw %}"""
    + SAVE_MENU
    + """{% endraw %}</script>{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>main { max-width: 1000px; margin: auto }</style>{% endblock %}"""
)


class ReportExporter(nbconvert.HTMLExporter):
    """One HTML file with every figure, drawn by one copy of plotly.js inside it; cells' ``hide-input`` tags count."""

    export_from_notebook = "HTML with figures, offline"

    def __init__(self, **options: object) -> None:
        shown = {"embed_images": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
        super().__init__(raw_template=_TEMPLATE, **shown, **options)
        hide = nbconvert.preprocessors.TagRemovePreprocessor(remove_input_tags={"hide-input"})
        self.register_preprocessor(hide, enabled=True)

    @property
    def default_config(self) -> Config:
        """nbconvert's, with code in colours that stand out: each has a contrast of 4.5 : 1 or more on a cell's grey."""
        config = super().default_config
        config.CSSHTMLHeaderPreprocessor.style = "xcode"
        return config

    def from_notebook_node(self, nb: Mapping, resources: dict | None = None, **options: object) -> tuple[str, dict]:
        """The page, and nbconvert's resources."""
        return super().from_notebook_node(_drawn(nb), resources, **options)


def html_report(notebook: Mapping, *, title: str) -> str:
    """The page of an executed notebook."""
    return ReportExporter().from_notebook_node(notebook, {"metadata": {"name": title}})[0]


def without_widgets(notebook: Mapping) -> Mapping:
    """A copy in which no output needs a widget's state: its picture stays, or else its text.

    ``RunError`` for what is no notebook.

    >>> data = {WIDGET: {"model_id": "7"}, "text/plain": "a slider"}
    >>> cells = [{"cell_type": "code", "outputs": [{"output_type": "display_data", "data": data, "metadata": {}}]}]
    >>> without_widgets({"cells": cells, "metadata": {"widgets": {}}})["cells"][0]["outputs"][0]["data"]
    {'text/plain': 'a slider'}
    """
    with reading("the notebook"):
        notebook = copy.deepcopy(notebook)
        notebook["metadata"].pop("widgets", None)
        for data in _bundles(notebook):
            if data.pop(WIDGET, None) and not data:
                data["text/plain"] = "A widget; run the cell to see it."
            if PLOTLY in data and "text/plain" not in data:
                data["text/plain"] = f"Figure: {_title(data[PLOTLY])}"  # nbconvert's own HTML shows this or nothing
        return notebook


def before_saving(model: dict, **_: object) -> None:
    """JupyterLab's ``pre_save_hook``: what goes to the file needs no widget's state, what is open stays as it is."""
    if model["type"] == "notebook" and model.get("content"):
        with suppress(RunError):  # a notebook of another shape is saved as it is
            model["content"] = without_widgets(model["content"])


def _drawn(notebook: Mapping) -> Mapping:
    notebook, shown = without_widgets(notebook), itertools.count()
    for data in _bundles(notebook):
        if figure := data.pop(PLOTLY, None):
            parts = {key: figure[key] for key in ("data", "layout", "frames") if key in figure}
            once = {"include_plotlyjs": next(shown) == 0, "include_mathjax": False, "full_html": False}
            data["text/html"] = plotly.io.to_html(parts, config=_CONFIG, validate=False, **once)
    return notebook


def _bundles(notebook: Mapping) -> Iterator[dict]:
    for cell in notebook["cells"]:
        yield from (output["data"] for output in cell.get("outputs", ()) if "data" in output)


def _title(figure: Mapping) -> str:
    title = figure.get("layout", {}).get("title", {})
    text = title.get("text", "") if isinstance(title, Mapping) else title
    return " ".join(_TAG.sub(" ", text).split()) or "no title"
