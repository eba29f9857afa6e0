"""CellSettings: choose data set, sizes and score of an explorer; what they need is built in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets

from .base import WRONG_INPUT, View
from .parts import flow

if TYPE_CHECKING:
    from ..lab.workshop import Workshop

_NUMBERS = {"width": "Width", "num_steps": "Steps", "batch_size": "Samples of a score"}
_LISTS = {"preset": "Data", "proxy": "Score"}


class CellSettings(View):
    """Controls for what an explorer works with; ``accept(workshop)`` is called when another one has been built.

    ``workshop``: a `Workshop`, or what has its ``title``, ``settings``, ``choices``, ``changed`` and ``prepare``, which
    runs in a thread. The page stays free while it is built. Of changes in the meantime the newest counts; where they
    cannot be had, a message says why, and all stays as it was.
    """

    name = "cell-settings"

    def __init__(self, workshop: Workshop, accept: Callable[[Workshop], None], *, theme: str = "light") -> None:
        super().__init__(theme=theme)
        self.workshop, self.accept = workshop, accept
        self._wanted: Workshop | None = None  # what is built next
        self._filling = False
        settings, choices = workshop.settings, workshop.choices
        self.controls = {}
        for name, text in _LISTS.items():
            options = dict.fromkeys((*choices[name], settings[name]))  # its own may be none of the list
            self._add(name, ipywidgets.Dropdown, text, options=tuple(options))
        for name, text in _NUMBERS.items():
            width = "120px" if len(text) < 8 else "220px"
            self._add(name, ipywidgets.IntText, text, layout={"width": width})
        order = ("preset", *_NUMBERS, "proxy")
        self.arrange(flow(*(self.controls[name] for name in order)), self.message)

    def _add(self, name: str, kind: type, text: str, **options: object) -> None:
        made = self.add_control(name.replace("_", "-"), kind, self.workshop.settings[name], text, **options)
        self.watch(made, lambda value: self.choose(**{name: value}))
        self.controls[name] = made

    def choose(self, **settings: object) -> None:
        """Build what these settings ask for; ``ValueError`` for one that cannot be."""
        if self._filling:
            return
        try:
            self._wanted = (self._wanted or self.workshop).changed(**settings)
        except WRONG_INPUT:
            self._fill()
            raise
        self.say("building …")
        self.keep_up(self._build)

    async def _build(self) -> None:
        while (wanted := self._wanted) is not None:
            begun, work = time.monotonic(), asyncio.ensure_future(asyncio.to_thread(wanted.prepare))
            while not (await asyncio.wait({work}, timeout=0.5))[0]:
                self.say(f"building … {time.monotonic() - begun:.0f} s")
            if wanted is self._wanted:  # else there is a newer one
                self._wanted = None
                self._take(work)
            else:
                work.exception()  # of no interest any more

    def _take(self, work: asyncio.Future) -> None:
        with self.guarded():
            try:
                self.accept(work.result())
                self.workshop = work.result()
                self.say(f"ready: {self.workshop.title}")
            finally:
                self._fill()

    def _fill(self) -> None:
        """Show in all fields what is at work."""
        self._filling = True
        for name, value in self.workshop.settings.items():
            if name in self.controls:
                self.controls[name].value = value
        self._filling = False

    def show(self, cell: object) -> None:
        """Another cell changes nothing here."""

    def redraw(self) -> None:
        """There is no picture."""

    def describe(self) -> str:
        """What is at work."""
        return f"CellSettings: {self.workshop.settings}"
