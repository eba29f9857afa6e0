"""What the paths of a cell say, without a network: the order of the method ``balanced`` (no torch).

It rests on what depth buys and what it costs, not on spikes: convolutions in a row compose features, each of them needs
an undisturbed way around it for signals and gradients (He et al., arXiv 1603.05027; for spikes Fang et al., arXiv
2102.04159), and convolutions side by side between the same nodes add parameters but no depth. Notebook 02 shows how it
and the scores do against trained accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .cells import Cell, Edge, Op
from .spaces import CellSpace

MAX_CELLS = 200_000  # forward cells that ``rank_cells`` is ready to compare one by one: seconds


@dataclass(frozen=True)
class CellPaths:
    """What the forward paths of a cell say about it; smaller is better but for ``depth`` and ``field``.

    >>> cell_paths(Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|zeroize~1|conv3x3~2|"))
    CellPaths(depth=3, convs=3, reach=1, field=3, edges=5)
    """

    depth: int  # most convolutions in a row on a path from input to output
    convs: int  # convolutions the network has to compute
    reach: int  # Σ over nodes on a path: fewest ops other than skip between the input and that node
    field: int  # how many of the convolutions are 3x3: a 1x1 one adds depth but sees no neighbours
    edges: int  # edges in use

    @property
    def key(self) -> tuple[int, ...]:
        """The order of ``balanced``: the deepest cell, of those the lightest, of those the most direct; larger wins."""
        return (self.depth, -self.convs, -self.reach, self.field, -self.edges)


def cell_paths(cell: Cell) -> CellPaths | None:
    """The path figures of a cell, None without a forward path. Backward edges count as edges and convolutions only."""
    lengths = cell.conv_path_lengths()
    if lengths is None:
        return None
    away, reaching = _fewest_ops(cell), cell.forward_part().reaching_nodes
    return CellPaths(
        depth=lengths[1],
        convs=cell.num_convs,
        reach=sum(distance for node, distance in away.items() if node in reaching),
        field=sum(cell.op(edge) is Op.CONV3X3 for edge in cell.live_edges),
        edges=len(cell.live_edges),
    )


def _fewest_ops(cell: Cell) -> dict[int, int]:
    """For each node the input reaches on forward edges: the fewest ops other than skip on the way."""
    away = {0: 0}
    for node in range(1, cell.num_nodes):
        ops = {source: cell.op(Edge(node, source)) for source in range(node) if source in away}
        steps = [away[source] + (op is not Op.SKIP) for source, op in ops.items() if op is not Op.ZEROIZE]
        if steps:
            away[node] = min(steps)
    return away


def balance(cell: Cell) -> float:
    """The order of ``balanced`` as one number: depth plus a fraction that is larger for lighter, more direct cells.

    −inf without a forward path. As a score for any search: ``lambda mask: balance(mask.to_cell())``.

    >>> chain, residual = "|conv3x3~0|+|{}~0|conv3x3~1|+|{}~0|zeroize~1|conv3x3~2|", ("zeroize", "skip")
    >>> [round(balance(Cell.parse(chain.format(op, op))), 3) for op in residual]
    [3.739, 3.761]
    """
    paths = cell_paths(cell)
    if paths is None:
        return -math.inf
    nodes = cell.num_nodes
    edges = nodes * (nodes - 1)  # of both kinds, so that an empty backward half changes nothing
    digits = (
        (edges - paths.convs, edges + 1),
        (nodes * nodes - paths.reach, nodes * nodes + 1),
        (paths.field, edges + 1),
        (edges - paths.edges, edges + 1),
    )
    value, size = 0, 1
    for digit, base in digits:
        value, size = value * base + digit, size * base
    return paths.depth + value / size


def rank_cells(space: CellSpace, *, recurrent: bool = False) -> tuple[Cell, ...]:
    """The cells of a space with a forward path, best ``balance`` first.

    Backward edges stay zeroized, but with ``recurrent=True`` the output is fed back to the input by a skip: the same
    rules in time, for that edge closes the deepest loop, without a convolution. It is for data whose classes differ in
    the order of events (notebook 02 has the figures); still images have no order, and no table speaks for it there.
    Of equal cells (none in the published spaces' first places) the one first in the space's order comes first.
    ``ValueError`` for a space of more than 200,000 forward cells.

    >>> from lightsnn_kit.spaces import SPACES
    >>> print(rank_cells(SPACES["lightsnn-forward"])[0])
    |conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|zeroize~1|conv3x3~2|
    """
    forward = CellSpace(space.ops, space.num_nodes, backward=False)
    if forward.size > MAX_CELLS:
        raise ValueError(f"balanced compares all forward cells, at most {MAX_CELLS:,}; this space has {forward.size:,}")
    keyed = [(paths.key, cell) for cell in forward if (paths := cell_paths(cell))]
    ranked = [cell for _, cell in sorted(keyed, key=lambda pair: pair[0], reverse=True)]
    return tuple(_in_space(cell, space, recurrent) for cell in ranked)


def _in_space(cell: Cell, space: CellSpace, recurrent: bool) -> Cell:
    if not space.backward:
        if recurrent:
            raise ValueError("recurrent=True needs a space with backward edges.")
        return cell
    loop = {Edge(0, space.num_nodes - 1): Op.SKIP} if recurrent else {}
    if missing := {Op.ZEROIZE, *loop.values()} - set(space.ops):
        raise ValueError(
            f"balanced needs {', '.join(missing)} on backward edges, which this space lacks; use backward=False."
        )
    return Cell.from_edges(cell.edge_ops | loop, num_nodes=space.num_nodes, backward=True)
