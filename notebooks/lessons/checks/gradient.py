"""Checkers of the lesson "How can a spike learn?"."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

from .tools import agree, need, need_tensor


def check_atan_backward(backward: Callable) -> None:
    """(grad_output, u, alpha) → gradient for u: against finite differences of the smooth step."""
    u = torch.linspace(-2, 2, 9, dtype=torch.float64).view(3, 3)
    for alpha in (2.0, 5.0):
        rise = (torch.atan(math.pi / 2 * alpha * (u + d)) / math.pi for d in (1e-6, -1e-6))
        slope = (next(rise) - next(rise)) / 2e-6
        got = backward(torch.ones_like(u), u, alpha)
        need_tensor(got, (3, 3), "the gradient")
        hint = "At u = 0 it is alpha/2; the derivative of arctan(z) is 1/(1 + z²), and z = π/2·alpha·u"
        need(agree(got, slope), f"alpha = {alpha:g}: this is not the slope of arctan(π/2·alpha·u)/π. {hint}.")
        later = torch.arange(9, dtype=torch.float64).view(3, 3)
        chained = backward(later, u, alpha)
        need(agree(chained, later * slope), "the chain rule: multiply by the gradient that comes from later layers.")
    print("atan_backward: correct, against finite differences.")


def wrong_atan_backward(grad_output: Tensor, u: Tensor, alpha: float) -> Tensor:
    """The chain rule was forgotten."""
    return alpha / 2 / (1 + (math.pi / 2 * alpha * u) ** 2)


def count_by_autograd(w: float, inputs: list[float]) -> tuple[float, float]:
    """Spikes of one neuron with input w·x, and their gradient for w, by spikingjelly and autograd."""
    from spikingjelly.activation_based import neuron, surrogate

    lif = neuron.LIFNode(tau=4 / 3, detach_reset=True, surrogate_function=surrogate.ATan(alpha=2.0))
    weight = torch.tensor([w], dtype=torch.float64, requires_grad=True)
    count = sum(lif(weight * x) for x in inputs)
    count.backward()
    return count.item(), weight.grad.item()


def check_count_gradient(count_gradient: Callable) -> None:
    """(w, inputs) → (number of spikes, its gradient for w): against autograd, before and after the first spike."""
    for w, inputs in ((0.5, [1.0]), (0.8, [1.0, 0.5, 1.0]), (1.1, [1.0] * 6), (1.3, [1.0, 0.2, 1.5, 0.7, 1.1])):
        got = count_gradient(w, inputs)
        need(isinstance(got, tuple) and len(got) == 2, "return two numbers: the count, and its gradient.")
        need(all(isinstance(part, Real | Tensor) for part in got), "return two numbers, not None.")
        count, gradient = count_by_autograd(w, inputs)
        need(abs(float(got[0]) - count) < 1e-9, f"w = {w}, inputs {inputs}: {count:g} spikes, not {got[0]}.")
        hint = "Does dv go the way of v: leaking, and 0 after a spike?" if count else "dh = dv + (x − dv)/tau."
        near = abs(float(got[1]) - gradient) < 1e-6
        need(near, f"w = {w}, inputs {inputs}: the gradient is {gradient:.6f}, not {float(got[1]):.6f}. {hint}")
    print("count_gradient: correct, against autograd.")


def wrong_count_gradient(w: float, inputs: list[float]) -> tuple[float, float]:
    """The potential is reset by a spike, its derivative is not."""
    v, dv, count, gradient = 0.0, 0.0, 0, 0.0
    for x in inputs:
        v, dv = v + (w * x - v) * 0.75, dv + (x - dv) * 0.75
        gradient += dv / (1 + (math.pi * (v - 1)) ** 2)
        if v >= 1:
            v, count = 0.0, count + 1
    return count, gradient
