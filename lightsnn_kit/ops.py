"""The operations of edges: those of the papers, and your own (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from .checks import check_new, not_registered, shown


class Op(StrEnum):
    """An operation on an edge, declared in the order in which pruning breaks ties (first goes first).

    ``Op(name)`` gives one of your own, too, once ``register_op`` has made it known; only the papers' are attributes.

    >>> Op("conv3x3").is_conv, Op.SKIP > Op.CONV3X3
    (True, True)
    """

    ZEROIZE = "zeroize"
    AVGPOOL3X3 = "avgpool3x3"
    MAXPOOL3X3 = "maxpool3x3"
    CONV1X1 = "conv1x1"
    CONV3X3 = "conv3x3"
    SKIP = "skip"

    @property
    def is_conv(self) -> bool:
        """True for the ops that read spikes: a LIF layer, then a convolution with its normalisation, or your module."""
        return OWN_OPS[self].spiking if self.is_own else self in (Op.CONV1X1, Op.CONV3X3)

    @property
    def is_own(self) -> bool:
        """True for an op that ``register_op`` has made known."""
        return self in OWN_OPS

    @classmethod
    def _missing_(cls, value: object) -> Op:
        if isinstance(value, str) and value in OWN_OPS:
            return OWN_OPS[value].op
        raise not_registered("op", value, [*cls, *OWN_OPS], "register_op")


class OwnOp(NamedTuple):
    """An op of your own: ``build(channels)`` makes its module, which reads spikes or, as pools do, values of a node."""

    op: Op
    build: Callable[[int], object]
    spiking: bool


OWN_OPS: dict[str, OwnOp] = {}
"""What ``register_op`` has made known in this process."""


def register_op(name: str, build: Callable[[int], object], *, spiking: bool = True, replace: bool = False) -> Op:
    """Make an op of your own known by a name, in this process, and return it.

    ``build(channels)`` returns a ``torch.nn.Module`` that keeps the shape of what it reads, [N, C, H, W] with C
    ``channels``. With ``spiking`` it reads the spikes of a neuron layer put in front, which scores count, and stands
    wherever convolutions are counted; else it reads the bare value of its node, as pools do. On ties such ops go after
    conv3x3 and before skip, by name. Spaces, strings, searches, scores and training take it like any other.

    Scores are the plain engine's; its weights stay real numbers, so their bits may differ between machines. There is no
    SNASNet code, and as its fan-out is not known no ``estimate_synops`` and ``num_weights``. Other processes (workers,
    background jobs, commands) do not know it. ``ValueError`` for a name that is taken or malformed.

    >>> blur = register_op("blur", lambda channels: None, spiking=False, replace=True)
    >>> Op("blur") is blur, blur.is_conv, OWN_OPS.pop("blur").op
    (True, False, <Op.BLUR: 'blur'>)
    """
    check_new("op", name, build, known=OWN_OPS, kept=list(Op), replace=replace)
    op = OWN_OPS[name].op if name in OWN_OPS else str.__new__(Op, name)
    op._name_, op._value_ = name.upper(), name  # a value beyond the members, as _missing_ may give
    OWN_OPS[name] = OwnOp(op, build, spiking)
    return op


def refuse_own(ops: Iterable[Op], what: str) -> None:
    """``ValueError`` if one of the ops is your own, of which ``what`` is not known."""
    if own := [op for op in ops if op.is_own]:
        raise ValueError(f"{what} of {own[0].value!r}, an op of your own, is not known.")


def tie_rank(op: Op) -> tuple[int, str]:
    """Rank of an op when scores tie: the lowest is pruned first."""
    return (list(Op).index(Op.CONV3X3), op) if op.is_own else (list(Op).index(op), "")


def as_ops(values: object) -> tuple[Op, ...]:
    """Ops from a list, tuple or array of them or of their names; ``ValueError`` for anything else."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"expected a sequence of ops such as ('zeroize', 'skip'), got {shown(values)}.")
    return tuple(map(as_op, values))


def as_op(value: object) -> Op:
    """An op from itself or its name; ``ValueError`` for anything else."""
    return Op(value if isinstance(value, str) else shown(value))
