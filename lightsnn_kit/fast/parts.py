"""The operations of the device engine in torch: the same integers on any device; ``triton_parts`` fuses them for CUDA.

Values of K candidates lie side by side: [K, M, C] with M = B·H·W pixels and C channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..exact import exact_lif, fitting_grid, grid_affine, grid_steps, window_matrix_product
from ..kernels import SpikeStatistics, log_dets
from .engine import ConvKey, join_norms
from .plan import INSIDE, SIDE

Row = tuple[int, int, Sequence[float]]


def onto(device: torch.device, numbers: object, dtype: torch.dtype) -> Tensor:
    """Numbers of the host as a tensor on the device, which the host does not wait for."""
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


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
        whole, real = onto(device, whole, torch.int32), onto(device, real, torch.float32)
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
    """What somebody reads: sums of convolutions, with what makes numbers of them, then nodes' values, read as they are.

    A convolution's value is sum·scale, then ·gain + shift.
    """

    sums: Tensor  # [S, K, M, C], the first S slots; int16 where the largest sum allows, else float32
    values: Tensor  # float32 [V, K, M, C], the slots after them
    scale: Tensor  # [S]
    gain: Tensor  # [S, K, C]
    shift: Tensor  # [S, K, C]

    @classmethod
    def of(cls, sums: Tensor, values: Tensor, scales: Sequence[float]) -> Slots:
        """Slots that are not yet normalised."""
        count, candidates, _, channels = sums.shape
        gain, shift = (torch.empty(count, candidates, channels, device=sums.device) for _ in range(2))
        alike = len(set(scales)) == 1  # then nothing need be copied
        scale = gain.new_full((count,), scales[0]) if alike else onto(sums.device, scales, torch.float32)
        return cls(sums, values, scale, gain, shift)

    def read(self, slot: int) -> Tensor:
        """The value [K, M, C] of a slot."""
        if slot >= len(self.sums):
            return self.values[slot - len(self.sums)]
        return self.sums[slot].float() * self.scale[slot] * self.gain[slot, :, None] + self.shift[slot, :, None]


@dataclass(frozen=True)
class Group:
    """Convolutions of one kernel size that read a node's spikes: one product, their channels side by side."""

    keys: tuple[ConvKey, ...]
    weight: Tensor  # [E·C', C, k, k]
    rows: Tensor  # the same as [E·C', k·k·C], in the type of spikes
    norm: nn.BatchNorm2d  # of E·C' channels
    scale: float | None  # what an integer sum stands for, the same for equal sizes; None for real weights

    @classmethod
    def of(
        cls, keys: Sequence[ConvKey], convs: Sequence[nn.Conv2d], norms: Sequence[nn.Module], dtype: torch.dtype
    ) -> Group:
        weight = torch.cat([conv.weight.detach() for conv in convs])
        rows = weight.permute(0, 2, 3, 1).flatten(1).contiguous().to(dtype)  # [E·C', k·k·C]
        return cls(tuple(keys), weight, rows, join_norms(norms), getattr(convs[0], "scale", None))


Sums = tuple[Tensor, Tensor, Tensor | float]  # Σq, Σq² int64 [K, C] over the batch's pixels, and the grid of q


class TorchParts:
    """Torch operations; slower on a GPU than fused ones by the passes over memory that they take."""

    name = "torch"
    dtype = torch.float32  # of spikes, and of the weights that meet them

    def __init__(self, *, tau: float, v_threshold: float) -> None:
        self.tau, self.v_threshold = tau, v_threshold

    def sum_type(self, convs: Sequence[nn.Conv2d]) -> torch.dtype:
        """In which type sums of these convolutions are kept."""
        return torch.float32

    def integrate(self, slots: Slots, terms: Terms, *, out: Tensor | None, v: Tensor | None) -> Tensor | None:
        """Sum a node's terms into ``out``; with membranes ``v``, which change in place, its spikes [K, M, C]."""
        value = torch.zeros(slots.sums.shape[1:], device=slots.sums.device)
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
        """Write each convolution's sums into its slot of ``out`` [S, K, M, C']; with ``count`` also what BN needs."""
        candidates, pixels, channels = spikes.shape
        sums = window_matrix_product(spikes.reshape(-1, channels), group.weight, size).view(candidates, pixels, -1)
        for slot, part in zip(slots, sums.chunk(len(slots), dim=2), strict=True):
            out[slot] = part
        return self.add_columns(sums, group) if count else None

    def add_columns(self, x: Tensor, group: Group | None) -> Sums:
        """Exact statistics of values [K, M, C], integers where a lattice's convolution gave them."""
        if group is not None and group.scale is not None:
            q = x.to(torch.int64)
            return q.sum(1), (q * q).sum(1), group.scale
        planes = x.chunk(len(group.keys) if group else 1, dim=2)
        grid = torch.cat([fitting_grid(p.abs().amax((1, 2)))[:, None].expand(-1, p.shape[2]) for p in planes], 1)
        q, _ = grid_steps(x, grid[:, None])  # each plane of each candidate has a grid of its own
        return q.sum(1), (q * q).sum(1), grid

    def settle(self, slots: Slots, where: tuple[int, ...], norm: nn.BatchNorm2d, sums: Sums, count: int) -> None:
        """Write the factors of a normalisation over ``count`` values per channel for the slots of its channels."""
        total, squares, grid = sums
        gain, shift = grid_affine(norm, total, squares, count, grid)
        for slot, *factors in zip(where, gain.chunk(len(where), 1), shift.chunk(len(where), 1), strict=True):
            slots.gain[slot], slots.shift[slot] = factors

    def share(self, spikes: Tensor, out: Tensor) -> None:
        """How many spikes each pair of samples has in common: int32 [K, B, B] of [K, B, N]; ``out`` comes as zeros."""
        out.copy_(spikes @ spikes.mT)

    def pool_pairs(self, slots: Slots, size: tuple[int, int], *, average: bool) -> Tensor:
        """The 2x2 pooling of the first slot: [K, M/4, C]."""
        value = slots.read(0)
        candidates, _, channels = value.shape
        image = value.view(-1, *size, channels).permute(0, 3, 1, 2)  # [K·B, C, H, W]
        pooled = (F.avg_pool2d if average else F.max_pool2d)(image, 2)
        return pooled.permute(0, 2, 3, 1).reshape(candidates, -1, channels)

    def mean_kernels(self, found: SpikeStatistics, order: Sequence[int], alive: Tensor, kind: str) -> Tensor:
        """K [K, B, B] averaged over the layers ``order``, one by one, of those candidates that are ``alive`` [n, K].

        ``found`` holds all candidates side by side, [L, K·T, ...].
        """
        kernels = found.kernels(kind).unflatten(1, (alive.shape[1], -1))  # [L, K, T, B, B]
        total = torch.zeros_like(kernels[0, :, 0])
        for layer, has in zip(order, alive, strict=True):
            terms = torch.where(has[:, None, None, None], kernels[layer], 0.0)  # [K, T, B, B]
            for term in terms.unbind(1):
                total = total + term
        return total / (alive.sum(0) * kernels.shape[2]).double()[:, None, None]

    def log_dets(self, kernels: Tensor) -> list[float]:
        """log|det K| of each of [K, B, B]."""
        return log_dets(kernels)
