"""Complete settings of an experiment by name: data, space, network, score and training, as frozen values.

``cifar10``, ``cifar100`` and ``dvs128-gesture`` are LightSNN's (arXiv 2503.21846); the others are small enough for a
CPU. ``variant`` gives the ablations and the released code's behaviours, ``quick`` the same in seconds.

>>> preset = get("cifar10")
>>> preset.network["width"], preset.train.epochs, preset.variant("published").scoring.bn
(256, 300, 'running')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

import torch

from ..checks import unknown, whole
from ..data import Split, Splits, load, names, options_of
from ..files import user_path
from ..methods import METHODS
from ..networks import NetworkConfig
from ..scoring import ScoringConfig
from ..spaces import SPACES, CellSpace
from ..training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One experiment; ``network`` holds what ``NetworkConfig`` needs beside the data's own settings."""

    name: str
    dataset: str  # a name that data.load knows
    network: Mapping[str, object]
    train: TrainConfig
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    space: str = "lightsnn"  # a name of SPACES
    data: Mapping[str, object] = field(default_factory=dict)  # options of the data set's loader
    block: int = 1  # images are averaged over blocks of this many pixels a side: less to compute
    samples: Mapping[str, int] = field(default_factory=dict)  # at most so many of each class, by part; else all
    per_class: int | None = None  # a quick run's: at most so many of each class in every part
    budget: int = 5000  # cells that a random search scores (SNASNet's)
    keep_path: bool = True  # released: False, pruning may end without a path from input to output
    source: str = ""

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise unknown("space", self.space, SPACES)
        own = {"input_shape", "num_classes", "input_centre", "input_scale", "events"}
        if wrong := [name for name in self.network if name not in NetworkConfig.__dataclass_fields__ or name in own]:
            raise ValueError(f"{wrong[0]!r} is not a setting of the network, or comes from the data.")
        if wrong := [part for part in self.samples if part not in ("train", "val", "test")]:
            raise unknown("part", wrong[0], ("train", "val", "test"))
        object.__setattr__(self, "samples", {part: whole(part, count) for part, count in self.samples.items()})
        for name in ("network", "data", "samples"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def cell_space(self) -> CellSpace:
        """The space that is searched."""
        return SPACES[self.space]

    def load(self, *, seed: int = 0, **options) -> Splits:
        """The preset's data, averaged and shortened as it says; options go to the loader before the preset's own."""
        splits = load(self.dataset, seed=seed, **{**self.data, **options})
        counts = self.samples if self.per_class is None else dict.fromkeys(("train", "val", "test"), self.per_class)
        return _reduced(splits, self.block, counts)

    @property
    def is_quick(self) -> bool:
        """True for a rehearsal, whose numbers mean nothing."""
        return self.per_class is not None

    def scored_for(self, method: str) -> Preset:
        """This preset with the score by which the method chooses, where the method has one of its own."""
        proxy = METHODS[method].proxy if method in METHODS else None
        return self.changed(scoring={"proxy": proxy}) if proxy else self

    def network_config(self, splits: Splits) -> NetworkConfig:
        """The macro network for these data; events have as many time steps as they have frames."""
        steps = (
            {"num_steps": len(splits.train.x[0])} if splits.events else {}
        )  # every frame enters at a step of its own
        return NetworkConfig(**splits.network_settings(), **{**self.network, **steps})

    def variant(self, *names: str) -> Preset:
        """This preset with the changes of one or more of ``VARIANTS``; the name says so."""
        preset = self
        for name in names:
            changes = _lookup(VARIANTS, name, "variant")
            preset = preset.changed(**changes)
        return replace(preset, name="+".join([self.name, *names]))

    def quick(self) -> Preset:
        """The same experiment in seconds: it exercises every step, and its numbers mean nothing."""
        small = {"width": 4, "hidden": 32, "votes": 2, "num_steps": 2, "linear_std": None}
        data = dict(self.data) | ({"num_steps": 2} if "num_steps" in self.data else {})
        scoring = replace(self.scoring, batch_size=4, num_batches=1)
        parts = min(self.train.accumulate, 4)
        train = replace(self.train, epochs=1, batch_size=8, accumulate=parts, frozen_norm_epochs=0)
        network = dict(self.network) | small
        return replace(self, network=network, data=data, scoring=scoring, train=train, per_class=2, budget=3)

    def to_dict(self) -> dict[str, object]:
        """All settings as plain values, for the record of a run; `from_dict` reads them back."""
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__}
        settings |= {name: dict(settings[name]) for name in ("network", "data", "samples")}
        return settings | {name: asdict(settings[name]) for name in ("scoring", "train")}

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> Preset:
        """The preset of `to_dict`.

        >>> Preset.from_dict(get("digits").to_dict()) == get("digits")
        True
        """
        parts = {"scoring": ScoringConfig(**settings.get("scoring", {})), "train": TrainConfig(**settings["train"])}
        return cls(**{**settings, **parts})

    def changed(self, **changes: object) -> Preset:
        """This preset with other fields; mappings and settings are changed entry by entry.

        >>> preset = get("digits").changed(train={"epochs": 3, "frozen_norm_epochs": 1}, budget=7)
        >>> preset.train.epochs, preset.train.learning_rate, preset.budget
        (3, 0.5, 7)
        """
        merged = {}
        for name, change in changes.items():
            old = getattr(self, name)
            if isinstance(old, Mapping):
                merged[name] = {**old, **change}
            else:
                if isinstance(change, Mapping) and (
                    wrong := [key for key in change if key not in old.__dataclass_fields__]
                ):
                    raise unknown(f"setting of {name}", wrong[0], old.__dataclass_fields__)
                merged[name] = replace(old, **change) if isinstance(change, Mapping) else change
        return replace(self, **merged)

    def adapted(self, **wanted: object) -> Preset:
        """This preset with settings changed by their plain names; 0, "" and None stand for the preset's own.

        ``space``, ``budget``; ``width``, ``num_steps`` of the network (of the data, where these are events);
        ``batch_size`` and ``proxy`` of a score; ``epochs``, ``learning_rate`` of the training, whose last epochs with
        frozen normalisation keep their share. The name tells all changes but the training's, which each row records.

        >>> get("digits").adapted(width=16, epochs=0).name
        'digits, width 16'
        """
        steps, preset = "data" if "num_steps" in {*self.data, *options_of(self.dataset)} else "network", self
        places = {"width": "network", "num_steps": steps, "batch_size": "scoring", "proxy": "scoring"}
        places |= dict.fromkeys(("epochs", "learning_rate"), "train")
        for name, value in wanted.items():
            if value in (0, "", None):
                continue
            change = {name: value}
            if name == "epochs":
                share = self.train.frozen_norm_epochs / self.train.epochs
                change["frozen_norm_epochs"] = min(round(share * value), value - 1)
            preset = preset.changed(**({places[name]: change} if name in places else change))
            if places.get(name) != "train":
                preset = replace(preset, name=f"{preset.name}, {name.replace('_', ' ')} {value}")
        return preset

    def with_data(self, **options: object) -> Preset:
        """This preset with options of its data set's loader, such as ``folder="~/photos"``; the name tells them.

        >>> get("motion-dvs").with_data(by="number").name
        'motion-dvs, by number'
        """
        places = {name: user_path(str(options[name])).absolute() for name in ("folder", "file") if name in options}
        told = [f"{name} {places[name].name if name in places else value}" for name, value in options.items()]
        data = options | {name: str(place) for name, place in places.items()}  # gone on with from any folder
        return replace(self.changed(data=data), name=", ".join([self.name, *told]))


