"""What a cell is and scores, in words and as a table: what ``CellExplorer`` shows beside the graph."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import numpy as np

from ..cells import Cell
from ..figures.style import OP_COLOURS, number, with_unit
from ..lab.cell_measures import CellMeasures


def change(now: float | None, before: float | None) -> str:
    """By how much a score rose or fell, with a sign of its own for each; nothing without two finite scores.

    >>> change(3.0, 1.5), change(1.0, 1.0), change(1.0, float("-inf"))
    ('▲ 1.50', '= 0.00', '')
    """
    if now is None or before is None or not (math.isfinite(now) and math.isfinite(before)):
        return ""
    by = round(now - before, 2)
    return f"{'▲' if by > 0 else '▼' if by < 0 else '='} {abs(by):,.2f}"


def facts(
    found: CellMeasures, before: CellMeasures | None = None, *, row: Mapping[str, object] | None = None
) -> dict[str, tuple[str, str]]:
    """Value and remark by name; ``before``: whose scores are compared, ``row``: what a training of the cell gave."""
    cell, paths = found.cell, found.cell.conv_path_lengths()
    scored = "no scorer" if found.sahd is None else ""
    scores = {"SAHD score": "sahd", "HD score": "hd"} | ({"SWAP score": "swap"} if found.swap is not None else {})
    rows = {}
    for name, field in scores.items():
        now, then = getattr(found, field), before and getattr(before, field)
        rows[name] = number(now, ",.2f"), scored or change(now, then)
    if row:
        rows["Test accuracy"] = f"{row['test_accuracy']:.1%}", "after training"
    rows["Parameters"] = "–" if found.parameters is None else f"{found.parameters:,}", scored or "whole network"
    rows["Convolutions"] = str(found.num_conv_ops), _conv_remark(cell)
    rows["Longest conv path"] = ("–", "no path!") if paths is None else (str(paths[1]), "forward edges")
    if found.rates:
        mean = np.mean([rate.mean() for rate in found.rates.values()])
        rows["Firing rate"] = f"{100 * mean:.1f} %", "mean of the layers"
    if found.synops is not None:
        rows["SynOps"] = with_unit(found.synops, ""), "per sample, untrained"
    return rows


def _conv_remark(cell: Cell) -> str:
    convs, live = [edge for edge, op in cell.edge_ops.items() if op.is_conv], set(cell.live_edges)
    lost = sum(edge not in live for edge in convs)
    unfed = sum(edge in live and edge.source not in cell.fed_nodes for edge in convs)
    remarks = [f"{lost} reach nothing"] * (lost > 0) + [f"{unfed} get no input"] * (unfed > 0)
    return ", ".join(remarks) or "per cell"


def facts_html(
    shown: Mapping[str, tuple[str, str]], cell: Cell, *, waiting: bool = False, other: tuple[str, Mapping] | None = None
) -> str:
    """Facts and the matrix form as HTML (styles: cell_graph.css).

    ``waiting``: the scores are of an older cell. ``other``: name and facts of a second cell, in a column of its own.
    """
    name_of_other, others = other or ("", {})
    lines = []
    for name in {**shown, **others}:
        value, remark = shown.get(name, ("–", ""))
        kind, late = ("score", waiting) if name.endswith("score") else ("count", False)
        values = f'<td class="{kind}{" late" if late else ""}">{value}</td>'
        values += f'<td class="{kind}">{others.get(name, ("–",))[0]}</td>' if other else ""
        remark = "scoring …" if late else html.escape(remark)
        lines.append(f'<tr><th scope="row">{name}</th>{values}<td class="remark">{remark}</td></tr>')
    heads = f'<th scope="col">this cell</th><th scope="col">{html.escape(name_of_other)}</th>'
    head = f"<thead><tr><td></td>{heads}<td></td></tr></thead>" if other else ""
    table = f'<table class="facts">{head}<tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="lightsnn-facts">{table}<div>{_matrix_html(cell)}</div></div>'


def _matrix_html(cell: Cell) -> str:
    try:
        matrix = cell.to_matrix()
    except ValueError as error:
        return f'<p class="remark">No matrix form: {html.escape(str(error))}</p>'
    codes = {int(matrix[edge.source, edge.target]): op for edge, op in sorted(cell.edge_ops.items())}
    rows = ["<td></td>" + "".join(f'<th scope="col">{node}</th>' for node in range(cell.num_nodes))]
    for source, row in enumerate(matrix.tolist()):
        slots = [f'<td style="--op: {OP_COLOURS[codes[code]]}">{code}</td>' if code else "<td>0</td>" for code in row]
        rows.append(f'<th scope="row">{source}</th>{"".join(slots)}')
    table = f'<table class="matrix">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'
    legend = ", ".join(f"{code} {codes[code]}" for code in sorted(codes))
    return f'{table}<p class="remark">Matrix form: row = from, column = to; {legend}.</p>'
