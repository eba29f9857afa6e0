"""Real touches of Braille letters: events of a robot's fingertip, as frames."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..checks import whole
from .files import set_folder
from .splits import Splits, a_fifth

FILE, SHAPE = "braille-letters.npz", (256, 12)  # steps of 5 ms, taxels


def load_braille(seed: int, *, folder: str | Path | None = None, num_steps: int = 16) -> Splits:
    """Touches of seven Braille letters (Müller-Cleve et al. 2022, Zenodo 7050094): frames [n, T, 2, 12, 16].

    ``folder`` (``braille`` in the kit's data folder if none is given) holds ``braille-letters.npz``: ``x`` [n, 256
    steps, 12 taxels] of 0 and 1, ``y`` labels. A frame counts the events of 256 / ``num_steps`` steps; the taxels are
    an image of 3×4, each enlarged to 4×4 pixels, and there is no second polarity. The test part is a fifth of each
    class, always the same.
    ``FileNotFoundError`` without the file, ``ValueError`` for other arrays or a ``num_steps`` that does not divide 256.
    """
    if 256 % whole("num_steps", num_steps):
        raise ValueError(f"braille: num_steps must divide the 256 steps of a touch, such as 16 or 32, got {num_steps}.")
    path = set_folder("braille", folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"braille: no file {path}; make it from Zenodo 7050094: x [n, 256, 12] of 0 and 1, y [n]."
        )
    content = path.read_bytes()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
        if x.ndim != 3 or x.shape[1:] != SHAPE or y.shape != x.shape[:1] or not len(x) or not np.isin(x, (0, 1)).all():
            raise ValueError(
                f"x is {x.dtype}{list(x.shape)}, y {y.dtype}{list(y.shape)}; expected [n, 256, 12] of 0 and 1, and [n]"
            )
        if y.dtype.kind not in "iu":
            raise ValueError(f"the labels y must be whole numbers, got {y.dtype}")
        held, y = a_fifth(y, 0), y.astype(np.int64)
    except Exception as error:  # a reader can fail in any way on a damaged file
        raise ValueError(f"braille: {path} cannot be used: {str(error)[:300]} ({type(error).__name__}).") from error
    dtype = np.int16 if num_steps == 1 else np.uint8  # one frame may count 256 events
    counts = x.reshape(len(x), num_steps, -1, 3, 4).sum(2, dtype=dtype)  # [n, T, 3, 4]
    frames = np.zeros((len(x), num_steps, 2, 12, 16), dtype)
    frames[:, :, 0] = counts.repeat(4, 2).repeat(4, 3)  # [n, T, 12, 16]
    pairs = {"train": (frames[~held], y[~held]), "test": (frames[held], y[held])}
    splits = Splits.from_tensors(name="braille", **pairs, seed=seed)
    return replace(splits, source=f"{FILE}, sha256 {hashlib.sha256(content).hexdigest()[:16]}, {num_steps} frames")
