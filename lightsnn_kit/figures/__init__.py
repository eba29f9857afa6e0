"""Pictures as pure functions: arrays and small records in, a plotly ``Figure`` out.

Records may be objects or mappings, such as rows read back from a file. Colour is never the only carrier: ops also
differ by symbol or label, networks by dash, backward edges by side and dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from . import style
from .cells import cell_graph, prune_trace
from .kernels import eigenvalue_spectrum, kernel_heatmap, kernel_panels, kernel_spectrum
from .neurons import lif_traces, membrane_trace, rate_curve, surrogate_gradient
from .pruning import margin_noise, prune_round
from .runs import live_curves, runs_scatter
from .spikes import input_images, rate_histogram, spike_maps
from .style import OP_COLOURS, OP_SYMBOLS, PALETTE, THEMES, finish, template, theme_of

__all__ = [
    "OP_COLOURS",
    "OP_SYMBOLS",
    "THEMES",
    "cell_graph",
    "compare_networks",
    "eigenvalue_spectrum",
    "firing_rates",
]
__all__ += ["kernel_heatmap", "prune_trace", "spike_raster", "stage_times", "template", "training_curves"]
__all__ += ["live_curves", "margin_noise", "prune_round", "runs_scatter"]
__all__ += ["input_images", "kernel_panels", "kernel_spectrum", "lif_traces", "membrane_trace", "rate_curve"]
__all__ += ["rate_histogram", "spike_maps", "surrogate_gradient"]

_METRICS = (  # field of a row, title of its panel, unit, factor to that unit
    ("test_accuracy", "test accuracy", "%", 100.0),
    ("parameters", "parameters", "", 1.0),
    ("synops", "SynOps per sample", "", 1.0),
    ("energy_pj", "energy per sample", "J", 1e-12),
)


def spike_raster(
    spikes: object, *, max_neurons: int = 200, window: tuple[int, int] | None = None, title: str = "Spikes",
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Draw spikes [T, N] (0 or 1) as neuron x step, with the share of all N neurons that fire at each step above.

    ``window``: the neurons from a up to b only. More than ``max_neurons`` are thinned evenly, and the figure says so.
    ``ValueError`` for other values.

    >>> spike_raster(np.eye(3)).data[1].z.shape
    (3, 3)
    """
    colours, spikes = theme_of(theme), style.check_array(spikes, "spikes", "TN")
    if not np.isin(spikes, (0, 1)).all():
        raise ValueError(f"spikes must be 0 or 1, got values from {spikes.min()} to {spikes.max()}.")
    steps, count = np.arange(len(spikes)), spikes.shape[1]
    first, last = window or (0, count)
    if not 0 <= first < last <= count:
        raise ValueError(f"the window must lie within neurons 0..{count}, got {first}..{last}.")
    kept, shown = style.thin(last - first, max_neurons, "neurons")
    kept, shown = kept + first, shown + f" from {first:,} to {last - 1:,}" * (last - first < count)
    rates = 100 * spikes.mean(axis=1)
    fig = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.2, 0.8], vertical_spacing=0.05)
    fig.add_bar(x=steps, y=rates, marker_color=colours.muted, row=1, col=1)
    if len(steps) <= 16:
        fig.update_traces(text=[f"{rate:.1f}" for rate in rates], textposition="outside", cliponaxis=False)
    fig.add_heatmap(x=steps, y=kept, z=spikes[:, kept].T.astype(np.uint8), row=2, col=1)
    fig.data[1].update(colorscale=[[0, colours.ramp[0]], [1, PALETTE[0]]], zmin=0, zmax=1, showscale=False)
    fig.data[1].update(xgap=max(0, 4 - len(steps) // 16))
    fig.data[1].hovertemplate = "neuron %{y}, step %{x}: %{z}<extra></extra>"
    fig.update_yaxes(title="firing (%)", range=[0, 1.35 * rates.max() or 1], nticks=3, row=1)
    fig.update_yaxes(title="neuron", showgrid=False, dtick=1 if last - first <= 10 else None, row=2)
    fig.update_xaxes(title="time step", showgrid=False, dtick=max(1, len(steps) // 16), row=2)
    note = f"{shown}.\nA mark is a spike. Mean firing rate of all neurons: {rates.mean():.1f} %."
    return finish(fig, theme, title, note, body=380)


def firing_rates(names: Sequence[str], rates: object, *, theme: str = "light") -> go.Figure:
    """Draw firing rates [L, T] (share of neurons, 0 to 1) per layer and step, and each layer's mean over the steps.

    Layers without any spike are named as silent. Raises ``ValueError`` if names and rates do not match.

    >>> firing_rates(["stem", "cell"], [[0.2, 0.1], [0, 0]]).layout.yaxis.ticktext[1]
    '<b>cell (silent)</b>'
    """
    colours, rates = theme_of(theme), style.percent(rates, "rates", "LT")
    if len(names) != len(rates):
        raise ValueError(f"rates need one row per name; got {len(names)} names and {len(rates)} rows.")
    means = rates.mean(axis=1)
    silent = means == 0
    rows, steps = np.arange(len(names)), np.arange(rates.shape[1])
    fig = make_subplots(cols=2, shared_yaxes=True, column_widths=[0.64, 0.36], horizontal_spacing=0.03)
    fig.add_heatmap(z=rates, x=steps, y=rows, zmin=0, zmax=rates.max() or 1, row=1, col=1)
    if len(steps) <= 20:
        written = [f"{value:.{1 if len(steps) <= 8 else 0}f}" for value in rates.ravel()]
        shades = np.where(rates.ravel() > 0.55 * rates.max(), colours.surface, colours.ink)
        x, y = (grid.ravel() for grid in np.meshgrid(steps, rows))
        fig.add_scatter(x=x, y=y, text=written, mode="text", textfont_color=shades, hoverinfo="skip", showlegend=False)
    fig.data[0].update(showscale=len(steps) > 20, colorbar_title="%", ygap=2, xgap=2 if len(steps) <= 20 else 0)
    fig.data[0].update(hovertemplate="step %{x}: %{z:.2f} %<extra></extra>")
    texts = ["silent" if quiet else f"{mean:.1f} %" for quiet, mean in zip(silent, means, strict=True)]
    _bars(fig, means, rows, texts, colours=PALETTE[0], at=(1, 2))
    labels = [f"<b>{name} (silent)</b>" if quiet else name for name, quiet in zip(names, silent, strict=True)]
    fig.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], showgrid=False)
    fig.update_xaxes(title="time step", dtick=max(1, len(steps) // 8), showgrid=False, col=1)
    fig.update_xaxes(title="mean of steps (%)", col=2)
    note = f"Share of neurons that fire, in %. Silent layers: {silent.sum()} of {len(names)}."
    return finish(fig, theme, "Firing rate per layer and step", note, body=24 * len(rows) + 60)


def training_curves(histories: Mapping[str, Sequence[object]], *, theme: str = "light") -> go.Figure:
    """Draw loss and accuracy by epoch for several networks: validation strong, training thin and faint.

    ``histories``: name -> records with ``epoch``, ``train_loss``, ``val_loss``, ``train_accuracy``, ``val_accuracy``
    (shares within 0..1). Raises ``ValueError`` if there is nothing to draw.

    >>> record = {"epoch": 1, "train_loss": 2, "val_loss": 2, "train_accuracy": 0.5, "val_accuracy": 0.4}
    >>> training_curves({"found": [record]}).data[0].name
    'found (40.0 %)'
    """
    if not histories or not all(len(records) for records in histories.values()):
        raise ValueError(f"training_curves needs at least one record per network, got {dict(histories)!r}.")
    fig = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.06)
    for rank, (name, records) in enumerate(histories.items()):
        epochs = [style.field(r, "epoch") for r in records]
        best = style.percent([style.field(r, "val_accuracy") for r in records], "val_accuracy", "E").max()
        for row, (quantity, factor) in enumerate((("loss", 1), ("accuracy", 100)), 1):
            for part, width in (("val", 2.5), ("train", 1.2)):
                line = {"color": PALETTE[rank % 6], "dash": style.DASHES[rank % 6], "width": width}
                y = [factor * style.field(r, f"{part}_{quantity}") for r in records]
                fig.add_scatter(x=epochs, y=y, line=line, opacity=1 if part == "val" else 0.55, row=row, col=1)
                first = {"name": f"{name} ({best:.1f} %)", "showlegend": part == "val" and row == 1}
                hover = f"{name}, {part} {quantity}: " + "%{y:.4g}<extra></extra>"
                mode = "lines" if len(records) > 1 else "markers"
                fig.data[-1].update(**first, legendgroup=name, hovertemplate=hover, mode=mode)
    fig.update_yaxes(title="loss", rangemode="tozero", row=1)
    fig.update_yaxes(title="accuracy (%)", row=2)
    fig.update_xaxes(title="epoch", row=2)
    if max(map(len, histories.values())) <= 12:
        fig.update_xaxes(dtick=1)
    note = "Strong: validation split. Thin and faint: training split. In brackets: best validation accuracy."
    return finish(fig, theme, "Training", note, body=400)


def stage_times(seconds: Mapping[str, float], *, theme: str = "light") -> go.Figure:
    """Draw the seconds that each stage took, in the order given; ``ValueError`` for none or negative ones.

    >>> list(stage_times({"search": 30, "train": 90}).data[0].text)
    ['30.0 s (25 %)', '90.0 s (75 %)']
    """
    times = style.check_array(list(seconds.values()), "seconds", "S").astype(float)
    if times.min() < 0:
        raise ValueError(f"seconds must not be negative, got {dict(seconds)}.")
    total = times.sum()
    fig = make_subplots()
    texts = [f"{s:,.1f} s ({100 * s / (total or 1):.0f} %)" for s in times]
    _bars(fig, times, list(seconds), texts, colours=PALETTE[0])
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(title="seconds")
    return finish(fig, theme, f"Time per stage: {total:,.1f} s in all", body=34 * len(times) + 30)


def compare_networks(rows: Sequence[object], *, note: str = "", theme: str = "light") -> go.Figure:
    """Draw test accuracy, parameters, SynOps and energy of several networks as small multiples with common rows.

    Rows have ``name``, ``test_accuracy`` (0..1), ``parameters``, ``synops`` and ``energy_pj`` (both per sample).
    ``note`` is the place for the assumptions behind the energy. Raises ``ValueError`` for no row or a missing field.

    >>> row = {"name": "found", "test_accuracy": 0.97, "parameters": 12e3, "synops": 4e5, "energy_pj": 4e5}
    >>> [note.text for note in compare_networks([row]).layout.annotations]
    ['test accuracy (%)', 'parameters (k)', 'SynOps per sample (k)', 'energy per sample (nJ)']
    """
    if not rows:
        raise ValueError("compare_networks needs at least one row, got none.")
    names, colours = [str(style.field(row, "name")) for row in rows], [PALETTE[rank % 6] for rank in range(len(rows))]
    style.percent([style.field(row, "test_accuracy") for row in rows], "test_accuracy", "R")  # refuses 97 for 0.97
    panel, gap = 30 * len(rows) + 20, 76  # pixels
    body = 2 * panel + gap
    fig = make_subplots(rows=2, cols=2, shared_yaxes=True, vertical_spacing=gap / body, subplot_titles="1234")
    for index, (key, title, unit, factor) in enumerate(_METRICS):
        values = factor * style.check_array([style.field(row, key) for row in rows], key, "R")
        scaled, prefixed = style.si(values, unit)
        texts = [style.with_unit(value, unit) for value in values]
        fig.layout.annotations[index].text = f"{title} ({prefixed})" if prefixed else title
        _bars(fig, scaled, names, texts, colours=colours, at=(index // 2 + 1, index % 2 + 1))
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(tickvals=[0, 50, 100], row=1, col=1)
    fig.update_annotations(font_size=13, yshift=4)
    return finish(fig, theme, "Networks compared", note, body=body, room=(20, 30))


def _bars(fig: go.Figure, values: np.ndarray, names: object, texts: list[str], *, colours: object, at=(1, 1)) -> None:
    """Horizontal bars from 0 with their values written beside them."""
    fig.add_bar(x=values, y=names, orientation="h", text=texts, marker_color=colours, row=at[0], col=at[1])
    fig.data[-1].update(textposition="outside", cliponaxis=False, showlegend=False, hoverinfo="y+text")
    fig.update_xaxes(range=[0, 1.4 * values.max() or 1], row=at[0], col=at[1])
    fig.update_yaxes(showgrid=False, row=at[0], col=at[1])
