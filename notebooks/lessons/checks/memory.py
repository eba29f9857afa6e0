"""Checkers of the lesson "When must a network remember?"."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

from .tools import agree, need, need_tensor


def drawn(*shape: int) -> Tensor:
    """Random numbers, the same each time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def check_remember(remember: Callable) -> None:
    """(inputs [T], keep) → the memory after each step [T]: against the sum of what is left of each input."""
    for inputs in (torch.tensor([1.0, 0, 0, 0, 0, 0]), torch.ones(6), drawn(6)):
        for keep in (0.25, 1.0, 0.0):
            got = remember(inputs, keep)
            need_tensor(got, (6,), "the memory")
            steps = torch.arange(6)
            left = (keep ** (steps[:, None] - steps).clamp(min=0).double()).tril()  # [t, s]: input s, at step t
            hint = "Each step keeps a share of the memory before it, and adds the input of now."
            place = f"inputs {[round(x, 3) for x in inputs.tolist()]}, keep = {keep:g}"
            need(agree(got, left @ inputs.double()), f"{place}: not {[round(m, 3) for m in got.tolist()]}. {hint}")
    print("remember: correct.")


def wrong_remember(inputs: Tensor, keep: float) -> Tensor:
    """A sum of all inputs: nothing fades."""
    return inputs.cumsum(0)


def check_came_first(came_first: Callable) -> None:
    """(a, b, keep) → how much more b met a memory of a than a one of b: against a double sum over pairs of steps."""

    def pulse(step: int) -> Tensor:
        return torch.eye(8)[step]

    cases = [(pulse(1), pulse(2)), (pulse(1), pulse(4)), (pulse(5), pulse(2)), (pulse(3), pulse(3)), (*drawn(2, 8),)]
    for a, b in cases:
        for keep in (1.0, 0.25):
            got = came_first(a, b, keep)
            number = isinstance(got, Real) or (isinstance(got, Tensor) and got.ndim == 0)
            need(number, f"return one number, not a {type(got).__name__}.")
            earlier = [(s, t) for t in range(8) for s in range(t)]  # s before t
            want = sum(keep ** (t - s - 1) * float(a[s] * b[t] - b[s] * a[t]) for s, t in earlier)
            hint = "The memory from the step before meets the input of now; the other order counts with a minus."
            near = math.isclose(float(got), want, rel_tol=1e-5, abs_tol=1e-6)
            place = f"a = {[round(x, 2) for x in a.tolist()]}, b = {[round(x, 2) for x in b.tolist()]}, keep = {keep:g}"
            need(near, f"{place}: {want:.4f}, not {float(got):.4f}. {hint}")
    print("came_first: correct.")


def wrong_came_first(a: Tensor, b: Tensor, keep: float) -> float:
    """Looks back one step and no further."""
    return float((a[:-1] * b[1:] - b[:-1] * a[1:]).sum())


def check_shuffled(shuffled: Callable) -> None:
    """(frames [T, N, ...], seed) → the frames of each recording in an order of its own."""
    frames = (100 * torch.arange(6) + torch.arange(9)[:, None]).float().view(9, 6, 1, 1).repeat(1, 1, 2, 3)
    kept = frames.clone()  # a frame shows 100 · (number of its recording) + (its step)
    got = shuffled(frames, 0)
    need_tensor(got, (9, 6, 2, 3), "what you return")
    need(torch.equal(frames, kept), "the frames that came in were changed: work on a copy.")
    recording, step = got[..., 0, 0] // 100, got[..., 0, 0] % 100  # [T, N]
    need(agree(recording, kept[0, :, 0, 0] // 100 + torch.zeros(9, 1)), "a frame moved to another recording.")
    need(bool((step.sort(0).values == torch.arange(9.0)[:, None]).all()), "each frame should be there once.")
    hint = "Draw a permutation of the steps for each recording."
    need(not agree(step, torch.arange(9.0)[:, None] + torch.zeros(6)), f"all frames are in their old order. {hint}")
    need(bool((step != step[:, :1]).any()), f"all recordings got the same new order. {hint}")
    need(torch.equal(got, shuffled(frames, 0)), "the same seed should give the same order.")
    print("shuffled: correct.")


def wrong_shuffled(frames: Tensor, seed: int) -> Tensor:
    """Shuffles the recordings, not their steps."""
    return frames[:, torch.randperm(frames.shape[1], generator=torch.Generator().manual_seed(seed))]
