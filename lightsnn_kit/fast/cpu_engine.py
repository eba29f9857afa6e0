"""The CPU back end of the fast scorer: int8 convolutions by tiles or oneDNN, all else in a few passes over memory.

Several masks go to threads one by one. A single one is split by samples over threads that each run their convolutions
on one core; they meet only where batch statistics need the whole batch, and what they add up there is integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from queue import SimpleQueue

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Op
from ..exact import LatticeConv2d, exact_lif, grid_affine, running_affine
from ..kernels import SpikeStatistics
from ..recording import own_state
from ..spaces import OpMask
from . import cpu_loops as kernels
from .cpu_loops import LANES
from .cpu_parts import (
    CellBuffers,
    Group,
    HiddenLayer,
    Shares,
    int8_works,
    make_terms,
    pack_columns,
    pack_rows,
    packed_rows,
    plane_sums,
    sum_type,
    uses_tiles,
)
from .engine import ConvKey, Engine, Recorder, conv_layers, conv_modules, scale_of
from .plan import SIDE, CellPlan, plan_cell
from .threads import run_all

BLOCK = 2**19  # results of a convolution (float32) before they are summed: they stay in the second-level cache
NARROW = 64  # channels up to which oneDNN's convolutions of a node are joined; wider ones fill the processor alone
SHARE = 2**16  # floats of a plane that make another thread worth its hand-over


class TooLargeError(ValueError):
    """A convolution's sum that does not fit in an int16."""


