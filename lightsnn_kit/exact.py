"""Layers whose scoring arithmetic is exact: integer weights, integer batch statistics, one fixed order of rounding.

Scores use random weights, so their distribution may live on a grid: weights are integers in [−127, 127] times one
scale. Spikes are 0 or 1, hence every convolution is an integer sum below 2²⁴: the same bits in int8, float32 and TF32,
for any order of summation (the stem's input must be integers for that: 8-bit images, event counts). Batch statistics
are integer sums too. What rounds after that (scale, normalise, charge) is elementwise, in float32, with separate
multiplications and additions. For scoring only: nothing here has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import OwnBlock
from .layers import LIF, BatchNorm

WEIGHT_MAX = 127
EXACT_LIMIT = 2**24  # float32 holds every integer below
VALUE_BITS = 20  # statistics of real values: the largest one is below 2**20 steps of a grid that is a power of two


def check_exact(name: str, fan_in: int, max_input: float = 1, steps_per_unit: int = 1) -> None:
    """``ValueError`` unless ``fan_in`` products of weights and inputs ≤ ``max_input`` sum exactly in float32.

    ``steps_per_unit``: inputs are multiples of its reciprocal (averages over 4 pixels: 4).

    >>> check_exact("hidden layer", 32768, steps_per_unit=4)
    """
    bound = fan_in * WEIGHT_MAX * max_input * steps_per_unit
    if bound >= EXACT_LIMIT:
        raise ValueError(
            f"{name}: {fan_in} inputs of at most {max_input:g} give sums up to {bound:g} grid steps; "
            f"int8 scoring is exact below {EXACT_LIMIT} only. Use a smaller network or init='kaiming'."
        )


def largest_sum(convs: Sequence[nn.Conv2d]) -> float:
    """The largest magnitude that convolutions can give of spikes: infinite for real weights, 0 for none of them."""
    if not all(isinstance(conv, LatticeConv2d) for conv in convs):
        return math.inf
    weights = [conv.weight.detach().flatten(1) for conv in convs]  # [K, C·k·k]
    return max((float(max(w.clamp_min(0).sum(1).max(), -w.clamp_max(0).sum(1).min())) for w in weights), default=0.0)


def window_matrix_product(spikes: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """A 1x1 or 3x3 convolution of [M, C] as one matrix product per tap: [M, K].

    Not ``conv2d``: cuDNN may pick a Winograd algorithm, whose transforms are not exact on integers.
    """
    taps = weight.flatten(2).permute(2, 1, 0)  # [taps, C, K]
    if len(taps) == 1:
        return spikes @ taps[0]
    height, width = size
    padded = F.pad(spikes.view(-1, height, width, spikes.shape[1]), (0, 0, 1, 1, 1, 1))  # [B, H + 2, W + 2, C]
    total = spikes.new_zeros(len(spikes), weight.shape[0])
    for tap, matrix in enumerate(taps):
        dy, dx = divmod(tap, 3)
        window = padded[:, dy : dy + height, dx : dx + width].reshape(len(spikes), -1)  # [M, C]
        total.addmm_(window, matrix)  # float32 sums of integers < 2**24: exact, also in TF32
    return total


class LatticeConv2d(nn.Conv2d):
    """A convolution with integer weights (held as floats), its result multiplied by ``scale``."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """The scaled integer sums of a convolution of integers."""
        if x.is_cuda:
            pixels = x.permute(0, 2, 3, 1).flatten(0, 2)  # [B, C, H, W] -> [M, C], M = B·H·W
            sums = window_matrix_product(pixels, self.weight, tuple(x.shape[2:]))
            return sums.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2) * self.scale  # [B, K, H, W]
        with torch.backends.nnpack.flags(enabled=False):  # NNPACK transforms, as Winograd does: not exact
            return self._conv_forward(x, self.weight, None) * self.scale


class LatticeLinear(nn.Linear):
    """A linear layer with integer weights (held as floats), its result multiplied by ``scale``."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) * self.scale


def grid_steps(x: Tensor, grid: Tensor | float | None) -> tuple[Tensor, Tensor | float]:
    """Values as integer steps of a grid, int64, and the grid.

    Without a grid it is the ``fitting_grid`` of the largest magnitude: a maximum is exact in any order, and squares of
    such integers may be summed over 2²³ pixels.
    """
    if grid is None:
        grid = fitting_grid(x.abs().amax())
    return torch.round(x / grid).to(torch.int64), grid


def fitting_grid(largest: Tensor) -> Tensor:
    """The powers of two that put magnitudes, float32 of any shape, just below 2²⁰ steps."""
    exponent = torch.frexp(largest).exponent.clamp_min(-100)
    bits = (exponent - VALUE_BITS + 127).to(torch.int32) << 23  # as written down: a device's power may round
    return bits.view(torch.float32)


