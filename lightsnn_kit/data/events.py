"""Event recordings as frames [T, 2, H, W], after a check of every column."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..checks import whole
from .files import check_memory

_BY = {"number": "n_event_bins", "time": "n_time_bins"}
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])


class EventsError(ValueError):
    """Events that were read but are not what they should be: the message says what to change; no file is damaged."""


def frames_from_events(
    events: np.ndarray, *, sensor_size: tuple[int, int, int], num_steps: int, by: str = "number"
) -> np.ndarray:
    """Event counts per step, polarity and pixel, uint8 [T, 2, H, W] (int16 if a count is over 255: none saturates).

    ``events`` is a structured array as tonic's: x, y, t (see `microseconds`), p (0 or 1); ``sensor_size`` is (W, H, 2).
    tonic's ``ToFrame`` does the counting, so that with N events each of the T frames holds, ``by="number"``, N // T
    successive events, or, ``by="time"``, those of (last - first time) // T microseconds. **What is left over at the
    end is dropped**: the last N mod T events, or those from T such spans on (always the last event). Of fewer than T
    events by number, or a single one, each has a frame of its own; a recording of none gives frames of 0. Events out
    of order are put in order of time first (equal times keep theirs). ``ValueError`` for events off the sensor, times
    too close to each other to be microseconds, or a pixel of over 32,767 events in a frame.

    >>> fields = [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")]
    >>> events = np.array([(0, 0, 10, 0), (1, 0, 20, 1), (0, 0, 30, 0), (0, 0, 40, 0), (1, 0, 50, 1)], fields)
    >>> frames_from_events(events, sensor_size=(2, 1, 2), num_steps=2).tolist()
    [[[[1, 0]], [[0, 1]]], [[[2, 0]], [[0, 0]]]]
    """
    from tonic.transforms import ToFrame

    num_steps, (width, height, _) = check_recipe(num_steps, by), check_sensor(sensor_size)
    check_memory(f"{num_steps:,} frames of {width} x {height} pixels", num_steps * 6 * width * height, "take fewer")
    events = _in_order(_check_events(events, (width, height, 2)))
    by, bins = ("number", min(num_steps, len(events))) if by == "number" or len(events) < 2 else (by, num_steps)
    if not bins:  # of which ToFrame makes float64, with W and H exchanged
        return np.zeros((num_steps, 2, height, width), np.uint8)
    dropped = num_dropped(events["t"], num_steps, by)
    if by == "time":
        _check_span(events["t"], num_steps, dropped)
    frames = ToFrame(sensor_size=(width, height, 2), **{_BY[by]: bins})(events)
    if frames.sum(dtype=np.int64) != len(events) - dropped:  # int16 counts wrapped
        raise EventsError(
            f"a pixel has over {np.iinfo(np.int16).max} events in one of {num_steps} frames; take more frames, or "
            f"remove such hot pixels first."
        )
    frames = frames.astype(np.uint8 if frames.max() <= 255 else np.int16)
    return np.concatenate([frames, np.zeros((num_steps - bins, 2, height, width), frames.dtype)])


def num_dropped(t: np.ndarray, num_steps: int, by: str) -> int:
    """Events that no frame holds, of events at the sorted times ``t``: the stated remainder.

    >>> num_dropped(np.arange(35), 16, "number"), num_dropped(np.arange(35), 16, "time")
    (3, 3)
    """
    if by == "number" or len(t) < 2:
        return len(t) % num_steps if len(t) > num_steps else 0
    return len(t) - int(np.searchsorted(t, t[0] + (t[-1] - t[0]) // num_steps * num_steps))


def check_recipe(num_steps: int, by: str) -> int:
    """The number of frames as an ``int``; ``ValueError`` for none, and for other ways than by number or by time."""
    if by not in _BY:
        raise ValueError(f"by must be one of {', '.join(_BY)}; got {by!r}.")
    return whole("num_steps", num_steps)


def check_sensor(size: tuple[int, int, int]) -> tuple[int, int, int]:
    """Width, height and 2 polarities as plain integers; ``EventsError`` for other than these three."""
    try:
        width, height, polarities = (whole("sensor_size", value, high=2**15 - 1) for value in size)
        if polarities == 2:
            return width, height, 2
    except (TypeError, ValueError):
        pass
    raise EventsError(
        f"sensor_size must be (W, H, 2): width, height and two polarities, got {size!r}. For a camera of one polarity "
        f"give (W, H, 2), too, and set p of all events to 0."
    )


def microseconds(t: np.ndarray) -> np.ndarray:
    """Times as int64 microseconds, from integers of any type or whole floats.

    A counter that wrapped, so that its type's whole range is passed, counts on; one beyond int64 starts from 0.
    ``EventsError`` for fractions, NaN, texts and dates, and where times fall by more than 18 minutes, or start over.

    >>> microseconds(np.array([250, 255, 4], np.uint8)).tolist(), microseconds(np.array([1e6, 3e6])).tolist()
    ([0, 5, 10], [1000000, 3000000])
    """
    if t.dtype.kind == "f":
        exact = 2.0 ** (np.finfo(t.dtype).nmant + 1)  # whole numbers beyond are rounded: 2**24 for float32
        good = np.isfinite(t) & (np.trunc(t) == t) & (np.abs(t.astype(np.float64)) < exact)
        if not good.all():
            raise EventsError(
                f"t must be whole microseconds, got {t[~good][0]} ({t.dtype}; {(~good).sum()} of {len(t)} are none). "
                f"Turn seconds into them by np.round(t * 1e6).astype(np.int64), milliseconds by t * 1e3."
            )
        t = t.astype(np.int64)
    if t.dtype.kind not in "iu":
        advice = f"; use t.astype('{t.dtype.kind}8[us]').astype(np.int64)" if t.dtype.kind in "mM" else ""
        raise EventsError(f"t must be whole microseconds, got {t.dtype}{advice}.")
    t = np.ascontiguousarray(t, t.dtype.newbyteorder("="))
    kind = f"i{t.dtype.itemsize}"
    steps = (t.view(f"u{kind[1:]}")[1:] - t.view(f"u{kind[1:]}")[:-1]).view(kind)  # modulo the counter's range
    falls = t[1:] < t[:-1]
    if falls.any() and (steps[falls] > 0).all():  # each fall is a small step on, modulo the range: it wrapped
        t = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps, dtype=np.int64)])
    if len(t) and int(t.max()) - int(t.min()) >= 2**62:
        raise EventsError(f"t must be microseconds, got {t.min()}..{t.max()}: no recording lasts so long.")
    t = (t - t.min() if len(t) and int(t.max()) >= 2**63 else t).astype(np.int64)
    if len(t) > 1 and _starts_over(fall := np.diff(t)):
        at = int(fall.argmin())
        raise EventsError(
            f"t falls from {t[at]} to {t[at + 1]} microseconds at event {at + 1}: a counter that wrapped? Add its "
            f"range (2**24, 2**31, 2**32) to all later times. Two recordings in one? Part them. If the events are only "
            f"out of order, sort them by t."
        )
    return t


def _starts_over(steps: np.ndarray) -> bool:
    """True if times fall by 18 minutes, or few of many fall and one by most of the span: no events out of order do."""
    few = len(steps) >= 100 and (steps < 0).sum() <= len(steps) // 100
    return bool(steps.min() < -(2**30) or (few and -steps.min() > 0.5 * np.abs(np.cumsum(steps)).max()))


def structured(x: np.ndarray, y: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Events as one structured array; ``EventsError`` for columns that do not fit it."""
    columns = {name: np.asarray(values) for name, values in (("x", x), ("y", y), ("p", p), ("t", t))}
    if {values.shape for values in columns.values()} != {(columns["t"].size,)}:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in columns.items())
        raise EventsError(f"x, y, p and t must be as long as each other, [N] values each, got {shapes}.")
    events = np.empty(columns["t"].size, EVENT)
    events["t"] = microseconds(columns.pop("t"))
    for name, values in columns.items():
        fits = values.dtype.kind in "iufb"
        if fits:
            with np.errstate(invalid="ignore"):  # NaN: refused below
                events[name] = values
        if not fits or not np.array_equal(events[name], values):
            advice = " For polarities -1 and 1 use p > 0." if name == "p" else ""
            raise EventsError(f"{name} has values that do not fit {EVENT[name]}.{advice}")
    return events


