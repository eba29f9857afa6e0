"""A forward cell in spikingjelly's multi-step mode: all T steps of a layer at once, by the kernels it picks on CUDA."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from lightsnn_kit.cells import Cell, Op
from lightsnn_kit.networks import NetworkConfig, build_network
from tests.per_edge import cell_widths, stock_lif


class MultiStepCell(nn.Module):
    """x_i = Σ_{j<i} op_ij(x_j) on [T, N, C, H, W]; every convolution edge has a LIF layer of its own."""

    def __init__(self, cell: Cell, channels: int, config: NetworkConfig) -> None:
        super().__init__()
        self.edges, self.num_nodes = [], cell.num_nodes
        self.blocks = nn.ModuleDict()
        for edge, op in zip(cell.edges, cell.ops, strict=True):
            if op is Op.ZEROIZE:
                continue
            self.edges.append((edge.source, edge.target, str(edge) if op.is_conv else None))
            if op.is_conv:
                convs = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
                lif = stock_lif(config.tau, config.v_threshold)
                self.blocks[str(edge)] = nn.Sequential(lif, layer.SeqToANNContainer(*convs))

    def forward(self, x: Tensor) -> Tensor:
        values = [x, *[0.0] * (self.num_nodes - 1)]
        for source, target, name in self.edges:
            values[target] = values[target] + (values[source] if name is None else self.blocks[name](values[source]))
        return values[-1]


class MultiStepNetwork(nn.Module):
    """The macro network around two such cells."""

    def __init__(self, cell: str, config: NetworkConfig) -> None:
        super().__init__()
        cell, self.config, twin = Cell.parse(cell), config, build_network(cell, config)
        self.stem = twin.stem
        self.cell1, self.cell2 = (MultiStepCell(cell, channels, config) for channels in cell_widths(config))
        lifs = [stock_lif(config.tau, config.v_threshold) for _ in range(3)]
        (norm, _, *down), (norm2, _, *last), (_, hidden, _, output) = twin.down, twin.last, twin.classifier
        together = layer.SeqToANNContainer
        self.body = nn.Sequential(self.cell1, together(norm), lifs[0], together(*down), self.cell2, together(norm2),
                                  lifs[1], together(*last, nn.Dropout(config.dropout), hidden), lifs[2],
                                  together(output))  # fmt: skip
        functional.set_step_mode(self.body, "m")

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        steps = self.stem(x).expand(self.config.num_steps, *[-1] * 4)  # [T, N, C, H, W]
        votes = self.body(steps).unflatten(2, (self.config.num_classes, self.config.votes))
        return votes.mean((0, 3))


def test_shape() -> None:
    config = NetworkConfig(input_shape=(3, 8, 8), num_classes=10, width=4, hidden=16)
    assert MultiStepNetwork("|conv3x3~0|+|skip~0|conv3x3~1|", config)(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
