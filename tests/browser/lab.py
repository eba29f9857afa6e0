"""JupyterLab on a free local port and a headless chromium that looks at it, for the tests beside this file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .notebook import PICTURES, PLOTS, ROOT, TIMEOUT, VIEWPORT, Notebook

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")
SETTINGS = {  # nothing that asks, fetches, saves by itself or leaves cells out of the page
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


def chromium() -> str | None:
    """The path of chromium, None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Lab:
    """A server and a browser, both running; made by `running_lab`. ``folder`` holds the copies that are opened."""

    def __init__(self, base: str, token: str, folder: Path, context: BrowserContext) -> None:
        self.base, self.token, self.folder, self.page = base, token, folder, context.pages[0]
        self.page.set_default_timeout(1000 * TIMEOUT)
        self.requests: list[str] = []  # to anywhere but this machine
        self.errors: list[str] = []  # of the console, and uncaught
        own = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:")
        context.on("request", lambda r: None if r.url.startswith(own) else self.requests.append(r.url))
        context.on("console", lambda message: self._note(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def _note(self, error: str) -> None:
        if not error.startswith("Could not restore the debugger state"):  # a page left while JupyterLab still asks
            self.errors.append(error)

    @contextlib.contextmanager
    def notebook(self, path: str | Path, *, theme: str = "light", **parameters: object) -> Iterator[Notebook]:
        """A copy of a notebook, opened with a kernel; at the end nothing may have failed or left the machine.

        ``parameters`` replace lines of its parameters cell. A path inside ``folder`` is opened as it is.
        """
        path = Path(path)
        name = path.relative_to(self.folder) if path.is_relative_to(self.folder) else self._copy(path, parameters)
        with self.watched(path.stem):
            self.page.goto(f"{self.base}/lab/workspaces/{secrets.token_hex(3)}/tree/{name}?reset&token={self.token}")
            self.page.wait_for_function("() => window.jupyterapp !== undefined")
            self.page.evaluate(_READY, name.as_posix())
            opened = Notebook(self, name.stem)
            opened.show_theme(theme)
            yield opened
            self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    @contextlib.contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """No console error and no request to elsewhere inside; a picture is kept of a failure."""
        self.requests.clear()
        self.errors.clear()
        try:
            yield
            assert self.errors == []
            assert self.requests == []
        except Exception:
            with contextlib.suppress(Exception):
                self.page.screenshot(path=PICTURES / f"failed-{name}.png")
            raise

    def check_plots(self, *, exactly: int) -> list[dict]:
        """Wait until a page without JupyterLab has drawn so many figures, and none is empty."""
        root = self.page.locator("body")
        end = time.monotonic() + TIMEOUT
        while not (len(found := root.evaluate(PLOTS)) == exactly and all(plot["marks"] for plot in found)):
            assert time.monotonic() < end, f"expected {exactly} figures, got {found}"
            self.page.wait_for_timeout(100)
        return found

    def _copy(self, path: Path, parameters: dict[str, object]) -> Path:
        content = json.loads(path.read_text(encoding="utf-8"))
        cell = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
        text = "".join(cell["source"])
        for name, value in parameters.items():
            text, found = re.subn(rf"^{name} = [^#\n]*", f"{name} = {value!r}  ", text, flags=re.MULTILINE)
            assert found == 1, f"{path.name} has no parameter {name!r}"
        cell["source"] = text
        target = self.folder / "notebooks" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(content), encoding="utf-8")
        return target.relative_to(self.folder)


# Only `sessionContext.ready` and `kernel.info` say that cells can be run: the page looks idle long before.
_READY = """async (name) => {
    const app = window.jupyterapp; await app.restored;
    app.shell.collapseLeft();
    let shown;
    for (let i = 0; i < 1200; i++) {
        shown = app.shell.currentWidget;
        if (shown?.context?.path === name) break;
        await new Promise(go => setTimeout(go, 50));
    }
    await shown.context.ready; await shown.revealed; await shown.sessionContext.ready;
    await shown.sessionContext.session.kernel.info;
}"""


@contextlib.contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on ``folder`` with its own settings directories, and chromium; both end with the block."""
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("failed-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as own, contextlib.ExitStack() as stack:
        base, token = stack.enter_context(_server(folder, Path(own)))
        browser = stack.enter_context(sync_playwright()).chromium
        options = {"executable_path": chromium(), "headless": True, "args": FLAGS}
        context = browser.launch_persistent_context(f"{own}/profile", viewport=VIEWPORT, **options)
        stack.callback(context.close)
        yield Lab(base, token, folder, context)


@contextlib.contextmanager
def bare_lab(folder: Path, beside: Lab) -> Iterator[Lab]:
    """A JupyterLab as it comes: no settings of these tests, nothing that installing the kit puts into its folders."""
    with (
        tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as own,
        _server(folder, Path(own), bare=True) as (base, token),
    ):
        yield (bare := Lab(base, token, folder, beside.page.context))
        bare.page.goto("about:blank")  # it would go on calling for a server that is about to end


@contextlib.contextmanager
def _server(folder: Path, own: Path, *, bare: bool = False) -> Iterator[tuple[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), own / "lab.log"
    (own / "config" / "labconfig").mkdir(parents=True)
    settings = own / "config" / "labconfig" / "default_setting_overrides.json"
    settings.write_text(json.dumps({} if bare else SETTINGS))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", "--ServerApp.terminals_enabled=False"]
    if not bare:
        _install_data_files(own / "installed")
    with log.open("w") as said:
        server = subprocess.Popen(command, env=_environment(own), stdout=said, stderr=said, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield f"http://127.0.0.1:{port}", token
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _install_data_files(target: Path) -> None:
    """What installing this checkout puts below the environment's folder, so that it needs no installing anew."""
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    for folder, sources in files.items():
        (target / folder).mkdir(parents=True)
        for source in sources:
            shutil.copy(ROOT / source, target / folder)


def _environment(own: Path) -> dict[str, str]:
    """No settings, runtime files or extensions of the user; kernels import this checkout."""
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    names |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLOTLY_")}
    folders = {name: str(own / place) for name, place in names.items()}
    folders |= {"JUPYTER_PATH": f"{own}/installed/share/jupyter", "JUPYTER_CONFIG_PATH": f"{own}/installed/etc/jupyter"}
    return inherited | folders | {"JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": str(ROOT)}


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).read()
            return
        time.sleep(0.1)
    raise TimeoutError(log.read_text()[-3000:])
