"""What a cell is and scores, as one record, and as a table: what ``CellExplorer`` shows beside the graph.

One statistics pass gives both scores, the kernel and the firing rates.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..cells import Cell
from ..figures.style import OP_COLOURS, with_unit
from ..spaces import CellSpace, OpMask
from .parts import as_array


@dataclass(frozen=True)
class CellMeasures:
    """Numbers of a cell; those that need a scorer are None without one.

    ``sahd``, ``hd``: log|det K| averaged over the batches; ``kernels``: K [B, B] of the first batch by kind;
    ``rates``: firing rate [T] by layer, mean over samples and batches; ``parameters``: of the network as it is built;
    ``synops``: per sample, of the untrained network, worked out from the rates; ``swap``: where that is the score.
    """

    cell: Cell
    sahd: float | None = None
    hd: float | None = None
    kernels: Mapping[str, np.ndarray] | None = None
    rates: Mapping[str, np.ndarray] | None = None
    parameters: int | None = None
    synops: float | None = None
    swap: float | None = None

    @property
    def num_conv_ops(self) -> int:
        """All convolutions, as the score counts them: also those on edges that reach nothing."""
        return OpMask.from_cell(self.cell).num_conv_ops


def measure_cell(cell: Cell, space: CellSpace, scorer: object | None) -> CellMeasures:
    """Score a cell of a space: ``scorer.statistics(mask)`` gives one ``SpikeStatistics`` per batch.

    ``scorer.supernet``, if there is one, gives the number of parameters.
    """
    if scorer is None:
        return CellMeasures(cell)
    from ..energy import estimate_synops
    from ..scoring import measure  # brings torch, which a scorer has brought already

    wants_swap = getattr(getattr(scorer, "config", None), "proxy", "") == "swap"
    found = measure(scorer, OpMask.from_cell(cell, space), **({"patterns": True} if wants_swap else {}))
    kernels = {kind: as_array(kernel) for kind, kernel in found.kernels.items()}
    rates = {name: as_array(rate).astype(float) for name, rate in found.firing_rate.items()}
    network = getattr(scorer, "supernet", None)
    known = network is not None and not any(op.is_own for op in cell.ops)  # of your own ops the fan-out is not known
    counted = {"synops": estimate_synops(network.config, cell, rates)} if known else {}
    counted |= {"parameters": parameters_of(cell, space, scorer), "swap": found.swap}
    return CellMeasures(cell, found.sahd, found.hd, kernels, _rates_by_source(rates), **counted)


class Measured:
    """What cells of a space measure by one scorer, each of the last ones taken once."""

    def __init__(self, space: CellSpace, scorer: object | None, *, most: int = 100) -> None:
        self.space, self.scorer, self.most = space, scorer, most
        self._found: dict[Cell, CellMeasures] = {}

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._found

    def __getitem__(self, cell: Cell) -> CellMeasures:
        if cell not in self._found:
            self._found[cell] = measure_cell(cell, self.space, self.scorer)
            while len(self._found) > self.most:
                self._found.pop(next(iter(self._found)))
        return self._found[cell]


def parameters_of(cell: Cell, space: CellSpace, scorer: object) -> int | None:
    """Learnable parameters of the cell's network as ``build_network`` builds it: without the dead edges."""
    if getattr(scorer, "supernet", None) is None:
        return None
    from ..scoring import count_parameters

    return count_parameters(scorer.supernet, OpMask.from_cell(cell.live_part(), space))


def layer_title(name: str) -> str:
    """A LIF layer of a supernet in words: those that read one node are equal.

    >>> layer_title("cell1.ops.2<-1:conv3x3.0"), layer_title("down.1")
    ('cell 1, node 1', 'between the cells')
    """
    found = re.match(r"cell(\d)\.ops\.(\d+)<-(\d+):", name)
    return f"cell {found[1]}, node {found[3]}" if found else _NAMES.get(name, name)


def _rates_by_source(firing_rate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rates [T] by layer: all LIF layers that read one node are equal, so they are one row."""
    rows: dict[str, list[np.ndarray]] = {}
    for name, rate in firing_rate.items():
        found = re.match(r"(cell\d)\.ops\.(\d+)<-(\d+):", name)
        rows.setdefault(f"{found[1]}, node {found[3]}" if found else name, []).append(rate)
    order = sorted(rows, key=lambda row: (_PLACES.get(row.partition(".")[0].partition(",")[0], 9), row))
    return {_row_name(row, len(rows[row])): np.mean(rows[row], axis=0) for row in order}


_PLACES = {"cell1": 0, "down": 1, "cell2": 2, "last": 3, "classifier": 4}
_NAMES = {"down.1": "between the cells", "last.1": "after cell 2", "classifier.2": "hidden layer"}


def _row_name(row: str, count: int) -> str:
    if not row.startswith("cell"):
        return _NAMES.get(row, row)
    return f"{row.replace('cell', 'cell ')} ({count} conv{'s' * (count > 1)})"


# ---- the record as a table -------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 2) -> str:
    """A score as text, with a real minus sign and −∞.

    >>> number(-12.345), number(float("-inf")), number(None)
    ('−12.35', '−∞', '–')
    """
    if value is None:
        return "–"
    return "−∞" if value == -math.inf else f"{value:,.{digits}f}".replace("-", "−")


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
        rows[name] = number(now), scored or change(now, then)
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
