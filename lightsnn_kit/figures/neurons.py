"""Pictures of single neurons: membrane potential, input and spikes, surrogate gradients, firing rate over input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import DASHES, PALETTE, check_array, check_binary, finish, number, percent, theme_of

_MAX_STEPS = 2_000  # of a trace


def membrane_trace(
    potentials: object, spikes: object, *, current: object = None, levels: tuple[float, float | None] = (1.0, 0.0),
    title: str = "A leaky integrate-and-fire neuron", theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Draw the membrane potential [T] of a neuron before its reset, the reset, the threshold, and its spikes [T].

    With its input ``current`` [T] there are three panels: what it gets, does and says. ``levels``: v_threshold and
    v_reset, which None makes a soft reset: a spike subtracts the threshold. ``ValueError`` if the lengths do not match.

    >>> membrane_trace([0.8, 1.1], [0, 1]).data[0].y  # before and after each reset
    array([0.8, 0.8, 1.1, 0. ])
    """
    v, s, words = _trace(potentials, spikes)
    heights = [1.0] if current is None else [0.25, 0.55, 0.2]
    fig = make_subplots(rows=len(heights), shared_xaxes=True, row_heights=heights, vertical_spacing=0.05)
    _draw_membrane(fig, v, s, levels, theme, min(2, len(heights)))
    if current is not None:
        drive = check_array(current, "current", "T").astype(float)
        if len(drive) != len(np.asarray(potentials)):
            raise ValueError(f"current and potentials need one value per step each, got {len(drive)} and {len(v)}.")
        _draw_input_and_spikes(fig, drive[: len(v)], s, theme)
    fig.update_xaxes(title="time step", dtick=max(1, len(v) // 12), row=len(heights))
    rule = "falls by the threshold" if levels[1] is None else f"is set to {levels[1]:g}"
    note = f"{words}; {int(s.sum())} spikes (▲), a rate of {100 * s.mean():.1f} %. At a spike the potential {rule}."
    body = 260 if current is None else 420
    return finish(fig, theme, title, note, body=body).update_layout(margin_r=92)  # for the levels' names


def _draw_input_and_spikes(fig: go.Figure, drive: np.ndarray, spikes: np.ndarray, theme: str) -> None:
    """The panels above and below the membrane."""
    line = {"color": theme_of(theme).muted, "width": 2, "shape": "hvh"}
    fig.add_scatter(x=np.arange(len(drive)), y=drive, mode="lines", line=line, name="input x", row=1, col=1)
    fig.data[-1].hovertemplate = "step %{x}: x = %{y:.4g}<extra></extra>"
    fired = np.flatnonzero(spikes)
    x, y = np.column_stack([fired, fired, fired]).ravel(), np.tile([0, 1, np.nan], len(fired))
    fig.add_scatter(x=x, y=y, mode="lines", line={"color": PALETTE[1], "width": 2}, row=3, col=1)
    fig.data[-1].update(hoverinfo="skip", name="spikes")
    fig.update_traces(showlegend=False)
    fig.update_yaxes(title="input x", rangemode="tozero", row=1)
    fig.update_yaxes(title="spike", range=[0, 1.1], tickvals=[0, 1], showgrid=False, row=3)


def _trace(potentials: object, spikes: object) -> tuple[np.ndarray, np.ndarray, str]:
    v, s = check_array(potentials, "potentials", "T").astype(float), check_array(spikes, "spikes", "T")
    if len(v) != len(s):
        raise ValueError(f"potentials and spikes need one value per step each, got {len(v)} and {len(s)}.")
    check_binary(s)
    last = min(len(v), _MAX_STEPS)  # thinning would lose spikes: a trace is cut
    words = f"All {len(v)} steps" if last == len(v) else f"The first {last:,} of {len(v):,} steps"
    return v[:last], s[:last].astype(int), words


def _draw_membrane(
    fig: go.Figure, v: np.ndarray, spikes: np.ndarray, levels: tuple[float, float | None], theme: str, row: int
) -> None:
    colours, steps, (threshold, reset) = theme_of(theme), np.arange(len(v)), levels
    after = np.where(spikes == 1, v - threshold if reset is None else reset, v)
    x, y = steps.repeat(2), np.column_stack([v, after]).ravel()
    line = {"color": PALETTE[0], "width": 2}
    fig.add_scatter(x=x, y=y, mode="lines+markers" if len(v) <= 60 else "lines", line=line, row=row, col=1)
    fig.data[-1].update(marker_size=4, name="potential v", hovertemplate="step %{x}: v = %{y:.4g}<extra></extra>")
    fired = np.flatnonzero(spikes)
    marker = {"symbol": "triangle-up", "size": 10, "color": PALETTE[1]}
    fig.add_scatter(x=fired, y=v[fired], mode="markers", marker=marker, name="spike", row=row, col=1)
    fig.data[-1].hovertemplate = "spike at step %{x}, v = %{y:.4g}<extra></extra>"
    label = {"showarrow": False, "x": 1, "xref": "x domain", "xanchor": "left", "xshift": 4, "row": row, "col": 1}
    for value, name, dash in ((threshold, "threshold", "dash"), (reset, "reset to", "dot")):
        if value is not None:
            where = {"row": row, "col": 1, "exclude_empty_subplots": False}
            fig.add_hline(value, line={"color": colours.muted, "width": 1, "dash": dash}, **where)
            fig.add_annotation(y=value, text=f"{name} {number(value, 'g')}", font_color=colours.muted, **label)
    fig.update_xaxes(range=[-0.5, len(v) - 0.5], row=row)
    fig.update_yaxes(title="potential v", row=row)


def surrogate_gradient(
    distance: object, curves: Mapping[str, object], *, at: object = None, theme: str = "light"
) -> go.Figure:
    """Draw surrogate gradients dS/dv [n] by name over the distance v − threshold [n].

    The first curve is strong. ``at``: distances [T] a neuron came to, marked on it: there its gradients flow.
    ``ValueError`` if a curve does not match.

    >>> surrogate_gradient([-1, 0, 1], {"triangle": [0, 1, 0]}, at=[0.5]).data[1].y.tolist()
    [0.5]
    """
    colours, x = theme_of(theme), check_array(distance, "distance", "n").astype(float)
    if not curves:
        raise ValueError("surrogate_gradient needs at least one curve, got none.")
    fig = go.Figure()
    for rank, (name, values) in enumerate(curves.items()):
        y = check_array(values, name, "n").astype(float)
        if len(y) != len(x):
            raise ValueError(f"{name} needs one value per distance, got {len(y)} for {len(x)}.")
        line = {"color": PALETTE[rank % 6], "dash": DASHES[rank % 6], "width": 1.5 if rank else 3}
        fig.add_scatter(x=x, y=y, mode="lines", name=name, line=line)
    if at is not None:
        seen = check_array(at, "at", "T").astype(float)
        seen = seen[(seen >= x.min()) & (seen <= x.max())][:_MAX_STEPS]
        y = np.interp(seen, x, np.asarray(next(iter(curves.values())), float))
        marker = {"symbol": "circle-open", "size": 9, "color": colours.ink}
        fig.add_scatter(x=seen, y=y, mode="markers", marker=marker, name="at the steps of the trace")
    fig.update_traces(hovertemplate="v − threshold = %{x:.3g}: %{y:.4g}")
    fig.add_vline(0, line={"color": colours.muted, "width": 1, "dash": "dash"})
    fig.update_xaxes(title="v − threshold", range=[x.min(), x.max()])
    fig.update_yaxes(title="dS/dv", rangemode="tozero")
    note = "A spike is a step: its slope is 0 or infinite.\nTraining uses this slope in its place."
    return finish(fig, theme, "Surrogate gradient", note, body=260)


def rate_curve(
    currents: object, measured: object, *, expected: Mapping[str, object] | None = None, mark: float | None = None,
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Draw firing rates ``measured`` [n] (shares of steps) over constant input currents [n]: the f-I curve.

    ``expected``: closed forms [n] or bounds by name, drawn as lines. ``mark``: the current that is looked at.

    >>> rate_curve([0.5, 1.5], [0, 1], expected={"closed form": [0, 1]}).data[0].name
    'closed form'
    """
    colours, x = theme_of(theme), check_array(currents, "currents", "n").astype(float)
    lines = {name: percent(y, name, "n") for name, y in (expected or {}).items()}
    lines |= {"measured": percent(measured, "measured", "n")}
    fig = go.Figure()
    for rank, (name, y) in enumerate(lines.items()):
        if len(y) != len(x):
            raise ValueError(f"{name} needs one rate per current, got {len(y)} for {len(x)}.")
        fig.add_scatter(x=x, y=y, name=name, mode="markers" if name == "measured" else "lines")
        fig.data[-1].update(line={"color": PALETTE[(rank + 1) % 6], "dash": DASHES[rank % 6], "width": 1.5})
        fig.data[-1].update(hovertemplate="x = %{x:.4g}: %{y:.3g} %")
    fig.data[-1].marker = {"size": 5, "color": PALETTE[0]}
    if mark is not None:
        fig.add_vline(mark, line={"color": colours.ink, "width": 1, "dash": "dot"})
        fig.add_annotation(x=mark, y=1, yref="y domain", yanchor="bottom", text=f"x = {mark:g}", showarrow=False)
    fig.update_xaxes(title="constant input current x")
    fig.update_yaxes(title="firing rate (% of steps)", range=[-3, 106])
    return finish(fig, theme, "Firing rate over input (f-I curve)", body=260, room=(18, 46))
