"""Spike maps, membranes, rates, surrogates and input images, as numbers: positions, counts, texts, sizes."""

from __future__ import annotations

import re

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit import figures

V, S = [0.8, 1.2, 0.4], [0, 1, 0]
EVERY = {
    "maps over time": lambda theme: figures.spike_maps(np.ones((2, 3, 4, 4)), theme=theme),
    "maps at a step": lambda theme: figures.spike_maps(np.ones((2, 3, 4, 4)), step=1, theme=theme),
    "folded neurons": lambda theme: figures.spike_maps(np.ones((2, 7)), step=0, theme=theme),
    "histogram": lambda theme: figures.rate_histogram([0, 0.5], theme=theme),
    "membrane": lambda theme: figures.membrane_trace(V, S, theme=theme),
    "traces": lambda theme: figures.membrane_trace(V, S, current=[1, 1, 1], theme=theme),
    "surrogate": lambda theme: figures.surrogate_gradient([-1, 0, 1], {"a": [0, 1, 0]}, at=[0.5], theme=theme),
    "rate curve": lambda theme: figures.rate_curve([0, 1], [0, 0.5], mark=1.0, theme=theme),
    "images": lambda theme: figures.input_images(np.zeros((1, 1, 4, 4)), theme=theme),
}


def heading(fig: go.Figure) -> str:
    """Title and note without markup."""
    return re.sub("<[^>]+>", "", fig.layout.title.text.replace("<br>", " "))


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_has_both_themes_and_a_height(name: str) -> None:
    for theme, look in figures.THEMES.items():
        fig = EVERY[name](theme)
        assert fig.layout.template.layout.paper_bgcolor == look.surface
        assert fig.layout.width is None
        assert fig.layout.height - fig.layout.margin.t - fig.layout.margin.b > 50
    with pytest.raises(ValueError, match=r"unknown theme 'sepia'"):
        EVERY[name]("sepia")


# ---- maps ------------------------------------------------------------------------------------------------------------


def two_channels() -> np.ndarray:
    """[T=3, C=2, H=2, W=2]: channel 1 fires at step 2, in its lower right corner."""
    spikes = np.zeros((3, 2, 2, 2), np.uint8)
    spikes[2, 1, 1, 1] = 1
    return spikes


def test_maps_over_time_have_channels_below_and_steps_beside_each_other() -> None:
    fig = figures.spike_maps(two_channels())
    z = fig.data[0].z
    assert z.shape == (2 + 1 + 2, 2 + 1 + 2 + 1 + 2)
    assert np.argwhere(z == 1).tolist() == [[4, 7]]
    assert fig.data[0].customdata[4, 7] == 7  # the last of 8 neurons
    assert {cell for cell in z[2]} == {None}  # the line between the channels
    assert list(fig.layout.yaxis.tickvals) == [0.5, 3.5]
    assert list(fig.layout.xaxis.ticktext) == ["0", "1", "2"]
    assert "All 2 channels" in heading(fig)
    assert "4.2 % fire" in heading(fig)  # 1 of 24


def test_maps_at_a_step_stand_in_a_grid() -> None:
    fig = figures.spike_maps(two_channels(), step=2)
    assert fig.data[0].z.tolist() == [[0, 0, None, 0, 0], [0, 0, None, 0, 1]]
    assert fig.data[0].customdata.tolist() == [[0, 1, -1, 4, 5], [2, 3, -1, 6, 7]]
    assert list(fig.layout.yaxis.ticktext) == ["0 … 1"]
    assert "12.5 % fire" in heading(fig)
    assert "step 2 of 0 … 2" in heading(fig)


def test_neurons_without_channels_are_folded() -> None:
    fig = figures.spike_maps([[0, 1, 0, 0, 0, 0, 1]], step=0)
    assert fig.data[0].z.tolist() == [[0, 1, 0, 0], [0, 0, 1, None]]
    assert "All neurons in reading order" in heading(fig)
    assert "28.6 % fire" in heading(fig)  # 2 of 7: what was filled up does not count


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2))
def test_each_neuron_of_a_grid_is_drawn_once(channels: int, height: int, width: int, step: int) -> None:
    spikes = np.random.default_rng(0).integers(0, 2, (3, channels, height, width))
    heat = figures.spike_maps(spikes, step=step).data[0]
    shown = heat.customdata >= 0
    assert sorted(heat.customdata[shown].tolist()) == list(range(channels * height * width))
    assert all(cell is None for cell in heat.z[~shown])
    assert heat.z[shown].astype(int).tolist() == spikes[step].ravel()[heat.customdata[shown]].tolist()


@pytest.mark.parametrize(
    ("shape", "step", "note"),
    [
        ((16, 512, 32, 32), 3, "64 of 512 channels"),
        ((16, 512, 32, 32), None, "5 of 512 channels"),
        ((16, 64, 128, 128), None, "1 of 64 channels, evenly spaced, 6 of 16 steps"),
        ((16, 10_000), None, "9 of 16 steps"),
        ((16, 10_000), 2, "All neurons"),
    ],
)
def test_large_layers_are_thinned_with_a_note(shape: tuple, step: int | None, note: str) -> None:
    fig = figures.spike_maps(np.ones(shape, np.uint8), step=step)
    assert note in heading(fig)
    assert len(fig.to_json()) < 1e6


# ---- raster window ---------------------------------------------------------------------------------------------------


def test_a_window_of_the_raster_shows_its_neurons_and_the_rate_of_all() -> None:
    spikes = np.zeros((2, 10_000), np.uint8)
    spikes[0, 7000:] = 1
    bars, heat = figures.spike_raster(spikes, window=(6999, 7001)).data
    assert list(heat.y) == [6999, 7000]
    assert heat.z.tolist() == [[0, 0], [1, 0]]
    assert list(bars.y) == [30, 0]
    with pytest.raises(ValueError, match=r"window must lie within neurons 0..10000, got 5..5"):
        figures.spike_raster(spikes, window=(5, 5))


