"""LIF layers and batch normalisation with training steps of their own, in fewer passes over memory; initial weights.

The compiled loops load when first needed: most users of networks never train.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType

import numpy as np
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .checks import whole

NONE = np.empty((0, 1, 1), np.float32)
LANES = 64  # loops over fewer numbers than this do not fill the processor's vectors


def kernels() -> ModuleType:
    """The module of compiled loops; numba takes a second to import.

    Not cached: ``torch.compile`` warns of a cache where a network is compiled.
    """
    from .fast import training_loops

    return training_loops


def run_loop(name: str, arrays: tuple[np.ndarray, ...], constants: object) -> None:
    """Run a loop by name on arrays that share their first axis, on torch's number of threads."""
    loops = kernels()
    loops.in_shares(getattr(loops, name), arrays, constants, torch.get_num_threads())


def numbers(tensor: Tensor) -> np.ndarray:
    """The array of a tensor on the CPU; bfloat16, which NumPy does not know, as its 16 bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def in_bfloat16() -> bool:
    """Whether products on the CPU are taken in bfloat16, by autocast."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the memory layout of another of its shape."""
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


class LIFStep(torch.autograd.Function):
    """(x, v) → (spikes, v): charged h = v + (x − v)/tau, spike = h ≥ threshold, v = 0 where it spiked, else h.

    Backward, with the reset detached: dh = ds·g(h − threshold) + dv·(1 − spike), g the slope of ATan; dx = dh/tau and
    the previous step gets dh − dh/tau. Kept are h and the spikes, which a convolution keeps anyway. Compiled loops for
    float32 potentials on the CPU, torch elsewhere. Spikes are of type ``kind``; in bfloat16 0 and 1 are exact, and x
    and its gradient are of half the bytes.

    No comparison is stored as booleans and no ``masked_fill`` taken: on the CPU these two cost 5 and 40 times as much
    as arithmetic on the same numbers. h − h·1 is exactly 0.
    """

    @staticmethod
    def forward(ctx, x: Tensor, v: Tensor, constants: Sequence[float], kind: torch.dtype) -> tuple[Tensor, Tensor]:
        tau, v_threshold, alpha = constants
        if _has_loops(x) and v.dtype == torch.float32:
            v = laid_out(v, x)
            charged, spikes, after = (torch.empty_like(x, dtype=dtype) for dtype in (v.dtype, kind, v.dtype))
            _run("charge", (x, v, charged, spikes, after), (tau, v_threshold))
        else:
            charged = (x - v).div_(tau).add_(v)
            spikes = torch.ge(charged, v_threshold, out=torch.empty_like(charged))
            after = torch.addcmul(charged, charged, spikes, value=-1)
        ctx.save_for_backward(charged, spikes)
        ctx.settings, ctx.kind = (tau, v_threshold, math.pi * alpha / 2, alpha / 2), x.dtype
        ctx.set_materialize_grads(False)
        return spikes.to(kind), after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_spikes: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
        charged, spikes = ctx.saved_tensors
        tau, v_threshold, scale, top = ctx.settings
        if grad_spikes is not None and _has_loops(charged) and charged.dtype == torch.float32:
            later = charged.new_empty(0) if grad_v is None else laid_out(grad_v, charged)
            grad_x, grad_before = torch.empty_like(charged, dtype=ctx.kind), torch.empty_like(charged)
            _run("gradient", (charged, laid_out(grad_spikes, charged), later, grad_x, grad_before), ctx.settings)
            return grad_x, grad_before, None, None
        grad = None if grad_v is None else torch.addcmul(grad_v, grad_v, spikes.to(grad_v.dtype), value=-1)
        if grad_spikes is not None:
            slope = (charged - v_threshold).mul_(scale)
            slope = slope.mul_(slope).add_(1).reciprocal_().mul_(top).mul_(grad_spikes)
            grad = slope if grad is None else grad.add_(slope)
        if grad is None:
            return None, None, None, None
        grad_x = grad / tau
        return grad_x, grad.sub_(grad_x), None, None


def _has_loops(x: Tensor) -> bool:
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return dense and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def _run(name: str, tensors: tuple[Tensor, ...], constants: tuple[float, ...]) -> None:
    arrays = tuple([numbers(tensor.as_strided((tensor.numel(),), (1,))) for tensor in tensors])
    run_loop(name, arrays, tuple(map(np.float32, constants)))


