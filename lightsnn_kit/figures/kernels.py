"""Pictures of kernels between samples: heatmaps, their eigenvalues, and both side by side."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..checks import unknown
from .style import PALETTE, check_array, finish, number, theme_of, thin

_MAX_SAMPLES = {1: 200, 3: 100}  # of a heatmap, by how many stand side by side: 0.9 MB
_KINDS = {
    "K": "Kernel K = N − d (larger: more alike)",
    "hamming": "Hamming distance (number of differing spikes)",
    "d": "Normalised distance d (no unit)",
}
_NOTE = "The colours span the values off the diagonal."


def kernel_heatmap(
    kernel: object, *, labels: object = None, title: str | None = None, kind: str = "K", theme: str = "light"
) -> go.Figure:
    """Draw a [B, B] matrix over samples, of ``kind`` "K", "hamming" or "d"; with ``labels`` [B] sorted by class.

    The colours span the values off the diagonal. Raises ``ValueError`` for another kind or shape.

    >>> kernel_heatmap([[2, 1], [1, 2]], labels=[1, 0]).layout.xaxis.ticktext
    ('0', '1')
    """
    matrix = _square(kernel, kind)
    fig = make_subplots()
    shown = _draw_heatmap(fig, matrix, labels, theme=theme)
    bar = {"lenmode": "pixels", "len": 320, "x": 0.5, "y": 0, "yref": "container", "yanchor": "bottom"}
    fig.update_traces(colorbar={"title": {"text": _KINDS[kind], "side": "bottom", "font_size": 12}} | bar)
    title = title or _KINDS[kind].partition(" (")[0]
    return finish(fig, theme, title, f"{shown}. {_NOTE}", body=460, room=(0, 110))


def kernel_panels(
    hamming: object, d: object, kernel: object, *, labels: object = None, title: str = "From distances to the kernel",
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Draw Hamming distances, normalised distances d and the kernel K = N − d, [B, B] each, side by side.

    Raises ``ValueError`` for another shape.

    >>> fig = kernel_panels(1 - np.eye(2), np.eye(2), np.eye(2))
    >>> [note.text for note in fig.layout.annotations]
    ['Hamming distance', 'normalised distance d', 'kernel K = N − d']
    """
    names = ("Hamming distance", "normalised distance d", "kernel K = N − d")
    fig = make_subplots(cols=3, subplot_titles=names, horizontal_spacing=0.05)
    fig.update_annotations(font_size=12, yanchor="bottom")
    for column, (kind, values) in enumerate(zip(("hamming", "d", "K"), (hamming, d, kernel), strict=True), 1):
        matrix = _square(values, kind)
        shown = _draw_heatmap(fig, matrix, labels, column=column, most=_MAX_SAMPLES[3], theme=theme)
        low, high = fig.layout[f"xaxis{column}" if column > 1 else "xaxis"].domain
        bar = {"x": (low + high) / 2, "len": 0.8 * (high - low), "y": 0, "yref": "container", "yanchor": "bottom"}
        fig.data[-1].update(colorbar=bar | {"nticks": 4, "tickfont_size": 11})  # below its panel
        if column > 1:
            fig.update_yaxes(title="", showticklabels=False, ticks="", col=column)
    return finish(fig, theme, title, f"{shown}. {_NOTE}", body=300, room=(24, 60))


def eigenvalue_spectrum(kernel: object, *, theme: str = "light") -> go.Figure:
    """Draw |eigenvalues| of a symmetric [B, B] kernel in falling order on a log axis: log|det K| = Σ log|λ|.

    Eigenvalues that are 0 within rounding stand as crosses at the foot; the sum is then −∞.

    >>> "log|det K| = Σ log|λ| = 1.386" in eigenvalue_spectrum([[4, 0], [0, 1]]).layout.title.text
    True
    """
    values = np.linalg.eigvalsh(_square(kernel, "K"))
    values = values[np.argsort(-np.abs(values))]
    zero = np.abs(values) <= len(values) * np.finfo(float).eps * abs(values[0])
    fig = make_subplots()
    _draw_spectrum(fig, values, zero, theme)
    return finish(fig, theme, *_spectrum_words(values, zero), body=300)


def _square(kernel: object, kind: str) -> np.ndarray:
    if kind not in _KINDS:
        raise unknown("kind", kind, _KINDS)
    matrix = check_array(kernel, "kernel" if kind == "K" else kind, "BB").astype(float)
    if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(
            f"{'kernel' if kind == 'K' else kind} must be a symmetric [B, B] matrix, got shape {matrix.shape}."
        )
    return matrix