class CpuEngine(Engine):
    """int8 where the processor and torch have it (checked once, see ``int8_works``), exact float32 otherwise."""

    def __init__(self, supernet, batches: tuple[Tensor, ...], *, bn: str, int8: bool | None = None) -> None:
        super().__init__(supernet, batches, bn=bn)
        self.lattice = isinstance(supernet.down[2], LatticeConv2d)
        self.int8 = self.lattice and (int8_works() if int8 is None else int8)
        self.name = "fast (int8)" if self.int8 else "fast (float32)"
        self.tiles = self.int8 and uses_tiles(conv.out_channels for conv in conv_layers(self.cells[0]))
        self.short = True  # sums are kept as int16 where they are looked at, until one does not fit
        self.lanes: list[CpuEngine] = []  # others like it; itself would keep the buffers until the next collection
        self.groups: dict[tuple, Group] = {}
        self.cell_buffers: tuple[CellBuffers, CellBuffers] | None = None
        self.down = self._group(("down",), [supernet.down[2]], [supernet.down[3]])
        self.hidden = HiddenLayer(supernet.classifier[1], self.config.final_size, lattice=self.lattice, int8=self.int8)

    # -- a pass ------------------------------------------------------------------------------------------------

    def run_many(
        self, masks: Sequence[OpMask], index: int, *, feedback: bool, patterns: bool = False
    ) -> list[SpikeStatistics]:
        plans = [plan_cell(mask, feedback=feedback) for mask in masks]
        with own_state(self.supernet, grad=False):
            at_once = self.at_once
            if len(masks) == 1 or at_once == 1:
                return [self._pass(plan, index, patterns) for plan in plans]
            free: SimpleQueue[CpuEngine] = SimpleQueue()
            for lane in self._lanes(at_once):
                free.put(lane)

            @torch.no_grad()  # each thread has a setting of its own
            def run(plan: CellPlan) -> SpikeStatistics:
                lane = free.get()
                try:
                    return lane._pass(plan, index, patterns)
                finally:
                    free.put(lane)

            return run_all(run, plans, at_once)

    @property
    def at_once(self) -> int:
        """A pass for every thread where memory has room for them: small networks give threads too little to share."""
        threads = torch.get_num_threads()
        missing = threads - sum(one.cell_buffers is not None for one in (self, *self.lanes))  # the others' is taken
        return threads if missing * self._pass_bytes() < psutil.virtual_memory().available / 2 else 1

    def _pass_bytes(self) -> int:
        floats, space = max(drives[0].numel() for drives in self.drives), self.supernet.design  # of cell 1: B·H·W·C
        sums = 4 * (len(space.edges) * sum(op.is_conv for op in space.ops) + 2)
        return 3 * floats // 2 * (8 * (space.num_nodes + 1) + sums)

    def _lanes(self, count: int) -> list[CpuEngine]:
        """This engine and others like it, with buffers of their own."""
        while len(self.lanes) < count - 1:
            lane = copy(self)
            lane.cell_buffers, lane.short, lane.lanes = None, True, []
            self.lanes.append(lane)
        return [self, *self.lanes[: count - 1]]

    def _pass(self, plan: CellPlan, index: int, patterns: bool) -> SpikeStatistics:
        self.recorder, self.fits = Recorder(patterns=patterns), True
        try:
            self.walk(plan, index)
        except TooLargeError:  # rare: from now on sums are kept in what holds any of them
            self.short, self.cell_buffers = False, None
            return self._pass(plan, index, patterns)
        return self.recorder.result()

    def start(self, plan: CellPlan, batch_size: int, size: tuple[int, int]) -> None:
        self.plan, self.batch_size = plan, batch_size
        width, half = self.config.width, (size[0] // 2, size[1] // 2)
        images = (math.prod(size) * width, math.prod(half) * 2 * width)  # floats of a sample in either cell
        together = max(LANES // math.gcd(LANES, image) for image in images)  # samples that are whole vectors
        self.shares = Shares(batch_size, together, min(torch.get_num_threads(), batch_size * images[0] // SHARE))
        shapes = [(batch_size, *size), (batch_size, *half)]
        if self.cell_buffers is None or [b.shape[:3] for b in self.cell_buffers] != shapes:
            self.cell_buffers = None  # until all are there, also if memory runs out
            self.down_conv = np.empty((1, batch_size * math.prod(size) * 2 * width), self._sum_type(self.down.convs))
            cells = zip(shapes, (width, 2 * width), self.cells, strict=True)
            self.cell_buffers = tuple(
                CellBuffers(cell.num_nodes, shape, channels, self._sum_type(conv_layers(cell)))
                for shape, channels, cell in cells
            )
        for buffers in self.cell_buffers:
            buffers.free, buffers.coefficients = list(range(len(buffers.conv)))[::-1], {}

    def _sum_type(self, convs: list[nn.Conv2d]) -> type:
        return sum_type(convs, int8=self.int8, short=self.short)

    def cell_step(self, cell: int, x: Tensor | None, *, first: bool, last: bool) -> None:
        buffers, plan = self.cell_buffers[cell], self.plan
        if x is not None and (first or self.config.events):  # a static image drives every step alike
            buffers.planes[buffers.input_plane, : x.numel()] = x.reshape(-1).numpy()  # [M, C] as one row
        for node in plan.nodes:
            self._node(cell, node, first=first, last=last)

    def _node(self, cell: int, node: int, *, first: bool, last: bool) -> None:
        buffers, plan = self.cell_buffers[cell], self.plan
        terms = buffers.terms(plan.summed(node, first=first), drive=node == 0)
        names, pooled = plan.layer_names(cell, node), plan.pooled(node)
        # A value is written to memory only if someone reads it: the next stage, a skip or a pooling.
        reads = [t for side in (plan.forward, plan.backward) for groups in side.values() for g in groups for t in g]
        stored = node == buffers.num_nodes - 1 or any(t.edge.source == node and not t.op.is_conv for t in reads)
        target = self._target(buffers, buffers.plane(node, Op.SKIP) if stored else -1, node, bool(names), first)
        groups = self._groups(cell, plan.convs(node, last_step=last)) if names else []
        # Results of convolutions live in slots; a slot whose last reader is this node is free for the node's own.
        self._release(buffers, node, first)
        slots = [np.array([buffers.free.pop() for _ in group.keys]) for group in groups]
        totals = self.shares.totals([len(s) * buffers.channels for s in slots])
        packed = packed_rows(self.batch_size, buffers.image) if names else None

        def work(worker: int, lo: int, hi: int) -> None:
            kernels.integrate(lo * buffers.image, hi * buffers.image, terms, buffers.conv, buffers.planes, target)
            for op in pooled:
                self._pool(buffers, node, op, lo, hi)
            if packed is not None:
                pack_rows(buffers.images(buffers.spikes, lo, hi), packed[lo:hi])
            for group, where, total in zip(groups, slots, totals[worker], strict=True):
                self._convolve(group, buffers, (where, buffers.conv, total), (worker, lo, hi))

        self._each_share(work)
        # Only now are the statistics of the batch known: BN is not applied, but kept as factors (a, b) of each slot,
        # and taken where the slot is read. That saves a pass over memory for every convolution.
        for i, (group, where) in enumerate(zip(groups, slots, strict=True)):
            self._normalise(buffers, group, where, sum(t[i] for t in totals))
        if packed is not None:
            self._record(names, packed, buffers)

    def _convolve(self, group: Group, buffers: CellBuffers, target: tuple, share: tuple[int, int, int]) -> None:
        """Convolve a worker's spikes, sum the results while they are in a cache; ``target``: slots, of what, totals."""
        (slots, out, totals), (worker, first, end) = target, share
        if group.tiles is not None:
            memory = buffers.memory(worker, group.tiles)
            fits = group.tiles(buffers.images(buffers.spikes, first, end), memory, first, slots, out, totals)
            if not fits and out.dtype == np.int16:
                self.fits = False  # and never True: other workers write it, too
            return
        step = max(1, BLOCK * buffers.channels // (group.channels * buffers.image))
        for lo in range(first, end, step):
            spikes = buffers.images(buffers.spikes, lo, min(lo + step, end))
            pixel = lo * buffers.image // buffers.channels
            kernels.collect(group(spikes), pixel, slots, out, self.lattice, totals)

    def _target(self, buffers: CellBuffers, plane: int, state: int, fires: bool, first: bool) -> kernels.Target:
        decay, threshold = 1 / self.config.tau, self.config.v_threshold
        return kernels.Target(plane, fires, first, buffers.v[state], buffers.spikes, decay, threshold)

    def _release(self, buffers: CellBuffers, node: int, first: bool) -> None:
        """Slots read by this node for the last time may be written again once it is summed.

        They are handed out for the node's own convolutions, which a worker writes only after it has summed the same
        samples.
        """
        for side in (self.plan.forward, self.plan.backward):
            if side is self.plan.backward and first:
                continue
            for key in [(t.edge, t.op) for group in side.get(node, ()) for t in group if t.op.is_conv]:
                buffers.free.append(buffers.coefficients.pop(key)[0])

    def _groups(self, cell: int, keys: tuple[ConvKey, ...]) -> list[Group]:
        if self.cell_buffers[cell].channels > NARROW and not self.tiles:
            chosen = [(key,) for key in keys]
        else:
            chosen = [tuple(key for key in keys if key[1] is op) for op in (Op.CONV3X3, Op.CONV1X1)]
        groups = []
        for together in filter(None, chosen):
            convs, norms = zip(*(conv_modules(self.cells[cell], key) for key in together), strict=True)
            groups.append(self._group((cell, *together), list(convs), list(norms)))
        return groups

    def _group(self, name: tuple, convs: list[nn.Conv2d], norms: list[nn.Module]) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(name[1:] or name, convs, norms, self.int8)
        return self.groups[name]

    def _normalise(self, buffers: CellBuffers, group: Group, slots: np.ndarray, totals: np.ndarray) -> None:
        a, b = self._affine(group.norm, [buffers.conv[slot, : buffers.floats] for slot in slots], totals, group.grids)
        for k, (key, conv) in enumerate(zip(group.keys, group.convs, strict=True)):
            part = slice(k * buffers.channels, (k + 1) * buffers.channels)
            buffers.coefficients[key] = (int(slots[k]), scale_of(conv), a[part], b[part])

    def _affine(self, norm: nn.BatchNorm2d, planes: list[np.ndarray], totals: np.ndarray, grids: list) -> tuple:
        """Factors (a, b) of the normalisation of ``planes``; without a grid the sums are taken here."""
        if self.bn == "running":
            return tuple(factor.numpy() for factor in running_affine(norm))
        channels = norm.num_features // len(planes)
        if grids[0] is None:
            sums = [plane_sums(plane, channels, self.shares) for plane in planes]
            totals, grids = np.concatenate([total for total, _ in sums], axis=1), [grid for _, grid in sums]
        total, squares = torch.from_numpy(totals)
        grid = torch.tensor(grids, dtype=torch.float64).repeat_interleave(channels)
        return tuple(factor.numpy() for factor in grid_affine(norm, total, squares, len(planes[0]) // channels, grid))

    def _pool(self, buffers: CellBuffers, node: int, op: Op, lo: int, hi: int) -> None:
        pool = F.avg_pool2d if op is Op.AVGPOOL3X3 else F.max_pool2d
        value = torch.from_numpy(buffers.images(buffers.planes[node], lo, hi)).permute(0, 3, 1, 2)  # [B, C, H, W]
        out = buffers.images(buffers.planes[buffers.plane(node, op)], lo, hi)
        out[...] = pool(value, 3, 1, 1).permute(0, 2, 3, 1).numpy()

    # -- between and behind the cells ----------------------------------------------------------------------------

    def _output_fire(self, cell: int, norm: nn.Module, name: str, first: bool, after) -> None:
        """BN and LIF on a cell's output; ``after(worker, lo, hi)`` runs for every worker's samples."""
        buffers = self.cell_buffers[cell]
        output = buffers.plane(buffers.num_nodes - 1, Op.SKIP)
        a, b = self._affine(norm, [buffers.planes[output, : buffers.floats]], None, [None])
        terms = make_terms([((1, output, SIDE), 1.0, (1.0, a, b))], buffers.channels)  # a plane, as if of sums
        target = self._target(buffers, -1, buffers.num_nodes, True, first)
        packed = packed_rows(self.batch_size, buffers.image)

        def work(worker: int, lo: int, hi: int) -> None:
            span = lo * buffers.image, hi * buffers.image
            kernels.integrate(*span, terms, buffers.planes, buffers.planes, target)
            pack_rows(buffers.images(buffers.spikes, lo, hi), packed[lo:hi])
            after(worker, lo, hi)

        self._each_share(work)
        self._record((name,), packed, buffers)

    def downsample(self, *, first: bool) -> None:
        norm, _, conv, _, _ = self.supernet.down
        one, two = self.cell_buffers
        channels, slot = two.channels, np.zeros(1, np.int64)
        totals = self.shares.totals([channels])

        def convolve(worker: int, lo: int, hi: int) -> None:
            self._convolve(self.down, one, (slot, self.down_conv, totals[worker][0]), (worker, lo, hi))

        self._output_fire(0, norm, "down.1", first, convolve)
        gain, shift = self._affine(self.down.norm, [self.down_conv[0]], sum(t[0] for t in totals), self.down.grids)
        sums = self.down_conv.reshape(self.batch_size, *one.shape[1:3], channels)  # [B, H, W, 2·C]
        out = two.images(two.planes[two.input_plane], 0, self.batch_size)
        average, scale = self.config.pool == "avg", np.float32(scale_of(conv))

        self._each_share(
            lambda worker, lo, hi: kernels.pool_pairs(sums[lo:hi], scale, gain, shift, out[lo:hi], average)
        )

    def classify(self, *, first: bool) -> None:
        norm, linear, p = self.supernet.last[0], self.supernet.classifier[1], self.config.last_pool
        height, width = self.config.final_size
        buffers = self.cell_buffers[1]
        features = np.empty((self.batch_size, height, width, buffers.channels), np.int8)

        def pool(worker: int, lo: int, hi: int) -> None:
            spikes = buffers.images(buffers.spikes, lo, hi)
            spikes = spikes[:, : height * p, : width * p]  # pooling drops what is left over at the edges
            windows = spikes.reshape(hi - lo, height, p, width, p, -1)  # [B, H, p, W, p, C]
            if self.config.pool == "max":
                features[lo:hi] = windows.max((2, 4))
            else:
                features[lo:hi] = windows.sum((2, 4), dtype=np.int8)

        self._output_fire(1, norm, "last.1", first, pool)
        x = [None] * self.shares.workers
        area = p * p if self.config.pool == "avg" else 1

        def multiply(worker: int, lo: int, hi: int) -> None:
            x[worker] = self.hidden(features[lo:hi], area) * scale_of(linear)

        self._each_share(multiply)
        x = torch.cat(x)
        v = torch.zeros_like(x) if first else self.hidden_v
        spikes, self.hidden_v = exact_lif(x, v, self.config.tau, self.config.v_threshold)
        self.recorder.add(("classifier.2",), spikes, spikes @ spikes.T)

    def _each_share(self, work: Callable[[int, int, int], object]) -> None:
        """Call ``work(worker, lo, hi)`` once per worker, on its share of the samples."""
        self.shares.each(work)
        if not self.fits:  # only now: no worker writes any more
            raise TooLargeError

    def _record(self, names: tuple[str, ...], packed: np.ndarray, buffers: CellBuffers) -> None:
        words, shared = packed.view(np.uint64), np.empty((self.batch_size, self.batch_size), np.int64)
        self._each_share(lambda worker, *_: kernels.shared_spikes(words, worker, self.shares.workers, shared))
        columns = torch.from_numpy(buffers.spikes[: buffers.floats]).view(self.batch_size, -1)  # [B, N]
        self.recorder.add(names, columns, torch.from_numpy(shared), pack_columns)
