"""What several widgets share: rows that wrap where the page is narrow, and records checked on the way in."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np

from ..figures.style import with_unit
from ..lab.cell_measures import as_array

ROW_COLUMNS: dict[str, Callable[[Mapping[str, object]], str]] = {
    "convolutions": lambda row: str(row["convs"]),
    "test accuracy": lambda row: f"{row['test_accuracy']:.1%}",
    "firing rate": lambda row: f"{row['firing_rate']:.1%}",
    "SynOps per sample": lambda row: with_unit(row["synops"], ""),
    "energy per sample": lambda row: with_unit(1e-12 * row["energy_pj"], "J"),
    "parameters": lambda row: f"{row['parameters']:,}",
    "training": lambda row: f"{row['seconds']['train']:.1f} s",
}
"""What a table of rows shows: heading -> the words for a row of ``lab.rows``."""


def table_html(
    heads: Sequence[str], body: Sequence[Sequence[object]], *, caption: str, label: str, marked: Sequence[int] = ()
) -> str:
    """A table as HTML that scrolls where the page is narrow; each row begins with its name, ``marked`` ones are bold.

    >>> "<td" in table_html(("run", "accuracy"), [("a", "93 %")], caption="", label="Runs")
    True
    """
    cell = "style='padding:2px 12px;line-height:1.5;white-space:nowrap;text-align:{}{}'"
    head = "".join(
        f"<th scope='col' {cell.format('right' if place else 'left', ';white-space:normal;vertical-align:bottom')}>"
        f"{html.escape(text)}</th>"
        for place, text in enumerate(heads)
    )
    lines = []
    for index, (name, *values) in enumerate(body):
        bold = f";font-weight:{'bold' if index in marked else 'normal'}"
        rest = "".join(f"<td {cell.format('right', bold)}>{html.escape(str(value))}</td>" for value in values)
        lines.append(f"<tr><th scope='row' {cell.format('left', bold)}>{html.escape(str(name))}</th>{rest}</tr>")
    caption = f"<caption style='text-align:left'>{html.escape(caption)}</caption>"
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<div style='overflow-x:auto' role='region' tabindex='0' aria-label='{label}'>{table}</div>"


def flow(*parts: ipywidgets.DOMWidget | list, width: int | None = None) -> ipywidgets.Box:
    """A row that wraps, lists being columns of it; with ``width`` all share it, each at least that many pixels wide."""
    hidden = {"overflow": "hidden"}
    widgets = [ipywidgets.VBox(part, layout=hidden) if isinstance(part, list) else part for part in parts]
    for widget in widgets if width else ():
        widget.layout.flex, widget.layout.min_width = f"1 1 {width}px", "0"
    layout = {"flex_flow": "row wrap", "align_items": "flex-start" if width else "center", "width": "100%"}
    return ipywidgets.Box(widgets, layout=layout)


def layer_record(record: Mapping[str, object], name: str) -> dict[str, np.ndarray]:
    """Arrays [T, B, ...] by layer; ``ValueError`` for none, or if the layers do not agree in T and B."""
    arrays = {layer: as_array(values) for layer, values in record.items()}
    sizes = {layer: array.shape[:2] for layer, array in arrays.items()}
    if not arrays or len(set(sizes.values())) > 1 or any(a.ndim < 3 or not a.size for a in arrays.values()):
        raise ValueError(f"{name} must map layers to arrays [T, B, ...] of one T and B; got {sizes or 'none'}.")
    return arrays


def images_by_sample(images: object | None, count: int) -> np.ndarray | None:
    """Images [B, C, H, W], or of event frames [T, B, 2, H, W] those of each sample [B, T, 2, H, W]."""
    array = None if images is None else as_array(images)
    array = array.swapaxes(0, 1) if array is not None and array.ndim == 5 else array
    return one_per_sample(array, "images", count)


def sample_name(sample: int, labels: np.ndarray | None) -> str:
    """A sample in words, with its class where that is known."""
    return f"sample {sample}" + ("" if labels is None else f" (class {labels[sample]})")


def one_per_sample(values: object | None, name: str, count: int) -> np.ndarray | None:
    """Values as an array of one entry per sample, or None; ``ValueError`` for another length."""
    array = None if values is None else as_array(values)
    if array is not None and array.shape[:1] != (count,):
        raise ValueError(f"{name} must hold one entry per sample, {count}; got shape {array.shape}.")
    return array
