"""Pages of the site that are made from what the kit knows: contents, settings of the presets, modules, results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path

import reading_order
from site_notebooks import figure_html

import lightsnn_kit
from lightsnn_kit.figures.results import accuracy_by_method
from lightsnn_kit.lab import presets, results

KIT = Path(lightsnn_kit.__file__).parent
ROOT = KIT.parent
DOORS = {
    "core": "cells, networks, scores, searches, training",
    "fast": "compiled scoring and training",
    "data": "data by name, and your own",
    "lab": "runs, jobs, experiments",
    "figures": "arrays and records in, plotly figures out",
    "widgets": "figures with controls",
}
# What a paper calls it -> where the kit keeps it: a field of a preset's network, data, training or score.
SETTINGS = {
    "base width C": "network.width",
    "hidden neurons H": "network.hidden",
    "votes per class V": "network.votes",
    "time steps T": "network.num_steps",
    "time constant τ": "network.tau",
    "pooling": "network.pool",
    "last pooling p": "network.last_pool",
    "dropout": "network.dropout",
    "spread of linear weights": "network.linear_std",
    "frames cut by": "data.by",
    "epochs": "train.epochs",
    "batch size": "train.batch_size",
    "learning rate": "train.learning_rate",
    "momentum": "train.momentum",
    "weight decay": "train.weight_decay",
    "loss": "train.loss",
    "crop, flip": "train.crop train.flip",
    "epochs with frozen normalisation": "train.frozen_norm_epochs",
    "samples that a score compares": "scoring.batch_size",
    "batches that a score is the mean of": "scoring.num_batches",
    "normalisation while scoring": "scoring.bn",
    "score": "scoring.proxy",
    "cells of a random search": "budget",
}


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def toctree(pages: Sequence[str], caption: str, *, depth: int = 1) -> str:
    """A list of pages for the side bar."""
    listed = "\n".join(pages)
    return f":::{{toctree}}\n:hidden:\n:maxdepth: {depth}\n:caption: {caption}\n\n{listed}\n:::\n"


def contents(rows: Sequence[reading_order.Row], folder: Path) -> str:
    """The pages in reading order: a list to read, and the side bar's lists."""
    shown, bars = [], []
    for part, of_part in groupby(rows, key=lambda row: row.part):
        pages = []
        shown.append(f"### {part}\n")
        for row in of_part:
            for page in row.pages:
                where = page.relative_to(folder.parent).as_posix()
                pages.append(where.rsplit(".", 1)[0])
                shown.append(f"- [{reading_order.title_of(page)}]({where})")
        shown.append("")
        bars.append(toctree(pages, part))
    bars.append(toctree(["api/index", *(f"api/{door}" for door in DOORS)], "Names and modules"))
    return "\n".join([*shown, *bars])


# ---- settings --------------------------------------------------------------------------------------------------------


def setting(preset: presets.Preset, places: str) -> str:
    """The value of a preset's setting: its own, or the default of the field.

    >>> setting(presets.get("cifar10"), "network.width"), setting(presets.get("dvs128-gesture"), "network.num_steps")
    ('256', '16')
    """
    return ", ".join(_shown(_value(preset, place)) for place in places.split())


def _value(preset: presets.Preset, place: str) -> object:
    holder, _, name = place.partition(".")
    if not name:
        return getattr(preset, place)
    if name == "num_steps" and name in preset.data:
        return preset.data[name]
    held = getattr(preset, holder)
    if not isinstance(held, Mapping):
        return getattr(held, name)
    defaults = {each.name: each.default for each in fields(lightsnn_kit.NetworkConfig)} if holder == "network" else {}
    return held.get(name, defaults.get(name))


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings_page() -> str:
    """The paper's words, the kit's names, and each preset's values."""
    papers = [preset for preset in presets.PRESETS.values() if preset.source.startswith("arXiv")]
    own = [preset for preset in presets.PRESETS.values() if preset not in papers]
    parts = ["# Settings, from the paper to the kit\n"]
    parts.append(
        "What LightSNN's paper (arXiv 2503.21846) sets, under the name that the kit has for it; – stands for a setting "
        "that the preset does not have. Made from `lightsnn_kit.lab.presets`; what the released code does otherwise "
        "is the variant `published` ({doc}`notebooks/03_audit`).\n"
    )
    for title, chosen in (("Presets of the paper", papers), ("Presets for one CPU core", own)):
        rows = [
            [words, f"`{places.replace(' ', '`, `')}`", *(setting(preset, places) for preset in chosen)]
            for words, places in SETTINGS.items()
        ]
        parts.append(f"## {title}\n\n{table(['setting', 'in the kit', *(f'`{p.name}`' for p in chosen)], rows)}\n")
    changes = [[f"`{name}`", f"`{json.dumps(change)}`"] for name, change in presets.VARIANTS.items()]
    parts.append('## Variants\n\nChanges by name, as in `preset.variant("published")`.\n')
    parts.append(table(["variant", "what it changes"], changes))
    return "\n".join(parts)


# ---- modules ---------------------------------------------------------------------------------------------------------


def modules(door: str) -> list[str]:
    """The modules of a door, by name."""
    found = KIT.glob("*.py") if door == "core" else (KIT / door).glob("*.py")
    names = sorted(path.stem for path in found if not path.stem.startswith("__main__"))
    inside = "lightsnn_kit" if door == "core" else f"lightsnn_kit.{door}"
    return [
        inside if name == "__init__" else f"{inside}.{name}" for name in names if (door, name) != ("core", "__init__")
    ]


def api_pages() -> Iterator[tuple[str, str]]:
    """(name, text in reStructuredText) of a page for each door."""
    for door, words in DOORS.items():
        lines = [f"{door}: {words}", "=" * len(f"{door}: {words}"), ""]
        for module in modules(door):
            lines += [module, "-" * len(module), "", f".. automodule:: {module}", ""]
        yield f"api/{door}", "\n".join(lines)


def api_index() -> str:
    """The public names with their modules, and the doors."""
    rows = []
    for name in lightsnn_kit.__all__:
        value = getattr(lightsnn_kit, name)
        module = getattr(value, "__module__", None) if callable(value) else None
        home = module or next(m for m in modules("core") if hasattr(__import__(m, fromlist=["x"]), name))
        said = (value.__doc__ or "").strip().splitlines()[0] if callable(value) else "A dictionary by name."
        rows.append([f"{{py:obj}}`{name} <{home}.{name}>`", f"`{home}`", said.replace("|", "\\|").replace("``", "`")])
    text = "# Names and modules\n\nWhat most work needs, from `lightsnn_kit` itself; all else by its module.\n\n"
    text += table(["name", "module", "what it is"], rows) + "\n\n"
    return text + "\n".join(f"- [{door}]({door}.rst): {words}" for door, words in DOORS.items()) + "\n"


# ---- results ---------------------------------------------------------------------------------------------------------


def results_page(folder: Path) -> str:
    """Accuracy by method for every preset that was measured, as figures; the tables are the next page's."""
    parts = [
        "# Measured, in figures\n",
        "Every dot is one seed; {doc}`the tables <data/results/README>` have intervals and commands.\n",
    ]
    script = '<script src="_static/plotly.min.js"></script>'
    for name in [preset for preset in presets.PRESETS if (folder / f"{preset}.json").is_file()]:
        rows = results.gather(folder / f"{name}.json")
        figure = json.loads(accuracy_by_method(rows).to_json())
        drawn = figure_html(figure, label=f"test accuracy by method, {name}")
        parts.append(f"## {name}\n\n```{{raw}} html\n{script}{drawn}\n```\n")
        script = ""
    return "\n".join(parts)
