"""The fast scorer: the same integers as the plain one, with nothing computed twice or in vain.

All LIF layers fed by one node are identical, so there is one LIF and one kernel per source node, and its convolutions
are done together (on the CPU up to 64 channels; wider ones fill the processor one by one).
``Engine`` walks through a plan; here is its device back end, in torch operations on matrices [pixels, channels];
``cpu_engine`` has the int8 one. A back end may choose how to add integers, never how to round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Edge, Op
from ..kernels import MAX_NEURONS, SpikeStatistics
from ..lattice import (
    ExactBatchNorm2d,
    LatticeConv2d,
    check_exact,
    exact_lif,
    grid_affine,
    grid_steps,
    running_affine,
    scoring_mode,
    window_matrix_product,
)
from ..networks import SpikingNetwork, SuperCell
from ..spaces import OpMask
from .plan import CellPlan, plan_cell

ConvKey = tuple[Edge, Op]


def check_supported(supernet: SpikingNetwork) -> None:
    """``ValueError`` if the engine cannot score this supernet exactly, with what to do instead."""
    config, conv = supernet.config, supernet.down[2]
    if not isinstance(supernet.cell1, SuperCell) or not isinstance(supernet.last[0], ExactBatchNorm2d):
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


def conv_modules(cell: SuperCell, key: ConvKey) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The convolution and normalisation of an edge's op."""
    _, conv, norm = cell.ops[f"{key[0]}:{key[1]}"]
    return conv, norm


def scale_of(conv: nn.Module) -> float:
    """The lattice scale; 1 for real weights."""
    return getattr(conv, "scale", 1.0)


class Recorder:
    """Collects spike counts and distances per layer and step, under the names of the LIF layers they stand for."""

    def __init__(self) -> None:
        self.sizes: dict[tuple[str, ...], int] = {}
        self.rows: dict[tuple[str, ...], list[tuple[Tensor, Tensor]]] = {}

    def add(self, names: tuple[str, ...], num_neurons: int, counts: Tensor, shared: Tensor) -> None:
        """Add one step: ``counts`` [B] and ``shared`` [B, B] (spikes in common), integers."""
        counts, shared = counts.to(torch.int64), shared.to(torch.int64)
        self.sizes[names] = num_neurons
        self.rows.setdefault(names, []).append((counts, counts[:, None] + counts[None, :] - 2 * shared))

    def result(self) -> SpikeStatistics:
        """What was collected."""
        counts, distances = (
            torch.stack([torch.stack([r[i] for r in rows]) for rows in self.rows.values()]) for i in (0, 1)
        )
        return SpikeStatistics(tuple(self.rows), torch.tensor(list(self.sizes.values())), counts, distances)


