"""Your own arrays: one npz file of samples and labels."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..files import user_path
from .class_folders import PARTS
from .files import check_memory
from .splits import Split, Splits, a_fifth

_KINDS = dict.fromkeys(("x", "image", "images", "data"), "x")
_KINDS |= dict.fromkeys(("y", "label", "labels", "target", "targets"), "y")
_EXPECTED = "expected x_train, y_train, x_test, y_test (train_images, test_labels and so on, too), or x and y alone"


def load_npz(seed: int, *, file: str | Path, split_seed: int = 0) -> Splits:
    """Images or event frames of an npz file that holds x_train, y_train, x_test, y_test, and perhaps x_val, y_val.

    The words may stand in the other order, and be images and labels. Of x and y alone a fifth of each class is the test
    part, drawn with ``split_seed``. Grey images [n, H, W] get their axis, and channels that come last are moved;
    ``class_names`` may be a further array. ``FileNotFoundError`` and ``ValueError`` for a file that is missing,
    damaged, too large for the memory, or holds other arrays.
    """
    path = user_path(file)
    if not path.is_file():
        raise FileNotFoundError(f"npz: no file {path}; {_EXPECTED} in it.")
    try:
        arrays, names = _read(path)
        whole = Split(arrays["", "x"], arrays["", "y"]) if arrays.keys() == {("", "x"), ("", "y")} else None
    except ValueError as error:
        raise ValueError(f"npz: {path}: {error}") from error
    if missing := [kind for kind in ("x", "y") for part in {part for part, _ in arrays} if (part, kind) not in arrays]:
        raise ValueError(f"npz: {path} has no {missing[0]} for one of its parts; {_EXPECTED}.")
    pairs = {part: (arrays[part, "x"], arrays[part, "y"]) for part, kind in arrays if kind == "x"}
    if whole:
        held = a_fifth(whole.y.numpy(), split_seed)
        if not held.any():
            raise ValueError(f"npz: {path} has no class of 5 samples, of which one could be held out for testing.")
        pairs = {part: (whole.x[mask], whole.y[mask]) for part, mask in (("train", ~held), ("test", held))}
    if not {"train", "test"} <= pairs.keys():
        raise ValueError(f"npz: {path} has the parts {', '.join(sorted(pairs))}; {_EXPECTED}.")
    splits = Splits.from_tensors(name="npz", **pairs, class_names=names, seed=seed)
    with path.open("rb") as content:
        return replace(splits, source=f"{path.name}, sha256 {hashlib.file_digest(content, 'sha256').hexdigest()[:16]}")


def _read(path: Path) -> tuple[dict[tuple[str, str], np.ndarray], tuple[str, ...]]:
    """The arrays by part ("" for none) and kind ("x", "y"), and the names of classes if the file tells them."""
    arrays, names = {}, ()
    try:
        with zipfile.ZipFile(path) as archive:  # a small file may hold very much
            needed = 2 * sum(one.file_size for one in archive.infolist())
        check_memory("its arrays", needed, "store fewer samples, or smaller ones")
        with np.load(path, allow_pickle=False) as content:
            for key in content.files:
                words = key.lower().split("_")
                if key in ("class_names", "classes"):
                    names = tuple(map(str, content[key].ravel()))
                elif kinds := [_KINDS[word] for word in words if word in _KINDS]:
                    arrays[next((PARTS[word] for word in words if word in PARTS), ""), kinds[0]] = content[key]
    except Exception as error:  # a reader can fail in any way on a damaged file
        raise ValueError(f"{str(error)[:300]} ({type(error).__name__}); {_EXPECTED}.") from error
    if not arrays:
        raise ValueError(f"it holds {', '.join(content.files) or 'nothing'}; {_EXPECTED}.")
    return {key: _images(array) if key[1] == "x" else _labels(array) for key, array in arrays.items()}, names


def _images(x: np.ndarray) -> np.ndarray:
    """Samples with an axis of channels in its place."""
    if x.ndim == 3:
        return x[:, None]  # [n, H, W] -> [n, 1, H, W]
    last = x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if last else x  # [n, H, W, C] -> [n, C, H, W]


def _labels(y: np.ndarray) -> np.ndarray:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