VARIANTS: dict[str, Mapping[str, object]] = {
    "lightsnn": {"space": "lightsnn"},
    "forward": {"space": "lightsnn-forward"},
    "snasnet-space": {"space": "snasnet"},
    "snasnet-forward": {"space": "snasnet-forward"},
    "maxpool-space": {"space": "snasnet-maxpool"},
    "swap-score": {"scoring": {"proxy": "swap"}},  # the method ``swap`` is pruning by it in any preset
    "avg-pool": {"network": {"pool": "avg"}},
    "max-pool": {"network": {"pool": "max"}},
    "batch16": {"train": {"batch_size": 16, "learning_rate": 0.025}},
    "small-gpu": {"train": {"accumulate": 4, "recompute": True}},
    "published": {
        "scoring": {
            "bn": "running",
            "feedback": False,
            "reset": False,
            "fresh_batches": True,
        },
        "keep_path": False,
        "train": {"weight_decay": 0.0, "dampening": 5e-4},  # SGD's arguments by position
        "network": {"linear_std": 0.01},
    },
}
"""Changes by name: LightSNN's three ops and SNASNet's five (with average or maximum pooling among them), forward edges
only, different patterns as the score, the macro network's pooling, a quarter of the paper's batch and learning rate
(for gestures on smaller GPUs), the paper's batch in four parts with steps taken again (for GPUs of 16 GB: see
``memory.ipynb``), and what the released code did."""

