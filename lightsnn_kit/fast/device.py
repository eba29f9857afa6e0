"""The device back end of the fast scorer: the candidates of a round side by side, K of them in every operation.

They share weights and batches, so each node's spikes meet the weights of all its edges in one product, [K·M, C] by
[C, edges·C]; what tells candidates apart are the mixing weights [K, terms], 0 where a candidate lacks an op. ``parts``
has the operations: torch's on any device, Triton's on CUDA. Nothing waits for the host within a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Op
from ..exact import LatticeConv2d, exact_lif, running_affine
from ..kernels import SpikeStatistics, column_words, count_distinct, from_shared
from ..recording import own_state
from ..spaces import OpMask
from .engine import ConvKey, Engine, conv_layers, conv_modules, scale_of
from .parts import Group, Row, Slots, Sums, Terms, TorchParts, onto
from .plan import SIDE, CellPlan, Term, plan_cell

AT_ONCE = 2**26  # elements of a node's value, all candidates together: 0.25 GiB of float32, enough to fill a large card
SHARE = 0.8  # of a card's free memory that a pass may take
CANDIDATES = 256  # more fill no card better, and nothing is known of any before all are scored


def join(masks: Sequence[OpMask]) -> OpMask:
    """The mask of every op that one of the masks has."""
    space = masks[0].space
    alive = [[op for op in space.ops if any(op in mask.alive_on(edge) for mask in masks)] for edge in space.edges]
    return OpMask(space, tuple(map(tuple, alive)))


def weight_of(mask: OpMask, term: Term) -> float:
    """A term's mixing weight in a mask, 0 for an op that it lacks."""
    alive = mask.alive_on(term.edge)
    return 1 / len(alive) if term.op in alive else 0.0


class CellState:
    """What one cell keeps in a pass: a slot for every value that is read, and the membranes of its nodes."""

    def __init__(
        self, plan: CellPlan, module: nn.Module, shape: tuple[int, int, int], device: torch.device, kind: torch.dtype
    ) -> None:
        nodes = range(module.num_nodes)
        keys = [key for node in nodes for key in plan.convs(node, last_step=False)]
        convs = [conv_modules(module, key)[0] for key in keys]
        planes = [(node, op) for node in nodes for op in (Op.SKIP, *plan.pooled(node))]
        self.slot = {key: number for number, key in enumerate([*keys, *planes, "input"])}
        sums = torch.empty(len(keys), *shape, device=device, dtype=kind)
        values = torch.empty(len(planes) + 1, *shape, device=device)
        self.slots = Slots.of(sums, values, [scale_of(conv) for conv in convs])
        self.v = {node: torch.zeros(shape, device=device) for node in range(module.num_nodes + 1)}

    def plane(self, key: object) -> Tensor:
        """Where a node's value, one of its poolings or the input lies: [K, M, C]."""
        return self.slots.values[self.slot[key] - len(self.slots.sums)]

    def rows(self, plan: CellPlan, node: int, masks: Sequence[OpMask], *, first: bool) -> list[Row]:
        """What is summed into a node: each term's slot, what ends with it, and its weight in every mask."""
        rows: list[Row] = [] if node else [(self.slot["input"], SIDE, [1.0] * len(masks))]
        for term, end in plan.summed(node, first=first):
            key = (term.edge, term.op) if term.op.is_conv else (term.edge.source, term.op)
            rows.append((self.slot[key], end, [weight_of(mask, term) for mask in masks]))
        return rows


