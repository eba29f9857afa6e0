"""Compiled loops of the int8 engine: one pass over memory each, without the interpreter lock.

Planes are float32 [pixels · channels] with the channels of a pixel side by side, and room for a vector behind them.
Every float operation here is one that ``exact`` and ``networks`` do too, in the same order; numba contracts no
multiplication with an addition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiled import compiled
from .plan import INSIDE, SIDE
from .vectors import as_float, loader, store, where, zeros

LANES = 32  # numbers of a vector: two or four of a processor's registers
load32, none = loader(LANES), zeros("float32", LANES)


class Terms(NamedTuple):
    """What is summed into a node, term by term: x = Σ_sides Σ_edges Σ_terms value·weight.

    A value is a plane's number as it is, or sum·scale·gain + shift of a convolution's.
    """

    places: np.ndarray  # int64 [terms, 3]: whether of a convolution, index of its slot or plane, what ends with it
    weights: np.ndarray  # float32 [terms]
    scales: np.ndarray  # float32 [terms]
    factors: np.ndarray  # float32 [vectors, terms, 2, LANES]: gains and shifts, until the channels come in turn again


class Target(NamedTuple):
    """Where a node's value goes: a plane (−1: nowhere), the neurons' v and spikes, exact sums."""

    plane: int
    fires: bool
    first: bool  # v is zero, whatever the buffer holds
    v: np.ndarray  # float32 [pixels · channels]
    spikes: np.ndarray  # uint8, same size
    decay: float
    threshold: float


@intrinsic
def _popcount(typing_context, word):
    """Number of set bits of a uint64, by the processor's instruction where it has one."""

    def generate(context, builder, signature, args):
        function = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(function, args)

    return types.uint64(types.uint64), generate


@compiled
def _fire(value, at, target, decay, threshold):
    """A vector of neurons is charged, fires and is reset."""
    v = none() if target.first else load32(target.v, at)
    charged = v + (value - v) * decay
    fired = charged >= threshold
    store(target.spikes, at, fired)
    store(target.v, at, where(fired, none(), charged))


@compiled
def integrate(lo, hi, terms, conv, planes, target):
    """Sum the terms for floats [lo, hi) of a node, keep the value and let its neurons fire: one pass over memory.

    ``lo`` is a multiple of ``LANES``; the last vector may pass ``hi``. Sums start at 0, which changes no bit of a
    float32 but the sign of a zero, and no comparison sees that.
    """
    vectors, count, _, _ = terms.factors.shape
    decay, threshold = np.float32(target.decay), np.float32(target.threshold)
    for at in range(lo, hi, LANES):
        factors = at // LANES % vectors * count * 2 * LANES
        value, side, edge = none(), none(), none()
        for n in range(count):
            of_conv, index, end = terms.places[n]
            place = index * planes.shape[1] + at  # rows of sums are as long
            if of_conv:
                gain, shift = load32(terms.factors, factors), load32(terms.factors, factors + LANES)
                edge = edge + (as_float(load32(conv, place)) * terms.scales[n] * gain + shift) * terms.weights[n]
            else:
                edge = edge + load32(planes, place) * terms.weights[n]
            factors += 2 * LANES
            if end != INSIDE:
                side, edge = side + edge, none()
            if end == SIDE:
                value, side = value + side, none()
        if target.plane >= 0:
            store(planes, target.plane * planes.shape[1] + at, value)
        if target.fires:
            _fire(value, at, target, decay, threshold)


@compiled
def largest(bits):
    """Bit pattern of the largest magnitude, of float32 values seen as uint32: without the sign they order alike."""
    found = np.uint32(0)
    for i in range(len(bits)):
        found = max(found, bits[i] & np.uint32(0x7FFFFFFF))
    return found


@compiled
def sum_plane(values, channels, per_unit, totals):
    """Add round(x · per_unit) and its square to ``totals`` int64 [2, channels]; the rounded values fit in 32 bits."""
    for base in range(0, len(values), channels):
        for c in range(channels):
            q = np.int64(np.int32(np.rint(values[base + c] * per_unit)))  # a product of 32 bits each: one instruction
            totals[0, c] += q
            totals[1, c] += q * q


@compiled
def collect(values, pixel, slots, conv, integers, totals):
    """Sort a block of results [pixels, slots · channels] into its slots, starting at ``pixel``.

    Integers are also summed, with their squares, into ``totals`` int64 [2, slots · channels].
    """
    rows, width = values.shape
    channels = width // len(slots)
    for r in range(rows):
        for k in range(len(slots)):
            part = conv[slots[k], (pixel + r) * channels : (pixel + r + 1) * channels]
            row = values[r, k * channels : (k + 1) * channels]
            for c in range(channels):
                part[c] = row[c]
    if integers:
        for r in range(0, rows - rows % 4, 4):
            _sum_four(values[r], values[r + 1], values[r + 2], values[r + 3], totals[0], totals[1])
        for r in range(rows - rows % 4, rows):
            for j in range(width):
                q = np.int64(np.int32(values[r, j]))
                totals[0, j] += q
                totals[1, j] += q * q


@compiled
def _sum_four(a, b, c, d, total, squares):
    """Four rows at once: fewer trips to the totals; products of 32 bits each are one instruction."""
    for j in range(len(a)):
        p, q, r, s = (
            np.int64(np.int32(a[j])),
            np.int64(np.int32(b[j])),
            np.int64(np.int32(c[j])),
            np.int64(np.int32(d[j])),
        )
        total[j] += p + q + r + s
        squares[j] += p * p + q * q + r * r + s * s


@compiled
def pool_pairs(conv, scale, gain, shift, out, average):
    """BN then 2x2 pooling of raw sums: ``conv`` [B, H, W, C] -> ``out`` [B, H // 2, W // 2, C]."""
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                for c in range(out.shape[3]):
                    y00 = np.float32(conv[n, 2 * i, 2 * j, c]) * scale * gain[c] + shift[c]
                    y01 = np.float32(conv[n, 2 * i, 2 * j + 1, c]) * scale * gain[c] + shift[c]
                    y10 = np.float32(conv[n, 2 * i + 1, 2 * j, c]) * scale * gain[c] + shift[c]
                    y11 = np.float32(conv[n, 2 * i + 1, 2 * j + 1, c]) * scale * gain[c] + shift[c]
                    if average:
                        out[n, i, j, c] = (y00 + y01 + y10 + y11) / np.float32(4)
                    else:
                        out[n, i, j, c] = max(max(y00, y01), max(y10, y11))


@compiled
def shared_spikes(packed, first, step, shared):
    """Spikes in common of every pair of rows of ``packed`` uint64 [B, words]: rows ``first``, ``first + step``, …"""
    for i in range(first, len(packed), step):
        for j in range(i + 1):
            total = np.uint64(0)
            for k in range(packed.shape[1]):
                total += _popcount(packed[i, k] & packed[j, k])
            shared[i, j] = shared[j, i] = np.int64(total)


@compiled
def pack_columns(spikes, words):
    """Write sample b of each column of ``spikes`` uint8 [B, N] as bit b % 64 of ``words`` uint64 [b // 64, N], all 0.

    Tile by tile, so that the words stay in the first cache.
    """
    tile = 2048
    for base in range(0, spikes.shape[1], tile):
        for b in range(len(spikes)):
            word, row, place = words[b // 64, base : base + tile], spikes[b, base : base + tile], np.uint64(b % 64)
            for i in range(len(word)):
                word[i] |= np.uint64(row[i]) << place
