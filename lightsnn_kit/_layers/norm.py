"""Batch normalisation with an addend and a training step of its own, in fewer passes over memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .loops import kernels, laid_out, run_loop

NONE = np.empty((0, 1, 1), np.float32)
LANES = 64  # loops over fewer numbers than this do not fill the processor's vectors


class NormStep(torch.autograd.Function):
    """(y, γ, β, addend) → (y − mean)·γ/√(var + ε) + β + addend; updates the running statistics of ``norm``.

    For float32 images in channels-last layout on the CPU.
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
    return tensor.detach().as_strided((samples, size // row, row), (size, row, 1)).numpy()


def _sums(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    totals = np.zeros((len(rows), 2, rows.shape[2]))
    run_loop("sums", (rows, other, totals), NONE)
    return totals


class BatchNorm(nn.BatchNorm2d):
    """torch's batch normalisation, called with an addend if wanted; where ``NormStep`` fits it takes that."""

    def forward(self, y: Tensor, plus: Tensor | None = None) -> Tensor:
        if not (self.training and self._fits(y, plus)):
            out = super().forward(y)
            return out if plus is None else out + plus
        self.num_batches_tracked += 1
        return NormStep.apply(y, self.weight, self.bias, plus, self)

    def _fits(self, y: Tensor, plus: Tensor | None) -> bool:
        def plain(tensor: Tensor) -> bool:
            rows = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
            return rows and tensor.device.type == "cpu" and tensor.dtype == torch.float32 == self.weight.dtype

        ours = self.affine and self.track_running_stats and self.momentum is not None
        return (
            ours and plain(y) and y.numel() > y.shape[1] and (plus is None or (plain(plus) and plus.shape == y.shape))
        )
