"""Training: exact resume, checkpoints, the schedule, augmentation, and what is refused before any work."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from lightsnn_kit import training
from lightsnn_kit.checkpoints import load_network, write_checkpoint
from lightsnn_kit.data import Split, Splits
from lightsnn_kit.data.augmentation import augment
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network, build_supernet
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.training import (
    EpochRecord,
    Evaluation,
    TrainConfig,
    TrainingDivergedError,
    evaluate,
    fit,
)

CELL = "03 10"  # two nodes, conv3x3 forward, skip backward
CONFIG = TrainConfig(epochs=4, batch_size=8, crop=1, flip=True, seed=3)


def make_splits(*, shape: tuple[int, ...] = (1, 8, 8), samples: int = 25, seed: int = 0) -> Splits:
    """Random images in two classes: a bright left and a bright right half."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 100, (samples + 20, *shape), generator=generator)
    y = torch.arange(samples + 20) % 2
    half = shape[-1] // 2
    x[y == 0, ..., :half] += 100
    x[y == 1, ..., half:] += 100
    parts = [(x[part].to(torch.uint8), y[part]) for part in (slice(20, None), slice(10), slice(10, 20))]
    return Splits.from_tensors(name="halves", train=parts[0], val=parts[1], test=parts[2])


SPLITS = make_splits()


def make_network(splits: Splits = SPLITS, *, seed: int = 0, **settings) -> SpikingNetwork:
    sizes = {"width": 2, "hidden": 32, "num_steps": 2, "votes": 2} | settings
    return build_network(CELL, NetworkConfig(**sizes, **splits.network_settings()), seed=seed)


def without_times(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0) for record in records]


def contents(folder: Path) -> dict:
    """All that a folder holds, without the times."""
    stored = {name: torch.load(folder / name, weights_only=True) for name in ("last.pt", "best.pt")}
    for checkpoint in stored.values():
        del checkpoint["sha256"]  # of the times, too
        for record in checkpoint["history"]:
            record["seconds"] = 0.0
    return stored


def assert_same(a: object, b: object) -> None:
    """Equal bit for bit, tensors included."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[EpochRecord], Path]:
    """Records and folder of the uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    return without_times(list(fit(make_network(), SPLITS, CONFIG, folder=folder))), folder


# ---- exact resume ----------------------------------------------------------------------------------------------------


def test_resumed_training_equals_uninterrupted(whole: tuple, tmp_path: Path) -> None:
    records = fit(make_network(), SPLITS, CONFIG, folder=tmp_path)
    next(records), next(records)
    torch.manual_seed(99)  # nothing outside may matter, not even the new network's first weights
    resumed = list(fit(make_network(), make_splits(), CONFIG, folder=tmp_path))
    assert without_times(resumed) == whole[0]
    assert [record.epoch for record in resumed] == [1, 2, 3, 4]
    assert_same(contents(tmp_path), contents(whole[1]))


@pytest.mark.parametrize("call", [2, 9])  # in the first epoch, and in the second (3 batches and 1 evaluation each)
def test_interruption_within_an_epoch(whole: tuple, tmp_path: Path, call: int) -> None:
    network = make_network()
    calls = []

    def interrupt(module: torch.nn.Module, args: tuple) -> None:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt

    handle = network.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(fit(network, SPLITS, CONFIG, folder=tmp_path))
    handle.remove()
    assert without_times(list(fit(network, SPLITS, CONFIG, folder=tmp_path))) == whole[0]
    assert_same(contents(tmp_path), contents(whole[1]))


