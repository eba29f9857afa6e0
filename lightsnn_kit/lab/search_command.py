"""``python -m lightsnn_kit search``: choose a cell for a data set, and say it in words or as one JSON line.

Torch and the data are imported when the command runs, so that the command line itself stays light.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

from ..criteria import CRITERIA, FoundCell, cell_paths, find_cell
from ..files import to_strict
from ..spaces import SPACES, CellSpace


@dataclass(frozen=True, kw_only=True)
class SearchPreset:
    """How a search scores: the criterion, and the settings of the ``Scorer`` behind it."""

    criterion: str
    bn: str = "batch"
    feedback: bool = True
    num_batches: int = 2


SEARCH_PRESETS = {
    "balanced": SearchPreset(criterion="balanced", num_batches=1),
    "lightsnn": SearchPreset(criterion="sahd"),
    "lightsnn-published": SearchPreset(criterion="sahd", bn="running", feedback=False),
    "hd": SearchPreset(criterion="hd"),
}
"""Searches by name. ``balanced`` is for use; ``lightsnn`` is the paper's; ``lightsnn-published`` has the statistics and
the unread feedback of its code (``presets.VARIANTS["published"]`` has all that its code did)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``search`` on a subcommand's parser."""
    add = parser.add_argument
    add("--preset", choices=SEARCH_PRESETS, default="balanced", help="how to search (default: %(default)s)")
    add("--dataset", default="digits", help="a name that lightsnn_kit.data.load knows (default: %(default)s)")
    add("--space", choices=SPACES, default="lightsnn", help="the space to search (default: %(default)s)")
    add("--no-backward", action="store_true", help="only the forward edges of the space")
    add("--seed", type=int, default=0, help="of weights and scoring batches (default: %(default)s)")
    add("--width", type=int, default=16, help="channels of cell 1 (default: %(default)s)")
    add("--steps", type=int, default=5, help="time steps for static images (default: %(default)s)")
    add("--batch-size", type=int, default=64, help="samples in a scoring batch (default: %(default)s)")
    add("--json", action="store_true", help="the last line is one JSON object")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Search as the options say, print the result, and return what the JSON line holds. ``ValueError`` if it cannot."""
    preset, space = SEARCH_PRESETS[options.preset], SPACES[options.space]
    if options.no_backward:
        space = CellSpace(space.ops, space.num_nodes, backward=False)
    scorer = _scorer(preset, space, options)
    recurrent = space.backward and scorer.supernet.config.events  # still images have no temporal order to remember
    found = find_cell(space, scorer, criterion=preset.criterion, recurrent=recurrent)
    result = describe(found) | {"preset": options.preset, "dataset": options.dataset, "seed": options.seed}
    print(json.dumps(to_strict(result)) if options.json else _in_words(found))
    return result


def _scorer(preset: SearchPreset, space: CellSpace, options: argparse.Namespace):
    from ..data import load, scoring_batches
    from ..networks import NetworkConfig, build_supernet
    from ..scoring import Scorer

    splits = load(options.dataset, seed=options.seed)
    settings = splits.network_settings() | {"width": options.width, "num_steps": options.steps}
    batches = scoring_batches(
        splits.train, batch_size=options.batch_size, num_batches=preset.num_batches, seed=options.seed
    )
    return Scorer(
        supernet=build_supernet(space, NetworkConfig(**settings), seed=options.seed),
        batches=batches,
        proxy="hd" if preset.criterion == "hd" else "sahd",
        bn=preset.bn,
        feedback=preset.feedback,
    )


def describe(found: FoundCell) -> dict[str, object]:
    """The JSON of a found cell: its string, op by edge, path figures, score, number of scores and seconds."""
    paths = cell_paths(found.cell)
    return {
        "cell": str(found.cell),
        "edges": {str(edge): str(op) for edge, op in found.cell.edge_ops.items()},
        "paths": asdict(paths) if paths else None,
        "criterion": found.criterion,
        "score": found.score,
        "evaluations": found.evaluations,
        "seconds": round(found.seconds, 3),
    }


def _in_words(found: FoundCell) -> str:
    paths = cell_paths(found.cell)
    shape = f"{paths.depth} convolutions deep, {paths.convs} in all, {paths.edges} edges" if paths else "no path"
    return (
        f"{found.cell}\n{shape}\n{found.criterion}: {CRITERIA[found.criterion]}\n"
        f"score {found.score:.4f}, {found.evaluations} scores in {found.seconds:.1f} s"
    )
