"""LIFPlayground: one leaky integrate-and-fire neuron to play with."""

from __future__ import annotations

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from .. import neurons
from ..checks import whole
from ..figures import membrane_trace, rate_curve, surrogate_gradient
from ..neurons import INPUTS, SURROGATES, LIFSettings
from .base import View
from .parts import flow

_RESETS = {"hard: set to v_reset": False, "soft: subtract the threshold": True}
MIN_STEPS, MAX_STEPS = 5, 200  # of a simulation


class LIFPlayground(View):
    """Input current, time constant, threshold, reset and surrogate; membrane, spikes, surrogate gradient, f-I curve.

    The numbers are spikingjelly's own neuron and surrogates (see ``neurons``); it needs torch.
    ``ValueError`` for a number of steps that its slider does not have.
    """

    name = "lif"

    def __init__(self, settings: LIFSettings | None = None, *, num_steps: int = 40, theme: str = "light") -> None:
        num_steps = whole("num_steps", num_steps, low=MIN_STEPS, high=MAX_STEPS)
        super().__init__(theme=theme)
        self._add_inputs(num_steps)
        self._add_neuron(settings or LIFSettings())
        self.traces = self.plot("traces", "Input current, membrane potential and spikes over time")
        self.slope = self.plot("slope", "Surrogate gradient over the distance from the threshold")
        self.curve = self.plot("curve", "Firing rate over a constant input current, simulated and in closed form")
        first = flow(self.input, self.amplitude, self.steps, self.pulse, self.spread, self.seed)
        second = flow(self.tau, self.v_threshold, self.reset, self.v_reset, self.surrogate)
        self.arrange(first, second, self.traces, flow(self.slope, self.curve, width=400))
        self.watch(self.input, lambda _: self._show_inputs())
        self.watch(self.reset, lambda soft: self.v_reset.set_trait("disabled", soft))
        self._show_inputs()
        self.redraw()

    def _add_inputs(self, num_steps: int) -> None:
        add, wide, narrow = self._add, {"layout": {"width": "300px"}}, {"layout": {"width": "140px"}}
        self.input = add("input", ipywidgets.Dropdown, "constant", "Input", options=INPUTS)
        span = {"min": -1.0, "max": 4.0, "step": 0.05}
        self.amplitude = add("amplitude", ipywidgets.FloatSlider, 1.1, "Current x", **span, **wide)
        steps = {"min": MIN_STEPS, "max": MAX_STEPS} | wide
        self.steps = add("steps", ipywidgets.IntSlider, num_steps, "Steps", **steps)
        ends = (num_steps // 4, max(num_steps // 4 + 1, num_steps // 2))
        self.pulse = add("pulse", ipywidgets.IntRangeSlider, ends, "Pulse from, to", **steps | {"min": 0})
        self.spread = add("spread", ipywidgets.FloatSlider, 0.5, "Noise (sd)", min=0.0, max=2.0, step=0.05)
        self.seed = add("seed", ipywidgets.IntText, 0, "Seed", **narrow)

    def _add(self, *what: object, **options: object) -> ipywidgets.DOMWidget:
        """A control after whose changes all is drawn anew."""
        return self.add_control(*what, lambda: self.soon(self.redraw), **options)

    def _add_neuron(self, settings: LIFSettings) -> None:
        add, soft, number = self._add, settings.v_reset is None, {"step": 0.1, "layout": {"width": "140px"}}
        self.tau = add("tau", ipywidgets.FloatText, round(settings.tau, 4), "τ (steps)", **number)
        self.v_threshold = add("threshold", ipywidgets.FloatText, settings.v_threshold, "Threshold", **number)
        self.reset = add("reset", ipywidgets.Dropdown, soft, "Reset", options=_RESETS)
        reset = settings.v_reset or 0.0
        self.v_reset = add("v-reset", ipywidgets.FloatText, reset, "v_reset", disabled=soft, **number)
        self.surrogate = add("surrogate", ipywidgets.Dropdown, settings.surrogate, "Surrogate", options=SURROGATES)

    def _show_inputs(self) -> None:
        """Show only the controls that the chosen input has."""
        for widget, kind in ((self.pulse, "pulse"), (self.spread, "noise"), (self.seed, "noise")):
            widget.layout.display = None if self.input.value == kind else "none"

    @property
    def settings(self) -> LIFSettings:
        """The neuron as chosen; ``ValueError`` if it cannot be one."""
        reset = None if self.reset.value else self.v_reset.value
        tau, threshold = self.tau.value, self.v_threshold.value
        return LIFSettings(tau=tau, v_threshold=threshold, v_reset=reset, surrogate=self.surrogate.value)

    def current(self) -> np.ndarray:
        """The input current [T] as chosen."""
        options = {"pulse": self.pulse.value, "spread": self.spread.value, "seed": self.seed.value}
        return neurons.input_current(self.input.value, self.steps.value, amplitude=self.amplitude.value, **options)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Potentials before the reset, and spikes, [T] each."""
        return neurons.simulate_lif(self.current(), self.settings)

    def figure(self) -> go.Figure:
        """Input, membrane and spikes."""
        return self._draw_traces(*self.run())

    def redraw(self) -> None:
        """Run the neuron and draw all plots anew."""
        chosen, (potentials, spikes) = self.settings, self.run()
        distance = np.linspace(-2, 2, 161)
        names = (chosen.surrogate, *(name for name in ("ATan", "Sigmoid") if name != chosen.surrogate))
        curves = {name: neurons.surrogate_slope(name, distance) for name in names[:2]}
        self.slope.show(surrogate_gradient(distance, curves, at=potentials - chosen.v_threshold, theme=self.theme))
        currents, rates = neurons.simulated_rates(chosen)
        mark = self.amplitude.value if self.input.value == "constant" else None
        expected = neurons.expected_rate(currents, chosen)
        self.curve.show(rate_curve(currents, rates, expected=expected, mark=mark, theme=self.theme))
        self.traces.show(self._draw_traces(potentials, spikes))

    def _draw_traces(self, potentials: np.ndarray, spikes: np.ndarray) -> go.Figure:
        levels = (self.settings.v_threshold, self.settings.v_reset)
        return membrane_trace(potentials, spikes, current=self.current(), levels=levels, theme=self.theme)

    def describe(self) -> str:
        return f"LIFPlayground: {self.input.value} input, tau {self.tau.value:g}, threshold {self.v_threshold.value:g}"
