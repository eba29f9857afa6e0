"""The memory of a training step: counted by hand, against a run with data, and at the paper's size without any."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from studies.memory import measured_memory, saved_bytes, training_memory

from lightsnn_kit.lab import presets
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.spaces import SPACES

CELL = "0303 0030 2002 0200"
SMALL = NetworkConfig(input_shape=(2, 32, 32), num_classes=4, width=8, hidden=32, num_steps=4, events=True)


def test_a_layer_by_hand() -> None:
    """A convolution keeps its input, 5·2·8·8 floats, and its weight, which is not counted; ReLU its output."""
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.nn.ReLU(), torch.nn.Flatten())
    kept = saved_bytes(layers, torch.zeros(5, 2, 8, 8))
    softmax = 5 * 3 * 8 * 8 * 4  # the loss keeps log-probabilities of 192 "classes",
    labels = 5 * 8 + 4  # its labels, and a number
    assert kept == 5 * 2 * 8 * 8 * 4 + 5 * 3 * 8 * 8 * 4 + softmax + labels
    assert layers.training


@pytest.mark.parametrize("recompute", [False, True])
def test_without_data_as_with_data(recompute: bool) -> None:
    """Within an eighth: the processor's kernels keep a little less than those that run without data."""
    network = build_network(CELL, SMALL)
    x = torch.poisson(torch.full((4, 6, 2, 32, 32), 0.5), generator=torch.Generator().manual_seed(0))
    measured = saved_bytes(network, x, recompute=recompute)
    worked_out = training_memory(CELL, SMALL, batch_size=6, recompute=recompute)
    assert measured == pytest.approx(worked_out.activations, rel=0.125)
    fresh = build_network(CELL, SMALL).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in network.state_dict().items())
    assert worked_out.gradients == worked_out.momentum == 4 * network.num_parameters
    assert worked_out.total == worked_out.activations + worked_out.weights + 8 * network.num_parameters


def test_every_step_is_kept() -> None:
    four, eight = (training_memory(CELL, replace(SMALL, num_steps=T), batch_size=4).activations for T in (4, 8))
    assert eight == pytest.approx(2 * four, rel=0.02)


def test_gestures_at_the_papers_size_are_not_run() -> None:
    """128×128, T = 16, C = 128, batch 16: the step itself would need more than 20 GiB."""
    config = NetworkConfig(input_shape=(2, 128, 128), num_classes=11, width=128, num_steps=16, events=True)
    found = training_memory(SPACES["lightsnn"].uniform("conv3x3"), config, batch_size=16)
    assert found.activations > 20 * 2**30
    assert "GiB, of which" in str(found)


def test_gestures_fit_a_card_of_16_gb_in_parts_of_16() -> None:
    """A step that is taken again leaves 16 planes: 4 membranes and 3 fed-back sums in each cell, and those around them.

    Those of cell 1 are 16·128·64·64 floats, 32 MiB, those of cell 2 half as large: 8·32 + 8·16 MiB enter each step but
    the first. One step keeps a sixteenth of what sixteen do.
    """
    config = NetworkConfig(input_shape=(2, 128, 128), num_classes=11, width=128, num_steps=16, events=True)
    cell = SPACES["lightsnn"].uniform("conv3x3")
    whole, found = (training_memory(cell, config, batch_size=16, recompute=value) for value in (False, True))
    by_hand = 15 * (8 * 32 + 8 * 16) * 2**20 + whole.activations / 16
    assert found.activations == pytest.approx(by_hand, rel=0.02)
    assert found.total < 0.6 * 16e9
    assert presets.get("dvs128-gesture+small-gpu").train.batch_size == 4 * 16


@pytest.mark.parametrize("batch_size", [0, 1.5, True])
def test_wrong_batches_are_told(batch_size: object) -> None:
    for memory in (training_memory, measured_memory):
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            memory(CELL, SMALL, batch_size=batch_size)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("recompute", "mebibytes"), [(False, 335), (True, 108)])
def test_measured_by_doing_it(recompute: bool, mebibytes: int) -> None:
    """Two steps of gestures at 128×128 need what was worked out, and some 10 MiB less or more.

    Less, since they first use up what loading and compiling left free in the process; more for gradients on their way.
    """
    config = replace(SMALL, input_shape=(2, 128, 128), width=16, num_steps=16)
    worked_out = training_memory(CELL, config, batch_size=2, recompute=recompute).total
    assert worked_out == pytest.approx(mebibytes * 2**20, rel=0.01)
    measured = measured_memory(CELL, config, batch_size=2, recompute=recompute)
    assert 0.85 * worked_out < measured < 1.2 * worked_out + 10 * 2**20


def test_steps_that_end_badly_are_told() -> None:
    with pytest.raises(RuntimeError, match="batch_size 1 did not end well: ValueError"):
        measured_memory("no cell", SMALL, batch_size=1)


def test_a_network_that_has_run_can_be_counted() -> None:
    network, x = build_network(CELL, SMALL), torch.ones(4, 2, 2, 32, 32)
    before = saved_bytes(network, x)
    network(x)
    assert saved_bytes(network, x) == before
