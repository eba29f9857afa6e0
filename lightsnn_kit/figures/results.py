"""Figures of many experiments: accuracy by method with every seed, and what a search takes (rows in, figures out)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import plotly.graph_objects as go

from ..lab.results import SNASNET_BUDGET, by_method, estimate, extrapolated_seconds, search_seconds
from .style import PALETTE, finish, percent, theme_of

Row = Mapping[str, object]


def accuracy_by_method(rows: Iterable[Row], *, chance: float | None = None, note: str = "", theme: str = "light"):
    """Draw the test accuracy of each method: a point per seed, the mean, and its 95 % interval over seeds.

    Rows have ``method``, ``seed`` and ``test_accuracy`` (0..1). ``ValueError`` for no rows.

    >>> rows = [{"method": "random", "seed": s, "test_accuracy": a} for s, a in enumerate((0.5, 0.6, 0.7))]
    >>> round(float(accuracy_by_method(rows).data[1].x[0]), 6)
    60.0
    """
    groups, colours = by_method(rows), theme_of(theme)
    if not groups:
        raise ValueError("accuracy_by_method needs at least one row, got none.")
    fig, names = go.Figure(), list(groups)
    points = [(100 * float(row["test_accuracy"]), method, row["seed"]) for method in names for row in groups[method]]
    x, y, seeds = zip(*points, strict=True)
    percent([value / 100 for value in x], "test_accuracy", "R")
    marker = {"color": PALETTE[0], "size": 8, "opacity": 0.6}
    fig.add_scatter(x=x, y=y, mode="markers", marker=marker, customdata=seeds, name="one seed")
    fig.data[0].hovertemplate = "%{y}, seed %{customdata}: %{x:.1f} %<extra></extra>"
    estimates = [estimate(groups[method], "test_accuracy") for method in names]
    bars = {
        "array": [100 * (e.high - e.mean) if e.n > 1 else 0 for e in estimates],
        "color": colours.ink,
        "thickness": 1.2,
    }
    mean = {"color": colours.ink, "size": 13, "symbol": "line-ns-open", "line": {"width": 2}}
    fig.add_scatter(x=[100 * e.mean for e in estimates], y=names, mode="markers", marker=mean, error_x=bars)
    fig.data[1].update(name="mean, 95 % interval over seeds", hovertemplate="%{y}: mean %{x:.1f} %<extra></extra>")
    if chance is not None:
        fig.add_vline(
            x=100 * chance, line={"color": colours.muted, "dash": "dot", "width": 1}, annotation_text="chance"
        )
    fig.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=names)
    fig.update_xaxes(title="test accuracy (%)", range=[0, 102])
    return finish(fig, theme, "Test accuracy by method", note, body=30 * len(names) + 30, room=(14, 60))


def search_times(rows: Iterable[Row], *, note: str = "", theme: str = "light") -> go.Figure:
    """Draw the seconds of each search on a log axis; a random search of other budgets is extrapolated.

    These are pruning's and SNASNet's. ``ValueError`` if no row scored anything.
    """
    groups = {name: rows for name, rows in by_method(rows).items() if all(row["evaluations"] for row in rows)}
    if not groups:
        raise ValueError("search_times needs rows of a method that scores networks, got none.")
    names = [f"{name}<br>{group[0]['evaluations']:,} scores" for name, group in groups.items()]
    seconds = [estimate(group, search_seconds).mean for group in groups.values()]
    bar_colours = [PALETTE[0]] * len(names)
    patterns = [""] * len(names)
    drawn, pruned = groups.get("snasnet-search"), groups.get("lightsnn")
    budgets = {SNASNET_BUDGET} | ({pruned[0]["evaluations"]} if pruned else set())
    for budget in sorted(budgets - {drawn[0]["evaluations"]}) if drawn else ():
        names.append(f"snasnet-search<br>{budget:,} scores, extrapolated")
        seconds.append(estimate(drawn, lambda row, budget=budget: extrapolated_seconds(row, budget)).mean)
        bar_colours.append(PALETTE[5])
        patterns.append("/")
    marker = {"color": bar_colours, "pattern": {"shape": patterns}}
    texts = [f"{value:,.1f} s" for value in seconds]
    fig = go.Figure(go.Bar(x=seconds, y=names, orientation="h", text=texts, textposition="outside", marker=marker))
    fig.update_traces(cliponaxis=False, showlegend=False, hoverinfo="y+text")
    fig.update_yaxes(autorange="reversed")
    span = [math.floor(math.log10(min(seconds))), math.log10(max(seconds)) + 0.4]
    fig.update_xaxes(type="log", title="seconds: load, build and all scores", dtick=1, range=span)
    return finish(fig, theme, "What a search takes", note, body=44 * len(names) + 30)
