"""Presets hold the published numbers, variants change what they say and nothing else, quick ones stay the same kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightsnn_kit.data import Split, Splits, load
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.presets import PRESETS, VARIANTS, ScoringConfig
from lightsnn_kit.networks import NetworkConfig
from tests.standins import make_tiny_cifar

PAPER = ("cifar10", "cifar100", "dvs128-gesture")


@pytest.mark.parametrize(
    ("name", "width", "votes"), [("cifar10", 256, 10), ("cifar100", 128, 5), ("dvs128-gesture", 128, 10)]
)
def test_paper_settings(name: str, width: int, votes: int) -> None:
    """arXiv 2503.21846: widths, votes, LIF, initialisation, optimiser, schedule."""
    preset = presets.get(name)
    network, train = preset.network, preset.train
    assert (network["width"], network["votes"], network["hidden"]) == (width, votes, 1024)
    assert (network["pool"], network["last_pool"], network["dropout"]) == ("max", 2, 0.5)
    assert (network["tau"], network["linear_std"]) == (4 / 3, 0.01)
    assert (train.learning_rate, train.momentum, train.weight_decay) == (0.1, 0.9, 5e-4)
    assert (train.epochs, train.batch_size, train.final_lr_fraction) == (300, 64, 0.01)
    assert train.frozen_norm_epochs == 0
    assert (preset.scoring.batch_size, preset.scoring.num_batches, preset.scoring.proxy) == (64, 2, "sahd")
    assert (preset.space, preset.budget, preset.per_class, preset.block) == ("lightsnn", 5000, None, 1)


def test_what_differs_between_images_and_gestures() -> None:
    cifar, gesture = presets.get("cifar10"), presets.get("dvs128-gesture")
    assert cifar.network["num_steps"] == presets.get("cifar100").network["num_steps"] == 5
    assert dict(gesture.data) == {"num_steps": 16, "by": "number"}
    assert (cifar.train.crop, cifar.train.flip, cifar.train.loss) == (4, True, "cross_entropy")
    assert (gesture.train.crop, gesture.train.flip, gesture.train.loss) == (0, False, "mse")


@pytest.mark.parametrize(
    ("name", "shape", "features"), [("cifar10", (3, 32, 32), 32768), ("dvs128-gesture", (2, 128, 128), 65536)]
)
def test_networks_of_the_paper_can_be_configured(name: str, shape: tuple, features: int) -> None:
    """2C · (32/4)² and 2C · (128/8)² inputs of the hidden layer."""
    config = NetworkConfig(input_shape=shape, num_classes=10, events=shape[0] == 2, **presets.get(name).network)
    assert config.features == features


def test_published_switches_are_fields() -> None:
    """The released code: dead feedback, BN in inference mode, no reset, other images, no path rule, no decay."""
    released = presets.get("cifar10+published")
    changed = ScoringConfig(bn="running", feedback=False, reset=False, fresh_batches=True)
    assert (released.scoring, released.keep_path) == (changed, False)
    assert released.train == replace(presets.get("cifar10").train, weight_decay=0.0, dampening=5e-4)
    kept = presets.get("cifar10").scoring
    assert (kept.bn, kept.feedback, kept.reset, kept.fresh_batches) == ("batch", True, True, False)
    assert presets.get("cifar10").keep_path


def test_plain_names_change_a_preset_and_its_name() -> None:
    digits = presets.get("digits")
    assert digits.adapted(width=0, space="", epochs=None) == digits
    changed = digits.adapted(width=3, num_steps=2, batch_size=9, budget=4, space="snasnet", epochs=6, learning_rate=0.1)
    assert (changed.network["width"], changed.network["num_steps"], changed.scoring.batch_size) == (3, 2, 9)
    assert (changed.budget, changed.space) == (4, "snasnet")
    assert (changed.train.epochs, changed.train.learning_rate, changed.train.frozen_norm_epochs) == (6, 0.1, 2)
    assert changed.name == "digits, width 3, num steps 2, batch size 9, budget 4, space snasnet"
    assert digits.adapted(epochs=1).train.frozen_norm_epochs == 0
    assert presets.get("motion-dvs").adapted(num_steps=4).data["num_steps"] == 4  # events bring their own steps
    with pytest.raises(ValueError, match="unknown space 'snasnt'"):
        digits.adapted(space="snasnt")
    assert (digits.adapted(proxy="swap").scoring.proxy, digits.adapted(proxy="").scoring.proxy) == ("swap", "sahd")
    assert digits.adapted(proxy="swap").scoring == presets.get("digits+swap-score").scoring
    with pytest.raises(ValueError, match="unknown proxy 'swp'"):
        digits.adapted(proxy="swp")


def test_a_data_set_without_a_preset_takes_those_of_digits() -> None:
    assert presets.get("digits-dvs").dataset == "digits-dvs"
    assert presets.get("digits-dvs").train == presets.get("digits").train
    with pytest.raises(ValueError, match="unknown preset 'digit'"):
        presets.get("digit")


@pytest.mark.parametrize(
    ("variant", "ops", "backward"),
    [
        ("lightsnn", 3, True),
        ("forward", 3, False),
        ("snasnet-space", 5, True),
        ("snasnet-forward", 5, False),
        ("maxpool-space", 5, True),
    ],
)
def test_ablation_spaces(variant: str, ops: int, backward: bool) -> None:
    space = presets.get(f"cifar10+{variant}").cell_space
    assert (len(space.ops), space.backward) == (ops, backward)
    assert ("maxpool3x3" in space.ops) == (variant == "maxpool-space")


def test_pooling_ablation_and_names() -> None:
    preset = presets.get("cifar100+avg-pool+snasnet-space")
    assert preset.name == "cifar100+avg-pool+snasnet-space"
    assert (preset.network["pool"], preset.space) == ("avg", "snasnet")
    assert preset.train == presets.get("cifar100").train
    assert presets.get("cifar100").variant("avg-pool", "snasnet-space") == preset


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", PRESETS)
def test_every_variant_of_every_preset(name: str, variant: str) -> None:
    changed, plain = presets.get(name).variant(variant), presets.get(name)
    other = {key for key, value in changed.to_dict().items() if value != plain.to_dict()[key]} - {"name"}
    assert other <= set(VARIANTS[variant])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10", "unknown preset 'cifar-10'; expected one of cifar10, .* Did you mean 'cifar10'?"),
        ("cifar10+publishd", "unknown variant 'publishd'; .* Did you mean 'published'?"),
    ],
)
def test_unknown_names_teach(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        presets.get(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"widht": 8}}, "'widht' is not a setting of the network"),
        ({"network": {"num_classes": 8}}, "comes from the data"),
        ({"space": "nasbench"}, "unknown space 'nasbench'; expected one of lightsnn"),
        ({"samples": {"tset": 3}}, "unknown part 'tset'; expected one of train, val, test"),
        ({"samples": {"test": 0}}, "test must be a whole number of 1 or more, got 0"),
    ],
)
def test_wrong_fields_teach(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(presets.get("digits"), **change)


@pytest.mark.parametrize("wrong", [{"batch_size": 1}, {"num_batches": 0}, {"bn": "eval"}])
def test_wrong_scoring_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScoringConfig(**wrong)


def test_presets_are_frozen() -> None:
    preset = presets.get("digits")
    with pytest.raises(TypeError):
        preset.network["width"] = 3
    with pytest.raises(AttributeError):
        preset.budget = 3


@pytest.mark.parametrize("name", PRESETS)
def test_quick_shrinks_and_keeps_the_kind(name: str) -> None:
    plain, quick = presets.get(name), presets.get(name).quick()
    assert quick.network["width"] == 4
    assert (quick.train.epochs, quick.per_class, quick.budget) == (1, 2, 3)
    same = ("name", "dataset", "space", "block", "source")
    assert all(getattr(plain, key) == getattr(quick, key) for key in same)
    assert (plain.train.loss, plain.train.flip, plain.train.crop) == (
        quick.train.loss,
        quick.train.flip,
        quick.train.crop,
    )
    assert plain.scoring.bn == quick.scoring.bn


def test_settings_are_plain_values() -> None:
    plain = presets.get("motion-dvs").to_dict()
    assert type(plain["network"]) is type(plain["data"]) is type(plain["train"]) is dict
    assert plain["data"] == {"num_steps": 8, "by": "time"}


def test_blocks_are_means_and_parts_are_shortened() -> None:
    x = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).repeat(20, 1, 1, 1) + torch.arange(20).view(
        -1, 1, 1, 1
    ).to(torch.uint8)
    y = torch.arange(20) % 2
    splits = Splits.from_tensors(name="ramp", train=(x, y), val=(x, y), test=(x, y))
    small = presets._reduced(splits, 2, {"train": 3, "val": 3, "test": 2})
    assert (len(small.train), len(small.val), len(small.test)) == (6, 6, 4)
    assert small.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert small.train.x[0, 0].tolist() == [[2, 4], [10, 12]]  # 2.5, 4.5, 10.5, 12.5, to even
    assert small.train.x.dtype == torch.uint8
    with pytest.raises(ValueError, match="blocks of 3 pixels need images of a multiple"):
        presets._reduced_split(Split(x, y), 3, None)


def test_small_presets_load() -> None:
    fashion = presets.get("fashion-mnist-small").load(seed=1)
    assert list(fashion.train.x.shape) == [2000, 1, 14, 14]
    assert fashion.source.startswith("fashion-mnist-small.npz")
    assert not fashion.stand_in
    assert presets.get("fashion-mnist-small").network_config(fashion).features == 16 * 3 * 3
    assert np.isclose(float(fashion.train.x.float().std()) * fashion.scale, 1, atol=0.01)


def test_some_samples_of_each_class_and_part(tmp_path: Path) -> None:
    """The small preset's counts; what is left is the first of each class, and a quick run takes two of each."""
    small = presets.get("cifar10-small")
    assert small.samples == {"train": 400, "val": 100, "test": 200}
    make_tiny_cifar(tmp_path, per_class=10)
    few = replace(small, samples={"train": 3, "test": 1})
    given = {"folder": tmp_path, "check": False}
    splits, whole = few.load(**given), load("cifar10", **given)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 20, 10)
    first = torch.cat([(whole.train.y == label).nonzero()[:3, 0] for label in range(10)]).sort().values
    assert torch.equal(splits.train.x, whole.train.x[first])
    assert (few.is_quick, few.quick().is_quick) == (False, True)
    assert len(few.quick().load(**given).train) == 20


@pytest.mark.parametrize(("method", "proxy"), [("swap", "swap"), ("swap-forward", "swap"), ("lightsnn", "sahd")])
def test_a_method_with_a_score_of_its_own_is_scored_by_it(method: str, proxy: str) -> None:
    preset = presets.get("digits")
    assert preset.scored_for(method).scoring.proxy == proxy
    assert preset.scored_for("my-cell") == preset


def test_events_have_a_step_per_frame() -> None:
    preset = presets.get("motion-dvs")
    splits = preset.load()
    assert preset.network_config(splits).num_steps == splits.train.x.shape[1] == preset.data["num_steps"]
