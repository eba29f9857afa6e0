"""Events that a contrast-threshold camera would report of real digits that move (simulated, and numpy only).

A pixel remembers the log intensity L at which it fired last, and fires (p = 1 brighter, p = 0 darker) each time L is
more than θ off that level; the level then moves by ±θ, so that change below the threshold is kept. No noise, no
mismatch between pixels, no dead time. All arithmetic is on integers (poses in eighths of a pixel, L in 1/4096), so
events have the same bits on every machine. A recording is a structured array as tonic's: x, y in pixels, t in
microseconds, p.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise

import numpy as np

from .events import check_recipe, frames_from_events
from .files import check_memory
from .splits import Splits

EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
SIDE = 24  # pixels of the square sensor; a digit is enlarged to 16 x 16 in its middle
THRESHOLD = 2458  # θ = 0.6 in units of 1/4096
_DARK = 0.05  # intensity of a black pixel, white being 1.05: log of 0 there is none
_LOG = np.round(4096 * np.log(np.arange(16 * 16 * 64 + 1) / (16 * 16 * 64) + _DARK)).astype(np.int32)

POSE_US = 10_000  # time between two poses
STROKE_POSES = 10  # of a movement of 100 ms, as N-MNIST's saccades
_STROKES = {"right": (0, 1), "up": (-1, 0), "left": (0, -1), "down": (1, 0)}  # dy, dx
MOTIONS: dict[str, tuple[str, ...]] = {
    "counter-clockwise from the right": ("right", "up", "left", "down"),
    "counter-clockwise from the left": ("left", "down", "right", "up"),
    "clockwise from the right": ("right", "down", "left", "up"),
    "clockwise from the left": ("left", "up", "right", "down"),
}
"""The classes of ``motion-dvs``: the same four strokes, out from the centre and back, in four orders."""


def simulate(images: np.ndarray, poses: np.ndarray, *, threshold: int = THRESHOLD) -> list[np.ndarray]:
    """Recordings of images [n, H, W] (integers 0..256) that take each of the poses [P, 2] (dy, dx) in turn.

    Poses are in eighths of a pixel, ``POSE_US`` apart; an event's time is interpolated between two of them.

    >>> dot = np.zeros((1, 3, 3), np.int32)
    >>> dot[0, 1, 1] = 256
    >>> [events] = simulate(dot, np.array([[0, 0], [0, 8]]), threshold=12_000)  # one pixel to the right
    >>> [(int(e["x"]), int(e["t"]), bool(e["p"])) for e in events]
    [(1, 9622, False), (2, 9622, True)]
    """
    images, poses = np.asarray(images, np.int32), np.asarray(poses, np.int64)
    if images.ndim != 3 or images.min() < 0 or images.max() > 256 or poses.ndim != 2 or poses.shape[1:] != (2,):
        raise ValueError(f"expected images [n, H, W] in 0..256 and poses [P, 2], got {images.shape}, {poses.shape}.")
    parts = [images[start : start + 128] for start in range(0, len(images), 128)]  # what stays in a cache is fast
    return [events for part in parts for events in _simulate_part(part, poses, threshold)]


def _simulate_part(images: np.ndarray, poses: np.ndarray, threshold: int) -> list[np.ndarray]:
    value = _LOG.take(_shifted(images, *poses[0])).ravel()  # [n * H * W]
    level, columns = value.copy(), []
    for step, pose in enumerate(poses[1:]):
        before, value = value, _LOG.take(_shifted(images, *pose)).ravel()
        pixel = np.flatnonzero(np.abs(value - level) > threshold)
        change = value[pixel] - level[pixel]
        counts = (np.abs(change) - 1) // threshold  # more than θ: exactly θ does not fire
        order = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1  # 1, 2, ... at each pixel
        up = np.repeat(change > 0, counts)
        index = np.repeat(pixel, counts)
        first, last, reference = (array[index].astype(np.int64) for array in (before, value, level))
        passed = np.abs(reference + np.where(up, order, -order) * threshold - first)  # of |last - first|
        columns.append((index, step * POSE_US + passed * POSE_US // np.abs(last - first), up))
        level[pixel] += np.sign(change) * counts * threshold
    return _sorted_recordings(*(np.concatenate(column) for column in zip(*columns, strict=True)), images.shape)


def _shifted(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Images moved by (dy, dx) eighths of a pixel, bilinear, black outside, times 64: integers without rounding."""
    (y, fy), (x, fx) = divmod(int(dy), 8), divmod(int(dx), 8)
    margin, (height, width) = max(abs(y), abs(x)) + 1, images.shape[1:]
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))

    def part(down: int, right: int) -> np.ndarray:
        top, left = margin - y - down, margin - x - right
        return padded[:, top : top + height, left : left + width]

    weights = ((8 - fy) * (8 - fx), (8 - fy) * fx, fy * (8 - fx), fy * fx)
    return sum(w * part(i // 2, i % 2) for i, w in enumerate(weights) if w)


def _sorted_recordings(pixel: np.ndarray, t: np.ndarray, p: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    n, height, width = shape
    image = pixel // (height * width)
    order = np.lexsort((t, image))  # stable: events of one time stay in the order of pixels
    events = np.empty(len(order), EVENT)
    place = (pixel - image * height * width)[order]
    events["y"], events["x"] = place // width, place % width
    events["t"], events["p"] = t[order], p[order]
    return np.split(events, np.searchsorted(image[order], np.arange(1, n)))


def enlarge(digits: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Digits [n, 8, 8] in 0..16 as [n, side, side] in 0..256: twice as large, bilinear, in the middle of black."""
    rows = np.pad(np.asarray(digits, np.int32), ((0, 0), (1, 1), (1, 1)), "edge")
    for axis in (1, 2):
        middle = np.arange(1, 9)
        here, above, below = (rows.take(middle + offset, axis) for offset in (0, -1, 1))
        rows = np.stack((3 * here + above, 3 * here + below), axis + 1)  # quarter points between the centres
        rows = rows.reshape([16 if i == axis else size for i, size in enumerate(here.shape)])  # the pairs side by side
    margin = (side - 16) // 2
    return np.pad(rows, ((0, 0), (margin, side - 16 - margin), (margin, side - 16 - margin)))


def saccades(amplitude: int = 3) -> np.ndarray:
    """Poses of three straight eye movements that close a triangle, as N-MNIST's; ``amplitude`` in pixels."""
    corners = 8 * amplitude * np.array([(-0.5, -0.5), (0.5, 0.0), (-0.5, 0.5), (-0.5, -0.5)])
    share = (1 - np.cos(np.pi * np.arange(STROKE_POSES) / STROKE_POSES)) / 2  # slow, fast, slow
    legs = [a + share[:, None] * (b - a) for a, b in pairwise(corners)]  # [poses, 2] each
    return np.round(np.concatenate([*legs, corners[-1:]]), 6).round().astype(int)


def stroke(direction: str, amplitude: int = 4) -> np.ndarray:
    """Poses of one movement out from the centre and back; ``amplitude`` in pixels.

    >>> stroke("left")[[0, 5, 10]].tolist()
    [[0, 0], [0, -32], [0, 0]]
    """
    share = (1 - np.cos(2 * np.pi * np.arange(STROKE_POSES + 1) / STROKE_POSES)) / 2
    return np.round(8 * amplitude * share, 6).round().astype(int)[:, None] * np.array(_STROKES[direction])  # [poses, 2]


def digits_recordings(digits: np.ndarray) -> list[np.ndarray]:
    """``digits-dvs``: each digit [n, 8, 8] seen by an eye that makes three saccades."""
    return simulate(enlarge(digits), saccades())


def motion_recordings(digits: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """``motion-dvs``: recordings and classes (the order of ``MOTIONS``), drawn evenly and regardless of the digit.

    Each stroke is recorded by itself, and a recording joins four of them: the classes have the same events, at other
    times. So neither the sum over time nor any single moment tells the class, only which stroke followed which; but for
    a trace: frames by time are cut between the first and the last event, which depend on the first and last stroke
    (lesson `8_memory` measures what a cell without feedback makes of it).
    """
    labels = np.random.RandomState(0).permutation(np.arange(len(digits)) % len(MOTIONS))
    images, orders = enlarge(digits), [MOTIONS[name] for name in MOTIONS]
    recorded = {direction: simulate(images, stroke(direction)) for direction in _STROKES}
    return [_joined([recorded[d][i] for d in orders[label]]) for i, label in enumerate(labels)], labels


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    events = np.concatenate(parts)
    events["t"] += np.repeat(np.arange(len(parts)) * STROKE_POSES * POSE_US, [len(part) for part in parts])
    return events


def load_digits_dvs(seed: int, *, num_steps: int = 6, by: str = "time") -> Splits:
    """scikit-learn's 1,797 digits as saccade recordings in frames; parts as those of ``digits``."""
    digits, classes = _digits("digits-dvs", check_recipe(num_steps, by))
    return _splits("digits-dvs", digits_recordings(digits), (classes, classes, ()), (num_steps, by, seed))


def load_motion_dvs(seed: int, *, num_steps: int = 8, by: str = "time") -> Splits:
    """Each of the 1,797 digits in one of four motions, in frames; parts as those of ``digits``."""
    digits, classes = _digits("motion-dvs", check_recipe(num_steps, by))
    recordings, labels = motion_recordings(digits)
    return _splits("motion-dvs", recordings, (labels, classes, tuple(MOTIONS)), (num_steps, by, seed))


def _digits(name: str = "", num_steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    needed = 2 * len(bunch.target) * num_steps * 2 * SIDE**2  # a list of frames, then one array
    check_memory(f"{name}: {num_steps:,} frames of each recording", needed, "take fewer frames")
    return bunch.images.astype(np.int32), bunch.target


def _splits(name: str, recordings: list[np.ndarray], labelled: tuple, recipe: tuple[int, str, int]) -> Splits:
    (labels, digits, class_names), (num_steps, by, seed) = labelled, recipe
    size = (SIDE, SIDE, 2)
    frames = [frames_from_events(events, sensor_size=size, num_steps=num_steps, by=by) for events in recordings]
    x = np.stack(frames)  # [n, T, 2, H, W]
    held = np.zeros(len(x), bool)
    held[np.concatenate([np.flatnonzero(digits == digit)[4::5] for digit in range(10)])] = True
    train, test = ((x[part], labels[part]) for part in (~held, held))
    splits = Splits.from_tensors(name=name, train=train, test=test, class_names=class_names, seed=seed)
    return replace(splits, source=f"scikit-learn {version('scikit-learn')}, simulated events")
