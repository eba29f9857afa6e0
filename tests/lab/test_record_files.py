"""What is written comes back as it was: odd names, lone values, threads; drives and systems that sync less."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from lightsnn_kit import locks
from lightsnn_kit.files import RunError, read_json, user_path, write_json
from lightsnn_kit.lab.runs import RunFolder


def test_an_entry_with_the_name_of_the_checksum_is_refused(run: RunFolder) -> None:
    with run.stage("a", {}) as stage:
        for write in (stage.append, stage.write_json):
            with pytest.raises(RunError, match="without an entry 'crc32'"):
                write("x", {"crc32": "mine"})
        assert stage.records("x") == []
        assert not stage.has("x")


@pytest.mark.parametrize("name", ["crc33", "arc32", "crc3x"])
def test_names_like_that_of_the_checksum_are_read_back(run: RunFolder, name: str) -> None:
    with run.stage("a", {}) as stage:
        stage.append("x", {name: 1})
        stage.write_json("x", {name: 1})
        assert stage.records("x") == [{name: 1}]
        assert stage.read_json("x") == {name: 1}


def test_a_record_that_is_no_dict_is_refused_before_it_is_written(run: RunFolder) -> None:
    with run.stage("a", {}) as stage:
        stage.append("x", {"i": 0})
        with pytest.raises(RunError, match="a record is a dict"):
            stage.append("x", [1, 2])
        assert stage.records("x") == [{"i": 0}]


@pytest.mark.parametrize("value", [3, [1], None, {"value": 3}, {"value": {"value": 3}}, {"value": 1, "b": 2}], ids=repr)
def test_every_value_comes_back_as_it_was(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


def test_threads_of_one_process_write_in_turn(run: RunFolder) -> None:
    with run.stage("a", {}) as stage:

        def write(of: int) -> None:
            for i in range(50):
                stage.append("x", {"of": of, "i": i})

        threads = [threading.Thread(target=write, args=(of,)) for of in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((one["of"], one["i"]) for one in stage.records("x")) == [
            (o, i) for o in range(4) for i in range(50)
        ]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES, errno.ENOTSUP])
def test_folders_that_a_drive_cannot_sync_and_files_that_must_be_open_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    opened, real_open, real_sync = {}, os.open, os.fsync

    def note(path: object, flags: int, *more: int) -> int:
        opened[file := real_open(path, flags, *more)] = (Path(path).is_dir(), flags & os.O_RDWR)
        return file

    def sync(file: int) -> None:
        folder, writable = opened.get(file, (False, True))
        if folder or not writable:  # Windows: EBADF for a file that is open to read alone
            raise OSError(code if folder else errno.EBADF, "refused")
        real_sync(file)

    monkeypatch.setattr(locks.os, "open", note)
    monkeypatch.setattr(locks.os, "fsync", sync)
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_a_disk_that_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locks.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_json(tmp_path / "x.json", {"a": 1})


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(RunError, match="a variable that is not set"):
        user_path("")