class LIF(neuron.LIFNode):
    """spikingjelly's LIF layer (hard reset to 0, detached, ATan); where gradients are wanted it takes ``LIFStep``.

    On a GPU spikingjelly has kernels of its own. Potentials are in float32 also where products are in bfloat16.
    """

    def __init__(self, tau: float, v_threshold: float) -> None:
        super().__init__(
            tau=tau,
            decay_input=True,
            v_threshold=v_threshold,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(),
            detach_reset=True,
        )

    def materialize_states(self, inputs: tuple, states: tuple, step_mode: str) -> tuple:
        x, v = inputs[0], states[0]
        if x.dtype != torch.bfloat16 or not in_bfloat16():
            return super().materialize_states(inputs, states, step_mode)  # potentials of the input's type
        kept = isinstance(v, Tensor) and v.shape == x.shape and v.dtype == torch.float32
        return (v if kept else torch.zeros_like(x, dtype=torch.float32), *states[1:])

    def single_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        x, v = inputs[0], states[0]
        if x.is_cuda or not (torch.is_grad_enabled() and (x.requires_grad or v.requires_grad)):
            return super().single_step_functional_forward(inputs, states, **kwargs)
        kind = torch.bfloat16 if v.dtype == torch.float32 and in_bfloat16() else x.dtype
        spikes, v = LIFStep.apply(x, v, (self.tau, self.v_threshold, self.surrogate_function.alpha), kind)
        return (spikes,), (v, *states[1:])


class NormStep(torch.autograd.Function):
    """(y, γ, β, addend) → (y − mean)·γ/√(var + ε) + β + addend; updates the running statistics of ``norm``.

    For channels-last images on the CPU, in float32, or in bfloat16 where products are taken in it: statistics,
    γ, β and all arithmetic are the same, and each result is rounded once.
    """

    @staticmethod
    def forward(ctx, y: Tensor, gamma: Tensor, beta: Tensor, plus: Tensor | None, norm: BatchNorm) -> Tensor:
        rows, out = _rows(y), torch.empty_like(y)
        ctx.count, ctx.statistics = y.numel() // y.shape[1], np.empty((2, y.shape[1]))
        constants = np.empty((2, rows.shape[2]), np.float32)
        weights, running = (gamma, beta), (norm.running_mean, norm.running_var)
        weights, running = (tuple(t.detach().numpy() for t in pair) for pair in (weights, running))
        settings = (norm.eps, norm.momentum)
        kernels().settle(_sums(rows, rows), ctx.count, weights, running, ctx.statistics, constants, settings)
        run_loop("normalise", (rows, NONE if plus is None else _rows(plus), _rows(out)), constants)
        ctx.save_for_backward(y, gamma)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, gamma = ctx.saved_tensors
        grad, grad_y = laid_out(grad, y), torch.empty_like(y)
        rows, grad_rows, grads = _rows(y), _rows(grad), torch.empty(2, y.shape[1])
        constants = np.empty((4, rows.shape[2]), np.float32)
        totals = _sums(grad_rows, rows)
        kernels().settle_gradient(totals, ctx.count, gamma.numpy(), ctx.statistics, grads.numpy(), constants)
        run_loop("normalise_gradient", (rows, grad_rows, _rows(grad_y)), constants)
        return grad_y, grads[0], grads[1], grad if ctx.needs_input_grad[3] else None, None


@cache
def _pixels_per_row(channels: int, pixels: int) -> int:
    """How many pixels to take as one row: the least number that fills ``LANES`` with its channels, 1 if none fits."""
    return next((k for k in range(1, pixels + 1) if k * channels >= LANES and pixels % k == 0), 1)


