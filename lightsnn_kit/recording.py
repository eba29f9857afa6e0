"""Watch a network at work and leave it as it was: spikes, potentials, modes; each lasts for a ``with`` block."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from .kernels import MAX_NEURONS, SpikeStatistics, column_words, count_distinct, pattern_distances
from .networks import SpikingNetwork
from .spaces import OpMask

_OUT_OF_REACH = 1e30  # finite: a soft reset multiplies it by no spike


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel`` and others of the kind; any other stays as it is.

    ``ValueError`` where only a part is wrapped: its layers would have other names.

    >>> inner = nn.Flatten()
    >>> unwrap(nn.DataParallel(inner)) is inner
    True
    """
    while (inner := getattr(network, "_orig_mod", getattr(network, "module", None))) is not None:
        network = inner
    if parts := [name for name, _ in network.named_modules() if name.endswith(("._orig_mod", ".module"))]:
        raise ValueError(
            f"the part {parts[0].rpartition('.')[0]!r} of the network is wrapped; wrap all of it, or none."
        )
    return network


def as_network(value: object) -> SpikingNetwork:
    """A network of this module, out of its wrappers; ``ValueError`` for anything else."""
    network = unwrap(value) if isinstance(value, nn.Module) else value
    if not isinstance(network, SpikingNetwork):
        raise ValueError(f"expected a network of build_network or build_supernet, got a {type(network).__name__}.")
    return network


def lost_weight(network: SpikingNetwork) -> str:
    """The name of the first weight or statistic that is NaN or infinite, "" if there is none."""
    return next((name for name, value in network.state_dict().items() if not value.isfinite().all()), "")


def check_weights(network: SpikingNetwork) -> SpikingNetwork:
    """The network; ``ValueError`` if a weight is NaN or infinite: LIF layers make silence of it, and none would see."""
    if name := lost_weight(network):
        raise ValueError(
            f"{name} of the network holds NaN or infinity: a training diverged, or it was changed. Build it anew "
            f"(build_network), or read a checkpoint (load_network)."
        )
    return network


@contextmanager
def uncompiled() -> Iterator[None]:
    """In the ``with`` block networks run as they are written, not as ``torch.compile`` has traced them: hooks count."""
    loaded = "torch._dynamo" in sys.modules  # else nothing was compiled, and loading it would take seconds
    with torch.compiler.set_stance("force_eager") if loaded else nullcontext():
        yield


@contextmanager
def own_state(network: nn.Module, *, grad: bool) -> Iterator[None]:
    """In the ``with`` block gradients are on or off as said, in full precision, whatever an earlier cell has set."""
    device = next(network.buffers()).device.type
    full, mode = torch.autocast(device, enabled=False), torch.inference_mode(False)
    with uncompiled(), mode, torch.set_grad_enabled(grad), full:
        yield


@contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """After the ``with`` block every module is in training or evaluation mode as it was before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def scoring_mode(network: nn.Module, bn: str) -> Iterator[None]:
    """Dropout off, every BN on ``'batch'`` or ``'running'`` statistics; afterwards all is as it was."""
    if bn not in ("batch", "running"):
        raise ValueError(f"bn must be 'batch' or 'running', got {bn!r}.")
    norms = [(m, m.track_running_stats) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with kept_modes(network):
        network.eval()
        for norm, _ in norms:
            norm.training, norm.track_running_stats = bn == "batch", bn == "running"  # batch mode updates nothing
        try:
            yield
        finally:
            for norm, tracks in norms:
                norm.track_running_stats = tracks


@contextmanager
def watch_layers(network: nn.Module, watch: Callable, *, before: bool = False) -> Iterator[None]:
    """Call ``watch(name, layer, x, spikes)`` at every step of every LIF layer in the ``with`` block.

    With ``before`` it is called before the step, and ``spikes`` is None. No hook survives the block.
    """

    def hook_for(name: str) -> Callable:
        return lambda layer, args, spikes=None: watch(name, layer, args[0], spikes)

    layers = [(name, module) for name, module in unwrap(network).named_modules() if isinstance(module, BaseNode)]
    handles = [
        (layer.register_forward_pre_hook if before else layer.register_forward_hook)(hook_for(name))
        for name, layer in layers
    ]
    try:
        with uncompiled():
            yield
    finally:
        for handle in handles:
            handle.remove()


def stack_steps(record: dict) -> None:
    """Turn lists of steps [N, ...] into tensors [T, N, ...], in place; ``ValueError`` for batches of several sizes."""
    for name, steps in record.items():
        if len(shapes := {tuple(step.shape) for step in steps}) > 1:
            raise ValueError(f"{name} saw batches of shapes {sorted(shapes)} in one block; take a block for each.")
    record.update({name: torch.stack(steps) for name, steps in record.items()})  # [T, B, ...]


@contextmanager
def record_spikes(network: nn.Module, *, on_spikes: Callable[[str, Tensor], None] | None = None) -> Iterator[dict]:
    """Record the spikes of every LIF layer that runs inside the ``with`` block; no hook survives it.

    Yields a dict that holds, after the block, ``layer name -> uint8 [T, N, ...]``. With ``on_spikes(name,
    spikes)`` each step's spikes are handed over instead of kept.

    >>> from lightsnn_kit.networks import NetworkConfig, build_network
    >>> network = build_network("03 00", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8))
    >>> with record_spikes(network) as spikes:
    ...     _ = network(torch.rand(3, 1, 8, 8))
    >>> {name: tuple(s.shape) for name, s in spikes.items()}["cell1.lif.0"]
    (5, 3, 4, 8, 8)
    """
    record: dict = {}

    def keep(name: str, layer: BaseNode, x: Tensor, spikes: Tensor) -> None:
        if on_spikes:
            on_spikes(name, spikes)
        else:
            record.setdefault(name, []).append(spikes.detach().to(torch.uint8))

    with watch_layers(network, keep):
        yield record
    stack_steps(record)


@contextmanager
def record_potentials(network: nn.Module) -> Iterator[dict]:
    """Record the potential v of every LIF layer in the ``with`` block, charged but not yet reset; no hook survives it.

    Yields a dict that holds, after the block, ``layer name -> float [T, N, ...]``: a neuron spikes where
    v ≥ v_threshold. It is the layer's own step, taken once more with a threshold out of reach.

    >>> from lightsnn_kit.blocks import make_neuron
    >>> from lightsnn_kit.networks import NetworkConfig
    >>> lif = make_neuron(NetworkConfig(input_shape=(1, 8, 8), num_classes=2))
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
    states = module.materialize_states((x,), tuple(module.memories()), "s")
    module.v_threshold = _OUT_OF_REACH
    try:
        return module.single_step_functional_forward((x,), states)[1][0].clone()
    finally:
        module.v_threshold = threshold


