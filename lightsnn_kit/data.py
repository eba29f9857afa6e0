"""Labelled images and event frames as train, validation and test parts, by name or from tensors.

Samples stay as they were stored (uint8 where possible); a network normalises its input itself, by
``(x - centre) * scale`` with the two values of ``Splits``. A set of your own gets a name in three lines, after
which ``load("mine", seed=7)`` works like any other (here ``x`` and ``y`` are your tensors):

>>> x, y = torch.arange(40 * 64).reshape(40, 1, 8, 8).to(torch.uint8), torch.arange(40) % 2
>>> def load_mine(seed):
...     return Splits.from_tensors(name="mine", train=(x[:30], y[:30]), test=(x[30:], y[30:]), seed=seed)
>>> register("mine", load_mine, replace=True)
>>> load("mine", seed=7).val
Split(x=uint8[6, 1, 8, 8], y=int64[6])
"""

from __future__ import annotations

import difflib
import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

_SHA256 = {"fashion-mnist-small.npz": "b2a1d5ab76faa667c03bc1c18cecfe6c67fe0f559267cd50c971efceccd8eb1b"}
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their labels: images ``x`` [n, C, H, W] or event frames [n, T, 2, H, W], ``y`` int64 [n].

    ``x`` is uint8 or floating point, as tensor or array (shared, not copied). ``ValueError`` for another shape or
    type, other labels than integers from 0, unequal lengths, no samples, NaN or infinity.

    >>> Split(np.zeros((3, 1, 8, 8), np.uint8), [0, 1, 1])
    Split(x=uint8[3, 1, 8, 8], y=int64[3])
    """

    x: torch.Tensor
    y: torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _check_samples(torch.as_tensor(self.x)))
        object.__setattr__(self, "y", _check_labels(torch.as_tensor(self.y), len(self.x)))

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        x, y = (f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in (self.x, self.y))
        return f"Split(x={x}, y={y})"

    @property
    def events(self) -> bool:
        """True for event frames, which have an axis of time steps."""
        return self.x.ndim == 5

    def batch(self, indices: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Some samples as a network takes them, [B, C, H, W] or event frames [T, B, 2, H, W], and labels [B]."""
        x, y = self.x[indices], self.y[indices]
        return (x.transpose(0, 1).contiguous() if self.events else x), y  # [B, T, 2, H, W] -> [T, B, 2, H, W]


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set, and what a network must know about it.

    Normalised input is ``(x - centre) * scale``, with an integer ``centre`` per channel; ``from_tensors`` works these
    values out. ``ValueError`` if the parts or values do not fit each other.
    """

    name: str
    train: Split
    val: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    centre: tuple[int, ...]
    scale: float
    events: bool = False

    def __post_init__(self) -> None:
        num_classes, sample = len(self.train.y.unique()), (self.train.x.shape[1:], self.train.x.dtype)
        for part, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            if (split.x.shape[1:], split.x.dtype) != sample:
                raise ValueError(f"{self.name}: all parts need samples like train's {self.train}; {part} is {split}.")
            if (top := int(split.y.max())) >= num_classes:
                raise ValueError(
                    f"{self.name}: {part} has label {top}, but train holds {num_classes} classes, so labels must be "
                    f"0..{num_classes - 1}; number the classes without gaps, each with a sample in train."
                )
        fits = (num_classes, num_classes, self.train.x.shape[-3], self.train.events)
        given = (self.num_classes, len(self.class_names), len(self.centre), self.events)
        if given != fits or num_classes < 2:
            raise ValueError(
                f"{self.name}: (classes, class names, channels of centre, events) are {given}, expected {fits} from "
                f"train, with at least 2 classes."
            )

    @classmethod
    def from_tensors(
        cls, *, name: str, train: tuple, test: tuple, val: tuple | None = None, class_names: tuple = (), seed: int = 0
    ) -> Splits:
        """A data set from pairs ``(x, y)`` as ``Split`` takes them.

        Without ``val`` a fifth of each class of train (rounded down) becomes the validation part, drawn with
        ``seed``. ``centre`` is the mean of each channel of train as the nearest integer (so mostly 0 for floats in a
        small range), ``scale`` 1 / (standard deviation of all values of train) to six digits; event frames are left
        as they are (0 and 1). ``ValueError`` naming the set and the part if something does not fit.

        >>> x, y = torch.arange(40).reshape(40, 1, 1, 1).float(), torch.arange(40) % 4
        >>> splits = Splits.from_tensors(name="ramp", train=(x, y), test=(x, y))
        >>> len(splits.train), len(splits.val), splits.num_classes, splits.class_names
        (32, 8, 4, ('0', '1', '2', '3'))
        """
        train, test = _named_split(name, "train", train), _named_split(name, "test", test)
        if val is None:
            train, val = _carve(name, train, seed)
        else:
            val = _named_split(name, "val", val)
        num_classes = len(train.y.unique())
        class_names = tuple(class_names or map(str, range(num_classes)))
        return cls(name, train, val, test, num_classes, class_names, *_normalisation(name, train), train.events)

    def network_settings(self) -> dict:
        """What ``NetworkConfig(**settings)`` needs of the data: ``input_shape`` is (C, H, W)."""
        return {
            "input_shape": tuple(self.train.x.shape[-3:]),
            "num_classes": self.num_classes,
            "input_centre": self.centre,
            "input_scale": self.scale,
            "events": self.events,
        }


def scoring_batches(split: Split, *, batch_size: int, num_batches: int = 2, seed: int) -> tuple[torch.Tensor, ...]:
    """Fixed batches for scoring, [B, C, H, W] or event frames [T, B, 2, H, W]: the same for the same seed.

    Samples are drawn without replacement, so no batch holds a sample twice, and no two batches share one if the
    split has ``batch_size * num_batches`` samples. ``ValueError`` for a batch larger than the split.

    >>> x, y = scoring_batches(load("digits").train, batch_size=16, seed=7)
    >>> list(x.shape)
    [16, 1, 8, 8]
    """
    for what, value in (("batch_size", batch_size), ("num_batches", num_batches)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{what} must be a positive integer, got {value!r}.")
    if batch_size > len(split):
        raise ValueError(f"batch_size {batch_size} is larger than the split of {len(split)} samples; reduce it.")
    rng, left, batches = _rng(seed), torch.empty(0), []
    for _ in range(num_batches):
        if len(left) < batch_size:
            left = torch.from_numpy(rng.permutation(len(split)))
        batches.append(split.batch(left[:batch_size])[0])
        left = left[batch_size:]
    return tuple(batches)


def load(name: str, *, seed: int = 0) -> Splits:
    """A data set by name; ``seed`` draws the validation part from train, the test part is always the same.

    ``ValueError`` for an unknown name, ``FileNotFoundError`` or ``ValueError`` for a missing or damaged file.

    >>> len(load("digits").train), len(load("digits").val), len(load("digits").test)
    (1157, 285, 355)
    """
    if not isinstance(name, str) or name not in _LOADERS:
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(names())}, or register() it.{hint}")
    _rng(seed)  # a bad seed fails before a file is read
    splits = _LOADERS[name](seed)
    if not isinstance(splits, Splits):
        raise TypeError(f"the loader of {name!r} must return Splits (see Splits.from_tensors), got {splits!r}.")
    return splits


def register(name: str, loader: Callable[[int], Splits], *, replace: bool = False) -> None:
    """Make ``loader(seed) -> Splits`` known to ``load`` under a name, in this process.

    ``ValueError`` if the name is taken and ``replace`` is not set; ``TypeError`` for other than a text and a function.
    """
    if not isinstance(name, str) or not callable(loader):
        raise TypeError(f"register takes a name and a function loader(seed) -> Splits, got {name!r} and {loader!r}.")
    if name in _LOADERS and not replace:
        raise ValueError(f"the data set {name!r} exists already; choose another name, or pass replace=True.")
    _LOADERS[name] = loader


def names() -> tuple[str, ...]:
    """The names that ``load`` knows, sorted."""
    return tuple(sorted(_LOADERS))


def data_folder() -> Path:
    """The folder named by the variable LIGHTSNN_DATA, or else ``data/`` of the repository the kit is imported from."""
    named = os.environ.get("LIGHTSNN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / "data"
    if not folder.is_dir():
        raise FileNotFoundError(f"no data folder {folder}; set LIGHTSNN_DATA to the folder data/ of the repository.")
    return folder


def _load_digits(seed: int) -> Splits:
    """scikit-learn's 1,797 images of 8x8; every fifth of each class, in the order given, is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images * 15).to(torch.uint8)[:, None]  # levels 0..16 become 0, 15, ..., 240 [n, 1, 8, 8]
    y, held = torch.from_numpy(bunch.target), torch.zeros(len(x), dtype=torch.bool)
    held[torch.cat([(y == label).nonzero()[4::5] for label in range(10)])] = True
    return Splits.from_tensors(name="digits", train=(x[~held], y[~held]), test=(x[held], y[held]), seed=seed)


