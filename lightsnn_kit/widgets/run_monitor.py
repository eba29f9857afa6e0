"""RunMonitor: how far a run is, from the files in its folder."""

from __future__ import annotations

import asyncio
import html
import time
from pathlib import Path

import ipywidgets
import plotly.graph_objects as go

from ..figures.runs import record_curves
from ..figures.style import number
from ..files import RunError, at_root, reading
from ..lab import jobs
from ..lab.runs import listening
from .base import View
from .parts import flow

_SYMBOLS = {"running": "▶", "stopping": "◼", "stalled": "⏸", "finished": "✔", "failed": "✖", "cancelled": "■"}
_IDLE = 2.0  # seconds between two readings of a run that nobody works on: it may be started again
_REST = 4.0  # times as long as a reading took, so that long files leave most of the kernel's time to others
_LAST = 5  # records shown in words


class RunMonitor(View):
    """Attaches to a run folder, running or finished: progress, time left, live curves, last records, a cancel button.

    All state is the run's files, so closing the tab or restarting the kernel loses nothing: make the widget again. It
    also follows the records that a cell of this very kernel writes, while that cell runs.
    ``every``: seconds between two readings of its files, more where one takes long. ``RunError`` if there is no such
    folder.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     monitor = RunMonitor(folder)
    ...     monitor.describe(), monitor.close()
    ('RunMonitor: empty: nothing has been started here', None)
    """

    name = "run-monitor"

    def __init__(self, run: str | Path, *, every: float = 0.3, theme: str = "light") -> None:
        if not every > 0:
            raise ValueError(f"every must be a positive number of seconds, got {every!r}.")
        self.folder, self.every = at_root(run), every
        if not self.folder.is_dir():  # before anything is made: a wrong folder leaves no widget behind
            jobs.status(self.folder)
        self.status = jobs.Status("unknown", "its files could not be read", (), None)
        super().__init__(theme=theme)
        self._drawn: tuple | None = None  # what the curves show
        self._looked, self._took = 0.0, 0.0  # when its files were read last, and how long that took
        self._lost = False  # whether the message says that the last reading failed
        self.state = self.part(ipywidgets.HTML(), "state")
        cancel = {"icon": "stop", "tooltip": "Stop after the record it is working on; all records are kept"}
        self.cancel = self.add_button("cancel", "Cancel", self.stop, layout={}, **cancel)
        self.stages = self.part(ipywidgets.HTML(), "stages")
        self.curves = self.plot("curves", "Scores and training curves recorded so far")
        self.last = self.part(ipywidgets.HTML(), "last")
        self.printed = self.part(ipywidgets.HTML(), "log")
        self.hint = self.part(ipywidgets.HTML(), "hint")
        self.arrange(
            flow(self.cancel, self.state), self.stages, self.message, self.curves, self.last, self.printed, self.hint
        )
        self._undo.enter_context(listening(self._recorded))
        self.check()
        self.spawn(self._keep_refreshing())

    async def _keep_refreshing(self) -> None:
        while True:
            pause = self.every if self.status.alive else max(self.every, _IDLE)
            await asyncio.sleep(max(pause, _REST * self._took))
            self.check()

    def _recorded(self, file: Path) -> None:
        """This kernel has written a record, so its loop may be busy with the cell that does: look from here."""
        pause = max(self.every, _REST * self._took)
        if file.is_relative_to(self.folder) and time.perf_counter() - self._looked > pause:
            self.check()

    # ---- what it does

    def check(self) -> None:
        """`refresh`; a folder that is gone, or cannot be read, becomes a message, until it is as it was."""
        seen, begun = False, time.perf_counter()
        with self.guarded(keep=True):
            self.refresh()
            seen = True
        self._looked = time.perf_counter()
        self._took = self._looked - begun
        if seen and self._lost:
            self.say("")
        self._lost = not seen

    def refresh(self) -> None:
        """Read the files once and show what is new; ``RunError`` if the folder is gone, or holds what is no record."""
        try:
            with reading(self.folder):
                self.status = jobs.status(self.folder)
                self.cancel.disabled = not self.status.alive
                self.state.value = _state(self.status)
                self.stages.value, self.hint.value = _bar(self.status), self._what_to_do()
                self.last.value, self.printed.value = _last_lines(self.records()), _log_lines(self.folder)
                if self._shown() != self._drawn:
                    self.redraw()
        except OSError as error:  # taken away between two reads
            raise RunError(f"cannot read the run in {self.folder}: {error}") from error

    def _what_to_do(self) -> str:
        """A line on what happens when the tab is closed, and how to go on."""
        again, state = html.escape(f"RunMonitor({str(self.folder)!r})"), self.status.state
        if self.status.alive:
            text = f"You may close this tab: the job goes on. To see it again, in any notebook: <code>{again}</code>"
        elif state in ("unfinished", "failed", "cancelled"):
            text = "Nothing recorded is lost: run the notebook, or start the job, once more, and it goes on from there."
        else:
            return ""
        return f"<p style='margin:4px 10px'>{text}</p>"

    def stop(self) -> None:
        """Ask the job to stop after the record it is working on; ``RunError`` if nobody works on the run."""
        jobs.cancel(self.folder)
        self.refresh()
        self.say("Stopping. All records are kept; start the run again to go on.")

    def records(self) -> dict[str, tuple[dict[str, object], ...]]:
        """The records by which each stage counts, by the stage's name."""
        counted = [stage for stage in self.status.stages if stage.records]
        return {stage.stage: jobs.records(self.folder / stage.stage, stage.records) for stage in counted}

    # ---- pictures

    def figure(self) -> go.Figure:
        """The curves recorded so far."""
        totals = {stage.stage: stage.total for stage in self.status.stages if stage.total}
        return record_curves(self.records(), totals=totals, theme=self.theme)

    def redraw(self) -> None:
        """Draw the curves anew."""
        self._drawn = self._shown()
        self.curves.show(self.figure())

    def _shown(self) -> tuple:
        return (self.theme, *((stage.stage, stage.done, stage.total) for stage in self.status.stages))

    def describe(self) -> str:
        """The state of the run, in a line."""
        return f"RunMonitor: {self.status.state}: {self.status.message}"


