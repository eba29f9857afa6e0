"""A finished run as somebody else may have made it: every text in its files is one that a page must not obey."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np

from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.presets import get

TAG = "<img src=x onerror=window.obeyed=1>"
HOSTILE = f"{TAG}<script>window.obeyed=1</script>[a](javascript:window.obeyed=1)![]({TAG})`|{TAG}|"
# What names an op, an edge or a choice is checked when it is read, and text of another kind refused.
_CHECKED = {"cell", "chosen_cell", "space", "proxy", "bn", "engine", "loss", "amp", "channels_last", "dataset", "pool"}
_CHECKED |= {"method", "edge", "op", "undone", "scores", "mask", "preset", "records", "right"}


def make(folder: Path) -> Path:
    """A run with one row of pruning, tested, whose report shows all that a report shows."""
    experiment = Experiment.open(folder, get("digits").quick())
    row = experiment.row("lightsnn", 0)
    row.run()
    place, named = row.stage.path, experiment.folder.path / TAG / "seed0"
    named.parent.mkdir()
    shutil.move(place, named)
    for path in sorted(folder.rglob("*.json*")):
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        path.write_text("\n".join(json.dumps(spoilt(unsigned(line))) for line in lines) + "\n", encoding="utf-8")
    spikes, labels = np.ones((2, 3, 8), np.uint8), np.arange(3)
    np.savez(named / "spikes.npz", spikes=spikes, labels=labels, layer=HOSTILE)
    return folder


def unsigned(line: str) -> object:
    """As an earlier version wrote it: whoever makes up a file can sum it, too."""
    value = json.loads(line)
    value = value.get("value", value)
    if isinstance(value, dict):
        value.pop("crc32", None)
        value.pop("stage", None)
        value.pop("id", None)
        value.get("settings", {}).pop("experiment", None)
    return value


def spoilt(value: object, name: str = "") -> object:
    """The value with hostile texts."""
    if isinstance(value, dict):
        return {key: TAG if (key, item) == ("method", "lightsnn") else spoilt(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [spoilt(item, name) for item in value]
    return HOSTILE if isinstance(value, str) and name not in _CHECKED else value


def live(page: str) -> list[str]:
    """What a browser would obey in a page: tags of the hostile text, and links that are scripts."""
    return re.findall(r"<img src=x|<script>window\.obeyed|href=[\"']?javascript:|src=[\"']?javascript:", page)