def _draw_heatmap(
    fig: go.Figure, matrix: np.ndarray, labels: object, *, column: int = 1, most: int = 200, theme: str
) -> str:
    """Add one heatmap with its axes to a column; return what is shown, in words."""
    colours, at = theme_of(theme), {"row": 1, "col": column}
    groups = np.zeros(len(matrix)) if labels is None else np.asarray(labels)
    if groups.shape != matrix.shape[:1]:
        raise ValueError(f"labels must be one per sample, shape ({len(matrix)},); got {groups.shape}.")
    kept, shown = thin(len(matrix), most, "samples")
    order = np.argsort(groups, kind="stable")[kept]
    off = matrix[~np.eye(len(matrix), dtype=bool)] if len(matrix) > 1 else matrix
    pairs = np.dstack(np.meshgrid(order, order)).astype(np.int32)
    hover = "samples %{customdata[1]} and %{customdata[0]}: %{z:.4g}<extra></extra>"
    heat = {"zmin": off.min(), "zmax": off.max(), "customdata": pairs, "hovertemplate": hover}
    fig.add_heatmap(z=matrix[np.ix_(order, order)], colorbar_orientation="h", **heat, **at)
    x, y = fig.data[-1].xaxis or "x", fig.data[-1].yaxis or "y"
    both = {"dtick": 1 if len(matrix) <= 12 else None, "constrain": "domain", "showgrid": False}
    classes, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    if labels is not None:
        both |= {"tickvals": starts + (counts - 1) / 2, "ticktext": [str(c) for c in classes], "tickangle": 0}
        line = {"type": "line", "line": {"color": colours.surface, "width": 1}}
        across = [
            {"x0": 0, "x1": 1, "xref": f"{x} domain", "y0": cut, "y1": cut, "yref": y} for cut in starts[1:] - 0.5
        ]
        down = [{"x0": cut, "x1": cut, "xref": x, "y0": 0, "y1": 1, "yref": f"{y} domain"} for cut in starts[1:] - 0.5]
        fig.layout.shapes += tuple(line | where for where in across + down)  # all at once: add_hline takes 20 ms each
    names = ("sample", "sample") if labels is None else ("samples, sorted by class", "class")
    fig.update_xaxes(**both | {"title": names[0]}, **at)
    place = {"title": names[1], "autorange": "reversed", "scaleanchor": x, "constraintoward": "top"}
    fig.update_yaxes(**both | place, **at)
    return shown


def _spectrum_words(values: np.ndarray, zero: np.ndarray) -> tuple[str, str]:
    """The sum of the logarithms, and a note on the eigenvalues."""
    sizes = np.abs(values)
    total = "−∞" if zero.any() else number(np.log(sizes).sum())
    note = f"{len(values)} eigenvalues, the largest {sizes[0]:.4g}, the median {np.median(sizes):.3g}."
    if (values[~zero] < 0).any():
        note += "\nNegative ones are no kernel's; an odd number of them scores −∞."
    return f"log|det K| = Σ log|λ| = {total}", note


def _draw_spectrum(fig: go.Figure, values: np.ndarray, zero: np.ndarray, theme: str) -> None:
    """``zero``: which of the eigenvalues are 0 within rounding."""
    colours = theme_of(theme)
    sizes, rank = np.abs(values), np.arange(1, len(values) + 1)
    low = np.floor(np.log10(sizes[~zero].min() if not zero.all() else 1.0)) - 1
    for name, colour, pattern, sign in (("λ > 0", PALETTE[0], "", 1), ("λ < 0", PALETTE[1], "/", -1)):
        if (shown := (np.sign(values) == sign) & ~zero).any():
            marker = {"color": colour, "pattern": {"shape": pattern, "fgcolor": colours.surface, "fillmode": "overlay"}}
            fig.add_bar(x=rank[shown], y=sizes[shown], name=name, marker=marker)
    if zero.any():
        marker = {"symbol": "x", "size": 8, "color": colours.ink}
        foot = np.full(zero.sum(), 10 ** (low + 0.2))
        fig.add_scatter(x=rank[zero], y=foot, mode="markers", marker=marker, name="λ = 0 (within rounding)")
    fig.update_traces(showlegend=len(fig.data) > 1)
    fig.update_xaxes(title="rank of the eigenvalue", range=[0.4, len(values) + 0.6], showgrid=False)
    fig.update_xaxes(dtick=1 if len(values) <= 16 else None)
    high = np.log10(sizes[0] or 1) + 0.2
    powers = np.arange(low, high, np.ceil((high - low) / 9)).astype(int)
    ticks = {"tickvals": 10.0**powers, "ticktext": [f"10<sup>{number(p, 'd')}</sup>" for p in powers]}
    fig.update_yaxes(title="|λ|", type="log", range=[low, high], **ticks)
