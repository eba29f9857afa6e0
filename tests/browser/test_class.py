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
from .lab import PICTURES, ROOT, TIMEOUT, VIEWPORT, Lab

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
        assert "lightsnn-explorers" not in answer
    assert (listed := opened(address)).count("/voila/render/explore_") == 2
    assert "https://" not in listed


def opened(url: str) -> str:
    """What a visitor without cookies gets."""
    try:
        answer = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url, timeout=TIMEOUT)
        return f"{answer.url}\n{answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code}"


PAGES = {  # a notebook: a plot that follows, a control, and a key for it
    "explore_scores": (".lightsnn-lif .lightsnn-plot", ".lightsnn-lif .noUi-handle", "ArrowRight"),
    "explore_cells": (".lightsnn-cell-scores-kernel", '.lightsnn-cell-explorer-graph [data-key="3<-0"]', "ArrowDown"),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_explorers_are_pages_without_code(lab: Lab, address: str, name: str) -> None:
    base, token = address.split("/?")
    plot, control, key = PAGES[name]
    lab.requests.clear()
    page = f"{base}/voila/render/{name}.ipynb?{token}"
    lab.page.goto(page, wait_until="commit", timeout=4 * 1000 * TIMEOUT)  # Voilà runs the notebook first
    lab.page.locator(f"{plot} .js-plotly-plot .main-svg").first.wait_for(timeout=4 * 1000 * TIMEOUT)
    assert lab.page.locator(".jp-InputArea-editor").count() == 0
    assert "import numpy" not in lab.page.locator("body").text_content()
    for width in (1000, 700, VIEWPORT["width"]):
        lab.page.set_viewport_size(VIEWPORT | {"width": width})
        lab.page.wait_for_function(
            "() => [...document.querySelectorAll('.js-plotly-plot')].every(plot => plot.offsetHeight > 100)"
        )
        lab.page.screenshot(path=PICTURES / f"class-{name}-{width}.png")
    assert not (found := findings(lab.page.locator("html"))), found
    before = lab.page.locator(plot).first.get_attribute("data-draws")
    part = lab.page.locator(control).first
    part.focus()
    part.press(key)
    lab.page.wait_for_function(
        "([plot, before]) => document.querySelector(plot).dataset.draws !== before", arg=[plot, before]
    )
    assert lab.requests == []
    lab.page.goto("about:blank")  # it would go on calling for a server that is about to end
