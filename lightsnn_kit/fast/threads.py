"""The one pool of threads of scoring: compiled loops and convolutions on one core each."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


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


if hasattr(os, "register_at_fork"):  # POSIX; a forked process has none of the threads
    os.register_at_fork(after_in_child=thread_pool.cache_clear)
