"""Cells that these tests edit are noted in a folder of the test, not in the checkout's ``runs``."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightsnn_kit.widgets import CellExplorer


@pytest.fixture(autouse=True)
def _cells_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CellExplorer.__init__.__kwdefaults__, "folder", tmp_path / "noted")
