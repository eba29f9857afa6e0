"""The memory of a training step: counted by hand, against a run with data, and at the paper's size without any."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from studies.memory import measured_memory, saved_bytes, training_memory

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


def test_without_data_as_with_data() -> None:
    """Within an eighth: the processor's kernels keep a little less than those that run without data."""
    network = build_network(CELL, SMALL)
    x = torch.poisson(torch.full((4, 6, 2, 32, 32), 0.5), generator=torch.Generator().manual_seed(0))
    measured, worked_out = saved_bytes(network, x), training_memory(CELL, SMALL, batch_size=6)
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


@pytest.mark.parametrize("batch_size", [0, 1.5, True])
def test_wrong_batches_are_told(batch_size: object) -> None:
    for memory in (training_memory, measured_memory):
        with pytest.raises(ValueError, match="batch_size must be a positive integer"):
            memory(CELL, SMALL, batch_size=batch_size)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_measured_by_doing_it() -> None:
    """Two steps of gestures at 128×128 need what was worked out: 335 MiB, and some 10 MiB less or more.

    Less, since they first use up what loading and compiling left free in the process.
    """
    config = replace(SMALL, input_shape=(2, 128, 128), width=16, num_steps=16)
    worked_out = training_memory(CELL, config, batch_size=2).total
    assert worked_out == pytest.approx(335 * 2**20, rel=0.01)
    assert 0.85 * worked_out < measured_memory(CELL, config, batch_size=2) < 1.2 * worked_out


def test_steps_that_end_badly_are_told() -> None:
    with pytest.raises(RuntimeError, match="batch_size 1 did not end well: ValueError"):
        measured_memory("no cell", SMALL, batch_size=1)


def test_a_network_that_has_run_can_be_counted() -> None:
    network, x = build_network(CELL, SMALL), torch.ones(4, 2, 2, 32, 32)
    before = saved_bytes(network, x)
    network(x)
    assert saved_bytes(network, x) == before