def _state(status: jobs.Status) -> str:
    words = f"<b>{html.escape(status.state)}</b>: {html.escape(status.message)}"
    return f"<span role='status'>{_SYMBOLS.get(status.state, '○')} {words}</span>"


def _bar(status: jobs.Status) -> str:
    """One bar for the whole run, and one line of words."""
    share, words = jobs.current(status)
    if not words:
        return ""
    bar = f"<progress max='1' value='{share:.4f}' aria-label='progress of the run' style='width:160px'></progress>"
    return f"<p style='margin:0 10px'>{bar} {html.escape(words)}</p>"


def _last_lines(records: dict[str, tuple[dict[str, object], ...]]) -> str:
    """The newest records of the stage that was recorded last."""
    newest = [(name, rows) for name, rows in records.items() if rows]
    if not newest:
        return ""
    name, rows = newest[-1]
    words = [_in_words(number, row) for number, row in enumerate(rows[-_LAST:], max(1, len(rows) - _LAST + 1))]
    lines = "<br>".join(map(html.escape, words))
    return f"<div style='margin:4px 10px;line-height:1.5'><b>{html.escape(name)}, last records</b><br>{lines}</div>"


def _log_lines(folder: Path) -> str:
    """What the job has printed last; open at all times, as what can be folded would close with every new line."""
    said = html.escape(jobs.log(folder, lines=6))
    style = "margin:0;overflow-x:auto;line-height:1.4"
    said = said and f"<b>What the job printed last</b><pre style='{style}'>{said}</pre>"
    return said and f"<div style='margin:4px 10px'>{said}</div>"


def _in_words(place: int, row: dict[str, object]) -> str:
    values = {name: value for name, value in row.items() if isinstance(value, int | float | str) and name != "mask"}
    return f"{place}: " + ", ".join(
        f"{name.replace('_', ' ')} " + (number(value) if isinstance(value, float) else str(value))
        for name, value in values.items()
    )
