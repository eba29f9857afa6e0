"""An open notebook as the tests see it: its page, its kernel, and what passes between them."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .accessibility import findings

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .lab import Lab

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "runs" / "browser"
TIMEOUT = 120  # seconds for anything a page is waited for; a busy machine may need most of them
VIEWPORT = {"width": 1280, "height": 1000}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

_RUN = """async (only) => {
    const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
    if (only !== null) notebook.activeCellIndex = only;
    await app.commands.execute(only === null ? 'notebook:run-all-cells' : 'notebook:run-cell');
    const cells = notebook.widgets.filter((cell, i) => cell.model.type === 'code' && (only === null || i === only));
    const skipped = ({executionCount, sharedModel}) => executionCount === null && sharedModel.source.trim();
    return cells.flatMap(({model}) => [
        ...(skipped(model) ? ['not run: ' + model.sharedModel.source] : []),
        ...model.outputs.toJSON().filter(o => o.output_type === 'error' || o.name === 'stderr')
            .map(o => o.ename ? `${o.ename}: ${o.evalue}` : [o.text].flat().join('')),
    ]);
}"""
_RESTART = """async () => {
    const session = window.jupyterapp.shell.currentWidget.sessionContext;
    await session.session.kernel.restart(); await session.session.kernel.info;
}"""
_PYTHON = """async (expression) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const user_expressions = {value: `__import__("json").dumps(${expression})`};
    const request = {code: '', silent: true, store_history: false, user_expressions};
    const reply = await kernel.requestExecute(request).done;
    return reply.content.user_expressions.value;
}"""
PLOTS = """(root) => [...root.querySelectorAll('.js-plotly-plot')].map(plot => {
    const box = plot.getBoundingClientRect();
    const marks = '.cartesianlayer .mlayer path, .cartesianlayer .mlayer image, .cartesianlayer .mlayer text';
    return {
        width: box.width, height: box.height, traces: plot.data?.length ?? 0,
        marks: plot.querySelectorAll(marks).length, background: plot._fullLayout?.paper_bgcolor,
        title: plot._fullLayout?.title?.text ?? '',
    };
})"""
# Names of the parts below `root` that can have the focus, and whether `focused` alone is asked for.
_NAMES = """(root, focused) => {
    const name = part => part.ariaLabel || part.title || [...part.labels ?? []].map(label => label.textContent).join('')
        || (part.matches('button, summary') ? part.textContent : '');
    const place = part => part.closest('[class*="lightsnn-"]').className + ' ' + part.tagName;
    const active = document.activeElement;
    if (focused) return root.contains(active) ? [name(active).trim(), place(active)] : null;
    return [...root.querySelectorAll('button, input, select, textarea, summary, a[href], [tabindex]')]
        .filter(part => part.tabIndex >= 0 && !part.disabled && part.checkVisibility())
        .map(part => [name(part).trim(), place(part)]);
}"""
# Parts that hide their insides from screen readers, but have insides that can have the focus.
_NESTED = """root => [...root.querySelectorAll('[role=img], [role=button], button')]
    .filter(part => part.querySelector('button, input, select, textarea, a[href], [tabindex]'))
    .map(part => part.outerHTML.slice(0, 200))"""
# Ends once nothing below `root` has changed for half a second.
_QUIET = """root => new Promise(done => {
    const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(end, 500); });
    const end = () => { watch.disconnect(); done(); };
    let timer = setTimeout(end, 500);
    watch.observe(root, {subtree: true, childList: true, characterData: true, attributes: true});
})"""
# By how many pixels the title of a plot stands out over its right edge.
_CUT = """root => [...root.querySelectorAll('.js-plotly-plot')].map(plot => plot.querySelector('.gtitle'))
    .filter(Boolean).map(title => title.getBoundingClientRect().right
        - title.closest('.js-plotly-plot').getBoundingClientRect().right)"""
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
        assert not (said := self.page.evaluate(_RUN, None)), said

    def said(self, cell: int) -> list[str]:
        """Run one cell; its error, and what it wrote to stderr."""
        return self.page.evaluate(_RUN, cell)

    def run(self, cell: int) -> None:
        """Run one cell, under the same conditions as all."""
        assert not (said := self.said(cell)), said

    def restart(self) -> None:
        """Restart the kernel; what is open in the page stays."""
        self.page.evaluate(_RESTART)

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
        return self.panel.locator(root).first.evaluate(PLOTS)

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
        """All that can have the focus has a name for screen readers and is met by the Tab key; nothing uploads data."""
        part = self.panel.locator(root).first
        part.evaluate(_QUIET)  # a plot that is drawn anew takes its buttons, and the focus, with it
        assert part.evaluate(_NESTED) == []
        names = part.evaluate(_NAMES, False)
        assert len(names) > 0
        assert [place for name, place in names if not name] == []
        assert [name for name, _ in names if "share" in name.lower() or "cloud" in name.lower()] == []
        met = []
        part.locator("button:enabled, input:enabled, select:enabled, [tabindex='0']").first.focus()
        while (focused := part.evaluate(_NAMES, True)) and len(met) <= 2 * len(names):
            met.append(focused)
            self.page.keyboard.press("Tab")
        assert [name for name in names if name not in met] == []

    def check_widths(self, root: str, *widths: int) -> None:
        """In windows of these widths, one after the other, every plot keeps its height, and no title is cut."""
        part = self.panel.locator(root).first
        for width in (*widths, VIEWPORT["width"]):
            self.page.set_viewport_size(VIEWPORT | {"width": width})
            self.page.wait_for_timeout(300)
            self.until(lambda: all(plot["height"] > 100 for plot in self.plots(root)), seconds=10)
            self.until(lambda: max(part.evaluate(_CUT), default=0) < 1, seconds=10)

    def pictures(self, name: str, root: str) -> None:
        """Pictures of a widget in both themes: any width, figures of the theme, controls named, nothing for axe."""
        self.check_names(root)
        self.check_widths(root, 1000, 700)
        for theme in THEMES:
            self.show_theme(theme)
            self.until(lambda theme=theme: {_theme(plot["background"]) for plot in self.plots(root)} <= {theme})
            assert not (found := findings(self.panel.locator(root).first)), found
            self.picture(f"{name}-{theme}", root)

    def picture(self, name: str, root: str) -> Path:
        """Keep a picture of a part of the page."""
        part = self.panel.locator(root).first
        height = round(part.bounding_box()["height"])
        self.page.set_viewport_size(VIEWPORT | {"height": max(VIEWPORT["height"], height + 200)})
        part.scroll_into_view_if_needed()
        self.page.mouse.move(2, 500)  # off the figures, whose buttons show under the mouse
        self.page.wait_for_timeout(300)  # transitions
        part.screenshot(path=PICTURES / f"{name}.png")
        self.page.set_viewport_size(VIEWPORT)
        return PICTURES / f"{name}.png"


def _theme(background: str) -> str:
    return "dark" if int(background[1:3], 16) < 128 else "light"
