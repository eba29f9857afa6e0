"""What samples' spike patterns tell: kernels (Hamming, SAHD), their log-determinant, the number of different columns.

SAHD is the sparsity-aware Hamming distance of LightSNN (arXiv 2503.21846) and SNASNet (arXiv 2201.10355). All come from
exact integer counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .checks import unknown

MAX_NEURONS = 2**24  # float32 counts are exact below
FLOOR = 1e-3  # added to the distance that chance expects, which is 0 between silent samples


def hamming(spikes: Tensor) -> Tensor:
    """Hamming distances between binary patterns [B, N]: int64 [B, B], from N − (c·cᵀ + (1−c)·(1−c)ᵀ).

    Raises ``ValueError`` for another shape, values other than 0 and 1, or N ≥ 2²⁴ (no longer exact).

    >>> hamming(torch.tensor([[1, 0, 1], [1, 1, 0]])).tolist()
    [[0, 2], [2, 0]]
    """
    return pattern_distances(_binary(spikes))


def _binary(spikes: Tensor) -> Tensor:
    """Patterns [B, N] as float32, once they are known to be such."""
    spikes = torch.as_tensor(spikes)
    binary = spikes.dim() == 2 and len(spikes) and 0 < spikes.shape[1] < MAX_NEURONS
    if not binary or not ((spikes == 0) | (spikes == 1)).all():
        raise ValueError(f"expected binary patterns [B, N] of 0 and 1 with 0 < N < 2**24, got {tuple(spikes.shape)}.")
    return spikes.float()


def pattern_distances(c: Tensor) -> Tensor:
    """``hamming`` without its checks, for float32 patterns [B, N]."""
    agree = c @ c.T + (1 - c) @ (1 - c).T  # the two products of the NASWOT kernel
    return c.shape[1] - agree.round().to(torch.int64)


def _sahd_kernel(distance: Tensor, counts: Tensor, num_neurons: Tensor) -> Tensor:
    """K [..., B, B] from Hamming distances [..., B, B], spike counts [..., B] and N [...]; float64."""
    n = num_neurons.double()[..., None, None]  # [..., 1, 1]
    rate = counts.double() / n[..., 0]  # [..., B]
    silent = 1 - rate
    chance = n * (rate[..., :, None] * silent[..., None, :] + silent[..., :, None] * rate[..., None, :])
    return n - 0.5 * distance.double() / (chance + FLOOR)


def sahd_kernel(spikes: Tensor) -> Tensor:
    """The SAHD kernel of binary patterns [B, N]: float64 [B, B] (LightSNN, eq. for K; SNASNet, section 4).

    K_ij = N − d_ij with d_ij = 0.5·hamming(c_i, c_j) / (N·[r_i(1−r_j) + (1−r_i)r_j] + 1e-3), r = firing rates.

    >>> sahd_kernel(torch.tensor([[1, 0], [0, 1]])).round(decimals=4).tolist()
    [[2.0, 1.001], [1.001, 2.0]]
    """
    spikes, distance = torch.as_tensor(spikes), hamming(spikes)
    return _sahd_kernel(distance, spikes.sum(1, dtype=torch.int64), torch.tensor(spikes.shape[1], device=spikes.device))


def distinct_columns(spikes: Tensor) -> int:
    """How many different patterns the N neurons show across the batch: |{(c_1n, …, c_Bn) : n = 1 … N}| of [B, N].

    SWAP's cardinality (Peng et al., ICLR 2024, arXiv 2403.04161) with spikes for the signs of ReLUs. The pattern of a
    neuron that no sample makes fire is one of them. From 1 to min(N, 2^B). Raises ``ValueError`` as ``hamming`` does.

    >>> distinct_columns(torch.tensor([[1, 0, 1, 0], [1, 1, 1, 0]]))  # columns 11, 01, 11, 00
    3
    """
    return int(count_distinct(column_words(_binary(spikes))))


def column_words(c: Tensor) -> Tensor:
    """The columns of binary patterns [B, N] as bits of int64 [W, N], 64 samples to a word: alike where columns are."""
    sample, words = torch.arange(len(c), device=c.device), []
    for start in range(0, len(c), 64):
        parts = sample[start : start + 64].split(16)  # 16 bits at a time: float32 adds their powers of two exactly
        bits = [(2.0 ** (part % 16)) @ c[part].float() for part in parts]  # [N] each
        words.append(sum(part.to(torch.int64) << 16 * i for i, part in enumerate(bits)))
    return torch.stack(words)


def count_distinct(words: Tensor) -> Tensor:
    """The number of different columns of int64 [W, N], on their device: sorted, and counted where they change."""
    for word in range(len(words)):
        words = words[:, words[word].argsort(stable=True)]  # the last word sorts last, the others break its ties
    return (words[:, 1:] != words[:, :-1]).any(0).sum() + 1


def from_shared(shared: Tensor) -> tuple[Tensor, Tensor]:
    """Spike counts [..., B] and Hamming distances [..., B, B], from how many spikes each pair of samples shares.

    A distance is the spikes of either sample, less those of both twice; a sample shares all its own with itself.

    >>> counts, distance = from_shared(torch.tensor([[2, 1], [1, 2]]))
    >>> counts.tolist(), distance.tolist()
    ([2, 2], [[0, 2], [2, 0]])
    """
    shared = shared.to(torch.int64)
    counts = shared.diagonal(dim1=-2, dim2=-1).clone(memory_format=torch.contiguous_format)
    return counts, counts[..., :, None] + counts[..., None, :] - 2 * shared


def log_of_pivots(pivots: Iterable[float], sign: float) -> float:
    """log|det| from what elimination leaves on the diagonal, and the determinant's sign; −inf unless it is positive."""
    return math.fsum(math.log(abs(pivot)) for pivot in pivots) if sign > 0 else -math.inf


