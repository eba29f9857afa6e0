"""Initial weights as published (SNASNet's choice, kept by LightSNN), made to work at small widths."""

from __future__ import annotations

import torch
from torch import nn

PAPER_INPUTS = (32768, 1024)  # of the hidden layer (2·256·8·8) and of the output layer, CIFAR10


def linear_spread(linear_std: float | None, in_features: int, paper_inputs: int = PAPER_INPUTS[0]) -> float:
    """Standard deviation of initial linear weights: 0.01·√(paper_inputs / in_features) unless ``linear_std`` is given.

    At the paper's CIFAR10 sizes this is its 0.01 in both layers; with fewer inputs 0.01 leaves the hidden layer
    without a spike and without a gradient.
    """
    return 0.01 * (paper_inputs / in_features) ** 0.5 if linear_std is None else linear_std


@torch.no_grad()
def init_weights(network: nn.Module, linear_std: float | None, generator: torch.Generator) -> None:
    """Draw the weights: convolutions Kaiming-uniform with a = 2, linear N(0, ``linear_spread``); BN starts at 1/0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=2, generator=generator)
        elif isinstance(module, nn.Linear):
            paper_inputs = PAPER_INPUTS[module.bias is not None]
            std = linear_spread(linear_std, module.in_features, paper_inputs)
            nn.init.normal_(module.weight, 0, std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
