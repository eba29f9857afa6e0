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
        self._on_click: list[Callable[[dict], None]] = []
        self._on_hover: list[Callable[[dict], None]] = []
        self.on_msg(PlotView._answer)

    def show(self, figure: go.Figure) -> None:
        """Replace what is drawn; a figure equal to the last one sends nothing."""
        self.spec = figure.to_json()

    def on_click(self, callback: Callable[[dict], None], remove: bool = False) -> None:
        """Call ``callback(point)`` on a click: ``curve``, ``point`` (its index), ``x``, ``y``, ``customdata``."""
        if not remove:
            self._on_click.append(callback)
        elif callback in self._on_click:  # closed views have forgotten it already
            self._on_click.remove(callback)

    def on_hover(self, callback: Callable[[dict], None], remove: bool = False) -> None:
        """The same for a pointer that rests on a point; ask before the view is shown."""
        if not remove:
            self._on_hover.append(callback)
            self.hovers = True
        elif callback in self._on_hover:
            self._on_hover.remove(callback)

    @property
    def payload(self) -> int:
        """Bytes that a redraw sends."""
        return len(self.spec.encode())

    def _answer(self, content: dict, buffers: object) -> None:
        if content.get("kind") == "plotly.js":
            self.send({"kind": "plotly.js"}, buffers=[_script()])
        elif (kind := content.get("kind")) in ("click", "hover"):
            for callback in list(self._on_click if kind == "click" else self._on_hover):
                callback({name: value for name, value in content.items() if name != "kind"})

    def close(self) -> None:
        """Close the view and forget who listens to it."""
        self._on_click.clear()
        self._on_hover.clear()
        super().close()
