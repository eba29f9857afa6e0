"""Firing rates, spikes, synaptic operations and the literature's energy estimate of a network on given samples.

Operations are counted by spikingjelly's ``op_counter`` while the network runs. Spikes are not SynOps: a spike costs as
many additions as it has targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from spikingjelly.activation_based.op_counter import BaseCounter, DispatchCounterMode, MACCounter, SimpleEnergyProfiler
from torch import Tensor, nn

from .blocks import OwnBlock
from .cells import Cell
from .checks import whole
from .networks import NetworkConfig, SpikingNetwork, reset_state
from .ops import Op, refuse_own
from .recording import as_network, check_weights, kept_modes, own_state, record_spikes

PJ_PER_MAC = 4.6  # multiply and add, 32-bit float, 45 nm: 3.7 + 0.9 pJ (Horowitz, ISSCC 2014)
PJ_PER_SYNOP = 0.9  # add, 32-bit float, 45 nm (same source)
BREAK_EVEN_FIRING_RATE = 0.06  # about; T = 5; above it more energy than a quantised ANN (arXiv 2409.08290)

_WEIGHTS = (nn.Conv2d, nn.Linear)
aten = torch.ops.aten
# spikingjelly 2.0.0 looks at values: analog input that happens to be all 0 or 1 (blank images, silent spikes after
# average pooling) counts as spikes, so results would depend on the batch; weights that happen to be all 0 or 1 change
# its counts, too. Which input is analog is known from the structure, and these rules count it whatever the values are.
_DENSE_RULES = {
    aten.convolution.default: lambda args, kwargs, out: out.numel() * args[1][0].numel(),
    aten.mm.default: lambda args, kwargs, out: out.numel() * args[1].shape[0],
}


@dataclass(frozen=True)
class LayerActivity:
    """One LIF layer (rates, spikes) or one layer of weights (SynOps, or MACs where its input is analog), per sample."""

    name: str
    neurons: int = 0  # 0 for weights
    firing_rate: float | None = None  # spikes per neuron and step; None for weights
    firing_rate_per_step: tuple[float, ...] = ()
    spikes: float = 0.0
    synops: float = 0.0
    macs: float = 0.0


@dataclass(frozen=True)
class EnergyReport:
    """Activity by layer and in total, per sample (mean over the samples); ``print`` shows a table and assumptions."""

    layers: tuple[LayerActivity, ...]
    num_samples: int
    num_steps: int
    firing_rate: float  # spikes per neuron and step over all LIF layers
    spikes: float
    synops: float
    macs: float
    energy_pj: float  # 4.6 · MACs + 0.9 · SynOps
    spikingjelly_energy_pj: float  # its own model: all additions, and memory traffic
    assumptions: tuple[str, ...]
    break_even_firing_rate: float = BREAK_EVEN_FIRING_RATE

    def to_dict(self) -> dict:
        """The report as numbers, text, tuples and dicts, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{'per sample':<24}{'firing rate':>12}{'spikes':>12}{'SynOps':>14}{'MACs':>14}"]
        total = LayerActivity("total", 0, self.firing_rate, (), self.spikes, self.synops, self.macs)
        for row in (*self.layers, total):
            rate = "" if row.firing_rate is None else f"{row.firing_rate:.2%}"
            spikes, synops, macs = (f"{count:,.1f}" if count else "" for count in (row.spikes, row.synops, row.macs))
            lines.append(f"{row.name:<24}{rate:>12}{spikes:>12}{synops:>14}{macs:>14}")
        other, rate = self.spikingjelly_energy_pj / 1e3, self.break_even_firing_rate
        lines += [
            f"energy {self.energy_pj / 1e3:,.3f} nJ per sample",
            f"       {other:,.3f} nJ per sample in spikingjelly's model, which adds memory traffic",
            f"firing rate {self.firing_rate:.2%}; published break-even about {rate:.0%} at T = 5",
        ]
        return "\n".join([*lines, "assumptions:", *(f"- {sentence}" for sentence in self.assumptions)])


