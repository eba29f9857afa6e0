"""Other processes that score and train, on this machine or on a Dask cluster: same bits, and what is lost is redone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import torch

from .blocks import own_parts
from .checks import whole
from .cluster import on_cluster
from .files import RunError
from .networks import reset_state
from .scoring import Scorer, ScoringConfig
from .spaces import OpMask

Workers = tuple[Executor, Callable[[], int]]
_LIVES = 3  # processes that a task may lose before it is given up; as Dask's `allowed-failures`
_scorers: dict[str, Scorer] = {}  # of a worker process: sent once, kept until its search ends


def _keep_scorer(key: str, scorer: Scorer | None) -> None:
    if scorer is not None:
        _scorers[key] = scorer


def _start_worker(key: str, scorer: Scorer | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_scorer(key, scorer)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@dataclass(frozen=True)
class _WorkerScore:
    """The score of whichever worker it is called in; ``config`` tells a method which score that is."""

    config: ScoringConfig
    key: str
    threads: int

    def __call__(self, mask: OpMask) -> float:
        return self._scorer(mask)

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        return self._scorer.with_synops(mask)

    @property
    def _scorer(self) -> Scorer:
        pin_threads(self.threads)
        if self.key not in _scorers:
            raise RunError(
                "a worker that joined during the search could not take its weights: it has another version of the kit "
                "or of its packages. Its log says which; stop it, and run again."
            )
        return _scorers[self.key]


def pin_threads(count: int) -> None:
    """Have torch use so many threads in this thread, whose first question takes over the setting of the process."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


class _Pool(Executor):
    """Processes of this machine. If one is killed, others take their place and redo what was lost, twice at most."""

    def __init__(self, start: Callable[[], ProcessPoolExecutor]) -> None:
        self._start, self._pool, self._one_thread = start, start(), threading.Lock()

    def submit(self, call: Callable, /, *args: object, **options: object) -> Future:
        answer = Future()
        answer.set_running_or_notify_cancel()
        self._try(answer, partial(call, *args, **options), _LIVES)
        return answer

    def map(self, score: Callable[[OpMask], object], masks: Iterable[OpMask]) -> Iterator:
        answers = [self.submit(score, mask) for mask in masks]
        return (answer.result() for answer in answers)

    def _try(self, answer: Future, call: Callable, lives: int) -> None:
        with self._one_thread:
            pool = self._pool
        try:
            attempt = pool.submit(call)
        except BrokenProcessPool as error:
            attempt = Future()
            attempt.set_exception(error)
        attempt.add_done_callback(partial(self._tried, answer, call, lives, pool))

    def _tried(self, answer: Future, call: Callable, lives: int, pool: ProcessPoolExecutor, attempt: Future) -> None:
        error = CancelledError() if attempt.cancelled() else attempt.exception()
        if error is None:
            answer.set_result(attempt.result())
        elif not isinstance(error, BrokenProcessPool):
            answer.set_exception(error)
        elif lives == 1:
            why = "worker processes were killed three times in one round, perhaps for lack of memory. Use fewer "
            why += "workers, or score in one process; what earlier rounds have found is kept."
            answer.set_exception(RunError(why))
        else:
            with self._one_thread:
                if self._pool is pool:  # the first of its tasks to learn of it
                    self._pool = self._start()
            self._try(answer, call, lives - 1)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)  # who leaves in the middle of a round does not wait for its end


def workers_of(text: int | str) -> int | str:
    """A number of processes of this machine, or the address of a Dask scheduler, as a parameter gives it; "" is 0.

    >>> workers_of(""), workers_of("4"), workers_of("tcp://node7:8786")
    (0, 4, 'tcp://node7:8786')
    """
    if isinstance(text, str) and not text.strip().isdecimal():
        return text.strip() or 0
    return whole("workers", int(text) if isinstance(text, str) else text, low=0)


@contextmanager
def worker_processes(workers: int | str, *, scorer: Scorer | None = None, key: str = "") -> Iterator[Workers]:
    """An executor for tasks in other processes, and a function that tells how many there are now.

    ``workers``: so many processes of this machine, or the address of a Dask scheduler, such as "tcp://node7:8786",
    whose workers have one thread each. The ``scorer`` travels to each of them once, under its ``key``. A task whose
    process is killed is redone; ``RunError`` when that was in vain, when the cluster cannot be reached, and before any
    work for workers with other versions.
    """
    if isinstance(workers := workers_of(workers), str):
        ready, done = partial(_keep_scorer, key, scorer), partial(_scorers.pop, key, None)
        with on_cluster(workers, ready, done) as found:
            yield found
        return
    workers = whole("workers", workers)
    context = multiprocessing.get_context("spawn")  # a forked torch may hang on its threads
    start = partial(ProcessPoolExecutor, workers, context, _start_worker, (key, scorer))
    with _Pool(start) as executor:
        yield executor, lambda: workers


@contextmanager
def score_in_processes(scorer: Scorer, *, workers: int | str) -> Iterator[tuple[Callable[[OpMask], float], Executor]]:
    """A (score, executor) pair for ``prune_search`` that scores in other processes, with the same bits.

    ``workers``: how many processes of this machine, which share out its threads, or the address of a Dask scheduler, as
    in ``worker_processes``. The weights travel once per worker. A worker that is killed is replaced, and what it had is
    scored again; ``RunError`` at the third time. ``ValueError`` with ``reset=False``: each worker would have membranes
    of its own; and with ops or neurons of yours: they do not travel.
    """
    if not scorer.config.reset:
        raise ValueError("workers give the same bits only if states are reset; with reset=False score in one process.")
    if own := own_parts(scorer.supernet):
        raise ValueError(f"worker processes do not know {own}; score in this process.")
    reset_state(scorer.supernet)  # what an earlier pass left does not travel
    workers, key = workers_of(workers), uuid4().hex
    threads = 1 if isinstance(workers, str) else max(1, torch.get_num_threads() // max(1, workers))
    with worker_processes(workers, scorer=scorer, key=key) as (executor, _):
        yield _WorkerScore(scorer.config, key, threads), executor
