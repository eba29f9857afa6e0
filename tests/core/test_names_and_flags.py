"""Yes-or-no settings, and cells given as their users hold them, at `Cell.parse`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightsnn_kit.cells import Cell
from lightsnn_kit.networks import NetworkConfig
from lightsnn_kit.training import TrainConfig

MATRIX = [[0, 3, 0, 3], [0, 0, 3, 0], [2, 0, 0, 2], [0, 2, 0, 0]]


@pytest.mark.parametrize("value", ["no", "false", None, [], 2, 0.0, np.array([True])], ids=repr)
def test_what_is_neither_yes_nor_no_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="flip must be True or False"):
        TrainConfig(flip=value)
    with pytest.raises(ValueError, match="events must be True or False"):
        NetworkConfig(input_shape=(2, 32, 32), num_classes=2, events=value)


@pytest.mark.parametrize("value", [True, 1, np.True_, np.int8(1), torch.tensor(True)], ids=repr)
def test_every_kind_of_yes_is_plain(value: object) -> None:
    assert TrainConfig(flip=value).flip is True
    assert NetworkConfig(input_shape=(2, 32, 32), num_classes=2, events=value).events is True


@pytest.mark.parametrize(
    "value",
    [
        MATRIX,
        tuple(map(tuple, MATRIX)),
        np.array(MATRIX),
        torch.tensor(MATRIX).float(),
        ["0303", "0030", "2002", "0200"],
        "0303 0030 2002 0200",
    ],
    ids=lambda value: type(value).__name__,
)
def test_parse_reads_each_form_that_its_error_names(value: object) -> None:
    assert Cell.parse(value) == Cell.from_matrix(MATRIX)


def test_parse_still_refuses_other_lists() -> None:
    with pytest.raises(ValueError, match="a SNASNet matrix is square"):
        Cell.parse([1, 2, 3])
