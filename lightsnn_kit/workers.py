"""Worker processes that score: the same bits as in one process, and what a killed worker had is scored again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import torch

from .blocks import own_parts
from .checks import whole
from .files import RunError
from .networks import reset_state
from .scoring import Scorer, ScoringConfig
from .spaces import OpMask

_worker_scorer: Scorer | None = None  # one per worker process


def _start_worker(scorer: Scorer, threads: int) -> None:
    global _worker_scorer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _worker_scorer = scorer


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@dataclass(frozen=True)
class _WorkerScore:
    """The score of whichever worker it is called in; ``config`` tells a method which score that is."""

    config: ScoringConfig

    def __call__(self, mask: OpMask) -> float:
        return _worker_scorer(mask)

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        return _worker_scorer.with_synops(mask)


class _Workers(Executor):
    """Processes that score. If one is killed, others take their place and score again what was lost, twice at most."""

    def __init__(self, start: Callable[[], ProcessPoolExecutor]) -> None:
        self._start, self._pool = start, start()

    def map(self, score: Callable[[OpMask], float], masks: Iterable[OpMask]) -> Iterator[float]:
        masks, values = list(masks), {}
        for _ in range(3):
            with suppress(BrokenProcessPool):
                missing = [index for index in range(len(masks)) if index not in values]
                futures = {index: self._pool.submit(score, masks[index]) for index in missing}
                for index, future in futures.items():
                    values[index] = future.result()
                return iter([values[index] for index in range(len(masks))])
            self.shutdown()
            self._pool = self._start()
        raise RunError(
            "worker processes were killed three times in one round, perhaps for lack of memory. Use fewer workers, or "
            "score in one process; what earlier rounds have found is kept."
        )

    def submit(self, score: Callable, *args: object, **options: object) -> Future:
        return self._pool.submit(score, *args, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def score_in_processes(scorer: Scorer, *, workers: int) -> Iterator[tuple[Callable[[OpMask], float], Executor]]:
    """A (score, executor) pair for ``prune_search`` that scores in worker processes, with the same bits.

    The weights travel once per worker. The processor's threads are shared out among the workers. A worker that is
    killed is replaced, and what it had is scored again; ``RunError`` at the third time in a round. ``ValueError`` with
    ``reset=False``: each worker would have membranes of its own; and with ops or neurons of yours: they do not travel.
    """
    if not scorer.config.reset:
        raise ValueError("workers give the same bits only if states are reset; with reset=False score in one process.")
    if own := own_parts(scorer.supernet):
        raise ValueError(f"worker processes do not know {own}; score in this process.")
    workers = whole("workers", workers)
    reset_state(scorer.supernet)  # what an earlier pass left does not travel
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")  # a forked torch may hang on its threads
    with _Workers(partial(ProcessPoolExecutor, workers, context, _start_worker, (scorer, threads))) as executor:
        yield _WorkerScore(scorer.config), executor
