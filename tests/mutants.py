"""Small wrong changes to the code, one at a time, which the quick tests must notice: ``make mutants``.

They stand in ``mutants.txt``. A copy of the package with one change is put before the installed one, and the tests
named for the file run until one fails. Not a part of CI: it takes half an hour of two cores.
``make mutants FILES=kernels`` takes only the files whose names hold that word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
TIMEOUT = 600.0  # seconds; a change may make a loop endless

# What each file's changes are shown to; the first are the likeliest to notice.
TESTS = {
    "cells": "core/cells core/search core/paths core/methods core/networks core/golden",
    "ops": "core/own core/cells core/search core/golden",
    "blocks": "core/own core/networks core/golden",
    "spaces": "core/cells core/search core/paths core/methods core/golden",
    "search": "core/search core/golden",
    "paths": "core/paths core/methods core/golden",
    "methods": "core/methods core/golden",
    "evolution": "core/evolution core/methods core/golden",
    "pareto": "core/evolution core/methods core/golden",
    "kernels": "core/scoring core/golden fast/device fast/engine",
    "exact": "core/scoring fast/engine core/golden core/own",
    "recording": "core/scoring core/golden fast/engine",
    "nir_export": "core/nir",
    "networks": "core/networks core/scoring core/training_oracle core/golden fast/engine core/own",
    "scoring": "core/scoring core/evolution core/golden fast/engine core/energy core/own",
    "energy": "core/energy core/evolution core/golden core/own",
    "training": "core/training core/golden core/training_oracle",
    "updates": "core/training core/golden core/training_oracle core/parts core/ranks",
    "recompute": "core/parts",
    "fast/plan": "fast/engine core/golden",
    "fast/engine": "fast/engine core/golden",
    "fast/device": "fast/device fast/engine core/golden",
    "fast/parts": "fast/device fast/engine core/golden",
    "fast/cpu_engine": "fast/engine core/golden",
    "fast/cpu_loops": "fast/vectors fast/engine core/golden",
    "fast/cpu_parts": "fast/engine core/golden",
    "fast/threads": "fast/engine",
    "fast/amx": "fast/vectors fast/engine",
    "fast/vectors": "fast/vectors fast/engine",
}


def read_mutants() -> list[tuple[str, str, str]]:
    """(file, text, replacement) of each change in ``mutants.txt``: ``@ file``, then lines with ``-`` and with ``+``."""
    found: list[tuple[str, list[str], list[str]]] = []
    for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("@ "):
            found.append((line[2:], [], []))
        elif not line.startswith("#"):
            found[-1][1 if line[0] == "-" else 2].append(line[1:])
    return [(file, "\n".join(old), "\n".join(new)) for file, old, new in found]


MUTANTS = read_mutants()


def run(number: int, *, tests: dict[str, str] = TESTS) -> str:
    """Test one change in a copy of its own; returns the test that noticed it, or ''."""
    file, old, new = MUTANTS[number]
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in ("lightsnn_kit", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("browser", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        target = copy / "lightsnn_kit" / f"{file}.py"
        text = target.read_text()
        target.write_text(text.replace(old, new))
        names = [f"tests/{name.replace('/', '/test_')}.py" for name in tests[file].split()]
        environment = os.environ | {
            "PYTHONPATH": str(copy),
            "OMP_NUM_THREADS": "1",
            "LIGHTSNN_DATA": str(ROOT / "data"),
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        options = {"cwd": copy, "env": environment, "capture_output": True, "text": True, "timeout": TIMEOUT}
        try:
            done = subprocess.run(command, check=False, **options)
        except subprocess.TimeoutExpired:
            return "ran on and on"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].removeprefix("FAILED ").partition(" - ")[0] if lines else f"status {done.returncode}"


def main(words: list[str]) -> int:
    chosen = [i for i, mutant in enumerate(MUTANTS) if not words or any(word in mutant[0] for word in words)]
    alive = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, noticed in zip(chosen, pool.map(run, chosen), strict=True):
            file, _, new = MUTANTS[number]
            print(f"{number + 1:3} {file}: {' '.join(new.split())[:70]!r}: {noticed or 'NOT NOTICED'}", flush=True)
            alive += [] if noticed else [number]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} changes noticed")
    return len(alive)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
