"""Figures to take along: pictures (SVG, PNG, PDF), pages (HTML), and what they show (CSV, JSON).

The menu on a figure in the browser makes the same files of its own, without Python.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio
from plotly.utils import PlotlyJSONEncoder

from ..checks import unknown
from ..files import RunError, at_root, replacing

_COLUMNS = ("x", "y", "z", "text")
_PICTURES = ("svg", "png", "pdf")
_KINDS = ("csv", "json", "html", *_PICTURES)


def export(figure: object, path: str | os.PathLike[str], *, replace: bool = False) -> Path:
    """Write a figure, or what a widget shows now, in the form that the name ends with; returns where it is.

    ``.csv`` is a table of the points, one a line; ``.json`` the same by trace; ``.html`` a page that needs no network;
    ``.svg``, ``.png`` and ``.pdf`` are pictures, for which kaleido and a browser must be installed. A relative path
    starts at the project. ``ValueError`` for another ending; ``RunExistsError`` if the file is there and ``replace`` is
    False; ``RunError`` if no picture can be made.
    """
    figure, path = figure.figure() if hasattr(figure, "figure") else figure, at_root(path)
    kind = path.suffix[1:].lower()
    if kind not in _KINDS:
        raise unknown("kind of file", path.suffix, [f".{one}" for one in _KINDS])
    content = _picture(figure, kind) if kind in _PICTURES else _text(figure, kind).encode()
    with replacing(path, replace=replace) as making:
        making.write_bytes(content)
    return path


def traces(figure: go.Figure) -> list[dict[str, object]]:
    """What a figure shows, as plain values: type and name of each trace, and those of x, y, z and text that it has.

    >>> traces(go.Figure(go.Bar(name="a", y=[1.5, float("nan")])))
    [{'type': 'bar', 'name': 'a', 'y': [1.5, None]}]
    """
    found = []
    for number, trace in enumerate(figure.data):
        own = {"type": trace.type, "name": trace.name or f"trace {number}"}
        values = {name: trace[name] for name in _COLUMNS if name in trace and trace[name] is not None}
        found.append(own | json.loads(json.dumps(values, cls=PlotlyJSONEncoder)))  # NaN and infinite: None
    return found


def _rows(figure: go.Figure) -> Iterator[list[object]]:
    """One row for each point: number and name of its trace, x, y, z and text."""
    for number, trace in enumerate(traces(figure)):
        x, y, z, text = (trace.get(name) for name in _COLUMNS)
        own = [number, trace["name"]]
        if isinstance(z, list) and z and isinstance(z[0], list):
            for i, row in enumerate(z):
                for j, value in enumerate(row):
                    yield [*own, x[j] if x else j, y[i] if y else i, value, text[i][j] if text else None]
        else:
            lists = [x, y, z, text]
            for i in range(max((len(each) for each in lists if isinstance(each, list)), default=0)):
                yield [*own, *(each[i] if isinstance(each, list) else each for each in lists)]


def _text(figure: go.Figure, kind: str) -> str:
    if kind == "html":
        config = {"responsive": True, "displaylogo": False, "showSendToCloud": False}
        return pio.to_html(figure, include_plotlyjs=True, include_mathjax=False, config=config)
    if kind == "json":
        title = re.sub("<[^>]*>", "", (figure.layout.title.text or "").partition("<br>")[0])
        return json.dumps({"title": title, "traces": traces(figure)}, indent=1, ensure_ascii=False) + "\n"
    return csv_text([["trace", "name", *_COLUMNS], *_rows(figure)])


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as a table of comma-separated values; None is an empty field."""
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()


def _picture(figure: go.Figure, kind: str) -> bytes:
    try:
        return figure.to_image(format=kind, scale=2 if kind == "png" else 1)
    except (ImportError, ValueError, RuntimeError, OSError) as error:  # plotly's, of kaleido and of its browser
        raise RunError(
            f"no {kind.upper()} could be made here: {str(error).strip().partition(chr(10))[0]} Install kaleido and a "
            "browser, or save the picture from the menu on the figure (at its lower right), or write .html."
        ) from None
