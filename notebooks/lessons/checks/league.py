"""Checkers of the lesson "Whose score predicts best?", and its league: which cells are held back, who is ahead.

The accuracies lie in ``data/results``, open to everybody: what is held back is held back by agreement.
"""

from __future__ import annotations

import hashlib
import math
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import ModuleType

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import project_root
from lightsnn_kit.spaces import OpMask

from .tools import need, trained_set

LEAGUE_SETS = ("motion-dvs", "fashion-mnist-small+forward")
TRY_OUT = (
    "0103 1000 0000 0000",
    "0303 0030 2002 0200",
    "0111 0011 0001 0000",
    "0000 0003 0300 0000",
)  # the last one has no path

Cells = list[tuple[OpMask, float]]
"""Cells, as masks with one op on each edge, and their test accuracies."""


def league_cells(trained_on: str, *, seed: int = 0) -> tuple[Cells, Cells]:
    """The open half and the half held back of the cells trained on a set: by the hash of seed and cell."""
    if trained_on not in LEAGUE_SETS:
        raise ValueError(f"no league of {trained_on!r}; expected one of {', '.join(LEAGUE_SETS)}.")
    masks, accuracies, _ = trained_set(trained_on)
    cells = list(zip(masks, accuracies.tolist(), strict=True))
    drawn = sorted(cells, key=lambda one: hashlib.sha256(f"{seed} {one[0].to_cell()}".encode()).digest())
    half = (len(cells) + 1) // 2
    shown, held = (sorted(part, key=cells.index) for part in (drawn[:half], drawn[half:]))
    return shown, held


def _ranks() -> ModuleType:
    """The rank statistics of the score studies, which have their home beside the notebooks of ``reproduce``."""
    folder = str(project_root() / "notebooks" / "reproduce")
    if folder not in sys.path:
        sys.path.append(folder)
    from studies import ranks

    return ranks


def league_table(
    entries: Mapping[str, Callable[[OpMask], float]], cells: Cells, *, seed: int = 0, resamples: int = 1000
) -> list[dict[str, object]]:
    """One row per entry, the best first: share of pairs ordered right (ties half), tau-b, and how far behind the first.

    All three are intervals of 95 % over cells drawn with replacement (``scipy.stats.bootstrap``); the last is of the
    difference on the same cells, and tells an entry from the first where it does not hold 0.
    """
    ranks, accuracies = _ranks(), [accuracy for _, accuracy in cells]
    options, share = {"seed": seed, "resamples": resamples}, ranks.ordered_right
    scores = {name: [float(score(mask)) for mask, _ in cells] for name, score in entries.items()}
    right = {name: ranks.bootstrap(share, values, accuracies, **options) for name, values in scores.items()}
    order = sorted(scores, key=lambda name: -right[name].estimate)
    return [
        {
            "entry": name,
            "right": right[name],
            "tau": ranks.bootstrap(ranks.kendall_tau, scores[name], accuracies, **options),
            "behind": ranks.bootstrap_difference(share, (scores[order[0]], scores[name]), accuracies, **options),
        }
        for name in order
    ]


def read_entries(folder: str | Path) -> dict[str, Callable[[OpMask], float]]:
    """The function ``entry`` of every .py file in a folder, by the file's name; it runs the code of these files.

    ``ValueError`` naming a file that has none.
    """
    entries = {}
    for path in sorted(Path(folder).glob("*.py")):
        found = runpy.run_path(str(path)).get("entry")
        if not callable(found):
            raise ValueError(f"{path.name} has no function entry(mask); ask its author for one.")
        entries[path.stem] = found
    return entries


def check_pairs_right(pairs_right: Callable) -> None:
    """(scores, accuracies) → share of pairs of different accuracy in the right order, ties of the score half."""
    for scores, accuracies in (
        ([1, 2, 3, 4], [10, 30, 20, 40]),
        ([4, 3, 2, 1], [1, 2, 3, 4]),
        ([1, 1, 2, 3], [80, 81, 81, 88]),
        ([5, 5, 5], [1, 2, 3]),
        ([-math.inf, 0, -math.inf, 2], [3, 2, 1, 9]),
    ):
        got = pairs_right(scores, accuracies)
        need(isinstance(got, Real), f"return a number (float), not a {type(got).__name__}.")
        want = _ranks().ordered_right(scores, accuracies)
        hint = "Pairs of equal accuracy do not count at all; of the others, a tie in the score counts a half."
        near = abs(got - want) < 1e-9
        need(near, f"scores {scores}, accuracies {accuracies}: the share is {want:.4f}, not {got:.4f}. {hint}")
    print("pairs_right: correct.")


def wrong_pairs_right(scores: Sequence[float], accuracies: Sequence[float]) -> float:
    """A tie in the score counts as wrong."""
    pairs = [(i, j) for i in range(len(scores)) for j in range(len(scores)) if accuracies[i] > accuracies[j]]
    return sum(scores[i] > scores[j] for i, j in pairs) / len(pairs)


def check_entry(entry: Callable) -> None:
    """A mask with one op on each edge → a number, the same each time; also for a cell without a path."""
    masks = [OpMask.from_cell(Cell.parse(text)) for text in TRY_OUT]
    values = [entry(mask) for mask in masks]
    wrong = [(text, value) for text, value in zip(TRY_OUT, values, strict=True) if not _is_score(value)]
    need(not wrong, f"the score of {wrong[0][0] if wrong else ''} should be a number, not {wrong[:1]!r:.80}.")
    need(values == [entry(mask) for mask in masks], "the same cells should get the same scores the second time.")
    need(len(set(values)) > 1, "all cells got the same score; an entry must prefer some.")
    print("entry: correct; it can be ranked.")


def _is_score(value: object) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def wrong_entry(mask: OpMask) -> float | None:
    """The longest path, and nothing for a cell without any."""
    lengths = mask.to_cell().conv_path_lengths()
    return lengths[1] if lengths else None