def check_mask(supernet: SpikingNetwork, mask: OpMask) -> None:
    """``ValueError`` for a mask of another space than the supernet's."""
    if mask.space != supernet.design:
        raise ValueError(
            f"the mask belongs to {mask.space}, the supernet to {supernet.design}; build one for the other."
        )


def spike_statistics(
    supernet: SpikingNetwork, mask: OpMask, batch: Tensor, *, bn: str = "batch", patterns: bool = False, **options: bool
) -> SpikeStatistics:
    """Run the supernet once on a batch and count spikes and Hamming distances of every LIF and step.

    The plain, obviously correct scorer; with ``patterns`` it counts different columns, too. ``bn='running'`` and the
    options ``feedback=False`` and ``reset=False`` of the supernet's pass reproduce the published code's behaviour.
    """
    supernet = as_network(supernet)
    check_mask(supernet, mask)
    neurons: dict[str, int] = {}
    found: dict[str, list[tuple[Tensor, ...]]] = {}

    def count(name: str, spikes: Tensor) -> None:
        c = spikes.flatten(1)  # [B, N]
        neurons[name] = c.shape[1]
        distinct = (count_distinct(column_words(c)),) if patterns else ()
        found.setdefault(name, []).append((c.sum(1).to(torch.int64), pattern_distances(c), *distinct))

    with own_state(supernet, grad=False), scoring_mode(supernet, bn), record_spikes(supernet, on_spikes=count):
        supernet(batch.to(supernet.input_centre.device), mask=mask, **options)
    if max(neurons.values()) >= MAX_NEURONS:
        raise ValueError(f"a LIF layer has {max(neurons.values())} neurons; counts are exact below 2**24 only.")
    return SpikeStatistics.stacked(list(neurons.values()), {(name,): steps for name, steps in found.items()})


NOTHING = ((), {})  # no masks, and what is known of them


class Passes:
    """Statistics of masks that are wanted together: as one is asked for, those of all are computed.

    They are known to the thread that wants them. A score of one's own may ask in other threads: they compute theirs, as
    a lock that is held from one mask to the next would have them wait for ever.
    """

    def __init__(self) -> None:
        self._wanted: dict[int, tuple[Sequence[OpMask], dict]] = {}  # by thread

    @contextmanager
    def of(self, masks: Sequence[OpMask]) -> Iterator[None]:
        """In the ``with`` block the masks are wanted; in one within another those of the outer one stay so."""
        thread = threading.get_ident()
        outer = self._wanted.get(thread, NOTHING)
        self._wanted[thread] = outer if outer[0] else (masks, {})
        try:
            yield
        finally:
            self._wanted[thread] = outer

    def take(self, mask: OpMask, patterns: bool, compute: Callable) -> tuple[SpikeStatistics, ...]:
        """What is known of a mask, or ``compute(masks, patterns)``; with patterns it tells what it does without."""
        wanted, known = self._wanted.get(threading.get_ident(), NOTHING)
        for found in ((mask, patterns), (mask, True)):
            if found in known:
                return known[found]
        masks = wanted if mask in wanted else (mask,)
        found = {(one, patterns): passes for one, passes in zip(masks, compute(masks, patterns), strict=True)}
        if mask in wanted:
            known |= found
        return found[mask, patterns]
