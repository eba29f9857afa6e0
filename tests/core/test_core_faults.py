"""What a training, a search and their files survive: kills, full disks, flipped bits, foreign and hostile files."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightsnn_kit import checkpoints
from lightsnn_kit.checkpoints import digest, load_network, read_checkpoint, write_checkpoint
from lightsnn_kit.files import RunError
from lightsnn_kit.spaces import CellSpace
from lightsnn_kit.training import fit
from lightsnn_kit.widgets import CellExplorer
from tests.core.core_kills import CONFIG, killed, spoil, state, tiny_network, tiny_splits, told

ROOT = Path(__file__).resolve().parents[2]
REFUSED = r"is damaged or no checkpoint|is no checkpoint of format 2"


@pytest.fixture(scope="module")
def splits():
    return tiny_splits()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, splits) -> tuple[list[dict], Path]:
    """Records and folder of an undisturbed training."""
    folder = tmp_path_factory.mktemp("whole")
    return told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder))), folder


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


# ---- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are those of forked processes")
@pytest.mark.parametrize("what", ["training", "writing", "search"])
def test_kills_lose_nothing(what: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.core.core_kills", what]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["kills"] >= 50


# ---- damaged checkpoints, and the ways out ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
@pytest.mark.parametrize("harm", [spoil, Path.unlink], ids=["flipped", "gone"])
@pytest.mark.parametrize("way", ["best", "restart"])
def test_a_damaged_checkpoint_is_no_dead_end(
    whole, splits, tmp_path: Path, name: str, harm: Callable, way: str
) -> None:
    """Epoch 1 is the best of four: it is in ``best.pt``, and after the first epoch in both files."""
    folder = tmp_path / "run"
    records = fit(tiny_network(splits), splits, CONFIG, folder=folder)
    for _ in range(4 if name == "last.pt" else 1):
        next(records)
    harm(folder / name)
    with pytest.raises(ValueError, match=r"damaged='best' to go on from epoch 1, or damaged='restart'"):
        fit(tiny_network(splits), splits, CONFIG, folder=folder)
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged=way))) == whole[0]
    assert state(folder) == state(whole[1])
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder))) == whole[0]  # nothing is left to mend


@pytest.mark.parametrize("harm", [spoil, Path.unlink], ids=["flipped", "gone"])
def test_the_best_weights_are_not_to_be_had_from_a_later_epoch(whole, splits, tmp_path: Path, harm: Callable) -> None:
    folder = copy_of(whole[1], tmp_path / "run")
    harm(folder / "best.pt")
    for way in ("refuse", "best"):
        with pytest.raises(ValueError, match=r"best\.pt.* Pass damaged='restart' to train again"):
            fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged=way)
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged="restart"))) == whole[0]


def test_both_damaged(whole, splits, tmp_path: Path) -> None:
    folder = copy_of(whole[1], tmp_path / "run")
    spoil(folder / "last.pt"), spoil(folder / "best.pt")
    for way in ("refuse", "best"):
        with pytest.raises(ValueError, match=r"last\.pt is damaged .* Pass damaged='restart'"):
            fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged=way)
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged="restart"))) == whole[0]
    with pytest.raises(ValueError, match=r"unknown way with a damaged checkpoint 'bset'.*Did you mean 'best'"):
        fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged="bset")


def test_a_mended_training_restarts_from_its_own_weights(whole, splits, tmp_path: Path) -> None:
    """Killed right after the restart: the best one of the earlier start is gone, or it would pass for this one's."""
    folder = copy_of(whole[1], tmp_path / "run")
    spoil(folder / "last.pt")
    fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged="restart")
    assert [path.name for path in folder.iterdir()] == ["last.pt"]
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder))) == whole[0]


def test_a_checkpoint_of_another_epoch_is_not_the_best(whole, splits, tmp_path: Path) -> None:
    folder = copy_of(whole[1], tmp_path / "run")
    (folder / "best.pt").write_bytes((folder / "last.pt").read_bytes())
    for way in ("refuse", "best"):
        with pytest.raises(
            ValueError, match=r"best\.pt is of epoch 4, but by last\.pt epoch 1 of 4 was best\. Pass damaged"
        ):
            fit(tiny_network(splits), splits, CONFIG, folder=folder, damaged=way)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
