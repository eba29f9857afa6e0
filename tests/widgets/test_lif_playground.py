"""LIFPlayground and its neuron: hand-checked traces, closed forms against spikingjelly, controls and messages."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightsnn_kit.neurons import (
    SURROGATES,
    LIFSettings,
    expected_rate,
    input_current,
    simulate_lif,
    surrogate_slope,
)
from lightsnn_kit.widgets import LIFPlayground, PlotView


def drawn(view: PlotView) -> dict:
    return json.loads(view.spec)


@pytest.fixture
def playground() -> LIFPlayground:
    view = LIFPlayground(num_steps=12)
    yield view
    view.close()


# ---- the neuron ------------------------------------------------------------------------------------------------------


def test_golden_traces_of_both_resets() -> None:
    drive = np.full(5, 1.5)
    potentials, spikes = simulate_lif(drive, LIFSettings(tau=2.0))
    assert potentials.tolist() == [0.75, 1.125, 0.75, 1.125, 0.75]
    assert spikes.tolist() == [0, 1, 0, 1, 0]
    potentials, spikes = simulate_lif(drive, LIFSettings(tau=2.0, v_reset=None))
    assert potentials.tolist() == [0.75, 1.125, 0.8125, 1.15625, 0.828125]  # 0.125 and 0.15625 stay after a spike
    potentials, spikes = simulate_lif(drive, LIFSettings(tau=2.0, v_reset=-0.5, v_threshold=0.5))
    assert potentials.tolist() == [0.25, 0.625, 0.25, 0.625, 0.25]  # from -0.5: v += (x - (v + 0.5))/2


@settings(max_examples=25)
@given(st.floats(1.05, 8), st.floats(0.2, 2), st.floats(-1, 0.1), st.floats(0.05, 4))
def test_the_closed_form_is_the_measured_rate(tau: float, threshold: float, reset: float, drive: float) -> None:
    chosen, steps = LIFSettings(tau=tau, v_threshold=threshold, v_reset=reset), 120
    [rate] = expected_rate(np.array([drive]), chosen)["closed form"]
    period = round(1 / rate) if rate else None
    exact = [drive * (1 - (1 - 1 / tau) ** n) - (threshold - reset) for n in ((period or 120) - 1, period or 120)]
    if min(map(abs, exact)) < 1e-4:  # a potential at the threshold: float32 decides
        return
    count = int(simulate_lif(np.full(steps, drive), chosen)[1].sum())
    assert count == (steps // period if period else 0)


@settings(max_examples=25)
@given(st.floats(1.05, 8), st.floats(0.2, 2), st.floats(0.05, 6))
def test_a_soft_reset_keeps_within_its_bounds(tau: float, threshold: float, drive: float) -> None:
    chosen, steps = LIFSettings(tau=tau, v_threshold=threshold, v_reset=None), 200
    low, high = (expected_rate(np.array([drive]), chosen)[f"{end} bound"][0] for end in ("lower", "upper"))
    rate = simulate_lif(np.full(steps, drive), chosen)[1].mean()
    assert low - (tau + 1) / steps - 1e-6 <= rate <= high + 1e-6  # the start from 0 costs at most tau spikes


def test_inputs() -> None:
    assert input_current("pulse", 6, amplitude=2, pulse=(1, 3)).tolist() == [0, 2, 2, 0, 0, 0]
    noise = input_current("noise", 4000, amplitude=1, spread=0.5, seed=3)
    assert np.array_equal(noise, input_current("noise", 4000, amplitude=1, spread=0.5, seed=3))
    assert abs(noise.mean() - 1) < 4 * 0.5 / 4000**0.5
    with pytest.raises(ValueError, match=r"unknown input 'ramp'; expected one of constant, pulse, noise"):
        input_current("ramp", 5)
    with pytest.raises(ValueError, match=r"within steps 0..5; got 3..9"):
        input_current("pulse", 5, pulse=(3, 9))
    with pytest.raises(ValueError, match="num_steps must be a whole number of 1 or more, got 0"):
        input_current("constant", 0)


def test_surrogates_have_the_slopes_of_their_formulas() -> None:
    x = np.array([-1.0, -0.25, 0.0, 0.5])
    assert surrogate_slope("ATan", x) == pytest.approx(1 / (1 + (np.pi * x) ** 2), rel=1e-5)  # alpha = 2
    sigmoid = 1 / (1 + np.exp(-4 * x))
    assert surrogate_slope("Sigmoid", x) == pytest.approx(4 * sigmoid * (1 - sigmoid), rel=1e-5)
    assert surrogate_slope("PiecewiseQuadratic", x) == pytest.approx(np.maximum(0, 1 - abs(x)))
    for name in SURROGATES:
        distance = np.linspace(-20, 20, 8001)
        area = surrogate_slope(name, distance).sum() * (distance[1] - distance[0])
        assert area == pytest.approx(1, abs=0.05)  # each is the slope of a step from 0 to 1
    with pytest.raises(ValueError, match="unknown surrogate 'Relu'"):
        surrogate_slope("Relu", x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tau": 1.0}, "tau must be above 1 step"),
        ({"tau": float("nan")}, "tau must be a finite number, got nan"),
        ({"v_threshold": 0.0}, "v_threshold must lie above 0, where v starts; got 0"),
        ({"v_reset": 1.0}, "v_threshold must lie above 1"),
        ({"surrogate": "Relu"}, "unknown surrogate 'Relu'; expected one of ATan"),
    ],
)
def test_settings_that_are_no_neuron_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIFSettings(**given)


# ---- the widget ------------------------------------------------------------------------------------------------------


def test_controls_reach_the_neuron(playground: LIFPlayground) -> None:
    assert playground.run()[1].tolist() == [0, 1] * 6  # x = 1.1 has period 2
    assert "6 spikes (▲), a rate of 50.0 %" in drawn(playground.traces)["layout"]["title"]["text"]
    playground.amplitude.value = 1.4  # above 4/3 every step spikes
    assert "12 spikes" in drawn(playground.traces)["layout"]["title"]["text"]
    playground.tau.value = 2.0
    playground.amplitude.value = 1.5
    playground.reset.value = True  # soft
    assert playground.v_reset.disabled
    assert playground.settings == LIFSettings(tau=2.0, v_reset=None)
    assert playground.run()[0][:4].tolist() == [0.75, 1.125, 0.8125, 1.15625]
    assert [trace["name"] for trace in drawn(playground.curve)["data"]] == ["upper bound", "lower bound", "measured"]
    playground.surrogate.value = "PiecewiseQuadratic"
    assert drawn(playground.slope)["data"][0]["name"] == "PiecewiseQuadratic"


def test_only_the_controls_of_the_input_are_shown(playground: LIFPlayground) -> None:
    def shown() -> list[str]:
        named = {"pulse": playground.pulse, "spread": playground.spread, "seed": playground.seed}
        return [name for name, widget in named.items() if widget.layout.display != "none"]

    assert shown() == []
    playground.input.value = "noise"
    assert shown() == ["spread", "seed"]
    before = playground.traces.spec
    playground.seed.value = 1
    assert playground.traces.spec != before
    playground.input.value = "pulse"
    assert shown() == ["pulse"]
    playground.pulse.value = (2, 4)
    assert np.flatnonzero(playground.current()).tolist() == [2, 3]
    assert "shapes" in drawn(playground.slope)["layout"]
    assert len(drawn(playground.curve)["layout"].get("annotations", [])) == 0  # no single current to mark


def test_wrong_settings_become_messages_and_keep_the_view(playground: LIFPlayground) -> None:
    before = playground.traces.spec
    playground.tau.value = 0.9
    assert "⚠ tau must be above 1 step" in playground.message.value
    assert playground.traces.spec == before
    assert "application/vnd.plotly.v1+json" not in playground._repr_mimebundle_()
    playground.tau.value = 1.3333
    assert playground.message.value == ""
    playground.input.value = "pulse"
    playground.pulse.value = (5, 30)
    assert "within steps 0..12; got 5..30" in playground.message.value


def test_pictures_labels_and_themes(playground: LIFPlayground) -> None:
    bundle = playground._repr_mimebundle_()["application/vnd.plotly.v1+json"]
    assert [trace["name"] for trace in bundle["data"]] == ["potential v", "spike", "input x", "spikes"]
    controls = [part for part in playground._parts if hasattr(part, "description")]
    assert len(controls) == 12  # eleven and the message line
    assert all(part.description for part in controls if part is not playground.message)
    playground._page.theme = "dark"
    plots = (playground.traces, playground.slope, playground.curve)
    assert {drawn(plot)["layout"]["template"]["layout"]["paper_bgcolor"] for plot in plots} == {"#111111"}
    assert max(plot.payload for plot in plots) < 50_000


def test_the_widgets_load_no_torch() -> None:
    code = "import sys, lightsnn_kit.widgets; print({'torch', 'spikingjelly'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("num_steps", [4, 201])
def test_as_many_steps_as_the_slider_has(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_steps must be a whole number from 5 to 200, got {num_steps}"):
        LIFPlayground(num_steps=num_steps)
