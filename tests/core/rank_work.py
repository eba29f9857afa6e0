"""Trainings by several processes on this machine, for tests: what the ranks do, and how they are started.

``torchrun`` would end the others when one process ends; these are left alone, so that it is seen what they do.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from lightsnn_kit.data import Split, Splits, load
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network
from lightsnn_kit.training import TrainConfig, TrainingDivergedError, fit

ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(epochs=2, batch_size=20, crop=1, seed=3)
# Trainings that must come out alike with one rank and with two, by name: settings of the network and of the training.
ALIKE = {
    "plain": ({}, {}),
    "parts": ({}, {"accumulate": 3}),
    "steps again": ({}, {"recompute": True, "accumulate": 2, "frozen_norm_epochs": 1}),
    "one step": ({"num_steps": 1}, {"epochs": 1}),  # backward edges get no gradient
    "no loops": ({}, {"epochs": 1, "channels_last": "off", "loss": "mse"}),
}


def splits_of_digits(samples: int = 61) -> Splits:
    """Real digits; 61 samples leave one over in batches of 20, and shares that differ."""
    digits = load("digits")
    parts = {
        name: Split(getattr(digits, name).x[:samples], getattr(digits, name).y[:samples]) for name in ("train", "val")
    }
    return replace(digits, **parts)


def small_network(splits: Splits, **settings: object) -> SpikingNetwork:
    sizes = {"width": 4, "hidden": 16, "num_steps": 2} | settings
    return build_network("0303 0030 2002 0200", NetworkConfig(**sizes, **splits.network_settings()))


def trained(name: str, fabric: object = None, folder: Path | None = None, **more: object) -> dict[str, object]:
    """Records and weights of a training of ``ALIKE``, with more settings."""
    splits, (network_settings, settings) = splits_of_digits(), ALIKE[name]
    settings = settings | more
    network = small_network(splits, **network_settings)
    records = list(fit(network, splits, replace(CONFIG, **settings), folder=folder, fabric=fabric))
    return {"records": [asdict(record) | {"seconds": 0} for record in records], "weights": network.state_dict()}


def failed(work: object) -> str:
    try:
        work()
    except (ValueError, OSError, TrainingDivergedError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def work(place: Path) -> None:
    """Everything that one start of the ranks can tell, into ``place/<rank>.pt``."""
    from lightsnn_kit.ranks import Ranks, of_torchrun

    fabric = of_torchrun()
    rank, splits = fabric.global_rank, splits_of_digits()
    found = {name: trained(name, fabric, place / f"run{rank}" if name == "plain" else None) for name in ALIKE}
    found["bfloat16"] = trained("plain", fabric, amp="on")
    network = small_network(splits)
    found["other data"] = failed(lambda: fit(network, splits_of_digits(61 + rank), CONFIG, fabric=fabric))
    few = replace(splits, val=Split(splits.val.x[:1], splits.val.y[:1]))
    found["too few"] = failed(lambda: fit(network, few, CONFIG, fabric=fabric))
    (place / "file").touch()
    found["no folder"] = failed(lambda: fit(network, splits, CONFIG, fabric=fabric, folder=place / "file" / "x"))
    wild = replace(CONFIG, learning_rate=1e38)
    found["wild"] = failed(lambda: list(fit(network, splits, wild, fabric=fabric)))
    found["norms"] = [hasattr(module, "add_up") and module.add_up is not None for module in network.modules()]
    found["sum"] = Ranks(fabric).totals(1.5, rank)
    torch.save(found, place / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def environments(count: int) -> Iterator[dict[str, str]]:
    """What torchrun would tell each of so many processes on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    own |= {"TORCHELASTIC_RUN_ID": "test"}
    for rank in range(count):
        yield environment_of_ranks(**own, RANK=rank, LOCAL_RANK=rank)


def environment_of_ranks(**more: object) -> dict[str, str]:
    """This environment for processes that find the project, one thread each and no GPU; and more."""
    own = {"OMP_NUM_THREADS": 1, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ROOT} | more
    return os.environ | {name: str(value) for name, value in own.items()}


def started(count: int, arguments: Sequence[str], **more: str) -> list[tuple[int, str]]:
    """Run this module with so many ranks until all have ended by themselves; exit status and output of each."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.core.rank_work", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    ranks = [subprocess.Popen(command, env=each | more, **pipes) for each in environments(count)]
    try:
        said = [rank.communicate(timeout=400)[0] for rank in ranks]  # the outputs are short: no pipe fills
        return [(rank.returncode, text) for rank, text in zip(ranks, said, strict=True)]
    finally:
        for rank in ranks:
            rank.kill()


def command(arguments: Sequence[str]) -> int:
    """``python -m lightsnn_kit``; rank ``DIES`` is killed once, at its forward pass ``AT``, and marks it by a file."""
    from lightsnn_kit.__main__ import main

    forward, calls = SpikingNetwork.forward, []

    def counted(self, *args, **options):
        calls.append(1)
        mark = Path(os.environ["MARK"])
        if len(calls) == int(os.environ["AT"]) and os.environ["RANK"] == os.environ["DIES"] and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *args, **options)

    if "DIES" in os.environ:
        SpikingNetwork.forward = counted
    return main(arguments)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]))
    else:
        sys.exit(command(sys.argv[1:]))
