"""What the CPU engine works with: int8 convolutions by oneDNN, a cell's buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Op
from ..exact import WEIGHT_MAX, largest_sum
from . import cpu_loops
from .cpu_loops import Terms
from .engine import ConvKey, join_norms
from .plan import Term


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
    weight: Tensor = field(init=False)

    def __post_init__(self) -> None:
        weight = torch.cat([conv.weight.detach() for conv in self.convs])  # [K, C, k, k]
        self.channels, self.kernel = weight.shape[0], weight.shape[2]
        self.norm = join_norms(self.norms)
        self.grids = [norm.grid for norm in self.norms]
        self.weight = _packed_weight(weight) if self.int8 else weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, spikes: np.ndarray) -> np.ndarray:
        """Raw sums float32 [pixels, channels] of spikes uint8 [B, H, W, C]."""
        x = torch.from_numpy(spikes).permute(0, 3, 1, 2)  # [B, C, H, W], in memory still channels-last: no copy
        if self.int8:
            out = _int8_conv(x, self.weight, self.channels, self.kernel)
        else:
            with torch.backends.nnpack.flags(enabled=False):  # its transforms are not exact
                out = F.conv2d(x.float(), self.weight, padding=self.kernel // 2)
        return out.permute(0, 2, 3, 1).contiguous().view(-1, self.channels).numpy()  # [M, K]


def pack_columns(spikes: Tensor) -> Tensor:
    """``kernels.column_words`` of uint8 [B, N]: int64 [W, N], sample b in bit b of 64."""
    words = np.zeros((-(-len(spikes) // 64), spikes.shape[1]), np.uint64)
    cpu_loops.pack_columns(spikes.numpy(), words)
    return torch.from_numpy(words.view(np.int64))


PAD = 1040  # floats between planes: rows a power of two apart would share a few lines of the caches


class CellBuffers:
    """The arrays of one cell, kept between candidates; pages that are never touched cost nothing."""

    def __init__(self, num_nodes: int, batch: int, size: tuple[int, int], channels: int, dtype: type) -> None:
        self.shape, self.channels, self.num_nodes = (batch, *size, channels), channels, num_nodes
        self.image = size[0] * size[1] * channels  # floats per sample
        floats = batch * self.image + PAD
        self.planes = np.empty((num_nodes * (num_nodes + 1) + 1, floats), np.float32)  # values, pooled values, input
        self.conv = np.zeros((2 * num_nodes * num_nodes, floats), dtype)  # 0 · whatever is read must be 0
        self.v = np.empty((num_nodes + 1, floats), np.float32)
        self.spikes = np.empty(batch * self.image, np.uint8)
        self.coefficients: dict[ConvKey, tuple[int, float, np.ndarray, np.ndarray]] = {}  # slot, scale, a, b
        self.free: list[int] = []

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


class TermTable:
    """Collects what is summed into a node, in the form of ``cpu_loops.Terms``."""

    def __init__(self, buffers: CellBuffers, planes: Sequence[int] = ()) -> None:
        self.buffers, none = buffers, np.zeros(buffers.channels, np.float32)
        self.rows: list[tuple[float, np.ndarray, np.ndarray]] = [(0.0, none, none)]  # row 0: no convolution
        self.edges = [(0, plane, None, 0, 0) for plane in planes]
        self.weights = [(1.0, 0.0) for _ in planes]
        self.further: list[tuple[int, int, int]] = []

    def add(self, edge_terms: Sequence[Term], *, fed_back: bool) -> None:
        """Add the terms of an edge, in their order; of the first two, one plane and one convolution are a pair."""
        placed = [self._place(term) for term in edge_terms]
        paired = len(placed) > 1 and (placed[0][0] is None) != (placed[1][0] is None)
        plane, conv, row = placed[0]
        if paired:
            other = placed[1]
            plane = other[0] if plane is None else plane
            conv, row = other[1:] if conv is None else (conv, row)
        weight, rest = edge_terms[0].weight, placed[1 + paired :]
        self.edges.append((int(fed_back), plane, conv, row, len(rest)))
        self.weights.append((0.0 if plane is None else weight, 0.0 if conv is None else weight))
        self.further += [tuple(-1 if i is None else i for i in term) for term in rest]

    def _place(self, term: Term) -> tuple[int | None, int | None, int]:
        if not term.op.is_conv:
            return self.buffers.plane(term.edge.source, term.op), None, 0
        slot, *row = self.buffers.coefficients[term.edge, term.op]
        self.rows.append(row)
        return None, slot, len(self.rows) - 1

    def terms(self, repeat: int) -> Terms:
        """The table, its coefficients repeated for a tile of ``repeat`` pixels."""
        plane = next((edge[1] for edge in self.edges if edge[1] is not None), self.buffers.input_plane)
        conv = next((edge[2] for edge in self.edges if edge[2] is not None), 0)
        edges = [(s, plane if p is None else p, conv if c is None else c, *rest) for s, p, c, *rest in self.edges]
        return Terms(
            np.array(edges, np.int64).reshape(-1, 5),  # [edges, 5], also of none
            np.array(self.weights, np.float32).reshape(-1, 2),  # [edges, 2]
            np.array(self.further, np.int64).reshape(-1, 3),  # [terms, 3]
            np.array([row[0] for row in self.rows], np.float32),
            *(np.tile(np.array([row[i] for row in self.rows]), repeat) for i in (1, 2)),
        )


def sum_type(convs: list[nn.Conv2d]) -> type:
    """int16 where the largest sum that the convolutions' actual weights allow fits, else float32 (for none, too)."""
    return np.int16 if convs and largest_sum(convs) < 2**15 else np.float32
