"""Pictures of spiking layers: rasters, spike maps, how firing rates are spread, and the input images beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import PALETTE, Theme, check_array, check_binary, finish, percent, theme_of, thin

_MAX_PIXELS = 100_000  # of a map, gaps between pictures included: 1 MB with the numbers of the neurons


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
    colours, spikes = theme_of(theme), check_array(spikes, "spikes", "TN")
    check_binary(spikes)
    steps, count = np.arange(len(spikes)), spikes.shape[1]
    first, last = window or (0, count)
    if not 0 <= first < last <= count:
        raise ValueError(f"the window must lie within neurons 0..{count}, got {first}..{last}.")
    kept, shown = thin(last - first, max_neurons, "neurons")
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


def spike_maps(spikes: object, *, step: int | None = None, theme: str = "light") -> go.Figure:
    """Draw one sample's spikes [T, C, H, W], or [T, N] of a layer without channels, as pictures of 0 and 1.

    ``step=None``: channels below each other (8 at most), all steps side by side; else the grid of channels (64 at
    most) at that step. More channels (or, of large layers, steps) are thinned evenly, and the figure says so; a pixel's
    ``customdata`` is its neuron's number in [C, H, W]. ``ValueError`` for other values or steps.

    >>> spike_maps(np.ones((3, 2, 4, 4))).data[0].z.shape  # 2 channels by 3 steps, with a line between them
    (9, 14)
    """
    colours, spikes = theme_of(theme), np.asarray(spikes)
    flat = spikes.ndim == 2
    spikes = check_array(spikes, "spikes", "TN" if flat else "TCHW")
    check_binary(spikes)
    maps = _fold(spikes) if flat else spikes.astype(np.int32)
    numbers = np.arange(maps[0].size).reshape(maps.shape[1:])  # of the neurons; what was filled up comes last
    if step is not None and not 0 <= step < len(maps):
        raise ValueError(f"step must lie within 0..{len(maps) - 1}, got {step}.")
    most = _MAX_PIXELS // ((maps.shape[2] + 1) * (maps.shape[3] + 1))  # pictures
    steps, words_t = thin(len(maps), max(1, most), "steps") if step is None else (np.array([step]), "")
    most = max(1, min(most // len(steps), 8 if step is None else 64))
    kept, words = thin(maps.shape[1], most, "channels")
    tiles = maps[np.ix_(steps, kept)].swapaxes(0, 1)  # [C, T, H, W]: a row per channel, a column per step
    neurons = np.stack([numbers[kept]] * len(steps), axis=1)
    rows = kept[:, None]  # channels of each row
    if step is not None:
        tiles, neurons = _grid(tiles[:, 0]), _grid(neurons[:, 0])
        rows = np.split(kept, np.arange(tiles.shape[1], len(kept), tiles.shape[1]))
    fig = go.Figure(_mosaic(tiles, neurons, colours))
    _name_tiles(fig, tiles, [] if flat else rows, [] if step is not None else steps)
    words = "All neurons in reading order, folded into rows" if flat else words
    words += "" if len(steps) == len(maps) or step is not None else f", {words_t}"
    rate = 100 * spikes[slice(None) if step is None else step].mean()
    title = "Spike maps, step by step" if step is None else f"Spike maps at step {step} of 0 … {len(maps) - 1}"
    body = int(np.clip(560 * tiles.shape[0] * tiles.shape[2] / (tiles.shape[1] * tiles.shape[3]), 120, 520))
    return finish(fig, theme, title, f"{words}.\nA filled pixel is a spike; {rate:.1f} % fire.", body=body)


def _name_tiles(fig: go.Figure, tiles: np.ndarray, rows: Sequence[np.ndarray], steps: Sequence[int]) -> None:
    """Name the rows of a mosaic by their channels and its columns by their steps, or leave both blank."""
    names = [str(row[0]) if len(row) == 1 else f"{row[0]} … {row[-1]}" for row in rows]
    places = [[(size + 1) * i + (size - 1) / 2 for i in range(64)] for size in tiles.shape[2:]]
    shared = {"showgrid": False, "constrain": "domain", "ticks": ""}
    fig.update_yaxes(tickvals=places[0][: len(names)], ticktext=names, autorange="reversed", scaleanchor="x", **shared)
    fig.update_xaxes(tickvals=places[1][: len(steps)], ticktext=[str(t) for t in steps], **shared)
    fig.update_yaxes(title="channel" if len(rows) else "neurons")
    fig.update_xaxes(title="time step" if len(steps) else "")


def _fold(rows: np.ndarray) -> np.ndarray:
    """[T, N] as pictures [T, 1, H, W] twice as wide as high; what is left over is −1."""
    wide = int(np.ceil(np.sqrt(2 * rows.shape[1])))
    return _fill(rows, -(-rows.shape[1] // wide) * wide, axis=1).reshape(len(rows), 1, -1, wide)


def _grid(pictures: np.ndarray) -> np.ndarray:
    """[C, H, W] as rows of pictures [R, columns, H, W], twice as wide as high; what is left over is −1."""
    columns = int(np.ceil(np.sqrt(2 * len(pictures) * pictures.shape[1] / pictures.shape[2])))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    return _fill(pictures, rows * columns, axis=0).reshape(rows, columns, *pictures.shape[1:])


def _fill(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    missing = [(0, size - values.shape[axis] if i == axis else 0) for i in range(values.ndim)]
    return np.pad(values.astype(np.int32), missing, constant_values=-1)


def _mosaic(tiles: np.ndarray, numbers: np.ndarray, colours: Theme) -> go.Heatmap:
    """Pictures [R, C, H, W] side by side with a gap of one pixel between them; −1 is left blank."""

    def joined(pictures: np.ndarray) -> np.ndarray:
        padded = np.pad(pictures, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1)
        rows, columns, height, width = padded.shape
        joined = padded.swapaxes(1, 2)  # [R, H, C, W]: lines of pixels run through a row of pictures
        return joined.reshape(rows * height, columns * width)[:-1, :-1]

    z = joined(tiles.astype(np.int32))
    heat = go.Heatmap(z=np.where(z < 0, None, z), customdata=joined(numbers.astype(np.int32)), zmin=0, zmax=1)
    heat.update(colorscale=[[0, colours.ramp[0]], [1, PALETTE[0]]], showscale=False, hoverongaps=False)
    return heat.update(hovertemplate="neuron %{customdata}: %{z}<extra></extra>")


def rate_histogram(rates: object, *, bins: int = 20, over: str = "", theme: str = "light") -> go.Figure:
    """Draw how the firing rates [N] of neurons (shares of steps or samples, 0..1) are spread; silent ones stand apart.

    ``over``: words for what the rates are shares of, such as "4 steps". ``ValueError`` for rates outside of 0..1.

    >>> rate_histogram([0, 0, 0.5, 1], bins=2).data[0].y  # per cent of the neurons that are silent
    (50.0,)
    """
    colours, rates = theme_of(theme), percent(rates, "rates", "N")
    silent = 100 * (rates == 0).mean()
    counts, edges = np.histogram(rates[rates > 0], bins=bins, range=(0, 100))
    width, centres = edges[1], (edges[:-1] + edges[1:]) / 2
    fig = go.Figure()
    pattern = {"shape": "/", "fgcolor": colours.surface, "fillmode": "overlay"}
    fig.add_bar(x=[-width], y=[silent], width=width * 0.9, marker={"color": PALETTE[1], "pattern": pattern})
    fig.data[-1].update(name="silent: never fires", text=[f"{silent:.1f} %"], textposition="outside", cliponaxis=False)
    fig.data[-1].update(constraintext="none", textfont_size=12)
    fig.data[-1].hovertemplate = "silent: %{y:.2f} % of the neurons<extra></extra>"
    share = 100 * counts / len(rates)
    fig.add_bar(x=centres, y=share, width=width * 0.9, marker_color=PALETTE[0], name="fires")
    fig.data[-1].hovertemplate = "about %{x:.3g} %: %{y:.2f} % of the neurons<extra></extra>"
    mean = rates.mean()
    fig.add_vline(mean, line={"color": colours.ink, "width": 1, "dash": "dash"})
    said = {"text": f"mean {mean:.1f} %", "showarrow": False, "yref": "y domain", "yanchor": "bottom"}
    fig.add_annotation(x=mean, y=1, xanchor="left" if mean < 70 else "right", **said)
    fig.update_xaxes(title="firing rate (%)", tickvals=[-width, 25, 50, 75, 100], range=[-2 * width, 101])
    fig.update_xaxes(ticktext=["silent", "25", "50", "75", "100"], tickangle=0, showgrid=False)
    fig.update_yaxes(title="neurons (%)", range=[0, 1.15 * max(silent, share.max())])
    note = f"All {len(rates):,} neurons{', over ' * bool(over)}{over};\n{int((rates == 0).sum()):,} of them never fire."
    return finish(fig, theme, "Firing rates of the neurons", note, body=240, room=(18, 46))


def input_images(images: object, *, titles: Sequence[str] = (), theme: str = "light") -> go.Figure:
    """Draw inputs [n, C, H, W] side by side: grey for one channel, colour for three; two are on minus off events.

    Event frames [n, T, 2, H, W] are summed over time. ``ValueError`` for another shape.

    >>> input_images(np.zeros((2, 1, 8, 8)), titles=["a", "b"]).data[1].z.shape
    (8, 8)
    """
    colours, x = theme_of(theme), np.asarray(images)
    x = x.astype(float).sum(1) if x.ndim == 5 else x
    x = check_array(x, "images", "nCHW").astype(float)
    if x.shape[1] not in (1, 2, 3):
        raise ValueError(f"images need 1, 2 or 3 channels, got {x.shape[1]}.")
    fig = make_subplots(cols=len(x), subplot_titles=list(titles) or None, horizontal_spacing=0.04)
    grey = ["#000000", "#ffffff"]
    for i, image in enumerate(x, 1):
        if len(image) == 3:
            shades = image if x.max() > 1 else 255 * image
            fig.add_trace(go.Image(z=shades.transpose(1, 2, 0).clip(0, 255).astype(np.uint8)), row=1, col=i)  # HWC
        else:
            z = image[0] if len(image) == 1 else image[1] - image[0]
            low = x.min() if len(image) == 1 else -np.abs(z).max() or -1
            scale = grey if len(image) == 1 else [PALETTE[1], colours.surface, PALETTE[0]]
            heat = {"zmin": low, "zmax": x.max() if len(image) == 1 else -low, "showscale": False, "colorscale": scale}
            fig.add_heatmap(z=z, row=1, col=i, **heat)
    fig.update_traces(hovertemplate="%{x}, %{y}: %{z}<extra></extra>")
    fig.update_xaxes(visible=False, constrain="domain")
    fig.update_yaxes(visible=False, constrain="domain", autorange="reversed")
    for i in range(1, len(x) + 1):
        fig.update_yaxes(scaleanchor="x" if i == 1 else f"x{i}", col=i)
    return finish(fig, theme, "Input", body=180, room=(20, 10))
