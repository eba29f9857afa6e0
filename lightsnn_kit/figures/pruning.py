"""One round of a pruning search from near: candidates of an edge as bars, and which margins are too small to trust."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..cells import Edge, Op
from .cells import ROUND_GAP, as_edge, at_panel, decision_words, edge_name
from .style import OP_COLOURS, Theme, field, finish, number, theme_of


def margin_noise(step: object) -> float:
    """A stated guess of how far margins of a round are noise: a quarter of the median of those finite and not 0.

    Measure it where you can (the spread of a margin over other weights or images) and pass that instead: the
    quarter only sorts a round's decisions into clear and doubtful ones. 0 if all margins are 0 or infinite.

    >>> margin_noise({"pruned": [{"margin": m} for m in (0.0, 2.0, -4.0, 8.0, float("inf"))]})
    1.0
    """
    sizes = [abs(float(field(decision, "margin"))) for decision in field(step, "pruned")]
    finite = [size for size in sizes if 0 < size < np.inf]
    return 0.25 * float(np.median(finite)) if finite else 0.0


def is_uncertain(decision: object, noise: float) -> bool:
    """Whether a decision may fall otherwise: as its search tested it, or else if its margin is within ``noise`` of 0.

    >>> is_uncertain({"margin": 0.5}, 1.0), is_uncertain({"margin": 0.5, "settled": True}, 1.0)
    (True, False)
    """
    tested = field(decision, "settled", None)
    return abs(float(field(decision, "margin"))) <= noise if tested is None else not tested


def prune_round(
    step: object, *, edge: Edge | str | None = None, noise: float | None = None, theme: str = "light"
) -> go.Figure:
    """Draw one round closely: the candidates of ``edge`` (default: the least certain) as bars, then all margins.

    ``step`` is one of those of `prune_trace`. Candidates are drawn by how far they lie above the edge's lowest score.
    Margins up to ``noise`` (default `margin_noise`) are uncertain: hatched, and named so; where the search tested its
    decisions (``settled``), that counts instead. Raises ``ValueError`` for a negative noise, and for an edge of which
    nothing was pruned in this round.

    >>> scores = [("1<-0", "skip", -3.0), ("1<-0", "conv3x3", -5.0)]
    >>> fig = prune_round({"round": 1, "scores": scores, "pruned": [{"edge": "1<-0", "op": "skip", "margin": 2.0}]})
    >>> list(fig.data[0].x), list(fig.data[1].text)
    ([2.0, 0.0], ['skip +2'])
    """
    colours, limit = theme_of(theme), margin_noise(step) if noise is None else noise
    if not 0 <= limit < np.inf:
        raise ValueError(f"noise must be a finite margin of at least 0, got {noise!r}.")
    decisions = {as_edge(field(decision, "edge")): decision for decision in field(step, "pruned")}
    margins = {where: float(field(decision, "margin")) for where, decision in decisions.items()}
    default = min(margins, key=lambda where: abs(margins[where]), default=None)
    chosen = default if edge is None else as_edge(edge)
    if chosen not in decisions:
        known = ", ".join(map(str, decisions)) or "none"
        raise ValueError(f"round {field(step, 'round')} pruned nothing on edge {chosen}; edges it pruned: {known}.")
    scores = {Op(op): float(score) for where, op, score in field(step, "scores") if as_edge(where) == chosen}
    heights = [30 * len(scores), 24 * len(decisions)]
    body = sum(heights) + ROUND_GAP + 10
    fig = make_subplots(rows=2, row_heights=heights, vertical_spacing=(ROUND_GAP + 10) / body)
    _candidate_bars(fig, scores, Op(field(decisions[chosen], "op")), limit, colours)
    _margin_bars(fig, decisions, chosen, limit, colours)
    names = [edge_name(chosen), f"Margins of round {field(step, 'round')}: pruned op and margin"]
    for row, text in enumerate([f"Candidates on {names[0]}: score without the op", names[1]], 1):
        at_panel(fig, row, text=f"<b>{text}</b>", x=0, y=1, yref="y domain", yanchor="bottom")
    note = _round_note(decisions, limit)
    title = f"Round {field(step, 'round')}, edge {names[0]}"
    return finish(fig, theme, title, note, body=body, room=(18, 46))


def _round_note(decisions: dict[Edge, object], limit: float) -> str:
    doubtful = sum(is_uncertain(decision, limit) for decision in decisions.values())
    tested = any(field(decision, "settled", None) is not None for decision in decisions.values())
    note = "The op with the highest score is missed least, and goes. Hatched and marked ≈: "
    within = f"margins within {limit:.3g} of 0" if limit else "exact ties"
    note += "decisions that did not pass the search's own test" if tested else within
    note += f" ({doubtful} of {len(decisions)}), uncertain: other weights or images may decide otherwise."
    return note + " A bar that ends in the grey band is as near." * bool(limit)


def _candidate_bars(fig: go.Figure, scores: dict[Op, float], pruned: Op, limit: float, colours: Theme) -> None:
    """A bar per op, from the edge's lowest finite score; a band where rivals of the highest are too near to tell."""
    finite = [score for score in scores.values() if np.isfinite(score)]
    low, top = min(finite, default=0.0), max(finite, default=0.0)
    x = [max(score - low, 0.0) for score in scores.values()]
    texts = [number(score, ".6g") for score in scores.values()]
    names = [f"<b>{op}, pruned</b>" if op is pruned else str(op) for op in scores]
    texts = [f"<b>{text}</b>" if op is pruned else text for op, text in zip(scores, texts, strict=True)]
    marker = {"color": [OP_COLOURS[op] for op in scores]}
    outline = [2.5 if op is pruned else 0 for op in scores]
    fig.add_bar(x=x, y=names, orientation="h", text=texts, marker=marker, name="candidates", row=1, col=1)
    fig.data[-1].update(textposition="outside", cliponaxis=False, showlegend=False, hoverinfo="y+text")
    fig.data[-1].update(marker_line={"color": colours.ink, "width": outline}, customdata=[str(op) for op in scores])
    if finite and limit:
        band = {"fillcolor": colours.muted, "opacity": 0.25, "line_width": 0, "layer": "below"}
        fig.add_vrect(top - limit - low, top - low, row=1, col=1, **band)
    reach = max(top - low, limit) or 1.0
    fig.update_xaxes(title="above the lowest finite one (log|det K|, no unit)", row=1)
    fig.update_xaxes(range=[min(0.0, top - low - limit), 1.3 * reach], row=1)
    fig.update_yaxes(autorange="reversed", showgrid=False, row=1)


