"""The one pool of threads of scoring: compiled loops and convolutions on one core each."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

T, R = TypeVar("T"), TypeVar("R")


@cache
def thread_pool(workers: int) -> ThreadPoolExecutor:
    """Threads whose torch operations run on one core each; the caller's setting stays as it was."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lightsnn", initializer=torch.set_num_threads, initargs=(1,))
    start = lambda _: (time.sleep(0.01), torch.get_num_threads(), torch.set_num_threads(1))  # noqa: E731
    for _ in range(2):  # the first call of every thread takes the setting of the process, the second keeps its own
        list(pool.map(start, range(workers)))
        torch.set_num_threads(threads)
    return pool


def run_all(function: Callable[[T], R], items: Iterable[T], workers: int) -> list[R]:
    """The results of a function by threads of the pool; whatever ends this, also an interrupt, none runs on."""
    pool, futures = thread_pool(workers), []
    try:
        for item in items:
            futures.append(pool.submit(function, item))
        return [future.result() for future in futures]
    finally:
        while running := [future for future in futures if not future.cancel() and not future.done()]:
            with contextlib.suppress(KeyboardInterrupt):  # another than that on its way up: they use buffers
                wait(running)


if hasattr(os, "register_at_fork"):  # POSIX; a forked process has none of the threads
    os.register_at_fork(after_in_child=thread_pool.cache_clear)
