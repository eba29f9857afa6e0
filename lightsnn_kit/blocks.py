"""What networks are built of: the module of each op, the neurons of each name, and how yours join them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from .checks import check_new, not_registered, tell_once
from .layers import LIF, BatchNorm
from .ops import OWN_OPS, Op


class NeuronSettings(Protocol):
    """What of a ``networks.NetworkConfig`` neurons are built from."""

    neuron: str
    tau: float
    v_threshold: float


# ---- operations


class OwnBlock(nn.Module):
    """The module of an op of your own, which must keep the shape of what it reads; ``ValueError`` where it does not."""

    def __init__(self, op: Op, module: nn.Module) -> None:
        super().__init__()
        self.name, self.spiking, self.body = op.value, op.is_conv, module

    def forward(self, x: Tensor) -> Tensor:
        """The output [N, C, H, W] of the module."""
        y = self.body(x)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            found = tuple(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ValueError(f"the op {self.name!r} made {found} of {tuple(x.shape)}; an op keeps the shape.")
        return y


def make_op(op: Op, channels: int) -> nn.Module:
    """The module of an op other than zeroize, without the neuron layer of one that reads spikes."""
    if op.is_own:
        module = OWN_OPS[op].build(channels)
        if not isinstance(module, nn.Module):
            raise TypeError(f"the op {op.value!r} is built as a {type(module).__name__}; build must return a Module.")
        return OwnBlock(op, module)
    if op.is_conv:
        kernel = 3 if op is Op.CONV3X3 else 1
        conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(conv, BatchNorm(channels))
    pools = {Op.AVGPOOL3X3: nn.AvgPool2d, Op.MAXPOOL3X3: nn.MaxPool2d}
    return pools[op](3, stride=1, padding=1) if op in pools else nn.Identity()


# ---- neurons

NEURONS: dict[str, Callable[[NeuronSettings], BaseNode]] = {"lif": lambda config: LIF(config.tau, config.v_threshold)}
"""Neuron layers by name, for ``NetworkConfig(neuron=name)``.

``lif``: v += (x − v)/tau; spike = v ≥ v_threshold; v = 0 where it spiked (LightSNN, section III).
"""
_KIT = tuple(NEURONS)


def register_neuron(name: str, build: Callable[[NeuronSettings], BaseNode], *, replace: bool = False) -> None:
    """Make neurons of your own known by a name, in this process: all neuron layers of ``NetworkConfig(neuron=name)``.

    ``build(config)`` returns a new layer each time: a neuron of spikingjelly, or a class of yours derived from its
    ``BaseNode``, that takes one step at a time, elementwise, and emits 0 or 1. It may use ``config.tau`` and
    ``config.v_threshold``; what else it needs is set in ``build``. A node of a cell has one layer, which all its
    convolutions read, also where it learns. Scores are the plain engine's, and their bits may differ between machines;
    training goes without compiled loops for it. Other processes (workers, background jobs, commands) do not know it.
    ``ValueError`` for a name that is taken or malformed.

    >>> from spikingjelly.activation_based.neuron import IFNode
    >>> register_neuron("if", lambda config: IFNode(config.v_threshold), replace=True)
    >>> NEURONS.pop("if") is not None
    True
    """
    check_new("neuron", name, build, known=NEURONS, kept=_KIT, replace=replace)
    NEURONS[name] = build


def check_neuron(name: object) -> None:
    """``ValueError`` for a neuron that no ``register_neuron`` has made known."""
    if not isinstance(name, str) or name not in NEURONS:
        raise not_registered("neuron", name, NEURONS, "register_neuron")


def make_neuron(config: NeuronSettings) -> BaseNode:
    """A neuron layer as the configuration says; ``TypeError`` or ``ValueError`` for a build that breaks its terms."""
    check_neuron(config.neuron)
    layer = NEURONS[config.neuron](config)
    if not isinstance(layer, BaseNode) or layer.step_mode != "s":
        raise TypeError(f"the neuron {config.neuron!r} is no BaseNode of spikingjelly in single-step mode: {layer!r}.")
    if config.neuron not in _KIT:
        _try_out(layer, config.neuron)
    return layer


@torch.no_grad()
def _try_out(layer: BaseNode, name: str) -> None:
    x = torch.linspace(-4, 4, 9)
    for _ in range(3):
        spikes = layer(x)
        if spikes.shape != x.shape or not ((spikes == 0) | (spikes == 1)).all():
            raise ValueError(f"the neuron {name!r} made {spikes.tolist()} of {len(x)} numbers; spikes are 0 or 1.")
    layer.reset()


# ---- what is yours


def own_parts(network: nn.Module) -> str:
    """What of a network is your own, in words, '' if nothing is: the ops built into it, and its neurons."""
    neuron = network.config.neuron
    names = sorted({module.name for module in network.modules() if isinstance(module, OwnBlock)})
    return ", ".join([f"the op {name!r}" for name in names] + [f"the neuron {neuron!r}"] * (neuron not in _KIT))


def tell_own(network: nn.Module, what: str) -> None:
    """Warn once if something of a network is your own: ``what`` says how that is worked with."""
    if own := own_parts(network):
        tell_once(f"{own}: {what}")