def _margin_bars(fig: go.Figure, decisions: dict[Edge, object], chosen: Edge, limit: float, colours: Theme) -> None:
    margins = [float(field(decision, "margin")) for decision in decisions.values()]
    far = 1.15 * max([abs(margin) for margin in margins if np.isfinite(margin)], default=0.0) or 1.0
    unsure = [is_uncertain(decision, limit) for decision in decisions.values()]
    shades = [OP_COLOURS[Op(field(decision, "op"))] for decision in decisions.values()]
    texts = ["≈ " * doubtful + decision_words(d) for doubtful, d in zip(unsure, decisions.values(), strict=True)]
    names = [f"<b>▸ {edge_name(edge)}</b>" if edge == chosen else edge_name(edge) for edge in decisions]
    rows, pattern = list(range(len(names))), {"fgcolor": colours.surface, "fillmode": "overlay", "size": 6}
    marker = {"color": shades, "pattern": pattern | {"shape": ["/" if doubtful else "" for doubtful in unsure]}}
    bars = np.clip(margins, -far, far)
    fig.add_bar(x=bars, y=rows, orientation="h", text=texts, marker=marker, name="margins", row=2, col=1)
    fig.data[-1].update(textposition="outside", cliponaxis=False, showlegend=False, hoverinfo="text")
    fig.data[-1].update(customdata=[str(edge) for edge in decisions])
    low = min(0.0, *map(float, bars))
    for at in [limit] * (limit > 0) + [-limit] * (limit > 0 > low):
        where = {"row": 2, "col": 1, "exclude_empty_subplots": False}
        fig.add_vline(at, line={"color": colours.muted, "width": 1, "dash": "dot"}, **where)
    fig.update_xaxes(title="margin to the next best choice (no unit)", range=[1.5 * low, 1.4 * max(far, limit)], row=2)
    fig.update_yaxes(tickvals=rows, ticktext=names, range=[len(rows) - 0.4, -0.6], showgrid=False, row=2)