@pytest.mark.parametrize("other", ["seed", "config", "data", "cell"])
def test_checkpoints_of_another_training_are_refused(whole, splits, tmp_path: Path, name: str, other: str) -> None:
    network, config, data = tiny_network(splits), CONFIG, splits
    if other == "seed":
        network = checkpoints.build_network("03 00", network.config, seed=1)
    elif other == "cell":
        network = checkpoints.build_network("01 00", network.config)
    elif other == "config":
        config = replace(CONFIG, learning_rate=0.2)
    else:
        data = replace(splits, val=splits.train)
    folder = tmp_path / "other"
    list(fit(network, data, config, folder=folder))
    (folder / name).write_bytes((whole[1] / name).read_bytes())
    said = {"seed": "first_weights was 'seed 0', now 'seed 1'", "cell": "cell was", "config": "learning_rate was 0.1"}
    for way in ("refuse", "best", "restart"):  # no option makes it this training's
        with pytest.raises(ValueError, match=rf"holds another training: .*{said.get(other, 'data.sha256 was')}"):
            fit(network, data, config, folder=folder, damaged=way)


def test_weights_of_a_checkpoint_are_an_identity_of_their_own(whole, splits, tmp_path: Path) -> None:
    """A network that was loaded is trained on in a folder of its own, and goes on there."""
    loaded = load_network(whole[1] / "best.pt")
    list(fit(loaded, splits, CONFIG, folder=tmp_path))
    again = load_network(str(whole[1] / "best.pt"))
    assert len(list(fit(again, splits, CONFIG, folder=tmp_path))) == 4
    with pytest.raises(ValueError, match=r"first_weights was 'checkpoint \w+', now 'seed 0'"):
        fit(tiny_network(splits), splits, CONFIG, folder=tmp_path)


# ---- flipped bits, hostile files -------------------------------------------------------------------------------------


