"""Numbers as people hold them: Python's, NumPy's and torch's mean the same; what is none is refused."""

import numpy as np
import pytest
import torch

from lightsnn_kit.checks import real, whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whole_numbers_of_every_type(value):
    number = whole("epochs", value)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [True, np.bool_(True), np.array(True), torch.tensor(True), 3.0, "3", None, [3], 0, 9])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=r"epochs must be a whole number from 1 to 8, got"):
        whole("epochs", value, high=8)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_real_numbers_of_every_type(value):
    number = real("tau", value)
    assert (number, type(number)) == (0.5, float)


@pytest.mark.parametrize(
    "value", [True, torch.tensor(False), "0.5", None, [0.5, 1.0], float("nan"), float("inf"), -1, 2]
)
def test_what_is_no_real_number_is_named(value):
    with pytest.raises(ValueError, match=r"tau must be a finite number from 0 to 1, got"):
        real("tau", value, low=0, high=1)
