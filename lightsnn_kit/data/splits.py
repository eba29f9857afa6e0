"""``Split`` and ``Splits``: labelled images and event frames as train, validation and test parts, checked.

Samples stay as they were stored (uint8 where possible); a network normalises its input itself, by
``(x - centre) * scale`` with the two values of ``Splits``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..checks import real, whole


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their labels: images ``x`` [n, C, H, W] or event frames [n, T, 2, H, W], ``y`` int64 [n].

    ``x`` is uint8, int16 (event counts over 255) or floating point, as tensor or array (shared, not copied).
    ``ValueError`` for another shape or type, channels that come last, other labels than integers from 0, unequal
    lengths, no samples, NaN or infinity.

    >>> Split(np.zeros((3, 1, 8, 8), np.uint8), [0, 1, 1])
    Split(x=uint8[3, 1, 8, 8], y=int64[3])
    """

    x: torch.Tensor
    y: torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _check_samples(_tensor("x", self.x)))
        object.__setattr__(self, "y", _check_labels(_tensor("y", self.y), len(self.x)))

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
    values out. ``source`` says what was read, for provenance. With ``stand_in`` the samples are not those that the
    name promises (made up, or not the published files), and whatever is measured on them is
    "synthetic stand-in, not a result". ``ValueError`` if the parts or values do not fit each other.
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
    source: str = ""
    stand_in: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_classes", whole("num_classes", self.num_classes))
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        object.__setattr__(self, "centre", tuple(whole("centre", value, low=-math.inf) for value in self.centre))
        object.__setattr__(self, "scale", real("scale", self.scale))
        num_classes, sample = len(self.train.y.unique()), (self.train.x.shape[1:], self.train.x.dtype)
        if num_classes < 2:
            raise ValueError(
                f"{self.name}: every sample of train has the label {int(self.train.y[0])}, and there is nothing to "
                f"tell apart: give samples of at least 2 classes, labelled 0, 1, ..."
            )
        for part, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            if (split.x.shape[1:], split.x.dtype) != sample:
                raise ValueError(f"{self.name}: all parts need samples like train's {self.train}; {part} is {split}.")
            if (top := int(split.y.max())) >= num_classes:
                raise ValueError(
                    f"{self.name}: {part} has label {top}, but train holds {num_classes} classes, so labels must be "
                    f"0..{num_classes - 1}; number the classes without gaps, each with a sample in train: "
                    f"np.unique(y, return_inverse=True) does it."
                )
        fits = (num_classes, num_classes, self.train.x.shape[-3], self.train.events)
        given = (self.num_classes, len(self.class_names), len(self.centre), self.events)
        if given != fits:
            raise ValueError(
                f"{self.name}: (classes, class names, channels of centre, events) are {given}, expected {fits} from "
                f"train."
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
            train, val = carve(name, train, seed)
        else:
            val = _named_split(name, "val", val)
        num_classes = len(train.y.unique())
        class_names = _in_label_order(name, class_names) or tuple(map(str, range(num_classes)))
        return cls(name, train, val, test, num_classes, class_names, *_normalisation(name, train), train.events)

    @classmethod
    def from_dataset(
        cls,
        train: object,
        test: object,
        *,
        name: str = "",
        val: object | None = None,
        class_names: tuple = (),
        seed: int = 0,
    ) -> Splits:
        """A data set from ones whose ``[i]`` is (image, label) or a dict of both: torchvision's, Hugging Face's, yours.

        Images are Pillow's (see `data.items.pixels`), tensors or arrays [C, H, W] or [H, W], all alike; each is read
        once, so that a random transform is drawn once. Names of classes are taken from ``train.classes`` or
        ``train.features``. ``val`` and ``seed`` as for `from_tensors`. ``ValueError`` names the item that does not fit.

        >>> items = [(torch.full((1, 4, 4), 9 * i, dtype=torch.uint8), i % 2) for i in range(20)]
        >>> Splits.from_dataset(items[:15], items[15:], name="mine").val
        Split(x=uint8[2, 1, 4, 4], y=int64[2])
        """
        from .items import class_names as names_of
        from .items import stacked

        name = name or type(train).__name__
        given = {part: one for part, one in (("train", train), ("val", val), ("test", test)) if one is not None}
        pairs = {part: stacked(f"{name}: {part}", one, Split) for part, one in given.items()}
        class_names = class_names if len(class_names) else names_of(train, len(pairs["train"][1].unique()))
        splits = cls.from_tensors(name=name, **pairs, class_names=class_names, seed=seed)
        counts = " + ".join(f"{len(y)} {part}" for part, (_, y) in pairs.items())
        return replace(splits, source=f"{type(train).__name__}: {counts}")

    def network_settings(self) -> dict:
        """What ``NetworkConfig(**settings)`` needs of the data: ``input_shape`` is (C, H, W)."""
        return {
            "input_shape": tuple(self.train.x.shape[-3:]),
            "num_classes": self.num_classes,
            "input_centre": self.centre,
            "input_scale": self.scale,
            "events": self.events,
        }


def make_rng(seed: int) -> np.random.RandomState:
    """NumPy's frozen generator: only its stream is promised to stay the same, so a seed means one split for good."""
    seed = whole("seed", seed, low=0)
    words = [seed >> shift & 0xFFFFFFFF for shift in range(0, seed.bit_length(), 32)]
    return np.random.RandomState(words if len(words) > 1 else seed)


def _tensor(name: str, values: object) -> torch.Tensor:
    """A tensor of an array, of lists or of tensors, whose memory is shared where it can be; without gradients."""
    if isinstance(values, list | tuple) and values and all(isinstance(value, torch.Tensor) for value in values):
        values = torch.stack([value.detach() for value in values]) if len({v.shape for v in values}) == 1 else None
    if isinstance(values, torch.Tensor):
        return values.detach()
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values, which would count as they are; fill them: {name}.filled(0).")
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and array.size and isinstance(array.flat[0], str)):
        advice = "Number the classes: class_names, y = np.unique(labels, return_inverse=True), of all parts together."
        advice = advice if name == "y" else "Read the samples first, into one array [n, C, H, W]."
        raise ValueError(f"{name} must be numbers, got texts such as {str(next(array.flat, ''))[:40]!r}. {advice}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be one array of numbers, got {type(values).__name__} of {array.dtype}.")
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):  # numbers of 80 bits, another order of bytes, strides below 0
        plain = np.float64 if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype.newbyteorder("=")
        return torch.from_numpy(array.astype(plain, order="C"))


