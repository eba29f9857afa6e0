"""What the CPU engine works with: its convolutions, a cell's buffers, samples shared among threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Op
from ..exact import VALUE_BITS, WEIGHT_MAX, largest_sum
from . import cpu_loops
from .amx import TileConvs, amx_works
from .cpu_loops import LANES, Terms
from .engine import ConvKey, join_norms
from .plan import SIDE, Term
from .threads import run_all


@cache
def _unit_scales(channels: int) -> tuple[Tensor, Tensor]:
    return torch.ones(channels), torch.zeros(channels, dtype=torch.int32)


def _packed_weight(weight: Tensor) -> Tensor:
    scales = torch.ones(len(weight))
    padding = [weight.shape[2] // 2] * 2
    return torch.ops.onednn.qconv_prepack(weight.to(torch.int8), scales, 1.0, 0, [1, 1], padding, [1, 1], 1, None)


def _int8_conv(spikes: Tensor, packed: Tensor, channels: int, kernel: int) -> Tensor:
    one, zero = _unit_scales(channels)
    padding = [kernel // 2] * 2
    return torch.ops.onednn.qconv2d_pointwise(
        spikes, 1.0, 0, packed, one, zero, None, [1, 1], padding, [1, 1], 1, 1.0, 0, torch.float32, "none", [], ""
    )


@cache
def int8_works() -> bool:
    """True if oneDNN's int8 convolution is there and gives float64's integers on a small case with full weights."""
    generator = torch.Generator().manual_seed(0)
    spikes = torch.randint(0, 2, (2, 64, 5, 6), generator=generator, dtype=torch.uint8)
    spikes = spikes.contiguous(memory_format=torch.channels_last)
    counts, full = torch.full((32, 64), 64, dtype=torch.int8), torch.full((64, 32), WEIGHT_MAX, dtype=torch.int8)
    try:  # the hidden layer's product of pooled counts: some processors add pairs of products in 16 bits
        if not (torch._int_mm(counts, full) == 64 * 64 * WEIGHT_MAX).all():
            return False
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    for kernel in (1, 3):
        weight = torch.randint(-WEIGHT_MAX, WEIGHT_MAX + 1, (48, 64, kernel, kernel), generator=generator)
        weight[0], weight[1] = WEIGHT_MAX, -WEIGHT_MAX
        expected = F.conv2d(spikes.double(), weight.double(), padding=kernel // 2)
        try:
            got = _int8_conv(spikes, _packed_weight(weight), 48, kernel)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        if not torch.equal(got.double(), expected):
            return False
    return True


@dataclass
class Group:
    """Convolutions of one kernel size that read the same spikes: one call, their channels side by side."""

    keys: tuple[ConvKey, ...]
    convs: list[nn.Conv2d]
    norms: list[nn.Module]
    int8: bool
    tiles: TileConvs | None = field(init=False)
    weight: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        weight = torch.cat([conv.weight.detach() for conv in self.convs])  # [K, C, k, k]
        self.channels, self.kernel = weight.shape[0], weight.shape[2]
        self.norm = join_norms(self.norms)
        self.grids = [norm.grid for norm in self.norms]
        self.tiles = self.weight = None
        if self.int8 and uses_tiles(conv.out_channels for conv in self.convs):
            self.tiles = TileConvs([conv.weight.detach() for conv in self.convs])
        else:
            self.weight = _packed_weight(weight) if self.int8 else weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, spikes: np.ndarray) -> np.ndarray:
        """Raw sums float32 [pixels, channels] of spikes uint8 [B, H, W, C]."""
        if self.tiles is not None:
            return self.tiles.sums(spikes).transpose(1, 0, 2).reshape(-1, self.channels)
        x = torch.from_numpy(spikes).permute(0, 3, 1, 2)  # [B, C, H, W], in memory still channels-last: no copy
        if self.int8:
            out = _int8_conv(x, self.weight, self.channels, self.kernel)
        else:
            with torch.backends.nnpack.flags(enabled=False):  # its transforms are not exact
                out = F.conv2d(x.float(), self.weight, padding=self.kernel // 2)
        return out.permute(0, 2, 3, 1).contiguous().view(-1, self.channels).numpy()  # [M, K]


class HiddenLayer:
    """The sums [B, hidden] of the hidden linear layer, of pooled spikes int8 [B, H, W, C]."""

    def __init__(self, linear: nn.Linear, size: tuple[int, int], *, lattice: bool, int8: bool) -> None:
        weight = linear.weight.detach().unflatten(1, (-1, *size))  # [hidden, C, H, W]
        weight = weight.permute(0, 2, 3, 1).flatten(1)  # [hidden, F], as planes have it
        self.tiles = TileConvs([weight[..., None, None]]) if int8 and uses_tiles([len(weight)]) else None
        self.weight = None if self.tiles else weight.T.contiguous().to(torch.int8 if lattice else torch.float32)
        self.product = torch._int_mm if int8 else lambda x, y: x.float() @ y.float()

    def __call__(self, features: np.ndarray, area: int) -> Tensor:
        """The sums, divided by the ``area`` that was pooled over, a power of two."""
        if self.tiles is None:
            return self.product(torch.from_numpy(features).flatten(1), self.weight).float() / area
        [sums] = self.tiles.sums(features.reshape(len(features), 1, 1, -1).view(np.uint8))  # as of 1x1 images
        return torch.from_numpy(sums) / area


def packed_rows(samples: int, num_neurons: int) -> np.ndarray:
    """Room for the spikes of samples as bits, 64 neurons to a word: uint8 [B, bytes], zeros."""
    return np.zeros((samples, -(-num_neurons // 64) * 8), np.uint8)


def pack_rows(spikes: np.ndarray, packed: np.ndarray) -> None:
    """Write spikes uint8 [B, ...] as bits."""
    bits = np.packbits(spikes.reshape(len(spikes), -1), axis=1)  # [B, N / 8]
    packed[:, : bits.shape[1]] = bits


def pack_columns(spikes: Tensor) -> Tensor:
    """``kernels.column_words`` of uint8 [B, N]: int64 [W, N], sample b in bit b of 64."""
    words = np.zeros((-(-len(spikes) // 64), spikes.shape[1]), np.uint64)
    cpu_loops.pack_columns(spikes.numpy(), words)
    return torch.from_numpy(words.view(np.int64))


Coefficients = Sequence  # scale, gains [C], shifts [C] of a convolution's sums

PAD = 1040  # floats between planes: rows a power of two apart would share a few lines of the caches


class CellBuffers:
    """The arrays of one cell, kept between candidates; pages that are never touched cost nothing."""

    def __init__(self, num_nodes: int, shape: tuple[int, int, int], channels: int, dtype: type) -> None:
        self.shape, self.channels, self.num_nodes = (*shape, channels), channels, num_nodes
        self.image = shape[1] * shape[2] * channels  # floats per sample
        self.floats = shape[0] * self.image
        row = self.floats + PAD  # also what a last vector reads and writes too much
        self.planes = np.empty((num_nodes * (num_nodes + 1) + 1, row), np.float32)  # values, pooled values, input
        self.conv = np.empty((2 * num_nodes * num_nodes, row), dtype)
        self.v = np.empty((num_nodes + 1, row), np.float32)
        self.spikes = np.empty(row, np.uint8)
        self.coefficients: dict[ConvKey, tuple[int, float, np.ndarray, np.ndarray]] = {}  # slot, scale, a, b
        self.free: list[int] = []
        self.of_workers: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def memory(self, worker: int, convs: TileConvs) -> tuple[np.ndarray, np.ndarray]:
        """What a worker's convolutions by tiles work in."""
        key = worker, convs.kernel
        if key not in self.of_workers:
            self.of_workers[key] = convs.memory(self.shape)
        return self.of_workers[key]

    @property
    def input_plane(self) -> int:
        return len(self.planes) - 1

    def plane(self, node: int, op: Op) -> int:
        """Index of a node's value (skip) or of one of its poolings."""
        kinds = (Op.SKIP, Op.AVGPOOL3X3, Op.MAXPOOL3X3)
        return node + self.num_nodes * kinds.index(op)

    def images(self, array: np.ndarray, lo: int, hi: int) -> np.ndarray:
        """Samples [lo, hi) of a plane, a v or a spike buffer as [B, H, W, C]."""
        return array[lo * self.image : hi * self.image].reshape(hi - lo, *self.shape[1:])  # [B, H, W, C]

    def terms(self, summed: Sequence[tuple[Term, int]], *, drive: bool) -> Terms:
        """The table of a plan's terms; with ``drive`` the cell's input stands before them."""
        rows: list[tuple[tuple, float, Coefficients]] = [self._plane_row(self.input_plane, SIDE, 1.0)] if drive else []
        for term, end in summed:
            if term.op.is_conv:
                slot, *coefficients = self.coefficients[term.edge, term.op]
                rows.append(((1, slot, end), term.weight, coefficients))
            else:
                rows.append(self._plane_row(self.plane(term.edge.source, term.op), end, term.weight))
        return make_terms(rows, self.channels)

    def _plane_row(self, plane: int, end: int, weight: float) -> tuple[tuple, float, Coefficients]:
        none = np.zeros(self.channels, np.float32)
        return (0, plane, end), weight, (0.0, none, none)


