"""The operations of the device engine in torch: the same integers on any device; ``triton_parts`` fuses them for CUDA.

Values of K candidates lie side by side: [K, M, C] with M = B·H·W pixels and C channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..exact import exact_lif, fitting_grid, grid_steps, window_matrix_product
from .engine import ConvKey

Row = tuple[int, int, Sequence[float]]
INSIDE, EDGE, SIDE = 0, 1, 2  # what ends with a term: nothing, its edge, all forward or all backward edges


@dataclass(frozen=True)
class Terms:
    """What is summed into a node: x = Σ_sides Σ_edges Σ_terms value·weight, in this order, without reassociation."""

    slots: tuple[int, ...]
    ends: tuple[int, ...]
    table: Tensor  # int32 [2, n]: both of them, on the device
    weights: Tensor  # float32 [K, n]: 1/(number alive), 0 where a candidate has not got the op

    @classmethod
    def tables(cls, rows: Mapping[Hashable, Sequence[Row]], candidates: int, device: torch.device) -> dict:
        """From the rows (slot, end, weight of each candidate) of every node, with two copies to the device in all."""
        whole = [number for each in rows.values() for part in (0, 1) for number in (row[part] for row in each)]
        real = [each[n][2][k] for each in rows.values() for k in range(candidates) for n in range(len(each))]
        whole, real = torch.tensor(whole, dtype=torch.int32).to(device), torch.tensor(real).to(device)
        lengths = [len(each) for each in rows.values()]
        tables, weights = whole.split([2 * n for n in lengths]), real.split([candidates * n for n in lengths])
        return {
            key: cls(*zip(*[row[:2] for row in each], strict=True), table.view(2, -1), weight.view(candidates, -1))
            if each
            else cls((), (), table.view(2, 0), weight.view(candidates, 0))
            for (key, each), table, weight in zip(rows.items(), tables, weights, strict=True)
        }


@dataclass(frozen=True)
class Slots:
    """S values that somebody reads, and what makes numbers of them: value·scale, then ·gain + shift."""

    values: Tensor  # [S, K, M, C]: sums of convolutions, or nodes' values
    scale: Tensor  # [S]
    gain: Tensor  # [S, K, C]
    shift: Tensor  # [S, K, C]

    @classmethod
    def like(cls, values: Tensor) -> Slots:
        """Slots that are read as they are."""
        count, candidates, _, channels = values.shape
        gain = values.new_ones(count, candidates, channels)
        return cls(values, values.new_ones(count), gain, torch.zeros_like(gain))

    def one(self, slot: int, gain: Tensor, shift: Tensor) -> Slots:
        """One of them, with a normalisation [K, C] of its own."""
        return Slots(self.values[slot : slot + 1], self.scale[slot : slot + 1], gain[None], shift[None])

    def read(self, slot: int) -> Tensor:
        """The normalised value [K, M, C]."""
        return self.values[slot] * self.scale[slot] * self.gain[slot, :, None] + self.shift[slot, :, None]


@dataclass(frozen=True)
class Group:
    """Convolutions of one kernel size that read a node's spikes: one product, their channels side by side."""

    keys: tuple[ConvKey, ...]
    weight: Tensor  # [E·C', C, k, k]
    taps: Tensor  # the same as [k·k, C, E·C'], in the type of spikes
    norm: nn.BatchNorm2d  # of E·C' channels
    scale: float | None  # what an integer sum stands for, the same for equal sizes; None for real weights

    @classmethod
    def of(
        cls, keys: Sequence[ConvKey], convs: Sequence[nn.Conv2d], norms: Sequence[nn.Module], dtype: torch.dtype
    ) -> Group:
        weight = torch.cat([conv.weight.detach() for conv in convs])
        norm = nn.BatchNorm2d(len(weight), eps=norms[0].eps).to(weight.device)
        for name, tensor in norm.state_dict().items():
            if tensor.dim():
                tensor.copy_(torch.cat([each.state_dict()[name] for each in norms]))
        taps = weight.flatten(2).permute(2, 1, 0).contiguous().to(dtype)  # [k·k, C, E·C']
        return cls(tuple(keys), weight, taps, norm, getattr(convs[0], "scale", None))


Sums = tuple[Tensor, Tensor, Tensor | float]  # Σq, Σq² int64 [K, C] over the batch's pixels, and the grid of q


class TorchParts:
    """Torch operations; slower on a GPU than fused ones by the passes over memory that they take."""

    name = "torch"
    dtype = torch.float32  # of spikes and of the weights that meet them

    def __init__(self, *, tau: float, v_threshold: float) -> None:
        self.tau, self.v_threshold = tau, v_threshold

    def integrate(self, slots: Slots, terms: Terms, *, out: Tensor | None, v: Tensor | None) -> Tensor | None:
        """Sum a node's terms into ``out``; with membranes ``v``, which change in place, its spikes [K, M, C]."""
        value = torch.zeros_like(slots.values[0])
        side, edge = torch.zeros_like(value), torch.zeros_like(value)
        for slot, end, weights in zip(terms.slots, terms.ends, terms.weights.T, strict=True):
            weight = weights[:, None, None]  # [K, 1, 1]
            edge = edge + torch.where(weight != 0, slots.read(slot) * weight, 0.0)  # 0·∞ is not 0
            if end != INSIDE:
                side, edge = side + edge, torch.zeros_like(edge)
            if end == SIDE:
                value, side = value + side, torch.zeros_like(side)
        if out is not None:
            out.copy_(value)
        if v is None:
            return None
        spikes, charged = exact_lif(value, v, self.tau, self.v_threshold)
        v.copy_(charged)
        return spikes

    def convolve(
        self, spikes: Tensor, group: Group, size: tuple[int, int], out: Tensor, slots: tuple[int, ...], *, count: bool
    ) -> Sums | None:
        """Write each convolution's sums into its slot of ``out`` [S, K, M, C']; with ``count`` what BN needs is told."""
        candidates, pixels, channels = spikes.shape
        sums = window_matrix_product(spikes.reshape(-1, channels), group.weight, size).view(candidates, pixels, -1)
        for slot, part in zip(slots, sums.chunk(len(slots), dim=2), strict=True):
            out[slot] = part
        return self.sums(sums, group) if count else None

    def sums(self, x: Tensor, group: Group | None) -> Sums:
        """Exact statistics of values [K, M, C], integers where a lattice's convolution gave them."""
        if group is not None and group.scale is not None:
            q = x.to(torch.int64)
            return q.sum(1), (q * q).sum(1), group.scale
        planes = x.chunk(len(group.keys) if group else 1, dim=2)
        grid = torch.cat([fitting_grid(p.abs().amax((1, 2)))[:, None].expand(-1, p.shape[2]) for p in planes], 1)
        q, _ = grid_steps(x, grid[:, None])  # each plane of each candidate has a grid of its own
        return q.sum(1), (q * q).sum(1), grid

    def shared(self, spikes: Tensor) -> Tensor:
        """How many spikes each pair of samples has in common: int64 [K, B, B] of [K, B, N]."""
        return (spikes @ spikes.mT).to(torch.int64)

    def pool_pairs(self, slots: Slots, size: tuple[int, int], *, average: bool) -> Tensor:
        """The 2x2 pooling of one normalised slot: [K, M/4, C]."""
        value = slots.read(0)
        candidates, _, channels = value.shape
        image = value.view(-1, *size, channels).permute(0, 3, 1, 2)  # [K·B, C, H, W]
        pooled = (F.avg_pool2d if average else F.max_pool2d)(image, 2)
        return pooled.permute(0, 2, 3, 1).reshape(candidates, -1, channels)
