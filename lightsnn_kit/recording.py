"""Watch LIF layers at work; record their membrane potentials, beside ``scoring.record_spikes``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

_OUT_OF_REACH = 1e30  # finite: a soft reset multiplies it by no spike


@contextmanager
def watch_layers(network: nn.Module, watch: Callable, *, before: bool = False) -> Iterator[None]:
    """Call ``watch(name, layer, x, spikes)`` at every step of every LIF layer in the ``with`` block.

    With ``before`` it is called before the step, and ``spikes`` is None. No hook survives the block.
    """

    def hook_for(name: str) -> Callable:
        return lambda layer, args, spikes=None: watch(name, layer, args[0], spikes)

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, BaseNode)]
    handles = [
        (layer.register_forward_pre_hook if before else layer.register_forward_hook)(hook_for(name))
        for name, layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def stack_steps(record: dict) -> None:
    """Turn lists of steps [N, ...] into tensors [T, N, ...], in place; ``ValueError`` for batches of several sizes."""
    for name, steps in record.items():
        if len(shapes := {tuple(step.shape) for step in steps}) > 1:
            raise ValueError(f"{name} saw batches of shapes {sorted(shapes)} in one block; take a block for each.")
    record.update({name: torch.stack(steps) for name, steps in record.items()})


@contextmanager
def record_potentials(network: nn.Module) -> Iterator[dict]:
    """Record the potential v of every LIF layer in the ``with`` block, charged but not yet reset; no hook survives it.

    Yields a dict that holds, after the block, ``layer name -> float [T, N, ...]``: a neuron spikes where
    v ≥ v_threshold. It is the layer's own step, taken once more with a threshold out of reach.

    >>> from lightsnn_kit.networks import NetworkConfig, make_lif
    >>> lif = make_lif(NetworkConfig(input_shape=(1, 8, 8), num_classes=2))
    >>> with record_potentials(nn.Sequential(lif)) as potentials:
    ...     _ = [lif(torch.tensor([1.1])) for _ in range(3)]
    >>> potentials["0"].flatten().mul(1000).int().tolist()  # a spike at the second step, from 0 in the third
    [825, 1031, 825]
    """
    record: dict = {}

    def keep(name: str, layer: BaseNode, x: Tensor, _: None) -> None:
        record.setdefault(name, []).append(_charged(layer, x))

    with watch_layers(network, keep, before=True):
        yield record
    stack_steps(record)


@torch.no_grad()
def _charged(module: BaseNode, x: Tensor) -> Tensor:
    """What a single-step layer's potential becomes with input x, before any spike; the layer stays as it is."""
    threshold = module.v_threshold
    states = module.materialize_states((x,), (module.v,), "s")
    module.v_threshold = _OUT_OF_REACH
    try:
        return module.single_step_functional_forward((x,), states)[1][0].clone()
    finally:
        module.v_threshold = threshold