def log_det(kernel: Tensor | np.ndarray) -> float:
    """log|det K| of a square matrix; −inf where the determinant is not positive or two rows are equal.

    Gaussian elimination in float64 with partial pivoting, elementwise in a fixed order: a LAPACK call may
    round differently with another number of threads. Equal rows stay equal to the bit, so that one becomes exactly 0.
    Raises ``ValueError`` for NaN or another shape.

    >>> round(log_det(np.array([[2.0, 1.0], [1.0, 2.0]])), 6), log_det(np.ones((3, 3)))
    (1.098612, -inf)
    """
    a = np.array(kernel.detach().cpu().numpy() if isinstance(kernel, Tensor) else kernel, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a) or not np.isfinite(a).all():
        raise ValueError(f"expected a square matrix of finite numbers, got shape {a.shape}: {a!r:.80}")
    sign, pivots = 1.0, []
    for k in range(len(a)):
        pivot = k + int(np.argmax(np.abs(a[k:, k])))
        if a[pivot, k] == 0:
            return -math.inf
        if pivot != k:
            a[[k, pivot]] = a[[pivot, k]]
            sign = -sign
        sign *= math.copysign(1.0, a[k, k])
        pivots.append(float(a[k, k]))
        factor = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k + 1 :] -= factor[:, None] * a[k, k + 1 :]  # outer product, what is below and right of the pivot
    return log_of_pivots(pivots, sign)


def log_dets(kernels: Tensor) -> list[float]:
    """``log_det`` of each of float64 [K, B, B], the same bits: the matrices side by side, step by step on their device.

    >>> kernels = torch.tensor([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> log_dets(kernels) == [log_det(kernel) for kernel in kernels]
    True
    """
    a = kernels.detach().to(torch.float64, copy=True)
    if a.dim() != 3 or a.shape[1] != a.shape[2] or not a.isfinite().all():
        raise ValueError(f"expected square matrices [K, B, B] of finite numbers, got shape {tuple(a.shape)}.")
    each, size = torch.arange(len(a), device=a.device), a.shape[1]
    rows, sign, pivots = torch.arange(size, device=a.device), torch.ones_like(a[:, 0, 0]), []
    for k in range(size):
        column = a[:, k:, k].abs()
        equal = column == column.amax(1, keepdim=True)
        largest = torch.where(equal, rows[k:], size - 1).amin(1)  # the first of equal ones
        moved = a[each, largest]
        a[each, largest] = a[:, k].clone()
        a[:, k] = moved
        pivots.append(moved[:, k])
        sign = torch.where(largest == k, sign, -sign) * moved[:, k].sign()  # 0 from a pivot of 0 on
        factor = a[:, k + 1 :, k] / moved[:, k, None]
        a[:, k + 1 :, k + 1 :] -= factor[:, :, None] * a[:, k, None, k + 1 :]
    return list(map(log_of_pivots, torch.stack(pivots, 1).tolist(), sign.tolist()))