def measure_energy(network: SpikingNetwork, x: Tensor, *, batch_size: int = 256) -> EnergyReport:
    """Run a discrete network on raw samples in evaluation mode and count; modes and weights stay as they were.

    E = 4.6 pJ · MACs (layers with analog input) + 0.9 pJ · SynOps, SynOps = Σ_l spikes into layer l × fan-out: the
    convention of the SNN literature. ``x`` [N, C, H, W] or event frames [T, N, C, H, W]. Raises ``ValueError`` for
    another shape, NaN, or a batch size below 1.

    >>> from lightsnn_kit.networks import NetworkConfig, build_network
    >>> network = build_network("00 00", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=2, hidden=8))
    >>> report = measure_energy(network, torch.zeros(3, 1, 8, 8))
    >>> report.macs, report.macs == 8 * 8 * 2 * 9  # the stem's 3x3 convolution to 2 channels, once per sample
    (1152.0, True)
    """
    network, x = check_weights(as_network(network)), _check(torch.as_tensor(x).detach())
    batch_size = whole("batch_size", batch_size)
    dense, profiler = MACCounter(extra_rules=_DENSE_RULES), SimpleEnergyProfiler()
    profiler.bind_model(network)
    spikes: dict[str, list[int]] = {}  # of each LIF layer: batch by batch, step by step
    neurons: dict[str, int] = {}

    def count(name: str, output: Tensor) -> None:
        spikes.setdefault(name, []).append(int(output.count_nonzero()))
        neurons[name] = output[0].numel()

    recorder = record_spikes(network, on_spikes=count)
    with own_state(network, grad=False), kept_modes(network), recorder, profiler, DispatchCounterMode([dense]):
        network.eval()
        for batch in x.split(batch_size, dim=-4):
            network(batch.to(network.input_centre.device))
    reset_state(network)  # the last batch's membranes need no memory
    samples, steps = x.shape[-4], len(x) if network.config.events else network.config.num_steps
    rows = _weight_rows(network, dense, profiler.synop_counter, samples)
    for name, calls in spikes.items():
        rates = tuple(sum(calls[step::steps]) / (neurons[name] * samples) for step in range(steps))
        rows[name] = LayerActivity(name, neurons[name], sum(rates) / steps, rates, spikes=sum(calls) / samples)
    layers = tuple(rows[name] for name, _ in network.named_modules() if name in rows)
    return _report(network, layers, profiler, samples, steps)


def mean_synops(config: NetworkConfig, cell: Cell, passes: Sequence[Mapping[str, Tensor]]) -> float:
    """``estimate_synops`` of the firing rates of several passes, mean over them."""
    rates = [{name: rate.numpy(force=True) for name, rate in one.items()} for one in passes]
    return float(np.mean([estimate_synops(config, cell, one) for one in rates]))


