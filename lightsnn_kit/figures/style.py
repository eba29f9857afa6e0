"""The style that all figures share: themes, palette, template, titles, and the checks of what is drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from ..checks import unknown
from ..ops import OWN_OPS, Op


class Theme(NamedTuple):
    """The colours of one theme; ``ramp`` runs from low to high values."""

    surface: str
    ink: str
    muted: str
    grid: str
    ramp: tuple[str, ...]


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#59636e", "#e4e7eb", ("#f3f7fb", "#9cc9e8", "#3f8cc4", "#0b3d70")),
    "dark": Theme("#111111", "#e9ecef", "#a0a8b2", "#2c323a", ("#1a2027", "#1f5580", "#4fa3d9", "#e3f2fc")),
}
# Okabe-Ito's hues, moved until each has 3:1 contrast on both surfaces and any two stay apart under simulated protan-,
# deuter- and tritanopia (least CIELAB distance 21 as tested; a palette of one lightness gave 3).
PALETTE = ("#3598d5", "#ce8500", "#8143d8", "#2d724c", "#a2490f", "#8a929b")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_OPS = (Op.CONV3X3, Op.SKIP, Op.CONV1X1, Op.AVGPOOL3X3, Op.MAXPOOL3X3, Op.ZEROIZE)


class _ByOp(dict):
    """A value for each op; ops of your own take those of ``own`` in turn, as they were registered."""

    def __init__(self, values: tuple[str, ...], own: tuple[str, ...]) -> None:
        super().__init__(zip(_OPS, values, strict=True))
        self.own = own

    def __missing__(self, op: str) -> str:
        return self.own[list(OWN_OPS).index(op) % len(self.own)]


# An op of your own has the hue of one that LightSNN's three-op spaces do not use, and a symbol that no other has.
OP_COLOURS = _ByOp(PALETTE, own=PALETTE[2:5])
OP_SYMBOLS = _ByOp(("circle", "triangle-up", "diamond", "square", "pentagon", "x"), own=("star", "hexagon", "cross"))


def legend_ops() -> list[Op]:
    """All ops in the order of legends: the papers', then yours as they were registered."""
    return [*_OPS, *(own.op for own in OWN_OPS.values())]


# Buttons over a figure: no upload of data to a server, and few enough to leave titles and the Tab key free.
_UNWANTED = ("sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d")
_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def theme_of(name: str) -> Theme:
    """The theme of that name; ``ValueError`` for any but "light" and "dark"."""
    if name not in THEMES:
        raise unknown("theme", name, THEMES)
    return THEMES[name]


