"""KernelExplorer: how alike the samples look to each LIF layer, and what the score makes of it."""

from __future__ import annotations

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from ..checks import unknown, whole
from ..figures import eigenvalue_spectrum, input_images, kernel_panels
from ..lab.cell_measures import as_array
from .base import View
from .parts import flow, images_by_sample, one_per_sample, sample_name

_ALL = "all"


class KernelExplorer(View):
    """Hamming distance, normalised distance d and kernel K of one LIF layer and step, or averaged over all.

    The average over all layers and steps is the score's K, whose log|det K| is the sum over the eigenvalues drawn
    beside it. ``statistics``: a ``scoring.SpikeStatistics`` or any object with its ``layers``, ``num_neurons`` [L],
    ``counts`` [L, T, B] and ``hamming`` [L, T, B, B]. ``labels`` [B] sort the samples; ``images`` [B, C, H, W] (or
    event frames [T, B, 2, H, W]) show a pair: rest on an entry, click it, or type two numbers.
    """

    name = "kernels"

    def __init__(
        self, statistics: object, *, labels: object = None, images: object = None, theme: str = "light"
    ) -> None:
        super().__init__(theme=theme)
        self.size, self.counts, self.hamming = (
            as_array(getattr(statistics, key)).astype(float) for key in ("num_neurons", "counts", "hamming")
        )
        shape = (len(statistics.layers), *self.counts.shape[1:], self.counts.shape[-1])
        if self.hamming.shape != shape or self.counts.ndim != 3 or self.size.shape != shape[:1] or 0 in shape:
            raise ValueError(
                f"statistics need counts [L, T, B] and hamming [L, T, B, B] for {shape[0]} layers; got "
                f"{self.counts.shape} and {self.hamming.shape}."
            )
        self.kernels = _kernels(statistics.layers, self.size, self.counts, self.hamming)
        self.rows = {name: row for row, names in enumerate(statistics.layers) for name in names}  # layer name -> row
        self.num_steps, self.num_samples = shape[1:3]
        self.labels = one_per_sample(labels, "labels", self.num_samples)
        self.images = images_by_sample(images, self.num_samples)
        self._pictured: tuple | None = None  # the pair and theme that are drawn
        self._add_controls()
        self._add_plots()
        self.redraw()

    def _add_controls(self) -> None:
        layers = [(f"all {len(self.rows)} layers", _ALL), *((name, name) for name in sorted(self.rows))]
        steps = [(f"all {self.num_steps} steps", _ALL), *((str(t), t) for t in range(self.num_steps))]
        self.layer = self.add_control("layer", ipywidgets.Dropdown, _ALL, "Layer", self.redraw, options=layers)
        self.step = self.add_control("step", ipywidgets.Dropdown, _ALL, "Step", self.redraw, options=steps)
        known, sort = self.labels is not None, {"disabled": self.labels is None, "indent": False}
        self.sort = self.add_control("sort", ipywidgets.Checkbox, known, "Sort by class", self.redraw, **sort)
        last, pair = self.num_samples - 1, {"then": self._draw_pair, "layout": {"width": "190px"}}
        self.first = self.add_control("first", ipywidgets.IntText, 0, f"Sample i (0–{last})", **pair)
        self.second = self.add_control("second", ipywidgets.IntText, min(1, last), f"Sample j (0–{last})", **pair)
        self.pair = self.part(ipywidgets.HTML(), "pair")

    def _add_plots(self) -> None:
        self.panels = self.plot("panels", "Hamming distance, normalised distance and kernel between all samples")
        self.spectrum = self.plot("spectrum", "Eigenvalues of the kernel, whose logarithms add up to log det K")
        self.pictures = self.plot("pictures", "The two chosen samples")
        pair = [flow(self.first, self.second), self.pair, *[self.pictures] * (self.images is not None)]
        self.arrange(flow(self.layer, self.step, self.sort), self.panels, flow([self.spectrum], pair, width=400))
        self.watch(self.panels, self._pick)
        self.panels.on_hover(self.guard(self._pick))

    def select(self, layer: str = _ALL, step: int | str = _ALL) -> None:
        """Choose a layer by name and a step, "all" for the average; what does not exist becomes a message."""
        with self.guarded():
            if layer not in (_ALL, *self.rows):
                raise unknown("layer", layer, [_ALL, *sorted(self.rows)])
            step = step if step == _ALL else whole("step", step, low=0, high=self.num_steps - 1)
            self.layer.value, self.step.value = layer, step

    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(hamming, d, K) as chosen, [B, B] each; averages are taken over all (layer, step), as the score does.

        d = N − K, N being the (mean) number of neurons.
        """
        names = sorted(self.rows) if self.layer.value == _ALL else [self.layer.value]
        steps = slice(None) if self.step.value == _ALL else slice(self.step.value, self.step.value + 1)
        rows = [self.rows[name] for name in names]  # equal layers are one row, counted once for each of them
        hamming, kernel = (values[rows][:, steps].mean((0, 1)) for values in (self.hamming, self.kernels))
        return hamming, self.size[rows].mean() - kernel, kernel

    def figure(self) -> go.Figure:
        """Distances and kernel as chosen."""
        title = f"Kernel of {self._what()}"
        return kernel_panels(*self.matrices(), labels=self._order(), title=title, theme=self.theme)

    def redraw(self) -> None:
        """Draw all plots anew."""
        self._matrices = self.matrices()
        self._panels = kernel_panels(*self._matrices, labels=self._order(), theme=self.theme)
        self.panels.show(self._panels)
        self.spectrum.show(eigenvalue_spectrum(self._matrices[2], theme=self.theme))
        self._draw_pair()
        rows = list(self.rows.values()) if self.layer.value == _ALL else [self.rows[self.layer.value]]
        counts = self.counts[rows] if self.step.value == _ALL else self.counts[rows, self.step.value]
        if not counts.any():
            self.say(f"{self._what()}: no neuron fires, so all samples look the same and K tells nothing.")

    def _order(self) -> np.ndarray | None:
        return self.labels if self.sort.value else None

    def _what(self) -> str:
        layer = f"all {len(self.rows)} layers" if self.layer.value == _ALL else self.layer.value
        return f"{layer}, " + (f"all {self.num_steps} steps" if self.step.value == _ALL else f"step {self.step.value}")

    def _pick(self, point: dict) -> None:
        i, j = self._panels.data[point["curve"]].customdata[round(point["y"]), round(point["x"])][::-1]
        self.first.value, self.second.value = int(i), int(j)

    def _draw_pair(self) -> None:
        last = self.num_samples - 1
        pair = [whole("sample", widget.value, low=0, high=last) for widget in (self.first, self.second)]
        names = [sample_name(i, self.labels) for i in pair]
        hamming, d, k = (matrix[tuple(pair)] for matrix in self._matrices)
        self.pair.value = f"{names[0]}, {names[1]}: <b>Hamming {hamming:.4g}, d {d:.4g}, K {k:.6g}</b>"
        if self.images is not None and self._pictured != (shown := (*pair, self.theme)):
            self._pictured = shown
            self.pictures.show(input_images(self.images[pair], titles=names, theme=self.theme))

    def describe(self) -> str:
        return f"KernelExplorer: {self._what()}, {self.num_samples} samples"


def _kernels(layers: tuple, *counted: np.ndarray) -> np.ndarray:
    """K [L, T, B, B] of every recorded layer and step, from the one home of its formula."""
    import torch

    from ..kernels import SpikeStatistics

    return SpikeStatistics(layers, *(torch.as_tensor(each, dtype=torch.int64) for each in counted)).kernels().numpy()
