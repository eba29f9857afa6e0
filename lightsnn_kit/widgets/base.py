"""The base of all widgets: a static twin, messages instead of tracebacks, the Lab's theme, and no trace after closing.

The kernel may call back from the main thread or from a subshell's: callbacks of one view never run at the same time.
"""

from __future__ import annotations

import asyncio
import html
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import anywidget
import ipywidgets
import plotly.graph_objects as go
import traitlets

from ..figures.style import THEMES
from ..files import RunError
from ..lab.save_menu import SAVE_MENU
from .plot_view import PlotView

WRONG_INPUT = (ValueError, RunError)  # what a guarded block shows as a message; anything else is a bug and raises
_MARKS = {"error": ("⚠", "error"), "note": ("ℹ", "info")}  # symbol, name of the Lab's colour


class _Page(anywidget.AnyWidget):
    """Tells the theme of the page, as JupyterLab marks it on its body, and carries the styles of all widgets.

    It also keeps the notebook from taking keys that are meant for a button or slider (Enter, arrows) as its own, and
    names for screen readers what ipywidgets leaves unnamed: handles of sliders, buttons of players.
    """

    _esm = SAVE_MENU + (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    _css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    theme = traitlets.Unicode("light").tag(sync=True)


class View(ipywidgets.VBox):
    """A widget over pure figures. Subclasses set ``name`` and give ``figure``, ``redraw`` and maybe ``describe``.

    The root carries the CSS classes ``lightsnn`` and ``lightsnn-<name>``, each part ``lightsnn-<name>-<part>``.
    Displayed, a view also leaves its static ``figure()`` in the output, for readers without a kernel.
    """

    name = "view"
    theme = traitlets.Enum(tuple(THEMES), "light")

    def __init__(self, *, theme: str = "light") -> None:
        super().__init__(theme=theme)
        self._undo = ExitStack()
        self._parts: list[ipywidgets.Widget] = []
        self._tasks: set[asyncio.Task] = set()
        self._running: set[Callable[[], Coroutine]] = set()  # of what keeps up with the newest
        self._lock, self._inside = threading.RLock(), False  # of a guarded block
        self._due: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self.message = self.part(ipywidgets.HTML().add_class("lightsnn-message"), "message")
        self._page = self.part(_Page(theme=theme), "page")
        self.add_class("lightsnn").add_class(f"lightsnn-{self.name}")
        self.watch(self._page, lambda theme: self.set_trait("theme", theme), names="theme")
        self.watch(self, lambda _: self.redraw(), names="theme")

    # ---- what a subclass gives

    def figure(self) -> go.Figure:
        """The static picture of what the widget shows now, in its theme."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw all plots anew: the theme has changed."""
        raise NotImplementedError

    def describe(self) -> str:
        """One line of text that stands for the widget where nothing can be drawn."""
        return f"{type(self).__name__} (a widget; .figure() gives its picture)"

    # ---- what a subclass uses

    def part(self, widget: ipywidgets.Widget, name: str) -> ipywidgets.Widget:
        """Mark a widget for tests and styles, and own it: it closes with the view."""
        self._parts.append(widget)
        return widget.add_class(f"lightsnn-{self.name}-{name}") if isinstance(widget, ipywidgets.DOMWidget) else widget

    def drop(self, widget: ipywidgets.Widget) -> None:
        """Close a part that is shown no more."""
        self._parts.remove(widget)
        widget.close()

    def plot(self, name: str, label: str) -> PlotView:
        """A new part that shows figures; ``label`` is its text alternative."""
        return self.part(PlotView(label=label), name)

    def add_control(
        self, name: str, kind: type, value: object, label: str, then: Callable[[], object] | None = None,
        **options: object,
    ) -> ipywidgets.DOMWidget:  # fmt: skip
        """A new part to choose a value, its whole label beside it; ``then()`` is called, guarded, for another value."""
        style = {"description_width": "initial"}
        made = self.part(kind(value=value, description=label, style=style, **options), name)
        if then is not None:
            self.watch(made, lambda _: then())
        return made

    def add_button(self, name: str, text: str, click: Callable[[], object], **options: object) -> ipywidgets.Button:
        """A new button, as wide as its text, that calls ``click()``, guarded."""
        made = self.part(ipywidgets.Button(description=text, **{"layout": {"width": "auto"}} | options), name)
        self.watch(made, lambda _: click())
        return made

    def arrange(self, *rows: ipywidgets.Widget) -> None:
        """Set what is shown, from top to bottom; the message line stands at the foot unless it is among the rows."""
        self.children = (self._page, *rows, *([] if self.message in rows else [self.message]))

    def watch(self, widget: ipywidgets.Widget, callback: Callable[[object], None], *, names: str = "value") -> None:
        """Call ``callback(new value)``, guarded, when a trait changes; a button and a ``PlotView`` call on a click.

        A button passes itself, a plot view the point.
        """
        if isinstance(widget, ipywidgets.Button | PlotView):
            click = self.guard(callback)
            widget.on_click(click)
            self._undo.callback(widget.on_click, click, remove=True)
        else:
            observer = self.guard(lambda change: callback(change["new"]))
            widget.observe(observer, names)
            self._undo.callback(widget.unobserve, observer, names)

    def guard(self, callback: Callable) -> Callable:
        """``callback`` inside ``guarded()``."""

        def guarded(*args: object) -> None:
            with self.guarded():
                callback(*args)

        return guarded

    @contextmanager
    def guarded(self, *, keep: bool = False) -> Iterator[None]:
        """Show wrong input as a message, never as a traceback; what was drawn before stays.

        A block that succeeds clears the message before it, not one it gave itself; ``keep`` it where no input is read,
        as in a block inside another.
        """
        with self._lock:
            inside, self._inside = self._inside, True
            before = self.message.value
            try:
                yield
            except WRONG_INPUT as error:
                self.say(str(error), kind="error")
            except OSError as error:  # of a disk that is full or taken away: no input is wrong, and files are whole
                self.say(f"{error}. Nothing was overwritten; make room, or choose another folder.", kind="error")
            else:
                if self.message.value == before and not (keep or inside):
                    self.message.value = ""
            finally:
                self._inside = inside

    def say(self, text: str, *, kind: str = "note") -> None:
        """Write the message line, read out by screen readers; ``kind`` is "note" or "error"."""
        symbol, colour = _MARKS[kind]
        style = f"border-left: 4px solid var(--jp-{colour}-color1, #888)"
        role = "alert" if kind == "error" else "status"
        self.message.value = f'<p role="{role}" style="{style}">{symbol} {html.escape(text)}</p>' if text else ""

    def spawn(self, work: Coroutine) -> asyncio.Task | None:
        """Run a coroutine on the running loop until it ends or the view closes; None (and no run) without a loop."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()
            return None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def keep_up(self, work: Callable[[], Coroutine]) -> None:
        """Run what goes on to the newest by itself, unless it is running; here and now without a running loop."""

        async def run() -> None:
            try:
                await work()
            finally:
                self._running.discard(work)

        if work not in self._running:
            self._running.add(work)
            if self.spawn(run()) is None:
                asyncio.run(run())

    def soon(self, callback: Callable[[], None], *, delay: float = 0.03) -> None:
        """Call ``callback()``, guarded, after ``delay`` quiet seconds: a burst of edits leads to one call.

        Pass the same function each time (a bound method will do). Without a running loop it is called at once.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.guard(callback)()
        if waiting := self._due.pop(callback, None):
            waiting.cancel()
        self._due[callback] = loop.call_later(delay, self._call_due, callback)

    def _call_due(self, callback: Callable[[], None]) -> None:
        if self._due.pop(callback, None) and self.comm is not None:
            with self.guarded(keep=True):
                callback()

    # ---- display and end

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = self.describe()
        with suppress(*WRONG_INPUT):  # the message line says it
            bundle["application/vnd.plotly.v1+json"] = json.loads(self.figure().to_json())
        return bundle

    def close(self) -> None:
        """Remove the widget with all its parts, observers, callbacks and tasks; a second call does nothing."""
        if self.comm is None:  # closed, or its constructor failed before ours
            return
        for task in list(self._tasks):
            _call_in(task.get_loop(), task.cancel)
        for waiting in self._due.values():
            waiting.cancel()
        self._due.clear()
        self._undo.close()
        inside: set[ipywidgets.Widget] = {self}
        for widget in (self, *self._parts):  # a part may be hidden at the moment: then it is no child
            inside |= {widget} | _nested(widget, inside)
        self._parts.clear()
        for widget in sorted(inside - {self}, key=lambda widget: not isinstance(widget, View)):  # views end their own
            widget.close()
        super().close()


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call now if this is the loop's thread, else hand it over."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        callback()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _nested(widget: ipywidgets.Widget, found: set[ipywidgets.Widget]) -> set[ipywidgets.Widget]:
    """All widgets inside a widget: children at any depth, their layouts and styles."""
    for key in widget.keys:
        value = getattr(widget, key)
        for inner in value if isinstance(value, tuple | list) else (value,):
            if isinstance(inner, ipywidgets.Widget) and inner not in found:
                found.add(inner)
                _nested(inner, found)
    return found