def _load_fashion(seed: int) -> Splits:
    """2,500 images of the original training set, and 500 of the original test set, 28x28."""
    path = data_folder() / "fashion-mnist-small.npz"
    restore = f"restore it with 'git checkout -- data/{path.name}', or see data/README.md."
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (sha256 {_SHA256[path.name]}); {restore}")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256[path.name]:
        raise ValueError(f"{path} is damaged: sha256 {found}, expected {_SHA256[path.name]}; {restore}")
    arrays = np.load(io.BytesIO(content))
    train, test = ((arrays[f"{part}_x"][:, None], arrays[f"{part}_y"]) for part in ("train", "test"))
    return Splits.from_tensors(name="fashion-mnist-small", train=train, test=test, class_names=_FASHION, seed=seed)


_LOADERS: dict[str, Callable[[int], Splits]] = {"digits": _load_digits, "fashion-mnist-small": _load_fashion}


def _rng(seed: int) -> np.random.RandomState:
    """NumPy's frozen generator: only its stream is promised to stay the same, so a seed means one split for good."""
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in 0..2**32-1, got {seed!r}.")
    return np.random.RandomState(seed)


def _check_samples(x: torch.Tensor) -> torch.Tensor:
    """Samples, after a check of shape, type and finite values."""
    if x.ndim not in (4, 5) or (x.ndim == 5 and x.shape[2] != 2) or 0 in x.shape:
        raise ValueError(
            f"x must be images [n, C, H, W] or event frames [n, T, 2, H, W] with at least one sample, got shape "
            f"{list(x.shape)}; grey images [n, H, W] need an axis: x[:, None]."
        )
    if x.dtype is not torch.uint8 and not x.is_floating_point():
        raise ValueError(f"x must be uint8 or floating point, got {x.dtype}; use .to(torch.uint8) or .float().")
    if x.is_floating_point() and len(bad := (~x.isfinite()).flatten(1).any(1).nonzero()):
        raise ValueError(f"x has NaN or infinity in sample {int(bad[0])} ({len(bad)} of {len(x)} samples).")
    return x