def _check_samples(x: torch.Tensor) -> torch.Tensor:
    """Samples, after a check of shape, type and finite values."""
    _check_layout(x.shape)
    if x.dtype not in (torch.uint8, torch.int16) and not x.is_floating_point():
        values = x.numpy(force=True)
        fits = not x.is_complex() and values.min() >= 0 and values.max() <= 255
        advice = "uint8 holds these values" if fits else "use float32 (exact up to 2**24); uint8 would cut these values"
        raise ValueError(f"x must be uint8, int16 or floating point, got {x.dtype}; {advice}.")
    if x.is_floating_point() and len(bad := (~x.isfinite()).flatten(1).any(1).nonzero()):
        raise ValueError(f"x has NaN or infinity in sample {int(bad[0])} ({len(bad)} of {len(x)} samples).")
    if x.ndim == 5 and x.dtype is not torch.uint8 and x.min() < 0:
        raise ValueError(f"x of event frames counts events, got {x.min():g}; of two polarities each has its own plane.")
    return x


def _check_layout(shape: torch.Size) -> None:
    """``ValueError`` for other than images and event frames, and for those whose channels come last."""
    shape = list(shape)
    if len(shape) in (4, 5) and 0 not in shape:
        *_, height, width, last = shape
        lone = min(height, width) > 4 or height == width > last  # else it may be a small image, or have few channels
        if last in (1, 2, 3, 4) and lone and (len(shape) == 4 or shape[2] != 2):
            looks, axes = {4: ("[n, H, W, C]", "(0, 3, 1, 2)"), 5: ("[n, T, H, W, C]", "(0, 1, 4, 2, 3)")}[len(shape)]
            raise ValueError(f"x {shape} looks like {looks}; use transpose{axes}, of a tensor permute{axes}.")
    if len(shape) not in (4, 5) or (len(shape) == 5 and shape[2] != 2) or 0 in shape:
        raise ValueError(
            f"x must be images [n, C, H, W] or event frames [n, T, 2, H, W] with at least one sample, got shape "
            f"{shape}; grey images [n, H, W] need an axis: x[:, None]."
        )


