"""Less memory in training: parts of a batch, and time steps taken once more, leave the numbers as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from lightsnn_kit import layers
from lightsnn_kit.blocks import NEURONS, register_neuron
from lightsnn_kit.data import Splits
from lightsnn_kit.lab import presets
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network
from lightsnn_kit.ops import OWN_OPS, Op, register_op
from lightsnn_kit.ranks import Ranks
from lightsnn_kit.training import TrainConfig, fit
from lightsnn_kit.updates import Updates, loss_of
from tests.core.rank_work import small_network, splits_of_digits

CONFIG = TrainConfig(epochs=2, batch_size=20, crop=1, seed=3, frozen_norm_epochs=1)


def moving_splits() -> Splits:
    """Event frames [n, 3, 2, 8, 8] of two classes."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(0, 3, (40, 3, 2, 8, 8), generator=generator, dtype=torch.uint8), torch.arange(40) % 2
    x[y == 1, :, :, 4:] += 2
    parts = [(x[part], y[part]) for part in (slice(20), slice(20, 30), slice(30, 40))]
    return Splits.from_tensors(name="moving", train=parts[0], val=parts[1], test=parts[2])


def results(network: SpikingNetwork, splits: Splits, config: TrainConfig) -> list[Tensor]:
    """Everything that a training leaves: records, weights, running statistics, momenta; and the random state."""
    records = [
        list(vars(replace(record, seconds=0.0, precision=0)).values()) for record in fit(network, splits, config)
    ]
    updates = Updates(network, splits.train, config, Ranks())
    updates.epoch(1)
    momenta = [state["momentum_buffer"] for state in updates.optimizer.state.values()]
    return [torch.tensor(records, dtype=torch.float64), *network.state_dict().values(), *momenta]


# ---- steps taken once more -------------------------------------------------------------------------------------------

