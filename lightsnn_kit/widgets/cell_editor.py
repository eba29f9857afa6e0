"""CellEditor: a cell that is changed edge by edge, undone, typed, drawn, saved and loaded; the base of CellExplorer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import ipywidgets
import numpy as np
import traitlets

from ..cells import Cell, Edge, Op
from ..files import at_root
from ..lab.saved_cells import load_cell, remember, remembered, save_cell, saved_cells
from ..spaces import PUBLISHED_CELLS, CellSpace
from .base import View
from .cell_graph import CellGraph, CopyButton
from .parts import flow

_COPIES = {"Copy string": "copy-string", "Copy matrix": "copy-matrix"}


class CellEditor(View):
    """The graph of a cell with its history, its text and its files (abstract); subclasses show what ``cell`` is."""

    cell = traitlets.Any()

    def __init__(
        self, cell: object, space: CellSpace, *, presets: Mapping[str, Cell | str] | None, folder: str | Path
    ) -> None:
        super().__init__()
        self.space, self.folder = space, at_root(folder)
        self._presets = self._known_cells(presets or {})
        self._history, self._at, self._rng = [], -1, np.random.default_rng(0)
        self._noting = True  # edits, in the folder
        self.cell = self._start() if cell is None else cell
        self.graph = self.part(CellGraph(self.cell, space=self.space), "graph")
        self.graph.on_edit(self.guard(self._edit))

    def _start(self) -> Cell:
        return self.space.uniform(next((op for op in reversed(self.space.ops) if op.is_conv), self.space.ops[-1]))

    def _known_cells(self, more: Mapping[str, Cell | str]) -> dict[str, Cell | str]:
        useful = [op for op in self.space.ops if op is not Op.ZEROIZE]
        known = {f"all {op}": self.space.uniform(op) for op in useful}
        known |= {name.replace("snasnet-cifar", "SNASNet, CIFAR"): cell for name, cell in PUBLISHED_CELLS.items()}
        earlier = []  # of kernels that were restarted, and pages that were closed
        for cell in remembered(self.folder):
            with contextlib.suppress(ValueError):  # it was of another space
                earlier.append(self.space.read(cell))
        names = ("edited last", *(f"edited last but {number}" for number in range(1, len(earlier))))
        return known | dict(more) | dict(zip(names, earlier, strict=False))

    # ---- rows of controls

    def history_row(self) -> ipywidgets.Box:
        self.back = self.add_button("undo", "Undo", self.undo, icon="undo", tooltip="Back to the cell before")
        self.forth = self.add_button("redo", "Redo", self.redo, icon="repeat", tooltip="Forth again")
        random = {"icon": "random", "tooltip": "A cell drawn uniformly from the space"}
        self.draw = self.add_button("random", "Random cell", self._draw, **random)
        choices = [("choose a cell …", ""), *((name, name) for name in self._presets)]
        self.preset = self.part(ipywidgets.Dropdown(options=choices, description="Preset"), "preset")
        self.watch(self.preset, self._choose)
        return flow(self.back, self.forth, self.draw, self.preset)

    def text_row(self) -> ipywidgets.Box:
        wide = {"width": "auto", "flex": "1 1 380px"}
        text = ipywidgets.Text(description="Cell", continuous_update=False, layout=wide, placeholder="string or matrix")
        self.text = self.part(text, "text")
        self.copies = [self.part(CopyButton(label=label), name) for label, name in _COPIES.items()]
        self.watch(self.text, self._read)
        return flow(self.text, *self.copies)

    def file_row(self) -> ipywidgets.Box:
        names = saved_cells(self.folder)
        self.file = self.part(ipywidgets.Combobox(description="File", value="my-cell", options=names), "file")
        save = {"icon": "save", "tooltip": f"Save the cell in {self.folder}"}
        self.save_button = self.add_button("save", "Save", self._save, **save)
        load = {"icon": "folder-open", "tooltip": f"Load a cell from {self.folder}"}
        self.load_button = self.add_button("load", "Load", lambda: self.load(self.file.value), **load)
        tick = ipywidgets.Checkbox(description="replace an older file", indent=False, layout={"width": "auto"})
        self.overwrite = self.part(tick, "overwrite")
        return flow(self.file, self.save_button, self.load_button, self.overwrite)

    # ---- the cell and its history

    @traitlets.validate("cell")
    def _admit(self, proposal: dict) -> Cell:
        return self.space.read(proposal["value"])

    @traitlets.observe("cell")
    def _remember(self, change: dict) -> None:
        """A cell that undo or redo goes to is in the history already; the first one nobody made here."""
        if not (0 <= self._at < len(self._history) and self._history[self._at] == change["new"]):
            self._history[self._at + 1 :] = [change["new"]]
            self._at += 1
            if self._at and self._noting:
                self._note(change["new"])

    def _note(self, cell: Cell) -> None:
        try:
            remember(cell, self.folder)
        except OSError as error:  # told once: an edit goes on
            self._noting = False
            self.say(f"edits will not outlive this kernel ({error}); copy the cell's string, or save it elsewhere.")

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

    def _draw(self) -> None:
        self.cell = self.space.sample(self._rng)

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

    def _save(self) -> None:
        self.save(self.file.value, replace=self.overwrite.value)

    def load(self, name: str) -> None:
        """Show a saved cell; ``RunError`` or ``ValueError`` if there is none or it is of another space."""
        self.cell = load_cell(self.folder, name)
        self.say(f"loaded {name} from {self.folder}")

    def show_cell(self) -> None:
        """Write down the cell wherever it stands, but for the graph."""
        self.text.value = str(self.cell)
        for button, text in zip(self.copies, (str(self.cell), self.cell.matrix_text()), strict=True):
            button.text = text
        self.back.disabled, self.forth.disabled = self._at == 0, self._at == len(self._history) - 1
