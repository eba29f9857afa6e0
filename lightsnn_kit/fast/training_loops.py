"""Compiled loops of LIF layers and batch normalisation in training: few passes over memory, shared among threads.

LIF arrays are of one size, with the rounding of torch's operations. Arrays of the normalisation are [samples, pixels,
channels]. Nothing depends on the number of threads: sums are taken per sample, in double precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

import numba
import numpy as np
from numba import prange, types
from numba.extending import overload

from .compiled import compiled

SHARE = 2**16  # least number of elements that is worth a thread
SHARING = Lock()  # of numba's ways to make threads, one ends the process when two Python threads use it at once
if hasattr(os, "register_at_fork"):  # another ends a forked process, which therefore shares nothing
    os.register_at_fork(after_in_child=lambda: SHARING.acquire(blocking=False))


def widened(value):
    """A number as float32: bfloat16, which numba does not know, comes as its 16 bits, the upper half of a float32."""


def stored(value, array):
    """A float32 as an array keeps it: as it is, or rounded to the nearest bfloat16, ties to even.

    Infinities stay, and NaN as arithmetic makes it; one whose lower bits are all set would come out as 0.
    """


@overload(widened)
def _widened(value):
    if value is types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(stored)
def _stored(value, array):
    if array.dtype is not types.uint16:
        return lambda value, array: value

    def rounded(value, array):
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + odd) >> np.uint32(16))

    return rounded


@compiled
def charge(x, v, charged, spikes, after, constants):
    """Write charged potentials, spikes and potentials after the reset; ``constants``: tau, threshold."""
    tau, threshold = constants
    one, silent, zero = stored(np.float32(1), spikes), stored(np.float32(0), spikes), np.float32(0)
    for i in range(len(x)):
        h = (widened(x[i]) - v[i]) / tau + v[i]
        charged[i] = h
        spikes[i] = one if h >= threshold else silent
        after[i] = zero if h >= threshold else h


@compiled
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
        grad = one / (u * u + one) * top * widened(grad_spikes[i])
        if has_v:
            grad = (zero if h >= threshold else later[i]) + grad
        grad_x[i] = stored(grad / tau, grad_x)
        grad_before[i] = grad - grad / tau


@compiled
def sums(y, other, totals, constants):
    """Add up ``y`` and y·other per sample and channel: ``totals`` [samples, 2, channels]."""
    for n in range(len(y)):
        first, second = totals[n, 0], totals[n, 1]
        for p in range(y.shape[1]):
            for c in range(y.shape[2]):
                value = np.float64(widened(y[n, p, c]))
                first[c] += value
                second[c] += value * np.float64(widened(other[n, p, c]))


@compiled
def _per_channel(totals, part, channel, channels):
    """A sum over samples, and over the pixels that stand side by side in a row."""
    value = 0.0
    for n in range(len(totals)):
        for c in range(channel, totals.shape[2], channels):
            value += totals[n, part, c]
    return value


@compiled
def settle(totals, count, weights, running, statistics, constants, settings):
    """From the sums of y and y² the batch's statistics, the new running ones, and the constants of ``normalise``.

    ``weights`` and ``running`` are pairs; ``statistics`` [2, C]: mean, 1/√(variance + ε); ``settings``: ε, momentum.
    """
    (gamma, beta), (running_mean, running_var), (eps, momentum) = weights, running, settings
    channels = len(gamma)
    for c in range(channels):
        mean = _per_channel(totals, 0, c, channels) / count
        variance = max(_per_channel(totals, 1, c, channels) / count - mean * mean, 0.0)
        invstd = 1 / np.sqrt(variance + eps)
        statistics[0, c], statistics[1, c] = mean, invstd
        running_mean[c] += momentum * (mean - running_mean[c])
        running_var[c] += momentum * (variance * count / (count - 1) - running_var[c])
        for k in range(c, constants.shape[1], channels):
            constants[0, k], constants[1, k] = gamma[c] * invstd, beta[c] - mean * gamma[c] * invstd


@compiled
def normalise(y, plus, out, constants):
    """Write y·scale + shift + plus; an empty ``plus`` stands for zeros. ``constants``: scale, shift per channel."""
    scale, shift = constants[0], constants[1]
    for n in range(len(y)):
        for p in range(y.shape[1]):
            if len(plus) > 0:
                for c in range(y.shape[2]):
                    value = widened(y[n, p, c]) * scale[c] + shift[c] + widened(plus[n, p, c])
                    out[n, p, c] = stored(value, out)
            else:
                for c in range(y.shape[2]):
                    out[n, p, c] = stored(widened(y[n, p, c]) * scale[c] + shift[c], out)


@compiled
def settle_gradient(totals, count, gamma, statistics, grads, constants):
    """From the sums of the gradient g and of g·y those of γ and β, and the constants of ``normalise_gradient``."""
    channels = len(gamma)
    for c in range(channels):
        mean, invstd, total = statistics[0, c], statistics[1, c], _per_channel(totals, 0, c, channels)
        grad_gamma = (_per_channel(totals, 1, c, channels) - mean * total) * invstd
        grads[0, c], grads[1, c] = grad_gamma, total
        for k in range(c, constants.shape[1], channels):
            constants[0, k], constants[1, k] = mean, grad_gamma * invstd / count
            constants[2, k], constants[3, k] = total / count, gamma[c] * invstd


@compiled
def normalise_gradient(y, grad, out, constants):
    """Write (grad − mean grad − (y − mean)·slope)·scale; ``constants`` per channel: mean, slope, mean grad, scale."""
    mean, slope, mean_grad, scale = constants[0], constants[1], constants[2], constants[3]
    for n in range(len(y)):
        for p in range(y.shape[1]):
            for c in range(y.shape[2]):
                centred = widened(y[n, p, c]) - mean[c]
                out[n, p, c] = stored((widened(grad[n, p, c]) - mean_grad[c] - centred * slope[c]) * scale[c], out)


# ---- the same, shared among numba's threads. They wait for work at the ready, as torch's do; Python's would have to be
# woken, on cores that torch's threads hold for some milliseconds after each of their operations.

shared = partial(compiled, parallel=True)


@shared
def charge_shared(arrays, constants, workers):
    x, v, charged, spikes, after = arrays
    step = -(-len(x) // workers)
    for i in prange(workers):
        own = slice(i * step, (i + 1) * step)
        charge(x[own], v[own], charged[own], spikes[own], after[own], constants)


@shared
def gradient_shared(arrays, constants, workers):
    charged, grad_spikes, grad_v, grad_x, grad_before = arrays
    step = -(-len(charged) // workers)
    for i in prange(workers):
        own = slice(i * step, (i + 1) * step)
        gradient(charged[own], grad_spikes[own], grad_v[own], grad_x[own], grad_before[own], constants)


@shared
def sums_shared(arrays, constants, workers):
    y, other, totals = arrays
    step = -(-len(y) // workers)
    for i in prange(workers):
        own = slice(i * step, (i + 1) * step)
        sums(y[own], other[own], totals[own], constants)


@shared
def normalise_shared(arrays, constants, workers):
    y, plus, out = arrays
    step = -(-len(y) // workers)
    for i in prange(workers):
        own = slice(i * step, (i + 1) * step)
        normalise(y[own], plus[own], out[own], constants)


@shared
def normalise_gradient_shared(arrays, constants, workers):
    y, grad, out = arrays
    step = -(-len(y) // workers)
    for i in prange(workers):
        own = slice(i * step, (i + 1) * step)
        normalise_gradient(y[own], grad[own], out[own], constants)


SHARED = {
    charge: charge_shared,
    gradient: gradient_shared,
    sums: sums_shared,
    normalise: normalise_shared,
    normalise_gradient: normalise_gradient_shared,
}


def in_shares(loop: Callable, arrays: Sequence[np.ndarray], constants: object, threads: int) -> None:
    """Run a loop of this module on all arrays, cut along their first axis; empty arrays are handed on as they are."""
    size = arrays[0].size
    workers = min(threads, len(arrays[0]), size // SHARE, numba.config.NUMBA_NUM_THREADS)
    if workers > 1 and SHARING.acquire(blocking=False):
        before = numba.get_num_threads()
        try:
            numba.set_num_threads(workers)
            SHARED[loop](tuple(arrays), constants, workers)
        finally:
            numba.set_num_threads(before)
            SHARING.release()
    elif size:
        loop(*arrays, constants)