def _rows(tensor: Tensor) -> np.ndarray:
    """The numbers of a channels-last tensor as [samples, rows, row]."""
    samples, channels, height, width = tensor.shape
    row = channels * _pixels_per_row(channels, height * width)
    size = channels * height * width
    return numbers(tensor.as_strided((samples, size // row, row), (size, row, 1)))  # no copy: [B, H·W/k, k·C]


def _sums(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    totals = np.zeros((len(rows), 2, rows.shape[2]))
    run_loop("sums", (rows, other, totals), NONE)
    return totals


class SharedNormStep(torch.autograd.Function):
    """What ``NormStep`` does, for a batch whose samples lie on several ranks: sums are added up over all of them.

    ``norm.add_up`` gives the sum of a tensor over ranks. Sums are in double precision, so that shares of a batch have
    the statistics of the whole to the last bit but one of float64. Any device and type. The gradients of γ and β are of
    this rank's samples, as those of all weights.
    """

    @staticmethod
    def forward(ctx, y: Tensor, gamma: Tensor, beta: Tensor, norm: BatchNorm) -> Tensor:
        count, total, squares = norm.add_up(_channel_sums(y, y))  # [C] each
        mean = total / count
        variance = (squares / count - mean * mean).clamp_(min=0)
        ctx.count, ctx.mean, ctx.invstd, ctx.norm = count, mean, (variance + norm.eps).rsqrt(), norm
        norm.running_mean += norm.momentum * (mean - norm.running_mean)
        norm.running_var += norm.momentum * (variance * count / (count - 1) - norm.running_var)
        ctx.save_for_backward(y, gamma)
        scale = gamma * ctx.invstd
        return (y * _like(scale, gamma) + _like(beta - mean * scale, beta)).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, gamma = ctx.saved_tensors

        def settled(sums: Tensor) -> tuple[Tensor, Tensor]:
            return (sums[2] - ctx.mean * sums[1]) * ctx.invstd, sums[1]  # of γ, of β

        own = _channel_sums(grad, y)
        grad_gamma, grad_beta = settled(own)
        slope, total = settled(ctx.norm.add_up(own.clone()))
        centred = (y - _like(ctx.mean, gamma)) * _like(slope * ctx.invstd / ctx.count, gamma)
        grad_y = (grad - _like(total / ctx.count, gamma) - centred) * _like(gamma * ctx.invstd, gamma)
        return grad_y.to(y.dtype), grad_gamma.to(gamma), grad_beta.to(gamma), None


def _channel_sums(y: Tensor, other: Tensor) -> Tensor:
    """Per channel of [N, C, H, W] the count, Σ y and Σ y·other, in double precision [3, C]."""
    wide, axes = y.double(), (0, 2, 3)
    total = wide.sum(axes)
    return torch.stack([torch.full_like(total, y.numel() / y.shape[1]), total, (wide * other.double()).sum(axes)])


def _like(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[:, None, None]  # [C, 1, 1]


class BatchNorm(nn.BatchNorm2d):
    """torch's batch normalisation, called with an addend if wanted; where ``NormStep`` fits it takes that.

    With ``add_up``, the sum of a tensor over the processes of a training, their samples are one batch.
    """

    add_up: Callable[[Tensor], Tensor] | None = None

    def forward(self, y: Tensor, plus: Tensor | None = None) -> Tensor:
        if self.training and self.add_up is not None:
            self.num_batches_tracked += 1
            out = SharedNormStep.apply(y, self.weight, self.bias, self)
            return out if plus is None else out + plus
        if not (self.training and self._fits(y, plus)):
            out = super().forward(y)
            return out if plus is None else out + plus
        self.num_batches_tracked += 1
        return NormStep.apply(y, self.weight, self.bias, plus, self)

    def _fits(self, y: Tensor, plus: Tensor | None) -> bool:
        kinds = (torch.float32, torch.bfloat16) if in_bfloat16() else (torch.float32,)

        def plain(tensor: Tensor) -> bool:
            rows = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
            return rows and tensor.device.type == "cpu" and tensor.dtype in kinds

        ours = self.affine and self.track_running_stats and self.momentum is not None
        ours = ours and self.weight.dtype == torch.float32
        return (
            ours and plain(y) and y.numel() > y.shape[1] and (plus is None or (plain(plus) and plus.shape == y.shape))
        )


def seeded(seed: int) -> torch.Generator:
    """A generator from a whole number of 0 or more; of 2**64 or more, which torch refuses, from a hash of it.

    >>> seeded(10**30).initial_seed() == seeded(10**30).initial_seed() != seeded(10**30 + 1).initial_seed()
    True
    """
    number = whole("seed", seed, low=0)
    if number >= 2**64:
        number = int(np.random.SeedSequence(number).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(number)


PAPER_INPUTS = (32768, 1024)  # of the hidden layer (2·256·8·8) and of the output layer, CIFAR10


def linear_spread(linear_std: float | None, in_features: int, paper_inputs: int = PAPER_INPUTS[0]) -> float:
    """Standard deviation of initial linear weights: 0.01·√(paper_inputs / in_features) unless ``linear_std`` is given.

    At the paper's CIFAR10 sizes this is its 0.01 in both layers; with fewer inputs 0.01 leaves the hidden layer
    without a spike and without a gradient.
    """
    return 0.01 * (paper_inputs / in_features) ** 0.5 if linear_std is None else linear_std


@torch.no_grad()
def init_weights(network: nn.Module, linear_std: float | None, generator: torch.Generator) -> None:
    """Draw the weights: convolutions Kaiming-uniform with a = 2, linear N(0, ``linear_spread``); BN starts at 1/0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=2, generator=generator)
        elif isinstance(module, nn.Linear):
            paper_inputs = PAPER_INPUTS[module.bias is not None]
            std = linear_spread(linear_std, module.in_features, paper_inputs)
            nn.init.normal_(module.weight, 0, std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
