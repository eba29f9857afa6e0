"""Compiled loops of the int8 engine: one pass over memory each, without the interpreter lock.

Planes are float32 [pixels · channels] with the channels of a pixel side by side. Every float operation here is one
that ``exact`` and ``networks`` do too, in the same order; numba contracts no multiplication with an addition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiled import compiled


class Terms(NamedTuple):
    """What is summed into a node, edge by edge; coefficients are repeated over a tile of whole pixels.

    An edge adds plane · weight + (convolution · scale · gain + shift) · weight; where it lacks one of the two, the
    weight is 0 and the index names data that are read anyway. ``edges`` int64 [edges, 5]: whether the edge is fed back,
    index of the plane, of the convolution, of its coefficients, number of further terms. ``further`` int64 [terms, 3]
    holds those in the order of the edges: a plane (−1: none), a convolution (−1: none), its coefficients.
    """

    edges: np.ndarray
    weights: np.ndarray  # float32 [edges, 2]: of plane and convolution
    further: np.ndarray
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


@compiled
def _fire(x, fed_back, out, lo, target):
    """Neurons fire on x + fed_back, which is kept in ``out``: an array of its own, or the loop is not vectorised."""
    n = len(x)
    v, spikes = target.v[lo : lo + n], target.spikes[lo : lo + n]
    decay, threshold = np.float32(target.decay), np.float32(target.threshold)
    if target.first:
        v[:] = np.float32(0)
    for i in range(n):
        value = x[i] + fed_back[i]
        out[i] = value
        charged = v[i] + (value - v[i]) * decay
        fired = charged >= threshold
        spikes[i] = np.uint8(fired)
        v[i] = np.float32(0) if fired else charged


@compiled
def _pair(e, terms, conv, planes, lo, n):
    """The streams and factors of an edge for floats [lo, lo + n)."""
    row = terms.edges[e, 3]
    return (
        planes[terms.edges[e, 1], lo : lo + n],
        terms.weights[e, 0],
        conv[terms.edges[e, 2], lo : lo + n],
        terms.scales[row],
        terms.gains[row],
        terms.shifts[row],
        terms.weights[e, 1],
    )


@compiled
def _add_pairs(e, count, terms, conv, planes, lo, total):
    """Add edges e … e + count − 1 one after the other: three in one loop, that is a quarter less traffic to memory."""
    n = len(total)
    p, u, q, s, a, b, w = _pair(e, terms, conv, planes, lo, n)
    if count == 1:
        for i in range(n):
            total[i] += p[i] * u + (np.float32(q[i]) * s * a[i] + b[i]) * w
        return
    p1, u1, q1, s1, a1, b1, w1 = _pair(e + 1, terms, conv, planes, lo, n)
    if count == 2:
        for i in range(n):
            x = total[i] + (p[i] * u + (np.float32(q[i]) * s * a[i] + b[i]) * w)
            total[i] = x + (p1[i] * u1 + (np.float32(q1[i]) * s1 * a1[i] + b1[i]) * w1)
        return
    p2, u2, q2, s2, a2, b2, w2 = _pair(e + 2, terms, conv, planes, lo, n)
    for i in range(n):
        x = total[i] + (p[i] * u + (np.float32(q[i]) * s * a[i] + b[i]) * w)
        x += p1[i] * u1 + (np.float32(q1[i]) * s1 * a1[i] + b1[i]) * w1
        total[i] = x + (p2[i] * u2 + (np.float32(q2[i]) * s2 * a2[i] + b2[i]) * w2)


@compiled
def _add_long_edge(e, m, terms, conv, planes, lo, total, edge):
    """Add an edge with further terms, from row ``m`` on; returns the row after them."""
    n, w = len(total), terms.weights[e, 1] + terms.weights[e, 0] * (terms.weights[e, 1] == 0)  # all weights are equal
    edge[:] = np.float32(0)
    _add_pairs(e, 1, terms, conv, planes, lo, edge)
    for m in range(m, m + terms.edges[e, 4]):  # noqa: B020
        plane, index, row = terms.further[m]
        if plane >= 0:
            p = planes[plane, lo : lo + n]
            for i in range(n):
                edge[i] += p[i] * w
        else:
            q, s, a, b = conv[index, lo : lo + n], terms.scales[row], terms.gains[row], terms.shifts[row]
            for i in range(n):
                edge[i] += (np.float32(q[i]) * s * a[i] + b[i]) * w
    for i in range(n):
        total[i] += edge[i]
    return m + 1


@compiled
def integrate(lo, hi, terms, conv, planes, target):
    """Sum the edges for floats [lo, hi) of a node (whole pixels), keep the value and let its neurons fire.

    Sums start at 0, which changes no bit of a float32 but the sign of a zero, and no comparison sees that.
    """
    tile, num_edges = terms.gains.shape[1], len(terms.edges)
    scratch, sums = np.empty((2, tile), np.float32), np.empty((2, tile), np.float32)
    for base in range(lo, hi, tile):
        n = min(tile, hi - base)
        sums[:] = np.float32(0)
        e, m = 0, 0
        while e < num_edges:
            total, count = sums[terms.edges[e, 0], :n], 1
            if terms.edges[e, 4]:
                m = _add_long_edge(e, m, terms, conv, planes, base, total, scratch[0, :n])
            else:
                while count < 3 and e + count < num_edges and _joins(terms.edges, e, e + count):
                    count += 1
                _add_pairs(e, count, terms, conv, planes, base, total)
            e += count
        out = planes[target.plane, base : base + n] if target.plane >= 0 else scratch[1, :n]
        if target.fires:
            _fire(sums[0, :n], sums[1, :n], out, base, target)
        else:
            for i in range(n):
                out[i] = sums[0, i] + sums[1, i]


@compiled
def _joins(edges, first, other):
    return edges[other, 0] == edges[first, 0] and edges[other, 4] == 0


@compiled
def fire_normalised(lo, hi, values, gains, shifts, target):
    """Let neurons fire on value · gain + shift; the factors are repeated over a tile of whole pixels."""
    tile = len(gains)
    x, nothing, out = np.empty(tile, np.float32), np.zeros(tile, np.float32), np.empty(tile, np.float32)
    for base in range(lo, hi, tile):
        n = min(tile, hi - base)
        for i in range(n):
            x[i] = values[base + i] * gains[i] + shifts[i]
        _fire(x[:n], nothing[:n], out[:n], base, target)


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
