"""Searches as records: plain rows that go into a run's files, and back (no torch).

``steps.jsonl`` holds a row per round, ``scores.jsonl`` a row per score: enough to watch a search, and to go on with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields

from .cells import Edge
from .checks import shown, whole
from .ops import as_op, as_ops, tie_rank
from .pareto import Point, num_weights
from .search import Decision, PruneStep
from .spaces import CellSpace, OpMask


def mask_key(mask: OpMask) -> str:
    """A short text that tells the masks of one space apart: per edge, the places of its alive ops in the space.

    >>> mask_key(CellSpace(("zeroize", "skip", "conv3x3"), 2).full_mask().without(Edge(1, 0), "skip"))
    '02 012'
    """
    return " ".join("".join(str(mask.space.ops.index(op)) for op in ops) for ops in mask.alive)


def read_points(rows: Iterable[Mapping[str, object]], space: CellSpace) -> tuple[Point, ...]:
    """The scored cells of a genetic or random search, from the rows of its ``scores.jsonl``; ``space``: the searched.

    Where a row has no SynOps, they are the live weights, as in ``Point``. ``ValueError`` for rows that are none of one.

    >>> space = CellSpace(("zeroize", "skip", "conv3x3"), 3, backward=False)
    >>> [point] = read_points([{"index": 0, "mask": "2 0 2", "score": -1.5, "synops": 40.0}], space)
    >>> str(point.cell), point.score, point.synops, point.weights
    ('|conv3x3~0|+|zeroize~0|conv3x3~1|', -1.5, 40.0, 18.0)
    """
    points, rows = [], list(rows)
    for row in rows:
        try:
            mask = OpMask(space, tuple(tuple(space.ops[int(place)] for place in edge) for edge in row["mask"].split()))
            cell, weights = mask.to_cell(), num_weights(mask)
            figures = _score(row["score"]), _score(row["synops"]) if "synops" in row else weights, weights
            points.append(Point(whole("index", row["index"], low=0), cell, *figures))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"expected rows of scored cells of this space ({why}), got {shown(row)}.") from None
    return tuple(points)


def step_record(step: PruneStep) -> dict[str, object]:
    """One round of a search in plain values; `read_steps` reads it back."""
    scores = [(str(edge), str(op), score) for edge, op, score in step.scores]
    pruned = [asdict(decision) | {"edge": str(decision.edge)} for decision in step.pruned]
    alive = {str(edge): [str(op) for op in ops] for edge, ops in step.mask.items()}
    return {"round": step.round, "scores": scores, "pruned": pruned, "mask": alive, "evaluations": step.evaluations}


def read_steps(rows: Iterable[object], *, space: CellSpace | None = None) -> tuple[PruneStep, ...]:
    """The rounds of a search from rows of `step_record`; rows that are steps already stay as they are.

    Without ``space`` it is made from the rows: all ops that they name, in the order of ties. ``ValueError`` for rows
    that are none of a search.

    >>> from lightsnn_kit.search import prune_search
    >>> steps = tuple(prune_search(CellSpace(("zeroize", "skip")), lambda mask: mask.num_cells))
    >>> read_steps([step_record(step) for step in steps]) == steps
    True
    """
    try:
        rows = list(rows)
        if all(isinstance(row, PruneStep) for row in rows):
            return tuple(rows)
        space = space or _space_of(rows)
        return tuple(_read_step(row, space) for row in rows)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ValueError(
            f"expected steps of a search or rows of step_record ({type(error).__name__}: {error}), got {shown(rows)}."
        ) from None


def _space_of(rows: list[Mapping]) -> CellSpace:
    edges = [Edge.parse(edge) for edge in rows[0]["mask"]]
    ops = {as_op(op) for row in rows for _, op, _ in row["scores"]}
    ops |= {op for alive in rows[0]["mask"].values() for op in as_ops(alive)}
    nodes = 1 + max(max(edge) for edge in edges)
    return CellSpace(tuple(sorted(ops, key=tie_rank)), nodes, any(edge.is_backward for edge in edges))


def _read_step(row: Mapping, space: CellSpace) -> PruneStep:
    known = {field.name for field in fields(Decision)}
    pruned = []
    for decision in row["pruned"]:
        values = {name: value for name, value in decision.items() if name in known}
        undone = values.get("undone")
        values |= {
            "edge": Edge.parse(decision["edge"]),
            "op": as_op(decision["op"]),
            "margin": _score(decision["margin"]),
        }
        values |= {"undone": None if undone is None else as_op(undone), "seeds": whole("seeds", values.get("seeds", 1))}
        if values.get("settled") not in (None, True, False):
            raise ValueError(f"settled must be true, false or null, got {shown(values['settled'])}")
        pruned.append(Decision(**values))
    scores = tuple((Edge.parse(edge), as_op(op), _score(score)) for edge, op, score in row["scores"])
    alive = {Edge.parse(edge): ops for edge, ops in row["mask"].items()}
    mask = OpMask(space, tuple(alive[edge] for edge in space.edges))
    if outside := [str(edge) for edge, *_ in scores if edge not in alive]:
        raise ValueError(f"a score is of the edge {outside[0]}, which the mask does not have")
    evaluations = whole("evaluations", row.get("evaluations", len(scores)), low=0)
    return PruneStep(whole("round", row["round"]), scores, tuple(pruned), mask, evaluations)


def _score(value: object) -> float:
    """A score or a margin: any number but NaN, which none is; infinite ones are those of dead cells."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"expected a number, got {shown(value)}")
    return float(value)
