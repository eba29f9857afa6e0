"""Less memory in training: a time step keeps what enters it, and is taken once more for its gradients.

What T steps keep for the backward pass then shrinks from all activations to the states between steps, and to the
activations of the one step that is being taken again: Chen et al., arXiv 1604.06174, with time in the place of depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from spikingjelly.activation_based.base import MemoryModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(step: Callable, network: nn.Module) -> Callable:
    """A time step ``step(x, fed_back, **options)`` of a network that keeps no activations, and gives the same bits.

    ``fed_back`` is a pair of lists, or of None. Membranes enter like arguments, random numbers are drawn alike both
    times, and buffers such as running statistics move once; what else an op of your own changes, it changes twice. The
    price is a third more arithmetic: forward, forward again, backward (1.4 of the time at width 16, on one core).

    >>> import torch
    >>> from lightsnn_kit.networks import NetworkConfig, build_network
    >>> network = build_network("03 10", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8))
    >>> x, grads = torch.rand(3, 1, 8, 8), []
    >>> for again in (False, True):
    ...     network.zero_grad()
    ...     _ = torch.manual_seed(0)
    ...     network(x, recompute=again).sum().backward()
    ...     grads.append(network.stem[0].weight.grad)
    >>> bool(grads[0].any()), torch.equal(*grads)
    (True, True)
    """
    layers = [module for module in network.modules() if isinstance(module, MemoryModule)]

    def call(x: Tensor, fed_back: tuple, **options: object) -> tuple:
        places = [(layer, name) for layer in layers for name, _ in layer.named_memories()]
        sizes = [None if feedback is None else len(feedback) for feedback in fed_back]
        flat = [getattr(layer, name) for layer, name in places] + [value for each in fed_back for value in each or ()]
        calls = []

        def take(x: Tensor, *flat: object) -> tuple:
            with _unmoved(network, places) if calls else nullcontext():
                calls.append(1)
                for (layer, name), value in zip(places, flat, strict=False):
                    setattr(layer, name, value)
                rest = iter(flat[len(places) :])
                given = tuple(None if size is None else [next(rest) for _ in range(size)] for size in sizes)
                return step(x, given, **options)

        return checkpoint(take, x, *flat, use_reentrant=False)  # arguments, one by one: hooks see what is kept

    return call


@contextmanager
def _unmoved(network: nn.Module, places: list[tuple[nn.Module, str]]) -> Iterator[None]:
    """After the block memories and buffers of the network are those that were there before."""
    buffers = [(module, name) for module in network.modules() for name, _ in module.named_buffers(recurse=False)]
    before = [(module, name, getattr(module, name)) for module, name in places + buffers]
    for module, name in buffers:
        setattr(module, name, getattr(module, name).clone())
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