def test_crash_between_the_two_files(whole: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = training.write_checkpoint

    def crash(path: Path, content: dict) -> None:
        if path.name == "last.pt" and content["epoch"] == 2:
            raise OSError("disk full")
        write(path, content)

    monkeypatch.setattr(training, "write_checkpoint", crash)
    with pytest.raises(OSError, match="disk full"):
        list(fit(make_network(), SPLITS, CONFIG, folder=tmp_path))
    monkeypatch.undo()
    assert without_times(list(fit(make_network(), SPLITS, CONFIG, folder=tmp_path))) == whole[0]
    assert_same(contents(tmp_path), contents(whole[1]))


def test_finished_training_is_only_told_again(whole: tuple) -> None:
    records, folder = whole
    before, network = contents(folder), make_network()
    assert without_times(list(fit(network, SPLITS, CONFIG, folder=folder))) == records
    assert_same(contents(folder), before)
    assert_same(dict(network.state_dict()), dict(before["last.pt"]["network"]))


def test_folder_changes_nothing(whole: tuple) -> None:
    network = make_network()
    assert without_times(list(fit(network, SPLITS, CONFIG))) == whole[0]
    assert_same(dict(network.state_dict()), dict(contents(whole[1])["last.pt"]["network"]))


def test_callers_randomness_and_modes_stay() -> None:
    network = make_network()
    network.cell1.eval()
    modes = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    list(fit(network, SPLITS, replace(CONFIG, epochs=1)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == modes


def test_seed_changes_the_training(whole: tuple) -> None:
    other = next(fit(make_network(), SPLITS, replace(CONFIG, seed=4)))
    assert other.train_loss != whole[0][0].train_loss


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_another_training_in_the_folder_is_refused(whole: tuple) -> None:
    cases = [
        (
            make_network(),
            replace(CONFIG, epochs=8, momentum=0.5),
            ["train_config.epochs was 4, now 8", "momentum was 0.9, now 0.5"],
        ),
        (make_network(width=3), CONFIG, ["network_config.width was 2, now 3"]),
        (
            build_network("01 00", make_network().config),
            CONFIG,
            ["cell was '|conv3x3~0|/|skip~1|', now '|skip~0|/|zeroize~1|'"],
        ),
        (make_network(seed=5), CONFIG, ["first_weights was 'seed 0', now 'seed 5'"]),
    ]
    for network, config, said in cases:
        with pytest.raises(ValueError, match="holds another training") as error:
            fit(network, SPLITS, config, folder=whole[1])
        assert all(text in str(error.value) for text in said)


def test_other_data_in_the_folder_are_refused(whole: tuple) -> None:
    with pytest.raises(ValueError, match=r"data\.sha256"):
        fit(make_network(), make_splits(seed=1), CONFIG, folder=whole[1])


def test_best_is_the_earliest_of_equals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr(training, "evaluate", lambda *args, **kwargs: Evaluation(next(scripted), 1.0, 0, 10))
    list(fit(make_network(), SPLITS, CONFIG, folder=tmp_path))
    stored = contents(tmp_path)
    assert (stored["best.pt"]["epoch"], stored["last.pt"]["epoch"]) == (2, 4)
    assert [record["val_accuracy"] for record in stored["last.pt"]["history"]] == [0.5, 0.7, 0.7, 0.6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_stored_network_gives_the_same_logits(whole: tuple) -> None:
    records, folder = whole
    network, best = load_network(folder / "last.pt"), load_network(str(folder / "best.pt"))
    assert evaluate(network, SPLITS.val).accuracy == records[-1].val_accuracy
    assert evaluate(best, SPLITS.val).accuracy == max(record.val_accuracy for record in records)
    assert str(network.design) == "|conv3x3~0|/|skip~1|"
    assert network.config == make_network().config
    assert not network.training


def damage(kind: str, path: Path, whole: Path) -> None:
    if kind == "truncated":
        path.write_bytes(whole.read_bytes()[:-2000])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "newer":
        torch.save(torch.load(whole, weights_only=True) | {"format": 1}, path)


@pytest.mark.parametrize("kind", ["truncated", "text", "foreign", "tensor", "newer"])
def test_damaged_checkpoints(whole: tuple, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.pt"
    damage(kind, path, whole[1] / "last.pt")
    for use in (lambda: load_network(path), lambda: fit(make_network(), SPLITS, CONFIG, folder=tmp_path)):
        with pytest.raises(ValueError, match=r"last\.pt is (damaged|no checkpoint)"):
            use()


def test_checkpoint_of_no_network(whole: tuple, tmp_path: Path) -> None:
    stored = torch.load(whole[1] / "last.pt", weights_only=True)
    del stored["network"]["stem.0.weight"], stored["sha256"], stored["format"]
    write_checkpoint(tmp_path / "last.pt", stored)
    with pytest.raises(ValueError, match="does not describe a network"):
        load_network(tmp_path / "last.pt")


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*none\.pt; expected last\.pt or best\.pt"):
        load_network(tmp_path / "none.pt")


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="choose a writable folder"):
        fit(make_network(), SPLITS, CONFIG, folder=tmp_path / "file" / "run")


# ---- divergence ------------------------------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    network = make_network()
    records = fit(network, SPLITS, CONFIG, folder=tmp_path)
    next(records)
    with torch.no_grad():
        network.classifier[3].bias.fill_(math.nan)
    with pytest.raises(
        TrainingDivergedError, match=r"the loss \(nan\) .* epoch 2, batch 1 of 3, learning rate 0\.08\d+"
    ) as error:
        next(records)
    assert str(tmp_path / "last.pt") in str(error.value)
    assert "that of epoch 1" in str(error.value)
    assert "lower learning_rate" in str(error.value)
    assert contents(tmp_path)["last.pt"]["epoch"] == 1
    assert evaluate(load_network(tmp_path / "last.pt"), SPLITS.val).num_samples == 10


def test_weights_that_silence_hides() -> None:
    network = make_network()
    training = fit(network, SPLITS, CONFIG)
    with torch.no_grad():
        network.cell1.ops["1<-0"][0].weight.fill_(math.nan)  # LIF layers fire nothing for NaN: the loss stays finite
    with pytest.raises(TrainingDivergedError, match=r"not finite in epoch 1.*none, without folder="):
        list(training)


def test_too_high_a_learning_rate() -> None:
    with pytest.raises(TrainingDivergedError, match=r"learning rate 1e\+38"):
        list(fit(make_network(), SPLITS, replace(CONFIG, learning_rate=1e38)))


# ---- optimisation ----------------------------------------------------------------------------------------------------


def test_it_learns() -> None:
    config = TrainConfig(epochs=8, batch_size=8, learning_rate=0.2)
    network = make_network(width=4)
    records = list(fit(network, SPLITS, config))
    assert records[-1].train_loss < 0.5 * records[0].train_loss
    assert evaluate(network, SPLITS.test).accuracy == 1.0


def test_schedule_is_cosine_to_one_per_cent(whole: tuple) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=0.001)
    for record in whole[0]:
        assert record.learning_rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        schedule.step()
    assert CONFIG.learning_rate_at(4) == pytest.approx(0.001, rel=1e-12)


def test_weight_decay_is_applied(whole: tuple) -> None:
    (group,) = contents(whole[1])["last.pt"]["optimizer"]["param_groups"]
    assert (group["momentum"], group["weight_decay"], group["dampening"]) == (0.9, 5e-4, 0)
    assert len(group["params"]) == len(list(make_network().parameters()))


def test_frozen_norms_keep_their_statistics() -> None:
    def state(part: str) -> list[torch.Tensor]:
        return [value.clone() for name, value in network.state_dict().items() if part in name]

    network = make_network()
    records = fit(network, SPLITS, replace(CONFIG, epochs=3, frozen_norm_epochs=2))
    fresh = state("running_mean")
    next(records)
    trained, weights = state("running_mean"), state("stem.1.weight")
    assert not any(torch.equal(a, b) for a, b in zip(fresh, trained, strict=True))
    assert len(list(records)) == 2
    assert_same(state("running_mean"), trained)
    assert not torch.equal(state("stem.1.weight")[0], weights[0])
    assert all(module.training for module in network.modules())


def test_lone_last_sample_is_left_out() -> None:
    # After pooling, cell 2 sees 1x1 pixels: batch normalisation cannot train on one sample of them.
    splits = make_splits(shape=(1, 2, 2), samples=9)
    record = next(fit(make_network(splits, last_pool=1), splits, TrainConfig(epochs=1, batch_size=4)))
    assert math.isfinite(record.train_loss)
    assert record.train_accuracy * 8 == round(record.train_accuracy * 8)  # 8 of the 9 samples


def test_event_data() -> None:
    splits = make_splits(shape=(3, 2, 8, 8), samples=12)
    config = replace(CONFIG, epochs=2, loss="mse", flip=False)
    network = make_network(splits, last_pool=1)
    assert [record.epoch for record in fit(network, splits, config)] == [1, 2]
    assert evaluate(network, splits.test, batch_size=4).num_samples == 10


@pytest.mark.parametrize("settings", [{"amp": "on"}, {"channels_last": "on"}])
def test_options_of_speed(whole: tuple, settings: dict) -> None:
    record = next(fit(make_network(), SPLITS, replace(CONFIG, **settings)))
    assert record.train_loss == pytest.approx(whole[0][0].train_loss, rel=0.1)


@pytest.mark.gpu
def test_checkpoint_moves_between_devices(tmp_path: Path) -> None:
    records = fit(make_network().cuda(), SPLITS, CONFIG, folder=tmp_path)
    next(records), next(records)
    assert len(list(fit(make_network(), SPLITS, CONFIG, folder=tmp_path))) == 4
    assert evaluate(load_network(tmp_path / "last.pt").cuda(), SPLITS.test).num_samples == 10


# ---- evaluation ------------------------------------------------------------------------------------------------------


def constant_network(splits: Splits, logits: tuple[float, ...]) -> SpikingNetwork:
    network = make_network(splits, votes=1)
    with torch.no_grad():
        network.classifier[3].weight.zero_()
        network.classifier[3].bias.copy_(torch.tensor(logits))
    return network


@pytest.mark.parametrize("batch_size", [3, 256])
def test_evaluation_by_hand(batch_size: int) -> None:
    split = Split(SPLITS.val.x, torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1]))
    network = constant_network(SPLITS, (math.log(3), 0.0))  # probabilities 3/4 and 1/4
    result = evaluate(network, split, batch_size=batch_size)
    assert (result.accuracy, result.num_correct, result.num_samples) == (0.7, 7, 10)
    assert result.loss == pytest.approx(-(0.7 * math.log(3 / 4) + 0.3 * math.log(1 / 4)), rel=1e-6)
    even = evaluate(constant_network(SPLITS, (0.5, 0.5)), split, batch_size=batch_size, loss="mse")
    assert even.loss == pytest.approx(0.25, rel=1e-6)


def test_evaluation_changes_nothing() -> None:
    network = make_network()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    first = evaluate(network, SPLITS.val, batch_size=4)
    assert first == evaluate(network, SPLITS.val, batch_size=4)
    assert network.training
    assert_same(dict(network.state_dict()), state)


# ---- augmentation ----------------------------------------------------------------------------------------------------


def shifted(image: torch.Tensor, dy: int, dx: int, fill: list[int]) -> torch.Tensor:
    """One image [C, H, W] moved down by dy and right by dx, pixel by pixel."""
    moved = torch.tensor(fill, dtype=image.dtype)[:, None, None].expand(image.shape).clone()
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            if 0 <= row - dy < image.shape[1] and 0 <= column - dx < image.shape[2]:
                moved[:, row, column] = image[:, row - dy, column - dx]
    return moved


def test_each_sample_is_shifted_and_mirrored() -> None:
    x = torch.randint(0, 256, (200, 2, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = augment(x, crop=1, flip=True, fill=(7.0, 9.0), generator=torch.Generator().manual_seed(1))
    assert out.dtype == torch.uint8
    seen = set()
    for before, after in zip(x, out, strict=True):
        moves = {(dy, dx): shifted(before, dy, dx, [7, 9]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
        fits = [(move, False) for move, image in moves.items() if torch.equal(after, image)]
        fits += [(move, True) for move, image in moves.items() if torch.equal(after, image.flip(2))]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) == 18  # every shift, mirrored and not, turns up in 200 samples


def test_frames_of_a_sample_move_together() -> None:
    frame = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    events = augment(frame.expand(3, 6, 2, 8, 8), **move(seed=1))
    assert events.shape == (3, 6, 2, 8, 8)
    assert torch.equal(events[0], events[2])
    assert torch.equal(events[0], augment(frame, **move(seed=1)))
    assert not torch.equal(events[0], augment(frame, **move(seed=2)))


def move(*, seed: int) -> dict:
    return {"crop": 2, "flip": False, "fill": (0.0,), "generator": torch.Generator().manual_seed(seed)}


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"batch_size": 1},
        {"crop": -1},
        {"frozen_norm_epochs": -1},
        {"seed": True},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"weight_decay": -1e-4},
        {"momentum": "0.9"},
        {"final_lr_fraction": 1.5},
        {"loss": "hinge"},
        {"amp": "fp16"},
        {"channels_last": True},
    ],
    ids=lambda settings: "-".join(f"{name}={value}" for name, value in settings.items()),
)
def test_bad_settings(settings: dict) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"^{name} must be .* got {value!r}\.$"):
        TrainConfig(**settings)


