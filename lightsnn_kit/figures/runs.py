"""Pictures of runs: what a search or training has recorded so far, and finished runs against what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..checks import unknown
from .style import DASHES, PALETTE, Theme, check_array, field, finish, has_field, percent, si, theme_of, thin

_MOST_POINTS = 2_000  # of a live curve
_AXIS_ROOM = 52  # pixels between two panels, for tick labels and a title
_PANELS = {  # panel: title of its axis, factor to its unit, the fields drawn in it (the strong one first)
    "score": ("score: log|det K| (no unit)", 1.0, ("score",)),
    "loss": ("loss", 1.0, ("val_loss", "train_loss")),
    "accuracy": ("accuracy (%)", 100.0, ("val_accuracy", "train_accuracy")),
}
_COSTS = {  # field of a row: title of its axis, unit, factor to that unit
    "synops": ("SynOps per sample", "", 1.0),
    "energy_pj": ("energy per sample", "J", 1e-12),
    "parameters": ("parameters", "", 1.0),
}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")
_MOST_LABELS = 6  # names beside their points; more overlap, and go into a legend


def record_curves(
    records: Mapping[str, Sequence[object]], *, totals: Mapping[str, int] | None = None, theme: str = "light"
) -> go.Figure:
    """Draw the records of searches (``score``) and trainings (``val_loss``, ``val_accuracy``, ...), finished or not.

    ``records``: name -> records, in their order; a name without any is listed as waiting. ``totals``: name -> how many
    there will be, so that the axis shows what is left. A score of −∞ is a cross at the foot; a line is the best score
    so far; a training's best accuracy stands beside its name. Long series are thinned, and the figure says so.

    >>> scores = [{"score": -3.0}, {"score": float("-inf")}, {"score": -2.0}]
    >>> fig = record_curves({"search": scores}, totals={"search": 9})
    >>> list(fig.data[0].y), fig.layout.xaxis.range[1] > 9
    ([-3.0, -3.0, -2.0], True)
    """
    colours, totals = theme_of(theme), dict(totals or {})
    waiting = [name for name, rows in records.items() if not len(rows)]
    panels = {}  # panel: the names that are drawn in it
    for panel, (_, _, fields) in _PANELS.items():
        if names := [name for name, rows in records.items() if len(rows) and has_field(rows[0], fields[0])]:
            panels[panel] = names
    body, notes = 190 * max(1, len(panels)) + 40, []
    fig = make_subplots(rows=max(1, len(panels)), vertical_spacing=_AXIS_ROOM / body)
    for rank, (name, rows) in enumerate(records.items()):
        for row, panel in enumerate(panels, 1):
            if name in panels[panel]:
                draw = _score_curve if panel == "score" else _epoch_curve
                notes += draw(fig, name, rows, (panel, row, rank), colours)
    _live_axes(fig, panels, records, totals)
    if waiting:
        notes.append(f"Waiting for the first record: {', '.join(waiting)}.")
    names = [trace.name for trace in fig.data]
    for index, trace in enumerate(fig.data):
        trace.update(showlegend=bool(trace.name) and trace.name not in names[:index], legendgroup=trace.name)
    note = " ".join(dict.fromkeys(notes)) or "Nothing is recorded yet."
    return finish(fig, theme, "Recorded so far" if totals or waiting else "Training", note, body=body)


def _live_axes(
    fig: go.Figure, panels: Mapping[str, list[str]], records: Mapping[str, Sequence[object]], totals: Mapping[str, int]
) -> None:
    """Each panel ends at the last record expected of the names in it: a search has many, a training few."""
    for row, (panel, names) in enumerate(panels.items(), 1):
        most = max(max(len(records[name]), totals.get(name, 0)) for name in names)
        fig.update_xaxes(range=[0.5 - 0.02 * most, most + 0.5 + 0.02 * most], dtick=1 if most <= 12 else None, row=row)
        fig.update_xaxes(title="candidate scored" if panel == "score" else "epoch", row=row)
        fig.update_yaxes(title=_PANELS[panel][0], row=row)
    if not panels:
        fig.update_xaxes(visible=False).update_yaxes(visible=False)


def _numbers(rows: Iterable[object], key: str) -> np.ndarray:
    """An entry of all rows; ``ValueError`` if one is no number, as in a file that another program has written."""
    values = [field(row, key) for row in rows]
    try:
        return np.array([float(value + 0) for value in values])  # no text, which float would read
    except (TypeError, OverflowError):
        raise ValueError(f"{key} must be numbers, got {values!r:.80}.") from None


def _score_curve(
    fig: go.Figure, name: str, rows: Sequence[object], place: tuple[str, int, int], colours: Theme
) -> list[str]:
    """The best so far as a line over the scores as points; returns what there is to note."""
    _, row, rank = place
    scores = _numbers(rows, "score")
    best = np.maximum.accumulate(scores)
    kept, shown = thin(len(scores), _MOST_POINTS, "scores")
    finite, x = np.isfinite(scores), np.arange(1, len(scores) + 1)
    colour, where = PALETTE[rank % 6], {"row": row, "col": 1}
    line = {"color": colour, "width": 2, "shape": "hv", "dash": DASHES[rank % 6]}
    drawn = [float(value) if np.isfinite(value) else None for value in best[kept]]
    fig.add_scatter(x=x[kept], y=drawn, mode="lines", line=line, name=f"{name}, best so far", **where)
    at = kept[finite[kept]]
    marker = {"size": 6, "color": colour, "opacity": 0.6}
    fig.add_scatter(x=x[at], y=scores[at], mode="markers", marker=marker, name=f"{name}, scores", **where)
    if (dead := kept[~finite[kept]]).size:
        low, high = (scores[finite].min(), scores[finite].max()) if finite.any() else (0.0, 1.0)
        foot = np.full(dead.size, low - 0.12 * ((high - low) or 1.0))
        marker = {"symbol": "x", "size": 7, "color": colours.ink}
        fig.add_scatter(x=x[dead], y=foot, mode="markers", marker=marker, name="−∞ (dead)", hovertext="−∞", **where)
    return [f"{name}: {shown}."] if len(kept) < len(scores) else [f"{name}: {len(scores):,} scores."]


def _epoch_curve(
    fig: go.Figure, name: str, rows: Sequence[object], place: tuple[str, int, int], colours: Theme
) -> list[str]:
    """Validation strong, training thin and faint, and the best accuracy beside the name."""
    panel, row, rank = place
    _, factor, fields = _PANELS[panel]
    kept, shown = thin(len(rows), _MOST_POINTS, "epochs")
    mode = "lines+markers" if len(rows) <= 30 else "lines"
    accuracy = percent(_numbers(rows, "val_accuracy"), "val_accuracy", "E")
    label = f"{name} ({accuracy.max():.1f} %)"
    for strong, key in zip((True, False), fields, strict=True):
        y, x = (factor * _numbers(rows, key)[kept]).tolist(), _numbers(rows, "epoch")[kept].tolist()
        line = {"color": PALETTE[rank % 6], "dash": DASHES[rank % 6], "width": 2.5 if strong else 1.2}
        fig.add_scatter(
            x=x, y=y, mode=mode if strong else "lines", line=line, marker_size=5, name=label, row=row, col=1
        )
        hover = f"{name}, {key}: " + "%{y:.4g}<extra></extra>"
        fig.data[-1].update(opacity=1 if strong else 0.5, hovertemplate=hover)
    notes = ["Strong: validation split. Thin and faint: training split. In brackets: best validation accuracy."]
    return notes + [f"{name}: {shown}."] * (len(kept) < len(rows))


def runs_scatter(rows: Iterable[object], *, cost: str = "synops", theme: str = "light") -> go.Figure:
    """Draw test accuracy against ``cost`` ("synops", "energy_pj" or "parameters"), a mark per name.

    Rows have ``name``, ``test_accuracy`` (0..1) and the cost. Rows of one name are runs with other seeds: faint points,
    with their mean and one standard deviation (n − 1) either way. Up to six names stand beside their points, more in
    a legend, and without bars. Raises ``ValueError`` for no rows or another cost.

    >>> rows = [{"name": "found", "test_accuracy": a, "synops": 4e5} for a in (0.96, 0.98)]
    >>> fig = runs_scatter(rows)
    >>> float(fig.data[1].y[0]), round(float(fig.data[1].error_y.array[0]), 3)
    (97.0, 1.414)
    """
    colours, rows = theme_of(theme), list(rows)
    if cost not in _COSTS:
        raise unknown("cost", cost, _COSTS)
    if not rows:
        raise ValueError("runs_scatter needs at least one row, got none.")
    title, unit, factor = _COSTS[cost]
    names = [str(field(row, "name")) for row in rows]
    y = percent(_numbers(rows, "test_accuracy"), "test_accuracy", "R")
    x, prefixed = si(factor * check_array(_numbers(rows, cost), cost, "R"), unit)
    fig, keys = go.Figure(), len(set(names)) > _MOST_LABELS
    for rank, name in enumerate(dict.fromkeys(names)):
        mine = [index for index, other in enumerate(names) if other == name]
        _draw_group(fig, name, (x[mine], y[mine]), mine, (rank, colours))
    if keys:
        for mean in fig.data[1::2]:  # faint points and mean by turns; so many bars would hide each other
            mean.update(mode="markers", name=mean.text[0], showlegend=True, error_x=None, error_y=None)
    fig.update_xaxes(title=f"{title} ({prefixed})" if prefixed else title)
    fig.update_yaxes(title="test accuracy (%)")
    span = x.max() - x.min() or abs(x.max()) or 1.0
    right = 0.12 if keys else 0.3  # names stand there
    fig.update_xaxes(range=[x.min() - 0.12 * span, x.max() + right * span])
    counts = {names.count(name) for name in names}
    bars = "Without bars: too many methods." if keys else "Bars: one standard deviation over the seeds, either way."
    note = f"Faint: single runs, bold: their means. {bars}"
    one = "One run each: nothing here tells a difference from the luck of a seed."
    note = one if counts == {1} else note + " Without bars: a single run." * (1 in counts and not keys)
    return finish(fig, theme, f"Accuracy against {title.partition(' per')[0]}", note, body=340)


def _draw_group(
    fig: go.Figure, name: str, points: tuple[np.ndarray, np.ndarray], indices: list[int], colours: tuple[int, Theme]
) -> None:
    """Runs of one name as faint points, and their mean with its name beside it; customdata are indices of rows."""
    (x, y), (rank, theme) = points, colours
    colour, symbol = PALETTE[rank % 6], _SYMBOLS[(rank + rank // 6) % 6]  # 36 marks before one comes again
    several = len(indices) > 1
    shape = {"symbol": symbol, "color": colour, "size": 8, "opacity": 0.45 if several else 0.0}
    fig.add_scatter(x=x, y=y, mode="markers", marker=shape, customdata=indices, name=name, showlegend=False)
    fig.data[-1].update(hovertemplate=f"{name}: " + "%{y:.2f} % at %{x:.4g}<extra></extra>")
    bars = {}
    if several:
        style_of = {"color": colour, "thickness": 1.5, "width": 5}
        bars = {"error_y": {"array": [y.std(ddof=1)]} | style_of, "error_x": {"array": [x.std(ddof=1)]} | style_of}
    text, beside = (f"{name} (n = {len(indices)})", "top right") if several else (name, "middle right")
    shape = {"symbol": symbol, "color": colour, "size": 12, "line": {"color": theme.surface, "width": 1}}
    mean = {"x": [x.mean()], "y": [y.mean()], "customdata": [indices[int(np.argmin(np.abs(y - y.mean())))]]}
    fig.add_scatter(**mean, mode="markers+text", text=[text], textposition=beside, marker=shape, **bars)
    hover = f"{text}: mean {y.mean():.2f} %" + (f" ± {y.std(ddof=1):.2f}" if several else "")
    fig.data[-1].update(name=name, showlegend=False, hovertemplate=hover + "<extra></extra>")
