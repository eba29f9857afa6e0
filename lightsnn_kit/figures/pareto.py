"""Pictures of a search with several objectives: every scored cell against what it costs, the front among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from ..checks import unknown
from ..files import user_path, write_text
from .export import csv_text
from .style import PALETTE, Theme, check_array, field, finish, si, theme_of

_COSTS = {  # field of a point: title of its axis, unit
    "synops": ("SynOps per sample, estimated before training", ""),
    "weights": ("convolution weights of a cell", "C²"),
    "num_steps": ("time steps T", ""),
}
_COLUMNS = ("index", "cell", "num_steps", "score", "synops", "weights")


def pareto_scatter(
    points: Iterable[object],
    front: Iterable[object],
    *,
    picked: object = None,
    cost: str = "synops",
    theme: str = "light",
) -> go.Figure:
    """Draw the score of every scored cell against ``cost`` ("synops", "weights" or "num_steps"), the front marked.

    ``points`` and those of them that are the ``front`` (and ``picked``, ringed): records with ``index``, ``cell``,
    ``score`` and the cost. The front may have been found with further objectives, and then some of it lies below other
    points here. Cells without a finite score are crosses at the foot. ``ValueError`` for no points or another cost.

    >>> points = [{"index": i, "cell": "|skip~0|", "score": s, "synops": 1e3 * s} for i, s in enumerate((1.0, 2.0))]
    >>> fig = pareto_scatter(points, points[:1])
    >>> [(trace.name, float(trace.x[0])) for trace in fig.data]
    [('other cells', 2.0), ('front', 1.0)]
    """
    colours, points = theme_of(theme), list(points)
    if cost not in _COSTS:
        raise unknown("cost", cost, _COSTS)
    if not points:
        raise ValueError("pareto_scatter needs at least one scored cell, got none.")
    title, unit = _COSTS[cost]
    x, prefixed = si(check_array([field(point, cost) for point in points], cost, "P").astype(float), unit)
    y = np.array([float(field(point, "score")) for point in points])
    on, dead = _marked(points, front), ~np.isfinite(y)
    fig = go.Figure()
    _draw_points(fig, (x, y), (on, dead), np.array([_hover(point) for point in points]), colours)
    if picked is not None:
        one = _marked(points, [picked])
        ring = {"symbol": "circle-open", "size": 18, "color": colours.ink, "line": {"width": 2}}
        fig.add_scatter(x=x[one], y=y[one], mode="markers", marker=ring, name="picked", hoverinfo="skip")
    fig.update_xaxes(title=f"{title} ({prefixed})" if prefixed else title, rangemode="tozero")
    fig.update_yaxes(title="score (no unit; more is better)")
    note = f"{len(points):,} cells scored, {on.sum():,} on the front: no other cell is as good in every objective and "
    note += "better in one." + f" {dead.sum():,} dead (−∞)." * bool(dead.any())
    return finish(fig, theme, f"Score against {title.partition(',')[0]}", note, body=360)


def _draw_points(
    fig: go.Figure,
    places: tuple[np.ndarray, np.ndarray],
    groups: tuple[np.ndarray, np.ndarray],
    texts: np.ndarray,
    colours: Theme,
) -> None:
    """Other cells faint, the front strong, the dead as crosses at the foot."""
    (x, y), (on, dead) = places, groups
    low, high = (y[~dead].min(), y[~dead].max()) if not dead.all() else (0.0, 1.0)
    y = np.where(dead, low - 0.12 * ((high - low) or 1.0), y)
    faint = {"color": colours.muted, "size": 6, "opacity": 0.5}
    strong = {"color": PALETTE[0], "size": 11, "symbol": "diamond", "line": {"color": colours.surface, "width": 1}}
    cross = {"color": colours.ink, "size": 7, "symbol": "x"}
    kinds = ("other cells", ~on & ~dead, faint), ("front", on & ~dead, strong), ("−∞ (dead)", dead, cross)
    for name, which, marker in kinds:
        if which.any():
            fig.add_scatter(x=x[which], y=y[which], mode="markers", marker=marker, name=name, text=texts[which])
            fig.data[-1].hovertemplate = "%{text}<extra></extra>"


def _marked(points: Sequence[object], some: Iterable[object]) -> np.ndarray:
    """For each point, whether it is one of ``some``; ``ValueError`` if one of those is no point."""
    places = {field(point, "index"): place for place, point in enumerate(points)}
    marked = np.zeros(len(points), bool)
    for point in some:
        if (index := field(point, "index")) not in places:
            raise ValueError(f"point {index!r} of the front is not among the {len(points):,} points.")
        marked[places[index]] = True
    return marked


def _hover(point: object) -> str:
    lines = [f"{str(field(point, 'cell')).replace('/', '<br>/')}", f"score {float(field(point, 'score')):.4g}"]
    for name, unit in (("synops", "SynOps"), ("weights", "C² weights")):
        value = field(point, name, None)
        lines += [f"{float(value):,.0f} {unit}"] if value is not None else []
    steps = field(point, "num_steps", None)
    return "<br>".join([*lines, *([f"T = {steps}"] if steps is not None else [])])


def write_pareto_csv(
    path: str | Path, points: Iterable[object], front: Iterable[object], *, replace: bool = False
) -> Path:
    """Write what `pareto_scatter` shows as a table: a line per scored cell, ``front`` 1 or 0; returns the path.

    ``RunExistsError`` if the file is there and ``replace`` is False.
    """
    path, points = user_path(path), list(points)
    rows = [
        [*(field(point, name, None) for name in _COLUMNS), int(marked)]
        for point, marked in zip(points, _marked(points, front), strict=True)
    ]
    write_text(path, csv_text([[*_COLUMNS, "front"], *rows]), replace=replace)
    return path
