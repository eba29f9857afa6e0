"""SpikeNAS-Bench: trained accuracies of forward cells, from a folder the reader has (no torch).

SpikeNAS-Bench (IEEE TAI 6(6) 2025, doi 10.1109/TAI.2025.3534136; tju-sun-lab/SpikeNAS-Bench) trained all 15,625 cells
of four nodes whose six forward edges hold zeroize, skip or LIF → conv3x3 → BN with threshold 0.5, 1.0 or 1.5, in
SNASNet's macro network (widths 128/256, T = 5, average pooling). Nothing of it is part of this project. Two layouts
are read: the published one, ``<folder>/CIFAR10/<id>/train_process.txt``, and a csv with one row per cell.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from lightsnn_kit.cells import Cell, Edge, Op

ID_EDGES = (Edge(1, 0), Edge(2, 0), Edge(3, 0), Edge(2, 1), Edge(3, 1), Edge(3, 2))  # digits of an id, lowest first
_DIGITS = ((Op.ZEROIZE, None), (Op.SKIP, None), (Op.CONV3X3, 0.5), (Op.CONV3X3, 1.0), (Op.CONV3X3, 1.5))
CHANCE = {"CIFAR10": 10.0, "CIFAR100": 1.0, "TinyImagenet": 0.5}
"""Accuracy of guessing, in percent."""


@dataclass(frozen=True)
class BenchCell:
    """One trained cell: ``thresholds`` by edge in the order of ``cell.ops`` (None without a convolution).

    ``accuracy`` on the test set in percent, after ``epochs``; ``params`` of the whole network.
    """

    id: int
    cell: Cell
    thresholds: tuple[float | None, ...]
    accuracy: float
    params: int
    epochs: int

    @property
    def in_lightsnn_space(self) -> bool:
        """True if every convolution's threshold is 1: one of the 729 forward cells of LightSNN's space."""
        return set(self.thresholds) <= {None, 1.0}


def decode_id(number: int) -> tuple[Cell, tuple[float | None, ...]]:
    """The cell and thresholds of an id: six digits of base 5, one per edge of ``ID_EDGES``, lowest first.

    >>> cell, thresholds = decode_id(3 + 1 * 5)
    >>> str(cell), thresholds
    ('|conv3x3~0|+|skip~0|zeroize~1|+|zeroize~0|zeroize~1|zeroize~2|', (1.0, None, None, None, None, None))
    """
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 5 ** len(ID_EDGES):
        raise ValueError(f"an id of SpikeNAS-Bench is an integer from 0 to {5 ** len(ID_EDGES) - 1}, got {number!r}.")
    digits = {edge: _DIGITS[number // 5**place % 5] for place, edge in enumerate(ID_EDGES)}
    cell = Cell.from_edges({edge: op for edge, (op, _) in digits.items()}, num_nodes=4, backward=False)
    return cell, tuple(digits[edge][1] for edge in cell.edges)


def load_spikenas_bench(folder: str | Path | None = None, *, dataset: str = "CIFAR10") -> tuple[BenchCell, ...]:
    """All cells found in a folder, by id; by default ``$LIGHTSNN_EXTRA_DATA/spikenas-bench``.

    The folder holds csv files named after the data set (``cifar10*.csv``), or the published logs, also below
    ``data/``. ``FileNotFoundError`` says what was looked for, ``ValueError`` names the file and line that is damaged.
    """
    folder = Path(folder) if folder else _default_folder()
    tables = sorted(path for path in folder.glob("*.csv") if path.name.lower().startswith(dataset.lower()))
    logs = [path for base in (folder, folder / "data") for path in (base / dataset).glob("*/train_process.txt")]
    cells = [cell for table in tables for cell in _read_table(table)] or [_read_log(path) for path in logs]
    if not cells:
        raise FileNotFoundError(
            f"no SpikeNAS-Bench in {folder}: looked for {dataset.lower()}*.csv and {dataset}/<id>/train_process.txt. "
            f"Get it from github.com/tju-sun-lab/SpikeNAS-Bench and pass the folder that holds {dataset}/."
        )
    found = {cell.id: cell for cell in cells}
    if len(found) < len(cells):
        raise ValueError(f"{folder} holds {len(cells) - len(found)} cells twice; keep one file per cell.")
    return tuple(found[number] for number in sorted(found))


def made_up_bench(*, step: int = 1) -> tuple[BenchCell, ...]:
    """Every ``step``-th cell of LightSNN's forward space, and the same with thresholds 0.5: accuracies are made up.

    They grow with the longest path and fall with the convolutions beside it, so that a study can be rehearsed without
    the benchmark. What it then finds is no result.

    >>> [(cell.id, cell.accuracy, cell.in_lightsnn_space) for cell in made_up_bench(step=300)]
    [(0, 10.0, True), (676, 81.876, False), (701, 81.801, True), (1282, 83.682, False), (1908, 83.608, True)]
    """
    chosen = list(product(range(3), repeat=len(ID_EDGES)))[::step]  # on each edge zeroize, skip or a convolution
    codes = [(0, 1, conv) for conv in (2, 3)]  # digits of an id: a convolution's threshold is 0.5, or 1.0
    numbers = {sum(code[op] * 5**place for place, op in enumerate(ops)) for ops in chosen for code in codes}
    return tuple(_made_up(number) for number in sorted(numbers))


def _made_up(number: int) -> BenchCell:
    cell, thresholds = decode_id(number)
    paths = cell.conv_path_lengths()
    accuracy = 80 + 2 * paths[1] - 0.2 * cell.num_convs + number % 100 / 1000 if paths else CHANCE["CIFAR10"]
    return BenchCell(number, cell, thresholds, round(accuracy, 3), 0, 0)


def _default_folder() -> Path:
    named = os.environ.get("LIGHTSNN_EXTRA_DATA")
    if not named:
        raise FileNotFoundError("pass the folder of SpikeNAS-Bench, or set LIGHTSNN_EXTRA_DATA to the one above it.")
    return Path(named) / "spikenas-bench"


def _read_table(path: Path) -> Iterator[BenchCell]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                number = int(row["id"])
                cell, thresholds = decode_id(number)
                _check_ops(row, cell, thresholds)
                yield BenchCell(
                    number, cell, thresholds, float(row["test_acc"]), int(row["params"]), int(row["epochs"])
                )
            except (KeyError, ValueError) as error:
                raise ValueError(f"{path}: cannot read the cell {row}: {error}") from error


def _check_ops(row: dict[str, str], cell: Cell, thresholds: tuple[float | None, ...]) -> None:
    """``ValueError`` unless the named ops are those of the id."""
    for edge, threshold in zip(cell.edges, thresholds, strict=True):
        name = str(cell.op(edge)) + (f"@{threshold}" if threshold else "")
        if row[str(edge)] != name:
            raise ValueError(f"edge {edge} has {row[str(edge)]!r}, but id {row['id']} means {name!r}.")


def _read_log(path: Path) -> BenchCell:
    text = path.read_text(encoding="utf-8", errors="replace")
    fields = ("architecture id", r"(\d+)"), ("model parameters", r"(\d+)"), ("test accuracy", r"([\d.]+)")
    found = [re.search(rf"^{name}: *{pattern}\s*$", text, re.MULTILINE) for name, pattern in fields]
    if missing := [name for (name, _), match in zip(fields, found, strict=True) if match is None]:
        raise ValueError(f"{path} has no line '{missing[0]}: <number>': an unfinished training?")
    number, params, accuracy = (match[1] for match in found)
    if number != path.parent.name:
        raise ValueError(f"{path} says architecture id {number}; the folder's name must be the same.")
    epochs = len(re.findall(r"^\d+\.\d+(?:, *[\d.]+|, *nan){4}\s*$", text, re.MULTILINE))
    return BenchCell(int(number), *decode_id(int(number)), float(accuracy), int(params), epochs)
