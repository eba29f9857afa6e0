"""Pages and monitors show what foreign files hold, and obey none of it."""

from __future__ import annotations

import html
import json
from contextlib import closing
from pathlib import Path

import pytest

from lightsnn_kit.lab.notebooks import run_notebook
from lightsnn_kit.widgets import CompareRuns, RunMonitor
from tests.lab.hostile import HOSTILE, TAG, live, make

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("foreign") / "run")


def test_what_is_live_is_found() -> None:
    assert len(live(HOSTILE)) == 4
    assert live(html.escape(HOSTILE)) == []


@pytest.mark.fault
def test_a_report_of_a_foreign_run_obeys_nothing(foreign: Path, tmp_path: Path) -> None:
    parameters = {"run_dir": str(foreign)}
    executed = run_notebook(
        ROOT / "notebooks" / "report.ipynb", output=tmp_path / "report.ipynb", parameters=parameters
    )
    page = executed.with_suffix(".html").read_text(encoding="utf-8")
    assert live(page) == []
    assert page.count("&lt;img src=x") >= 10  # assumptions, seconds, provenance, ...: they are told


@pytest.mark.fault
def test_monitors_of_a_foreign_run_obey_nothing(foreign: Path) -> None:
    (foreign / "job").mkdir()
    (foreign / "job" / "job.json").write_text("{}")
    (foreign / "job" / "log.txt").write_text(HOSTILE)
    (foreign / "job" / "end.json").write_text(json.dumps({"state": TAG, "message": TAG}))
    with closing(RunMonitor(foreign)) as monitor, closing(CompareRuns(foreign)) as compared:
        texts = [part.value for part in (monitor.state, monitor.stages, monitor.last, monitor.printed, monitor.message)]
        texts += [compared.table.value, compared.message.value]
    assert live("".join(texts)) == []
    assert "&lt;img src=x" in texts[0]
    assert "&lt;img src=x" in texts[3]
    assert "&lt;img src=x" in texts[5]
