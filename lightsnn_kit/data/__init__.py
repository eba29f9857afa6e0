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

import hashlib
import inspect
import io
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..checks import unknown, whole
from .arrays import load_npz
from .braille import load_braille
from .cifar import load_cifar10, load_cifar100
from .event_sets import event_splits, offline
from .events import frames_from_events, structured
from .files import cache_folder, check_memory, data_folder
from .gestures import load_gestures
from .image_folder import load_image_folder
from .recordings import load_event_folder, load_nmnist
from .simulated import load_digits_dvs, load_motion_dvs
from .splits import Split, Splits, a_fifth, make_rng

__all__ = [
    "STAND_INS",
    "Split",
    "Splits",
    "a_fifth",
    "cache_folder",
    "data_folder",
    "event_splits",
    "frames_from_events",
    "load",
    "names",
    "offline",
    "options_of",
    "register",
    "registered",
    "scoring_batches",
    "structured",
]

_SHA256 = {"fashion-mnist-small.npz": "b2a1d5ab76faa667c03bc1c18cecfe6c67fe0f559267cd50c971efceccd8eb1b"}
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def scoring_batches(split: Split, *, batch_size: int, num_batches: int = 2, seed: int) -> tuple[torch.Tensor, ...]:
    """Fixed batches for scoring, [B, C, H, W] or event frames [T, B, 2, H, W]: the same for the same seed.

    Samples are drawn without replacement, so no batch holds a sample twice, and no two batches share one if the
    split has ``batch_size * num_batches`` samples. ``ValueError`` for a batch larger than the split.

    >>> x, y = scoring_batches(load("digits").train, batch_size=16, seed=7)
    >>> list(x.shape)
    [16, 1, 8, 8]
    """
    batch_size, num_batches = whole("batch_size", batch_size), whole("num_batches", num_batches)
    if batch_size > len(split):
        raise ValueError(f"batch_size {batch_size} is larger than the split of {len(split)} samples; reduce it.")
    rng, left, batches = make_rng(seed), torch.empty(0), []
    for _ in range(num_batches):
        if len(left) < batch_size:
            left = torch.from_numpy(rng.permutation(len(split)))
        batches.append(split.batch(left[:batch_size])[0])
        left = left[batch_size:]
    return tuple(batches)


def load(name: str, *, seed: int = 0, stand_in: bool = False, **options) -> Splits:
    """A data set by name; ``seed`` draws the validation part from train, the test part is always the same.

    ``stand_in`` gives random samples in the shape of one of ``STAND_INS``, whose files need not be there: to rehearse,
    and marked as no result. Options are those of the set's loader: ``load("cifar10", folder="/data", download=True)``,
    ``load("image-folder", folder="~/photos", size=32)``. ``ValueError`` for an unknown name or option,
    ``FileNotFoundError`` or ``ValueError`` for missing or damaged files, which are never changed.

    >>> len(load("digits").train), len(load("digits").val), len(load("digits").test)
    (1157, 285, 355)
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise unknown("data set", name, names(), ", or register() it")
    make_rng(seed)  # a bad seed fails before a file is read
    if stand_in:
        return _random_stand_in(name, seed, **options)
    loader = _LOADERS[name]
    try:
        inspect.signature(loader).bind(seed, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(loader).parameters)[1:]) or "none"
        raise ValueError(f"{name}: {error}; the options of this data set: {known}.") from error
    splits = loader(seed, **options)
    if not isinstance(splits, Splits):
        raise TypeError(f"the loader of {name!r} must return Splits (see Splits.from_tensors), got {splits!r}.")
    return splits


STAND_INS: dict[str, tuple[tuple[int, int, int], int]] = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "dvs128-gesture": ((2, 128, 128), 11),
    "n-mnist": ((2, 34, 34), 10),
    "braille": ((2, 12, 16), 7),
}
"""Shape of a sample (of a frame, where there are two polarities) and number of classes of the sets read from disk."""


def _random_stand_in(name: str, seed: int, num_steps: int = 16, **_: object) -> Splits:
    if name not in STAND_INS:
        raise unknown("set with a stand-in", name, STAND_INS)
    shape, classes = STAND_INS[name]
    events, num_steps = shape[0] == 2, whole("num_steps", num_steps)
    y = torch.arange(8 * classes) % classes
    needed = 9 * len(y) * math.prod(shape) * (num_steps if events else 1)  # drawn in 8 bytes, kept in one
    check_memory(f"{name}: {num_steps:,} frames of each recording", needed, "take fewer frames")
    drawn = np.random.RandomState(classes).randint(0, 3 if events else 256, (len(y), *[num_steps][:events], *shape))
    x, part = torch.from_numpy(drawn.astype(np.uint8)), slice(0, 6 * classes)
    parts = {"train": (x[part], y[part]), "test": (x[6 * classes :], y[6 * classes :])}
    splits = Splits.from_tensors(name=name, **parts, seed=seed)
    return replace(splits, source="random numbers in the shape of its samples", stand_in=True)


def register(name: str, loader: Callable[..., Splits], *, replace: bool = False) -> None:
    """Make ``loader(seed, **options) -> Splits`` known to ``load`` under a name, in this process.

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


