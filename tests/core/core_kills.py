"""Kill trainings, writers of checkpoints and searches wherever they touch the disk, and go on from what is left.

``python -m tests.core.core_kills training`` prints one line of JSON: how many kills, and what was wrong after which. A
kill is that of a forked process, so that torch is imported once; one thread, for a fork has no other.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from lightsnn_kit.checkpoints import digest, read_checkpoint, write_checkpoint
from lightsnn_kit.data import Split, Splits, load
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network
from lightsnn_kit.training import TrainConfig, fit

KILLED, CONFIG = 9, TrainConfig(epochs=4, batch_size=20, seed=3)


def tiny_splits() -> Splits:
    """Sixty real digits."""
    digits = load("digits")
    parts = {name: Split(getattr(digits, name).x[:60], getattr(digits, name).y[:60]) for name in ("train", "val")}
    return replace(digits, **parts)


def spoil(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tiny_network(splits: Splits) -> SpikingNetwork:
    return build_network("03 00", NetworkConfig(width=4, hidden=8, num_steps=1, **splits.network_settings()))


def die_at(number: int) -> None:
    """End this process at the n-th event: before, after and in the midst of what writes, and before each forward."""
    events = itertools.count(1)

    def event() -> None:
        if next(events) == number:
            os._exit(KILLED)

    def watched(function: Callable, *, after: bool = True) -> Callable:
        def call(*args, **options):
            event()
            result = function(*args, **options)
            if after:
                event()
            return result

        return call

    save = torch.save

    def torn_save(content: object, path: Path) -> None:
        buffer = io.BytesIO()
        save(content, buffer)
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        event()
        path.write_bytes(buffer.getvalue())

    os.replace, os.fsync, torch.save = watched(os.replace), watched(os.fsync), watched(torn_save)
    SpikingNetwork.forward = watched(SpikingNetwork.forward, after=False)


def killed(work: Callable[[], object], prepare: Callable[[], object]) -> bool:
    """Run ``work`` in a fork; True if it was killed as ``prepare`` has arranged, False if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, KILLED):
        raise RuntimeError(f"the process ended with {code} instead of being killed")
    return code == KILLED


def told(records: list) -> list[dict]:
    return [asdict(record) | {"seconds": 0} for record in records]


def state(folder: Path) -> list[str]:
    """What the two checkpoints of a training hold, without times."""
    keys = ("network", "optimizer", "epoch", "first_weights")
    return [digest([read_checkpoint(folder / name)[key] for key in keys]) for name in ("last.pt", "best.pt")]


def training(root: Path) -> Iterator[tuple[int, list[str]]]:
    """Kill a training at every event, and its continuation again; the third process must get the same bits."""
    splits = tiny_splits()

    def train(folder: Path) -> list[dict]:
        return told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder)))

    expected = train(root / "whole"), state(root / "whole")
    for number in itertools.count(1):
        folder = root / str(number)
        if not killed(lambda folder=folder: train(folder), lambda number=number: die_at(number)):
            return
        kills = 1 + killed(lambda folder=folder: train(folder), lambda number=number: die_at(1 + number % 11))
        found = train(folder), state(folder)
        yield kills, [] if found == expected else [f"training killed at {number}: other bits"]


def writing(root: Path) -> Iterator[tuple[int, list[str]]]:
    """Kill a writer after each of 60 shares of the bytes, and around each call: the old file is there, or the new."""
    path, old, new = root / "last.pt", {"x": torch.arange(500.0)}, {"x": torch.arange(700.0), "epoch": 1}
    save, size = torch.save, 5000

    def die_after(share: int) -> None:
        def torn_save(content: object, making: Path) -> None:
            buffer = io.BytesIO()
            save(content, buffer)
            making.write_bytes(buffer.getvalue()[: share * size // 60])
            os._exit(KILLED)

        torch.save = torn_save

    ways = [(f"byte {share * size // 60}", lambda share=share: die_after(share)) for share in range(60)]
    ways += [(f"event {number}", lambda number=number: die_at(number)) for number in range(1, 8)]
    for name, prepare in ways:
        write_checkpoint(path, old)
        died = killed(lambda: write_checkpoint(path, new), prepare)
        found = digest(read_checkpoint(path))
        wrong = found not in (digest(old), digest(new)) or (name.startswith("byte") and found != digest(old))
        yield int(died), [f"writer killed at {name}: another file"] if wrong else []


def search(root: Path) -> Iterator[tuple[int, list[str]]]:
    """Kill a search at every event of its records; going on gives the same scores, steps and cell."""
    preset = presets.get("digits").quick().adapted(space="lightsnn-forward", width=4, num_steps=1, batch_size=8)
    experiment = Experiment.open(root / "run", preset)
    place = experiment.row("lightsnn", 0).open().path  # the files that begin a stage are there: others sweep those
    shutil.copytree(place, root / "begun")

    def choose() -> dict:
        row = experiment.row("lightsnn", 0)
        cell, stage = str(row.choose().cell), row.stage
        scores = [record | {"seconds": 0, "build_seconds": 0} for record in stage.records("scores")]
        return {"cell": cell, "score": row.choose().score, "scores": scores, "steps": stage.records("steps")}

    expected = choose()
    for number in itertools.count(1):
        shutil.rmtree(place)
        shutil.copytree(root / "begun", place)
        if not killed(choose, lambda number=number: die_at(number)):
            return
        yield 1, [] if choose() == expected else [f"search killed at {number}: other records"]


def main(name: str) -> None:
    torch.set_num_threads(1)
    kills, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for count, found in {"training": training, "writing": writing, "search": search}[name](Path(folder)):
            kills, wrong = kills + count, wrong + found
    print(json.dumps({"kills": kills, "wrong": wrong}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
