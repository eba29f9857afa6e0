"""The device engine's operations as Triton kernels: each value passes through memory once, spikes are bytes.

Exact: products of spikes and integer weights are summed in int32 by the int8 units, statistics in int64 by atomic
additions (integers, so in any order); rounding steps are separate multiplications and additions in the order of
``parts``: ``enable_fp_fusion=False`` keeps the compiler from fusing them. For integer weights only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor, nn

from ..exact import fitting_grid, largest_sum
from ..kernels import FLOOR, SpikeStatistics, log_of_pivots
from . import triton_kernels as run
from .parts import Group, Slots, Sums, Terms, TorchParts, onto

LARGEST = 128  # samples whose products fit into one program's registers
ELEMENTS = 1024  # of one program of elementwise work
# Bytes of a multiprocessor's own memory for tiles in flight; cards since Ampere have them. On an H100 tiles of 128 by
# 128, 4 warps and steps of 128 bytes were the fastest of eleven shapes: 0.7 · 10¹⁵ operations a second at C = 256.
SHARED = 96 * 1024


def tile(size: int, low: int, high: int) -> int:
    """The smallest power of two that holds ``size``, within bounds."""
    return min(max(triton.next_power_of_2(size), low), high)


class TritonParts(TorchParts):
    """One kernel for each step of a node; poolings on edges and counts of patterns stay with torch."""

    name = "triton"
    dtype = torch.int8

    def __init__(self, *, tau: float, v_threshold: float) -> None:
        super().__init__(tau=tau, v_threshold=v_threshold)
        self._tensors: dict[tuple, Tensor] = {}

    def _tensor(self, numbers: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A short list on the device, copied there once."""
        if (numbers, dtype) not in self._tensors:
            self._tensors[numbers, dtype] = onto(device, numbers, dtype)
        return self._tensors[numbers, dtype]

    def sum_type(self, convs: Sequence[nn.Conv2d]) -> torch.dtype:
        return torch.int16 if largest_sum(convs) < 2**15 else torch.float32

    def integrate(self, slots: Slots, terms: Terms, *, out: Tensor | None, v: Tensor | None) -> Tensor | None:
        convs, candidates, pixels, channels = slots.sums.shape
        spikes = None if v is None else torch.empty_like(v, dtype=self.dtype)
        size, unused = pixels * channels, slots.values
        run.integrate[triton.cdiv(size, ELEMENTS), candidates](
            slots.sums, slots.values, terms.table, terms.weights, slots.scale, slots.gain, slots.shift,
            unused if out is None else out, unused if v is None else v, unused if v is None else spikes,
            1 / self.tau, self.v_threshold, size, channels, len(terms.slots), convs, candidates,
            STORES=out is not None, FIRES=v is not None, BLOCK=ELEMENTS, enable_fp_fusion=False,
        )  # fmt: skip
        return spikes

    def convolve(
        self, spikes: Tensor, group: Group, size: tuple[int, int], out: Tensor, slots: tuple[int, ...], *, count: bool
    ) -> Sums | None:
        candidates, pixels, channels = spikes.shape
        columns, taps = len(group.rows), group.weight.shape[2] ** 2
        totals = torch.zeros(2, candidates, columns, dtype=torch.int64, device=spikes.device)
        bm, bn = 128, tile(columns, 16, 128)
        flat = channels % 32 != 0
        bk = 64 if flat else math.gcd(channels, 128)
        run.convolve[triton.cdiv(columns, bn), triton.cdiv(pixels, bm), candidates](
            spikes, group.rows, out, self._tensor(slots, torch.int32, spikes.device), totals,
            pixels, *size, channels, columns, out.shape[-1], candidates,
            TAPS=taps, FLAT=flat, COUNT=count, BM=bm, BN=bn, BK=bk,
            num_warps=4, num_stages=min(4, max(1, SHARED // (bk * (bm + bn)))),
        )  # fmt: skip
        return (*totals, group.scale) if count else None

    def add_columns(self, x: Tensor, group: Group | None) -> Sums:
        candidates, pixels, channels = x.shape
        grid = fitting_grid(torch.maximum(x.amax((1, 2)), -x.amin((1, 2))))  # [K]
        totals = torch.zeros(2, candidates, channels, dtype=torch.int64, device=x.device)
        bm, bc = 128, tile(channels, 16, 64)
        run.add_columns[triton.cdiv(channels, bc), triton.cdiv(pixels, bm), candidates](
            x, 1 / grid, totals, pixels, channels, candidates, BM=bm, BC=bc, enable_fp_fusion=False
        )
        return *totals, grid

    def settle(self, slots: Slots, where: tuple[int, ...], norm: nn.BatchNorm2d, sums: Sums, count: int) -> None:
        total, squares, grid = sums
        candidates, columns = total.shape
        own = isinstance(grid, Tensor)  # every candidate has its own, else all have one
        eps = self._tensor((norm.eps,), torch.float64, total.device)
        grid = grid if own else self._tensor((grid,), torch.float64, total.device)
        run.settle[triton.cdiv(columns, 256), candidates](
            total, squares, norm.weight, norm.bias, grid, eps, self._tensor(where, torch.int32, total.device),
            slots.gain, slots.shift, count, columns, slots.gain.shape[2], candidates,
            OWN=own, BLOCK=256, enable_fp_fusion=False,
        )  # fmt: skip

    def share(self, spikes: Tensor, out: Tensor) -> None:
        candidates, samples, size = spikes.shape
        if samples > LARGEST:
            return super().share(spikes.float(), out)
        run.share[triton.cdiv(size, 2048), candidates](
            spikes, out, samples, size, B=tile(samples, 16, LARGEST), BLOCK=128, TILES=16
        )

    def pool_pairs(self, slots: Slots, size: tuple[int, int], *, average: bool) -> Tensor:
        _, candidates, pixels, channels = slots.sums.shape
        height, width = size
        images = pixels // (height * width)
        out = slots.gain.new_empty(candidates, images * (height // 2) * (width // 2), channels)
        pooled = out[0].numel()
        run.pool_pairs[triton.cdiv(pooled, ELEMENTS), candidates](
            slots.sums, slots.scale, slots.gain, slots.shift, out, height, width, images, channels, pooled,
            AVERAGE=average, BLOCK=ELEMENTS, enable_fp_fusion=False,
        )  # fmt: skip
        return out

    def mean_kernels(self, found: SpikeStatistics, order: Sequence[int], alive: Tensor, kind: str) -> Tensor:
        device, candidates, samples = alive.device, alive.shape[1], found.counts.shape[2]
        out = torch.empty(candidates, samples, samples, dtype=torch.float64, device=device)
        run.mean_kernels[triton.cdiv(samples * samples, 128), candidates](
            found.counts, found.hamming, self._tensor(tuple(found.num_neurons.tolist()), torch.int64, device),
            self._tensor(tuple(order), torch.int32, device),
            alive.to(torch.int32), self._tensor((FLOOR,), torch.float64, device), out,
            len(order), found.counts.shape[1] // candidates, candidates, samples,
            SPARSITY=kind == "sahd", BLOCK=128, enable_fp_fusion=False,
        )  # fmt: skip
        return out

    def log_dets(self, kernels: Tensor) -> list[float]:
        count, samples, _ = kernels.shape
        if samples > LARGEST // 2 or not kernels.isfinite().all():  # 64 x 64 numbers are what registers hold
            return super().log_dets(kernels)
        pivots = torch.empty(count, samples + 1, dtype=torch.float64, device=kernels.device)
        run.eliminate[count,](
            kernels, pivots, samples, B=tile(samples, 2, LARGEST), enable_fp_fusion=False, num_warps=8
        )
        return [log_of_pivots(each, sign) for *each, sign in pivots.tolist()]
