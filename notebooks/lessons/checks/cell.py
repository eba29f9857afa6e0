"""Checkers of the lesson "What does a cell compute, and what is fed back?"."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from .tools import agree, need, need_tensor


def check_conv_op(conv_op: Callable) -> None:
    """(value, v, weight) → (convolution of the spikes, potentials): a picture with one pixel that fires."""
    value, weight = torch.zeros(1, 1, 4, 4), torch.arange(1.0, 10).view(1, 1, 3, 3)
    value[0, 0, 1, 1], value[0, 0, 3, 3] = 2.0, 1.2  # the second one misses the threshold in step 1: v = 0.9
    got = conv_op(value, torch.zeros_like(value), weight)
    need(isinstance(got, tuple) and len(got) == 2, "return two things: the output, and the potentials after the step.")
    need_tensor(got[0], (1, 1, 4, 4), "the output (did you pad by 1?)")
    need_tensor(got[1], (1, 1, 4, 4), "the second thing, the potentials,")
    hint = "The convolution reads spikes: 0 or 1, whatever the value was."
    need(agree(got[0][0, 0, :3, :3], weight[0, 0].flip(0, 1)), f"one spike should leave its weights, turned. {hint}")
    need(bool((got[0][0, 0, 3] == 0).all()), f"1.2 is below 4/3: no spike, and so nothing there. {hint}")
    need(agree(got[1][0, 0, 3, 3], 0.9), "v should be 0.9 where 1.2 came in and nothing fired.")
    second = conv_op(value, got[1], weight)[0]
    need(agree(second[0, 0, 3, 3], 5), "the neuron at 1.2 fires in step 2, if v goes on from step 1.")
    print("conv_op: correct.")


def wrong_conv_op(value: Tensor, v: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Convolves the values, not the spikes."""
    v = v + (value - v) * 0.75
    return torch.nn.functional.conv2d(value, weight, padding=1), v * (v < 1)


def check_cell_step(cell_step: Callable) -> None:
    """(x, fed_back, op) → (x₃, next fed_back): three steps of linear ops, against the solution of linear equations."""
    weights = np.random.default_rng(0).integers(-2, 3, (4, 4)).astype(float)
    forward, backward = np.tril(weights, -1), np.triu(weights, 1)
    f, fed_back = np.zeros(4), [0.0] * 4
    for t, x in enumerate((1.0, 2.0, -1.0), 1):
        got = cell_step(x, fed_back, lambda i, j, value: weights[i, j] * value)
        need(isinstance(got, tuple) and len(got) == 2, "return two things: x₃, and the list of four fed-back values.")
        need(isinstance(got[0], Real), "x₃ should be a number here: return what the edges into node 3 add up to.")
        need(isinstance(got[1], list | tuple), "the second thing should be a list of four values.")
        need(len(got[1]) == 4, f"the second thing should be a list of 4 values, but has {len(got[1])}.")
        z = np.linalg.solve(np.eye(4) - forward, x * np.eye(4)[0] + f)
        hint = (
            "Do the edges read z = x + f, with the f that came in?" if t > 1 else "Every node sums over all before it."
        )
        need(abs(got[0] - (z[3] - f[3])) < 1e-6, f"step {t}: x₃ should be {z[3] - f[3]:g}, not {got[0]:g}. {hint}")
        f, fed_back = backward @ z, got[1]
        near = np.allclose(np.array(fed_back, dtype=float), f)
        need(near, f"step {t}: the next feedback should be {f.tolist()}, not {list(fed_back)}: edges from later nodes.")
    print("cell_step: correct, three steps.")


def wrong_cell_step(x: float, fed_back: list, op: Callable) -> tuple[float, list]:
    """What was fed back is never read: a bug that published code has."""
    z = [x]
    for i in range(1, 4):
        z.append(sum(op(i, j, z[j]) for j in range(i)))
    return z[3], [sum(op(i, j, z[j]) for j in range(i + 1, 4)) for i in range(4)]
