"""Pictures of the search: a cell or supernet as a graph, and the scores that pruned it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..cells import Cell, Edge, Op
from ..spaces import OpMask
from .style import OP_COLOURS, OP_SYMBOLS, Theme, field, finish, legend_ops, number, theme_of

ROUND_GAP = 70  # pixels between the panels of two rounds


def cell_graph(
    cell_or_mask: Cell | OpMask, *, title: str | None = None, zeroize: bool = True, theme: str = "light"
) -> go.Figure:
    """Draw a cell, or all ops still alive in a mask: forward edges above, time-delayed backward edges below.

    One arc per op; what lies off every path from input to output is grey. ``zeroize=False`` hides zeroized
    edges. Raises ``ValueError`` for anything but a ``Cell`` or an ``OpMask``.

    >>> [trace.name for trace in cell_graph(Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|")).data]
    ['1<-0 conv3x3', '2<-0 skip', '2<-1 conv3x3']
    """
    colours = theme_of(theme)
    mask = OpMask.from_cell(cell_or_mask) if isinstance(cell_or_mask, Cell) else cell_or_mask
    if not isinstance(mask, OpMask):
        raise ValueError(f"cell_graph draws a Cell or an OpMask, got {cell_or_mask!r}.")
    skeleton, fig = mask.skeleton(), go.Figure()
    for edge, ops in mask.items():
        if zeroize or ops != (Op.ZEROIZE,):
            _draw_edge(fig, edge, ops, skeleton, colours)
    for node in range(skeleton.num_nodes):
        _draw_node(fig, node, skeleton, colours)
    for op in mask.space.ops if mask.num_cells > 1 else ():
        line, marker = {"color": OP_COLOURS[op], "width": 2}, {"symbol": OP_SYMBOLS[op], "size": 9}
        fig.add_scatter(x=[None], y=[None], mode="lines+markers", name=str(op), line=line, marker=marker)
    backward = mask.space.backward
    half = _half_width(skeleton.num_nodes) + 0.08
    fig.update_xaxes(visible=False, range=[-half, skeleton.num_nodes - 1 + half])
    fig.update_yaxes(visible=False, range=[-1.13 if backward else -0.15, 1.13])
    notes = ["Above: within a time step."] + ["Below, dashed: to the next time step."] * backward
    if dead := sorted(skeleton.dead_nodes):
        some = f"node{'s' * (len(dead) > 1)} {', '.join(map(str, dead))}, off every path from input to output."
        notes.append("Grey: all, no path leads from input to output." if 0 in dead else f"Grey: dead {some}")
    return finish(fig, theme, title or _graph_title(mask), " ".join(notes), body=420 if backward else 240, room=(0, 10))


_BOX = 0.36  # half the width of a node's box in an unrolled cell, whose columns are 3 apart


def cell_unrolled(cell: Cell, *, steps: int = 2, theme: str = "light") -> go.Figure:
    """Draw a cell at several time steps, one column each: forward edges stay in it, backward edges lead to the next.

    What is not on a path from an input to an output of the steps drawn is grey. Zeroized edges are left out.

    >>> fig = cell_unrolled(Cell.parse("|skip~0|/|conv3x3~1|"))
    >>> [trace.name for trace in fig.data]
    ['1<-0 skip, step t', '1<-0 skip, step t + 1', '0<-1 conv3x3, step t to t + 1']
    """
    colours, fig = theme_of(theme), go.Figure()
    times = ["t", *(f"t + {step}" for step in range(1, steps))]
    live = set(cell.live_edges)
    for edge, op in cell.edge_ops.items():
        for step in range(steps - edge.is_backward) if op is not Op.ZEROIZE else ():
            shown = edge in live and (edge.source in cell.fed_nodes)
            when = f"{times[step]} to {times[step + 1]}" if edge.is_backward else times[step]
            _draw_step(fig, edge, op, step, (f"{edge} {op}, step {when}", colours if shown else None, colours))
    for step, time in enumerate(times):
        fig.add_annotation(x=3 * step, y=0.7, text=f"<b>step {time}</b>", showarrow=False)
        for node in range(cell.num_nodes):
            role = {0: "input", cell.num_nodes - 1: "output"}.get(node, "")
            ink = colours.muted if node in cell.dead_nodes else colours.ink
            box = {"x0": 3 * step - _BOX, "x1": 3 * step + _BOX, "y0": -node - 0.24, "y1": -node + 0.24}
            fig.add_shape(type="rect", **box, line={"color": ink, "width": 1.5}, fillcolor=colours.grid)
            text = f"<b>{node}</b> {role}".strip()
            fig.add_annotation(x=3 * step, y=-node, text=text, showarrow=False, font_color=ink)
    fig.update_xaxes(visible=False, range=[-1.4, 3 * steps - 1.6])
    fig.update_yaxes(visible=False, range=[0.5 - cell.num_nodes, 1])
    back = sum(edge.is_backward for edge in live)
    note = "Dashed: a backward edge hands its value to the next step, where it is added to what its target holds."
    note = note if back else "No backward edge is in use: every step is computed alone (but for the membranes)."
    return finish(fig, theme, f"The cell over {steps} steps", note, body=90 * cell.num_nodes, room=(0, 10))


def _draw_step(fig: go.Figure, edge: Edge, op: Op, step: int, look: tuple[str, Theme | None, Theme]) -> None:
    """One edge of an unrolled cell: a bow beside its column, or a line to the next column."""
    name, shown, colours = look
    colour = OP_COLOURS[op] if shown else colours.muted
    t = np.linspace(0, 1, 25)
    x, y = 3 * step + 0 * t, -(edge.source + (edge.target - edge.source) * t)
    if edge.is_backward:
        x = x + _BOX + (3 - 2 * _BOX) * t
    else:
        side = -1 if (edge.target - edge.source) % 2 else 1  # long bows do not hide short ones
        x = x + side * (_BOX + 0.28 * (edge.target - edge.source) * 4 * t * (1 - t))
    sizes = np.zeros(25)
    sizes[12], sizes[-1] = 9, 10
    symbols = [OP_SYMBOLS[op]] * 24 + ["arrow"]
    line = {"color": colour, "width": 2.5 if op.is_conv else 1.8, "dash": "dash" if edge.is_backward else "solid"}
    marker = {"symbol": symbols, "size": sizes, "color": colour, "line_width": 0, "angleref": "previous", "opacity": 1}
    fig.add_scatter(x=x, y=y, mode="lines+markers", name=name, line=line, marker=marker, showlegend=False)
    fig.data[-1].update(hovertemplate=f"{name}<extra></extra>", opacity=1 if shown else 0.5)


def _graph_title(mask: OpMask) -> str:
    if mask.num_cells > 1:
        return f"Supernet: {mask.num_cells:,} cells left"
    ops = mask.to_cell().ops
    return "Cell: " + ", ".join(f"{ops.count(op)} {op}" for op in legend_ops() if op in ops)


def _port(node: int, other: int, num_nodes: int) -> float:
    """Where on its box a node's arc to ``other`` ends: arcs that enclose others end outside of them."""
    slot = node - 1 - other if other < node else node + num_nodes - 1 - other
    return node + 1.7 * _half_width(num_nodes) * ((slot + 0.5) / (num_nodes - 1) - 0.5)


def _half_width(num_nodes: int) -> float:
    return min(0.36, 0.045 * num_nodes)  # boxes as wide as their text for 2 to 8 nodes at 600 px


def _draw_edge(fig: go.Figure, edge: Edge, ops: tuple[Op, ...], skeleton: Cell, colours: Theme) -> None:
    """One arc per op, with the op's name if it is alone and its symbol if not."""
    span, side = 1 / (skeleton.num_nodes - 1), -1 if edge.is_backward else 1
    start, end = (_port(*pair, skeleton.num_nodes) for pair in (edge[::-1], edge))
    live = edge in skeleton.live_edges and edge.source in skeleton.fed_nodes
    t, peak = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2, abs(edge.target - edge.source) * span
    for rank, op in enumerate(ops):
        height = peak + min(0.07, 0.7 * span / len(ops)) * (rank - (len(ops) - 1) / 2)
        colour, none = OP_COLOURS[op] if live else colours.muted, op is Op.ZEROIZE
        dash = "dot" if none else "dash" if edge.is_backward else "solid"
        sizes = np.zeros(33)
        sizes[16], sizes[-1] = 9 * (len(ops) > 1), 0 if none else 11
        shades = [colour] * 32 + [colour if len(ops) == 1 else colours.muted]  # several ops share one arrowhead
        symbols = [OP_SYMBOLS[op]] * 32 + ["triangle-down" if side > 0 else "triangle-up"]
        fig.add_scatter(
            x=start + (end - start) * t**2 * (3 - 2 * t),
            y=side * (0.1 + 0.03 * t + 4 * (height - 0.115) * t * (1 - t)),
            mode="lines+markers",
            name=f"{edge} {op}",
            line={"color": colour, "width": 1 if none else 3 if op.is_conv else 2, "dash": dash},
            marker={"symbol": symbols, "size": sizes, "color": shades, "line_width": 0, "opacity": 1},
            opacity=0.6 if none or not live else 1,
            hovertemplate=f"{op}, {edge.source} → {edge.target}{' at the next step' * (side < 0)}<extra></extra>",
            showlegend=False,
        )
    if len(ops) == 1 and ops[0] is not Op.ZEROIZE:
        where = {"x": (start + end) / 2, "y": side * peak, "bgcolor": colours.surface, "borderpad": 2}
        fig.add_annotation(
            **where, text=str(ops[0]), showarrow=False, font_color=colours.ink if live else colours.muted
        )


def _draw_node(fig: go.Figure, node: int, skeleton: Cell, colours: Theme) -> None:
    dead, half = node in skeleton.dead_nodes, _half_width(skeleton.num_nodes)
    role = {0: "input", skeleton.num_nodes - 1: "output"}.get(node, "dead" if dead else "")
    colour, box = colours.muted if dead else colours.ink, {"x0": node - half, "x1": node + half, "y0": -0.1, "y1": 0.1}
    line = {"color": colour, "width": 1.5, "dash": "dot" if dead else "solid"}
    fig.add_shape(type="rect", **box, line=line, fillcolor=colours.grid)
    fig.add_annotation(x=node, y=0, text=f"<b>{node}</b> {role}".strip(), showarrow=False, font_color=colour)


def prune_trace(steps: Iterable[object], *, theme: str = "light") -> go.Figure:
    """Draw all candidates of a pruning search: a panel per round, a row per edge, a marker per op.

    Steps hold ``round``, ``scores`` ((edge, op, score), ...) and ``pruned`` (``edge``, ``op``, ``margin``, ``undone``
    each), as ``search.PruneStep``. A score of −∞ stands at the left, on its own tick. Raises ``ValueError`` for no
    scores, or NaN.

    >>> scores = ((Edge(1, 0), Op.SKIP, -3.0), (Edge(1, 0), Op.CONV3X3, float("-inf")))
    >>> prune_trace([{"round": 1, "scores": scores, "pruned": ()}]).layout.xaxis.ticktext[0]
    '−∞'
    """
    colours, steps = theme_of(theme), list(steps)
    rounds = [[(as_edge(edge), Op(op), float(score)) for edge, op, score in field(s, "scores")] for s in steps]
    if not rounds or any(not scores or np.isnan([score for *_, score in scores]).any() for scores in rounds):
        raise ValueError(f"prune_trace needs steps with scores, none of them NaN; got {rounds}.")
    heights = [26 * len({edge for edge, *_ in scores}) for scores in rounds]
    body = sum(heights) + ROUND_GAP * (len(rounds) - 1)
    gap = ROUND_GAP / body if len(rounds) > 1 else 0
    fig = make_subplots(rows=len(rounds), row_heights=heights, vertical_spacing=gap)
    for row, (step, scores) in enumerate(zip(steps, rounds, strict=True), 1):
        _draw_round(fig, step, scores, row, colours)
    names = [trace.name for trace in fig.data]
    for index, trace in enumerate(fig.data):
        trace.update(showlegend=trace.name not in names[:index], legendgroup=trace.name)
    fig.update_xaxes(title="score without the op: log|det K| (no unit)", row=len(rounds))
    note = "A marker is the score left without that op; on every edge, the op with the highest score goes."
    if any(field(decision, "undone") for step in steps for decision in field(step, "pruned")):
        note += " (path): the highest would have cut the last path from input to output."
    fig = finish(fig, theme, "Pruning by importance", note, body=body, room=(16, 46))
    return fig.update_layout(margin_r=142)  # for the column of margins


def as_edge(edge: object) -> Edge:
    return Edge.parse(edge) if isinstance(edge, str) else Edge(*edge)


def edge_name(edge: Edge) -> str:
    return f"{edge.target}←{edge.source}" + " (t+1)" * edge.is_backward


def decision_words(decision: object) -> str:
    """What was pruned, and its margin to the next best choice."""
    op, margin = Op(field(decision, "op")), float(field(decision, "margin"))
    words = f"{op} {number(margin, '+.3g')}" if margin else f"{op}, a tie"
    return words + " (path)" * bool(field(decision, "undone", None))


def _draw_round(fig: go.Figure, step: object, scores: list[tuple[Edge, Op, float]], row: int, colours: Theme) -> None:
    edges = list(dict.fromkeys(edge for edge, *_ in scores))
    foot, near = _score_axis(fig, [score for *_, score in scores], row, colours)
    at = {}  # (edge, op) -> x, y
    for edge, op in [candidate[:2] for candidate in scores]:
        peers = {other: max(value, foot) for where, other, value in scores if where == edge}
        crowded = any(other is not op and abs(x - peers[op]) < near for other, x in peers.items())
        lane = 0.6 * (list(peers).index(op) / max(1, len(peers) - 1) - 0.5)  # keeps markers apart that would overlap
        at[edge, op] = peers[op], edges.index(edge) + lane * crowded
    for op in (op for op in legend_ops() if any(op is other for _, other in at)):
        x, y = zip(*(place for (_, other), place in at.items() if other is op), strict=True)
        hover = [f"{edge} without {op}: {score:.6g}" for edge, other, score in scores if other is op]
        marker = {"symbol": OP_SYMBOLS[op], "size": 9, "color": OP_COLOURS[op]}
        fig.add_scatter(x=x, y=y, mode="markers", marker=marker, name=str(op), hovertext=hover, row=row, col=1)
        fig.data[-1].update(hoverinfo="text", zorder=1)
    _mark_pruned(fig, field(step, "pruned"), at, row, colours)
    head = f"<b>Round {field(step, 'round')}</b>: {len(scores)} candidates"
    at_panel(fig, row, text=head, x=0, y=1, yref="y domain", yanchor="bottom")
    fig.update_yaxes(tickvals=list(range(len(edges))), ticktext=list(map(edge_name, edges)))
    fig.update_yaxes(range=[len(edges) - 0.3, -0.7], row=row)


def _score_axis(fig: go.Figure, scores: list[float], row: int, colours: Theme) -> tuple[float, float]:
    """Set a round's score axis; return where −∞ stands and the distance at which markers overlap."""
    finite = [score for score in scores if np.isfinite(score)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    room = 0.06 * ((high - low) or 1.0)
    foot = low - 3 * room
    fig.update_xaxes(range=[low - room, high + room], row=row)
    if len(finite) < len(scores):
        ticks = _nice_ticks(low, high) if finite else []
        texts = ["−∞", *(number(tick, "g") for tick in ticks)]
        fig.update_xaxes(tickvals=[foot, *ticks], ticktext=texts, range=[foot - room, high + room], row=row)
        where = {"row": row, "col": 1, "exclude_empty_subplots": False}  # the panel's markers come later
        fig.add_vline(low - 2 * room, line={"color": colours.muted, "width": 1, "dash": "dot"}, **where)
    return foot, room / 2


def _mark_pruned(fig: go.Figure, pruned: Iterable[object], at: dict, row: int, colours: Theme) -> None:
    """A ring around what was pruned, a bar to the next op of the edge, and the margin as a number."""
    rings = []
    for decision in pruned:
        edge, op = as_edge(field(decision, "edge")), Op(field(decision, "op"))
        if (edge, op) not in at:
            raise ValueError(f"{op} was pruned from edge {edge}, but the step has no score for it.")
        rings.append(at[edge, op])
        rivals = [x for (other, rest), (x, _) in at.items() if other == edge and rest is not op]
        bar, y = [max(rivals, default=rings[-1][0]), rings[-1][0]], round(rings[-1][1])
        line = {"color": colours.muted, "width": 5}
        fig.add_scatter(x=bar, y=[y, y], mode="lines", line=line, opacity=0.4, name="margin", row=row, col=1)
        at_panel(fig, row, text=decision_words(decision), x=1, xshift=10, y=y)
    if rings:
        x, y = zip(*rings, strict=True)
        marker = {"symbol": "circle-open", "size": 17, "color": colours.ink, "line_width": 1.5}
        fig.add_scatter(x=x, y=y, mode="markers", marker=marker, name="pruned", hoverinfo="skip", row=row, col=1)
        at_panel(fig, row, text="pruned, margin", x=1, xshift=10, y=1, yref="y domain", yanchor="bottom")


def at_panel(fig: go.Figure, row: int, **annotation: object) -> None:
    """A note that starts at a share of a panel's width."""
    fig.add_annotation(xref="x domain", xanchor="left", showarrow=False, row=row, col=1, **annotation)


def _nice_ticks(low: float, high: float) -> np.ndarray:
    """About four round numbers from ``low`` to ``high``; just ``low`` if they agree."""
    if low == high:
        return np.array([low])
    base = 10 ** np.floor(np.log10((high - low) / 4))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= (high - low) / 4)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