class Engine(ABC):
    """Scores masks of one supernet on fixed batches; buffers and the stem's output are kept between candidates."""

    name: str

    def __init__(self, supernet: SpikingNetwork, batches: tuple[Tensor, ...], *, bn: str) -> None:
        check_supported(supernet)
        self.supernet, self.config, self.bn = supernet, supernet.config, bn
        self.cells = (supernet.cell1, supernet.cell2)
        with torch.no_grad(), scoring_mode(supernet, bn):
            self.drives = [self._drives(batch.to(supernet.input_centre.device)) for batch in batches]

    def _drives(self, batch: Tensor) -> list[Tensor]:
        """The stem's output for every step, [M, C] each: it depends on no mask (one entry for a static image)."""
        frames = batch if self.config.events else [batch]
        return [self.supernet.drive(frame).permute(0, 2, 3, 1).reshape(-1, self.config.width) for frame in frames]

    @torch.no_grad()
    def run(self, mask: OpMask, index: int, *, feedback: bool) -> SpikeStatistics:
        """One pass over batch ``index``."""
        plan, drives = plan_cell(mask, feedback=feedback), self.drives[index]
        num_steps = len(drives) if self.config.events else self.config.num_steps
        recorder = Recorder()
        height, width = (size // (2 if self.config.events else 1) for size in self.config.input_shape[1:])
        self.start(plan, len(drives[0]) // (height * width), (height, width), recorder)
        for t in range(num_steps):
            last = t == num_steps - 1
            self.cell_step(0, drives[t if self.config.events else 0], first=t == 0, last=last)
            self.downsample(first=t == 0)
            self.cell_step(1, None, first=t == 0, last=last)
            self.classify(first=t == 0)
        return recorder.result()

    def layer_names(self, cell: int, node: int) -> tuple[str, ...]:
        """The LIF layers of the definition that a node's spikes stand for."""
        return tuple(f"cell{cell + 1}.ops.{edge}:{op}.0" for edge, op in self.plan.counted[node])

    @abstractmethod
    def start(self, plan: CellPlan, batch_size: int, size: tuple[int, int], recorder: Recorder) -> None:
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


class TorchEngine(Engine):
    """The device back end: torch operations only, no synchronisation with the host inside a score."""

    name = "fast (torch)"

    def start(self, plan: CellPlan, batch_size: int, size: tuple[int, int], recorder: Recorder) -> None:
        self.plan, self.batch_size, self.recorder = plan, batch_size, recorder
        self.sizes = (size, (size[0] // 2, size[1] // 2))
        self.v: dict[tuple, Tensor] = {}
        self.values: tuple[dict, dict] = ({}, {})  # per cell: value of every (edge, op) read by a target
        self.output: list[Tensor | None] = [None, None]

    def fire(self, key: tuple, x: Tensor, names: tuple[str, ...]) -> Tensor:
        v = self.v.get(key)
        spikes, self.v[key] = exact_lif(
            x, torch.zeros_like(x) if v is None else v, self.config.tau, self.config.v_threshold
        )
        if names:
            flat = spikes.reshape(self.batch_size, -1)  # [B, N]
            shared = flat @ flat.T
            self.recorder.add(names, flat.shape[1], shared.diagonal(), shared)
        return spikes

    def normalise(self, norm: nn.BatchNorm2d, acc: Tensor, scale: float = 1.0) -> Tensor:
        x = acc * scale
        if self.bn == "batch":
            q, grid = grid_steps(x, norm.grid)
            a, b = grid_affine(norm, q.sum(0), (q * q).sum(0), len(x), grid)
        else:
            a, b = running_affine(norm)
        return x * a + b

    def cell_step(self, cell: int, x: Tensor | None, *, first: bool, last: bool) -> None:
        module, plan, values = self.cells[cell], self.plan, self.values[cell]
        x = self.cell2_input if x is None else x
        for node in plan.nodes:
            value = x if node == 0 else self._total(plan.forward.get(node, ()), values)
            value = torch.zeros_like(x) if value is None else value
            if node == module.num_nodes - 1:
                self.output[cell] = value
            if not first and (fed_back := self._total(plan.backward.get(node, ()), values)) is not None:
                value = value + fed_back
            if plan.counted[node]:
                spikes = self.fire((cell, node), value, self.layer_names(cell, node))
                self._convolve(cell, plan.convs(node, last_step=last), spikes)
            values[node, Op.SKIP] = value
            for op in plan.pooled(node):
                values[node, op] = self._pool(cell, op, value)

    def _total(self, groups: tuple, values: dict) -> Tensor | None:
        total = None
        for terms in groups:
            edge_value = None
            for term in terms:
                value = values[(term.edge, term.op) if term.op.is_conv else (term.edge.source, term.op)]
                value = value * term.weight
                edge_value = value if edge_value is None else edge_value + value
            total = edge_value if total is None else total + edge_value
        return total

    def _convolve(self, cell: int, keys: tuple[ConvKey, ...], spikes: Tensor) -> None:
        for op in (Op.CONV3X3, Op.CONV1X1):
            group = [key for key in keys if key[1] is op]
            if not group:
                continue
            convs, norms = zip(*(conv_modules(self.cells[cell], key) for key in group), strict=True)
            acc = window_matrix_product(spikes, torch.cat([conv.weight for conv in convs]), self.sizes[cell])
            for key, conv, norm, part in zip(group, convs, norms, acc.chunk(len(group), dim=1), strict=True):
                self.values[cell][key] = self.normalise(norm, part, scale_of(conv))

    def _image(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x.reshape(self.batch_size, *size, -1).permute(0, 3, 1, 2)  # [B, C, H, W]

    def _pool(self, cell: int, op: Op, value: Tensor) -> Tensor:
        pool = F.avg_pool2d if op is Op.AVGPOOL3X3 else F.max_pool2d
        return pool(self._image(value, self.sizes[cell]), 3, 1, 1).permute(0, 2, 3, 1).reshape(value.shape)

    def downsample(self, *, first: bool) -> None:
        norm, _, conv, norm2, pool = self.supernet.down
        spikes = self.fire(("down",), self.normalise(norm, self.output[0]), ("down.1",))
        acc = window_matrix_product(spikes, conv.weight, self.sizes[0])
        pooled = pool(self._image(self.normalise(norm2, acc, scale_of(conv)), self.sizes[0]))
        self.cell2_input = pooled.permute(0, 2, 3, 1).reshape(-1, acc.shape[1])

    def classify(self, *, first: bool) -> None:
        norm, _, pool, _ = self.supernet.last
        linear = self.supernet.classifier[1]
        spikes = self.fire(("last",), self.normalise(norm, self.output[1]), ("last.1",))
        features = pool(self._image(spikes, self.sizes[1])).flatten(1)
        self.fire(("hidden",), (features @ linear.weight.T) * scale_of(linear), ("classifier.2",))


def make_engine(supernet: SpikingNetwork, batches: tuple[Tensor, ...], *, bn: str) -> Engine:
    """The back end for the supernet's device."""
    if supernet.input_centre.device.type != "cpu":
        return TorchEngine(supernet, batches, bn=bn)
    from .cpu_engine import CpuEngine  # numba takes a second to import

    return CpuEngine(supernet, batches, bn=bn)
