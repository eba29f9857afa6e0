"""Run by itself: two processes write the stages of one run folder at the same time, many times over.

Prints, as JSON, how often both came to an end, one after the other, and how often one was told that the other writes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lightsnn_kit.files import RunError
from lightsnn_kit.lab import runs, writers
from lightsnn_kit.lab.runs import RunFolder

RECORDS = [{"index": index} for index in range(8)]


def write(folder: Path) -> None:
    stage = RunFolder.open(folder).stage("a/seed0", {"seed": 0})
    if not stage.finished:
        for record in RECORDS[len(stage.records("scores")) :]:
            stage.append("scores", record)
        stage.finish({"scores": len(RECORDS)})
    assert stage.records("scores") == RECORDS


def racer(folder: Path, start: int, patience: float) -> int:
    if (pid := os.fork()) == 0:
        writers._PATIENCE = patience
        os.read(start, 1)  # both at once
        try:
            write(folder)
        except RunError as error:
            text = str(error)
            os._exit(1 if f"process {os.getppid()}" not in text and "process" in text and "restart" in text else 2)
        os._exit(0)
    return pid


def main(place: Path, rounds: int = 60) -> dict[str, int]:
    counts = {"ended": 0, "refused": 0}
    for number in range(rounds):
        start, go = os.pipe()
        racers = [racer(place / f"run-{number}", start, 0.0 if number % 2 else 30.0) for _ in range(2)]
        os.write(go, b"12")
        os.close(go)
        os.close(start)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in racers]
        assert sorted(codes) in ([0, 0], [0, 1]), codes
        counts["ended"] += codes.count(0)
        counts["refused"] += codes.count(1)
        write(place / f"run-{number}")  # whole: each record once
    return counts


if __name__ == "__main__":
    runs.provenance = lambda: {"started": "now", "packages": {}}  # without git: it takes most of the time
    print(json.dumps(main(Path(sys.argv[1]))))
