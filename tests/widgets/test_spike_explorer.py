"""SpikeExplorer: what it draws for a choice, what it says to wrong ones, and that closing leaves nothing; recording."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from lightsnn_kit.figures import THEMES
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.recording import record_potentials, record_spikes
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.widgets import PlotView, SpikeExplorer


def drawn(view: PlotView) -> dict:
    return json.loads(view.spec)


def numbers(values: object) -> list:
    """An array as plotly sends it: nested lists, or base64 of its bytes."""
    if not isinstance(values, dict):
        return values
    flat = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return flat.reshape([int(n) for n in values.get("shape", str(flat.size)).split(",")]).tolist()


def z(view: PlotView, trace: int = 0) -> list:
    """The values of a heatmap."""
    return numbers(drawn(view)["data"][trace]["z"])


def record() -> dict[str, np.ndarray]:
    """Two layers, T = 3, B = 2: 2 channels of 2×2 that fire once, and 3 silent neurons."""
    conv = np.zeros((3, 2, 2, 2, 2), np.uint8)
    conv[1, 0, 1, 0, 1] = 1  # step 1, sample 0, channel 1: neuron 5
    return {"dead": np.zeros((3, 2, 3), np.uint8), "conv": conv}


def potentials() -> dict[str, np.ndarray]:
    return {name: np.where(spikes == 1, 1.25, 0.25) for name, spikes in record().items()}


@pytest.fixture
def explorer() -> SpikeExplorer:
    images = np.arange(32).reshape(2, 1, 4, 4)
    view = SpikeExplorer(record(), potentials=potentials(), labels=[7, 9], images=images)
    yield view
    view.close()


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_it_opens_on_a_layer_that_fires_and_names_the_silent(explorer: SpikeExplorer) -> None:
    assert (explorer.layer.value, explorer.silent) == ("conv", ("dead",))
    assert explorer.layer.options == (("dead (silent)", "dead"), ("conv", "conv"))
    assert "1 of 2 layers are silent" in explorer.warning.value
    assert 'role="status"' in explorer.warning.value
    assert "conv, sample 0 (class 7)" in drawn(explorer.raster)["layout"]["title"]["text"]
    assert z(explorer.raster, 1) == [[0, int(n == 5), 0] for n in range(8)]
    assert explorer.neuron.value == 5  # the one that fires
    assert z(explorer.image)[0] == [0, 1, 2, 3]
    assert explorer.describe() == "SpikeExplorer: conv, sample 0, 2 layers"


def test_sample_and_step_change_what_is_drawn(explorer: SpikeExplorer) -> None:
    assert z(explorer.maps) == [[0, 0, None, 0, 0]] * 2
    explorer.step.value = 1
    assert z(explorer.maps) == [[0, 0, None, 0, 1], [0, 0, None, 0, 0]]
    explorer.sample.value = 1
    assert z(explorer.maps) == [[0, 0, None, 0, 0]] * 2
    assert z(explorer.image)[0] == [16, 17, 18, 19]
    assert "sample 1 (class 9)" in drawn(explorer.raster)["layout"]["title"]["text"]


def test_playing_moves_the_step_and_closing_stops_it(explorer: SpikeExplorer) -> None:
    explorer.play.playing = True
    explorer.play.value = 1
    assert explorer.step.value == 1
    assert z(explorer.maps)[0][4] == 1
    explorer.close()
    assert explorer.play.playing is False


def test_the_membrane_of_a_neuron_follows_number_and_click(explorer: SpikeExplorer) -> None:
    explorer.neuron.value = 5
    line = drawn(explorer.membrane)["data"][0]
    assert numbers(line["y"]) == [0.25, 0.25, 1.25, 0, 0.25, 0.25]
    point = {"kind": "click", "point": None, "customdata": None}
    explorer.raster._handle_custom_msg(point | {"curve": 1, "x": 0, "y": 2}, [])
    assert explorer.neuron.value == 2
    explorer.maps._handle_custom_msg(point | {"curve": 0, "x": 4, "y": 0}, [])
    assert explorer.neuron.value == 5
    explorer.maps._handle_custom_msg(point | {"curve": 0, "x": 2, "y": 0}, [])  # the gap between two channels
    explorer.raster._handle_custom_msg(point | {"curve": 0, "x": 1, "y": 12.5}, [])  # a bar above the raster
    assert explorer.neuron.value == 5
    assert "neuron 5" in drawn(explorer.membrane)["layout"]["title"]["text"]


def test_histogram_counts_neurons_over_steps_and_samples(explorer: SpikeExplorer) -> None:
    silent = drawn(explorer.rates)["data"][0]
    assert silent["text"] == ["87.5 %"]  # 7 of 8
    assert "3 steps and 2 samples" in drawn(explorer.rates)["layout"]["title"]["text"]


def test_a_silent_layer_is_told_when_chosen(explorer: SpikeExplorer) -> None:
    explorer.neuron.value = 7
    explorer.layer.value = "dead"
    assert "dead is silent" in explorer.message.value
    assert 'role="status"' in explorer.message.value
    assert explorer.neuron.value == 0  # the layer has 3
    assert explorer.window.value == (0, 3)
    assert z(explorer.maps) == [[0, 0, 0]]
    explorer.layer.value = "conv"
    assert explorer.message.value == ""


def test_ten_thousand_neurons_stay_usable() -> None:
    spikes = np.zeros((8, 2, 10_000), np.uint8)
    spikes[:, :, 5000] = 1
    view = SpikeExplorer({"wide": spikes})
    assert len(z(view.raster, 1)) == 300
    assert "300 of 10,000 neurons, evenly spaced" in drawn(view.raster)["layout"]["title"]["text"]
    view.window.value = (4990, 5010)
    assert [sum(row) for row in z(view.raster, 1)] == [0] * 10 + [8] + [0] * 9
    assert max(plot.payload for plot in (view.raster, view.maps, view.rates)) < 200_000
    view.close()


def test_event_frames_are_summed_and_membranes_are_optional() -> None:
    frames = np.zeros((3, 2, 2, 4, 4))
    frames[:, 1, 1, 0, 0] = 1
    view = SpikeExplorer(record(), images=frames)
    view.sample.value = 1
    assert z(view.image)[0] == [3, 0, 0, 0]
    assert view.membrane.spec == ""
    view.close()


def test_the_output_has_its_picture_and_every_control_a_label(explorer: SpikeExplorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"][1]["type"] == "heatmap"
    controls = (explorer.layer, explorer.sample, explorer.neuron, explorer.window, explorer.step, explorer.play)
    assert all(control.description for control in controls)
    plots = (explorer.raster, explorer.maps, explorer.rates, explorer.membrane, explorer.image)
    assert all(plot.label for plot in plots)
    explorer._page.theme = "dark"
    surfaces = {drawn(plot)["layout"]["template"]["layout"]["paper_bgcolor"] for plot in plots}
    assert surfaces == {THEMES["dark"].surface}


# ---- wrong input -----------------------------------------------------------------------------------------------------


def test_wrong_choices_become_messages_and_keep_the_view(explorer: SpikeExplorer) -> None:
    before = explorer.raster.spec
    explorer.sample.value = 2
    assert "⚠ sample must be a whole number from 0 to 1, got 2." in explorer.message.value
    assert "application/vnd.plotly.v1+json" not in explorer._repr_mimebundle_()
    explorer.sample.value = 0
    assert explorer.message.value == ""
    explorer.neuron.value = -1
    assert "neuron must be a whole number from 0 to 7, got -1." in explorer.message.value
    explorer.neuron.value = 0
    explorer.select("cell9")
    assert "unknown layer &#x27;cell9&#x27;; expected one of dead, conv." in explorer.message.value
    explorer.select("conv", sample=0, neuron=5)
    assert (explorer.message.value, explorer.raster.spec) == ("", before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spikes": {}}, r"spikes must map layers to arrays \[T, B, ...\] of one T and B; got none"),
        ({"spikes": {"a": np.zeros((3, 2, 1)), "b": np.zeros((2, 2, 1))}}, "of one T and B"),
        ({"spikes": {"a": np.zeros((3, 2))}}, r"\[T, B, ...\]"),
        ({"potentials": {"conv": potentials()["conv"]}}, r"potentials of dead must have the shape .* got None"),
        ({"labels": [1, 2, 3]}, r"labels must hold one entry per sample, 2; got shape \(3,\)"),
        ({"images": np.zeros((1, 1, 4, 4))}, r"images must hold one entry per sample, 2"),
    ],
)
def test_records_that_do_not_fit_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikeExplorer(**({"spikes": record()} | given))


# ---- nothing is left behind ------------------------------------------------------------------------------------------


# ---- potentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [0.0, None])
def test_potentials_are_those_before_the_reset(v_reset: float | None) -> None:
    lif = neuron.LIFNode(tau=2.0, v_reset=v_reset)
    with torch.no_grad(), record_potentials(nn.Sequential(lif)) as found:
        for _ in range(4):
            lif(torch.tensor([1.5]))
    # v += (1.5 - v)/2 from 0: 0.75, 1.125 (spike), then from 0 or from 0.125
    third = 0.75 if v_reset == 0.0 else 0.125 + (1.5 - 0.125) / 2
    fourth = 0.75 + 0.375 if v_reset == 0.0 else third + (1.5 - third) / 2
    assert found["0"].flatten().tolist() == pytest.approx([0.75, 1.125, third, fourth])


@pytest.mark.parametrize("supernet", [True, False])
def test_potentials_agree_with_the_spikes_and_change_nothing(supernet: bool) -> None:
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8, num_steps=3, dropout=0.0)
    space = SPACES["lightsnn"]
    options = {"mask": space.full_mask()} if supernet else {}
    network = build_supernet(space, config) if supernet else build_network("0303 0030 2002 0200", config)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 4
    with torch.no_grad():
        before = network(x, **options)
        with record_potentials(network) as found, record_spikes(network) as spikes:
            assert torch.equal(network(x, **options), before)
    assert found.keys() == spikes.keys()
    for name, v in found.items():
        assert torch.equal((v >= config.v_threshold).to(torch.uint8), spikes[name])
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in network.modules())


def test_hooks_go_even_if_the_block_fails() -> None:
    lif = neuron.LIFNode()
    with pytest.raises(ZeroDivisionError), record_potentials(lif):
        _ = 1 / 0
    assert not lif._forward_pre_hooks
    assert lif.v_threshold == 1.0