def registered() -> tuple[str, ...]:
    """The names that ``register`` has made known in this process: no other process knows them."""
    return tuple(sorted(_LOADERS.keys() - _OWN))


def options_of(name: str) -> dict[str, object]:
    """The options of a data set's loader with their defaults; ``inspect.Parameter.empty`` where one must be given.

    >>> options_of("motion-dvs")
    {'num_steps': 8, 'by': 'time'}
    """
    known = list(inspect.signature(_LOADERS[name]).parameters.values())[1:]
    return {option.name: option.default for option in known}


def _load_digits(seed: int) -> Splits:
    """scikit-learn's 1,797 images of 8x8; every fifth of each class, in the order given, is the test part."""
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images * 15).to(torch.uint8)[:, None]  # levels 0..16 become 0, 15, ..., 240 [n, 1, 8, 8]
    y, held = torch.from_numpy(bunch.target), torch.zeros(len(x), dtype=torch.bool)
    held[torch.cat([(y == label).nonzero()[4::5] for label in range(10)])] = True
    splits = Splits.from_tensors(name="digits", train=(x[~held], y[~held]), test=(x[held], y[held]), seed=seed)
    return replace(splits, source=f"scikit-learn {sklearn.__version__}")


def _load_fashion(seed: int) -> Splits:
    """2,500 images of the original training set, and 500 of the original test set, 28x28."""
    path = data_folder() / "fashion-mnist-small.npz"
    restore = f"restore it with 'git checkout -- data/{path.name}', or copy it from the folder data/ of the repository."
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (sha256 {_SHA256[path.name]}); {restore}")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256[path.name]:
        raise ValueError(f"{path} is damaged: sha256 {found}, expected {_SHA256[path.name]}; {restore}")
    arrays = np.load(io.BytesIO(content))
    train, test = ((arrays[f"{part}_x"][:, None], arrays[f"{part}_y"]) for part in ("train", "test"))
    splits = Splits.from_tensors(name="fashion-mnist-small", train=train, test=test, class_names=_FASHION, seed=seed)
    return replace(splits, source=f"{path.name} (sha256)")


# A loader is one line here: a function of the seed, and of options by keyword.
_LOADERS: dict[str, Callable[..., Splits]] = {
    "digits": _load_digits,
    "digits-dvs": load_digits_dvs,
    "motion-dvs": load_motion_dvs,
    "fashion-mnist-small": _load_fashion,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "dvs128-gesture": load_gestures,
    "n-mnist": load_nmnist,
    "braille": load_braille,
    "image-folder": load_image_folder,
    "event-folder": load_event_folder,
    "npz": load_npz,
}
_OWN = frozenset(_LOADERS)
