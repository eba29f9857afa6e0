"""CellTraining: from a cell to its accuracy, by a background job, beside the rows of the same run folder."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import ipywidgets
import plotly.graph_objects as go
import traitlets

from ..cells import Cell
from ..checks import whole
from ..figures.runs import record_curves
from .base import View
from .cell_graph import CopyButton
from .parts import ROW_COLUMNS, flow, table_html
from .run_monitor import RunMonitor

if TYPE_CHECKING:
    from ..lab.workshop import Workshop


class CellTraining(View):
    """Train the cell shown, watch the job, and read its row beside the earlier ones of the run folder.

    ``trainer``: a `Workshop`, or what has its ``run``, ``path``, ``settings``, ``start``, ``command``, ``row_name`` and
    ``rows``. All state is the folder's files, so a training goes on when the page is closed: made again, the view
    attaches to the job, or shows the finished row. The trait ``rows`` holds the finished rows and may be observed.
    """

    name = "cell-training"
    rows = traitlets.Tuple()

    def __init__(self, trainer: Workshop, cell: Cell, *, theme: str = "light") -> None:
        super().__init__(theme=theme)
        self.trainer, self.cell = trainer, cell
        self.monitor: RunMonitor | None = None
        self._epochs = whole("epochs", trainer.settings["epochs"])  # the last good number of the field
        self._seen: tuple | None = None  # state of the job and number of finished stages when rows were read
        style = {"icon": "play", "button_style": "primary", "layout": {}}
        style["tooltip"] = "Train and test it in a process of its own, which outlives this page"
        self.button = self.add_button("start", "Train this cell", self.start, **style)
        epochs, narrow = trainer.settings["epochs"], {"layout": {"width": "130px"}}
        self.epochs = self.add_control("epochs", ipywidgets.IntText, epochs, "Epochs", **narrow)
        self.command = self.part(ipywidgets.HTML(), "command")
        self.copy = self.part(CopyButton(label="Copy command"), "copy")
        self.place = self.part(ipywidgets.VBox(), "place")
        self.table = self.part(ipywidgets.HTML(layout={"width": "100%"}), "table")
        self.arrange(flow(self.button, self.epochs, self.copy), self.command, self.message, self.table, self.place)
        self.watch(self.epochs, self._choose_epochs)
        with self.guarded():  # the folder may hold odd files
            self.attach()
        self.redraw()

    # ---- what it does

    def show(self, cell: Cell) -> None:
        """Go on to another cell; a training that runs is not touched."""
        self.cell = cell
        self.redraw()

    def start(self) -> None:
        """Train the cell; ``RunError`` or ``ValueError`` tells why it cannot be."""
        self.trainer.start(self.cell, self._epochs)
        self.attach()
        self.say(f"{self._name()} is being trained. It goes on if you close this page.")

    def attach(self) -> None:
        """Watch the job of the run folder, if there is or was one, and read the rows."""
        if self.monitor is None and (self.trainer.path / "job").is_dir():
            self.monitor = self.part(RunMonitor(self.trainer.path, theme=self.theme), "monitor")
            self.watch(self.monitor.state, lambda _: self._look())
            self.place.children = (self.monitor,)
        elif self.monitor:
            self.monitor.check()
        self.refresh()

    def _look(self) -> None:
        """The monitor's words have changed: rows are read again where a stage has ended, or the job."""
        status = self.monitor.status
        if (now := (status.state, sum(stage.finished for stage in status.stages))) != self._seen:
            self._seen = now
            before = len(self.rows)
            self.refresh()
            for row in self.rows[before:]:
                self.say(f"{row['method']}: {row['test_accuracy']:.1%} of the test samples are right.")

    def refresh(self) -> None:
        """Read the rows of the folder again."""
        self.button.disabled = bool(self.monitor and self.monitor.status.alive)
        self.rows = tuple(self.trainer.rows())
        self._write_table()

    # ---- what is shown

    def figure(self) -> go.Figure:
        """The curves of the trainings in the folder."""
        return self.monitor.figure() if self.monitor else record_curves({}, theme=self.theme)

    def redraw(self) -> None:
        """Write the command and the table anew."""
        command = self.trainer.command(self.cell, self._epochs)
        self.copy.text = command
        style = "margin:0 4px;display:block;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4;font-size:12px"
        self.command.value = f"<code style='{style}'>{html.escape(command)}</code>"
        self._write_table()

    def _write_table(self) -> None:
        body = [(row["method"], *(say(row) for say in ROW_COLUMNS.values())) for row in self.rows]
        marked = [index for index, row in enumerate(self.rows) if row["cell"] == str(self.cell)]
        caption = f"Trained in {self.trainer.run}. Bold: the cell shown."
        self.table.value = ""
        if body:
            heads = ("cell", *ROW_COLUMNS)
            self.table.value = table_html(heads, body, caption=caption, label="Trained cells", marked=marked)

    def _choose_epochs(self, wanted: int) -> None:
        try:
            self._epochs = whole("epochs", wanted)
        except ValueError:
            self.epochs.value = self._epochs
            raise
        self.redraw()

    def _name(self) -> str:
        return self.trainer.row_name(self.cell, self._epochs)

    def describe(self) -> str:
        """How many rows there are."""
        return f"CellTraining: {len(self.rows)} trained in {self.trainer.run}"
