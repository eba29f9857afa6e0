"""The LIF layer with a training step of its own: the bits of spikingjelly's, in fewer passes over memory."""

from __future__ import annotations

import math

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor
from torch.autograd.function import once_differentiable

from .loops import laid_out, run_loop


class LIFStep(torch.autograd.Function):
    """(x, v) → (spikes, v): charged h = v + (x − v)/tau, spike = h ≥ threshold, v = 0 where it spiked, else h.

    Backward, with the reset detached: dh = ds·g(h − threshold) + dv·(1 − spike), g the slope of ATan; dx = dh/tau and
    the previous step gets dh − dh/tau. Kept are h and the spikes, which a convolution keeps anyway. Compiled loops for
    float32 on the CPU, torch elsewhere.

    No comparison is stored as booleans and no ``masked_fill`` taken: on the CPU these two cost 5 and 40 times as much
    as arithmetic on the same numbers. h − h·1 is exactly 0.
    """

    @staticmethod
    def forward(ctx, x: Tensor, v: Tensor, tau: float, v_threshold: float, alpha: float) -> tuple[Tensor, Tensor]:
        if _has_loops(x, v):
            v = laid_out(v, x)
            charged, spikes, after = (torch.empty_like(x) for _ in range(3))
            _run("charge", (x, v, charged, spikes, after), (tau, v_threshold))
        else:
            charged = (x - v).div_(tau).add_(v)
            spikes = torch.ge(charged, v_threshold, out=torch.empty_like(charged))
            after = torch.addcmul(charged, charged, spikes, value=-1)
        ctx.save_for_backward(charged, spikes)
        ctx.settings = tau, v_threshold, math.pi * alpha / 2, alpha / 2
        ctx.set_materialize_grads(False)
        return spikes.to(x.dtype), after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_spikes: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
        charged, spikes = ctx.saved_tensors
        tau, v_threshold, scale, top = ctx.settings
        if grad_spikes is not None and _has_loops(charged, grad_spikes):
            later = charged.new_empty(0) if grad_v is None else laid_out(grad_v, charged)
            grad_x, grad_before = torch.empty_like(charged), torch.empty_like(charged)
            _run("gradient", (charged, laid_out(grad_spikes, charged), later, grad_x, grad_before), ctx.settings)
            return grad_x, grad_before, None, None, None
        grad = None if grad_v is None else torch.addcmul(grad_v, grad_v, spikes, value=-1)
        if grad_spikes is not None:
            slope = (charged - v_threshold).mul_(scale)
            slope = slope.mul_(slope).add_(1).reciprocal_().mul_(top).mul_(grad_spikes)
            grad = slope if grad is None else grad.add_(slope)
        if grad is None:
            return None, None, None, None, None
        grad_x = grad / tau
        return grad_x, grad.sub_(grad_x), None, None, None


def _has_loops(x: Tensor, other: Tensor) -> bool:
    dense = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return dense and x.device.type == "cpu" and x.dtype == other.dtype == torch.float32


def _run(name: str, tensors: tuple[Tensor, ...], constants: tuple[float, ...]) -> None:
    arrays = tuple(tensor.detach().as_strided((tensor.numel(),), (1,)).numpy() for tensor in tensors)
    run_loop(name, arrays, tuple(arrays[0].dtype.type(value) for value in constants))


class LIF(neuron.LIFNode):
    """spikingjelly's LIF layer (hard reset to 0, detached, ATan); where gradients are wanted it takes ``LIFStep``.

    On a GPU spikingjelly has kernels of its own.
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

    def single_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        x, v = inputs[0], states[0]
        if x.is_cuda or not (torch.is_grad_enabled() and (x.requires_grad or v.requires_grad)):
            return super().single_step_functional_forward(inputs, states, **kwargs)
        spikes, v = LIFStep.apply(x, v, self.tau, self.v_threshold, self.surrogate_function.alpha)
        return (spikes,), (v, *states[1:])
