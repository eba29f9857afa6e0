"""Names of classes and masked values: what has no order or does not count is refused, not guessed."""

from __future__ import annotations

import numpy as np
import pytest

from lightsnn_kit.data import Splits

X = np.arange(60 * 64, dtype=np.float32).reshape(60, 1, 8, 8)
Y = np.arange(60) % 3


def splits(x: object = X, y: object = Y, **options: object) -> Splits:
    return Splits.from_tensors(name="mine", train=(x, y), test=(x, y), **options)


@pytest.mark.parametrize(
    "names", [{"a", "b", "c"}, {0: "a", 1: "b", 2: "c"}, "abc"], ids=lambda one: type(one).__name__
)
def test_names_without_an_order_are_refused(names: object) -> None:
    with pytest.raises(ValueError, match="a list of names in the order of the labels"):
        splits(class_names=names)


def test_names_in_arrays_are_read() -> None:
    assert splits(class_names=np.array(["a", "b", "c"])).class_names == ("a", "b", "c")


def test_masked_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x has masked values.*x\.filled\(0\)"):
        splits(np.ma.masked_less(X, 100))
    with pytest.raises(ValueError, match="y has masked values"):
        splits(y=np.ma.masked_equal(Y, 1))
    assert len(splits(np.ma.masked_less(X, -1)).train) == 48  # a mask that hides nothing


def test_file_names_instead_of_samples_get_other_advice_than_labels() -> None:
    with pytest.raises(ValueError, match="Read the samples first"):
        splits([f"{number}.png" for number in range(60)])