def grid_affine(
    norm: nn.BatchNorm2d, total: Tensor, squares: Tensor, count: int, grid: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Float32 factors (a, b) of the normalisation y = x·a + b from integer sums over ``count`` values per channel.

    ``total`` and ``squares``: int64 [C], sums of the steps of ``grid`` and of their squares. Float64, rounded once.
    """
    # on the device: torch's CUDA division by a number of the host is a product with its reciprocal, which rounds twice
    count = torch.full((), count, dtype=torch.float64, device=total.device)
    mean, grid = total.double() / count, grid.double() if isinstance(grid, Tensor) else grid
    variance = ((squares.double() - total.double() * mean) / count).clamp_min(0)
    return _affine(norm, mean * grid, variance * (grid * grid))


def running_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The same from the running statistics."""
    return _affine(norm, norm.running_mean.double(), norm.running_var.double())


def _affine(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    gain = norm.weight.detach().double() / (variance + norm.eps).sqrt()
    return gain.float(), (norm.bias.detach().double() - mean * gain).float()


class ExactBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics are integer sums of grid steps; running statistics never change.

    Behind a ``LatticeConv2d`` the grid is the convolution's scale and the steps are its integers; elsewhere None, see
    ``grid_steps``.
    """

    grid: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            q, grid = grid_steps(x, self.grid)
            a, b = grid_affine(self, q.sum((0, 2, 3)), (q * q).sum((0, 2, 3)), q.numel() // q.shape[1], grid)
        else:
            a, b = running_affine(self)
        return x * a.view(-1, 1, 1) + b.view(-1, 1, 1)  # [C, 1, 1] each, beside [B, C, H, W]


def exact_lif(x: Tensor, v: Tensor, tau: float, v_threshold: float) -> tuple[Tensor, Tensor]:
    """One step of a LIF layer, (spikes, v): v + (x − v)·(1/tau), spike where ≥ v_threshold, reset to 0 there."""
    v = v + (x - v) * (1 / tau)
    fired = v >= v_threshold
    return fired.to(x.dtype), v.masked_fill(fired, 0.0)


class ExactLIF(neuron.LIFNode):
    """A LIF layer charged by v + (x − v)·(1/tau), rounded after each operation.

    spikingjelly 2.0 divides by tau; torch turns a division by a scalar into a product on CUDA but not on the CPU.
    """

    def single_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        spikes, v = exact_lif(inputs[0], states[0], self.tau, self.v_threshold)
        return (spikes,), (v, *states[1:])


def lattice_scale(fan_in: int) -> float:
    """The scale that gives uniform integers in [−127, 127] the variance of Kaiming-uniform with a = 2.

    Var U(−b, b) = b²/3 with b² = 6 / (5·fan_in); the integers have variance 127·128/3.
    """
    return (6 / (5 * fan_in) / (WEIGHT_MAX * (WEIGHT_MAX + 1))) ** 0.5


LINEAR_SPREAD = 32  # N(0, std) is drawn as rounded N(0, 32) times std/32: 127 is 3.97 standard deviations


@torch.no_grad()
def _lattice_weights(module: nn.Module, generator: torch.Generator, linear_std: float) -> None:
    weight = module.weight
    if isinstance(module, LatticeConv2d):
        drawn = torch.randint(-WEIGHT_MAX, WEIGHT_MAX + 1, weight.shape, generator=generator)
        module.scale = lattice_scale(weight[0].numel())
    else:
        drawn = (torch.randn(weight.shape, generator=generator) * LINEAR_SPREAD).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        module.scale = linear_std / LINEAR_SPREAD
    weight.copy_(drawn)


def make_exact(network: nn.Module, generator: torch.Generator, *, init: str, linear_std: float) -> None:
    """Turn a freshly built network's layers into exact ones, in place; ``init='lattice'`` also draws integer weights.

    What is your own stays as it is: layers inside of your ops, and your neurons.

    With ``init='kaiming'`` the convolutions stay as they are and only statistics and neurons are exact.
    """
    classes = {BatchNorm: ExactBatchNorm2d, LIF: ExactLIF}
    if init == "lattice":
        classes |= {nn.Conv2d: LatticeConv2d, nn.Linear: LatticeLinear}
    own = {part for block in network.modules() if isinstance(block, OwnBlock) for part in block.modules()}
    for block in [m for m in network.modules() if isinstance(m, nn.Sequential) and m not in own]:
        previous = None
        for module in block:
            last_layer = isinstance(module, nn.Linear) and module.bias is not None  # no LIF sees it
            if type(module) in classes and not last_layer:
                module.__class__ = classes[type(module)]  # same fields, another forward
                if isinstance(module, LatticeConv2d | LatticeLinear):
                    _lattice_weights(module, generator, linear_std)
                # the stem's input may be real numbers, so its statistics follow the values
                if (
                    isinstance(module, ExactBatchNorm2d)
                    and isinstance(previous, LatticeConv2d)
                    and block is not network.stem
                ):
                    module.grid = previous.scale
            previous = module
