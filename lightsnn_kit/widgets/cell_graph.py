"""A cell, or the ops still alive in a mask, as a graph in SVG that is edited by click, key and drag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from ..cells import Cell, Edge, Op
from ..figures.style import OP_COLOURS, OP_SYMBOLS
from ..spaces import CellSpace, OpMask

_GLYPHS = {"circle": "●", "triangle-up": "▲", "diamond": "◆", "square": "■", "pentagon": "⬟", "x": "✕"}
_GLYPHS |= {"star": "★", "hexagon": "⬢", "cross": "✚"}  # of ops of your own


def graph_data(cell_or_mask: Cell | OpMask) -> dict:
    """What ``CellGraph`` draws: edges with their ops and whether each is alive, and the dead nodes.

    Of a cell each edge holds its one op; of a mask all ops of the space, the pruned ones not alive.

    >>> graph_data(Cell.parse("|skip~0|"))["edges"]
    [{'key': '1<-0', 'source': 0, 'target': 1, 'ops': [['skip', True]], 'live': True}]
    """
    if isinstance(cell_or_mask, Cell):
        cell, ops = cell_or_mask, [[[str(op), True]] for op in cell_or_mask.ops]
    elif isinstance(cell_or_mask, OpMask):
        cell = cell_or_mask.skeleton()
        ops = [[[str(op), op in alive] for op in cell_or_mask.space.ops] for alive in cell_or_mask.alive]
    else:
        raise ValueError(f"a cell graph shows a Cell or an OpMask, got {cell_or_mask!r}.")
    fed, live = cell.fed_nodes, set(cell.live_edges)
    edges = []
    for edge, held in zip(cell.edges, ops, strict=True):
        ends = {"key": str(edge), "source": edge.source, "target": edge.target}
        edges.append({**ends, "ops": held, "live": edge in live and edge.source in fed})
    return {"num_nodes": cell.num_nodes, "dead": sorted(cell.dead_nodes), "edges": edges}


class CellGraph(anywidget.AnyWidget):
    """The graph and, if ``editable``, a palette of the space's ops; ``selected`` is an edge such as '3<-0', or ''.

    An edit changes nothing by itself: it is told to the callbacks of ``on_edit``, and ``show`` draws the answer.
    """

    _esm = (Path(__file__).parent / "cell_graph.js").read_text(encoding="utf-8")
    _css = (Path(__file__).parent / "cell_graph.css").read_text(encoding="utf-8")
    graph = traitlets.Dict().tag(sync=True)
    palette = traitlets.List().tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    editable = traitlets.Bool(True).tag(sync=True)
    heading = traitlets.Unicode("").tag(sync=True)  # over a graph that is not edited

    def __init__(self, cell_or_mask: Cell | OpMask, *, space: CellSpace, editable: bool = True) -> None:
        palette = [{"op": str(op), "colour": OP_COLOURS[op], "glyph": _GLYPHS[OP_SYMBOLS[op]]} for op in space.ops]
        super().__init__(graph=graph_data(cell_or_mask), palette=palette, editable=editable)
        self._on_edit: list[Callable[[Edge, Op], None]] = []
        self.on_msg(CellGraph._receive)

    def show(self, cell_or_mask: Cell | OpMask, *, other: Cell | None = None) -> None:
        """Draw another cell or mask; edges that differ from those of the cell ``other`` are marked."""
        graph = graph_data(cell_or_mask)
        if other is not None:
            differ = {str(edge) for edge, op in other.edge_ops.items() if op != cell_or_mask.op(edge)}
            graph["edges"] = [{**edge, "marked": edge["key"] in differ} for edge in graph["edges"]]
        self.graph = graph

    def on_edit(self, callback: Callable[[Edge, Op], None]) -> None:
        """Call ``callback(edge, op)`` when an op is put onto an edge; forgotten on ``close``."""
        self._on_edit.append(callback)

    def _receive(self, content: dict, buffers: object) -> None:
        if content.get("kind") == "edit":
            for callback in list(self._on_edit):
                callback(Edge.parse(content["edge"]), Op(content["op"]))
            self.send({**content, "kind": "edited"})  # with its number: the page may have asked for more meanwhile

    def close(self) -> None:
        """Close the graph and forget who listens to it."""
        self._on_edit.clear()
        super().close()


class CopyButton(anywidget.AnyWidget):
    """A button that copies ``text`` to the clipboard of the page; disabled while there is none."""

    _esm = (Path(__file__).parent / "copy_button.js").read_text(encoding="utf-8")
    text = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("Copy").tag(sync=True)