def make_terms(rows: Sequence[tuple[tuple, float, Coefficients]], channels: int) -> Terms:
    """The table of rows (place, weight, coefficients), with as many copies of the latter as fill whole vectors."""
    together = math.lcm(channels, LANES)
    factors = np.array([row[2][1:] for row in rows], np.float32).reshape(len(rows), 2, channels)  # also of none
    factors = np.concatenate([factors] * (together // channels), axis=2)
    factors = factors.reshape(len(rows), 2, together // LANES, LANES).transpose(2, 0, 1, 3)
    return Terms(
        np.array([row[0] for row in rows], np.int64).reshape(-1, 3),  # [terms, 3], also of none
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2][0] for row in rows], np.float32),
        np.ascontiguousarray(factors),
    )


class Shares:
    """The samples of a batch, cut for at most ``workers`` threads at multiples of ``together``."""

    def __init__(self, batch_size: int, together: int, workers: int) -> None:
        pieces = -(-batch_size // together)
        self.workers = max(1, min(workers, pieces))
        ends = np.linspace(0, pieces, self.workers + 1).astype(int) * together
        self.bounds = [min(int(end), batch_size) for end in ends]

    def each(self, work: Callable[[int, int, int], object]) -> None:
        """Call ``work(worker, lo, hi)`` once per worker, on its share."""
        if self.workers == 1:
            work(0, *self.bounds)
        else:
            run_all(lambda worker: work(worker, *self.bounds[worker : worker + 2]), range(self.workers), self.workers)

    def totals(self, sizes: list[int]) -> list[list[np.ndarray]]:
        """Zeros [2, size] for every worker and size, to add up sums and squares."""
        return [[np.zeros((2, size), np.int64) for size in sizes] for _ in range(self.workers)]


def plane_sums(values: np.ndarray, channels: int, shares: Shares) -> tuple[np.ndarray, float]:
    """Sums of ``exact.grid_steps`` and of their squares, int64 [2, C], for a plane of real values, and the grid.

    Two passes: the largest magnitude of the whole batch sets the grid, then integers are summed, in any order.
    """
    image = len(values) // shares.bounds[-1]
    largest, totals = [np.uint32(0)] * shares.workers, shares.totals([channels])

    def find(worker: int, lo: int, hi: int) -> None:
        largest[worker] = cpu_loops.largest(values[lo * image : hi * image].view(np.uint32))

    def add(worker: int, lo: int, hi: int) -> None:
        cpu_loops.sum_plane(values[lo * image : hi * image], channels, np.float32(1 / grid), totals[worker][0])

    shares.each(find)
    magnitude = np.uint32(max(largest)).view(np.float32)
    grid = 2.0 ** (max(math.frexp(magnitude)[1], -100) - VALUE_BITS)
    shares.each(add)
    return sum(t[0] for t in totals), grid


def uses_tiles(channels: Iterable[int]) -> bool:
    """True where integer products with so many channels out go through the processor's tile registers."""
    return all(count % 16 == 0 for count in channels) and amx_works()


def sum_type(convs: list[nn.Conv2d], *, int8: bool, short: bool) -> type:
    """int16 where the largest sum that the convolutions' actual weights allow fits, else float32 (for none, too).

    With ``short`` also where sums are looked at one by one, and one that does not fit is told.
    """
    fits = largest_sum(convs) < 2**15 or (short and int8 and uses_tiles(conv.out_channels for conv in convs))
    return np.int16 if convs and fits else np.float32
