"""Rows from a file that somebody edited: figures that cannot be are refused, by name."""

from __future__ import annotations

import pytest

from lightsnn_kit.files import RunError, write_json
from lightsnn_kit.lab.results import gather

ROW = {"preset": "p", "dataset": "d", "method": "a", "seed": 0, "quick": False, "stand_in": False}
ROW |= {"test_accuracy": 0.5, "test_samples": 10, "test_correct": 5, "evaluations": 60, "right": "1010101010"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("evaluations", "many"),
        ("evaluations", -1),
        ("test_samples", 0),
        ("test_correct", 11),
        ("test_correct", 2.5),
        ("stand_in", "no"),
        ("quick", None),
        ("test_accuracy", 1.5),
        ("right", "1110101010"),
        ("right", "10101"),
        ("right", "1x1x1x1x1x"),
        ("right", 5),
    ],
)
def test_figures_that_cannot_be(name: str, value: object, tmp_path) -> None:
    write_json(tmp_path / "rows.json", {"rows": [ROW]})
    assert gather(tmp_path / "rows.json") == [ROW]
    write_json(tmp_path / "rows.json", {"rows": [ROW | {name: value}]}, replace=True)
    with pytest.raises(RunError, match=name):
        gather(tmp_path / "rows.json")