# ---- one neuron ------------------------------------------------------------------------------------------------------


def test_membrane_falls_at_a_spike_by_the_rule_of_its_reset() -> None:
    assert list(figures.membrane_trace(V, S).data[0].y) == [0.8, 0.8, 1.2, 0, 0.4, 0.4]
    soft = figures.membrane_trace(V, S, levels=(1.0, None))
    assert list(soft.data[0].y) == pytest.approx([0.8, 0.8, 1.2, 0.2, 0.4, 0.4])
    assert [note.text for note in soft.layout.annotations] == ["threshold 1"]
    low = figures.membrane_trace(V, S, levels=(1.1, -0.5))
    assert [note.text for note in low.layout.annotations] == ["threshold 1.1", "reset to −0.5"]
    assert [shape.y0 for shape in low.layout.shapes] == [1.1, -0.5]
    assert list(low.data[1].x) == [1]
    assert "All 3 steps; 1 spikes (▲), a rate of 33.3 %. At a spike the potential is set to -0.5." in heading(low)


def test_traces_share_their_steps() -> None:
    fig = figures.membrane_trace(V, S, current=[1, 2, 3])
    assert [axis.title.text for axis in fig.select_yaxes()] == ["input x", "potential v", "spike"]
    assert list(fig.data[2].y) == [1, 2, 3]
    assert list(fig.data[3].x) == [1, 1, 1]  # the mark of the spike at step 1
    assert "a rate of 33.3 %" in heading(fig)


def test_long_traces_are_cut_not_thinned() -> None:
    fig = figures.membrane_trace(np.ones(5000), np.ones(5000), current=np.ones(5000))
    assert "The first 2,000 of 5,000 steps" in heading(fig)
    assert len(fig.data[2].x) == 2000
    assert len(fig.to_json()) < 1e6


def test_surrogate_marks_where_the_neuron_was() -> None:
    curve, other, seen = figures.surrogate_gradient(
        [-1, 0, 1], {"triangle": [0, 1, 0], "flat": [1, 1, 1]}, at=[-0.5, 0, 5]
    ).data
    assert (curve.line.width, other.line.width, other.line.dash) == (3, 1.5, "dash")
    assert (list(seen.x), list(seen.y)) == ([-0.5, 0], [0.5, 1])  # 5 lies outside


def test_rate_curve_is_in_per_cent_of_the_steps() -> None:
    fig = figures.rate_curve([0, 1, 2], [0, 0.5, 1], expected={"closed form": [0, 0.4, 1]}, mark=1.5)
    assert [(trace.name, trace.mode) for trace in fig.data] == [("closed form", "lines"), ("measured", "markers")]
    assert list(fig.data[0].y) == pytest.approx([0, 40, 100])
    assert fig.layout.annotations[0].text == "x = 1.5"


# ---- rates and images ------------------------------------------------------------------------------------------------


def test_histogram_keeps_the_silent_apart_and_counts_all() -> None:
    silent, fires = figures.rate_histogram([0, 0, 0, 0.01, 1], bins=4).data
    assert list(silent.y) == [60]
    assert list(fires.y) == [20, 0, 0, 20]
    assert list(fires.x) == [12.5, 37.5, 62.5, 87.5]
    assert "3 of them never fire" in heading(figures.rate_histogram([0, 0, 0, 1], over="4 steps"))
    assert "All 4 neurons, over 4 steps" in heading(figures.rate_histogram([0, 0, 0, 1], over="4 steps"))


def test_images_are_grey_coloured_or_events() -> None:
    grey = figures.input_images(np.arange(8).reshape(2, 1, 2, 2)).data
    assert [(heat.zmin, heat.zmax) for heat in grey] == [(0, 7), (0, 7)]  # one scale for both
    colour = figures.input_images(np.full((1, 3, 2, 2), 255, np.uint8)).data[0]
    assert colour.z.shape == (2, 2, 3)
    frames = np.zeros((1, 4, 2, 2, 2))  # [n, T, polarity, H, W]: two steps with an on event
    frames[0, :2, 1, 0, 0] = 1
    events = figures.input_images(frames, titles=["wave"])
    assert events.data[0].z.tolist() == [[2, 0], [0, 0]]
    assert (events.data[0].zmin, events.data[0].zmax) == (-2, 2)
    assert events.layout.annotations[0].text == "wave"


REFUSED = {
    r"spikes must be a non-empty \[T, C, H, W\] array, got shape \(2, 3, 4\)": lambda: figures.spike_maps(
        np.ones((2, 3, 4))
    ),
    r"spikes must be 0 or 1, got values from 0.0 to 0.5": lambda: figures.spike_maps([[0, 0.5]]),
    r"step must lie within 0..2, got 3": lambda: figures.spike_maps(two_channels(), step=3),
    r"one value per step each, got 3 and 2": lambda: figures.membrane_trace(V, S[:2]),
    r"current and potentials need one value per step each, got 2 and 3": lambda: figures.membrane_trace(
        V, S, current=[1, 1]
    ),
    r"rates must be shares within 0..1": lambda: figures.rate_histogram([50]),
    r"at least one curve, got none": lambda: figures.surrogate_gradient([0], {}),
    r"a needs one value per distance, got 2 for 1": lambda: figures.surrogate_gradient([0], {"a": [1, 2]}),
    r"measured needs one rate per current, got 1 for 2": lambda: figures.rate_curve([0, 1], [0]),
    r"images need 1, 2 or 3 channels, got 4": lambda: figures.input_images(np.zeros((1, 4, 2, 2))),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_with_a_reason(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
