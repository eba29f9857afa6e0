"""One bar on a terminal, with the time left: for scores and epochs of this process, or for a run's files.

Where nobody looks (a file, a pipe, a background job) nothing is drawn.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from .progress import current, status

_EVERY = 0.5  # seconds between two looks at the files of a run
_LINE = "{desc} {percentage:3.0f}% |{bar:30}| {postfix}"


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar over ``total`` items while the block runs; it yields ``tick(words)``, to be called after each of them.

    Without a terminal the words are printed line by line instead.

    >>> with counting("scores", 2) as tick:
    ...     tick(), tick("the last one")
    the last one
    (None, None)
    """
    from tqdm import tqdm

    with tqdm(total=total, desc=what, leave=False, dynamic_ncols=True, disable=not (total and _terminal())) as bar:

        def tick(words: str = "") -> None:
            if bar.disable and words:
                print(words, flush=True)
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        yield tick


def _terminal() -> bool:
    return bool(sys.stderr) and sys.stderr.isatty()


@contextlib.contextmanager
def watching(folder: Path | None, what: str) -> Iterator[None]:
    """A bar for what the files of a run tell while the block runs, such as a notebook in a kernel of its own."""
    if folder is None or not _terminal():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_draw, args=(folder, what, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _draw(folder: Path, what: str, done: threading.Event) -> None:
    from tqdm import tqdm

    with tqdm(total=1.0, desc=what, bar_format=_LINE, leave=False, dynamic_ncols=True) as bar:
        while not done.wait(_EVERY):
            with contextlib.suppress(Exception):  # the files, or the terminal, may be anything: the work goes on
                share, words = current(status(folder))
                bar.n = share
                bar.set_postfix_str(words)
