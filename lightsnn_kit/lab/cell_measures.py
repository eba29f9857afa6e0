"""What a cell is and scores, as one record: scores, kernels, firing rates, parameters and operations.

One statistics pass gives both scores, the kernel and the firing rates. Torch comes with the scorer that is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..cells import Cell
from ..spaces import CellSpace, OpMask


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


def as_array(values: object) -> np.ndarray:
    """An array of what may be a torch tensor on any device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


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