def estimate_synops(config: NetworkConfig, cell: Cell, firing_rate: Mapping[str, np.ndarray]) -> float:
    """SynOps per sample of a cell's network, from firing rates [T] by the names of a supernet's LIF layers.

    Σ rate · neurons · fan-out: what `measure_energy` counts, if spikes are spread evenly over each map. Of the window
    of a max pool at most one spike goes on, so behind the last one it is an upper bound; average pooling makes MACs.
    ``ValueError`` for a cell with an op of your own, whose fan-out is not known; ``measure_energy`` counts.
    """
    refuse_own(map(cell.op, cell.live_edges), "the fan-out")
    height, width = (size // (2 if config.events else 1) for size in config.input_shape[1:])
    total = 0.0
    for name, channels in (("cell1", config.width), ("cell2", 2 * config.width)):
        for edge in cell.live_edges:
            if (op := cell.op(edge)).is_conv:
                rate = firing_rate[f"{name}.ops.{edge}:{op}.0"]
                spikes = rate[: -1 if edge.is_backward else None].sum() * channels * height * width
                total += spikes * channels * (1 if op is Op.CONV1X1 else _targets(height, width))
        if name == "cell1":
            spikes = firing_rate["down.1"].sum() * channels * height * width
            total += spikes * 2 * channels * _targets(height, width)
            height, width = height // 2, width // 2
    if config.pool == "max" or config.last_pool == 1:
        passed = np.minimum(1, firing_rate["last.1"] * config.last_pool**2).sum()
        total += passed * config.features * config.hidden
    return float(total + firing_rate["classifier.2"].sum() * config.hidden * config.num_classes * config.votes)


def _targets(height: int, width: int) -> float:
    """How many outputs of one channel a spike reaches through a 3x3 convolution: the mean over the places of a map."""
    return (3 * height - 2) * (3 * width - 2) / (height * width)


def _report(
    network: SpikingNetwork, layers: tuple[LayerActivity, ...], profiler: SimpleEnergyProfiler, samples: int, steps: int
) -> EnergyReport:
    spikes, synops, macs = (sum(getattr(row, name) for row in layers) for name in ("spikes", "synops", "macs"))
    return EnergyReport(
        layers=layers,
        num_samples=samples,
        num_steps=steps,
        firing_rate=spikes / (steps * sum(row.neurons for row in layers)),
        spikes=spikes,
        synops=synops,
        macs=macs,
        energy_pj=PJ_PER_MAC * macs + PJ_PER_SYNOP * synops,
        spikingjelly_energy_pj=profiler.get_report().energy_total_pj / samples,
        assumptions=_assumptions(network, profiler.mac_counter, samples),
    )


def _analog_layers(network: SpikingNetwork) -> set[str]:
    """Layers of weights whose input is no spike train: the stem, and the hidden layer after average pooling.

    In an op of your own all but the first layer, and that, too, where the op reads the value of a node.
    """
    averaged = network.config.pool == "avg" and network.config.last_pool > 1
    analog = {"stem.0", "classifier.1"} if averaged else {"stem.0"}
    for name, block in network.named_modules():
        if isinstance(block, OwnBlock):
            inside = [f"{name}.{part}" for part, module in block.named_modules() if isinstance(module, _WEIGHTS)]
            analog |= set(inside[block.spiking :])
    return analog


def _scope(network: SpikingNetwork, name: str) -> str:
    return f"{type(network).__name__}.{name}"  # what spikingjelly calls a module


def _weight_rows(
    network: SpikingNetwork, dense: BaseCounter, synops: BaseCounter, samples: int
) -> dict[str, LayerActivity]:
    analog, rows = _analog_layers(network), {}
    for name, module in network.named_modules():
        if isinstance(module, _WEIGHTS):
            counter = dense if name in analog else synops
            count = sum(counter.records[_scope(network, name)].values()) / samples
            rows[name] = LayerActivity(name, **{"macs" if name in analog else "synops": count})
    return rows


def _assumptions(network: SpikingNetwork, macs: BaseCounter, samples: int) -> tuple[str, ...]:
    norms = sum(sum(macs.records[_scope(network, name)].values()) for name in ("down.0", "last.0")) / samples
    own = ["Of an op of your own convolutions and linear layers count: the first SynOps if it reads spikes, else MACs."]
    often = "once per frame" if network.config.events else "once per sample, not once per step"
    return (
        f"45 nm, 32-bit floats: {PJ_PER_MAC} pJ per MAC, {PJ_PER_SYNOP} pJ per SynOp (Horowitz, ISSCC 2014); "
        f"arithmetic only, no memory traffic.",
        f"MACs: {' and '.join(sorted(_analog_layers(network)))}, whose input is analog, dense; the stem {often}.",
        "A SynOp is one weight added for one spike; at image borders only targets that exist count.",
        f"Batch normalisation is not counted: after a convolution it folds into the weights; the two in front of a "
        f"LIF layer would be {norms:,.0f} MACs per sample.",
        "Membrane updates, sums of edges, pooling, biases and the mean over votes are not counted.",
        "The break-even is published (arXiv 2409.08290: T = 5, against a quantised network), not one of this network.",
        *own * any(isinstance(module, OwnBlock) for module in network.modules()),
    )


def _check(x: Tensor) -> Tensor:
    if x.dim() < 4:
        raise ValueError(f"expected samples [N, C, H, W] or event frames [T, N, C, H, W], got shape {tuple(x.shape)}.")
    if x.is_floating_point() and not x.isfinite().all():
        raise ValueError("the samples hold NaN or infinite values; clean the data first.")
    return x
