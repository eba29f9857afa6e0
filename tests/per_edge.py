"""The yardstick of training: spikingjelly's zoo cells, every edge with a LIF layer, convolution and BN of its own."""

from types import SimpleNamespace

import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.model import snas_net
from spikingjelly.activation_based.neuron import LIFNode
from spikingjelly.activation_based.surrogate import ATan
from torch import Tensor, nn

from lightsnn_kit.cells import Cell, cell_edges
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network


class PerEdgeNetwork(nn.Module):
    """SNASNet around two cells of ``snas_net`` (which has fixed widths itself): static images, no dropout.

    The macro network is ours with spikingjelly's own LIF layers; weights are those of ``build_network``.
    """

    def __init__(self, cell: Cell, config: NetworkConfig) -> None:
        super().__init__()
        self.config, twin = config, build_network(cell, config)
        self.stem, self.down, self.last, self.classifier = (
            own_lif(block) for block in (twin.stem, twin.down, twin.last, twin.classifier)
        )
        args, matrix = SimpleNamespace(threshold=config.v_threshold, tau=config.tau), torch.tensor(cell.to_matrix())
        self.cell1, self.cell2 = (snas_net.Neuronal_Cell_backward(args, c, c, matrix) for c in cell_widths(config))
        for theirs, ours in ((self.cell1, twin.cell1), (self.cell2, twin.cell2)):
            edges = [*theirs.cell_architecture, *theirs.cell_architecture_back]  # in the order of our edges
            for edge, module in zip(cell_edges(cell.num_nodes), edges, strict=True):
                if str(edge) in ours.ops and isinstance(module, nn.Sequential):
                    for target, source in zip(list(module)[1:], ours.ops[str(edge)], strict=True):
                        target.load_state_dict(source.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, C, H, W]."""
        functional.reset_net(self)
        for cell in (self.cell1, self.cell2):
            cell.last_xin = cell.last_x1 = cell.last_x2 = 0.0
        drive, logits = self.stem(x), 0.0
        for _ in range(self.config.num_steps):
            votes = self.classifier(self.last(self.cell2(self.down(self.cell1(drive)))))
            logits = logits + votes.unflatten(1, (self.config.num_classes, self.config.votes)).mean(2)
        return logits / self.config.num_steps


def cell_widths(config: NetworkConfig) -> tuple[int, int]:
    return config.width, 2 * config.width


def own_lif(block: nn.Sequential) -> nn.Sequential:
    """The block with each LIF layer replaced by spikingjelly's."""
    return nn.Sequential(*(stock_lif(m.tau, m.v_threshold) if isinstance(m, LIFNode) else m for m in block))


def stock_lif(tau: float, v_threshold: float) -> LIFNode:
    return LIFNode(
        tau=tau, v_threshold=v_threshold, v_reset=0.0, surrogate_function=ATan(), detach_reset=True, decay_input=True
    )


def twins(cell: Cell, config: NetworkConfig) -> tuple[PerEdgeNetwork, SpikingNetwork]:
    """The per-edge network and ours with the same weights, in training mode."""
    return PerEdgeNetwork(cell, config).train(), build_network(cell, config).train()
