"""The device back end of the fast scorer: torch operations on matrices [pixels, channels]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cells import Op
from ..exact import exact_lif, grid_affine, grid_steps, running_affine, window_matrix_product
from .engine import ConvKey, Engine, Recorder, conv_modules, scale_of
from .plan import CellPlan


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
            self.recorder.add(names, flat, flat @ flat.T)
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
        pooled = pool(self._image(value, self.sizes[cell]), 3, 1, 1)  # [B, C, H, W]
        return pooled.permute(0, 2, 3, 1).reshape(value.shape)  # [M, C]

    def downsample(self, *, first: bool) -> None:
        norm, _, conv, norm2, pool = self.supernet.down
        spikes = self.fire(("down",), self.normalise(norm, self.output[0]), ("down.1",))
        acc = window_matrix_product(spikes, conv.weight, self.sizes[0])
        pooled = pool(self._image(self.normalise(norm2, acc, scale_of(conv)), self.sizes[0]))
        self.cell2_input = pooled.permute(0, 2, 3, 1).reshape(-1, acc.shape[1])  # [M / 4, 2·C]

    def classify(self, *, first: bool) -> None:
        norm, _, pool, _ = self.supernet.last
        linear = self.supernet.classifier[1]
        spikes = self.fire(("last",), self.normalise(norm, self.output[1]), ("last.1",))
        features = pool(self._image(spikes, self.sizes[1])).flatten(1)  # [B, F]
        self.fire(("hidden",), (features @ linear.weight.T) * scale_of(linear), ("classifier.2",))
