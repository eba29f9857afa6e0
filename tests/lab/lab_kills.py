"""Run by itself: a piece of writing is killed at every one of its calls on files, and goes on to the same end.

Prints, as JSON, how often it was killed. A process without threads forks one child per kill, which is quick and exact.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import read_json, write_json, write_text
from lightsnn_kit.lab import runs
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.lab.saved_cells import load_cell, save_cell

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "fcntl.flock", "shutil.rmtree"}
KILLED = 9


def stage(folder: Path, said: Callable[[int], None]) -> object:
    made = RunFolder.open(folder).stage("a/seed0", {"seed": 0})
    if not made.finished:
        made.expect("scores", 4)
        for index in range(len(made.records("scores")), 4):
            made.append("scores", {"index": index})
            said(index + 1)
        made.write_json("chosen", {"cell": "x"})
        made.finish({"scores": 4})
    return made.settings, made.records("scores"), made.read_json("chosen"), made.result


def cells(folder: Path, said: Callable[[int], None]) -> object:
    for number in range(4):
        save_cell(Cell.parse("03 00"), folder, f"mine-{number}", replace=True)
    return [str(load_cell(folder, f"mine-{number}")) for number in range(4)]


def results(folder: Path, said: Callable[[int], None]) -> object:
    for number in range(5):
        write_json(folder / "results.json", {"rows": [number]}, replace=True)
    return read_json(folder / "results.json")


def pages(folder: Path, said: Callable[[int], None]) -> object:
    for number in range(5):
        write_text(folder / "report.html", f"<p>{number}</p>" * 1000)
    return (folder / "report.html").read_text(encoding="utf-8")


def job(folder: Path, said: Callable[[int], None]) -> object:
    from lightsnn_kit.lab import jobs

    for _ in range(2):
        with jobs.working(folder, [Path("a.ipynb")]):
            pass
    return jobs.status(folder)


def child(work: Callable, folder: Path, kill_at: int) -> tuple[int, int]:
    """Work in a forked process that dies at a call on files; its exit code, and how many records it told of."""
    told, tell = os.pipe()
    if (pid := os.fork()) == 0:
        seen = [0]

        def count(event: str, _: object) -> None:
            if event in EVENTS and threading.current_thread() is threading.main_thread():
                seen[0] += 1
                if seen[0] == kill_at:
                    os._exit(KILLED)

        sys.addaudithook(count)
        work(folder, lambda number: os.write(tell, bytes([number])))
        os._exit(0)
    os.close(tell)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(told, "rb") as pipe:
        return code, max(pipe.read(), default=0)


def main(kind: str, place: Path) -> int:
    """Kill at the first call, the second, ... until the work ends before; how often that was."""
    work = {"stage": stage, "cells": cells, "results": results, "pages": pages, "job": job}[kind]
    whole = work(place / "whole", lambda _: None)
    kills = 0
    while True:
        folder = place / f"killed-{kills}"
        code, told = child(work, folder, kills + 1)
        if code == 0:
            return kills
        assert code == KILLED, code
        records = folder / "a" / "seed0" / "scores.jsonl"
        if told:  # what was told as written is there
            assert len(runs.Stage(records.parent).records("scores")) >= told
        assert work(folder, lambda _: None) == whole
        left = [path.name for path in folder.rglob(".*.making")]
        assert left == [], left
        kills += 1


if __name__ == "__main__":
    runs.provenance = lambda: {"started": "now", "packages": {}}  # without git: it takes most of the time
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