_PAPER = {"hidden": 1024, "last_pool": 2, "pool": "max", "dropout": 0.5, "tau": 4 / 3, "linear_std": 0.01}
_CIFAR = TrainConfig(crop=4, flip=True)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="cifar10",
            dataset="cifar10",
            network=_PAPER | {"width": 256, "votes": 10, "num_steps": 5},
            train=_CIFAR,
            source="arXiv 2503.21846",
        ),
        Preset(
            name="cifar100",
            dataset="cifar100",
            network=_PAPER | {"width": 128, "votes": 5, "num_steps": 5},
            train=_CIFAR,
            source="arXiv 2503.21846",
        ),
        Preset(
            name="dvs128-gesture",
            dataset="dvs128-gesture",
            network=_PAPER | {"width": 128, "votes": 10},
            data={"num_steps": 16, "by": "number"},
            train=TrainConfig(loss="mse"),  # never flipped: left and right are classes
            source="arXiv 2503.21846",
        ),
        Preset(
            name="fashion-mnist-small",
            dataset="fashion-mnist-small",
            network={"width": 8, "hidden": 256, "num_steps": 4},
            block=2,  # 14 x 14 pixels: a training takes half a minute on one core
            train=TrainConfig(epochs=6, learning_rate=0.2, frozen_norm_epochs=2),
            budget=60,  # as many scores as LightSNN's search of three ops takes
            source="sizes of this project, for one CPU core",
        ),
        Preset(
            name="motion-dvs",
            dataset="motion-dvs",
            network={"width": 8, "hidden": 128},
            data={"num_steps": 8, "by": "time"},
            train=TrainConfig(epochs=8, learning_rate=0.5, frozen_norm_epochs=3),
            budget=60,
            source="sizes of this project, for one CPU core",
        ),
        Preset(
            name="cifar10-small",
            dataset="cifar10",
            network={"width": 8, "hidden": 256, "num_steps": 4},
            # 4,000 images to train on, 1,000 to choose the epoch, 2,000 of the test part
            samples={"train": 400, "val": 100, "test": 200},
            train=TrainConfig(epochs=5, learning_rate=0.2, frozen_norm_epochs=2),
            budget=60,
            source="sizes of this project, for one CPU core",
        ),
        Preset(
            name="n-mnist",
            dataset="n-mnist",
            network={"width": 8, "hidden": 128},
            data={"num_steps": 8, "by": "time"},
            train=TrainConfig(epochs=8, batch_size=32, learning_rate=0.2, frozen_norm_epochs=3),
            budget=60,
            source="sizes of this project, for one CPU core",
        ),
        Preset(
            name="braille",
            dataset="braille",
            network={"width": 8, "hidden": 128, "last_pool": 1},
            data={"num_steps": 16},
            train=TrainConfig(epochs=12, learning_rate=0.5, frozen_norm_epochs=4),
            budget=60,
            source="sizes of this project, for one CPU core",
        ),
        Preset(
            name="digits",
            dataset="digits",
            network={"width": 8, "hidden": 512, "num_steps": 4, "last_pool": 1},
            train=TrainConfig(epochs=15, learning_rate=0.5, frozen_norm_epochs=5),
            budget=60,
            source="sizes of this project, those of make demo",
        ),
    )
}
"""The presets by name."""


def get(name: str) -> Preset:
    """A preset by name, with variants after plus signs: ``'cifar10+forward'``.

    The name of another data set that ``data.load`` knows gives that set with the sizes of ``digits``. ``ValueError``
    for a name that is neither.
    """
    base, *variants = str(name).split("+")
    if base in names() and base not in PRESETS:
        preset = replace(PRESETS["digits"], name=base, dataset=base, source="sizes of the preset digits")
    else:
        preset = _lookup(PRESETS, base, "preset")
    return preset.variant(*variants) if variants else preset


def _lookup(table: Mapping[str, object], name: str, what: str) -> object:
    if name not in table:
        raise unknown(what, name, table)
    return table[name]


def _reduced(splits: Splits, block: int, counts: Mapping[str, int]) -> Splits:
    """Means over blocks of pixels (rounded; the stored type stays), and the first samples of each class by part."""
    if block == 1 and not counts:
        return splits
    parts = [_reduced_split(getattr(splits, part), block, counts.get(part)) for part in ("train", "val", "test")]
    names = {"name": splits.name, "class_names": splits.class_names}
    train, val, test = ((part.x, part.y) for part in parts)
    origin = {"source": splits.source, "stand_in": splits.stand_in}
    return replace(Splits.from_tensors(**names, train=train, val=val, test=test), **origin)


def _reduced_split(split: Split, block: int, per_class: int | None) -> Split:
    x, y = split.x, split.y
    if per_class is not None:
        first = torch.cat([(y == label).nonzero()[:per_class, 0] for label in y.unique()]).sort().values
        x, y = x[first], y[first]
    if block > 1:
        if split.events or x.shape[-1] % block or x.shape[-2] % block:
            raise ValueError(f"blocks of {block} pixels need images of a multiple of that, got {split}.")
        blocks = x.float().unflatten(-1, (-1, block)).unflatten(-3, (-1, block))  # [n, C, H/b, b, W/b, b]
        means = blocks.mean((-1, -3))
        x = means.round().to(x.dtype) if not x.is_floating_point() else means.to(x.dtype)
    return Split(x.contiguous(), y)
