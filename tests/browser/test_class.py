"""The page for a class: Voilà as ``make class`` starts it, with its token alone, without code, its widgets alive."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .accessibility import findings
from .conftest import required
from .lab import ROOT, TIMEOUT, Lab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (importlib.util.find_spec("voila") or required()), reason="needs Voilà: pip install -e '.[class]'"
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a teacher is told to open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = tmp_path_factory.mktemp("class") / "voila.log"
    ready = f"{said.parent}/.lightsnn_kit_class"
    Path(ready).touch()
    command = ["make", "class", f"PY={sys.executable}", f"VENV={said.parent}", "READY=", f"ARGS=--port={port}"]
    with said.open("w") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + TIMEOUT
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\w+", said.read_text())):
            assert server.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.2)
        yield found[0]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_nothing_is_served_without_the_token(address: str) -> None:
    for page in ("/", "/voila/render/explore_scores.ipynb"):
        assert "LIFPlayground" not in (answer := opened(address.partition("/?")[0] + page))
        assert "voila-tree-main" not in answer
    assert "voila-tree-main" in opened(address)  # the list of notebooks, which a script fills


def opened(url: str) -> str:
    """What a visitor without cookies gets."""
    try:
        answer = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url, timeout=TIMEOUT)
        return f"{answer.url}\n{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code}"


def test_the_explorers_are_pages_without_code(lab: Lab, address: str) -> None:
    base, token = address.split("/?")
    lab.requests.clear()
    page = f"{base}/voila/render/explore_scores.ipynb?{token}"
    lab.page.goto(page, wait_until="commit", timeout=4 * 1000 * TIMEOUT)  # Voilà runs the notebook first
    plots = lab.page.locator(".lightsnn-lif .js-plotly-plot .main-svg")
    plots.first.wait_for(timeout=4 * 1000 * TIMEOUT)
    assert lab.page.locator(".jp-InputArea-editor").count() == 0
    assert "import numpy" not in lab.page.locator("body").text_content()
    assert findings(lab.page.locator("html")) == []
    before = lab.page.locator(".lightsnn-lif .lightsnn-plot").first.get_attribute("data-draws")
    handle = lab.page.locator(".lightsnn-lif .noUi-handle").first
    handle.focus()
    handle.press("ArrowRight")
    lab.page.wait_for_function(
        "before => document.querySelector('.lightsnn-lif .lightsnn-plot').dataset.draws !== before", arg=before
    )
    assert [url for url in lab.requests if not url.startswith((base, base.replace("http", "ws")))] == []
