"""CIFAR10 and CIFAR100 from the files as published: pickles of Python 2, read without torchvision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .files import STAND_IN, fetch, is_stand_in, md5_of, set_folder, unpack
from .pickles import read_pickle
from .splits import Splits

_SITE = "https://www.cs.toronto.edu/~kriz/"
_SIDE = 32


@dataclass(frozen=True)
class _Published:
    """One of the two data sets: its folder, its archive, the md5 of each file (as torchvision lists them too)."""

    folder: str
    archive: str
    archive_md5: str
    archive_size: int  # bytes
    md5s: dict[str, str]
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str  # key of the labels in a part's file
    names: str  # key of the class names in the meta file
    num_classes: int


_CIFAR10 = _Published(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    archive_size=170_498_071,
    md5s={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    meta="batches.meta",
    labels="labels",
    names="label_names",
    num_classes=10,
)
_CIFAR100 = _Published(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    archive_size=169_001_437,
    md5s={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    train=("train",),
    test=("test",),
    meta="meta",
    labels="fine_labels",
    names="fine_label_names",
    num_classes=100,
)


def load_cifar10(seed: int, *, folder: str | Path | None = None, check: bool = True, download: bool = False) -> Splits:
    """CIFAR10, uint8 [n, 3, 32, 32]: 40,000 + 10,000 images of the training files, and 10,000 for testing.

    ``folder`` (default: ``cifar10`` in ``data_folder()``) holds ``cifar-10-batches-py``. With ``check=False`` files
    of another md5 are read, too, and the splits are marked as a stand-in. ``download=True`` fetches what is missing
    (170 MB), and changes nothing that is there.
    """
    return _load("cifar10", _CIFAR10, seed, set_folder("cifar10", folder), (check, download))


def load_cifar100(seed: int, *, folder: str | Path | None = None, check: bool = True, download: bool = False) -> Splits:
    """CIFAR100 with its 100 fine labels; see ``load_cifar10``. The folder ``cifar100`` holds ``cifar-100-python``."""
    return _load("cifar100", _CIFAR100, seed, set_folder("cifar100", folder), (check, download))


def _load(name: str, published: _Published, seed: int, root: Path, options: tuple[bool, bool]) -> Splits:
    check, download = options
    folder = root if root.name == published.folder else root / published.folder
    if download and not all((folder / file).is_file() for file in published.md5s):
        _download(published, folder.parent)
    _check_present(name, published, folder)
    other = [file for file, md5 in published.md5s.items() if md5_of(folder / file) != md5]
    if other and check:
        made_up = f" (its {STAND_IN} says that they are made up)" if is_stand_in(folder) else ""
        raise ValueError(
            f"{name}: {', '.join(other)} in {folder} are not the published files: md5 "
            f"{md5_of(folder / other[0])} of {other[0]}, expected {published.md5s[other[0]]}{made_up}. Move the folder "
            f"away and pass download=True, or pass check=False to read them as a stand-in."
        )
    train, test = (_read_images(published, folder, files) for files in (published.train, published.test))
    names = _read_names(published, folder / published.meta)
    splits = Splits.from_tensors(name=name, train=train, test=test, class_names=names, seed=seed)
    state = f"not the published files ({', '.join(other)})" if other else "the published files (md5)"
    return replace(splits, source=f"{published.folder}: {state}", stand_in=bool(other))


def _check_present(name: str, published: _Published, folder: Path) -> None:
    if missing := [file for file in published.md5s if not (folder / file).is_file()]:
        raise FileNotFoundError(
            f"{name}: no {', '.join(missing)} in {folder}. Pass download=True, or get {_SITE}{published.archive} "
            f"({published.archive_size:,} bytes, md5 {published.archive_md5}) and unpack it in {folder.parent}, or "
            f"name the folder that holds {published.folder} by folder=."
        )


def _download(published: _Published, root: Path) -> None:
    archive = root / published.archive
    fetch(_SITE + published.archive, archive, md5=published.archive_md5)
    unpack(archive, root, {f"{published.folder}/{file}": md5 for file, md5 in published.md5s.items()})


def _read_images(published: _Published, folder: Path, files: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 [n, 3, 32, 32] and labels int64 [n] of some files, in their order."""
    x, y = [], []
    for path in (folder / file for file in files):
        content = read_pickle(path, ("data", published.labels))
        data, labels = content["data"], content[published.labels]
        labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        shape = (len(labels) if isinstance(labels, list) else -1, 3 * _SIDE**2)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != shape or not len(data):
            raise ValueError(
                f"{path} must hold 'data' uint8 [n, {shape[1]}] and a list {published.labels!r} of n labels, got "
                f"{getattr(data, 'dtype', type(data))} {list(getattr(data, 'shape', []))} and {shape[0]} labels."
            )
        wrong = [label for label in labels if type(label) is not int or not 0 <= label < published.num_classes]
        if wrong:
            found = repr(wrong[0])[:40] if isinstance(wrong[0], str | float) else type(wrong[0]).__name__
            found = str(wrong[0]) if type(wrong[0]) is int and abs(wrong[0]) < 2**64 else found
            raise ValueError(f"{path} has the label {found}, expected integers 0..{published.num_classes - 1}.")
        x.append(data.reshape(-1, 3, _SIDE, _SIDE))  # [n, 3072]: the red, green and blue rows of an image
        y.extend(labels)
    return torch.from_numpy(np.concatenate(x)), torch.tensor(y)


def _read_names(published: _Published, path: Path) -> tuple[str, ...]:
    names = read_pickle(path, (published.names,))[published.names]
    if not isinstance(names, list) or len(names) != published.num_classes or {type(name) for name in names} != {str}:
        raise ValueError(f"{path} must hold the list {published.names!r} of {published.num_classes} names.")
    return tuple(names)