def _check_labels(y: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Labels as int64, after a check of type, length and sign."""
    if y.shape != (num_samples,) or y.is_floating_point() or y.is_complex() or y.dtype is torch.bool:
        advice = "for one-hot rows use y.argmax(1)" if y.ndim == 2 and y.shape[1] > 1 else "use y.ravel()"
        advice = "for whole numbers use y.astype(np.int64), of a tensor y.long()" if y.ndim == 1 else advice
        raise ValueError(
            f"y must be one integer label for each of the {num_samples} samples (shape [{num_samples}], int64), got "
            f"shape {list(y.shape)}, {y.dtype}" + (f"; {advice}." if y.numel() >= num_samples else ".")
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


def carve(name: str, split: Split, seed: int) -> tuple[Split, Split]:
    """Four fifths and one fifth of each class (rounded down), each part in the order of ``split``."""
    held = torch.from_numpy(a_fifth(split.y.numpy(force=True), seed))
    if not held.any():
        raise ValueError(f"{name}: val is carved from classes of at least 5 samples, train has none; pass val=(x, y).")
    return Split(split.x[~held], split.y[~held]), Split(split.x[held], split.y[held])


def a_fifth(y: np.ndarray, seed: int) -> np.ndarray:
    """True for a fifth of each class (rounded down), drawn with ``seed``.

    >>> a_fifth(np.arange(12) % 2, seed=0).tolist()
    [False, False, False, True, False, False, False, False, False, False, True, False]
    """
    rng, held = make_rng(seed), np.zeros(len(y), bool)
    for label in np.unique(y):
        order = rng.permutation(np.flatnonzero(y == label))
        held[order[: len(order) // 5]] = True
    return held


def _in_label_order(name: str, class_names: object) -> tuple:
    """Names of classes as a tuple; ``ValueError`` for kinds that have no order of their own, or hold other things."""
    if isinstance(class_names, str | Mapping | Set):
        raise ValueError(
            f"{name}: class_names must be a list of names in the order of the labels 0, 1, ..., got a "
            f"{type(class_names).__name__}."
        )
    return tuple(class_names)


def _normalisation(name: str, split: Split) -> tuple[tuple[int, ...], float]:
    """``(centre, scale)`` as ``Splits.from_tensors`` states them; six digits, so that summing order cannot show."""
    if split.events:
        return (0, 0), 1.0
    var, mean = (torch.stack(values) for values in zip(*map(_var_mean, split.x.unbind(1)), strict=True))
    std = math.sqrt(var.mean() + mean.var(correction=0))
    if std == 0:
        raise ValueError(f"{name}: every value of train is {float(mean[0]):g}; there is nothing to tell samples apart.")
    if not 1e-30 < std < 1e30:
        raise ValueError(f"{name}: the values of train spread by {std:g}; bring them to a range such as 0..1.")
    return tuple(round(value) for value in mean.tolist()), float(f"{1 / std:.6g}")


def _var_mean(channel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and mean in double; of bytes from their histogram, which takes an eighth of the memory."""
    if channel.dtype is not torch.uint8:
        return torch.var_mean(channel.double(), correction=0)
    share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
    levels = torch.arange(256.0, dtype=torch.float64, device=channel.device)
    mean = share @ levels
    return share @ (levels - mean) ** 2, mean
