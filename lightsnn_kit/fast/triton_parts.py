"""The device engine's operations as Triton kernels: each value passes through memory once, spikes are float16.

Exact: products of spikes and integer weights are summed in float32 (below 2²⁴), statistics in int64 by atomic additions
(integers, so in any order); rounding steps are separate multiplications and additions in the order of ``parts``:
``enable_fp_fusion=False`` keeps the compiler from fusing them. For integer weights only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..exact import fitting_grid
from .parts import Group, Slots, Sums, Terms, TorchParts

LARGEST_GRAM = 128  # samples whose products fit into one program's registers
PER_GRAM = 16  # tiles that one program adds up


@triton.jit
def _integrate(
    values, rows, weights, scale, gain, shift, out, v, spikes, decay, threshold,
    size, channels, terms, candidates,
    STORES: tl.constexpr, FIRES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of a candidate's [M·C] elements: every term read once, summed, charged, fired."""
    k = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    c = at % channels
    here = k.to(tl.int64) * size + at
    edge = tl.zeros([BLOCK], tl.float32)
    side = tl.zeros([BLOCK], tl.float32)
    value = tl.zeros([BLOCK], tl.float32)
    for i in range(terms):
        weight = tl.load(weights + k * terms + i)
        slot, end = tl.load(rows + i), tl.load(rows + terms + i)
        if weight != 0.0:
            factor = (slot * candidates + k) * channels + c
            x = tl.load(values + slot.to(tl.int64) * candidates * size + here, mask=inside, other=0.0)
            x = x * tl.load(scale + slot)
            x = x * tl.load(gain + factor) + tl.load(shift + factor)
            edge += x * weight
        if end > 0:
            side += edge
            edge = tl.zeros([BLOCK], tl.float32)
        if end > 1:
            value += side
            side = tl.zeros([BLOCK], tl.float32)
    if STORES:
        tl.store(out + here, value, mask=inside)
    if FIRES:
        charge = tl.load(v + here, mask=inside, other=0.0)
        charge = charge + (value - charge) * decay
        fired = charge >= threshold
        tl.store(v + here, tl.where(fired, 0.0, charge), mask=inside)
        tl.store(spikes + here, fired.to(tl.float16), mask=inside)