@dataclass
class Recorded:
    """The counts of K candidates, by cell and node (or the name of a LIF layer behind the cells)."""

    plans: list[CellPlan]
    patterns: bool
    neurons: dict[object, int] = field(default_factory=dict)
    shared: dict[object, list[Tensor]] = field(default_factory=dict)  # of every step int32 [K, B, B]
    distinct: dict[object, list[Tensor]] = field(default_factory=dict)  # of every step int64 [K]

    def add(self, key: object, spikes: Tensor, parts: TorchParts) -> None:
        """Add one step's spikes [K, B, N]."""
        candidates, samples, self.neurons[key] = spikes.shape
        shared = torch.zeros(candidates, samples, samples, dtype=torch.int32, device=spikes.device)
        parts.share(spikes, shared)
        self.shared.setdefault(key, []).append(shared)
        if self.patterns:
            counts = [count_distinct(column_words(one)) for one in spikes]
            self.distinct.setdefault(key, []).append(torch.stack(counts))

    def names(self, key: object, plan: CellPlan) -> tuple[str, ...]:
        """The LIF layers of the definition that a layer stands for in a candidate's plan; none if it counts none."""
        if isinstance(key, str):
            return (key,)
        return plan.layer_names(*key)

    def statistics(self) -> SpikeStatistics:
        """All candidates in one: counts [L, K·T, B] and distances [L, K·T, B, B]."""
        steps = [torch.stack(each, 1) for each in self.shared.values()]
        counts, hamming = from_shared(torch.stack(steps))  # [L, K, T, B], [L, K, T, B, B]
        patterns = torch.stack([torch.stack(s, 1).flatten() for s in self.distinct.values()]) if self.patterns else None
        layers, sizes = tuple((str(key),) for key in self.neurons), torch.tensor(list(self.neurons.values()))
        return SpikeStatistics(layers, sizes, counts.flatten(1, 2), hamming.flatten(1, 2), patterns)

    def split(self) -> list[SpikeStatistics]:
        """The statistics of each candidate."""
        whole, found = self.statistics(), []
        steps = whole.counts.shape[1] // len(self.plans)
        for k, plan in enumerate(self.plans):
            names = [self.names(key, plan) for key in self.neurons]
            kept = [layer for layer, each in enumerate(names) if each]
            span = slice(k * steps, (k + 1) * steps)
            parts = (whole.counts, whole.hamming) + ((whole.patterns,) if self.patterns else ())
            own = (part[kept, span] for part in parts)
            found.append(SpikeStatistics(tuple(names[i] for i in kept), whole.num_neurons[kept], *own))
        return found

    def kernels(self, kind: str, parts: TorchParts) -> Tensor:
        """The candidates' mean kernels [K, B, B], added one by one in the order of their layers' names."""
        whole, layers = self.statistics(), {}
        for layer, key in enumerate(self.neurons):
            for k, plan in enumerate(self.plans):
                for name in self.names(key, plan):
                    layers.setdefault(name, (layer, [False] * len(self.plans)))[1][k] = True
        order, alive = zip(*(layers[name] for name in sorted(layers)), strict=True)
        return parts.mean_kernels(whole, order, onto(whole.counts.device, alive, torch.bool), kind)


