"""Counts worked out by hand on a network of one or two channels whose spikes are known."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from lightsnn_kit.energy import EnergyReport, estimate_synops, measure_energy
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network
from lightsnn_kit.recording import record_spikes

CONFIG = NetworkConfig(
    input_shape=(1, 8, 8), num_classes=2, width=1, num_steps=2, hidden=3, votes=1, dropout=0.0, tau=4 / 3
)


def known_network(config: NetworkConfig = CONFIG) -> SpikingNetwork:
    """Two nodes joined by conv3x3. A LIF layer fires at every step where its input is 2 (v = 2 / tau = 1.5), not at 0.

    The stem copies the image; cell 1 turns a pixel of value 2 into a patch of 3x3 neurons that fire; everything after
    copies channel 0; hidden neuron 0 fires if the 4 features of channel 0 do, the others stay below the threshold.
    """
    network = build_network("03 00", config).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.weight[0, 0, 1, 1] = 2.0
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0  # the identity, exactly
        network.stem[0].weight.mul_(0.5)
        network.cell1.ops["1<-0"][0].weight.fill_(2.0)
        network.classifier[1].weight.fill_(0.25)
        network.classifier[1].weight[0].fill_(0.5)
    return network


def image(*pixels: tuple[int, int], value: float = 2.0) -> torch.Tensor:
    x = torch.zeros(1, 1, 8, 8)
    for row, column in pixels:
        x[0, 0, row, column] = value
    return x


# A corner, a border and an inner pixel: 4, 6 and 9 targets of a 3x3 kernel, and as many neurons in their patches.
THREE = image((0, 0), (0, 4), (4, 4))


def column(report: EnergyReport, name: str) -> dict[str, float]:
    return {row.name: getattr(row, name) for row in report.layers if getattr(row, name)}


def lively_network(**settings) -> tuple[SpikingNetwork, torch.Tensor]:
    """A random network that fires everywhere, and samples for it."""
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=4, num_steps=3, hidden=16, **settings)
    network = build_network("0303 0030 2002 0200", config, seed=1)
    x = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 4
    with torch.no_grad():
        network.classifier[1].weight.mul_(60)
        for _ in range(40):  # running statistics that fit the data
            network(x)
    return network, x


def test_spikes_by_hand() -> None:
    report = measure_energy(known_network(), THREE)
    # down: patches of 4, 6 and 9. Max pooling leaves 1 + 2 + 4 positions. Twice each (T = 2); hidden: neuron 0 alone.
    assert column(report, "spikes") == {
        "cell1.lif.0": 3 * 2,
        "down.1": 19 * 2,
        "cell2.lif.0": 7 * 2,
        "last.1": 7 * 2,
        "classifier.2": 1 * 2,
    }
    assert report.spikes == 74
    assert report.firing_rate == 37 / (64 + 64 + 2 * 16 + 2 * 16 + 3)
    assert (report.num_samples, report.num_steps) == (1, 2)


def test_synops_by_hand() -> None:
    report = measure_energy(known_network(), THREE)
    down = (4 + 6 + 6 + 9) + (3 * 6 + 3 * 9) + 9 * 9  # targets of each spike in the three patches, on 8x8
    cell2 = 4 + 2 * 6 + 4 * 9  # of the 7 positions on 4x4
    assert column(report, "synops") == {
        "cell1.ops.1<-0.0": (4 + 6 + 9) * 1 * 2,
        "down.2": down * 2 * 2,  # two output channels, two steps
        "cell2.ops.1<-0.0": cell2 * 2 * 2,
        "classifier.1": 4 * 3 * 2,  # 4 features fire, 3 neurons
        "classifier.3": 1 * 2 * 2,  # 1 neuron fires, 2 votes
    }
    assert report.synops == 38 + 604 + 208 + 24 + 4


def test_macs_and_energy_by_hand() -> None:
    report = measure_energy(known_network(), THREE)
    assert column(report, "macs") == {"stem.0": 8 * 8 * 9}  # once, though T = 2
    assert report.energy_pj == pytest.approx(4.6 * 576 + 0.9 * 878, rel=1e-12)
    assert report.spikingjelly_energy_pj > report.energy_pj


def test_rates_of_each_step() -> None:
    # Input 1.2: v = 0.9 after the first step, 0.9 + (1.2 - 0.9) / tau = 1.125 after the second.
    report = measure_energy(known_network(), image((2, 2), value=1.2))
    first = next(row for row in report.layers if row.name == "cell1.lif.0")
    assert first.firing_rate_per_step == (0.0, 1 / 64)
    assert first.firing_rate == 1 / 128


def test_counts_are_means_over_samples() -> None:
    report = measure_energy(known_network(), torch.cat([THREE, torch.zeros_like(THREE)]))
    assert (report.spikes, report.synops, report.macs) == (74 / 2, 878 / 2, 576)


def test_analog_input_counts_in_full_even_if_blank() -> None:
    report = measure_energy(known_network(), torch.zeros(2, 1, 8, 8))  # spikingjelly's counter takes this for spikes
    assert (report.spikes, report.synops, report.macs) == (0, 0, 576)


def test_average_pooling_makes_the_hidden_layer_dense() -> None:
    report = measure_energy(known_network(dataclasses.replace(CONFIG, pool="avg")), THREE)
    assert column(report, "macs") == {"stem.0": 576, "classifier.1": 8 * 3 * 2}  # 8 features, 3 neurons, 2 steps
    assert "classifier.1" not in column(report, "synops")


def test_without_a_last_pooling_the_hidden_layer_gets_spikes() -> None:
    network, x = lively_network(pool="avg", last_pool=1)
    report = measure_energy(network, x)
    assert "classifier.1" in column(report, "synops")
    assert column(report, "macs") == {"stem.0": 8 * 8 * 4 * 9}


def test_event_frames_pass_the_stem_one_by_one() -> None:
    config = dataclasses.replace(CONFIG, input_shape=(2, 16, 16), events=True)
    report = measure_energy(build_network("03 00", config), torch.ones(5, 3, 2, 16, 16, dtype=torch.uint8))
    assert report.macs == 16 * 16 * 9 * 2 * 5
    assert (report.num_samples, report.num_steps) == (3, 5)


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_batch_size_does_not_matter(pool: str) -> None:
    network, x = lively_network(pool=pool)
    # spikingjelly's own figure counts a few operations of batch normalisation per call.
    whole, parts = (
        dataclasses.replace(measure_energy(network, x, batch_size=size), spikingjelly_energy_pj=0) for size in (10, 3)
    )
    assert whole == parts
    assert min(row.firing_rate for row in whole.layers if row.firing_rate is not None) > 0


def test_rates_are_those_of_record_spikes() -> None:
    network, x = lively_network()
    report = measure_energy(network, x)
    with record_spikes(network.eval()) as spikes, torch.no_grad():
        network(x)
    rows = {row.name: row for row in report.layers if row.firing_rate is not None}
    assert rows.keys() == spikes.keys()
    for name, recorded in spikes.items():
        assert rows[name].firing_rate_per_step == tuple(recorded.double().flatten(1).mean(1).tolist())
        assert rows[name].spikes == recorded.sum().item() / len(x)


def test_network_is_left_as_it_was() -> None:
    network, x = lively_network()
    network.cell1.eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    measure_energy(network, x)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert sum(len(getattr(module, kind)) for module in network.modules() for kind in hooks) == 0
    assert not torch.nn.modules.module._global_forward_hooks  # spikingjelly's counters use global hooks while they run


def test_report_prints_and_converts() -> None:
    report = measure_energy(known_network(), THREE)
    text = str(report)
    assert "878.0" in text
    assert "576.0" in text
    assert "break-even about 6%" in text
    assert all(sentence in text for sentence in report.assumptions)
    assert "192 MACs per sample" in text  # the two batch norms in front of LIF layers: (64 + 2·16) · T
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["synops"] == 878
    assert stored["break_even_firing_rate"] == 0.06
    assert len(stored["layers"]) == len(report.layers)


@pytest.mark.parametrize(
    ("x", "batch_size", "message"),
    [
        (torch.full((1, 1, 8, 8), float("nan")), 8, "NaN"),
        (torch.zeros(1, 8, 8), 8, r"\[N, C, H, W\]"),
        (torch.zeros(1, 1, 9, 9), 8, r"\(1, 8, 8\)"),
        (THREE, 0, "batch_size must be a whole number of 1 or more, got 0"),
    ],
)
def test_bad_input(x: torch.Tensor, batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_energy(known_network(), x, batch_size=batch_size)


# ---- the estimate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_pool", [1, 2])
def test_synops_are_estimated_from_rates(last_pool: int) -> None:
    """Exact for cells' insides and borders if spikes are spread evenly; behind a pooling an upper bound."""
    network, x = lively_network(last_pool=last_pool)
    report = measure_energy(network, x)
    rates = {layer.name: np.array(layer.firing_rate_per_step) for layer in report.layers if layer.neurons}
    for place in ("cell1", "cell2"):
        for edge in network.design.live_edges:
            if f"{place}.lif.{edge.source}" in rates:
                rates[f"{place}.ops.{edge}:{network.design.op(edge)}.0"] = rates[f"{place}.lif.{edge.source}"]
    found = estimate_synops(network.config, network.design, rates)
    assert found == pytest.approx(report.synops, rel=0.1) if last_pool == 1 else found > 0.95 * report.synops
    silent = {name: 0 * rate for name, rate in rates.items()}
    assert estimate_synops(network.config, network.design, silent) == 0
