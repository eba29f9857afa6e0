"""Run every part of ``make gpu`` with a limit of its own, and write one JSON and one page; nothing is fatal.

``python -m tests.gpu --rehearse`` goes through all of it on the CPU at tiny sizes: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from lightsnn_kit.files import project_root, write_json
from tests.gpu.roofline import on_paper

LIMIT = 8 * 60  # seconds for all parts together


def main() -> None:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at tiny sizes")
    parser.add_argument("--parts", nargs="*", help="only these")
    parser.add_argument("--folder", type=Path, help="where to write (runs/gpu; a rehearsal or parts have their own)")
    parser.add_argument("--one", nargs=2, metavar=("PART", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return run_one(*options.one, rehearsal=options.rehearse)
    from tests.gpu.parts import PARTS

    chosen = options.parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)[0]!r}; expected some of {', '.join(PARTS)}")
    kind = "gpu-rehearsal" if options.rehearse else "gpu-parts" if options.parts else "gpu"  # none replaces a whole run
    options.folder = options.folder or project_root() / "runs" / kind
    options.folder.mkdir(parents=True, exist_ok=True)
    started, parts = time.perf_counter(), []
    for name in chosen:
        left = LIMIT - (time.perf_counter() - started)
        parts.append(limited(name, min(PARTS[name][1], left), options.folder, rehearsal=options.rehearse))
        print(summary(parts[-1]), flush=True)
        found = {"machine": facts(), "rehearsal": options.rehearse, "paper": on_paper(), "parts": parts}
        write_json(options.folder / "gpu.json", found, replace=True)  # after each part: nothing is lost if one hangs
        (options.folder / "gpu.md").write_text(page(found), encoding="utf-8")
    print(f"written to {options.folder / 'gpu.md'}")
    if options.rehearse and (missed := [part["name"] for part in parts if part["status"] != "done"]):
        sys.exit(f"the rehearsal of {', '.join(missed)} was not done: see above, and {options.folder / missed[0]}.log")


def run_one(name: str, file: str, *, rehearsal: bool) -> None:
    """One part, in this process."""
    from tests.gpu.parts import PARTS, Place

    rows = PARTS[name][0](Place(rehearsal))
    write_json(Path(file), {"rows": rows}, replace=True)


def limited(name: str, limit: float, folder: Path, *, rehearsal: bool) -> dict:
    """One part in a process of its own: what it found, or why there is nothing."""
    import torch

    result = {"name": name, "status": "skipped", "seconds": 0.0, "rows": []}
    if not rehearsal and not torch.cuda.is_available():
        return result | {"reason": "torch sees no CUDA device"}
    if limit < 5:
        return result | {"reason": f"the {LIMIT // 60} minutes for all parts are over"}
    file, log = folder / f"{name}.json", folder / f"{name}.log"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.gpu", "--one", name, str(file), *["--rehearse"] * rehearsal]
    started = time.perf_counter()
    with log.open("w") as out:
        code = run_group(command, out, limit)
    result["reason"] = f"not ready after {limit:.0f} s" if code is None else f"ended with {code}: {last_line(log)}"
    result["reason"] = result["reason"] if code != 0 else ""
    result["seconds"] = round(time.perf_counter() - started, 1)
    if file.exists() and not result["reason"]:
        result |= {"status": "done", "rows": json.loads(file.read_text())["rows"]}
    file.unlink(missing_ok=True)
    return result


def run_group(command: list[str], out: TextIO, limit: float) -> int | None:
    """The exit status, None if it took too long; whatever it started (pytest, compilers) ends with it."""
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also where Ctrl-C ends all
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(log: Path) -> str:
    return next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "no output")[:300]


def facts() -> dict:
    """The machine, the card and the software."""
    import torch

    from lightsnn_kit.lab.runs import provenance

    found = provenance()
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"gpu_memory": f"{card.total_memory / 2**30:.0f} GiB", "capability": f"{card.major}.{card.minor}"}
        found |= {"cuda": torch.version.cuda}
    return found


def summary(part: dict) -> str:
    lines = [f"{part['name']}: {part['status']} in {part['seconds']} s {part.get('reason', '')}".rstrip()]
    for line in part["rows"]:
        target = "" if line["target"] is None else f"  expected {line['target']:g}: {'yes' if line['holds'] else 'NO'}"
        lines.append(f"  {line['name']:45s} {line['value']:12.4f} {line['unit']}{target}")
    return "\n".join(lines)


def page(found: dict) -> str:
    """The page: facts, the roofline, and a table per part."""
    made = dict(found["machine"])
    made |= {"torch": made["packages"].get("torch"), "commit": (made["git"] or {}).get("commit")}
    known = ("gpu", "gpu_memory", "capability", "cuda", "torch", "processor", "processors", "commit", "started")
    lines = ["# On a GPU", "", "Written by `make gpu`" + (" (a rehearsal: numbers mean nothing)" * found["rehearsal"])]
    lines[-1] += ": " + ", ".join(f"{name} {made[name]}" for name in known if made.get(name) is not None) + "."
    lines += [
        "",
        "## The search on paper",
        "",
        "60 scores, two batches of 64 images, T = 5, 32×32 (`tests/gpu/roofline.py`).",
        "",
    ]
    lines += found["paper"]
    for part in found["parts"]:
        lines += ["", f"## {part['name']}", ""]
        if part["status"] != "done":
            lines.append(f"Skipped: {part['reason']}.")
            continue
        lines += [f"{part['seconds']} s.", "", "| row | value | unit |", "|---|--:|---|"]
        wrong = {True: "", None: "", False: ", **not as expected**"}
        lines += [f"| {r['name']} | {r['value']:,.4g} | {r['unit']}{wrong[r['holds']]} |" for r in part["rows"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
