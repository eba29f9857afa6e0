"""Your own images: folders of PNG, JPEG, WebP, BMP and TIFF files, one folder for each class."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..checks import whole
from .class_folders import ClassFiles, class_files
from .files import check_memory, is_stand_in
from .frame_store import Frames, kept, place_of
from .items import pixels
from .splits import Splits

_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_FORMAT = 1  # of the stored images: a new number when they are made in another way


def load_image_folder(seed: int, *, folder: str | Path, size: int = 32, split_seed: int = 0) -> Splits:
    """Images of ``train|test/CLASS/FILE`` or ``CLASS/FILE`` as uint8 [n, C, size, size]; see `pixels`, `ClassFiles`.

    C is 1 if all images are grey, else 3. Each image is scaled until it covers the square, and cut in its middle. What
    was made is kept in the cache folder, under a hash of the files' contents; the files are never changed. A warning
    tells of test images that are copies of train images. ``ValueError`` names all files that cannot be read.
    """
    size = whole("size", size, high=4096)
    found, troubles = class_files("image-folder", folder, _ENDINGS), []
    masks = found.masks(split_seed)
    needed = len(found.paths) * 3 * size**2
    said = f"image-folder: {len(found.paths):,} images of {size} x {size} pixels"
    check_memory(said, 2 * needed, "take a smaller size or fewer images")  # twice: whole, and as parts
    digests = _digests(found.paths)
    files = [
        [path.relative_to(found.root).as_posix(), digest, label]
        for path, digest, label in zip(found.paths, digests, found.labels.tolist(), strict=True)
    ]
    stored = _kept(found, files, size, troubles)
    train, test = ({digests[i]: files[i][0] for i in np.flatnonzero(masks[part])} for part in ("train", "test"))
    if copies := sorted(set(train) & set(test)):
        pair = f"{test[copies[0]]} = {train[copies[0]]}"
        troubles.append(f"copies of train's images in test: {len(copies)} ({pair}), so accuracy will look too good")
    if troubles:
        warnings.warn(f"image-folder: {'; '.join(troubles)}.", stacklevel=3)
    pairs = {part: (stored.x[mask], stored.y[mask]) for part, mask in masks.items()}
    splits = Splits.from_tensors(name="image-folder", **pairs, class_names=found.classes, seed=seed)
    content = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
    cut = f"test by {'folders' if found.parts[0] else f'split_seed {split_seed}'}"
    source = f"{len(files)} images, {size} x {size}, {cut}, names and contents {content}"
    return replace(splits, source=source, stand_in=is_stand_in(found.root))


def _kept(found: ClassFiles, files: list[list], size: int, troubles: list[str]) -> Frames:
    """The images of all parts, from the disk if they are there."""
    import PIL

    identity = {"format": _FORMAT, "pillow": PIL.__version__, "size": size, "files": files}
    place = place_of("images", found.root.name, identity, troubles)

    def make() -> Frames:
        return Frames(_read(found.paths, size), found.labels, {})

    return kept(place, make, troubles) if place else make()


def _digests(paths: tuple[Path, ...]) -> list[str]:
    """The sha256 of each file."""
    from tqdm.auto import tqdm

    found = []
    for path in tqdm(paths, "image-folder: checksums", unit=" files", delay=1):
        with path.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def _read(paths: tuple[Path, ...], size: int) -> np.ndarray:
    """All images [n, C, size, size]; those that cannot be read are named together."""
    from PIL import Image
    from tqdm.auto import tqdm

    x, damaged = np.zeros((len(paths), 1, size, size), np.uint8), []
    said = f"image-folder: at most {len(paths) * 3 * size**2 / 1e6:,.0f} MB"
    for row, path in enumerate(tqdm(paths, said, unit=" images", delay=1)):
        try:
            with Image.open(path) as image:
                image.draft(None, (2 * size, 2 * size))  # a JPEG is decoded no larger than is of use
                one = pixels(image, size)
        except Exception as error:  # a reader can fail in any way on a damaged file
            damaged.append(f"{path} ({type(error).__name__}: {str(error)[:200]})")
            continue
        if len(one) > x.shape[1]:  # the first in colour
            x = np.repeat(x, 3, axis=1)
        x[row] = one
    if damaged:
        more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        raise ValueError(
            f"image-folder: {len(damaged)} of {len(paths)} images cannot be read: {'; '.join(damaged[:5])}{more}. "
            f"Restore or remove these files; nothing was changed."
        )
    return x
