"""Trainings as tasks of other processes: an epoch each, and the test. They compute; records and checkpoints stay here.

What travels is a row's settings and its checkpoints; the data are read by each worker itself, from its own data folder.
So a lost worker costs an epoch, and a run that is stopped goes on as any other does.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ..checkpoints import read_checkpoint
from ..cluster import misfit, versions
from ..data import Splits
from ..files import RunError, replacing, to_json
from ..networks import SpikingNetwork, build_network
from ..training import EpochRecord, fit
from ..workers import pin_threads
from .presets import Preset
from .row_figures import test_figures
from .runs import provenance

Submit = Callable[..., Future]
Tested = tuple[dict[str, object], list[dict[str, object]], tuple[int, ...], float]
_FILES = ("best.pt", "last.pt")  # in the order in which ``fit`` writes them
AT_ONCE = 400  # trainings that go on together: each holds a lock file open
_loaded: dict[str, Splits] = {}  # of a worker process: the data it read last


@dataclass(frozen=True)
class Task:
    """What a worker must know of a row: the preset with the row's training, its data, its cell."""

    settings: Mapping[str, object]  # of the preset, with the row's training
    options: Mapping[str, object]  # of the data set's loader
    data_seed: int
    seed: int  # of the first weights
    cell: str
    device: str
    versions: Mapping[str, str]

    @property
    def preset(self) -> Preset:
        """The preset of these settings."""
        return Preset.from_dict(self.settings)

    def splits(self) -> Splits:
        """The row's data, read once as long as tasks ask for the same; ``RunError`` on a worker of other versions."""
        if words := misfit(versions(), self.versions):
            raise RunError(f"a worker that joined later cannot give the same bits: {words}. Stop it, and run again.")
        pin_threads(1)  # as in series with one thread: sums of several round otherwise
        key = to_json([self.settings, self.options, self.data_seed])
        if key not in _loaded:
            _loaded.clear()
            _loaded[key] = self.preset.load(seed=self.data_seed, **self.options)
        return _loaded[key]


# ---- in a worker -----------------------------------------------------------------------------------------------------


def train_epoch(
    task: Task, epoch: int, files: Mapping[str, bytes]
) -> tuple[EpochRecord, dict[str, bytes], dict[str, object]]:
    """The epoch after ``epoch`` epochs: its record, the checkpoints that it changed, and what it was computed with."""
    splits, preset = task.splits(), task.preset
    network = build_network(task.cell, preset.network_config(splits), seed=task.seed).to(task.device)
    with TemporaryDirectory(prefix="lightsnn-") as place:
        for name, content in files.items():
            Path(place, name).write_bytes(content)
        try:
            records = fit(network, splits, preset.train, folder=place)
        except ValueError as error:
            raise RunError(f"a worker cannot go on with this training; are its data files others? {error}") from None
        record = next(islice(records, epoch, None))
        found = {name: path.read_bytes() for name in _FILES if (path := Path(place, name)).is_file()}
    return record, {name: now for name, now in found.items() if now != files.get(name)}, provenance()


def test_network(task: Task, network: SpikingNetwork) -> Tested:
    """As ``tested``, in a worker."""
    return tested(network, task.splits(), task.preset)


def tested(network: SpikingNetwork, splits: Splits, preset: Preset) -> Tested:
    """The figures of a trained network, its layers' operations, the classes predicted, and the seconds that it took."""
    started = time.perf_counter()
    figures, energy, predicted = test_figures(network, splits, preset)
    return figures, [asdict(layer) for layer in energy.layers], predicted, time.perf_counter() - started


# ---- in the process that keeps the records ---------------------------------------------------------------------------


def train_epochs(
    records: Iterator[EpochRecord], task: Task, folder: Path, submit: Submit, note: Callable[[dict], object]
) -> Iterator[EpochRecord | Future]:
    """The records of a training, epoch by epoch, and before each that is not done yet the future to wait for.

    ``records`` are those of ``fit`` on that folder, which has looked at what is there; ``note`` is told with what an
    epoch was computed.
    """
    done = read_checkpoint(folder / _FILES[1])["epoch"]
    yield from islice(records, done)
    records.close()  # with its network and data
    for epoch in range(done, task.preset.train.epochs):
        files = {name: path.read_bytes() for name in _FILES if (path := folder / name).is_file()}
        future = submit(train_epoch, task, epoch, files)
        yield future
        record, changed, made = future.result()
        note(made)
        for name, content in changed.items():
            with replacing(folder / name) as making:
                making.write_bytes(content)
        yield record


def interleave(jobs: Iterable[Iterator[Future]], size: Callable[[], int]) -> Iterator[None]:
    """Go on with each of several jobs when the future it has yielded is there; yields whenever a job has ended.

    One job more than ``size()`` says is at work: so no worker waits while a checkpoint is written.
    """
    waiting, active = deque(jobs), {}
    try:
        while waiting or active:
            ready = [active.pop(future) for future in wait(active, return_when=FIRST_COMPLETED).done] if active else []
            ready += [waiting.popleft() for _ in range(min(len(waiting), _room(size()) - len(active) - len(ready)))]
            for job in ready:
                future = next(job, None)
                if future is None:
                    yield
                else:
                    active[future] = job
    finally:
        for job in active.values():
            job.close()


def _room(workers: int) -> int:
    return min(workers, AT_ONCE) + 1
