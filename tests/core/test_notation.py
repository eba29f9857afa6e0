"""Cells in every form in which people hold them, at every door; what is none of these is told which forms are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightsnn_kit.cells import Cell, Edge, as_cell
from lightsnn_kit.lab.saved_cells import load_cell, read_cell
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.notation import FORMS
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.widgets import CellExplorer

CELL = Cell.parse("|conv3x3~0|+|zeroize~0|conv3x3~1|+|conv3x3~0|zeroize~1|conv1x1~2|/|zeroize~1|conv1x1~2|zeroize~3|+|zeroize~2|conv1x1~3|+|zeroize~3|")  # fmt: skip  # noqa: E501
MATRIX = CELL.to_matrix()
ROWS = ["".join(map(str, row)) for row in MATRIX.tolist()]
TENSOR = torch.tensor(MATRIX)
TABLE = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in MATRIX.tolist())

TEXTS = {
    "rows of digits": " ".join(ROWS),
    "line breaks": "\n".join(ROWS) + "\n",
    "carriage returns": "\r\n".join(ROWS),
    "commas": ",".join(ROWS),
    "commas and blanks": ", ".join(ROWS),
    "semicolons": "; ".join(ROWS),
    "bars": "|" + "|".join(ROWS) + "|",
    "extra bars": "|" + " ".join(ROWS) + "|",
    "brackets": "[" + " ".join(ROWS) + "]",
    "byte-order mark": "\ufeff" + " ".join(ROWS),
    "printed list": str(MATRIX.tolist()),
    "printed list of rows": str(ROWS),
    "printed tuple": str(tuple(map(tuple, MATRIX.tolist()))),
    "printed array": str(MATRIX),
    "array's repr": repr(MATRIX),
    "array of floats": repr(MATRIX.astype(np.float32)),
    "printed tensor": str(TENSOR),
    "tensor of floats": str(TENSOR.float()),
    "tensor on a device": str(TENSOR.int()).replace(")", ", device='cuda:0', dtype=torch.int32)"),
    "tensor with a gradient": str(TENSOR.float().requires_grad_()),
    "comma-separated values": "\n".join(",".join(map(str, row)) for row in MATRIX.tolist()),
    "tabs": "\n".join("\t".join(map(str, row)) for row in MATRIX.tolist()),
    "Matlab": "[" + "; ".join(" ".join(map(str, row)) for row in MATRIX.tolist()) + "]",
    "Markdown": TABLE,
}
VALUES = {
    "cell": CELL,
    "array": MATRIX,
    "bytes": MATRIX.astype(np.uint8),
    "float array": MATRIX.astype(float),
    "tensor": TENSOR,
    "float tensor": TENSOR.float(),
    "half tensor with a gradient": TENSOR.half().requires_grad_(),
    "lists": MATRIX.tolist(),
    "lists of floats": MATRIX.astype(float).tolist(),
    "tuples": tuple(map(tuple, MATRIX.tolist())),
    "rows in a list": ROWS,
    "rows in a tuple": tuple(ROWS),
    "rows in an array": np.array(ROWS),
    "digits as text": [list(row) for row in ROWS],
    "arrays in a list": list(MATRIX),
    "tensors in a list": list(TENSOR),
}
CONFIG = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=2, hidden=4, num_steps=1)


def saved(value: object) -> Cell:
    """Through the file of a saved cell, written by hand."""
    Path("cells").mkdir()
    Path("pyproject.toml").touch()  # relative folders start here
    Path("cells/mine.json").write_text(json.dumps({"cell": value}))
    return load_cell(Path("cells"), "mine")


def explored(value: object) -> Cell:
    explorer = CellExplorer(value, space="snasnet")
    explorer.close()
    return explorer.cell


DOORS: dict[str, Callable[[object], Cell]] = {
    "as_cell": as_cell,
    "read_cell": lambda value: read_cell(value)[0],
    "build_network": lambda value: build_network(value, CONFIG).design,
    "explorer": explored,
}


@pytest.mark.parametrize("door", [*DOORS, "parse", "saved"])
@pytest.mark.parametrize("form", TEXTS)
def test_texts(form: str, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (DOORS | {"parse": Cell.parse, "saved": saved})[door](TEXTS[form]) == CELL


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", VALUES)
def test_values(form: str, door: str) -> None:
    assert DOORS[door](VALUES[form]) == CELL


@pytest.mark.parametrize("form", [name for name in VALUES if name != "cell"])
def test_matrices_of_values(form: str) -> None:
    assert Cell.from_matrix(VALUES[form]) == CELL


def test_two_nodes_are_read_as_they_are_written() -> None:
    for text in ("03 10", "03\n10", "[[0, 3], [1, 0]]", "[[0 3]\n [1 0]]", "[03, 10]", "0 3\n1 0"):
        assert str(Cell.parse(text)) == "|conv3x3~0|/|skip~1|", text


WRONG = ["0303", "0300", "0 3 0 0", "0303 0030 2002", "0303 0030 2002 020", "x = [[0, 3], [0, 0]]", "1e3 20", "0-3 00"]
WRONG += ["hello", "conv3x3", "", " ", "|", "||", "0303 0030 2002 020\u0660", [[0.5, 1], [0, 0]], [[True, False]] * 2]
WRONG += [
    [[float("nan"), 0], [0, 0]],
    [[0, 3], [0]],
    [["a", "b"], ["c", "d"]],
    None,
    3,
    {"a": 1},
    b"03 00",
    np.zeros(3),
]
WRONG += [
    np.zeros((0, 0)),
    np.zeros((101, 101)),
    torch.zeros(2, 2, 2),
    [],
    [[]],
    "\x00",
    [None, None],
    {1, 2},
    "03\x0010",
]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:30])
def test_other_texts_name_the_forms(value: object) -> None:
    for door in (as_cell, lambda value: build_network(value, CONFIG)):
        with pytest.raises(ValueError, match="matri") as error:
            door(value)
        assert FORMS in str(error.value)
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "value", ["0303 0030 2002 0209", "3303 0030 2002 0200", [[0, 7], [0, 0]], [[0, -1], [0, 0]], [[0, 1e300], [0, 0]]]
)
def test_codes_that_are_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"codes 0\.\.4 and a zero diagonal"):
        as_cell(value)


@pytest.mark.parametrize(
    "text", ["||skip~0|", "|skip~0||", "||skip~0||", "|skip~0|+", "|skip~0|//|skip~1|", "|skip~0|/"]
)
def test_bars_too_many_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        Cell.parse(text)


MANY = 10**6
HUGE = [sign * MANY for sign in ("1", "[", "0 ", "+", "~", "|", "/", "-", "|skip~0|+", "tensor(", "03 ")] + [
    "(" * MANY + "0"
]


@pytest.mark.parametrize("text", HUGE, ids=lambda text: text[:9])
def test_huge_texts_are_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=r"cell|matrix|malformed") as error:
        Cell.parse(text)
    assert len(str(error.value)) < 2000


def test_deeply_nested_lists_are_refused() -> None:
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    for make in (as_cell, lambda value: Cell(4, value), lambda value: Cell(value, ("skip",)), lambda v: Edge.parse(v)):
        with pytest.raises(ValueError, match=r"expected|got"):
            make(nested)


@pytest.mark.parametrize("nodes", [101, 10**9, 1, 0, -4, 4.0, "4", None, True])
def test_numbers_of_nodes(nodes: object) -> None:
    for make in (lambda: Cell(nodes, ()), lambda: SPACES["lightsnn"].__class__(("skip",), nodes)):
        with pytest.raises(ValueError, match="num_nodes must be a whole number from 2 to 100"):
            make()