def _check_labels(y: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Labels as int64, after a check of type, length and sign."""
    if y.shape != (num_samples,) or y.is_floating_point() or y.is_complex() or y.dtype is torch.bool:
        raise ValueError(
            f"y must be one integer label for each of the {num_samples} samples (shape [{num_samples}], int64), got "
            f"shape {list(y.shape)}, {y.dtype}."
        )
    if (y := y.long()).min() < 0:
        raise ValueError(f"y must be labels 0..K-1, got {int(y.min())} for sample {int(y.argmin())}.")
    return y


def _named_split(name: str, part: str, pair: tuple) -> Split:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"{name}: {part} must be a pair (x, y), got {type(pair).__name__}.")
    try:
        return Split(*pair)
    except ValueError as error:
        raise ValueError(f"{name}: {part}: {error}") from error


def _carve(name: str, split: Split, seed: int) -> tuple[Split, Split]:
    """Four fifths and one fifth of each class (rounded down), each part in the order of ``split``."""
    rng, y = _rng(seed), split.y.numpy(force=True)
    members = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    held = torch.zeros(len(y), dtype=torch.bool)
    held[np.concatenate([order[: len(order) // 5] for order in members])] = True
    if not held.any():
        raise ValueError(f"{name}: val is carved from classes of at least 5 samples, train has none; pass val=(x, y).")
    return Split(split.x[~held], split.y[~held]), Split(split.x[held], split.y[held])


def _normalisation(name: str, split: Split) -> tuple[tuple[int, ...], float]:
    """``(centre, scale)`` as ``Splits.from_tensors`` states them; six digits, so that summing order cannot show."""
    if split.events:
        return (0, 0), 1.0
    channels = [torch.var_mean(channel.double(), correction=0) for channel in split.x.unbind(1)]
    var, mean = (torch.stack(values) for values in zip(*channels, strict=True))
    std = math.sqrt(var.mean() + mean.var(correction=0))
    if std == 0:
        raise ValueError(f"{name}: every value of train is {float(mean[0]):g}; there is nothing to tell samples apart.")
    return tuple(round(value) for value in mean.tolist()), float(f"{1 / std:.6g}")
