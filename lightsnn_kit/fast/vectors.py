"""Vectors of numbers in compiled loops: ``load``, arithmetic, ``store``; LLVM cuts them into the processor's registers.

Which loops become vector instructions numba leaves to LLVM, and a loop over terms within a loop over numbers never
does: here the vectors are written down. Operations are those of IEEE 754, one rounding each; none is contracted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

KINDS = {"float32": ir.FloatType(), "bool": ir.IntType(1), "uint8": ir.IntType(8), "int16": ir.IntType(16)}
KINDS |= {"int32": ir.IntType(32), "int64": ir.IntType(64)}


class Vector(types.Type):
    """The type of vectors of ``lanes`` numbers of a kind."""

    def __init__(self, kind: str, lanes: int) -> None:
        self.kind, self.lanes = kind, lanes
        super().__init__(f"Vector({kind}, {lanes})")

    def of(self, kind: str) -> Vector:
        """As many numbers of another kind."""
        return Vector(kind, self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(KINDS[vector.kind], vector.lanes))


# ---- memory


def _place(context, builder, array, index, kinds: tuple[types.Array, Vector]):
    """A pointer to the vector that begins at number ``index`` of an array, seen as one row."""
    array_type, vector = kinds
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), context.get_value_type(vector).as_pointer())


def loader(lanes: int) -> Callable:
    """``load(array, index)`` of so many numbers in a row, in compiled code; nobody checks that the array has them."""

    @intrinsic
    def load(typing_context, array, index):
        vector = Vector(str(array.dtype), lanes)

        def generate(context, builder, signature, args):
            return builder.load(_place(context, builder, *args, (array, vector)), align=array.dtype.bitwidth // 8)

        return vector(array, types.int64), generate

    return load


@intrinsic
def store(typing_context, array, index, vector):
    """Write a vector into an array from number ``index`` on, as numbers of its kind; nobody checks that it fits in."""
    kept = vector.of(str(array.dtype))

    def generate(context, builder, signature, args):
        place = _place(context, builder, *args[:2], (array, kept))
        builder.store(_converted(builder, args[2], vector.kind, kept.kind), place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), generate


@intrinsic
def copy(typing_context, to, at, array, index, count):
    """Copy ``count`` numbers from ``index`` of an array to ``at`` of one of its type; nobody checks the places."""

    def generate(context, builder, signature, args):
        ends = ((to, *args[:2]), (array, *args[2:4]))
        ends = [builder.gep(context.make_array(kind)(context, builder, one).data, [at]) for kind, one, at in ends]
        cgutils.raw_memcpy(builder, *ends, args[4], array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(to, types.int64, array, types.int64, types.int64), generate


# ---- arithmetic


def _spread(builder, number, like: ir.VectorType):
    """A vector of one number."""
    nothing, first = ir.Constant(like, ir.Undefined), ir.VectorType(ir.IntType(32), like.count)(None)
    return builder.shuffle_vector(builder.insert_element(nothing, number, ir.IntType(32)(0)), nothing, first)


def _define(operation: Callable, floats: Callable, integers: Callable, kind: str | None = None) -> None:
    """Make an operator work on vectors of one type, or on one and a number of its kind."""

    @intrinsic
    def compute(typing_context, a, b):
        def generate(context, builder, signature, args):
            x, y = args
            y = y if b == a else _spread(builder, y, x.type)
            return (floats if a.kind == "float32" else integers)(builder, x, y)

        return a.of(kind or a.kind)(a, b), generate

    @overload(operation)
    def typed(a, b):
        if isinstance(a, Vector) and (b == a or str(b) == a.kind):
            return lambda a, b: compute(a, b)
        return None


_define(operator.add, ir.IRBuilder.fadd, ir.IRBuilder.add)
_define(operator.sub, ir.IRBuilder.fsub, ir.IRBuilder.sub)
_define(operator.mul, ir.IRBuilder.fmul, ir.IRBuilder.mul)
_define(operator.or_, None, ir.IRBuilder.or_)
_define(operator.xor, None, ir.IRBuilder.xor)
_define(operator.lshift, None, ir.IRBuilder.shl)
_define(operator.rshift, None, ir.IRBuilder.ashr)
_define(
    operator.ge,
    lambda builder, x, y: builder.fcmp_ordered(">=", x, y),
    lambda builder, x, y: builder.icmp_signed(">=", x, y),
    kind="bool",
)


@intrinsic
def where(typing_context, mask, a, b):
    """Numbers of ``a`` where the mask is set, of ``b`` elsewhere."""
    return a(mask, a, b), lambda context, builder, signature, args: builder.select(*args)


def zeros(kind: str, lanes: int) -> Callable:
    """A function of compiled code that gives a vector of zeros."""

    @intrinsic
    def nothing(typing_context):
        vector = Vector(kind, lanes)
        return vector(), lambda context, builder, signature, args: context.get_value_type(vector)(None)

    return nothing


# ---- kinds


def _converted(builder, vector, kind: str, new: str):
    """A vector's numbers as those of another kind: real numbers stay such, integers lose what does not fit in."""
    to = ir.VectorType(KINDS[new], vector.type.count)
    if kind == new:
        return vector
    if kind == "bool":
        return builder.zext(vector, to)
    if new == "float32":
        return builder.sitofp(vector, to)
    return (builder.sext if KINDS[new].width > KINDS[kind].width else builder.trunc)(vector, to)


def _converter(kind: str) -> Callable:
    @intrinsic
    def convert(typing_context, vector):
        make = lambda context, builder, signature, args: _converted(builder, *args, vector.kind, kind)  # noqa: E731
        return vector.of(kind)(vector), make

    return convert


as_float, as_int16, as_int32, as_int64 = map(_converter, ("float32", "int16", "int32", "int64"))


@intrinsic
def pairs(typing_context, vector):
    """Integers of 32 bits two by two, as bits of 64: half as many numbers."""
    wide = Vector("int64", vector.lanes // 2)
    return wide(vector), lambda context, builder, signature, args: builder.bitcast(
        args[0], context.get_value_type(wide)
    )
