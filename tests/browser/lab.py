"""JupyterLab on a free local port and a headless chromium that looks at it, for the tests beside this file."""

from __future__ import annotations

import ast
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
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "runs" / "browser"
TIMEOUT = 120  # seconds for anything a page is waited for; a busy machine may need most of them
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")
VIEWPORT = {"width": 1280, "height": 1000}
SETTINGS = {  # nothing that asks, fetches, saves by itself or leaves cells out of the page
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def chromium() -> str | None:
    """The path of chromium, None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Lab:
    """A server and a browser, both running; made by `running_lab`. ``folder`` holds the copies that are opened."""

    def __init__(self, base: str, token: str, folder: Path, context: BrowserContext) -> None:
        self.base, self.token, self.folder, self.page = base, token, folder, context.pages[0]
        self.page.set_default_timeout(1000 * TIMEOUT)
        self.requests: list[str] = []  # to anywhere but the server
        self.errors: list[str] = []  # of the console, and uncaught
        own = (base, base.replace("http", "ws"), "data:", "blob:", "file:")
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
        while not (len(found := root.evaluate(_PLOTS)) == exactly and all(plot["marks"] for plot in found)):
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
    let shown;
    for (let i = 0; i < 1200; i++) {
        shown = app.shell.currentWidget;
        if (shown?.context?.path === name) break;
        await new Promise(go => setTimeout(go, 50));
    }
    await shown.context.ready; await shown.revealed; await shown.sessionContext.ready;
    await shown.sessionContext.session.kernel.info;
}"""
_RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.commands.execute('notebook:run-all-cells');
    const cells = app.shell.currentWidget.content.widgets.filter(cell => cell.model.type === 'code');
    const skipped = ({executionCount, sharedModel}) => executionCount === null && sharedModel.source.trim();
    return cells.flatMap(({model}) => [
        ...(skipped(model) ? ['not run: ' + model.sharedModel.source] : []),
        ...model.outputs.toJSON().filter(o => o.output_type === 'error' || o.name === 'stderr')
            .map(o => o.ename ? `${o.ename}: ${o.evalue}` : [o.text].flat().join('')),
    ]);
}"""
_PYTHON = """async (expression) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const user_expressions = {value: `__import__("json").dumps(${expression})`};
    const request = {code: '', silent: true, store_history: false, user_expressions};
    const reply = await kernel.requestExecute(request).done;
    return reply.content.user_expressions.value;
}"""
_PLOTS = """(root) => [...root.querySelectorAll('.js-plotly-plot')].map(plot => {
    const box = plot.getBoundingClientRect();
    const marks = '.cartesianlayer .mlayer path, .cartesianlayer .mlayer image, .cartesianlayer .mlayer text';
    return {
        width: box.width, height: box.height, traces: plot.data?.length ?? 0,
        marks: plot.querySelectorAll(marks).length, background: plot._fullLayout?.paper_bgcolor,
        title: plot._fullLayout?.title?.text ?? '',
    };
})"""
_NAMES = """(root) => {
    const name = part => part.ariaLabel || part.title || [...part.labels ?? []].map(label => label.textContent).join('')
        || (part.matches('button, summary') ? part.textContent : '');
    return [...root.querySelectorAll('button, input, select, textarea, summary, a[href], [tabindex]')]
        .filter(part => part.tabIndex >= 0 && part.checkVisibility())
        .map(part => [name(part).trim(), part.closest('[class*="lightsnn-"]').className + ' ' + part.tagName]);
}"""
# The time of the last change below `root` after `act`, once nothing has changed for half a second.
_SETTLE = """async (root, [selector, key]) => {
    const target = root.querySelector(selector);
    if (!target) throw new Error('nothing matches ' + selector);
    target.focus();
    const redrawn = new Set();
    const plots = [...root.querySelectorAll('.js-plotly-plot')];
    let last = 0;
    const listeners = plots.map((plot, i) => [plot, () => { redrawn.add(i); last = performance.now(); }]);
    listeners.forEach(([plot, done]) => plot.on('plotly_afterplot', done));
    const observer = new MutationObserver(() => { last = performance.now(); });
    observer.observe(root, {subtree: true, childList: true, characterData: true, attributes: true});
    const begun = performance.now();
    last = begun;
    target.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    while (performance.now() - last < 500 || last - begun < 5 && performance.now() - begun < 5000)
        await new Promise(go => setTimeout(go, 20));
    observer.disconnect();
    listeners.forEach(([plot, done]) => plot.removeListener('plotly_afterplot', done));
    return {milliseconds: last - begun, redrawn: redrawn.size, plots: plots.length};
}"""


@dataclass(frozen=True)
class Notebook:
    """An open notebook: what its page shows, and what its kernel holds."""

    lab: Lab
    name: str

    @property
    def page(self) -> Page:
        """The browser's page."""
        return self.lab.page

    @property
    def panel(self) -> Locator:
        """The notebook's part of the page."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def run_all(self) -> None:
        """Run all cells and wait for the last; no cell may end in an error, write to stderr or be left out."""
        assert self.page.evaluate(_RUN_ALL) == []

    def python(self, expression: str) -> object:
        """The value of an expression in the kernel (anything that JSON can hold)."""
        reply = self.page.evaluate(_PYTHON, expression)
        assert reply["status"] == "ok", f"{expression}: {reply.get('ename')}: {reply.get('evalue')}"
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))

    def widget(self, kind: str) -> str:
        """An expression for the newest widget of that class in the kernel."""
        every = "__import__('ipywidgets').widgets.widget._instances.values()"  # no public list of live widgets is left
        return f"[widget for widget in {every} if type(widget).__name__ == {kind!r}][-1]"

    def draws(self, part: str) -> int:
        """How often a plot or graph has been drawn."""
        return int(self.panel.locator(f"{part}[data-draws]").first.get_attribute("data-draws"))

    def until(self, check: Callable[[], object], *, seconds: float = 60) -> object:
        """The first true value of ``check()``; its last value is told if none comes."""
        end = time.monotonic() + seconds
        while not (value := check()):
            assert time.monotonic() < end, f"still {value!r} after {seconds} s"
            self.page.wait_for_timeout(50)
        return value

    def changes(self, look: Callable[[], object], act: Callable[[], object]) -> object:
        """Do ``act`` and wait until ``look()`` is another than before; returns what it is then."""
        before = look()
        act()
        self.until(lambda: look() != before)
        return look()

    def plots(self, root: str = ".jp-Notebook") -> list[dict]:
        """Size, number of traces and of drawn marks, background and title of every plotly figure below ``root``."""
        return self.panel.locator(root).first.evaluate(_PLOTS)

    def check_plots(self, root: str = ".jp-Notebook", *, at_least: int = 1) -> list[dict]:
        """Wait until at least so many figures are drawn, none of them empty."""

        def drawn() -> list[dict]:
            found = self.plots(root)
            return found if len(found) >= at_least and all(plot["marks"] for plot in found) else []

        found = self.until(drawn, seconds=TIMEOUT)
        assert all(plot["traces"] and plot["width"] > 100 and plot["height"] > 100 for plot in found)
        return found

    def settle(self, root: str, selector: str, key: str) -> dict:
        """Press a key on a part of a widget; milliseconds to the last change below ``root``, and plots redrawn."""
        return self.panel.locator(root).first.evaluate(_SETTLE, [selector, key])

    def show_theme(self, theme: str) -> None:
        """Switch JupyterLab's theme."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", THEMES[theme]
        )
        light = json.dumps(theme == "light")
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")

    def check_names(self, root: str) -> None:
        """Everything in a widget that can have the focus has a name for screen readers, and nothing uploads data."""
        names = self.panel.locator(root).first.evaluate(_NAMES)
        assert len(names) > 0
        assert [place for name, place in names if not name] == []
        assert [name for name, _ in names if "share" in name.lower() or "cloud" in name.lower()] == []

    def pictures(self, name: str, root: str) -> None:
        """Pictures of a widget in both themes; its figures must follow the theme, and its controls be named."""
        self.check_names(root)
        for theme in THEMES:
            self.show_theme(theme)
            self.until(lambda theme=theme: {_theme(plot["background"]) for plot in self.plots(root)} <= {theme})
            self.picture(f"{name}-{theme}", root)

    def picture(self, name: str, root: str) -> Path:
        """Keep a picture of a part of the page."""
        part = self.panel.locator(root).first
        height = round(part.bounding_box()["height"])
        self.page.set_viewport_size(VIEWPORT | {"height": max(VIEWPORT["height"], height + 200)})
        part.scroll_into_view_if_needed()
        self.page.wait_for_timeout(300)  # transitions
        part.screenshot(path=PICTURES / f"{name}.png")
        self.page.set_viewport_size(VIEWPORT)
        return PICTURES / f"{name}.png"


def _theme(background: str) -> str:
    return "dark" if int(background[1:3], 16) < 128 else "light"


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
        context = browser.launch_persistent_context(
            f"{own}/profile", viewport={"width": 1280, "height": 1000}, **options
        )
        stack.callback(context.close)
        yield Lab(base, token, folder, context)


@contextlib.contextmanager
def _server(folder: Path, own: Path) -> Iterator[tuple[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), own / "lab.log"
    (own / "config" / "labconfig").mkdir(parents=True)
    (own / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", "--ServerApp.terminals_enabled=False"]
    command += ["--ContentsManager.pre_save_hook=lightsnn_kit._report.before_saving"]  # as `make lab` does
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


def _environment(own: Path) -> dict[str, str]:
    """No settings, runtime files or extensions of the user; kernels import this checkout."""
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    names |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLOTLY_")}
    folders = {name: str(own / place) for name, place in names.items()}
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
