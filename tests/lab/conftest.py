"""A run folder for the tests of this door."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightsnn_kit.lab import runs
from lightsnn_kit.lab.runs import RunFolder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Empty; its provenance is made up, since asking git takes most of the time."""
    monkeypatch.setattr(runs, "provenance", lambda: {"started": "now", "packages": {}})
    return RunFolder.open(tmp_path / "run")