WAYS = {
    "as it is": ({}, {}),
    "in parts": ({}, {"accumulate": 3}),
    "bfloat16": ({}, {"amp": "on"}),
    "no loops": ({}, {"channels_last": "off"}),  # torch's own batch normalisation
    "average pools": ({"pool": "avg", "num_steps": 3}, {"loss": "mse"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_steps_taken_again_have_the_same_bits(way: str) -> None:
    (sizes, settings), splits = WAYS[way], splits_of_digits()
    config = replace(CONFIG, **settings)
    kept, again = (
        results(small_network(splits, **sizes), splits, replace(config, recompute=value)) for value in (False, True)
    )
    assert [torch.equal(a, b) for a, b in zip(kept, again, strict=True)] == [True] * len(kept)


def test_event_frames_too() -> None:
    """There the stem is part of the step."""
    splits = moving_splits()
    config = replace(CONFIG, batch_size=10, crop=0)
    networks = [
        build_network(
            "0303 0030 2002 0200", NetworkConfig(width=4, hidden=16, last_pool=1, **splits.network_settings())
        )
        for _ in range(2)
    ]
    kept, again = (
        results(network, splits, replace(config, recompute=value))
        for network, value in zip(networks, (False, True), strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


class Noisy(nn.Module):
    """An op of one's own that draws at each step and has a batch normalisation of torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.3), nn.BatchNorm2d(channels, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.drop(x))


@pytest.mark.filterwarnings("ignore:the op")
def test_own_parts_too() -> None:
    """Learning neurons with two memories, random draws at each step, a cumulative average as running statistic."""
    register_op("noisy", Noisy)
    register_neuron("learning", lambda config: neuron.ParametricLIFNode(config.tau, True))
    try:
        splits, found = splits_of_digits(), []
        for value in (False, True):
            config = NetworkConfig(width=4, hidden=16, num_steps=3, neuron="learning", **splits.network_settings())
            network = build_network("|conv3x3~0|+|noisy~0|conv3x3~1|/|noisy~1|conv3x3~2|+|skip~2|", config)
            found.append(results(network, splits, replace(CONFIG, recompute=value)))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    finally:
        NEURONS.pop("learning")
        OWN_OPS.pop(Op("noisy"))


def test_what_a_pass_leaves_behind() -> None:
    """Membranes after the backward pass are those of the last step, as without; a second backward pass is possible."""
    splits = splits_of_digits()
    x, states, grads = splits.train.x[:5], [], []
    for value in (False, True):
        torch.manual_seed(0)
        network = small_network(splits, num_steps=3)
        loss = network(x, recompute=value).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        states.append([layer.v for layer in network.modules() if hasattr(layer, "v")])
        grads.append([weight.grad for weight in network.parameters()])
        assert all(norm.num_batches_tracked == (1 if name == "stem.1" else 3) for name, norm in norms(network))
    assert all(torch.equal(a, b) for pair in (states, grads) for a, b in zip(*pair, strict=True))
    with torch.no_grad():
        assert network(x, recompute=True).shape == (5, 10)  # nothing to keep, nothing to take again


def test_compiled_loops_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 updates of 2 steps: as many gradients by either way; forward, all that lies within a step is taken twice."""
    counts, run_loop, splits = {False: Counter(), True: Counter()}, layers.run_loop, splits_of_digits()
    network = small_network(splits)
    lifs, inside = sum(isinstance(module, layers.LIF) for module in network.modules()) - 1, len(norms(network)) - 1
    for again, found in counts.items():
        monkeypatch.setattr(
            layers, "run_loop", lambda name, *rest, to=found: (to.update([name]), run_loop(name, *rest))
        )
        Updates(network, splits.train, replace(CONFIG, recompute=again, frozen_norm_epochs=0), Ranks()).epoch(1)
    plain, taken_again = counts.values()
    assert plain["charge"] == 6 * (lifs + 1)  # and the classifier's
    assert taken_again["charge"] == 6 * (2 * lifs + 1)
    assert plain["normalise"] == 6 * inside + 3  # and the stem's
    assert taken_again["normalise"] == 6 * 2 * inside + 3
    assert taken_again["gradient"] == plain["gradient"] > 6 * inside // 2
    assert taken_again["normalise_gradient"] == plain["normalise_gradient"] > 6 * inside // 2


def norms(network: SpikingNetwork) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.gpu
def test_steps_taken_again_on_a_gpu() -> None:
    """The same loss and gradients but for the order of sums there; worked out, 52 MiB are kept in place of 166."""
    config = NetworkConfig(input_shape=(2, 64, 64), num_classes=4, width=16, hidden=32, num_steps=16, events=True)
    x = torch.randint(0, 3, (16, 4, 2, 64, 64), generator=torch.Generator().manual_seed(0)).cuda()
    peaks, losses, grads = [], [], []
    for again in (False, False, True):  # the first warms up
        network = build_network("0303 0030 2002 0200", config).cuda().to(memory_format=torch.channels_last)
        torch.manual_seed(0)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        loss = network(x, recompute=again).square().mean()
        loss.backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        losses.append(loss.item())
        grads.append(torch.cat([weight.grad.flatten() for weight in network.parameters()]))
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)
    assert (grads[2] - grads[1]).norm() < 0.01 * grads[1].norm()
    assert peaks[2] < 0.7 * peaks[1]


# ---- parts of a batch ------------------------------------------------------------------------------------------------


def update(config: TrainConfig, epoch: int) -> list[Tensor]:
    splits = splits_of_digits()
    network = small_network(splits)
    Updates(network, splits.train, config, Ranks()).epoch(epoch)
    return list(network.state_dict().values())


@pytest.mark.parametrize("accumulate", [2, 3, 10])
def test_parts_are_the_whole_batch_but_for_its_statistics(accumulate: int) -> None:
    """With frozen normalisation, dropout and augmentation on: weights to 1e-6 after three updates.

    Not to the bit: the sums over samples are those of the parts, added.
    """
    whole, parts = (update(replace(CONFIG, accumulate=count), 2) for count in (1, accumulate))
    start = list(small_network(splits_of_digits()).state_dict().values())
    assert max((a - b).abs().max().item() for a, b in zip(start, whole, strict=True)) > 1e-3
    assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(whole, parts, strict=True))


def test_parts_by_hand() -> None:
    """The statistics of each part, the mean of the gradients weighted by samples: 20 samples as 6, 7 and 7."""
    splits = splits_of_digits(20)
    config = TrainConfig(epochs=1, batch_size=20, accumulate=3, weight_decay=0.0, momentum=0.0)
    network, plain = (small_network(splits, dropout=0.0) for _ in range(2))
    Updates(network, splits.train, config, Ranks()).epoch(1)
    plain.to(memory_format=torch.channels_last).train()
    seed = int(np.random.SeedSequence((config.seed, 1)).generate_state(1)[0])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    for cut in (order[:6], order[6:13], order[13:]):
        x, y = splits.train.batch(cut)
        (loss_of(plain(x), y, "cross_entropy") * len(cut) / 20).backward()
    with torch.no_grad():
        for weight in plain.parameters():
            weight -= config.learning_rate * weight.grad
    assert all(
        torch.allclose(a, b, rtol=0, atol=1e-7)
        for a, b in zip(network.state_dict().values(), plain.state_dict().values(), strict=True)
    )
    assert all(norm.num_batches_tracked == (3 if name == "stem.1" else 6) for name, norm in norms(network))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"parts of 2 samples or more.*got 5 parts of a batch of 8"):
        TrainConfig(batch_size=8, accumulate=5)
    with pytest.raises(ValueError, match="accumulate must be a whole number of 1 or more"):
        TrainConfig(accumulate=0)
    with pytest.raises(ValueError, match="recompute must be True or False, got 'yes'"):
        TrainConfig(recompute="yes")
    with pytest.raises(ValueError, match=r"unknown setting of train 'acumulate'.*Did you mean 'accumulate'"):
        presets.get("digits").changed(train={"acumulate": 2})
    small = presets.get("dvs128-gesture+small-gpu")
    assert (small.train.batch_size, small.train.accumulate, small.train.recompute) == (64, 4, True)
    assert small.quick().train.accumulate == 4
