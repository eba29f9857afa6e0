"""Cells as immutable values: ops, edges, strings, matrices and path analysis (no torch).

A cell has ``num_nodes`` nodes in order; node 0 is its input and the last node its output. A forward edge
``i<-j`` (j < i) acts within a time step, a backward edge (j > i) carries a value to the next step.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .checks import shown, whole
from .notation import FORMS, MAX_NODES, read_matrix, read_string
from .ops import Op, as_op, as_ops

if TYPE_CHECKING:
    import networkx


_MATRIX_OPS = (Op.ZEROIZE, Op.SKIP, Op.CONV1X1, Op.CONV3X3, Op.AVGPOOL3X3)  # SNASNet's codes 0..4


class Edge(NamedTuple):
    """A directed edge, written ``target<-source``.

    >>> str(Edge.parse("3<-0")), Edge(0, 2).is_backward
    ('3<-0', True)
    """

    target: int
    source: int

    @property
    def is_backward(self) -> bool:
        """True if the value travels to the next time step."""
        return self.source > self.target

    @classmethod
    def parse(cls, text: str) -> Edge:
        """Read ``'target<-source'``; ``ValueError`` if the text has another form."""
        match = re.fullmatch(r"([0-9]{1,9})<-([0-9]{1,9})", text) if isinstance(text, str) else None
        if not match:
            raise ValueError(f"malformed edge {shown(text)}; expected 'target<-source' such as '3<-0'.")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.target}<-{self.source}"


def as_edge(value: object) -> Edge:
    """An edge from an ``Edge``, a pair of numbers or its text; ``ValueError`` for anything else."""
    try:
        return Edge.parse(value) if isinstance(value, str) else Edge(*(operator.index(node) for node in value))
    except TypeError:
        raise ValueError(f"expected an edge such as '3<-0' or (3, 0), got {shown(value)}.") from None


def cell_edges(num_nodes: int, backward: bool = True) -> tuple[Edge, ...]:
    """All edges of a cell: the forward ones by (target, source), then the backward ones; ``ValueError`` below 2 nodes.

    >>> [str(edge) for edge in cell_edges(3)]
    ['1<-0', '2<-0', '2<-1', '0<-1', '0<-2', '1<-2']
    """
    return _edges(whole("num_nodes", num_nodes, low=2, high=MAX_NODES), bool(backward))


@lru_cache(None)
def _edges(num_nodes: int, backward: bool) -> tuple[Edge, ...]:
    forward = tuple(Edge(i, j) for i in range(num_nodes) for j in range(i))
    return forward + tuple(Edge(i, j) for i in range(num_nodes) for j in range(i + 1, num_nodes) if backward)


@dataclass(frozen=True)
class Cell:
    """One op per edge: ``Cell(4, ops)`` with the ops in the order of ``cell_edges(4, backward)``.

    A cell with only its forward ops is forward-only. ``str`` gives a one-line form, one ``+`` group per
    node and a ``/`` before the backward edges; ``Cell.parse`` reads it back.

    >>> cell = Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|/|skip~1|zeroize~2|+|conv3x3~2|")
    >>> str(cell.op(Edge(1, 2))), cell.backward, Cell.parse(str(cell)) == cell
    ('conv3x3', True, True)
    """

    num_nodes: int
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", whole("num_nodes", self.num_nodes, low=2, high=MAX_NODES))
        object.__setattr__(self, "ops", as_ops(self.ops))
        counts = [len(cell_edges(self.num_nodes, backward)) for backward in (False, True)]
        if len(self.ops) not in counts:
            raise ValueError(
                f"a cell of {self.num_nodes} nodes has {counts[0]} (forward only) or {counts[1]} ops, got "
                f"{len(self.ops)}."
            )

    @property
    def backward(self) -> bool:
        """True if the cell has backward edges, even if all of them are zeroized."""
        return len(self.ops) > len(cell_edges(self.num_nodes, False))

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges in the order of ``ops``."""
        return cell_edges(self.num_nodes, self.backward)

    @cached_property
    def edge_ops(self) -> dict[Edge, Op]:
        """The op of each edge."""
        return dict(zip(self.edges, self.ops, strict=True))

    @classmethod
    def from_edges(cls, edge_ops: Mapping[Edge | str, Op | str], *, num_nodes: int, backward: bool = True) -> Cell:
        """A cell from ``{edge: op}``; edges left out are zeroized, unknown ones are a ``ValueError``."""
        named = {as_edge(edge): as_op(op) for edge, op in edge_ops.items()}
        edges = cell_edges(num_nodes, backward)
        if unknown := [str(edge) for edge in named if edge not in edges]:
            raise ValueError(f"no edge {unknown[0]!r} here; expected one of {', '.join(map(str, edges))}.")
        return cls(num_nodes, tuple(named.get(edge, Op.ZEROIZE) for edge in edges))

    @classmethod
    def parse(cls, text: object) -> Cell:
        """Read the string form, or a matrix in any form of ``read_matrix``; ``ValueError`` names what is malformed."""
        if isinstance(text, list | tuple) or hasattr(text, "shape"):  # rows, an array, a tensor
            return cls.from_matrix(text)
        if isinstance(text, str) and re.search(r"[~+/]", text):
            return cls(*read_string(text))
        if isinstance(text, str) and re.search("[0-9]", text):
            return cls.from_matrix(text)
        raise ValueError(
            f"a cell string is text such as '|conv3x3~0|' (two nodes, forward only), or a matrix; got {shown(text)}. "
            f"Read are, as matrices, {FORMS}."
        )

    @classmethod
    def from_matrix(cls, matrix: object) -> Cell:
        """A cell from a SNASNet matrix (row = from, column = to; codes 0..4 as in arXiv 2201.10355's code).

        Codes: 0 zeroize, 1 skip, 2 conv1x1, 3 conv3x3, 4 avgpool3x3. Lists, arrays, tensors and text are read;
        ``ValueError`` if the matrix is not square, has an entry on the diagonal or another code.
        """
        array = read_matrix(matrix)
        if array.diagonal().any() or array.min() < 0 or array.max() >= len(_MATRIX_OPS):
            raise ValueError(f"a SNASNet matrix has codes 0..4 and a zero diagonal, got {shown(matrix)}.")
        edges = cell_edges(len(array))
        return cls(len(array), tuple(_MATRIX_OPS[array[edge.source, edge.target]] for edge in edges))

    def to_matrix(self) -> np.ndarray:
        """The SNASNet matrix, int64 [num_nodes, num_nodes]; ``ValueError`` if an op has no code there."""
        matrix = np.zeros((self.num_nodes, self.num_nodes), np.int64)
        for edge, op in self.edge_ops.items():
            if op not in _MATRIX_OPS:
                raise ValueError(f"{op} on edge {edge} has no SNASNet code; codes exist for {', '.join(_MATRIX_OPS)}.")
            matrix[edge.source, edge.target] = _MATRIX_OPS.index(op)
        return matrix

    def matrix_text(self) -> str:
        """The SNASNet matrix in one line, '' for a cell that has none.

        >>> Cell.parse("0303 0030 2002 0200").matrix_text()
        '0303 0030 2002 0200'
        """
        try:
            return " ".join("".join(map(str, row)) for row in self.to_matrix().tolist())
        except ValueError:
            return ""

    def __str__(self) -> str:
        groups: dict[tuple[bool, int], str] = {}
        for edge, op in self.edge_ops.items():
            key = (edge.is_backward, edge.target)
            groups[key] = groups.get(key, "|") + f"{op}~{edge.source}|"
        parts = ["+".join(text for (back, _), text in groups.items() if back is kind) for kind in (False, True)]
        return "/".join(parts if self.backward else parts[:1])

    def op(self, edge: Edge) -> Op:
        """The op of an edge; zeroize for a backward edge of a forward-only cell."""
        if edge not in cell_edges(self.num_nodes):
            raise ValueError(f"no edge {edge} in a cell of {self.num_nodes} nodes.")
        return self.edge_ops.get(edge, Op.ZEROIZE)

    def replace(self, edge: Edge, op: Op | str) -> Cell:
        """This cell with another op on one edge (a forward-only cell stays so)."""
        if edge not in self.edge_ops:
            raise ValueError(f"no edge {edge} in this cell; expected one of {', '.join(map(str, self.edges))}.")
        return Cell(self.num_nodes, tuple(Op(op) if e == edge else o for e, o in self.edge_ops.items()))

    @property
    def reaching_nodes(self) -> frozenset[int]:
        """Nodes whose value reaches the output over edges of both kinds, unrolled in time."""
        return self._closure(self.num_nodes - 1, lambda edge: (edge.target, edge.source))

    @property
    def fed_nodes(self) -> frozenset[int]:
        """Nodes that the input reaches over edges of both kinds, unrolled in time."""
        return self._closure(0, lambda edge: (edge.source, edge.target))

    @property
    def dead_nodes(self) -> frozenset[int]:
        """Nodes off every path from input to output; those in ``reaching_nodes`` are computed all the same.

        A convolution without spikes still emits the bias of its batch normalisation.
        """
        return frozenset(range(self.num_nodes)) - (self.reaching_nodes & self.fed_nodes)

    @property
    def live_edges(self) -> tuple[Edge, ...]:
        """The edges a network has to compute: not zeroized, and their target reaches the output."""
        reaching = self.reaching_nodes
        return tuple(e for e, op in self.edge_ops.items() if op is not Op.ZEROIZE and e.target in reaching)

    @property
    def num_convs(self) -> int:
        """Number of convolutions on live edges."""
        return sum(self.edge_ops[edge].is_conv for edge in self.live_edges)

    def conv_path_lengths(self) -> tuple[int, int] | None:
        """Fewest and most convolutions on a forward path from input to output, or None without a path.

        >>> Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|").conv_path_lengths()
        (0, 2)
        """
        lengths: dict[int, tuple[int, int]] = {0: (0, 0)}
        for node in range(1, self.num_nodes):
            found = []
            for source in range(node):
                op = self.edge_ops[Edge(node, source)]
                if op is not Op.ZEROIZE and source in lengths:
                    found.append([length + op.is_conv for length in lengths[source]])
            if found:
                lengths[node] = (min(low for low, _ in found), max(high for _, high in found))
        return lengths.get(self.num_nodes - 1)

    def forward_part(self) -> Cell:
        """This cell without its backward edges: the same within a step, and nothing carried to the next.

        >>> str(Cell.parse("|skip~0|/|conv3x3~1|").forward_part())
        '|skip~0|'
        """
        kept = {edge: op for edge, op in self.edge_ops.items() if not edge.is_backward}
        return Cell.from_edges(kept, num_nodes=self.num_nodes, backward=False)

    def live_part(self) -> Cell:
        """This cell with zeroize on the edges that reach nothing: what a network of it computes."""
        live = {edge: self.edge_ops[edge] for edge in self.live_edges}
        return Cell.from_edges(live, num_nodes=self.num_nodes, backward=self.backward)

    def without_dangling(self) -> Cell:
        """Zeroize the edges of inner nodes that have no incoming or no outgoing edge, until none is left."""
        ops = dict(self.edge_ops)
        while True:
            used = [edge for edge, op in ops.items() if op is not Op.ZEROIZE]
            whole = {e.target for e in used} & {e.source for e in used} | {0, self.num_nodes - 1}
            dangling = [edge for edge in used if not whole.issuperset(edge)]
            if not dangling:
                return Cell(self.num_nodes, tuple(ops.values()))
            ops.update(dict.fromkeys(dangling, Op.ZEROIZE))

    def to_networkx(self) -> networkx.DiGraph:
        """The non-zeroized edges as a ``DiGraph`` with ``op``, ``backward`` and ``live`` on each edge."""
        import networkx

        graph, live = networkx.DiGraph(cell=str(self)), set(self.live_edges)
        graph.add_nodes_from((node, {"dead": node in self.dead_nodes}) for node in range(self.num_nodes))
        for edge, op in self.edge_ops.items():
            if op is not Op.ZEROIZE:
                graph.add_edge(edge.source, edge.target, op=str(op), backward=edge.is_backward, live=edge in live)
        return graph

    def _closure(self, start: int, orient) -> frozenset[int]:
        steps = [orient(edge) for edge, op in self.edge_ops.items() if op is not Op.ZEROIZE]
        reached, frontier = {start}, {start}
        while frontier:
            frontier = {to for come, to in steps if come in frontier} - reached
            reached |= frontier
        return frozenset(reached)


def as_cell(value: object) -> Cell:
    """A cell from a ``Cell``, its string, or a SNASNet matrix: text, lists, an array, a tensor; else ``ValueError``.

    >>> as_cell([[0, 3], [0, 0]]) == as_cell("03 00") == as_cell(["03", "00"])
    True
    """
    if isinstance(value, Cell):
        return value
    return Cell.parse(value) if isinstance(value, str) else Cell.from_matrix(value)