def read_columns(path: Path) -> np.ndarray:
    """The events of an npz file of the arrays x, y, p, t, or of an npy file of one structured array with such fields.

    ``EventsError`` for a column that is missing or does not fit, and for more than the memory holds.
    """
    if path.suffix.lower() == ".npy":
        columns = np.load(path, mmap_mode="r")
        names = columns.dtype.names or ()
    else:
        with zipfile.ZipFile(path) as archive:  # a small file may hold very much
            check_memory(f"the columns of {path}", sum(one.file_size for one in archive.infolist()), "cut it")
        with np.load(path) as content:
            columns = {name: content[name] for name in "xypt" if name in content.files}
        names = tuple(columns)
    if missing := {"x", "y", "p", "t"} - set(names):
        raise EventsError(
            f"it must hold the columns x, y, p and t, {', '.join(sorted(missing))} is missing; write it by "
            f"np.savez(file, x=x, y=y, p=p, t=t)."
        )
    return structured(*(columns[name] for name in "xypt"))


def _check_events(events: np.ndarray, sensor_size: tuple[int, int, int]) -> np.ndarray:
    names = getattr(getattr(events, "dtype", None), "names", None) or ()
    if not {"x", "y", "t", "p"} <= set(names) or events.ndim != 1:
        shape = list(getattr(events, "shape", ()))
        advice = "make it with lightsnn_kit.data.structured(x, y, p, t)."
        if len(shape) > 2:
            advice = "these look like frames already: take ToFrame out of the transform, frames are made here."
        raise EventsError(
            f"events must be a structured array [N] of x, y, t, p; got fields {names} of {type(events)} {shape}; "
            f"{advice}"
        )
    for name, end in zip("xyp", sensor_size, strict=True):
        values = events[name]
        if values.dtype.kind not in "iub" or (len(values) and not 0 <= values.min() <= values.max() < end):
            found = f"{values.min()}..{values.max()}" if len(values) and values.dtype.kind in "iubf" else "values"
            advice = " For polarities -1 and 1 use p > 0." if name == "p" else ""
            raise EventsError(
                f"{name} of events must be integers 0..{end - 1} (sensor {sensor_size}), got {found} of "
                f"{values.dtype}.{advice}"
            )
    return structured(*(events[name] for name in "xypt"))


def _in_order(events: np.ndarray) -> np.ndarray:
    t = events["t"]
    return events if (t[1:] >= t[:-1]).all() else events[np.argsort(t, kind="stable")]


def _check_span(t: np.ndarray, num_steps: int, dropped: int) -> None:
    """Times in seconds, stored as integers, are too coarse: all events would be dropped, or the last frame's part."""
    span = int(t[-1] - t[0])
    if span < num_steps or (span < 16 * num_steps and dropped > 1 + len(t) / 8):
        raise EventsError(
            f"{len(t)} events span {span} microseconds, too few for {num_steps} frames by time: {dropped} would be "
            f"dropped. If t is in seconds or milliseconds, turn it into microseconds, before it is rounded; else use "
            f"by='number' or a smaller num_steps."
        )
