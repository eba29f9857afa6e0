"""SpikeExplorer: what the LIF layers of a network did for a batch of samples."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from ..checks import real, unknown, whole
from ..figures import input_images, membrane_trace, rate_histogram, spike_maps, spike_raster
from .base import View
from .parts import flow, images_by_sample, layer_record, one_per_sample, sample_name

_MAX_NEURONS = 300  # of a raster: as many rows as it has pixels


class SpikeExplorer(View):
    """Spikes of any LIF layer and sample: raster, maps to step through or play, a neuron's membrane, firing rates.

    ``spikes``: layer name -> [T, B, ...] of 0 and 1, as ``scoring.record_spikes`` yields them; ``potentials``: the
    same shapes from ``recording.record_potentials``; ``labels`` [B]; ``images`` [B, C, H, W], or event frames
    [T, B, 2, H, W]; ``levels``: v_threshold and v_reset of the neurons. Arrays or tensors.

    Click a raster or map to choose its neuron. ``ValueError`` if the records do not fit each other.
    """

    name = "spikes"

    def __init__(
        self,
        spikes: Mapping[str, object],
        *,
        potentials: Mapping[str, object] | None = None,
        labels: object = None,
        images: object = None,
        levels: tuple[float, float | None] = (1.0, 0.0),
        theme: str = "light",
    ) -> None:
        super().__init__(theme=theme)
        self.spikes = layer_record(spikes, "spikes")
        self.num_steps, self.num_samples = next(iter(self.spikes.values())).shape[:2]
        self.potentials = None if potentials is None else layer_record(potentials, "potentials")
        for layer, array in self.spikes.items() if self.potentials is not None else ():
            if (got := getattr(self.potentials.get(layer), "shape", None)) != array.shape:
                raise ValueError(f"potentials of {layer} must have the shape of its spikes {array.shape}, got {got}.")
        self.labels = one_per_sample(labels, "labels", self.num_samples)
        self.images = images_by_sample(images, self.num_samples)
        self.levels = tuple(None if level is None else real("levels", level) for level in levels)
        self.silent = tuple(layer for layer, array in self.spikes.items() if not array.any())
        self._add_controls()
        self._add_plots()
        self.redraw()

    def _add_controls(self) -> None:
        names = [(f"{layer} (silent)" if layer in self.silent else layer, layer) for layer in self.spikes]
        first = next((layer for layer in self.spikes if layer not in self.silent), names[0][1])
        add, last = self.add_control, self.num_steps - 1
        self.layer = add("layer", ipywidgets.Dropdown, first, "Layer", self._change_layer, options=names)
        size = self._size(first)
        busiest = int(self.spikes[first][:, 0].sum(0).argmax())  # of the first sample
        narrow, samples = {"layout": {"width": "180px"}}, f"Sample (0–{self.num_samples - 1})"
        self.sample = add("sample", ipywidgets.IntText, 0, samples, self.redraw, **narrow)
        self.neuron = add("neuron", ipywidgets.IntText, busiest, "Neuron", self._draw_membrane, **narrow)
        wide = {"min": 0, "max": size, "continuous_update": False, "layout": {"width": "340px"}}
        self.window = add("window", ipywidgets.IntRangeSlider, (0, size), "Neurons", self._draw_raster, **wide)
        self.step = add("step", ipywidgets.IntSlider, 0, "Step", self._draw_maps, max=last)
        play = ipywidgets.Play(max=last, interval=600, repeat=True, tooltip="Play", description="Play the steps")
        self.play = self.part(play, "play")
        self.warning = self.part(ipywidgets.HTML(self._warning()), "warning")

    def _add_plots(self) -> None:
        self.raster = self.plot("raster", "Raster: which neurons fire at which step")
        self.maps = self.plot("maps", "Spike maps of the layer's channels at the chosen step")
        self.rates = self.plot("rates", "Histogram of the neurons' firing rates")
        self.membrane = self.plot("membrane", "Membrane potential of the chosen neuron over time")
        self.image = self.plot("image", "The sample that is shown to the network")
        left = [self.raster, self.rates, *[self.image] * (self.images is not None)]
        right = [ipywidgets.HBox([self.play, self.step]), self.maps, *[self.membrane] * (self.potentials is not None)]
        top = [self.layer, self.sample, *[self.neuron] * (self.potentials is not None), self.window]
        self.arrange(self.warning, flow(*top), flow(left, right, width=420))
        self.watch(self.play, lambda step: self.step.set_trait("value", step))
        self.watch(self.raster, lambda point: self._pick(point["y"] if point["curve"] == 1 else None))
        self.watch(self.maps, lambda point: self._pick(self._at(point)))

    # ---- what is chosen

    def select(self, layer: str | None = None, *, sample: int | None = None, neuron: int | None = None) -> None:
        """Choose by name and number; what does not exist becomes a message."""
        with self.guarded():
            if layer is not None and layer not in self.spikes:
                raise unknown("layer", layer, self.spikes)
            self.layer.value = self.layer.value if layer is None else layer
            if sample is not None:
                self.sample.value = whole("sample", sample, low=0, high=self.num_samples - 1)
            if neuron is not None:
                self.neuron.value = whole("neuron", neuron, low=0, high=self._size(self.layer.value) - 1)

    @property
    def _chosen(self) -> np.ndarray:
        """The chosen layer's spikes for the chosen sample, [T, ...]."""
        sample = whole("sample", self.sample.value, low=0, high=self.num_samples - 1)
        return self.spikes[self.layer.value][:, sample]

    def _size(self, layer: str) -> int:
        return int(np.prod(self.spikes[layer].shape[2:]))

    def _pick(self, neuron: float | None) -> None:
        if neuron is not None and neuron >= 0:
            self.neuron.value = round(neuron)

    def _at(self, point: dict) -> int | None:
        """The neuron under a point of the maps."""
        return None if point["x"] is None else int(self._maps.data[0].customdata[round(point["y"]), round(point["x"])])

    def _change_layer(self) -> None:
        size = self._size(self.layer.value)
        with self.window.hold_trait_notifications():
            self.window.max, self.window.value = size, (0, size)
        if self.neuron.value >= size:
            self.neuron.value = 0
        self.redraw()

    # ---- what is drawn

    def figure(self) -> go.Figure:
        """The raster of the chosen layer and sample."""
        spikes = self._chosen.reshape(self.num_steps, -1)  # [T, N]
        title = f"{self.layer.value}, {sample_name(self.sample.value, self.labels)}"
        (low, high), count = self.window.value, spikes.shape[1]
        window = (min(low, count - 1), max(low + 1, min(high, count)))
        return spike_raster(spikes, max_neurons=_MAX_NEURONS, window=window, title=title, theme=self.theme)

    def redraw(self) -> None:
        """Draw all plots anew."""
        self._draw_raster()
        self._draw_maps()
        self._draw_membrane()
        rates = self.spikes[self.layer.value].mean((0, 1)).ravel()
        over = f"{self.num_steps} steps and {self.num_samples} samples"
        self.rates.show(rate_histogram(rates, over=over, theme=self.theme))
        if self.images is not None:
            image, titles = self.images[[self.sample.value]], [sample_name(self.sample.value, self.labels)]
            self.image.show(input_images(image, titles=titles, theme=self.theme))
        if self.layer.value in self.silent:
            self.say(f"{self.layer.value} is silent: no neuron fires at any step, for any sample.")

    def _draw_raster(self) -> None:
        self.raster.show(self.figure())

    def _draw_maps(self) -> None:
        spikes = self._chosen
        spikes = spikes if spikes.ndim == 4 else spikes.reshape(self.num_steps, -1)  # [T, C, H, W] or [T, N]
        self._maps = spike_maps(spikes, step=self.step.value, theme=self.theme)
        self.maps.show(self._maps)

    def _draw_membrane(self) -> None:
        if self.potentials is None:
            return
        spikes = self._chosen.reshape(self.num_steps, -1)  # [T, N]
        neuron = whole("neuron", self.neuron.value, low=0, high=spikes.shape[1] - 1)
        v = self.potentials[self.layer.value][:, self.sample.value].reshape(self.num_steps, -1)[:, neuron]
        title = f"Membrane potential of neuron {neuron}"
        fig = membrane_trace(v, spikes[:, neuron], levels=self.levels, title=title, theme=self.theme)
        self.membrane.show(fig)

    def _warning(self) -> str:
        if not self.silent:
            return ""
        names = (
            f"<b>{len(self.silent)} of {len(self.spikes)} layers are silent</b> (no spike at any step, for any sample)"
        )
        return f'<p role="status">⚠ {names}: {", ".join(self.silent)}.</p>'

    def describe(self) -> str:
        return f"SpikeExplorer: {self.layer.value}, sample {self.sample.value}, {len(self.spikes)} layers"

    def close(self) -> None:
        """Stop playing and close."""
        self.play.playing = False
        super().close()
