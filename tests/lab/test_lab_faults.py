"""What is promised of a run's files: kills, races, full disks, flipped bits, foreign and odd content."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightsnn_kit import __main__ as command_line
from lightsnn_kit import files, locks
from lightsnn_kit.cells import Cell
from lightsnn_kit.files import RunError, RunExistsError, read_json, write_json, write_text
from lightsnn_kit.lab import jobs, machine, runs, writers
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.notebooks import literal, run_notebook
from lightsnn_kit.lab.presets import get
from lightsnn_kit.lab.results import gather
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.lab.saved_cells import load_cell, save_cell

ROOT = Path(__file__).resolve().parents[2]


def scores(run: RunFolder, count: int = 3, name: str = "a/seed0") -> Stage:
    """A stage with some records, which this process writes."""
    stage = run.stage(name, {"seed": 0})
    for index in range(count):
        stage.append("scores", {"index": index, "score": -0.5 * index})
    return stage


def script(name: str, *arguments: object) -> object:
    """What a file beside this one prints, run by itself."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def elsewhere(code: str, *arguments: object) -> subprocess.Popen:
    """A process that runs some lines, and says when it is ready."""
    command = [sys.executable, "-c", f"import sys, os, time\nfrom pathlib import Path\n{code}", *map(str, arguments)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


HOLDS = """
from lightsnn_kit.lab.runs import RunFolder
stage = RunFolder.open(sys.argv[1]).stage("a/seed0", {"seed": 0})
stage.append("scores", {"index": 0, "score": -0.0})
print("ready", flush=True)
time.sleep(300)"""


# ---- kills and races -------------------------------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["stage", "cells", "results", "pages", "job"])
def test_writing_is_killed_at_every_call_and_goes_on(kind: str, tmp_path: Path) -> None:
    assert script("lab_kills.py", kind, tmp_path) >= 50


@pytest.mark.fault
def test_two_writers_at_once_leave_a_whole_run(tmp_path: Path) -> None:
    counts = script("lab_races.py", tmp_path)
    assert counts["ended"] + counts["refused"] == 120
    assert counts["ended"] >= 90
    assert counts["refused"] >= 1


def test_a_second_writer_is_told_who_writes_and_a_killed_one_lets_go(run: RunFolder) -> None:
    other = elsewhere(HOLDS, run.path)
    try:
        said = rf"being written by process {other.pid} on this machine, since 20\d\d-.* restart or close that kernel"
        with pytest.raises(RunError, match=said):
            run.stage("a/seed0", {"seed": 0})
        with pytest.raises(RunError, match=said):
            Stage(run.path / "a" / "seed0").write_json("state", {})
        assert run.read("a/seed0").records("scores") == [{"index": 0, "score": 0.0}]  # who reads is not held up
        assert jobs.status(run.path).stages[0].stage == "a/seed0"
        assert run.stage("b", {}).started  # another stage is another's
    finally:
        other.kill()
        other.wait()
    stage = run.stage("a/seed0", {"seed": 0})
    stage.append("scores", {"index": 1, "score": -0.5})
    assert [record["index"] for record in stage.records("scores")] == [0, 1]


TRIES = """
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import writers
from lightsnn_kit.lab.runs import RunFolder
writers._PATIENCE = 0.0
print("ready", flush=True)
try:
    RunFolder.open(sys.argv[1]).stage("a/seed0", {"seed": 0})
except RunError:
    sys.exit(1)"""


def test_a_stage_is_held_until_it_ends_and_by_its_process_alone(run: RunFolder) -> None:
    def open_to_others() -> bool:
        return elsewhere(TRIES, run.path).wait() == 0

    stage = scores(run)
    assert not open_to_others()
    with run.stage("a/seed0", {"seed": 0}) as again:  # the same process goes on, as a kernel after an interrupt
        again.append("scores", {"index": 3, "score": 0.0})
    assert not open_to_others()
    stage.__exit__()
    assert open_to_others()
    stage.append("scores", {"index": 4, "score": 0.0})  # for one write it is the writer again
    assert open_to_others()
    scores(run, 0).finish({})
    assert open_to_others()
    shutil.rmtree(stage.path)
    assert scores(run).started
    assert not open_to_others()


def test_a_forked_process_holds_nothing(run: RunFolder) -> None:
    stage = scores(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "_PATIENCE", 0.0)
        if (pid := os.fork()) == 0:
            try:
                stage.append("scores", {})
            except RunError:
                os._exit(7)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    stage.append("scores", {"index": 3})  # and it let go of nothing
    assert len(stage.records("scores")) == 4


def test_what_a_living_writer_makes_is_left_alone(tmp_path: Path) -> None:
    other = elsewhere(
        "from lightsnn_kit.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as making:\n"
        "    making.write_text('half')\n    print('ready', flush=True)\n    time.sleep(300)",
        tmp_path / "x.json",
    )
    [making] = tmp_path.glob(".*.making/new")
    write_text(tmp_path / "x.json", "mine")
    write_text(tmp_path / "other", "too")
    assert making.read_text() == "half"
    other.send_signal(signal.SIGKILL)
    other.wait()
    write_text(tmp_path / "x.json", "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "x.json"]


def test_a_drive_without_locks_is_written_but_never_tidied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    (tmp_path / ".x.json.abc.making").mkdir()  # perhaps of a living writer on another machine
    write_text(tmp_path / "x.json", "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.json.abc.making", "x.json"]
    assert scores(RunFolder.open(tmp_path / "run")).records("scores")[2]["index"] == 2


def test_a_temporary_file_of_an_earlier_version_is_no_record(run: RunFolder) -> None:
    (run.path / "a" / "seed0").mkdir(parents=True)
    (run.path / "a" / "seed0" / ".settings.json.4711").write_text("{")
    assert scores(run).started


def test_cancel_signals_no_foreign_process(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job on another machine whose number a process here has: it is asked by the file alone."""
    (run.path / "job").mkdir()
    own = machine.process_identity()
    for foreign in ({"host": "0123456789ab"}, {"created": own["created"] - 100.0}, {"pid": True}, {"pid": "7"}):
        assert machine.living(own | foreign) is None
    write_json(run.path / "job" / "job.json", own | {"host": "0123456789ab"})
    (run.path / "job" / "heartbeat").write_text("notebook 1 of 1")
    monkeypatch.setattr("psutil.Process.send_signal", lambda *_: pytest.fail("a signal"))
    assert jobs.status(run.path).state == "running"
    jobs.cancel(run.path, now=True)
    assert (run.path / "job" / "cancel").read_text() == "now"
    os.utime(run.path / "job" / "heartbeat", (0, 0))
    assert jobs.status(run.path).state == "failed"


# ---- full disks, read-only folders -----------------------------------------------------------------------------------


@contextmanager
def limit(kind: int, most: int) -> Iterator[None]:
    """The operating system gives no more than this to the process."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


WRITERS: dict[str, tuple[Callable[[RunFolder], object], Callable[[RunFolder], object]]] = {
    "settings": (lambda run: run.stage("new", {"x": "y" * 500}), lambda run: Stage(run.path / "new").started),
    "records": (
        lambda run: run.stage("a/seed0", {"seed": 0}).append("scores", {"text": "y" * 500}),
        lambda run: run.read("a/seed0").records("scores")[3:],
    ),
    "state": (
        lambda run: run.stage("a/seed0", {"seed": 0}).write_json("state", "y" * 500),
        lambda run: run.read("a/seed0").has("state"),
    ),
    "result": (
        lambda run: run.stage("a/seed0", {"seed": 0}).finish({"text": "y" * 500}),
        lambda run: run.read("a/seed0").finished,
    ),
    "page": (
        lambda run: write_text(run.path / "report.html", "y" * 500),
        lambda run: (run.path / "report.html").exists(),
    ),
    "export": (
        lambda run: write_json(run.path / "results.json", {"rows": ["y" * 500]}),
        lambda run: (run.path / "results.json").exists(),
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("full", [0, 1, 50, 300, "no space", "no files"])
def test_a_full_disk_leaves_what_was_there(
    kind: str, full: int | str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write fails with an error of the system, everything else stays, and with space it is made up for."""
    write, written = WRITERS[kind]
    stage = scores(run)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if full == "no space":
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", no_space)
            with pytest.raises(OSError, match="No space left"):
                write(run)
    elif full == "no files":
        used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        with limit(resource.RLIMIT_NOFILE, max(0, used - 5)), pytest.raises(OSError, match="Too many open files"):
            write(run)
    else:
        size = (stage.path / "scores.jsonl").stat().st_size if kind == "records" else 0
        with limit(resource.RLIMIT_FSIZE, size + full), pytest.raises(OSError, match="File too large"):
            write(run)
    assert not written(run)
    assert len(stage.records("scores")) == 3
    assert not list(run.path.rglob(".*.making"))
    write(run)
    assert written(run)


def test_a_job_says_that_the_disk_is_full(run: RunFolder, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one message, with status 2; and its last word is written from what was kept for it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "scores.jsonl")

    monkeypatch.setattr(command_line, "run_notebook", full)
    monkeypatch.setattr(command_line, "plan_notebooks", lambda *_, **__: [(Path("a.ipynb"), {})])
    monkeypatch.setattr(command_line, "as_lists", lambda _, given: given)
    assert command_line.main(["run", "a.ipynb", "--run", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: [Errno 28] No space left on device")
    assert "run it again to go on" in said
    assert len(said.splitlines()) == 1
    assert jobs.status(run.path).state == "failed"
    assert "No space left" in jobs.status(run.path).message


def test_a_job_without_files_left_writes_its_last_word(run: RunFolder) -> None:
    opened = []

    def use_all() -> None:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))

    used = len(os.listdir("/proc/self/fd"))
    try:
        with (
            limit(resource.RLIMIT_NOFILE, used + 200),
            pytest.raises(OSError, match="Too many open files"),
            jobs.working(run.path, []),
        ):
            use_all()
    finally:
        for file in opened:
            os.close(file)
    assert jobs.status(run.path).state == "failed"
    assert "Too many open files" in jobs.status(run.path).message


OPENERS = {
    "run folder": lambda path, notebook: RunFolder.open(path),
    "saved cell": lambda path, notebook: save_cell(Cell.parse("03 00"), path, "mine"),
    "notebook": lambda path, notebook: run_notebook(notebook, output=path / "out.ipynb"),
    "job": lambda path, notebook: jobs.start([notebook], run=path),
}


@pytest.mark.parametrize("kind", OPENERS)
def test_a_read_only_folder_is_told(kind: str, tmp_path: Path, write_notebook, monkeypatch) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "x = 1")

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(RunError, match=r"cannot write to the folder .*Read-only file system; choose another"):
        OPENERS[kind](tmp_path / "place", notebook)


def test_nobody_without_a_home_is_given_one(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(RunError, match="Could not determine home"):
        RunFolder.open("~/run")
    assert command_line.main(["evaluate", "--run", "~/run"]) == 2
    assert "expected a path" in capsys.readouterr().err


# ---- flipped bits, doubled and moved files ---------------------------------------------------------------------------


def finished_run(folder: Path) -> dict[Path, Callable[[], object]]:
    """Every kind of file that the lab reads back, and how it is read."""
    run = RunFolder.open(folder)
    stage = scores(run)
    stage.expect("scores", 3)
    stage.write_json("layers", [{"name": "a"}, {"name": "b"}])
    stage.finish({"test_accuracy": 0.5, "cell": "x"})
    cell = save_cell(Cell.parse("0303 0030 2002 0200"), folder / "cells", "mine")
    with jobs.working(folder, [Path("a.ipynb")]):
        pass
    write_json(folder / "results.json", {"rows": [{"seed": 0}]})
    place = stage.path
    reads = {
        place / "settings.json": lambda: stage.settings,
        place / "scores.jsonl": lambda: stage.records("scores"),
        place / "layers.json": lambda: stage.read_json("layers"),
        place / "expected.json": lambda: stage.read_json("expected"),
        place / "result.json": lambda: stage.result,
        cell: lambda: load_cell(folder / "cells", "mine"),
        folder / "results.json": lambda: read_json(folder / "results.json"),
    }
    reads |= {folder / "job" / f"{name}.json": lambda: jobs.status(folder) for name in ("job", "end")}
    return reads


@pytest.mark.fault
def test_no_flipped_bit_is_taken_for_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bit of each file: what is read is what was written, or it is refused in words."""
    monkeypatch.setattr(runs, "provenance", lambda: {"started": "now", "packages": {}})
    same, said = 0, []
    for path, read in finished_run(tmp_path / "run").items():
        whole, written = read(), path.read_bytes()
        for bit in range(8 * len(written)):
            flipped = bytearray(written)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                assert read() == whole, (path, bit, bytes(flipped))
                same += 1
            except RunError as error:
                said.append(str(error))
        path.write_bytes(written)
    assert same < 0.02 * len(said)  # line breaks at ends of files, and their like
    assert len(said) > 8_000
    assert [text for text in said if not re.search("[Rr]emove|Restore", text)] == []  # each says how to go on


def test_every_torn_record_is_made_up_for(run: RunFolder) -> None:
    stage = scores(run)
    path = stage.path / "scores.jsonl"
    whole, two = path.read_bytes(), stage.records("scores")[:2]
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert stage.records("scores") == two
        stage.append("scores", {"index": 2, "score": -1.0})
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *lines],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [*lines, b"[1]\n"],
        lambda lines: [*lines, b'{"index": 3}\n'],
        lambda lines: [*lines[:2], lines[2][:-1] + b"x"],
    ],
    ids=["doubled", "doubled first", "swapped", "one lost", "first lost", "empty", "no object", "unsigned", "break"],
)
def test_records_that_were_not_written_so_are_refused(change: Callable, run: RunFolder) -> None:
    path = scores(run).path / "scores.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(RunError, match=r"[Rr]emove"):
        run.read("a/seed0").records("scores")


def test_lines_can_be_removed_and_the_run_goes_on(run: RunFolder) -> None:
    """The way on that the message names."""
    path = scores(run).path / "scores.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[1], lines[2]]))
    with pytest.raises(RunError, match=r"line 3 of .*Remove the lines from 3 on, and the run goes on there"):
        scores(run, 0).records("scores")
    path.write_bytes(b"".join(lines[:2]))
    stage = scores(run, 0)
    stage.append("scores", {"index": 2, "score": -1.0})
    assert path.read_bytes() == b"".join(lines)


def test_files_of_earlier_versions_are_read_and_gone_on_with(run: RunFolder) -> None:
    """Without checksums, identity and the settings that came later."""
    place = run.path / "a" / "seed0"
    place.mkdir(parents=True)
    (place / "settings.json").write_text('{"settings": {"seed": 0, "train": {"epochs": 3}}, "provenance": {}}')
    (place / "scores.jsonl").write_text('{"index": 0}\n')
    (place / "layers.json").write_text('[{"name": "a"}]')
    new = {"seed": 0, "train": {"epochs": 3, "dampening": 0.0}}
    with pytest.raises(RunExistsError, match=r"train\.dampening was 'absent', now 0\.0"):
        run.stage("a/seed0", new)
    stage = run.stage("a/seed0", new, defaults={"train": {"dampening": 0.0}})
    stage.append("scores", {"index": 1})
    assert stage.records("scores") == [{"index": 0}, {"index": 1}]
    assert stage.read_json("layers") == [{"name": "a"}]
    doubled = (place / "scores.jsonl").read_bytes().splitlines(keepends=True)
    (place / "scores.jsonl").write_bytes(b"".join([*doubled, doubled[1]]))
    with pytest.raises(RunError, match="line 3"):
        stage.records("scores")


def test_a_stage_under_anothers_name_is_refused(run: RunFolder) -> None:
    stage = scores(run)
    stage.finish({"method": "a"})
    shutil.copytree(stage.path, run.path / "b" / "seed0")
    for read in (
        lambda: run.stage("b/seed0", {"seed": 0}),
        lambda: run.read("b/seed0").settings,
        lambda: gather(run.path),
        lambda: Experiment(run, get("digits")).rows(),
    ):
        with pytest.raises(RunError, match=r"b/seed0 holds the stage 'a/seed0', copied or renamed.*remove it"):
            read()
    moved = shutil.copytree(run.path, run.path.parent / "moved")  # a whole run may lie where it will
    shutil.rmtree(moved / "b")
    assert RunFolder.open(moved).read("a/seed0").result == {"method": "a"}


@pytest.mark.parametrize("name", ["result.json", "scores.jsonl", "chosen.json"])
def test_a_file_of_another_stage_is_refused(name: str, run: RunFolder) -> None:
    mine, other = (scores(run, name=f"{letter}/seed0") for letter in "ab")
    for stage in (mine, other):
        stage.write_json("chosen", {"cell": "x"})
        stage.finish({"test_accuracy": 0.5})
    shutil.copy(other.path / name, mine.path / name)
    with pytest.raises(RunError, match="belongs to another stage"):
        _ = mine.result, mine.records("scores"), mine.read_json("chosen")


def test_a_file_edited_by_hand_is_read_without_its_checksum(tmp_path: Path) -> None:
    path = save_cell(Cell.parse("03 00"), tmp_path, "mine")
    text = path.read_text().replace("conv3x3", "skip")
    path.write_text(text)
    with pytest.raises(RunError, match="edited by hand is read without 'crc32'"):
        load_cell(tmp_path, "mine")
    path.write_text(re.sub(r', "crc32": "\w+"', "", text))
    assert load_cell(tmp_path, "mine") == Cell.parse("01 00")


def test_absent_settings_are_their_defaults() -> None:
    defaults = {"train": {"dampening": 0.0, "crop": 0}, "budget": 5, "data": {}}
    old, new = {"train": {"epochs": 2}, "budget": 5}, {"train": {"epochs": 2, "dampening": 0.0, "crop": 1}, "data": {}}
    assert files.differences(old, new, defaults=defaults) == ["train.crop was 0, now 1"]
    assert files.differences(new, old, defaults=defaults) == ["train.crop was 1, now 0"]


# ---- odd content -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["-" * 3000, "[" * 5000, "(" * 150 + ")" * 149, "9" * 5000, "{" * 100, "\0", "{[]: 1}", "1e999" + "-" * 9]
)
def test_values_of_parameters_end_as_text_or_in_the_documented_error(text: str, tmp_path, write_notebook, capsys):
    notebook = write_notebook(tmp_path / "n.ipynb", "a = 1")
    with pytest.raises(ValueError, match="expected a literal"):
        literal(text)
    assert command_line.main(["run", str(notebook), "--run", str(tmp_path / "run"), "-p", f"a={text}"]) == 2
    said = capsys.readouterr().err
    assert "expects int like its default 1" in said
    assert len(said) < 1000


def test_the_demo_needs_its_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(command_line, "NOTEBOOKS", tmp_path / "site-packages" / "notebooks")
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["demo"]) == 2
    said = capsys.readouterr().err
    assert "Clone the repository" in said
    assert "search, train and evaluate" in said
    assert not (tmp_path / "runs").exists()
