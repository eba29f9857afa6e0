"""One JupyterLab and one browser for all tests here; without chromium they are skipped, or fail where required."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator

import pytest

from .lab import PICTURES, Lab, chromium, running_lab

MISSING = "needs chromium and playwright: apt-get install chromium, and make setup"
_measured: list[str] = []


def required() -> bool:
    """Whether a missing browser is a failure, not a reason to skip."""
    return os.environ.get("CI") == "true" or os.environ.get("LIGHTSNN_REQUIRE_BROWSER") == "1"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A folder of its own that looks like a project, so that runs of the notebooks stay in it."""
    if not (chromium() and importlib.util.find_spec("playwright")):
        pytest.fail(MISSING) if required() else pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    with running_lab(folder) as running:
        yield running
    _measured.append(f"pictures are in {PICTURES}")


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """Tell a measured figure at the end of the tests."""
    return _measured.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _measured:
        terminalreporter.write_line(f"browser: {line}")
