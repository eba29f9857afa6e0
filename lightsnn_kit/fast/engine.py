"""The fast scorer: the same integers as the plain one, with nothing computed twice or in vain.

All LIF layers fed by one node are identical, so there is one LIF and one kernel per source node, and its convolutions
are done together (on the CPU up to 64 channels; wider ones fill the processor one by one).
``Engine`` walks through a plan; ``device`` has the back end in torch operations, ``cpu_engine`` the int8 one. A back
end may choose how to add integers, never how to round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..blocks import own_parts
from ..cells import Edge, Op
from ..exact import ExactBatchNorm2d, LatticeConv2d, check_exact
from ..kernels import MAX_NEURONS, SpikeStatistics, column_words, count_distinct, from_shared
from ..recording import own_state, scoring_mode
from ..spaces import CellSpace, OpMask
from .plan import CellPlan

if TYPE_CHECKING:
    from ..networks import SpikingNetwork, SuperCell

ConvKey = tuple[Edge, Op]
Pack = Callable[[Tensor], Tensor]


def check_supported(supernet: SpikingNetwork) -> None:
    """``ValueError`` if the engine cannot score this supernet exactly, with what to do instead."""
    config, conv = supernet.config, supernet.down[2]
    if own := own_parts(supernet):
        raise ValueError(f"the fast engine does not know {own}; use engine='plain'.")
    if not isinstance(supernet.design, CellSpace) or not isinstance(supernet.last[0], ExactBatchNorm2d):
        raise ValueError("the fast engine needs a supernet with init='lattice' or 'kaiming'; use engine='plain'.")
    if config.pool == "avg" and config.last_pool not in (1, 2, 4, 8):  # powers of two, sums in int8
        raise ValueError(f"averages over {config.last_pool}² pixels are not exact here; use engine='plain'.")
    neurons = max(2 * config.width * config.input_shape[1] * config.input_shape[2], config.hidden)
    if neurons >= MAX_NEURONS:
        raise ValueError(f"a layer of up to {neurons} neurons passes 2**24, up to which counts are exact.")
    if isinstance(conv, LatticeConv2d):
        area = config.last_pool**2 if config.pool == "avg" else 1
        check_exact(f"hidden layer ({config.pool} pooling)", config.features, steps_per_unit=area)
        # 2²² instead of 2²⁴: the plain scorer recovers the integers from a float32 product with the scale
        check_exact("convolutions of cell 2", 9 * 2 * config.width, steps_per_unit=4)


def conv_layers(part: nn.Module) -> list[nn.Conv2d]:
    """All convolutions of a part of a supernet."""
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]


def conv_modules(cell: SuperCell, key: ConvKey) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The convolution and normalisation of an edge's op."""
    _, conv, norm = cell.ops[f"{key[0]}:{key[1]}"]
    return conv, norm


def join_norms(norms: Sequence[nn.Module]) -> nn.BatchNorm2d:
    """One normalisation of the channels of several, side by side."""
    joined = nn.BatchNorm2d(sum(norm.num_features for norm in norms), eps=norms[0].eps).to(norms[0].weight.device)
    for name, tensor in joined.state_dict().items():
        if tensor.dim():
            tensor.copy_(torch.cat([norm.state_dict()[name] for norm in norms]))
    return joined


def scale_of(conv: nn.Module) -> float:
    """The lattice scale; 1 for real weights."""
    return getattr(conv, "scale", 1.0)


class Recorder:
    """Collects which spikes samples share per layer and step, under the names of the LIF layers they stand for."""

    def __init__(self, *, patterns: bool) -> None:
        self.patterns = patterns  # whether different columns are counted
        self.sizes: dict[tuple[str, ...], int] = {}
        self.shared: dict[tuple[str, ...], list[Tensor]] = {}
        self.distinct: dict[tuple[str, ...], list[Tensor]] = {}

    def add(self, names: tuple[str, ...], spikes: Tensor, shared: Tensor, pack: Pack = column_words) -> None:
        """Add one step: ``spikes`` [B, N], and ``shared`` [B, B], how many of them each pair of samples has in common.

        ``pack`` makes words of columns, in any way that keeps different ones apart, as ``column_words``.
        """
        self.sizes[names] = spikes.shape[1]
        self.shared.setdefault(names, []).append(shared)
        if self.patterns:
            self.distinct.setdefault(names, []).append(count_distinct(pack(spikes)))

    def result(self) -> SpikeStatistics:
        """What was collected."""
        counts, hamming = from_shared(torch.stack([torch.stack(each) for each in self.shared.values()]))
        patterns = torch.stack([torch.stack(each) for each in self.distinct.values()]) if self.patterns else None
        return SpikeStatistics(tuple(self.sizes), torch.tensor(list(self.sizes.values())), counts, hamming, patterns)


class Engine(ABC):
    """Scores masks of one supernet on fixed batches; buffers and the stem's output are kept between candidates."""

    name: str
    at_once = 1  # masks that are worth handing over together

    def __init__(self, supernet: SpikingNetwork, batches: tuple[Tensor, ...], *, bn: str) -> None:
        check_supported(supernet)
        self.supernet, self.config, self.bn = supernet, supernet.config, bn
        self.cells = (supernet.cell1, supernet.cell2)
        with own_state(supernet, grad=False), scoring_mode(supernet, bn):
            self.drives = [self._drives(batch.to(supernet.input_centre.device)) for batch in batches]

    def _drives(self, batch: Tensor) -> list[Tensor]:
        """The stem's output for every step, [M, C] each: it depends on no mask (one entry for a static image)."""
        drives = (self.supernet.drive(frame) for frame in (batch if self.config.events else [batch]))  # [B, C, H, W]
        return [drive.permute(0, 2, 3, 1).reshape(-1, self.config.width) for drive in drives]  # [M, C], M = B·H·W

    def run(self, mask: OpMask, index: int, *, feedback: bool, patterns: bool = False) -> SpikeStatistics:
        """One pass over batch ``index``; with ``patterns`` different columns are counted, too."""
        return self.run_many((mask,), index, feedback=feedback, patterns=patterns)[0]

    @abstractmethod
    def run_many(
        self, masks: Sequence[OpMask], index: int, *, feedback: bool, patterns: bool = False
    ) -> list[SpikeStatistics]:
        """``run`` of several masks, the same integers as one by one."""

    def walk(self, plan: CellPlan, index: int) -> None:
        """The steps of one pass."""
        drives = self.drives[index]
        num_steps = len(drives) if self.config.events else self.config.num_steps
        height, width = (size // (2 if self.config.events else 1) for size in self.config.input_shape[1:])
        self.start(plan, len(drives[0]) // (height * width), (height, width))
        for t in range(num_steps):
            last = t == num_steps - 1
            self.cell_step(0, drives[t if self.config.events else 0], first=t == 0, last=last)
            self.downsample(first=t == 0)
            self.cell_step(1, None, first=t == 0, last=last)
            self.classify(first=t == 0)

    @abstractmethod
    def start(self, plan: CellPlan, batch_size: int, size: tuple[int, int]) -> None:
        """Begin a pass: all states zero."""

    @abstractmethod
    def cell_step(self, cell: int, x: Tensor | None, *, first: bool, last: bool) -> None:
        """One step of a cell; ``x`` is None for cell 2, which reads what ``downsample`` left."""

    @abstractmethod
    def downsample(self, *, first: bool) -> None:
        """BN, LIF, convolution, BN and pooling between the cells."""

    @abstractmethod
    def classify(self, *, first: bool) -> None:
        """BN, LIF, pooling, hidden linear layer and its LIF."""
