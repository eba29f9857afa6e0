"""``python -m lightsnn_kit.score_study <study>``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from .searches import study_feedback, study_searches, study_stability
from .study import measure_only, save, study_correlations
from .trained_cells import study_trained_cells


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the study's commands."""
    studies = {"correlations": study_correlations, "searches": study_searches, "stability": study_stability}
    studies |= {"feedback": study_feedback, "trained_cells": study_trained_cells}
    parser = argparse.ArgumentParser(prog="python -m lightsnn_kit.score_study", description="Notebook 02's figures.")
    parser.add_argument("what", choices=("measure", *studies))
    parser.add_argument("--bench", help="folder of SpikeNAS-Bench")
    parser.add_argument("--dataset", default="fashion-mnist-small", help="images to score on (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="weights and batches (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=500, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=40, help="cells to train in each set (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=6, help="of them, trained from 3 seeds (default: %(default)s)")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, start = parser.parse_args(given), time.perf_counter()
    if options.what == "measure":
        measure_only(options)
        return
    result = studies[options.what](options)
    command = " ".join(["python -m lightsnn_kit.score_study", *given])
    path = save(f"score_{options.what}", result, command=command, seconds=time.perf_counter() - start)
    print(f"{path} in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
