"""Checkers of the lesson "When does a neuron fire?"."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .tools import agree, need, need_tensor

GOLDEN_INPUTS = ((1.1, 2.0), (1.1, 0.9), (0.5, 0.9), (1.4, 0.9), (-1.0, 1.2), (2.0, 1.2))  # [T, N], tau = 4/3
GOLDEN_SPIKES = ((0, 1), (1, 0), (0, 0), (1, 0), (0, 1), (1, 0))
GOLDEN_POTENTIALS = ((0.825, 0), (0, 0.675), (0.375, 0.84375), (0, 0.8859375), (-0.75, 0), (0, 0.9))  # after the reset


def check_lif_step(step: Callable) -> None:
    """(x, v, tau, v_threshold) → (spikes, v): against a golden trace of two neurons, and at the threshold itself."""
    v = torch.zeros(2)
    for t, (x, spikes, after) in enumerate(zip(GOLDEN_INPUTS, GOLDEN_SPIKES, GOLDEN_POTENTIALS, strict=True), 1):
        got = step(torch.tensor(x), v, 4 / 3, 1.0)
        need(isinstance(got, tuple) and len(got) == 2, "return two things: the spikes, and v after the step.")
        need_tensor(got[0], (2,), "the first thing returned, the spikes,")
        need_tensor(got[1], (2,), "the second thing returned, v,")
        need(agree(got[0], spikes), f"step {t}: the inputs {x} on v = {v.tolist()} should give the spikes {spikes}.")
        reset = "v must be 0 after a spike, and keep its value without one"
        need(agree(got[1], after), f"step {t}: v should be {after} after the step, not {got[1].tolist()}; {reset}.")
        v = got[1]
    at = step(torch.tensor([1.0, 0.9]), torch.zeros(2), 2.0, 0.5)[0]  # v = 0.5 and 0.45
    need(agree(at, [1, 0]), "a potential of exactly v_threshold spikes, too; and use tau and v_threshold.")
    print("lif_step: correct, step by step.")


def wrong_lif_step(x: Tensor, v: Tensor, tau: float, v_threshold: float) -> tuple[Tensor, Tensor]:
    """The reset was forgotten."""
    v = v + (x - v) / tau
    return (v >= v_threshold).float(), v


def check_period(period: Callable) -> None:
    """(x, tau) → steps from one spike to the next, None if there is none."""
    for x, tau, want in ((0.9, 4 / 3, None), (1.4, 4 / 3, 1), (1.1, 4 / 3, 2), (1.02, 4 / 3, 3), (1.2, 2.0, 3)):
        got = period(x, tau)
        need(got is None or isinstance(got, int), f"return a whole number (int) or None, not {got!r}.")
        need(
            got == want, f"x = {x}, tau = {tau:.4g}: the period is {want}, not {got}. Which n is the first to reach 1?"
        )
    print("period: correct.")


def wrong_period(x: float, tau: float) -> int | None:
    """Rounded down: the step before the spike."""
    return math.floor(math.log(1 - 1 / x) / math.log(1 - 1 / tau)) if x > 1 else None


def check_spike_counts(spike_counts: Callable) -> None:
    """(image, num_steps) → how often each pixel's neuron fires."""
    image = torch.tensor([[0.9, 1.1, 1.02], [1.4, 0.5, 0.0]])
    got = spike_counts(image, 12)
    need_tensor(got, (2, 3), "the count")
    need(bool((got <= 12).all()), "there are 12 steps, so no neuron can fire more than 12 times.")
    hint = "Is v carried from step to step, and does it start at 0?"
    need(agree(got, [[0, 6, 4], [12, 0, 0]]), f"{image.tolist()} should fire [[0, 6, 4], [12, 0, 0]] times. {hint}")
    print("spike_counts: correct.")


def wrong_spike_counts(image: Tensor, num_steps: int) -> Tensor:
    """The potential is set to 0 at every step."""
    return num_steps * (0.75 * image >= 1).float()
