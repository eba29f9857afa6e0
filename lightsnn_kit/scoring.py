"""Training-free scores: record spikes, compare the samples' patterns, take a log-determinant.

The score is the sparsity-aware Hamming distance (SAHD) of LightSNN (arXiv 2503.21846) and SNASNet
(arXiv 2201.10355). This is the plain scorer: one pass of the supernet, hooks on its LIF layers, exact counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from .cells import Op
from .networks import SpikingNetwork
from .spaces import OpMask

MAX_NEURONS = 2**24  # float32 counts are exact below


@contextmanager
def record_spikes(network: nn.Module, *, on_spikes: Callable[[str, Tensor], None] | None = None) -> Iterator[dict]:
    """Record the spikes of every LIF layer that runs inside the ``with`` block; no hook survives it.

    Yields a dict that holds, after the block, ``layer name -> uint8 [T, N, ...]``. With ``on_spikes(name,
    spikes)`` each step's spikes are handed over instead of kept.

    >>> from .networks import NetworkConfig, build_network
    >>> network = build_network("03 00", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8))
    >>> with record_spikes(network) as spikes:
    ...     _ = network(torch.rand(3, 1, 8, 8))
    >>> {name: tuple(s.shape) for name, s in spikes.items()}["cell1.lif.0"]
    (5, 3, 4, 8, 8)
    """
    record: dict = {}

    def keep(name: str, spikes: Tensor) -> None:
        record.setdefault(name, []).append(spikes.detach().to(torch.uint8))

    def hook_for(name: str) -> Callable:
        return lambda module, args, spikes: (on_spikes or keep)(name, spikes)

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, BaseNode)]
    handles = [module.register_forward_hook(hook_for(name)) for name, module in layers]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()
        record.update({name: torch.stack(steps) for name, steps in record.items()})


def hamming(spikes: Tensor) -> Tensor:
    """Hamming distances between binary patterns [B, N]: int64 [B, B], from N − (c·cᵀ + (1−c)·(1−c)ᵀ).

    Raises ``ValueError`` for another shape, values other than 0 and 1, or N ≥ 2²⁴ (no longer exact).

    >>> hamming(torch.tensor([[1, 0, 1], [1, 1, 0]])).tolist()
    [[0, 2], [2, 0]]
    """
    if spikes.dim() != 2 or not 0 < spikes.shape[1] < MAX_NEURONS or not ((spikes == 0) | (spikes == 1)).all():
        raise ValueError(f"expected binary patterns [B, N] of 0 and 1 with 0 < N < 2**24, got {tuple(spikes.shape)}.")
    return _hamming(spikes.float())


def _hamming(c: Tensor) -> Tensor:
    agree = c @ c.T + (1 - c) @ (1 - c).T  # the two products of the NASWOT kernel
    return c.shape[1] - agree.round().to(torch.int64)


def _sahd_kernel(distance: Tensor, counts: Tensor, num_neurons: Tensor) -> Tensor:
    """K [..., B, B] from Hamming distances [..., B, B], spike counts [..., B] and N [...]; float64."""
    n = num_neurons.double()[..., None, None]
    rate = counts.double() / n[..., 0]
    silent = 1 - rate
    chance = n * (rate[..., :, None] * silent[..., None, :] + silent[..., :, None] * rate[..., None, :])
    return n - 0.5 * distance.double() / (chance + 1e-3)


def sahd_kernel(spikes: Tensor) -> Tensor:
    """The SAHD kernel of binary patterns [B, N]: float64 [B, B] (LightSNN, eq. for K; SNASNet, section 4).

    K_ij = N − d_ij with d_ij = 0.5·hamming(c_i, c_j) / (N·[r_i(1−r_j) + (1−r_i)r_j] + 1e-3), r = firing rates.

    >>> sahd_kernel(torch.tensor([[1, 0], [0, 1]])).round(decimals=4).tolist()
    [[2.0, 1.001], [1.001, 2.0]]
    """
    distance = hamming(spikes)
    return _sahd_kernel(distance, spikes.sum(1, dtype=torch.int64), torch.tensor(spikes.shape[1]))


def log_det(kernel: Tensor | np.ndarray) -> float:
    """log|det K| of a square matrix; −inf where the determinant is not positive or two rows are equal.

    Gaussian elimination in float64 with partial pivoting, elementwise in a fixed order: a LAPACK call may
    round differently with another number of threads. Raises ``ValueError`` for NaN or another shape.

    >>> round(log_det(np.array([[2.0, 1.0], [1.0, 2.0]])), 6), log_det(np.ones((3, 3)))
    (1.098612, -inf)
    """
    a = np.array(kernel.detach().cpu().numpy() if isinstance(kernel, Tensor) else kernel, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a) or not np.isfinite(a).all():
        raise ValueError(f"expected a square matrix of finite numbers, got shape {a.shape}: {a!r:.80}")
    if len(np.unique(a, axis=0)) < len(a):
        return -math.inf
    sign, logs = 1.0, []
    for k in range(len(a)):
        pivot = k + int(np.argmax(np.abs(a[k:, k])))
        if a[pivot, k] == 0:
            return -math.inf
        if pivot != k:
            a[[k, pivot]] = a[[pivot, k]]
            sign = -sign
        sign *= math.copysign(1.0, a[k, k])
        logs.append(math.log(abs(a[k, k])))
        factor = a[k + 1 :, k] / a[k, k]
        a[k + 1 :, k + 1 :] -= factor[:, None] * a[k, k + 1 :]
    return math.fsum(logs) if sign > 0 else -math.inf


@dataclass(frozen=True)
class SpikeStatistics:
    """Exact integer counts of one pass: what every spike-based score is made of.

    ``layers``: L names; ``num_neurons`` [L]; ``counts`` [L, T, B] spikes per sample; ``hamming`` [L, T, B, B];
    all int64 on the CPU.
    """

    layers: tuple[str, ...]
    num_neurons: Tensor
    counts: Tensor
    hamming: Tensor

    def kernels(self, kind: str = "sahd") -> Tensor:
        """K of every (LIF, step), float64 [L, T, B, B]: 'sahd', or 'hd' = N − hamming."""
        if kind not in ("sahd", "hd"):
            raise ValueError(f"unknown kernel {kind!r}; expected 'sahd' or 'hd'.")
        neurons = self.num_neurons[:, None].expand(self.counts.shape[:2])
        if kind == "sahd":
            return _sahd_kernel(self.hamming, self.counts, neurons)
        return (neurons[..., None, None] - self.hamming).double()

    def kernel(self, kind: str = "sahd") -> Tensor:
        """K averaged over all counted (LIF, step), float64 [B, B]."""
        return self.kernels(kind).mean(dim=(0, 1))

    @property
    def firing_rate(self) -> Tensor:
        """Spikes per neuron and step, float64 [L, T], mean over the samples."""
        return self.counts.double().mean(2) / self.num_neurons[:, None]


@contextmanager
def scoring_mode(network: nn.Module, bn: str) -> Iterator[None]:
    """Dropout off, every BN on ``'batch'`` or ``'running'`` statistics; modes and running statistics stay as they were."""
    if bn not in ("batch", "running"):
        raise ValueError(f"bn must be 'batch' or 'running', got {bn!r}.")
    modes = [(module, module.training) for module in network.modules()]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = bn == "batch", bn == "running"  # batch mode updates nothing
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for module, mode in modes:
            module.training = mode


def _check_batch(supernet: SpikingNetwork, mask: OpMask, batch: Tensor) -> None:
    if mask.space != supernet.design:
        raise ValueError(
            f"the mask belongs to {mask.space}, the supernet to {supernet.design}; build one for the other."
        )
    if not torch.isfinite(batch).all():
        raise ValueError("the scoring batch holds NaN or infinite values; clean the data first.")


@torch.no_grad()
def spike_statistics(
    supernet: SpikingNetwork,
    mask: OpMask,
    batch: Tensor,
    *,
    bn: str = "batch",
    feedback: bool = True,
    reset: bool = True,
) -> SpikeStatistics:
    """Run the supernet once on a batch and count spikes and Hamming distances of every LIF and step.

    ``bn='running'``, ``feedback=False`` and ``reset=False`` reproduce the published code's behaviour.
    """
    _check_batch(supernet, mask, batch)
    neurons: dict[str, int] = {}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def count(name: str, spikes: Tensor) -> None:
        c = spikes.flatten(1)  # [B, N]
        neurons[name] = c.shape[1]
        found.setdefault(name, []).append((c.sum(1).to(torch.int64), _hamming(c)))

    with scoring_mode(supernet, bn), record_spikes(supernet, on_spikes=count):
        supernet(batch.to(supernet.input_centre.device), reset=reset, mask=mask, feedback=feedback)
    if max(neurons.values()) >= MAX_NEURONS:
        raise ValueError(f"a LIF layer has {max(neurons.values())} neurons; counts are exact below 2**24 only.")
    counts, distances = (torch.stack([torch.stack([s[i] for s in steps]) for steps in found.values()]) for i in (0, 1))
    return SpikeStatistics(tuple(found), torch.tensor(list(neurons.values())), counts.cpu(), distances.cpu())


Batches = Sequence[Tensor]


def sahd_score(supernet: SpikingNetwork, mask: OpMask, batches: Batches, *, kind: str = "sahd", **settings) -> float:
    """log|det K| of the supernet restricted to a mask, averaged over the batches; larger is better, −inf if dead.

    K is the SAHD kernel (``kind='hd'``: the NASWOT kernel N − hamming) averaged over every LIF of an alive
    convolution, the downsampling, the last activation and the hidden layer, and over steps. ``settings`` go to
    ``spike_statistics``. Scores of different batch sizes or depths do not compare.

    >>> from .networks import NetworkConfig, build_supernet
    >>> from .spaces import SPACES
    >>> space, config = SPACES["lightsnn"], NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8)
    >>> x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> sahd_score(build_supernet(space, config), space.full_mask(), [x]) < 10
    True
    """
    if not len(batches):
        raise ValueError("sahd_score needs at least one batch; see data.scoring_batches.")
    statistics = (spike_statistics(supernet, mask, batch, **settings) for batch in batches)
    return float(np.mean([log_det(s.kernel(kind)) for s in statistics]))


def hd_score(supernet: SpikingNetwork, mask: OpMask, batches: Batches, **settings) -> float:
    """The same with the plain Hamming-distance kernel of NASWOT, K = N − hamming."""
    return sahd_score(supernet, mask, batches, kind="hd", **settings)


def firing_rate(supernet: SpikingNetwork, mask: OpMask, batches: Batches, **settings) -> float:
    """Spikes per neuron and step, averaged over the counted (LIF, step) and the batches."""
    return float(np.mean([spike_statistics(supernet, mask, b, **settings).firing_rate.mean() for b in batches]))


def num_parameters(supernet: SpikingNetwork, mask: OpMask, batches: Batches = (), **settings) -> float:
    """Learnable parameters of the network with the mask's alive ops, on dead edges too."""
    pruned = 0
    for cell in (supernet.cell1, supernet.cell2):
        for edge, alive in mask.items():
            gone = [f"{edge}:{op}" for op in mask.space.ops if op not in alive and op is not Op.ZEROIZE]
            pruned += sum(p.numel() for key in gone for p in cell.ops[key].parameters())
    return float(supernet.num_parameters - pruned)


