"""Compiled loops of the int8 engine: one pass over memory each, without the interpreter lock.

Planes are float32 [pixels · channels] with the channels of a pixel side by side. Every float operation here is one
that ``lattice`` and ``networks`` do too, in the same order; numba contracts no multiplication with an addition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

PLANE, CONV = 0, 1
jit = njit(nogil=True, cache=True, error_model="numpy")


class Terms(NamedTuple):
    """What is summed into a node; coefficients are repeated over a tile of whole pixels.

    ``program`` int64 [terms, 5]: kind, index of the plane or convolution, row of its coefficients, whether the term
    opens an edge, whether it is fed back. An edge sums its terms, a node its edges, then feedback is added.
    """

    program: np.ndarray
    weights: np.ndarray  # float32 [terms]
    scales: np.ndarray  # float32 [rows]
    gains: np.ndarray  # float32 [rows, tile]
    shifts: np.ndarray  # float32 [rows, tile]


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


@jit
def _fire(x, lo, n, target):
    v, spikes = target.v[lo : lo + n], target.spikes[lo : lo + n]
    decay, threshold = np.float32(target.decay), np.float32(target.threshold)
    if target.first:
        v[:] = np.float32(0)
    for i in range(n):
        charged = v[i] + (x[i] - v[i]) * decay
        fired = charged >= threshold
        spikes[i] = np.uint8(fired)
        v[i] = np.float32(0) if fired else charged


@jit
def _add(total, values, w):
    for i in range(len(values)):
        total[i] += values[i] * w


@jit
def _add_conv(total, values, terms, row, w):
    s, a, b = terms.scales[row], terms.gains[row], terms.shifts[row]
    for i in range(len(values)):
        total[i] += (np.float32(values[i]) * s * a[i] + b[i]) * w


@jit
def _add_both(total, plane, values, terms, row, w):
    s, a, b = terms.scales[row], terms.gains[row], terms.shifts[row]
    for i in range(len(values)):
        total[i] += plane[i] * w + (np.float32(values[i]) * s * a[i] + b[i]) * w


@jit
def _add_edge(k, count, terms, conv, planes, base, n, total, edge):
    """Add the edge whose terms are k … k + count − 1; a value and a convolution, the usual pair, in one loop."""
    kind, index, row, _, _ = terms.program[k]
    if count == 2 and kind == PLANE and terms.program[k + 1, 0] == CONV:
        values, row = conv[terms.program[k + 1, 1], base : base + n], terms.program[k + 1, 2]
        _add_both(total, planes[index, base : base + n], values, terms, row, terms.weights[k])
        return
    parts = total if count == 1 else edge
    if count > 1:
        edge[:n] = np.float32(0)
    for m in range(k, k + count):
        kind, index, row, _, _ = terms.program[m]
        if kind == CONV:
            _add_conv(parts, conv[index, base : base + n], terms, row, terms.weights[m])
        else:
            _add(parts, planes[index, base : base + n], terms.weights[m])
    if count > 1:
        _add(total, edge[:n], np.float32(1))


@jit
def integrate(lo, hi, terms, conv, planes, target):
    """Sum the terms for floats [lo, hi) of a node (whole pixels), keep the value and let its neurons fire.

    Sums start at 0, which changes no bit of a float32 but the sign of a zero, and no comparison sees that.
    """
    tile, num_terms = terms.gains.shape[1], len(terms.program)
    edge, sums = np.empty(tile, np.float32), np.empty((2, tile), np.float32)
    for base in range(lo, hi, tile):
        n = min(tile, hi - base)
        sums[:] = np.float32(0)
        k = 0
        while k < num_terms:
            count = 1
            while k + count < num_terms and not terms.program[k + count, 3]:
                count += 1
            _add_edge(k, count, terms, conv, planes, base, n, sums[terms.program[k, 4]], edge)
            k += count
        x = sums[0]
        _add(x, sums[1, :n], np.float32(1))
        if target.plane >= 0:
            planes[target.plane, base : base + n] = x[:n]
        if target.fires:
            _fire(x, base, n, target)


@jit
def fire_normalised(lo, hi, values, gains, shifts, target):
    """Let neurons fire on value · gain + shift; the factors are repeated over a tile of whole pixels."""
    tile = len(gains)
    x = np.empty(tile, np.float32)
    for base in range(lo, hi, tile):
        n = min(tile, hi - base)
        for i in range(n):
            x[i] = values[base + i] * gains[i] + shifts[i]
        _fire(x, base, n, target)


@jit
def largest(bits):
    """Bit pattern of the largest magnitude, of float32 values seen as uint32: without the sign they order alike."""
    found = np.uint32(0)
    for i in range(len(bits)):
        found = max(found, bits[i] & np.uint32(0x7FFFFFFF))
    return found


@jit
def sum_plane(values, channels, per_unit, totals):
    """Add round(x · per_unit) and its square to ``totals`` int64 [2, channels]; the rounded values fit in 32 bits."""
    for base in range(0, len(values), channels):
        for c in range(channels):
            q = np.int64(np.int32(np.rint(values[base + c] * per_unit)))  # a product of 32 bits each: one instruction
            totals[0, c] += q
            totals[1, c] += q * q


@jit
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


@jit
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


@jit
def pool_pairs(conv, scale, gain, shift, out, average):
    """BN then 2x2 pooling of raw sums, one image: ``conv`` [H, W, C] -> ``out`` [H // 2, W // 2, C]."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for c in range(out.shape[2]):
                y00 = np.float32(conv[2 * i, 2 * j, c]) * scale * gain[c] + shift[c]
                y01 = np.float32(conv[2 * i, 2 * j + 1, c]) * scale * gain[c] + shift[c]
                y10 = np.float32(conv[2 * i + 1, 2 * j, c]) * scale * gain[c] + shift[c]
                y11 = np.float32(conv[2 * i + 1, 2 * j + 1, c]) * scale * gain[c] + shift[c]
                if average:
                    out[i, j, c] = (y00 + y01 + y10 + y11) / np.float32(4)
                else:
                    out[i, j, c] = max(max(y00, y01), max(y10, y11))


@jit
def shared_spikes(packed, first, step, shared):
    """Spikes in common of every pair of rows of ``packed`` uint64 [B, words]: rows ``first``, ``first + step``, …"""
    for i in range(first, len(packed), step):
        for j in range(i + 1):
            total = np.uint64(0)
            for k in range(packed.shape[1]):
                total += _popcount(packed[i, k] & packed[j, k])
            shared[i, j] = shared[j, i] = np.int64(total)
