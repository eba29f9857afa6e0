"""The simulated camera: hand-worked events, what its recordings keep, and that motion-dvs needs the order of time."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit.data import frames_from_events, load
from lightsnn_kit.data import simulated as camera


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return camera._digits()


def test_a_pixel_by_hand() -> None:
    """Black to white: ln(1.05 / 0.05) = 3.0445 = 5.07 θ for θ = 0.6, so five events; then back.

    It ends exactly θ below the remembered level, which is not more than θ: four events.
    """
    image = np.zeros((1, 1, 3), np.int32)
    image[0, 0, 0] = 256
    [events] = camera.simulate(image, np.array([[0, 0], [0, 8], [0, 0]]))
    middle = events[events["x"] == 1]
    assert middle["p"].tolist() == [True] * 5 + [False] * 4
    rise = int(np.round(4096 * np.log(1.05)) - np.round(4096 * np.log(0.05)))
    assert middle["t"][:5].tolist() == [
        k * 2458 * 10_000 // rise for k in range(1, 6)
    ]  # L passes k·θ on a straight line
    down = [10_000 + (rise - (5 - k) * 2458) * 10_000 // rise for k in range(1, 5)]  # from 5.07 θ to 4, 3, 2 and 1 θ
    assert middle["t"][5:].tolist() == down
    assert events["x"].max() == 1  # the third pixel saw nothing


def test_change_below_the_threshold_is_remembered() -> None:
    """Eight small steps give the events of one large step: nothing is lost between poses."""
    image = np.zeros((1, 3, 3), np.int32)
    image[0, 1, 1] = 256
    [fine] = camera.simulate(image, np.array([[0, d] for d in range(9)]))
    [coarse] = camera.simulate(image, np.array([[0, 0], [0, 8]]))
    for p in (False, True):
        assert (fine["p"] == p).sum() == (coarse["p"] == p).sum()


def test_a_still_scene_gives_no_events() -> None:
    [events] = camera.simulate(np.full((1, 4, 4), 100), np.zeros((5, 2), int))
    assert len(events) == 0
    assert events.dtype == camera.EVENT


@given(st.integers(0, 10**6))
def test_levels_end_within_a_threshold(seed: int) -> None:
    """Events add up: the light of each pixel changed by θ·(ON − OFF), up to one θ."""
    rng = np.random.default_rng(seed)
    image, poses = rng.integers(0, 257, (1, 5, 6)), rng.integers(-12, 13, (6, 2))
    [events] = camera.simulate(image, poses)
    total = np.zeros((5, 6), int)
    np.add.at(total, (events["y"], events["x"]), np.where(events["p"], 1, -1))
    first, last = (camera._LOG[camera._shifted(image, *pose)][0] for pose in (poses[0], poses[-1]))
    assert np.abs(last - first - camera.THRESHOLD * total).max() <= camera.THRESHOLD
    assert (np.diff(events["t"]) >= 0).all()
    assert len(events) == 0 or 0 <= events["t"][0] <= events["t"][-1] <= 5 * camera.POSE_US


def test_reversed_motion_swaps_polarity() -> None:
    """A film run backwards gets brighter where it got darker; levels differ by less than θ, so counts by few."""
    poses = np.array([[0, d] for d in range(0, 33, 4)])
    image = camera.enlarge(camera._digits()[0][:20])
    there, back = camera.simulate(image, poses), camera.simulate(image, poses[::-1])
    ons, offs = sum(int(e["p"].sum()) for e in there), sum(int((~e["p"]).sum()) for e in back)
    assert abs(ons / offs - 1) < 0.05


def test_moving_by_whole_pixels_is_exact() -> None:
    image = np.arange(25).reshape(1, 5, 5)
    moved = camera._shifted(image, 8, -16)
    assert moved[0, 1:, :3].tolist() == (64 * image[0, :4, 2:]).tolist()
    assert moved[0, 0].tolist() == [0] * 5
    assert camera._shifted(image, 4, 0)[0, 2, 2] == 64 * (7 + 12) / 2


def test_enlarging_keeps_the_mean() -> None:
    digits = np.random.default_rng(0).integers(0, 17, (3, 8, 8))
    large = camera.enlarge(digits)
    assert large.shape == (3, 24, 24)
    assert large[:, 4:20, 4:20].sum((1, 2)).tolist() == (64 * digits.sum((1, 2))).tolist()
    assert large.sum() == large[:, 4:20, 4:20].sum()


@pytest.mark.parametrize(
    ("images", "poses"), [(np.zeros((2, 2)), [[0, 0]]), (np.full((1, 2, 2), 300), [[0, 0]]), (np.zeros((1, 2, 2)), [0])]
)
def test_what_cannot_be_simulated_is_told(images: np.ndarray, poses: list) -> None:
    with pytest.raises(ValueError, match=r"expected images \[n, H, W\] in 0..256 and poses \[P, 2\]"):
        camera.simulate(images, np.array(poses))


def test_the_same_bits_everywhere(digits: tuple) -> None:
    recordings = camera.digits_recordings(digits[0][:50]) + camera.motion_recordings(digits[0][:50])[0]
    content = b"".join(events.tobytes() for events in recordings)
    assert hashlib.sha256(content).hexdigest()[:16] == "5d8f4e641cbf5837"


def test_motions_are_reorderings_of_the_same_events(digits: tuple) -> None:
    """For one digit, all classes have the same events apart from their times."""
    images = camera.enlarge(digits[0][:3])
    strokes = {name: camera.simulate(images, camera.stroke(name)) for name in ("right", "up", "left", "down")}
    recorded = [camera._joined([strokes[s][0] for s in motion]) for motion in camera.MOTIONS.values()]
    counts = [np.unique(events[["x", "y", "p"]], return_counts=True) for events in recorded]
    assert all((names == counts[0][0]).all() and (n == counts[0][1]).all() for names, n in counts)
    assert all((np.diff(events["t"]) >= 0).all() for events in recorded)
    assert len({tuple(sorted(motion)) for motion in camera.MOTIONS.values()}) == 1
    assert {motion[0] for motion in camera.MOTIONS.values()} == {"left", "right"}


def test_sets_and_their_parts() -> None:
    splits = load("digits-dvs", seed=3)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1157, 285, 355)
    assert list(splits.train.x.shape[1:]) == [6, 2, 24, 24]
    assert splits.events
    assert (splits.test.y == load("digits").test.y).all()
    assert splits.network_settings()["num_classes"] == 10


def test_frames_by_number_and_by_time(digits: tuple) -> None:
    [events] = camera.digits_recordings(digits[0][:1])
    number = frames_from_events(events, sensor_size=(24, 24, 2), num_steps=5)
    assert number.sum((1, 2, 3)).tolist() == [len(events) // 5] * 5
    by_time = load("digits-dvs", num_steps=4, by="time").train.x
    assert list(by_time.shape[1:]) == [4, 2, 24, 24]


def linear_accuracy(train: np.ndarray, test: np.ndarray, labels: tuple[np.ndarray, np.ndarray]) -> float:
    """Test accuracy of ridge regression to one-hot labels, in closed form."""
    targets = np.eye(4)[labels[0]]
    a, b = (np.hstack([x.reshape(len(x), -1), np.ones((len(x), 1))]).astype(float) for x in (train, test))
    weights = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ targets)
    return float(((b @ weights).argmax(1) == labels[1]).mean())


def test_motion_dvs_needs_the_order_of_time() -> None:
    """Linear on frames summed over time: at most 1.5 × chance. On the same frames in order: nearly all right."""
    splits = load("motion-dvs")
    labels = (splits.train.y.numpy(), splits.test.y.numpy())
    summed = [part.x.sum(1).numpy() for part in (splits.train, splits.test)]  # [n, 2, 24, 24]
    coarse = [part.x.unfold(3, 6, 6).unfold(4, 6, 6).sum((-1, -2)).numpy() for part in (splits.train, splits.test)]
    chance = np.bincount(labels[1]).max() / len(labels[1])
    assert chance < 0.28
    assert linear_accuracy(*summed, labels) <= 1.5 * chance
    assert linear_accuracy(*[x.sum(1) for x in coarse], labels) <= 1.5 * chance
    assert linear_accuracy(*coarse, labels) >= 0.95
    frames = splits.test.x.sum((2, 3, 4)).float()  # nor does the number of events tell much
    assert linear_accuracy(frames.sum(1).numpy(), frames.sum(1).numpy(), (labels[1], labels[1])) <= 1.5 * chance