@triton.jit
def _convolve(
    spikes, weight, out, slots, totals,
    pixels, height, width, channels, columns, out_channels, candidates,
    TAPS: tl.constexpr, STATISTICS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A tile [BM, BN] of the product of a candidate's windows and the taps; its column sums while it is at hand."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    k = tl.program_id(2).to(tl.int64)
    x, y = m % width, (m // width) % height
    per_tap = tl.cdiv(channels, BK)
    total = tl.zeros([BM, BN], tl.float32)
    for step in range(TAPS * per_tap):
        tap, c = step // per_tap, (step % per_tap) * BK + tl.arange(0, BK)
        dy, dx = (0, 0) if TAPS == 1 else (tap // 3 - 1, tap % 3 - 1)
        seen = (m < pixels) & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
        window = spikes + (k * pixels + m + dy * width + dx)[:, None] * channels + c[None, :]
        a = tl.load(window, mask=seen[:, None] & (c < channels)[None, :], other=0.0)
        matrix = weight + (tap * channels + c)[:, None] * columns + n[None, :]
        b = tl.load(matrix, mask=(c < channels)[:, None] & (n < columns)[None, :], other=0.0)
        total = tl.dot(a, b, total)
    slot = tl.load(slots + n // out_channels, mask=n < columns, other=0).to(tl.int64)
    place = slot * candidates * pixels * out_channels + n % out_channels
    here = out + place[None, :] + ((k * pixels + m) * out_channels)[:, None]
    tl.store(here, total, mask=(m < pixels)[:, None] & (n < columns)[None, :])
    if STATISTICS:
        q = total.to(tl.int64)  # rows past the end are 0
        sums = totals + k * columns + n
        tl.atomic_add(sums, tl.sum(q, 0), mask=n < columns)
        tl.atomic_add(sums + candidates * columns, tl.sum(q * q, 0), mask=n < columns)


@triton.jit
def _add_columns(values, per_unit, totals, pixels, channels, candidates, BM: tl.constexpr, BC: tl.constexpr):
    """Integer sums of a tile's columns, in steps of a power of two: value·per_unit is exact, then rounded to even."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    k = tl.program_id(2).to(tl.int64)
    inside = (m < pixels)[:, None] & (c < channels)[None, :]
    x = tl.load(values + (k * pixels + m)[:, None] * channels + c[None, :], mask=inside, other=0.0)
    steps = x * tl.load(per_unit + k)
    q = ((steps + 12582912.0) - 12582912.0).to(tl.int64)  # 1.5·2²³: float32 holds no fractions there
    sums = totals + k * channels + c
    tl.atomic_add(sums, tl.sum(q, 0), mask=c < channels)
    tl.atomic_add(sums + candidates * channels, tl.sum(q * q, 0), mask=c < channels)


@triton.jit
def _share(spikes, shared, samples, size, B: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr):
    """Products of every pair of a candidate's samples over some tiles of neurons, added to its [B, B] integers."""
    k = tl.program_id(1).to(tl.int64)
    b = tl.arange(0, B)
    row = (k * samples + b)[:, None] * size
    total = tl.zeros([B, B], tl.float32)
    for tile in range(TILES):
        n = (tl.program_id(0) * TILES + tile) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(spikes + row + n[None, :], mask=(b < samples)[:, None] & (n < size)[None, :], other=0.0)
        total = tl.dot(x, tl.trans(x), total)
    inside = (b < samples)[:, None] & (b < samples)[None, :]
    tl.atomic_add(shared + (k * samples + b)[:, None] * samples + b[None, :], total.to(tl.int32), mask=inside)


@triton.jit
def _pool_pairs(
    values, scale, gain, shift, out, height, width, channels, pooled,
    AVERAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """2x2 windows of a candidate's normalised values; ``pooled`` is the number of its results."""
    k = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < pooled
    c, place = at % channels, at // channels
    half_width, half_height = width // 2, height // 2
    x, y, image = place % half_width, (place // half_width) % half_height, place // (half_width * half_height)
    images = pooled // (half_width * half_height * channels)
    first = (((k * images + image) * height + 2 * y) * width + 2 * x) * channels + c
    factor, unit, result = k * channels + c, tl.load(scale), tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(4):
        value = tl.load(values + first + ((i // 2) * width + i % 2) * channels, mask=inside, other=0.0) * unit
        value = value * tl.load(gain + factor) + tl.load(shift + factor)
        if i == 0:
            result = value
        elif AVERAGE:
            result += value
        else:
            result = tl.maximum(result, value)
    tl.store(out + k * pooled + at, result * 0.25 if AVERAGE else result, mask=inside)


def tile(size: int, *, low: int = 16, high: int = 128) -> int:
    """The smallest power of two that holds ``size``, within bounds."""
    return min(max(triton.next_power_of_2(size), low), high)


class TritonParts(TorchParts):
    """Four fused kernels per node; what is rare (pooled edges, real weights) stays with torch."""

    name = "triton"
    dtype = torch.float16  # 0, 1 and integers up to 2048 are exact

    def __init__(self, *, tau: float, v_threshold: float) -> None:
        super().__init__(tau=tau, v_threshold=v_threshold)
        self._tables: dict[tuple[int, ...], Tensor] = {}

    def integrate(self, slots: Slots, terms: Terms, *, out: Tensor | None, v: Tensor | None) -> Tensor | None:
        _, candidates, pixels, channels = slots.values.shape
        spikes = None if v is None else torch.empty_like(v, dtype=self.dtype)
        size, unused = pixels * channels, slots.values
        _integrate[triton.cdiv(size, 1024), candidates](
            slots.values, terms.table, terms.weights, slots.scale, slots.gain, slots.shift,
            unused if out is None else out, unused if v is None else v, unused if v is None else spikes,
            1 / self.tau, self.v_threshold, size, channels, len(terms.slots), candidates,
            STORES=out is not None, FIRES=v is not None, BLOCK=1024, enable_fp_fusion=False,
        )  # fmt: skip
        return spikes

    def convolve(
        self, spikes: Tensor, group: Group, size: tuple[int, int], out: Tensor, slots: tuple[int, ...], *, count: bool
    ) -> Sums | None:
        candidates, pixels, channels = spikes.shape
        taps, _, columns = group.taps.shape
        totals = torch.zeros(2, candidates, columns, dtype=torch.int64, device=spikes.device)
        bm, bn, bk = 128, tile(columns), tile(channels, high=64)
        _convolve[triton.cdiv(columns, bn), triton.cdiv(pixels, bm), candidates](
            spikes, group.taps, out, self._table(slots, spikes.device), totals,
            pixels, *size, channels, columns, out.shape[-1], candidates,
            TAPS=taps, STATISTICS=count, BM=bm, BN=bn, BK=bk, num_warps=8 if bn == 128 else 4, num_stages=3,
        )  # fmt: skip
        return (*totals, group.scale) if count else None

    def _table(self, slots: tuple[int, ...], device: torch.device) -> Tensor:
        if slots not in self._tables:
            self._tables[slots] = torch.tensor(slots, dtype=torch.int32, device=device)
        return self._tables[slots]

    def sums(self, x: Tensor, group: Group | None) -> Sums:
        candidates, pixels, channels = x.shape
        grid = fitting_grid(x.abs().amax((1, 2)))  # [K]
        totals = torch.zeros(2, candidates, channels, dtype=torch.int64, device=x.device)
        bm, bc = 128, tile(channels, high=64)
        _add_columns[triton.cdiv(channels, bc), triton.cdiv(pixels, bm), candidates](
            x, 1 / grid, totals, pixels, channels, candidates, BM=bm, BC=bc, enable_fp_fusion=False
        )
        return *totals, grid[:, None]

    def shared(self, spikes: Tensor) -> Tensor:
        candidates, samples, size = spikes.shape
        if samples > LARGEST_GRAM:
            return super().shared(spikes.float())
        shared = torch.zeros(candidates, samples, samples, dtype=torch.int32, device=spikes.device)
        _share[triton.cdiv(size, 128 * PER_GRAM), candidates](
            spikes, shared, samples, size, B=tile(samples), BLOCK=128, TILES=PER_GRAM
        )
        return shared.to(torch.int64)

    def pool_pairs(self, slots: Slots, size: tuple[int, int], *, average: bool) -> Tensor:
        _, candidates, pixels, channels = slots.values.shape
        images, (height, width) = pixels // (size[0] * size[1]), size
        out = slots.values.new_empty(candidates, images * (height // 2) * (width // 2), channels)
        pooled = out[0].numel()
        _pool_pairs[triton.cdiv(pooled, 1024), candidates](
            slots.values, slots.scale, slots.gain, slots.shift, out, height, width, channels, pooled,
            AVERAGE=average, BLOCK=1024, enable_fp_fusion=False,
        )  # fmt: skip
        return out
