"""Compiled loops of the LIF layer in training: one pass over memory each, with the rounding of torch's operations.

Arrays are flat and of one length. No multiplication is contracted with an addition.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numba import njit

jit = njit(nogil=True, cache=True, error_model="numpy")
SHARE = 2**15  # least number of neurons that is worth a thread


@jit
def charge(x, v, charged, spikes, after, constants):
    """Write charged potentials, spikes and potentials after the reset; ``constants``: tau, threshold."""
    tau, threshold = constants
    one, zero = np.float32(1), np.float32(0)
    for i in range(len(x)):
        h = (x[i] - v[i]) / tau + v[i]
        charged[i] = h
        spikes[i] = one if h >= threshold else zero
        after[i] = zero if h >= threshold else h


@jit
def gradient(charged, grad_spikes, grad_v, grad_x, grad_before, constants):
    """Write the gradients of input and earlier potential; an empty ``grad_v`` stands for zeros.

    ``constants``: tau, threshold, and a, b of the slope b / (1 + (a·(h − threshold))²).
    """
    tau, threshold, scale, top = constants
    one, zero, has_v = np.float32(1), np.float32(0), len(grad_v) > 0
    later = grad_v if has_v else charged
    for i in range(len(charged)):
        h = charged[i]
        u = (h - threshold) * scale
        grad = one / (u * u + one) * top * grad_spikes[i]
        if has_v:
            grad = (zero if h >= threshold else later[i]) + grad
        grad_x[i] = grad / tau
        grad_before[i] = grad - grad / tau


@cache
def _threads(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="lif")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of the threads


def in_shares(loop: Callable, arrays: tuple[np.ndarray, ...], constants: tuple[float, ...], threads: int) -> None:
    """Run a loop of this module on all neurons, shared among threads; ``constants`` as numbers of the arrays' type."""
    size, constants = len(arrays[0]), tuple(arrays[0].dtype.type(value) for value in constants)
    workers = max(1, min(threads, size // SHARE))
    if workers == 1:
        loop(*arrays, constants)
        return
    step = -(-size // workers)
    shares = [[array[low : low + step] for array in arrays] for low in range(0, size, step)]
    list(_threads(workers).map(lambda share: loop(*share, constants), shares))