@dataclass(frozen=True)
class SpikeStatistics:
    """Exact integer counts of one pass: what every spike-based score is made of.

    ``layers``: for each of L recorded layers the names of the LIF layers it stands for (more than one where the fast
    engine computes equal layers once); ``num_neurons`` [L]; ``counts`` [L, T, B] spikes per sample; ``hamming``
    [L, T, B, B]; ``patterns`` [L, T] different columns, None if they were not asked for; all int64.
    """

    layers: tuple[tuple[str, ...], ...]
    num_neurons: Tensor
    counts: Tensor
    hamming: Tensor
    patterns: Tensor | None = None

    @classmethod
    def stacked(cls, sizes: Sequence[int], steps: Mapping[tuple[str, ...], Sequence[tuple[Tensor, ...]]]) -> Self:
        """From the layers' neurons, and for each its steps: (counts [B], hamming [B, B]), perhaps with patterns []."""
        layers = [[torch.stack(part) for part in zip(*each, strict=True)] for each in steps.values()]  # [T, ...] each
        return cls(tuple(steps), torch.tensor(sizes), *(torch.stack(part) for part in zip(*layers, strict=True)))

    def by_layer(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Counts [T, B] and Hamming distances [T, B, B] of every LIF layer by its name."""
        rows = zip(self.layers, self.counts, self.hamming, strict=True)
        return {name: (counts, distance) for names, counts, distance in rows for name in names}

    def kernels(self, kind: str = "sahd") -> Tensor:
        """K of every recorded (layer, step), float64 [L, T, B, B]: 'sahd', or 'hd' = N − hamming."""
        if kind not in ("sahd", "hd"):
            raise unknown("kernel", kind, ("sahd", "hd"))
        layers = zip(self.num_neurons.to(self.counts.device), self.counts, self.hamming, strict=True)
        if kind == "sahd":
            return torch.stack([_sahd_kernel(d, counts, n.expand(len(counts))) for n, counts, d in layers])
        return torch.stack([(n - d).double() for n, _, d in layers])

    def kernel(self, kind: str = "sahd") -> Tensor:
        """K averaged over all counted (LIF, step), float64 [B, B], added one by one in the order of their names."""
        group = {
            name: kernels for names, kernels in zip(self.layers, self.kernels(kind), strict=True) for name in names
        }
        terms = [kernel for name in sorted(group) for kernel in group[name]]
        # a number of the device's: by one of the host's, CUDA multiplies with the reciprocal, which rounds otherwise
        return sum(terms[1:], start=terms[0]) / terms[0].new_full((), len(terms))

    @property
    def firing_rate(self) -> dict[str, Tensor]:
        """Spikes per neuron of every LIF layer at every step, float64 [T], mean over the samples."""
        sizes = {name: size for names, size in zip(self.layers, self.num_neurons, strict=True) for name in names}
        return {name: counts.double().mean(1) / sizes[name] for name, (counts, _) in self.by_layer().items()}

    def distinct_columns(self, layers: Iterable[str]) -> int:
        """Different columns, summed over the steps of these LIF layers; ``ValueError`` if they were not counted."""
        if self.patterns is None:
            raise ValueError("the patterns were not counted; ask for them: scorer.statistics(mask, patterns=True).")
        totals = zip(self.layers, self.patterns.sum(1).tolist(), strict=True)
        counts = {name: total for names, total in totals for name in names}
        return sum(counts[name] for name in layers)