@pytest.mark.fault
def test_flipped_bits(whole, tmp_path: Path) -> None:
    """Every place is tried in strides; what is not refused holds exactly what was written."""
    content = (whole[1] / "last.pt").read_bytes()
    wanted, path = digest(read_checkpoint(whole[1] / "last.pt")), tmp_path / "flipped.pt"
    refused = same = tried = 0
    for place in range(0, len(content), max(1, len(content) // 600)):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        try:
            same += digest(read_checkpoint(path)) == wanted
        except ValueError:
            refused += 1
        tried += 1
    assert refused + same == tried >= 600
    assert refused > 0.8 * tried


@pytest.mark.fault
def test_cut_files(whole, tmp_path: Path) -> None:
    content, path = (whole[1] / "last.pt").read_bytes(), tmp_path / "cut.pt"
    for size in range(0, len(content), len(content) // 100):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=REFUSED):
            read_checkpoint(path)


class Shell:
    """Unpickled, it runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def zipped(path: Path, members: dict[str, bytes], *, how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


CONTENT = {"format": 2, "sha256": "0" * 64, "x": torch.arange(4.0)}
BIG = b"J\x00\x00\x00\x01"  # in a pickle: 2**24, where the file says K\x04, that is 4


def bomb(path: Path) -> None:
    members = {name: content + bytes(10**8) for name, content in members_of(path).items()}
    zipped(path, members, how=zipfile.ZIP_DEFLATED)


def grown(path: Path, old: bytes, new: bytes) -> None:
    zipped(path, {name: content.replace(old, new) for name, content in members_of(path).items()})


HOSTILE: dict[str, Callable[[Path, Path], object]] = {  # each gets the file, a checkpoint so far, and a mark to make
    "pickle": lambda path, mark: path.write_bytes(pickle.dumps(Shell(mark))),
    "pickle inside": lambda path, mark: torch.save(CONTENT | {"x": Shell(mark)}, path),
    "zip bomb": lambda path, mark: bomb(path),
    "repeated value": lambda path, mark: torch.save(CONTENT | {"x": torch.zeros(1).expand(10**12)}, path),
    "larger than its bytes": lambda path, mark: grown(path, b"K\x04", BIG),
    "larger than its storage": lambda path, mark: grown(path, b"K\x00K\x04", b"K\x00" + BIG),
    "deep": lambda path, mark: grown(path, b"\x80\x02}", b"\x80\x02" + b"(" * 10**6 + b"l" * 10**6 + b"}"),
    "no zip": lambda path, mark: path.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 40),
    "empty": lambda path, mark: path.write_bytes(b""),
    "list": lambda path, mark: torch.save([CONTENT], path),
    "without a sum": lambda path, mark: torch.save({"format": 2, "x": torch.zeros(3)}, path),
    "numpy": lambda path, mark: np.savez(path.open("wb"), x=np.zeros(3)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(splits, tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "last.pt", tmp_path / "ran"
    torch.save(CONTENT, path)
    HOSTILE[kind](path, mark)
    for read in (read_checkpoint, load_network, lambda p: fit(tiny_network(splits), splits, CONFIG, folder=p.parent)):
        with pytest.raises(ValueError, match=REFUSED) as error:
            read(path)
        assert len(str(error.value)) < 600
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"cell": 3},
        {"cell": "03 00"},
        {"cell": "03 00", "network_config": [1]},
        {"cell": "03 00", "network_config": {"input_shape": (1, 8, 8), "num_classes": 2}, "network": 3},
    ],
)
def test_checkpoints_of_no_network(tmp_path: Path, content: dict) -> None:
    write_checkpoint(tmp_path / "last.pt", content)
    with pytest.raises(ValueError, match=r"last\.pt does not describe a network"):
        load_network(tmp_path / "last.pt")


def test_older_formats_are_named(tmp_path: Path) -> None:
    torch.save({"format": 1, "cell": "03 00"}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"no checkpoint of format 2 \(found 1\); train again, by this version"):
        read_checkpoint(tmp_path / "last.pt")


def test_a_folder_in_the_place_of_a_checkpoint(splits, tmp_path: Path) -> None:
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        read_checkpoint(tmp_path / "last.pt")
    with pytest.raises(OSError, match="cannot write the checkpoint"):
        fit(tiny_network(splits), splits, CONFIG, folder=tmp_path)


# ---- a full disk -----------------------------------------------------------------------------------------------------


def no_space(*args: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_saved(content: object, path: Path) -> None:
    path.write_bytes(b"half")
    raise RuntimeError(
        "[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file: file write failed"
    )


@pytest.mark.parametrize(
    ("where", "what"),
    [("torch.save", half_saved), ("torch.save", no_space), ("os.fsync", no_space), ("os.replace", no_space)],
)
def test_a_full_disk_leaves_the_old_file(
    whole, splits, tmp_path: Path, monkeypatch, where: str, what: Callable
) -> None:
    folder = tmp_path / "run"
    records = fit(tiny_network(splits), splits, CONFIG, folder=folder)
    next(records)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(where, what)
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*; choose a writable folder with space"):
        next(records)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # no part of a new one either
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder))) == whole[0]


@pytest.mark.fault
@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are those of forked processes")
def test_a_limit_on_files(whole, splits, tmp_path: Path) -> None:
    """The operating system's own refusal, at 12 sizes: the first checkpoint is smaller than the later ones."""
    largest, threads = max(path.stat().st_size for path in whole[1].iterdir()), torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has one thread
    list(fit(tiny_network(splits), splits, CONFIG))
    for number in range(12):
        folder, size = tmp_path / str(number), number * largest // 12

        def train(folder: Path = folder, size: int = size) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            with pytest.raises(OSError, match="cannot write the checkpoint"):
                list(fit(tiny_network(splits), splits, CONFIG, folder=folder))

        assert not killed(train, lambda: None)
        assert told(list(fit(tiny_network(splits), splits, CONFIG, folder=folder))) == whole[0]
    torch.set_num_threads(threads)


def test_home_is_no_folder_named_tilde(whole, splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert told(list(fit(tiny_network(splits), splits, CONFIG, folder="~/run"))) == whole[0]
    write_checkpoint("~/run/other.pt", {"x": 1})
    assert read_checkpoint("~/run/other.pt") == {"x": 1}
    assert load_network("~/run/last.pt").config == tiny_network(splits).config
    assert sorted(path.name for path in (tmp_path / "home" / "run").iterdir()) == ["best.pt", "last.pt", "other.pt"]
    explorer = CellExplorer("03 00", space=CellSpace(("zeroize", "conv3x3"), 2, backward=False), folder="~/cells")
    explorer.save("mine")
    explorer.close()
    assert (tmp_path / "home" / "cells" / "mine.json").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("path", [None, 3, ["runs", "x"], object()])
def test_what_is_no_path(splits, path: object) -> None:
    uses = [lambda: load_network(path), lambda: read_checkpoint(path), lambda: write_checkpoint(path, {})]
    for use in uses if path is None else [*uses, lambda: fit(tiny_network(splits), splits, CONFIG, folder=path)]:
        with pytest.raises(RunError, match="expected a path such as 'runs/mine', got"):
            use()