def test_data_that_do_not_fit_are_refused_at_once() -> None:
    small = make_splits(shape=(1, 6, 6))
    for work in (
        lambda: fit(make_network(), small, CONFIG),  # before the first record is asked for
        lambda: evaluate(make_network(), small.test),
    ):
        with pytest.raises(ValueError, match=r"\(\(1, 8, 8\), False, 2\), the data have \(\(1, 6, 6\), False, 2\)"):
            work()
    three = build_network(CELL, replace(make_network().config, num_classes=3))
    with pytest.raises(ValueError, match=r"False, 3\), the data have .* False, 2\)"):
        fit(three, SPLITS, CONFIG)


def test_batch_larger_than_the_data() -> None:
    with pytest.raises(ValueError, match="batch_size 26 is larger than the 25 training samples"):
        fit(make_network(), SPLITS, replace(CONFIG, batch_size=26))


def test_supernet_is_refused() -> None:
    with pytest.raises(ValueError, match="got a supernet; use build_network"):
        fit(build_supernet(SPACES["lightsnn"], make_network().config), SPLITS, CONFIG)


def test_record_is_plain_numbers(whole: tuple) -> None:
    assert all(type(value) in (int, float, str) for record in whole[0] for value in asdict(record).values())


def test_an_epoch_is_left_for_statistics() -> None:
    with pytest.raises(ValueError, match=r"frozen_norm_epochs must leave an epoch .* got 2 of 2 epochs"):
        TrainConfig(epochs=2, frozen_norm_epochs=2)


def test_views_and_bfloat16_are_trained_on() -> None:
    """Labels that are a column of a table, images without a NumPy type of their own."""
    both = torch.stack([SPLITS.train.y, SPLITS.train.y], 1)
    parts = {"train": Split(SPLITS.train.x.bfloat16(), both[:, 0])}
    parts |= {name: Split(getattr(SPLITS, name).x.bfloat16(), getattr(SPLITS, name).y) for name in ("val", "test")}
    odd = replace(SPLITS, **parts)
    [record] = fit(make_network(), odd, replace(CONFIG, epochs=1))
    assert math.isfinite(record.train_loss)
