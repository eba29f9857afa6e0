"""One leaky integrate-and-fire neuron at a time: input currents, spikingjelly's own dynamics, and closed forms.

Spikingjelly (and torch) are imported where they are needed, so that a viewer of stored traces needs neither.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .checks import make_plain, real, unknown, whole

SURROGATES = ("ATan", "Sigmoid", "PiecewiseQuadratic", "PiecewiseExp", "SoftSign", "Erf", "Rect")
"""spikingjelly's surrogate functions to choose from, each with its own default width."""

INPUTS = ("constant", "pulse", "noise")


@dataclass(frozen=True, kw_only=True)
class LIFSettings:
    """A LIF neuron, charged by v += (x − (v − v_reset)) / tau; ``ValueError`` if it cannot be one.

    >>> LIFSettings(tau=0.5)
    Traceback (most recent call last):
    ...
    ValueError: tau must be above 1 step, or the potential would overshoot its input; got 0.5.
    """

    tau: float = 4 / 3  # membrane time constant in steps; LightSNN's
    v_threshold: float = 1.0
    v_reset: float | None = 0.0  # potential after a spike; None: the spike subtracts v_threshold (soft reset)
    surrogate: str = "ATan"  # whose slope stands for the spike's in training

    def __post_init__(self) -> None:
        names = ("tau", "v_threshold", *["v_reset"] * (self.v_reset is not None))
        make_plain(self, wholes={}, reals=dict.fromkeys(names, (-math.inf, math.inf)))
        if self.tau <= 1:
            raise ValueError(f"tau must be above 1 step, or the potential would overshoot its input; got {self.tau:g}.")
        if self.v_threshold <= (self.v_reset or 0.0):
            raise ValueError(
                f"v_threshold must lie above {self.v_reset or 0.0:g}, where v starts; got {self.v_threshold:g}."
            )
        if self.surrogate not in SURROGATES:
            raise unknown("surrogate", self.surrogate, SURROGATES)


def input_current(
    kind: str, num_steps: int, *, amplitude: float = 1.1, pulse: tuple[int, int] = (10, 25), spread: float = 0.5,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """An input current [T]: "constant", a "pulse" from step a up to step b, or "noise" around the amplitude.

    ``spread``: standard deviation of the noise, which comes from ``seed``. ``ValueError`` for another kind or pulse.

    >>> input_current("pulse", 5, amplitude=2.0, pulse=(1, 3))
    array([0., 2., 2., 0., 0.])
    """
    if kind not in INPUTS:
        raise unknown("input", kind, INPUTS)
    num_steps, amplitude = whole("num_steps", num_steps), real("amplitude", amplitude)
    if kind == "constant":
        return np.full(num_steps, amplitude)
    if kind == "noise":
        rng = np.random.default_rng(whole("seed", seed, low=0))
        return amplitude + real("spread", spread) * rng.standard_normal(num_steps)
    begin, end = (whole("pulse", step, low=0) for step in pulse)
    if not 0 <= begin < end <= num_steps:
        raise ValueError(f"a pulse must begin before it ends, within steps 0..{num_steps}; got {begin}..{end}.")
    steps = np.arange(num_steps)
    return np.where((steps >= begin) & (steps < end), amplitude, 0.0)


def simulate_lif(current: np.ndarray, settings: LIFSettings) -> tuple[np.ndarray, np.ndarray]:
    """Potentials before the reset and spikes (0 or 1), both [T, ...], of neurons with input currents [T, ...].

    spikingjelly's ``LIFNode``, one step at a time.

    >>> potentials, spikes = simulate_lif(np.full(3, 1.1), LIFSettings())
    >>> potentials.round(3), spikes
    (array([0.825, 1.031, 0.825], dtype=float32), array([0, 1, 0], dtype=uint8))
    """
    import torch
    from spikingjelly.activation_based import neuron, surrogate

    from .recording import record_potentials

    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # a warning per kernel without CUDA
    lif = neuron.LIFNode(
        tau=float(settings.tau),
        v_threshold=float(settings.v_threshold),
        v_reset=None if settings.v_reset is None else float(settings.v_reset),
        surrogate_function=getattr(surrogate, settings.surrogate)(),
    )
    drive = torch.as_tensor(np.asarray(current), dtype=torch.float32)
    with torch.no_grad(), record_potentials(lif) as potentials:
        spikes = torch.stack([lif(x) for x in drive])
    return potentials[""].numpy(), spikes.numpy().astype(np.uint8)


@lru_cache(16)
def simulated_rates(settings: LIFSettings, num_steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Constant currents [121] up to where every step spikes, and the rates that they lead to: the f-I curve."""
    rise = settings.v_threshold - (settings.v_reset or 0.0)
    currents = np.linspace(0, rise * (settings.tau + 1), 121)  # at x = tau·rise and above, every step spikes
    return currents, simulate_lif(np.tile(currents, (num_steps, 1)), settings)[1].mean(0)


def surrogate_slope(name: str, distance: np.ndarray) -> np.ndarray:
    """dS/dv [n] of a spikingjelly surrogate by name, over the distances v − threshold [n].

    >>> surrogate_slope("ATan", np.array([-0.5, 0.0])).round(3)
    array([0.288, 1.   ], dtype=float32)
    """
    import torch
    from spikingjelly.activation_based import surrogate

    if name not in SURROGATES:
        raise unknown("surrogate", name, SURROGATES)
    with torch.inference_mode(False), torch.enable_grad():  # whatever an earlier cell has switched off
        x = torch.tensor(np.asarray(distance), dtype=torch.float32, requires_grad=True)
        getattr(surrogate, name)()(x).sum().backward()
    return x.grad.numpy()


def expected_rate(current: np.ndarray, settings: LIFSettings) -> dict[str, np.ndarray]:
    """What firing rate (spikes per step) constant currents [n] lead to in the long run: name -> [n].

    Hard reset: from v_reset the n-th step brings x·(1 − aⁿ), a = 1 − 1/tau, so the period is the least n with
    x·(1 − aⁿ) ≥ v_threshold − v_reset. Soft reset: what flows in must flow out, x = mean(v) + tau·v_threshold·rate,
    and v after a spike lies within 0..v_threshold, which bounds the rate.

    >>> expected_rate(np.array([0.9, 1.1, 1.4]), LIFSettings())
    {'closed form': array([0. , 0.5, 1. ])}
    """
    x, theta = np.asarray(current, float), settings.v_threshold
    if settings.v_reset is None:
        most, least = x / (settings.tau * theta), (x - theta) / (settings.tau * theta)
        most = np.where(x < theta, 0.0, most)  # v < x always: never there
        return {"upper bound": most.clip(0, 1), "lower bound": least.clip(0, 1)}
    rise, rate = theta - settings.v_reset, np.zeros(len(x))
    fires = x > rise
    period = np.ceil(np.log1p(-rise / x[fires]) / math.log1p(-1 / settings.tau) - 1e-9)
    rate[fires] = 1 / np.maximum(1, period)
    return {"closed form": rate}
