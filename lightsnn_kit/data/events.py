"""Event recordings as frames [T, 2, H, W], and data sets of them from any tonic data set."""

from __future__ import annotations

import numpy as np

_BY = {"number": "n_event_bins", "time": "n_time_bins"}


def frames_from_events(
    events: np.ndarray, *, sensor_size: tuple[int, int, int], num_steps: int, by: str = "number"
) -> np.ndarray:
    """Event counts per step, polarity and pixel, uint8 [T, 2, H, W] (int16 if a count is over 255: none saturates).

    ``events`` is a structured array as tonic's: x, y, t (microseconds), p (0 or 1); ``sensor_size`` is (W, H, 2).
    tonic's ``ToFrame`` does the counting, so that with N events each of the T frames holds, ``by="number"``, N // T
    successive events, or, ``by="time"``, those of (last - first time) // T microseconds. **What is left over at the
    end is dropped**: the last N mod T events, or those from T such spans on (always the last event).
    Recordings of no or too few events give frames of 0. Events out of order are put in order of time first (equal
    times keep theirs). ``ValueError`` for events off the sensor, or a pixel of over 32,767 events in a frame.

    >>> fields = [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")]
    >>> events = np.array([(0, 0, 10, 0), (1, 0, 20, 1), (0, 0, 30, 0), (0, 0, 40, 0), (1, 0, 50, 1)], fields)
    >>> frames_from_events(events, sensor_size=(2, 1, 2), num_steps=2).tolist()
    [[[[1, 0]], [[0, 1]]], [[[2, 0]], [[0, 0]]]]
    """
    from tonic.transforms import ToFrame

    check_recipe(num_steps, by)
    events = _in_order(_check_events(events, sensor_size))
    if not len(events):  # of which ToFrame makes float64, with W and H exchanged
        return np.zeros((num_steps, 2, sensor_size[1], sensor_size[0]), np.uint8)
    frames = ToFrame(sensor_size=tuple(sensor_size), **{_BY[by]: num_steps})(events)
    if frames.sum(dtype=np.int64) != len(events) - num_dropped(events["t"], num_steps, by):  # int16 counts wrapped
        raise ValueError(
            f"a pixel has over {np.iinfo(np.int16).max} events in one of {num_steps} frames; take more frames, or "
            f"remove such hot pixels first."
        )
    return frames.astype(np.uint8 if frames.max() <= 255 else np.int16)


def num_dropped(t: np.ndarray, num_steps: int, by: str) -> int:
    """Events that no frame holds, of events at the sorted times ``t``: the stated remainder.

    >>> num_dropped(np.arange(35), 16, "number"), num_dropped(np.arange(35), 16, "time")
    (3, 3)
    """
    if by == "number" or not len(t):
        return len(t) % num_steps
    return len(t) - int(np.searchsorted(t, t[0] + (t[-1] - t[0]) // num_steps * num_steps))


def check_recipe(num_steps: int, by: str) -> None:
    """``ValueError`` for other than a positive number of frames by number or by time."""
    if type(num_steps) is not int or num_steps < 1 or by not in _BY:
        raise ValueError(f"need num_steps >= 1 and by out of {', '.join(_BY)}; got {num_steps!r} and {by!r}.")


def _check_events(events: np.ndarray, sensor_size: tuple[int, int, int]) -> np.ndarray:
    names = getattr(getattr(events, "dtype", None), "names", None) or ()
    if not {"x", "y", "t", "p"} <= set(names) or events.ndim != 1:
        raise ValueError(f"events must be a structured array [N] of x, y, t, p; got fields {names} of {type(events)}.")
    if len(sensor_size) != 3 or sensor_size[2] != 2:
        raise ValueError(f"sensor_size must be (W, H, 2), for two polarities; got {tuple(sensor_size)}.")
    for name, end in zip("xyp", sensor_size, strict=True):
        values = events[name]
        if values.dtype.kind not in "iub" or (len(values) and not 0 <= values.min() <= values.max() < end):
            found = f"{values.min()}..{values.max()}" if len(values) else "no values"
            raise ValueError(
                f"{name} of events must be integers 0..{end - 1} (sensor {tuple(sensor_size)}), got "
                f"{found} of {values.dtype}."
            )
    return events


def _in_order(events: np.ndarray) -> np.ndarray:
    t = events["t"]
    return events if (t[1:] >= t[:-1]).all() else events[np.argsort(t, kind="stable")]
