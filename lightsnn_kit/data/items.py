"""Samples one at a time: Pillow's images as arrays, and data sets of (image, label) as arrays of all their samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..checks import shown, whole
from .files import check_memory

if TYPE_CHECKING:
    from PIL.Image import Image

_IMAGES, _LABELS = ("image", "img", "x", "pixel_values"), ("label", "labels", "fine_label", "y", "target")


def pixels(image: Image, size: int | None = None) -> np.ndarray:
    """A Pillow image as uint8 [C, H, W]: C is 1 for grey ones (also of 1 or 16 bits), else 3.

    It is turned as its EXIF orientation says. What is transparent is laid on white. Of 16 bits the upper 8 are kept.
    Palettes, CMYK and others become RGB; of several pages or frames the first is taken. With ``size`` it is scaled
    (bicubic) until it covers a square of that side, and cut in its middle; an image of that size keeps its pixels.
    ``ValueError`` for 32-bit values.

    >>> from PIL import Image
    >>> pixels(Image.new("RGB", (4, 2), "red"))[:, 0, 0].tolist(), pixels(Image.new("L", (4, 2)), 3).shape
    ([255, 0, 0], (1, 3, 3))
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("it has values of 32 bits, whose range nothing tells; save it with 8 or 16 bits.")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode)
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    array = np.array(image)
    return array[None] if mode == "L" else array.transpose(2, 0, 1)  # [H, W, C] -> [C, H, W]


def label_of(label: object) -> int:
    """A label as a whole number from 0; ``ValueError`` says how to number classes that are texts or floats."""
    try:
        return whole("the label", label, low=0, high=2**31 - 1)
    except ValueError as error:
        hint = "Number the classes: target_transform=names.index for texts, target_transform=int for floats."
        raise ValueError(f"{error} {hint}") from error


def stacked(what: str, dataset: object, check: Callable[[object, object], object]) -> tuple[torch.Tensor, torch.Tensor]:
    """All samples and labels of ``dataset[i]``, each (image, label) or a dict with such keys, in their order.

    The first is handed to ``check`` as a batch of one, before the others are read. ``ValueError`` names the item that
    cannot be read, or is not like the first.
    """
    from tqdm.auto import tqdm

    if isinstance(dataset, Mapping) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        advice = "of a DataLoader pass its .dataset, of a dict one of its parts; make a list of a stream, list(stream)"
        raise ValueError(f"{what} must have a length and items, dataset[i], got {shown(dataset)}; {advice}.")
    if not (number := len(dataset)):
        raise ValueError(f"{what} has no items.")
    x, y = torch.empty(0), torch.empty(number, dtype=torch.int64)
    for index in tqdm(range(number), what, unit=" items", delay=1):
        sample, y[index] = _item(what, dataset, index)
        if not index:
            needed = number * sample.numel() * sample.element_size()
            check_memory(f"{what}: its {number:,} items", 2 * needed, "take fewer or smaller ones")  # the parts, too
            try:
                check(sample[None], y[:1])
            except ValueError as error:
                raise ValueError(f"{what}: the first item: {error}") from error
            x = torch.empty((number, *sample.shape), dtype=sample.dtype)
        if (sample.shape, sample.dtype) != (x.shape[1:], x.dtype):
            found, first = (f"{str(t.dtype)[6:]} {list(t.shape[-sample.ndim :])}" for t in (sample, x[0]))
            raise ValueError(
                f"{what}: item {index} is {found}, but the first is {first}. All need the same channels, size and "
                f"type: convert them in the data set's transform, such as image.convert('RGB').resize((32, 32))."
            )
        x[index] = sample
    return x, y


def class_names(dataset: object, number: int) -> tuple[str, ...]:
    """The names that a data set tells of its classes, if they are as many; those of a subset are its whole's."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    features = getattr(dataset, "features", None)
    told = [features.get(key) for key in _LABELS] if isinstance(features, Mapping) else []
    lists = [getattr(dataset, "classes", None), *(getattr(one, "names", None) for one in told)]
    return next((tuple(map(str, one)) for one in lists if isinstance(one, list | tuple) and len(one) == number), ())


def _item(what: str, dataset: object, index: int) -> tuple[torch.Tensor, int]:
    try:
        item = dataset[index]
    except Exception as error:  # a reader can fail in any way on a damaged file
        raise ValueError(f"{what}: item {index}: {type(error).__name__}: {str(error)[:200]}") from error
    if isinstance(item, Mapping):
        keys = [next((key for key in known if key in item), None) for known in (_IMAGES, _LABELS)]
        if None in keys:
            raise ValueError(
                f"{what}: item {index} has the keys {', '.join(map(str, item))}; expected one of {', '.join(_IMAGES)} "
                f"and one of {', '.join(_LABELS)}: rename the columns."
            )
        item = tuple(item[key] for key in keys)
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(f"{what}: item {index} must be (image, label), or a dict of both, got {shown(item)}.")
    image, label = item
    try:
        image = pixels(image) if hasattr(image, "getexif") else image
        if not isinstance(image, torch.Tensor) and np.asarray(image).dtype.kind not in "biuf":
            raise ValueError(
                f"the image is {shown(image)}; expected a Pillow image, a tensor or an array: read it first."
            )
        image = image.detach() if isinstance(image, torch.Tensor) else torch.as_tensor(np.array(image))
        return (image[None] if image.ndim == 2 else image), label_of(label)  # [H, W] -> [1, H, W]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: item {index}: {error}") from error