def num_convs(supernet: SpikingNetwork, mask: OpMask, batches: Batches = (), **settings) -> float:
    """Convolutions alive in the mask (in one cell), on dead edges too."""
    return float(sum(op.is_conv for _, alive in mask.items() for op in alive))


PROXIES: dict[str, Callable[..., float]] = {
    "sahd": sahd_score,
    "hd": hd_score,
    "params": num_parameters,
    "convs": num_convs,
    "firing_rate": firing_rate,
}
"""Training-free scores by name: ``PROXIES[name](supernet, mask, batches, **settings)``."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A score with its weights, batches and settings: call it with a mask; every candidate sees the same.

    The state is reset for every score unless ``reset=False``, so no score depends on what came before it.
    """

    supernet: SpikingNetwork
    batches: tuple[Tensor, ...]
    proxy: str = "sahd"
    bn: str = "batch"  # 'running' reproduces the published code
    feedback: bool = True  # False: backward values are never read, as in the published code
    reset: bool = True  # False: membranes carry over between candidates, as in the published code

    def __post_init__(self) -> None:
        if self.proxy not in PROXIES:
            raise ValueError(f"unknown proxy {self.proxy!r}; expected one of {', '.join(PROXIES)}.")
        object.__setattr__(self, "batches", tuple(self.batches))

    def __call__(self, mask: OpMask) -> float:
        return PROXIES[self.proxy](self.supernet, mask, self.batches, **self._settings)

    def statistics(self, mask: OpMask) -> tuple[SpikeStatistics, ...]:
        """The spike statistics of a mask, one per batch."""
        return tuple(spike_statistics(self.supernet, mask, batch, **self._settings) for batch in self.batches)

    @property
    def _settings(self) -> dict:
        return {"bn": self.bn, "feedback": self.feedback, "reset": self.reset}
