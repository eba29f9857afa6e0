"""CellExplorer: change a cell edge by edge, and see at once what it is and what it scores."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
import plotly.graph_objects as go
import traitlets

from ..cells import Cell, Edge, Op
from ..cells import as_cell as read_any
from ..figures import cell_graph
from ..files import at_root
from ..lab.saved_cells import load_cell, save_cell, saved_cells
from ..spaces import PUBLISHED_CELLS, CellSpace, OpMask, as_space
from .base import WRONG_INPUT, View
from .cell_graph import CellGraph, CopyButton
from .cell_measures import CellMeasures, facts_html, measure_cell, number, parameters_of
from .cell_scores import CellScores, kernel_figure, rates_figure
from .cell_training import CellTraining


def as_cell(value: object, space: CellSpace) -> Cell:
    """A cell of the space from anything ``cells.as_cell`` reads; ``ValueError`` says what the space does not have.

    >>> str(as_cell("03 00", CellSpace(("zeroize", "conv3x3"), 2, backward=False)))
    '|conv3x3~0|'
    """
    cell = read_any(value)
    if foreign := [str(op) for op in Op if op in cell.ops and op not in space.ops]:
        raise ValueError(f"this cell uses {', '.join(foreign)}; the ops of this space are {', '.join(space.ops)}.")
    return OpMask.from_cell(cell, space).to_cell()  # refuses other nodes and edges, drops empty backward edges


class CellExplorer(View):
    """A cell to play with: click, drag or press keys to change an op; undo, presets, files.

    ``space``: a name or a ``CellSpace``. ``scorer``: anything with ``statistics(mask)`` like ``scoring.Scorer``
    (the scores, kernel and firing rates are left out without one); a ``lab.workshop.Workshop`` brings ``space`` and
    ``labels``, too, and trains cells. ``labels`` [B]: classes of the first batch. ``presets``: further cells to choose,
    by name. Cells are saved in ``folder``. The state is the trait ``cell``, which may be set, to a cell or its string,
    and observed; ``measures()`` gives the numbers.

    >>> explorer = CellExplorer("0303 0030 2002 0200", space="snasnet")
    >>> explorer.cell = explorer.cell.replace(Edge(3, 0), "skip")
    >>> explorer.undo(), str(explorer.cell.op(Edge(3, 0)))
    (None, 'conv3x3')
    >>> explorer.close()
    """

    name = "cell-explorer"
    cell = traitlets.Any()

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
        super().__init__()
        self.workshop = scorer if hasattr(scorer, "start") else None
        self.space = as_space(space or getattr(scorer, "space", "lightsnn"))
        labels = getattr(scorer, "labels", None) if labels is None else labels
        self.scorer, self.labels = scorer, None if labels is None else np.asarray(labels)
        self.folder, self._presets = at_root(folder), self._known_cells(presets or {})
        self._history, self._at, self._rng = [], -1, np.random.default_rng(0)
        self._measured: CellMeasures | None = None
        self._before: CellMeasures | None = None  # of the cell before, to tell by how much a score changed
        self._scoring = False
        self.made: dict[str, View] = {}  # panes by name
        self.cell = self._start() if cell is None else cell
        self._build()
        self.measures()
        self._show_pane() if self._makers else self.redraw()
        self.observe(self._changed, "cell")

    def _start(self) -> Cell:
        return self.space.uniform(next((op for op in reversed(self.space.ops) if op.is_conv), self.space.ops[-1]))

    def _known_cells(self, more: Mapping[str, Cell | str]) -> dict[str, Cell | str]:
        useful = [op for op in self.space.ops if op is not Op.ZEROIZE]
        known = {f"all {op}": self.space.uniform(op) for op in useful}
        known |= {name.replace("snasnet-cifar", "SNASNet, CIFAR"): cell for name, cell in PUBLISHED_CELLS.items()}
        return known | dict(more)

    # ---- parts

    def _build(self) -> None:
        self.graph = self.part(CellGraph(self.cell, space=self.space), "graph")
        self.graph.on_edit(self.guard(self._edit))
        self.facts = self.part(ipywidgets.HTML(), "facts")
        top = _columns("3 1 440px", self.graph, "2 1 300px", self.facts)
        rows = [self._history_row(), top, self._text_row(), self._file_row(), self.message]
        self.arrange(*rows, *self._pane_rows())

    # ---- panes: one is shown, each is built when it is asked for first

    def _pane_rows(self) -> list[ipywidgets.Widget]:
        makers = {"Scores": self._scores} if self.scorer is not None else {}
        makers |= {"Train": self._training} if self.workshop else {}
        self._makers = makers
        if not makers:
            return []
        self.pane = self.part(ipywidgets.ToggleButtons(options=list(makers), tooltips=list(makers)), "pane")
        self.pane.style.button_width = "110px"
        self.shown = ipywidgets.VBox(layout={"width": "100%"})
        self.watch(self.pane, lambda _: self._show_pane())
        return [*[self.pane] * (len(makers) > 1), self.shown]

    def _pane(self) -> View | None:
        return self.made.get(self.pane.value) if self._makers else None

    def _show_pane(self) -> None:
        name = self.pane.value
        if name not in self.made:
            self.made[name] = self.part(self._makers[name](), name.lower().replace(" ", "-"))
        self.shown.children = (self.made[name],)
        self.redraw()

    def _scores(self) -> CellScores:
        return CellScores(self.measures(), labels=self.labels, theme=self.theme)

    def _training(self) -> CellTraining:
        return CellTraining(self.workshop, self.cell, theme=self.theme)

    def _button(self, text: str, name: str, icon: str, tip: str) -> ipywidgets.Button:
        button = ipywidgets.Button(description=text, icon=icon, tooltip=tip, layout={"width": "auto"})
        return self.part(button, name)

    def _history_row(self) -> ipywidgets.Box:
        self.back = self._button("Undo", "undo", "undo", "Back to the cell before")
        self.forth = self._button("Redo", "redo", "repeat", "Forth again")
        self.draw = self._button("Random cell", "random", "random", "A cell drawn uniformly from the space")
        choices = [("choose a cell …", ""), *((name, name) for name in self._presets)]
        self.preset = self.part(ipywidgets.Dropdown(options=choices, description="Preset"), "preset")
        self.watch(self.back, lambda _: self.undo())
        self.watch(self.forth, lambda _: self.redo())
        self.watch(self.draw, lambda _: self.set_trait("cell", self.space.sample(self._rng)))
        self.watch(self.preset, self._choose)
        return _row(self.back, self.forth, self.draw, self.preset)

    def _text_row(self) -> ipywidgets.Box:
        wide = {"width": "auto", "flex": "1 1 380px"}
        text = ipywidgets.Text(description="Cell", continuous_update=False, layout=wide, placeholder="string or matrix")
        self.text = self.part(text, "text")
        self.copies = [self.part(CopyButton(label=label), name) for label, name in _COPIES.items()]
        self.watch(self.text, self._read)
        return _row(self.text, *self.copies)

    def _file_row(self) -> ipywidgets.Box:
        names = saved_cells(self.folder)
        self.file = self.part(ipywidgets.Combobox(description="File", value="my-cell", options=names), "file")
        self.save_button = self._button("Save", "save", "save", f"Save the cell in {self.folder}")
        self.load_button = self._button("Load", "load", "folder-open", f"Load a cell from {self.folder}")
        tick = ipywidgets.Checkbox(description="replace an older file", indent=False, layout={"width": "auto"})
        self.overwrite = self.part(tick, "overwrite")
        self.watch(self.save_button, lambda _: self.save(self.file.value, replace=self.overwrite.value))
        self.watch(self.load_button, lambda _: self.load(self.file.value))
        return _row(self.file, self.save_button, self.load_button, self.overwrite)

    # ---- the cell and its history

    @traitlets.validate("cell")
    def _admit(self, proposal: dict) -> Cell:
        return as_cell(proposal["value"], self.space)

    @traitlets.observe("cell")
    def _remember(self, change: dict) -> None:
        """A cell that undo or redo goes to is in the history already."""
        if not (0 <= self._at < len(self._history) and self._history[self._at] == change["new"]):
            self._history[self._at + 1 :] = [change["new"]]
            self._at += 1

    def undo(self) -> None:
        """Go back to the cell before; nothing happens at the first one."""
        self._go(-1)

    def redo(self) -> None:
        """Take back an ``undo``; nothing happens at the newest cell."""
        self._go(1)

    def _go(self, by: int) -> None:
        if 0 <= self._at + by < len(self._history):
            self._at += by
            self.cell = self._history[self._at]

    def _edit(self, edge: Edge, op: Op) -> None:
        self.cell = self.cell.replace(edge, op)

    def _choose(self, name: str) -> None:
        if name:
            self.preset.value = ""  # the same one may be chosen again
            self.cell = self._presets[name]

    def _read(self, text: str) -> None:
        if text.strip() and text != str(self.cell):
            self.cell = text

    # ---- files

    def save(self, name: str, *, replace: bool = False) -> Path:
        """Save the cell as ``<folder>/<name>.json``; ``RunError`` for a name that is taken, unless ``replace``."""
        path = save_cell(self.cell, self.folder, name, replace=replace)
        self.file.options = saved_cells(self.folder)
        self.say(f"saved as {path}")
        return path

    def load(self, name: str) -> None:
        """Show a saved cell; ``RunError`` or ``ValueError`` if there is none or it is of another space."""
        self.cell = load_cell(self.folder, name)
        self.say(f"loaded {name} from {self.folder}")

    # ---- scores: the newest cell only

    def measures(self) -> CellMeasures:
        """The numbers of the cell shown now; scores it if that has not been done yet."""
        if self._stale():
            self._take(measure_cell(self.cell, self.space, self.scorer))
        return self._measured

    def _stale(self) -> bool:
        return self._measured is None or self._measured.cell != self.cell

    def _take(self, found: CellMeasures) -> None:
        self._before, self._measured = self._measured, found

    def _changed(self, _: dict) -> None:
        """What costs nothing is shown at once, the scores when they are there."""
        with self.guarded():
            if self.scorer is None:
                self.measures()
            self._show_cell()
            if self.scorer is not None:
                self._score()

    def _score(self) -> None:
        if self._scoring:  # goes on to the newest cell by itself
            return
        self._scoring = True
        if self.spawn(self._score_newest()) is None:
            self._scoring = False
            self.measures()
            self.redraw()

    async def _score_newest(self) -> None:
        """Score in a thread, so that the loop stays free for edits; the result of a cell that is gone is dropped."""
        try:
            while self._stale():
                found = await asyncio.to_thread(measure_cell, self.cell, self.space, self.scorer)
                if found.cell == self.cell:
                    self._take(found)
            with self.guarded(keep=True):
                self.redraw()
        except WRONG_INPUT as error:
            self.say(str(error), kind="error")
        finally:
            self._scoring = False

    # ---- pictures

    def figure(self) -> go.Figure:
        """The cell as a graph, its scores in the title."""
        found, title = self.measures(), None
        if found.sahd is not None:
            title = f"Cell: SAHD {number(found.sahd)}, HD {number(found.hd)}, {found.num_conv_ops} convolutions"
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
        """Draw all that is shown anew."""
        self._show_cell()
        if isinstance(pane := self._pane(), CellScores):
            pane.theme = self.theme
            pane.show(self._measured)

    def _show_cell(self) -> None:
        self.graph.show(self.cell)
        self.text.value = str(self.cell)
        for button, text in zip(self.copies, (str(self.cell), self.cell.matrix_text()), strict=True):
            button.text = text
        if (pane := self._pane()) and not isinstance(pane, CellScores):  # those wait for the scores
            pane.show(self.cell)
        self.back.disabled, self.forth.disabled = self._at == 0, self._at == len(self._history) - 1
        self.facts.value = self._facts_html()

    def _facts_html(self) -> str:
        if not self._stale():
            return facts_html(self._measured, self._before)
        counted = {"parameters": parameters_of(self.cell, self.space, self.scorer)}
        return facts_html(replace(self._measured, cell=self.cell, rates=None, **counted), waiting=True)


_COPIES = {"Copy string": "copy-string", "Copy matrix": "copy-matrix"}


def _columns(flex: str, left: ipywidgets.Widget, other_flex: str, right: ipywidgets.Widget) -> ipywidgets.Box:
    """Side by side where there is room, else one below the other."""
    left.layout.flex, right.layout.flex = flex, other_flex
    left.layout.min_width = right.layout.min_width = "0"
    return ipywidgets.Box([left, right], layout={"flex_flow": "row wrap", "width": "100%"})


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.Box:
    return ipywidgets.Box(widgets, layout={"flex_flow": "row wrap", "align_items": "center", "width": "100%"})
