"""Checkers of the lesson "How different do two images look?"."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightsnn_kit import kernels

from .tools import agree, need, need_tensor


def patterns(num_rows: int = 5, num_neurons: int = 40, seed: int = 0) -> Tensor:
    """Random patterns [B, N] of 0 and 1, each row with a rate of its own."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.linspace(0.1, 0.6, num_rows)[:, None]
    return (torch.rand(num_rows, num_neurons, generator=generator) < rates).float()


def check_hamming_kernel(hamming_kernel: Callable) -> None:
    """Patterns [B, N] → K [B, B] with K_ij = N − distance."""
    for rows in (torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]]), patterns()):
        got = hamming_kernel(rows)
        need_tensor(got, (len(rows), len(rows)), "the kernel")
        on_diagonal = f"a row does not differ from itself, so K is N = {rows.shape[1]} on the diagonal"
        need(agree(got.diagonal(), [rows.shape[1]] * len(rows)), f"{on_diagonal}, not {got.diagonal().tolist()}.")
        hint = "Two zeros at one place agree, too."
        need(
            agree(got, rows.shape[1] - kernels.hamming(rows)),
            f"the values off the diagonal are not N − distance. {hint}",
        )
    print("hamming_kernel: correct, equal to lightsnn_kit.kernels.hamming.")


def wrong_hamming_kernel(spikes: Tensor) -> Tensor:
    """Counts the common spikes only."""
    return spikes @ spikes.T


def check_sahd_kernel(sahd: Callable) -> None:
    """Patterns [B, N] → SAHD's K [B, B]."""
    for rows in (patterns(), torch.cat([patterns(4), torch.zeros(2, 40)])):  # the last two rows are silent
        got = sahd(rows)
        need_tensor(got, (len(rows), len(rows)), "the kernel")
        need(bool(got.isfinite().all()), "two silent rows have chance 0: add 0.001 below the fraction.")
        d = rows.shape[1] - kernels.sahd_kernel(rows)
        need(agree(rows.shape[1] - got, d), "d is not 0.5·distance/(chance + 0.001), chance = N·[r(1 − s) + (1 − r)s].")
    print("sahd_kernel: correct, equal to lightsnn_kit.kernels.sahd_kernel.")


def wrong_sahd_kernel(spikes: Tensor) -> Tensor:
    """Chance as a share, not as a number of neurons."""
    r = spikes.double().mean(1)
    chance = r[:, None] * (1 - r) + (1 - r)[:, None] * r
    return spikes.shape[1] - 0.5 * kernels.hamming(spikes) / (chance + 1e-3)


def check_log_det(log_det: Callable) -> None:
    """A matrix → log|det K|, −inf where two rows are equal."""
    twins = np.array([[3.0, 1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 2.0, 2.0]])
    for matrix in (np.diag([2.0, 4.0]), np.array([[2.0, 1.0], [1.0, 2.0]]), kernels.sahd_kernel(patterns()).numpy()):
        kept = matrix.copy()
        got = log_det(matrix)
        need(isinstance(got, int | float), f"return a number (float), not a {type(got).__name__}.")
        need(bool((matrix == kept).all()), "the matrix that came in was changed: work on a copy.")
        want = kernels.log_det(matrix)
        need(abs(got - want) < 1e-6, f"for\n{matrix}\nlog|det K| is {want:.6f}, not {got:.6f}.")
    need(log_det(twins) == -math.inf, "two rows are equal, a pivot is 0: return −math.inf.")
    print("log_det: correct, equal to lightsnn_kit.kernels.log_det.")


def wrong_log_det(matrix: np.ndarray) -> float:
    """The diagonal as it came, without elimination."""
    return float(np.log(np.abs(np.diag(matrix))).sum())
