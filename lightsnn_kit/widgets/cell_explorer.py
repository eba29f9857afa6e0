"""CellExplorer: change a cell edge by edge, and see at once what it is and what it scores; train it, compare it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from ..cells import Cell
from ..figures import cell_graph
from ..figures.style import number
from ..lab.cell_measures import CellMeasures, Measured, parameters_of
from ..lab.results import newest_row
from ..lab.saved_cells import load_cell, saved_cells
from ..spaces import CellSpace, as_space
from .base import WRONG_INPUT, View
from .cell_editor import CellEditor
from .cell_facts import facts, facts_html
from .cell_graph import CellGraph
from .cell_scores import CellScores, kernel_figure, rates_figure
from .cell_settings import CellSettings
from .cell_time import CellInTime
from .cell_training import CellTraining
from .parts import flow


class CellExplorer(CellEditor):
    """A cell to play with: click, drag or press keys to change an op; undo, presets, files; compare it, train it.

    ``space``: a name or a ``CellSpace``. ``scorer``: anything with ``statistics(mask)`` like ``scoring.Scorer``
    (the scores, kernel and firing rates are left out without one); a ``lab.workshop.Workshop`` brings ``space`` and
    ``labels``, too, and trains cells. ``labels`` [B]: classes of the first batch. ``presets``: further cells to choose,
    by name. Cells are saved in ``folder``, pinned ones, too. The state is the trait ``cell``, which may be set, to a
    cell or its string, and observed; ``measures()`` gives the numbers.

    >>> from lightsnn_kit.cells import Edge
    >>> explorer = CellExplorer("0303 0030 2002 0200", space="snasnet")
    >>> explorer.cell = explorer.cell.replace(Edge(3, 0), "skip")
    >>> explorer.undo(), str(explorer.cell.op(Edge(3, 0)))
    (None, 'conv3x3')
    >>> explorer.close()
    """

    name = "cell-explorer"

    def __init__(
        self,
        cell: Cell | str | None = None,
        *,
        space: str | CellSpace | None = None,
        scorer: object | None = None,
        labels: object = None,
        presets: Mapping[str, Cell | str] | None = None,
        folder: str | Path = "runs/cells",
    ) -> None:
        space = as_space(space or getattr(scorer, "space", "lightsnn"))
        super().__init__(cell, space, presets=presets, folder=folder)
        labels = getattr(scorer, "labels", None) if labels is None else labels
        self.labels = None if labels is None else np.asarray(labels)
        self.workshop = scorer if hasattr(scorer, "start") else None
        self.scorer, self.measured = scorer, Measured(space, scorer)
        self._shown: CellMeasures | None = None
        self._before: CellMeasures | None = None  # shown before, to tell by how much a score changed
        self.other: tuple[str, Cell] | None = None  # name and cell that it is compared with
        self.rows: tuple = ()  # of cells that were trained
        self._listing = False
        self._compared = ""  # the choice that ``other`` comes from
        self.made: dict[str, View] = {}  # panes by name
        self._build()
        self.measures()
        with self.guarded():
            self._take_rows(tuple(self.workshop.rows()) if self.workshop else ())
        self._show_pane() if self.pane else self.redraw()
        self.observe(self._changed, "cell")

    # ---- parts

    def _build(self) -> None:
        self.facts = self.part(ipywidgets.HTML(layout={"flex": "2 1 300px", "min_width": "0"}), "facts")
        self.other_graph = self.part(CellGraph(self.cell, space=self.space, editable=False), "other-graph")
        for graph in (self.graph, self.other_graph):
            graph.layout.flex, graph.layout.min_width = "3 1 440px", "0"
        self.top = ipywidgets.Box([self.graph, self.facts], layout={"flex_flow": "row wrap", "width": "100%"})
        rows = [self.history_row(), self.top, self.text_row(), self.file_row(), self._compare_row(), self.message]
        needs = {"Scores": self.scorer is not None, "Train": self.workshop is not None}
        needs |= {"Watch time": hasattr(self.scorer, "record"), "Settings": self.workshop is not None}
        panes, self.pane = [name for name, there in needs.items() if there], None
        if panes:
            self.pane = self.part(ipywidgets.ToggleButtons(options=panes, tooltips=panes), "pane")
            self.pane.style.button_width = "110px"
            self.place = ipywidgets.VBox(layout={"width": "100%"})
            self.watch(self.pane, lambda _: self._show_pane())
            rows += [*[self.pane] * (len(panes) > 1), self.place]
        self.arrange(*rows)

    def _compare_row(self) -> ipywidgets.Box:
        self.compare = self.add_control("compare", ipywidgets.Dropdown, "", "Compare with", options=[("nothing", "")])
        self.watch(self.compare, self._compare_with)
        pin = {"icon": "thumb-tack", "tooltip": "Keep it, and compare what comes with it"}
        self.pin_button = self.add_button("pin", "Pin this cell", self.pin, **pin)
        take = {"icon": "exchange", "tooltip": "Make the other cell the one shown"}
        self.take_button = self.add_button("take", "Show that one", self._take, **take)
        return flow(self.compare, self.pin_button, self.take_button)

    # ---- panes: one is shown, each is made when it is asked for first

    def _shown_pane(self) -> View | None:
        return self.made.get(self.pane.value) if self.pane else None

    def _show_pane(self) -> None:
        name = self.pane.value
        if name not in self.made:
            self.made[name] = self.part(self._make_pane(name), name.lower().replace(" ", "-"))
        self.place.children = (self.made[name],)
        self.redraw()

    def _make_pane(self, name: str) -> View:
        if name == "Scores":
            return CellScores(self.measures(), labels=self.labels, theme=self.theme)
        if name == "Watch time":
            return CellInTime(self.cell, self.space, self.scorer, labels=self.labels, theme=self.theme)
        if name == "Settings":
            return CellSettings(self.workshop, self._move_to, theme=self.theme)
        training = CellTraining(self.workshop, self.cell, theme=self.theme)
        self.watch(training, self._take_rows, names="rows")
        return training

    def _move_to(self, workshop: object) -> None:
        """Go on with another workshop: other scores, other rows; the cell and its history stay."""
        if workshop.space != self.space:
            raise ValueError(f"this explorer shows cells of {self.space}, that one has {workshop.space}.")
        rows = tuple(workshop.rows())
        self.workshop = self.scorer = workshop
        self.labels, self.measured = workshop.labels, Measured(self.space, workshop)
        self._shown = CellMeasures(self.cell)  # scores of before do not compare
        for name in [name for name in self.made if name != "Settings"]:
            self.drop(self.made.pop(name))
        self._take_rows(rows)
        self._changed({})

    def _take_rows(self, rows: tuple) -> None:
        self.rows = rows
        self._list_cells()
        if self._shown is not None:
            self.facts.value = self._facts_html()

    # ---- the other cell

    def pin(self) -> str:
        """Save the cell under the next free name, unless it is saved already, and compare with it; returns the name."""
        names = saved_cells(self.folder)
        name = next((name for name in names if self._is_saved(name)), None)
        if name is None:
            name = next(f"pinned-{number}" for number in range(1, len(names) + 2) if f"pinned-{number}" not in names)
            self.save(name)
        self._list_cells()
        self.compare.value = f"saved: {name}"
        self.say(f"pinned as {name}; it is kept in {self.folder}")
        return name

    def _take(self) -> None:
        self.cell = self.other[1]

    def _is_saved(self, name: str) -> bool:
        try:
            return load_cell(self.folder, name) == self.cell
        except WRONG_INPUT:  # another's file
            return False

    def _list_cells(self) -> None:
        """What it can be compared with: saved and pinned cells, trained ones, presets."""
        known = [f"saved: {name}" for name in saved_cells(self.folder)]
        known += [f"trained: {row['method']}" for row in reversed(self.rows)]
        known += [f"preset: {name}" for name in self._presets]
        kept, self._listing = self.compare.value, True
        self.compare.options = [("nothing", ""), *((name, name) for name in known)]  # chooses the first one
        self._listing = False
        if kept in known:
            self.compare.set_trait("value", kept)
        elif kept:
            self._compare_with("")

    def _compare_with(self, name: str) -> None:
        if self._listing or name == self._compared:
            return
        self._compared = name
        try:
            self.other = (name.partition(": ")[2], self.space.read(self._cell_named(name))) if name else None
        except WRONG_INPUT:
            self.compare.value = ""
            raise
        self.top.children = (self.graph, *[self.other_graph] * bool(name), self.facts)
        self._changed({})

    def _cell_named(self, name: str) -> object:
        kind, _, rest = name.partition(": ")
        if kind == "saved":
            return load_cell(self.folder, rest)
        return self._presets[rest] if kind == "preset" else next(r["cell"] for r in self.rows if r["method"] == rest)

    def save(self, name: str, *, replace: bool = False) -> Path:
        """Save the cell as ``<folder>/<name>.json``; ``RunError`` for a name that is taken, unless ``replace``."""
        path = super().save(name, replace=replace)
        self._list_cells()
        return path

    # ---- scores: the newest cell first

    def measures(self) -> CellMeasures:
        """The numbers of the cell shown now; scores it if that has not been done yet."""
        found = self.measured[self.cell]
        if found is not self._shown:
            self._before, self._shown = self._shown, found
        return found

    def _missing(self) -> Cell | None:
        wanted = (self.cell, self.other[1]) if self.other else (self.cell,)
        return next((cell for cell in wanted if cell not in self.measured), None)

    def _changed(self, _: dict) -> None:
        """What costs nothing is shown at once, the scores when they are there."""
        with self.guarded():
            if self.scorer is None:  # nothing that takes time
                _ = self.other and self.measured[self.other[1]]
                self.measures()
            self._show()
            if self.scorer is not None:
                self.keep_up(self._score_newest)

    async def _score_newest(self) -> None:
        """Score in a thread, so that the loop stays free for edits; of many edits the newest is scored."""
        try:
            while (cell := self._missing()) is not None:
                await asyncio.to_thread(self.measured.__getitem__, cell)
            with self.guarded(keep=True):
                self.redraw()
        except WRONG_INPUT as error:
            self.say(str(error), kind="error")

    # ---- pictures

    def figure(self) -> go.Figure:
        """The cell as a graph, its scores in the title."""
        found, title = self.measures(), None
        if found.sahd is not None:
            sahd, hd = number(found.sahd, ",.2f"), number(found.hd, ",.2f")
            title = f"Cell: SAHD {sahd}, HD {hd}, {found.num_conv_ops} convolutions"
        return cell_graph(self.cell, title=title, theme=self.theme)

    def kernel_figure(self) -> go.Figure:
        """The kernel between the samples of the first batch; ``ValueError`` without a scorer."""
        return kernel_figure(self.measures(), labels=self.labels, theme=self.theme)

    def rates_figure(self) -> go.Figure:
        """The firing rate per layer and step; ``ValueError`` without a scorer."""
        return rates_figure(self.measures(), theme=self.theme)

    def describe(self) -> str:
        return f"CellExplorer: {self.cell}"

    def redraw(self) -> None:
        """Draw all that is shown anew; scores what was not scored yet."""
        self.measures()
        self._show()
        if isinstance(pane := self._shown_pane(), CellScores):
            pane.theme = self.theme
            name, cell = self.other or ("", None)
            pane.show(self._shown, self.measured[cell] if cell else None, name)

    def _show(self) -> None:
        self.show_cell()
        other = self.other and self.other[1]
        self.graph.show(self.cell, other=other)
        if other:
            self.other_graph.heading = self.other[0]
            self.other_graph.show(other, other=self.cell)
        if (pane := self._shown_pane()) and not isinstance(pane, CellScores):  # those wait for the scores
            pane.show(self.cell)
        self.take_button.disabled = self.other is None
        self.facts.value = self._facts_html()

    def _facts_html(self) -> str:
        found, before, waiting = self._shown, self._before, self.cell not in self.measured
        if waiting:
            counted = {"parameters": parameters_of(self.cell, self.space, self.scorer)}
            found, before = replace(found, cell=self.cell, rates=None, synops=None, **counted), None
        other = None
        if self.other and self.other[1] in self.measured:
            name, cell = self.other
            other = name, facts(self.measured[cell], row=newest_row(self.rows, cell))
        shown = facts(found, before, row=newest_row(self.rows, self.cell))
        return facts_html(shown, self.cell, waiting=waiting, other=other)
