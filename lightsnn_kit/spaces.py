"""The search spaces: all cells over a set of ops, sampling, and masks of the ops still alive (no torch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from .cells import Cell, Edge, as_cell, cell_edges
from .checks import shown, unknown
from .ops import Op, as_ops, tie_rank


def _check_rng(rng: object) -> np.random.Generator:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator such as np.random.default_rng(7), got {rng!r}.")
    return rng


@dataclass(frozen=True)
class CellSpace:
    """All cells with one of ``ops`` on every edge.

    >>> CellSpace(("zeroize", "skip", "conv3x3")).size, CellSpace(("skip", "conv3x3"), backward=False).size
    (531441, 64)
    """

    ops: tuple[Op, ...]
    num_nodes: int = 4
    backward: bool = True

    def __post_init__(self) -> None:
        ops = as_ops(self.ops)
        if not ops:
            raise ValueError(f"a space needs a sequence of at least one op, got {self.ops!r}.")
        if len(set(ops)) != len(ops):
            raise ValueError(f"the ops of a space must differ, got {', '.join(ops)}.")
        num_nodes = 1 + cell_edges(self.num_nodes)[-1].source  # plain, and checked
        for name, value in (("ops", ops), ("num_nodes", num_nodes), ("backward", bool(self.backward))):
            object.__setattr__(self, name, value)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The edges of every cell of the space."""
        return cell_edges(self.num_nodes, self.backward)

    @property
    def size(self) -> int:
        """The exact number of cells, ``len(ops) ** len(edges)``."""
        return len(self.ops) ** len(self.edges)

    def __contains__(self, cell: object) -> bool:
        same = isinstance(cell, Cell) and (cell.num_nodes, cell.backward) == (self.num_nodes, self.backward)
        return same and set(cell.ops) <= set(self.ops)

    def __iter__(self) -> Iterator[Cell]:
        return (Cell(self.num_nodes, ops) for ops in product(self.ops, repeat=len(self.edges)))

    def uniform(self, op: Op | str) -> Cell:
        """The cell with one op on every edge, e.g. all-conv."""
        if Op(op) not in self.ops:
            raise ValueError(f"{op} is not an op of this space; expected one of {', '.join(self.ops)}.")
        return Cell(self.num_nodes, (Op(op),) * len(self.edges))

    def read(self, value: object) -> Cell:
        """A cell of this space from anything ``cells.as_cell`` reads; ``ValueError`` says what the space does not have.

        >>> str(CellSpace(("zeroize", "conv3x3"), 2, backward=False).read("03 00"))
        '|conv3x3~0|'
        """
        cell = as_cell(value)
        if foreign := [str(op) for op in sorted(set(cell.ops), key=tie_rank) if op not in self.ops]:
            raise ValueError(f"this cell uses {', '.join(foreign)}; the ops of this space are {', '.join(self.ops)}.")
        return OpMask.from_cell(cell, self).to_cell()  # refuses other nodes and edges, drops empty backward edges

    def sample(self, rng: np.random.Generator) -> Cell:
        """A cell drawn uniformly from the space."""
        picks = _check_rng(rng).integers(len(self.ops), size=len(self.edges))
        return Cell(self.num_nodes, tuple(self.ops[pick] for pick in picks))

    def sample_snasnet(self, rng: np.random.Generator) -> Cell:
        """A cell drawn by SNASNet's rules (arXiv 2201.10355): an edge pair is forward *or* backward.

        Each pair of nodes gets a direction and an op; input to output is always a non-zeroized forward
        edge; dangling nodes are removed. A space without backward edges draws forward edges only.
        """
        useful = [op for op in self.ops if op is not Op.ZEROIZE]
        if Op.ZEROIZE not in self.ops or not useful:
            raise ValueError("SNASNet's rules need zeroize and at least one other op in the space.")
        last, drawn = self.num_nodes - 1, {}
        for edge in cell_edges(self.num_nodes, False):
            direct = edge == (last, 0)
            flip = bool(_check_rng(rng).integers(2)) and self.backward and not direct
            choices = useful if direct else self.ops
            drawn[Edge(*reversed(edge)) if flip else edge] = choices[rng.integers(len(choices))]
        return Cell.from_edges(drawn, num_nodes=self.num_nodes, backward=self.backward).without_dangling()

    def full_mask(self) -> OpMask:
        """The mask with every op alive on every edge: where pruning starts."""
        return OpMask(self, (self.ops,) * len(self.edges))


