"""A plotly figure in the browser that is cheap to redraw: one copy of plotly.js per page, no plotly internals.

plotly's own FigureWidget brings 5 MB of script per figure; six of them took half a minute to open.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import anywidget
import plotly.graph_objects as go
import traitlets
from ipywidgets import CallbackDispatcher
from plotly.offline import get_plotlyjs

_script = lru_cache(1)(lambda: get_plotlyjs().encode())


class PlotView(anywidget.AnyWidget):
    """Shows a figure and redraws it in place; ``label`` is its text alternative.

    plotly.js travels once per page, when the first view asks for it, and is no part of the stored state.

    >>> view = PlotView(go.Figure(go.Bar(y=[2, 1])), label="two bars")
    >>> view.payload < 10_000, view.close()
    (True, None)
    """

    # The text, not the path: anywidget would keep every widget alive that it tells about changes of a file.
    _esm = (Path(__file__).parent / "plot_view.js").read_text(encoding="utf-8")
    spec = traitlets.Unicode("").tag(sync=True)  # the figure as JSON; text, so that an equal figure is not sent again
    label = traitlets.Unicode("").tag(sync=True)
    hovers = traitlets.Bool(False).tag(sync=True)  # whether somebody wants to know where the pointer rests

    def __init__(self, figure: go.Figure | None = None, *, label: str) -> None:
        super().__init__(spec=figure.to_json() if figure else "", label=label)
        self._listeners = {"click": CallbackDispatcher(), "hover": CallbackDispatcher()}
        self.on_msg(PlotView._answer)

    def show(self, figure: go.Figure) -> None:
        """Replace what is drawn; a figure equal to the last one sends nothing."""
        self.spec = figure.to_json()

    def on_click(self, callback: Callable[[dict], None], remove: bool = False) -> None:
        """Call ``callback(point)`` on a click: ``curve``, ``point`` (its index), ``x``, ``y``, ``customdata``."""
        self._listeners["click"].register_callback(callback, remove=remove)

    def on_hover(self, callback: Callable[[dict], None], remove: bool = False) -> None:
        """The same for a pointer that rests on a point; ask before the view is shown."""
        self._listeners["hover"].register_callback(callback, remove=remove)
        self.hovers = True

    @property
    def payload(self) -> int:
        """Bytes that a redraw sends."""
        return len(self.spec.encode())

    def _answer(self, content: dict, buffers: object) -> None:
        kind, point = content.get("kind"), {name: value for name, value in content.items() if name != "kind"}
        if kind == "plotly.js":
            self.send({"kind": "plotly.js"}, buffers=[_script()])
        elif kind in self._listeners:
            self._listeners[kind](point)

    def close(self) -> None:
        """Close the view and forget who listens to it."""
        for listeners in self._listeners.values():
            listeners.callbacks = []
        super().close()