class DeviceEngine(Engine):
    """Scores masks together; exact for integer weights, whatever the device, the number of masks and their order."""

    def __init__(self, supernet, batches: tuple[Tensor, ...], *, bn: str, parts: type[TorchParts] = TorchParts) -> None:
        super().__init__(supernet, batches, bn=bn)
        self.parts = parts(tau=self.config.tau, v_threshold=self.config.v_threshold)
        self.name = f"fast ({self.parts.name})"
        self.device = supernet.input_centre.device
        self.at_once = self._candidates(max(batch.shape[-4] for batch in batches))
        convs = [conv_layers(part) for part in (*self.cells, supernet.down)]
        self.sum_types = tuple(map(self.parts.sum_type, convs))  # here, as the host waits for the largest sums
        self.groups: dict[tuple, Group] = {}
        _, _, conv, norm, _ = supernet.down
        self.down = Group.of([("down",)], [conv], [norm], self.parts.dtype)

    def _candidates(self, samples: int) -> int:
        """How many candidates fill the device, and fit into it."""
        if not isinstance(self.supernet.down[2], LatticeConv2d):
            return 1  # how sums of real weights round may depend on how many rows a product has
        steps = max(len(drives) if self.config.events else self.config.num_steps for drives in self.drives)
        statistics = (2 * self.cells[0].num_nodes + 3) * steps * samples**2  # more than values, of small images
        values = max(drives[0].numel() for drives in self.drives)
        return min(CANDIDATES, max(1, self._largest() // max(values, statistics)))

    def _largest(self) -> int:
        """Elements of a node's value, all candidates together, that a card can hold with all that goes with them."""
        if self.device.type != "cuda":
            return AT_ONCE
        space, nodes = self.supernet.design, self.cells[0].num_nodes
        slots = len(space.edges) * sum(op.is_conv for op in space.ops) + nodes * len(space.ops)
        each = 6 * (slots + nodes) + 24  # bytes: float32 in cell 1, half as many elements in cell 2, what lies between
        free = torch.cuda.mem_get_info(self.device)[0]
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)  # torch's to reuse
        return min(AT_ONCE, int(SHARE * free) // each)

    # -- several masks ---------------------------------------------------------------------------------------------

    def run_many(
        self, masks: Sequence[OpMask], index: int, *, feedback: bool, patterns: bool = False
    ) -> list[SpikeStatistics]:
        return [one for part in self._parts(masks, index, feedback, patterns) for one in part.split()]

    def log_dets(self, masks: Sequence[OpMask], index: int, *, feedback: bool, kind: str) -> list[float]:
        """log|det K| of masks on batch ``index``, as of ``SpikeStatistics.kernel``."""
        recorded = self._parts(masks, index, feedback, False)
        kernels = [part.kernels(kind, self.parts) for part in recorded]
        return self.parts.log_dets(torch.cat(kernels)) if kernels else []

    def _parts(self, masks: Sequence[OpMask], index: int, feedback: bool, patterns: bool):
        for start in range(0, len(masks), self.at_once):
            self.masks = tuple(masks[start : start + self.at_once])
            self.recorded = Recorded([plan_cell(mask, feedback=feedback) for mask in self.masks], patterns)
            try:
                with own_state(self.supernet, grad=False):
                    self.walk(plan_cell(join(self.masks), feedback=feedback), index)
            finally:
                self.states, self.down_sums = [], None  # their memory is the next ones', also after an error
            yield self.recorded

    def start(self, plan: CellPlan, batch_size: int, size: tuple[int, int]) -> None:
        self.plan, self.batch_size = plan, batch_size
        self.sizes, width = (size, (size[0] // 2, size[1] // 2)), self.config.width
        shapes = [(len(self.masks), batch_size * h * w, width << cell) for cell, (h, w) in enumerate(self.sizes)]
        each = zip(self.cells, shapes, self.sum_types[:2], strict=True)
        self.states = [CellState(plan, cell, shape, self.device, kind) for cell, shape, kind in each]
        rows = {
            (cell, node, first): state.rows(plan, node, self.masks, first=first)
            for cell, state in enumerate(self.states)
            for node in plan.nodes
            for first in (True, False)
        }
        rows["one"] = [(0, SIDE, [1.0] * len(self.masks))]  # a slot as it is
        self.terms = Terms.tables(rows, len(self.masks), self.device)
        reads = [t for side in (plan.forward, plan.backward) for edges in side.values() for e in edges for t in e]
        self.stored = {t.edge.source for t in reads if not t.op.is_conv} | {self.cells[0].num_nodes - 1}
        self.down_sums = torch.empty(1, *shapes[0][:2], 2 * width, device=self.device, dtype=self.sum_types[2])
        self.hidden_v = torch.zeros(len(self.masks) * batch_size, self.config.hidden, device=self.device)

    # -- a pass ------------------------------------------------------------------------------------------------------

    def cell_step(self, cell: int, x: Tensor | None, *, first: bool, last: bool) -> None:
        state, plan = self.states[cell], self.plan
        if x is not None and (first or self.config.events):  # a static image drives every step alike
            state.plane("input").copy_(x)  # [M, C] for every candidate
        for node in plan.nodes:
            out = state.plane((node, Op.SKIP)) if node in self.stored else None
            v = state.v[node] if plan.counted[node] else None
            spikes = self.parts.integrate(state.slots, self.terms[cell, node, first], out=out, v=v)
            if spikes is not None:
                self._record((cell, node), spikes)
                self._convolve(cell, plan.convs(node, last_step=last), spikes)
            for op in plan.pooled(node):
                state.plane((node, op)).copy_(self._pool(cell, op, out))

    def _record(self, key: object, spikes: Tensor) -> None:
        self.recorded.add(key, spikes.reshape(len(self.masks), self.batch_size, -1), self.parts)  # [K, B, N]

    def _convolve(self, cell: int, keys: tuple[ConvKey, ...], spikes: Tensor) -> None:
        state, count = self.states[cell], self.bn == "batch"
        for op in (Op.CONV3X3, Op.CONV1X1):
            if chosen := tuple(key for key in keys if key[1] is op):
                group, where = self._group(cell, chosen), tuple(state.slot[key] for key in chosen)
                sums = self.parts.convolve(spikes, group, self.sizes[cell], state.slots.sums, where, count=count)
                self._settle(state.slots, where, group.norm, sums, spikes.shape[1])

    def _group(self, cell: int, keys: tuple[ConvKey, ...]) -> Group:
        if (cell, keys) not in self.groups:
            convs, norms = zip(*(conv_modules(self.cells[cell], key) for key in keys), strict=True)
            self.groups[cell, keys] = Group.of(keys, convs, norms, self.parts.dtype)
        return self.groups[cell, keys]

    def _settle(
        self, slots: Slots, where: tuple[int, ...], norm: nn.BatchNorm2d, sums: Sums | None, pixels: int
    ) -> None:
        """Write the factors of a normalisation for the slots of its channels."""
        if sums is not None:
            return self.parts.settle(slots, where, norm, sums, pixels)
        for slot, *factors in zip(where, *(each.chunk(len(where)) for each in running_affine(norm)), strict=True):
            slots.gain[slot], slots.shift[slot] = factors

    def _pool(self, cell: int, op: Op, value: Tensor) -> Tensor:
        pool = F.avg_pool2d if op is Op.AVGPOOL3X3 else F.max_pool2d
        pooled = pool(self._image(value, cell), 3, 1, 1)  # [K·B, C, H, W]
        return pooled.permute(0, 2, 3, 1).reshape(value.shape)  # [K, M, C]

    def _image(self, x: Tensor, cell: int) -> Tensor:
        return x.reshape(-1, *self.sizes[cell], x.shape[2]).permute(0, 3, 1, 2)  # [K·B, C, H, W]

    def _output_fire(self, cell: int, norm: nn.BatchNorm2d, name: str) -> Tensor:
        """BN and LIF on a cell's output."""
        state, nodes = self.states[cell], self.cells[cell].num_nodes
        value = state.plane((nodes - 1, Op.SKIP))
        slots = Slots.of(value[None], state.slots.values, [1.0])
        sums = self.parts.add_columns(value, None) if self.bn == "batch" else None
        self._settle(slots, (0,), norm, sums, value.shape[1])
        spikes = self.parts.integrate(slots, self.terms["one"], out=None, v=state.v[nodes])
        self._record(name, spikes)
        return spikes

    def downsample(self, *, first: bool) -> None:
        norm, _, conv, norm2, _ = self.supernet.down
        spikes, count = self._output_fire(0, norm, "down.1"), self.bn == "batch"
        sums = self.parts.convolve(spikes, self.down, self.sizes[0], self.down_sums, (0,), count=count)
        slots = Slots.of(self.down_sums, self.down_sums, [scale_of(conv)])
        self._settle(slots, (0,), norm2, sums, spikes.shape[1])
        pooled = self.parts.pool_pairs(slots, self.sizes[0], average=self.config.pool == "avg")  # [K, M/4, 2·C]
        self.states[1].plane("input").copy_(pooled)

    def classify(self, *, first: bool) -> None:
        norm, _, pool, _ = self.supernet.last
        linear = self.supernet.classifier[1]
        spikes = self._output_fire(1, norm, "last.1")
        features = pool(self._image(spikes.float(), 1)).flatten(1)  # [K·B, F]
        x = (features @ linear.weight.T) * scale_of(linear)
        fired, self.hidden_v = exact_lif(x, self.hidden_v, self.config.tau, self.config.v_threshold)
        self._record("classifier.2", fired.to(self.parts.dtype))
