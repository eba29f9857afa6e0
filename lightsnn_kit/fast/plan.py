"""What one score has to compute for a mask: which nodes, which convolutions, which terms in which order (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from ..cells import Edge, Op
from ..spaces import OpMask


@dataclass(frozen=True)
class Term:
    """One alive op on an edge, with its mixing weight 1/(number alive)."""

    edge: Edge
    op: Op
    weight: float


Terms = tuple[tuple[Term, ...], ...]  # per edge, in order: the value of an edge is the sum of its terms
INSIDE, EDGE, SIDE = 0, 1, 2  # what ends with a term: nothing, its edge, all forward or all backward edges


@dataclass(frozen=True)
class CellPlan:
    """The work of one cell and step.

    ``nodes``: those whose value some counted LIF depends on; ``counted``: the convolutions reading a node's spikes,
    each one LIF layer of the definition; ``forward``/``backward``: what is summed into a node.
    """

    nodes: tuple[int, ...]
    counted: dict[int, tuple[tuple[Edge, Op], ...]]
    forward: dict[int, Terms]
    backward: dict[int, Terms]

    def layer_names(self, cell: int, node: int) -> tuple[str, ...]:
        """The LIF layers of the definition that a node's spikes stand for, in cell 0 or 1."""
        return tuple(f"cell{cell + 1}.ops.{edge}:{op}.0" for edge, op in self.counted[node])

    def summed(self, node: int, *, first: bool) -> list[tuple[Term, int]]:
        """What is summed into a node, in order, and what ends with each term; nothing is fed back in the first step.

        x = Σ_sides Σ_edges Σ_terms value·weight, without reassociation.
        """
        return [
            (term, INSIDE if term is not terms[-1] else SIDE if terms is edges[-1] else EDGE)
            for side in ((self.forward,) if first else (self.forward, self.backward))
            for edges in (side.get(node, ()),)
            for terms in edges
            for term in terms
        ]

    def convs(self, node: int, *, last_step: bool) -> tuple[tuple[Edge, Op], ...]:
        """The convolutions of a node's spikes whose result is read; nobody reads feedback of the last step."""
        sides = (self.forward,) if last_step else (self.forward, self.backward)
        return tuple(
            (term.edge, term.op)
            for side in sides
            for edge_terms in side.values()
            for terms in edge_terms
            for term in terms
            if term.edge.source == node and term.op.is_conv
        )

    def pooled(self, node: int) -> tuple[Op, ...]:
        """The kinds of pooling of a node's value that some edge reads."""
        terms = [t for side in (self.forward, self.backward) for groups in side.values() for g in groups for t in g]
        kinds = {t.op for t in terms if t.edge.source == node and t.op in (Op.AVGPOOL3X3, Op.MAXPOOL3X3)}
        return tuple(sorted(kinds))


def plan_cell(mask: OpMask, *, feedback: bool) -> CellPlan:
    """The plan of a mask; with ``feedback=False`` backward convolutions are counted but never computed."""
    num_nodes = mask.space.num_nodes
    counted = {
        node: tuple((e, op) for e, ops in mask.items() for op in ops if e.source == node and op.is_conv)
        for node in range(num_nodes)
    }
    used = {e: ops for e, ops in mask.items() if set(ops) != {Op.ZEROIZE} and (feedback or not e.is_backward)}
    needed = {num_nodes - 1} | {node for node in counted if counted[node]}
    while more := {e.source for e in used if e.target in needed} - needed:
        needed |= more
    sums: dict[bool, dict[int, list]] = {False: {}, True: {}}
    for edge, ops in used.items():
        if edge.target in needed:
            terms = tuple(Term(edge, op, 1 / len(ops)) for op in ops if op is not Op.ZEROIZE)
            sums[edge.is_backward].setdefault(edge.target, []).append(terms)
    forward, backward = ({node: tuple(terms) for node, terms in sums[kind].items()} for kind in (False, True))
    return CellPlan(tuple(sorted(needed)), counted, forward, backward)
