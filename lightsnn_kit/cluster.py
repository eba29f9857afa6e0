"""The workers of a Dask scheduler: reached within seconds or told why not, of the same versions, one thread each."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .files import RunError

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

_PATIENCE = 5  # seconds to reach the scheduler, and for a first worker
_INSTALL = 'pip install -c constraints.txt -e ".[cluster]"'
_COMPUTING = ("torch", "spikingjelly", "numpy")


@cache
def versions() -> dict[str, str]:
    """What a worker must share with whoever sends it work: Python, the kit's source, and the packages that compute.

    Builds of one version (CPU, CUDA) count as the same: scores have the same bits on both.
    """
    here, source = Path(__file__).parent, hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        source.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes())
    kit = f"{sys.modules[__package__].__version__} (source {source.hexdigest()[:12]})"
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "lightsnn_kit": kit}
    return found | {name: metadata.version(name).partition("+")[0] for name in _COMPUTING}


def misfit(there: object, here: Mapping[str, str]) -> str:
    """What differs between the versions of a worker and those here, in words; '' if nothing does.

    >>> misfit({"torch": "2.12.1", "numpy": "2.3.0"}, {"torch": "2.13.0", "numpy": "2.3.0"})
    'torch 2.12.1 there, 2.13.0 here'
    """
    if not isinstance(there, Mapping):
        return f"lightsnn_kit cannot be loaded there ({there})"
    return ", ".join(
        f"{name} {there.get(name)} there, {mine} here" for name, mine in here.items() if mine != there.get(name)
    )


@contextmanager
def on_cluster(
    address: str, ready: Callable[[], object], done: Callable[[], object]
) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """The executor of a scheduler's workers, and a function that tells how many there are now.

    ``ready`` is called once in every worker, those that join later too, and ``done`` at the end. Dask redoes the tasks
    of a worker that is lost. ``RunError`` for an address without a scheduler, a scheduler without workers, workers of
    other versions or with several threads; and when the scheduler is lost, or a task has lost several workers.
    """
    try:
        import distributed
    except ImportError:
        raise RunError(f"a scheduler's address needs Dask, which is not installed; install it: {_INSTALL}") from None
    with _client(address) as client:
        _check_workers(client, address)
        name = f"lightsnn_kit-{uuid4().hex}"
        try:
            client.register_plugin(_plugin(ready, done), name=name)
            yield client.get_executor(pure=False), lambda: len(client.nthreads())
        except (CancelledError, distributed.comm.CommClosedError) as error:
            raise RunError(
                f"lost the scheduler at {address}: it ended, was restarted, or cannot be reached any more. What is "
                "recorded is kept: run again when it is back, with its address then, to go on."
            ) from error
        except distributed.KilledWorker as error:
            raise RunError(
                f"a task lost its worker each time that it was tried, perhaps for lack of memory ({error}). Start "
                "workers with more of it, or take smaller sizes; what is recorded is kept."
            ) from error
        finally:
            with suppress(Exception):  # it may be gone
                client.unregister_worker_plugin(name)


@contextmanager
def _client(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False, name="lightsnn_kit")
    except (OSError, ValueError) as error:
        raise RunError(
            f"no Dask scheduler answers at {address!r} ({error}); expected an address such as tcp://node7:8786, which "
            "the command `dask scheduler` prints, or a number of processes of this machine."
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=_PATIENCE)


def _check_workers(client: Client, address: str) -> None:
    start = f"dask worker {address} --nworkers -1 --nthreads 1"
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise RunError(f"the scheduler at {address} has no workers; start some: {start}") from None
    here, found = versions(), client.run(versions, on_error="return")
    wrong = [f"{worker}: {words}" for worker, there in found.items() if (words := misfit(there, here))]
    if wrong:
        raise RunError(
            f"{len(wrong)} of {len(found)} workers of {address} cannot give the same bits: {'; '.join(wrong[:3])}. "
            f"Install the same versions there, and restart them: {_INSTALL}"
        )
    if wide := [worker for worker, threads in client.nthreads().items() if threads != 1]:
        raise RunError(
            f"{len(wide)} of {len(found)} workers of {address} have several threads ({wide[0]}), whose trainings would "
            f"share one generator; start a process for each core instead: {start}"
        )


def _plugin(ready: Callable[[], object], done: Callable[[], object]) -> WorkerPlugin:
    from distributed import WorkerPlugin

    class Ready(WorkerPlugin):  # of this function, so it travels as it is; Dask asks for its base class
        def setup(self, worker: object) -> None:
            if words := misfit(versions(), here):  # it joined later
                raise RunError(f"this worker cannot give the same bits: {words}")
            ready()

        def teardown(self, worker: object) -> None:
            done()

    here = versions()
    return Ready()
