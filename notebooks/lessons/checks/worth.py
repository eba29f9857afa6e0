"""Checkers of the lesson "Was it worth it, in accuracy and joules?"."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lightsnn_kit.lab import comparisons

from .tools import need


def check_mcnemar(mcnemar: Callable) -> None:
    """(first, second), 1 where right → p: against scipy's binomial test, by way of ``lab.comparisons``."""
    rng = np.random.default_rng(0)
    cases = [([1] * 5 + [0, 1], [0] * 5 + [0, 1]), ([1, 0, 1, 0], [0, 1, 1, 0]), ([1, 1, 0], [1, 1, 0])]
    cases += [tuple((rng.random((2, 400)) < [[0.6], [rate]]).astype(int).tolist()) for rate in (0.5, 0.65)]
    for first, second in cases:
        got = mcnemar(first, second)
        need(isinstance(got, Real), f"return a number, the p value, not a {type(got).__name__}.")
        want = comparisons.mcnemar(*({"right": "".join(map(str, right))} for right in (first, second)))
        pairs = list(zip(first, second, strict=True))
        counts = f"{pairs.count((1, 0))} times the first alone is right, {pairs.count((0, 1))} times the second"
        hint = "A result as odd on the other side counts, too; no p is above 1; and without any difference it is 1."
        need(math.isclose(got, want, rel_tol=1e-6), f"{counts}: p = {want:.6g}, not {got:.6g}. {hint}")
    print("mcnemar: correct, equal to lightsnn_kit.lab.comparisons.mcnemar.")


def wrong_mcnemar(first: Sequence[int], second: Sequence[int]) -> float:
    """One side only."""
    b = sum(one > other for one, other in zip(first, second, strict=True))
    n = b + sum(one < other for one, other in zip(first, second, strict=True))
    return sum(math.comb(n, k) for k in range(max(b, n - b), n + 1)) / 2**n


def check_synops(synops: Callable) -> None:
    """(spikes [C, H, W], channels out) → additions of a 3×3 convolution: against a convolution with ones."""
    maps = torch.zeros(3, 2, 5, 5)
    maps[0, 0, 2, 2] = maps[1, 1, 0, 0] = maps[2, 1, 0, 3] = 1
    drawn = (torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    names = ("one spike in the middle", "one spike in a corner", "one spike at an edge", "a random map")
    for name, spikes in zip(names, (*maps, drawn), strict=True):
        got = synops(spikes, 16)
        need(isinstance(got, Real), f"return a number of additions, not a {type(got).__name__}.")
        want = float(functional.conv2d(spikes[None], torch.ones(16, len(spikes), 3, 3), padding=1).sum())
        hint = "How many of the nine targets lie outside of the map? And each output channel has weights of its own."
        place = f"{name}, {list(spikes.shape)}, to 16 channels"
        need(got == want, f"{place}: {want:g} additions, not {got:g}. {hint}")
    print("synops: correct, equal to a convolution with ones.")


def wrong_synops(spikes: Tensor, out_channels: int) -> int:
    """As if every spike had nine targets in each channel."""
    return int(spikes.sum()) * 9 * out_channels


def check_break_even(break_even: Callable) -> None:
    """T → (bits of equal precision, firing rate from which spikes take more additions)."""
    for num_steps, bits in ((1, 1), (3, 2), (5, 3), (7, 3), (8, 4), (100, 7)):
        got = break_even(num_steps)
        need(isinstance(got, tuple) and len(got) == 2, "return two things: the bits, and the firing rate.")
        hint = f"A count of 0 to {num_steps} has {num_steps + 1} values."
        need(got[0] == bits, f"T = {num_steps}: {bits} bits, not {got[0]}. {hint}")
        hint = "Per synapse: bits additions on one side, T · rate on the other."
        near = isinstance(got[1], Real) and math.isclose(got[1], bits / num_steps, rel_tol=1e-6)
        need(near, f"T = {num_steps}: equal at a rate of {bits / num_steps:.4f}, not {got[1]}. {hint}")
    print("break_even: correct.")


def wrong_break_even(num_steps: int) -> tuple[int, float]:
    """The count 0 was forgotten: T values, not T + 1."""
    bits = math.ceil(math.log2(num_steps))
    return bits, bits / num_steps
