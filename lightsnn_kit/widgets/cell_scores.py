"""CellScores: the kernel and the firing rates behind a cell's scores, beside those of a second cell."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from ..figures import firing_rates, kernel_heatmap
from ..lab.cell_measures import CellMeasures
from .base import View
from .parts import flow


class CellScores(View):
    """Kernel and firing rates of what ``measure_cell`` found; ``labels`` [B]: classes of the first batch."""

    name = "cell-scores"

    def __init__(self, found: CellMeasures, *, labels: object = None, theme: str = "light") -> None:
        super().__init__(theme=theme)
        self.labels, self.found, self.other, self.other_name = labels, found, None, ""
        self.kind = self.part(ipywidgets.ToggleButtons(options={"SAHD kernel": "sahd", "HD kernel": "hd"}), "kind")
        self.kind.style.button_width, self.kind.layout.margin = "110px", "8px 2px 2px"
        self.kernel = self.plot("kernel", "Heatmap of the kernel between the samples of the first batch")
        self.rates = self.plot("rates", "Firing rate of each LIF layer at each time step")
        self.other_kernel = self.plot("other-kernel", "The same kernel of the other cell")
        self.other_rates = self.plot("other-rates", "Firing rates of the other cell")
        self.plots = flow(self.kernel, self.rates, self.other_kernel, self.other_rates, width=420)
        self.arrange(self.kind, self.plots)
        self.watch(self.kind, lambda _: self.redraw())
        self.redraw()

    def show(self, found: CellMeasures, other: CellMeasures | None = None, name: str = "") -> None:
        """Draw another cell's, and those of a second cell of that name."""
        self.found, self.other, self.other_name = found, other, name
        self.redraw()

    def figure(self) -> go.Figure:
        """The kernel between the samples of the first batch; ``ValueError`` without a scorer."""
        return kernel_figure(self.found, kind=self.kind.value, labels=self.labels, theme=self.theme)

    def redraw(self) -> None:
        """Draw all plots anew."""
        self.kernel.show(self.figure())
        self.rates.show(rates_figure(self.found, theme=self.theme))
        shown = (self.kernel, self.rates)
        if self.other is not None:
            of = {"name": self.other_name, "theme": self.theme}
            self.other_kernel.show(kernel_figure(self.other, kind=self.kind.value, labels=self.labels, **of))
            self.other_rates.show(rates_figure(self.other, **of))
            shown = (self.kernel, self.other_kernel, self.rates, self.other_rates)
        if self.plots.children != shown:
            self.plots.children = shown

    def describe(self) -> str:
        """Whose scores it shows."""
        return f"CellScores: {self.found.cell}"


def kernel_figure(
    found: CellMeasures, *, kind: str = "sahd", labels: object = None, name: str = "", theme: str = "light"
) -> go.Figure:
    """The kernel between the samples of the first batch; ``ValueError`` if the cell was measured without a scorer."""
    title = f"{kind.upper()} kernel, first batch" + f", {name}" * bool(name)
    figure = kernel_heatmap(_needed(found.kernels)[kind], labels=labels, title=title, theme=theme)
    return figure.update_layout(height=figure.layout.height - 90)  # the column is narrow, the heatmap square


def rates_figure(found: CellMeasures, *, name: str = "", theme: str = "light") -> go.Figure:
    """The firing rate per layer and step; ``ValueError`` if the cell was measured without a scorer."""
    rates = _needed(found.rates)
    figure = firing_rates(list(rates), np.stack(list(rates.values())), theme=theme)
    if name:
        figure.layout.title.text = figure.layout.title.text.replace("</span>", f", {name}</span>", 1)
    return figure


def _needed(parts: Mapping[str, np.ndarray] | None) -> Mapping[str, np.ndarray]:
    if parts is None:
        raise ValueError("no scorer was given; CellExplorer(..., scorer=Scorer(...)) shows kernels and firing rates.")
    return parts
