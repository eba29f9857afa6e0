"""Initial weights as published (SNASNet's choice, kept by LightSNN), made to work at small widths."""

from __future__ import annotations

import torch
from torch import nn


def linear_spread(linear_std: float | None, in_features: int) -> float:
    """Standard deviation of initial linear weights: 0.01·√(32768 / in_features) unless ``linear_std`` is given.

    At the paper's width (32,768 inputs of the hidden layer) this is its 0.01; with fewer inputs 0.01 leaves the
    hidden layer without a spike and without a gradient.
    """
    return linear_std or 0.01 * (32768 / in_features) ** 0.5


@torch.no_grad()
def init_weights(network: nn.Module, linear_std: float | None, generator: torch.Generator) -> None:
    """Draw the weights: convolutions Kaiming-uniform with a = 2, linear N(0, ``linear_spread``); BN starts at 1/0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=2, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, linear_spread(linear_std, module.in_features), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