def template(theme: str = "light") -> go.layout.Template:
    """The template of a theme, registered with plotly as ``lightsnn_light`` and ``lightsnn_dark``.

    >>> template("dark").layout.paper_bgcolor
    '#111111'
    """
    colours = theme_of(theme)
    axis = {"gridcolor": colours.grid, "linecolor": colours.muted, "zeroline": False, "automargin": True}
    axis |= {"ticks": "outside", "ticklen": 4, "tickcolor": colours.grid, "title_standoff": 8, "title_font_size": 12}
    layout = go.Layout(
        paper_bgcolor=colours.surface, plot_bgcolor=colours.surface, colorway=PALETTE, xaxis=axis, yaxis=axis
    )
    layout.font = {"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 12, "color": colours.ink}
    layout.title = {"x": 0, "xref": "container", "y": 1, "yanchor": "top", "pad": {"l": 16, "t": 28}, "font_size": 12}
    layout.legend = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
    layout.hoverlabel = {"bgcolor": colours.surface, "font_color": colours.ink, "bordercolor": colours.muted}
    layout.bargap = 0.3
    layout.modebar = {"remove": _UNWANTED}
    scale = list(zip(np.linspace(0, 1, len(colours.ramp)), colours.ramp, strict=True))
    heat = go.Heatmap(colorscale=scale, colorbar={"thickness": 12, "outlinewidth": 0})
    return go.layout.Template(layout=layout, data={"heatmap": [heat]})


for _name in THEMES:
    pio.templates[f"lightsnn_{_name}"] = template(_name)


def finish(
    fig: go.Figure, theme: str, title: str, note: str = "", *, body: int, room: tuple[int, int] = (0, 46)
) -> go.Figure:
    """Give a figure its template, title and note, and a height of ``body`` pixels for the axes.

    ``room``: pixels above the axes for headings of panels, and below them for tick labels and axis titles.
    """
    # 98 characters of 12 px text fit into a width of 600 px; a note may break its lines earlier
    lines = [line for part in note.split("\n") for line in textwrap.wrap(part, 98)]
    keys = [trace.name for trace in fig.data if trace.name and trace.showlegend is not False]
    foot = room[1] + 22 * int(
        np.ceil(sum(7 * len(key) + 50 for key in keys) / 560)
    )  # lines of the legend at that width
    top = room[0] + 44 + 16 * len(lines)
    # The note is a part of the title: plotly's subtitle stands at other distances for one line and for two.
    notes = f'<span style="color:{theme_of(theme).muted}">{"<br>".join(lines)}</span>'
    fig.update_layout(
        template=f"lightsnn_{theme}", title_text=f'<span style="font-size:16px">{title}</span><br>{notes}'
    )
    return fig.update_layout(
        showlegend=bool(keys), height=body + top + foot, margin={"l": 16, "r": 16, "t": top, "b": foot}
    )


def check_binary(spikes: np.ndarray) -> None:
    """``ValueError`` for values other than 0 and 1."""
    if not np.isin(spikes, (0, 1)).all():
        raise ValueError(f"spikes must be 0 or 1, got values from {spikes.min()} to {spikes.max()}.")


def check_array(values: object, name: str, axes: str) -> np.ndarray:
    """``values`` as an array with one axis per letter of ``axes``; ``ValueError`` if it is not, is empty or has NaN."""
    array = np.asarray(values)
    if array.ndim != len(axes) or not array.size:
        raise ValueError(f"{name} must be a non-empty [{', '.join(axes)}] array, got shape {array.shape}.")
    if array.dtype.kind not in "biuf" or np.isnan(array).any():
        raise ValueError(f"{name} must hold numbers without NaN, got {array.dtype} {array.ravel()[:4]}...")
    return array


def percent(shares: object, name: str, axes: str) -> np.ndarray:
    """Shares within 0..1 in per cent; ``ValueError`` for values outside or another number of axes."""
    array = check_array(shares, name, axes)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} must be shares within 0..1, got values from {array.min():.4g} to {array.max():.4g}.")
    return 100.0 * array


def thin(count: int, most: int, what: str) -> tuple[np.ndarray, str]:
    """At most ``most`` of ``count`` indices, evenly spaced, and the words that say so.

    >>> thin(10_000, 3, "neurons")
    (array([   0, 5000, 9999]), '3 of 10,000 neurons, evenly spaced')
    """
    if most < 1:
        raise ValueError(f"at least one of the {what} must be shown, got a maximum of {most}.")
    kept = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    return kept, f"All {count:,} {what}" if len(kept) == count else f"{len(kept)} of {count:,} {what}, evenly spaced"


def has_field(record: object, name: str) -> bool:
    """True if a mapping has that entry, or an object that attribute."""
    return name in record if isinstance(record, Mapping) else hasattr(record, name)


def field(record: object, name: str, *default: object) -> object:
    """An entry of a mapping or an attribute of an object; ``ValueError`` if it is missing and has no default."""
    if not has_field(record, name):
        if default:
            return default[0]
        raise ValueError(f"this record has no {name!r}: {record!r}.")
    return record[name] if isinstance(record, Mapping) else getattr(record, name)


def si(values: np.ndarray, unit: str) -> tuple[np.ndarray, str]:
    """Values and unit scaled to the prefix that suits the largest; per cent take none.

    >>> si(np.array([2.5e-9, 1e-8]), "J")
    (array([ 2.5, 10. ]), 'nJ')
    """
    largest = np.abs(values).max()
    power = 0 if unit == "%" or not largest else int(np.clip(3 * np.floor(np.log10(largest) / 3), -12, 12))
    return values / 10.0**power, _PREFIXES[power] + unit


def number(value: float | None, spec: str = ".4g") -> str:
    """A number as text, with a real minus sign and ∞; a dash for None.

    >>> number(-12.345, ",.2f"), number(float("-inf")), number(None)
    ('−12.35', '−∞', '–')
    """
    return "–" if value is None else f"{value:{spec}}".replace("inf", "∞").replace("-", "−")


def with_unit(value: float, unit: str) -> str:
    """One value with its unit.

    >>> with_unit(412_300, ""), with_unit(1.2e-6, "J")
    ('412.3 k', '1.2 µJ')
    """
    scaled, prefixed = si(np.array([value]), unit)
    return f"{scaled[0]:.4g} {prefixed}".strip()
