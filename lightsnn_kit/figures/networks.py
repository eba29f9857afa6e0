"""Pictures of whole networks: the firing rates of their layers, and several networks beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import PALETTE, check_array, field, finish, percent, si, theme_of, with_unit

_METRICS = (  # field of a row, title of its panel, unit, factor to that unit
    ("test_accuracy", "test accuracy", "%", 100.0),
    ("parameters", "parameters", "", 1.0),
    ("synops", "SynOps per sample", "", 1.0),
    ("energy_pj", "energy per sample", "J", 1e-12),
)


def firing_rates(names: Sequence[str], rates: object, *, theme: str = "light") -> go.Figure:
    """Draw firing rates [L, T] (share of neurons, 0 to 1) per layer and step, and each layer's mean over the steps.

    Layers without any spike are named as silent. Raises ``ValueError`` if names and rates do not match.

    >>> firing_rates(["stem", "cell"], [[0.2, 0.1], [0, 0]]).layout.yaxis.ticktext[1]
    '<b>cell (silent)</b>'
    """
    colours, rates = theme_of(theme), percent(rates, "rates", "LT")
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
    names, colours = [str(field(row, "name")) for row in rows], [PALETTE[rank % 6] for rank in range(len(rows))]
    percent([field(row, "test_accuracy") for row in rows], "test_accuracy", "R")  # refuses 97 for 0.97
    panel, gap = 30 * len(rows) + 20, 76  # pixels
    body = 2 * panel + gap
    fig = make_subplots(rows=2, cols=2, shared_yaxes=True, vertical_spacing=gap / body, subplot_titles="1234")
    for index, (key, title, unit, factor) in enumerate(_METRICS):
        values = factor * check_array([field(row, key) for row in rows], key, "R")
        scaled, prefixed = si(values, unit)
        texts = [with_unit(value, unit) for value in values]
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
