"""CellInTime: what a cell does from step to step, as a picture of its edges and as spikes of its layers."""

from __future__ import annotations

import asyncio

import ipywidgets
import plotly.graph_objects as go

from ..cells import Cell
from ..figures import cell_unrolled
from ..lab.cell_measures import as_array, layer_title
from ..spaces import CellSpace, OpMask
from .base import View
from .spike_explorer import SpikeExplorer

_MOST = 50_000_000  # potentials that are kept: 200 MB
_SAMPLES = 16


class CellInTime(View):
    """The cell unrolled over two steps, and a ``SpikeExplorer`` of its untrained network.

    ``scorer``: anything with ``record(mask, samples=)`` like ``scoring.Scorer``; a thread records each cell shown.
    """

    name = "cell-time"

    def __init__(
        self, cell: Cell, space: CellSpace, scorer: object, *, labels: object = None, theme: str = "light"
    ) -> None:
        super().__init__(theme=theme)
        self.cell, self.space, self.scorer, self.labels = cell, space, scorer, labels
        self.spikes: SpikeExplorer | None = None
        self._recorded: Cell | None = None
        self.unrolled = self.plot("unrolled", "The cell at two steps: which edges stay within a step, which lead on")
        self.place = self.part(ipywidgets.VBox(layout={"width": "100%"}), "place")
        self.arrange(self.unrolled, self.message, self.place)
        self.show(cell)

    def show(self, cell: Cell) -> None:
        """Draw another cell, and record it."""
        self.cell = cell
        self.redraw()
        if self._recorded != cell:
            self.keep_up(self._record)

    def figure(self) -> go.Figure:
        """The cell unrolled over two steps."""
        return cell_unrolled(self.cell, theme=self.theme)

    def redraw(self) -> None:
        """Draw the unrolled cell anew."""
        self.unrolled.show(self.figure())

    async def _record(self) -> None:
        """Record until the newest cell is recorded; an edit in the meantime makes the record worthless."""
        with self.guarded():
            while (cell := self.cell) != self._recorded:
                if self.spikes is None:
                    self.say("recording spikes …")
                record = await asyncio.to_thread(self._run, cell)
                self._recorded = cell
                if cell == self.cell:
                    self._replace(*record)

    def _run(self, cell: Cell) -> tuple[dict, dict]:
        config = self.scorer.supernet.config
        _, height, width = config.input_shape
        largest = 27 * config.width * height * width * config.num_steps  # LIF layers of the supernet of three ops
        samples = max(2, min(_SAMPLES, _MOST // largest))
        return self.scorer.record(OpMask.from_cell(cell, self.space), samples=samples)

    def _replace(self, spikes: dict, potentials: dict) -> None:
        """Show a new record; what was chosen stays chosen where it still exists."""
        named = [{layer_title(name): as_array(values) for name, values in one.items()} for one in (spikes, potentials)]
        count = next(iter(named[0].values())).shape[1]
        old, batch = self.spikes, as_array(self.scorer.batches[0])
        images = batch[:, :count] if batch.ndim == 5 else batch[:count]
        labels = None if self.labels is None else self.labels[:count]
        view = SpikeExplorer(named[0], potentials=named[1], labels=labels, images=images, theme=self.theme)
        self.spikes = self.part(view, "spikes")
        if old is not None:
            if old.layer.value in view.spikes:
                view.layer.value, view.neuron.value = old.layer.value, old.neuron.value
            view.sample.value, view.step.value = old.sample.value, old.step.value
        self.place.children = (view,)
        if old is not None:
            self.drop(old)
        self.say("")

    def describe(self) -> str:
        """Whose steps it shows."""
        return f"CellInTime: {self.cell}"