@dataclass(frozen=True)
class OpMask:
    """The ops still alive on each edge of a space, in the order of ``space.edges``.

    >>> mask = SPACES["lightsnn"].full_mask().without(Edge(1, 0), Op.SKIP)
    >>> [str(op) for op in mask.alive_on(Edge(1, 0))], mask.num_cells
    (['zeroize', 'conv3x3'], 354294)
    """

    space: CellSpace
    alive: tuple[tuple[Op, ...], ...]

    def __post_init__(self) -> None:
        edges = len(self.space.edges)
        if not isinstance(self.alive, Sequence) or len(self.alive) != edges:
            given = len(self.alive) if isinstance(self.alive, Sequence) else shown(self.alive)
            raise ValueError(f"the mask needs ops for {edges} edges, got {given}.")
        object.__setattr__(self, "alive", tuple(map(as_ops, self.alive)))
        for edge, ops in zip(self.space.edges, self.alive, strict=True):
            if not ops or not set(ops) <= set(self.space.ops) or len(set(ops)) < len(ops):
                allowed = ", ".join(self.space.ops)
                raise ValueError(
                    f"edge {edge} needs at least one op out of {allowed}, each once; got {list(map(str, ops))}."
                )

    @classmethod
    def from_cell(cls, cell: Cell, space: CellSpace | None = None) -> OpMask:
        """The one-op mask of a cell, in ``space`` or in the smallest space that holds it."""
        if space and cell.num_nodes != space.num_nodes:
            raise ValueError(f"a cell of {cell.num_nodes} nodes does not lie in a space of {space.num_nodes}.")
        lost = [str(e) for e, op in cell.edge_ops.items() if space and e not in space.edges and op is not Op.ZEROIZE]
        if lost:
            raise ValueError(
                f"the cell uses {', '.join(lost)}, which the space does not have; choose a space with them."
            )
        space = space or CellSpace(tuple(sorted(set(cell.ops), key=tie_rank)), cell.num_nodes, cell.backward)
        return cls(space, tuple((cell.op(edge),) for edge in space.edges))

    def alive_on(self, edge: Edge) -> tuple[Op, ...]:
        """The ops alive on an edge."""
        return self.alive[self.space.edges.index(edge)]

    def items(self) -> Iterator[tuple[Edge, tuple[Op, ...]]]:
        """Pairs of edge and alive ops."""
        return zip(self.space.edges, self.alive, strict=True)

    def without(self, edge: Edge, op: Op) -> OpMask:
        """The mask after pruning one op; ``ValueError`` if it is not alive or the last one."""
        if edge not in self.space.edges or op not in self.alive_on(edge) or len(self.alive_on(edge)) == 1:
            raise ValueError(f"cannot prune {op} from edge {edge}: it is not alive there, or the edge's only op.")
        return OpMask(self.space, tuple(tuple(o for o in ops if e != edge or o != op) for e, ops in self.items()))

    def candidates(self) -> tuple[tuple[Edge, Op], ...]:
        """Every (edge, op) that may be pruned: all alive ops of the edges with more than one."""
        return tuple((edge, op) for edge, ops in self.items() if len(ops) > 1 for op in ops)

    @property
    def num_cells(self) -> int:
        """How many cells the mask still allows."""
        return prod(map(len, self.alive))

    def to_cell(self) -> Cell:
        """The cell of a one-op mask; ``ValueError`` while an edge has more than one op."""
        if open_edges := [str(edge) for edge, ops in self.items() if len(ops) > 1]:
            raise ValueError(f"the mask still has several ops on {', '.join(open_edges)}; prune them first.")
        return Cell(self.space.num_nodes, tuple(ops[0] for ops in self.alive))

    @property
    def num_conv_ops(self) -> int:
        """Convolutions alive in one cell, also on edges that reach nothing: each has a LIF layer that scores count."""
        return sum(op.is_conv for ops in self.alive for op in ops)

    def skeleton(self) -> Cell:
        """The cell of what may still carry a value: a skip wherever an op other than zeroize is alive."""
        carries = [Op.ZEROIZE if set(ops) == {Op.ZEROIZE} else Op.SKIP for ops in self.alive]
        return Cell(self.space.num_nodes, tuple(carries))

    def path_edges(self) -> frozenset[Edge]:
        """The forward edges with a non-zeroized op alive that lie on a path from input to output."""
        cell = self.skeleton().forward_part()
        return frozenset(edge for edge in cell.live_edges if edge.source in cell.fed_nodes)


_LIGHTSNN = (Op.ZEROIZE, Op.SKIP, Op.CONV3X3)
SPACES: dict[str, CellSpace] = {
    "lightsnn": CellSpace(_LIGHTSNN),
    "lightsnn-forward": CellSpace(_LIGHTSNN, backward=False),
    "snasnet": CellSpace((Op.ZEROIZE, Op.SKIP, Op.CONV1X1, Op.CONV3X3, Op.AVGPOOL3X3)),
    "snasnet-forward": CellSpace((Op.ZEROIZE, Op.SKIP, Op.CONV1X1, Op.CONV3X3, Op.AVGPOOL3X3), backward=False),
    "snasnet-maxpool": CellSpace((Op.ZEROIZE, Op.SKIP, Op.CONV1X1, Op.CONV3X3, Op.MAXPOOL3X3)),
}
"""The published spaces by name; ``snasnet-maxpool`` is the five-op space of LightSNN's ablation."""


def as_space(space: CellSpace | str) -> CellSpace:
    """A space as it is, or that of a name in ``SPACES``; ``ValueError`` if the name is not known.

    >>> as_space("lightsnn") is as_space(SPACES["lightsnn"])
    True
    """
    if isinstance(space, str) and space not in SPACES:
        raise unknown("space", space, SPACES, ", or a CellSpace")
    return SPACES[space] if isinstance(space, str) else space


PUBLISHED_CELLS: dict[str, Cell] = {
    "snasnet-cifar10": Cell.parse("0303 0030 2002 0200"),
    "snasnet-cifar100": Cell.parse("0302 0030 3003 0000"),
}
"""The cells SNASNet published, from its connection matrices."""
