"""What earlier cells of a notebook leave behind: wrapped networks, switches of torch, numbers of other libraries.

The same numbers come out, or the refusal says what to undo.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightsnn_kit.cells import Cell, cell_edges
from lightsnn_kit.checkpoints import load_network
from lightsnn_kit.data import Split, Splits
from lightsnn_kit.energy import measure_energy
from lightsnn_kit.methods import choose
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network, build_supernet
from lightsnn_kit.recording import record_potentials, record_spikes, spike_statistics, unwrap
from lightsnn_kit.scoring import Scorer, ScoringConfig, count_parameters
from lightsnn_kit.search import Settle, random_search
from lightsnn_kit.spaces import SPACES, CellSpace
from lightsnn_kit.training import TrainConfig, evaluate, fit
from lightsnn_kit.workers import score_in_processes
from tests.core.core_kills import tiny_network, tiny_splits

CONFIG = TrainConfig(epochs=1, batch_size=20)
SUPERNET = build_supernet("lightsnn-forward", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8))
FULL = SUPERNET.design.full_mask()


def compiled_in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="eager")
    return network


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "compiled in place": compiled_in_place,
    "data parallel": nn.DataParallel,
    "both": lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
    "averaged": torch.optim.swa_utils.AveragedModel,
}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return tiny_splits()


@pytest.fixture(scope="module")
def plain(splits: Splits) -> dict[str, object]:
    """What an undisturbed notebook computes."""
    return figures(tiny_network(splits), SUPERNET, splits)


def figures(network: nn.Module, supernet: nn.Module, splits: Splits) -> dict[str, object]:
    """Numbers of every function that takes a network."""
    x, batches = splits.val.x[:8], (splits.train.x[:8],)
    found: dict[str, object] = {"evaluate": evaluate(network, splits.val), "energy": measure_energy(network, x)}
    for engine in ("plain", "fast"):
        found[engine] = Scorer(supernet=supernet, batches=batches, engine=engine)(FULL)
    found["statistics"] = spike_statistics(supernet, FULL, batches[0]).counts.tolist()
    found["parameters"] = count_parameters(supernet, FULL)
    found["fit"] = replace(next(fit(network, splits, CONFIG)), seconds=0.0)
    return found


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks_give_the_same_numbers(plain, splits: Splits, wrapper: str) -> None:
    wrap = WRAPPERS[wrapper]
    supernet = build_supernet("lightsnn-forward", SUPERNET.config)
    assert figures(wrap(tiny_network(splits)), wrap(supernet), splits) == plain


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("called", [False, pytest.param(True, marks=pytest.mark.fault)], ids=["fresh", "traced"])
def test_wrapped_networks_are_recorded(splits: Splits, wrapper: str, called: bool) -> None:
    x = splits.val.x[:8]
    bare, network = tiny_network(splits).eval(), WRAPPERS[wrapper](tiny_network(splits).eval()).eval()
    if called:
        network(x)  # what was traced then knows of no hook
    with record_spikes(bare) as expected, record_potentials(bare) as potentials:
        bare(x)
    with record_spikes(network) as found, record_potentials(network) as charged:
        network(x)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(torch.equal(charged[name], potentials[name]) for name in potentials)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks_are_saved_and_loaded(splits: Splits, tmp_path: Path, wrapper: str) -> None:
    """A training goes from a wrapped network to a bare one and back; a loaded network may be wrapped again."""
    config, wrap = replace(CONFIG, epochs=3), WRAPPERS[wrapper]
    next(fit(wrap(tiny_network(splits)), splits, config, folder=tmp_path))
    records = fit(tiny_network(splits), splits, config, folder=tmp_path)
    next(records), next(records)
    assert len(list(fit(wrap(tiny_network(splits)), splits, config, folder=tmp_path))) == 3
    loaded = load_network(tmp_path / "last.pt")
    assert evaluate(wrap(loaded), splits.val) == evaluate(load_network(tmp_path / "last.pt"), splits.val)


def test_unwrap_leaves_others_alone_and_refuses_parts(splits: Splits) -> None:
    network = tiny_network(splits)
    assert unwrap(network) is network is unwrap(nn.DataParallel(nn.DataParallel(network)))
    network.cell1 = torch.compile(network.cell1, backend="eager")
    for use in (lambda: fit(network, splits, CONFIG), lambda: evaluate(network, splits.val)):
        with pytest.raises(ValueError, match="the part 'cell1' of the network is wrapped; wrap all of it, or none"):
            use()


@pytest.mark.parametrize(
    "other", [nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2)), None, "03 00", Cell.parse("03 00")]
)
def test_what_is_no_network(splits: Splits, other: object) -> None:
    uses = [lambda: fit(other, splits, CONFIG), lambda: evaluate(other, splits.val), lambda: measure_energy(other, 0)]
    uses += [lambda: Scorer(supernet=other, batches=()), lambda: count_parameters(other, FULL)]
    for use in uses:
        with pytest.raises(ValueError, match="expected a network of build_network or build_supernet, got a"):
            use()


# ---- switches of torch -----------------------------------------------------------------------------------------------

SWITCHES = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "nothing": nullcontext,
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_change_no_number(plain, splits: Splits, switch: str) -> None:
    with SWITCHES[switch]():
        network, supernet = tiny_network(splits), build_supernet("lightsnn-forward", SUPERNET.config)
        assert figures(network, supernet, splits) == plain
    assert figures(tiny_network(splits), supernet, splits) == plain


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_training_goes_on_under_another_switch(splits: Splits, switch: str) -> None:
    config = replace(CONFIG, epochs=2)
    expected = [replace(record, seconds=0.0) for record in fit(tiny_network(splits), splits, config)]
    records = fit(tiny_network(splits), splits, config)
    found = [next(records)]
    with SWITCHES[switch]():
        found += records
    assert [replace(record, seconds=0.0) for record in found] == expected
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_frozen_networks_are_refused(splits: Splits) -> None:
    frozen = tiny_network(splits).requires_grad_(False)
    with torch.inference_mode():
        moved = tiny_network(splits).double().float()
    for network in (frozen, moved):
        with pytest.raises(ValueError, match=r"no weight of the network can learn: .*requires_grad_\(True\)"):
            fit(network, splits, CONFIG)
    frozen.classifier.requires_grad_(True)  # a part may stay frozen
    before = frozen.stem[0].weight.clone()
    next(fit(frozen, splits, CONFIG))
    assert torch.equal(frozen.stem[0].weight, before)


def test_data_with_gradients(splits: Splits) -> None:
    def floats(grad: bool) -> Splits:
        return replace(splits, **{
            name: Split(getattr(splits, name).x.float().requires_grad_(grad), getattr(splits, name).y)
            for name in ("train", "val", "test")
        })  # fmt: skip

    assert not floats(True).train.x.requires_grad  # data learn nothing: the splits hold views of them
    assert figures(tiny_network(splits), SUPERNET, floats(True)) == figures(
        tiny_network(splits), SUPERNET, floats(False)
    )


# ---- numbers of other libraries --------------------------------------------------------------------------------------

KINDS = {
    "numpy": lambda value: np.float32(value) if isinstance(value, float) else np.int64(value),
    "numpy array": np.array,
    "torch": torch.tensor,
    "small": lambda value: np.float16(value) if isinstance(value, float) else np.uint8(value),
}
NETWORK = {"num_classes": 3, "width": 4, "num_steps": 2, "hidden": 8, "votes": 2, "last_pool": 1, "dropout": 0.25}
NETWORK |= {"linear_std": 0.5, "tau": 1.5, "v_threshold": 0.5, "input_scale": 0.25}
TRAIN = {"epochs": 3, "batch_size": 8, "learning_rate": 0.25, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.125}
TRAIN |= {"final_lr_fraction": 0.5, "crop": 1, "frozen_norm_epochs": 1, "seed": 7}


def types_of(settings: object) -> set[type]:
    values = [part for value in asdict(settings).values() for part in (value if type(value) is tuple else [value])]
    return {type(value) for value in values}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_plain(kind: str) -> None:
    given = {name: KINDS[kind](value) for name, value in NETWORK.items()}
    shape = {"input_shape": (1, 8, 8), "input_centre": (3.0,), "events": True}
    network = NetworkConfig(**given, input_shape=np.array([1, 8, 8]), input_centre=KINDS[kind](3.0), events=np.bool_(1))
    assert network == NetworkConfig(**NETWORK, **shape)
    train = TrainConfig(**{name: KINDS[kind](value) for name, value in TRAIN.items()}, flip=np.bool_(True))
    assert train == TrainConfig(**TRAIN, flip=True)
    scoring = ScoringConfig(batch_size=KINDS[kind](8), num_batches=KINDS[kind](1), reset=np.bool_(True))
    assert scoring == ScoringConfig(batch_size=8, num_batches=1)
    assert Settle(level=KINDS[kind](0.25), first=KINDS[kind](4)) == Settle(level=0.25, first=4)
    space = CellSpace(np.array(["skip", "zeroize"]), KINDS[kind](3), np.bool_(False))
    assert space == CellSpace(("skip", "zeroize"), 3, False)
    assert types_of(network) | types_of(train) | types_of(scoring) == {int, float, bool, str}
    assert {type(space.num_nodes), type(Cell(KINDS[kind](2), ["skip"]).num_nodes)} == {int}
    assert cell_edges(KINDS[kind](3)) == cell_edges(3)


@pytest.mark.parametrize("shape", [[1, 8, 8], torch.Size([1, 8, 8]), np.array([1, 8, 8]), torch.tensor([1, 8, 8])])
def test_shapes(shape: object) -> None:
    assert NetworkConfig(input_shape=shape, num_classes=2).input_shape == (1, 8, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_functions(kind: str, splits: Splits) -> None:
    eight, network, score = KINDS[kind](8), tiny_network(splits), lambda mask: 0.0
    assert evaluate(network, splits.val, batch_size=eight) == evaluate(network, splits.val, batch_size=8)
    assert measure_energy(network, splits.val.x[:9], batch_size=eight).num_samples == 9
    assert len(list(random_search(SPACES["lightsnn"], score, budget=eight, rng=np.random.default_rng(0)))) == 8
    assert choose("random", "lightsnn", seed=eight).cell == choose("random", "lightsnn", seed=8).cell
    assert choose("random-search", "lightsnn", score=score, budget=eight).evaluations == 8
    assert same_weights(build_network("03 00", network.config, seed=eight), 8, network.config)
    scorer = Scorer(supernet=SUPERNET, batches=(splits.train.x[:4],))
    with score_in_processes(scorer, workers=KINDS[kind](1)):
        pass


def same_weights(network: SpikingNetwork, seed: int, config: NetworkConfig) -> bool:
    other = build_network("03 00", config, seed=seed)
    return torch.equal(network.stem[0].weight, other.stem[0].weight)


@pytest.mark.parametrize("seed", [0, 2**31, 2**32, 2**63, 2**64 - 1, 2**64, 10**40])
def test_seeds_of_any_size(seed: int, splits: Splits) -> None:
    config = tiny_network(splits).config
    network = build_network("03 00", config, seed=seed)
    assert same_weights(network, seed, config)
    assert not same_weights(network, seed + 1, config)
    assert network.first_weights == f"seed {seed}"
    assert build_supernet("lightsnn", config, seed=seed).first_weights == f"seed {seed}"
    assert choose("random", "lightsnn", seed=seed).cell.conv_path_lengths() is not None
    assert next(fit(network, splits, replace(CONFIG, seed=seed))).epoch == 1


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True, [1]])
def test_what_is_no_seed(seed: object, splits: Splits) -> None:
    config = tiny_network(splits).config
    uses = [lambda: build_network("03 00", config, seed=seed), lambda: build_supernet("lightsnn", config, seed=seed)]
    for use in [*uses, lambda: choose("random", "lightsnn", seed=seed), lambda: TrainConfig(seed=seed)]:
        with pytest.raises(ValueError, match="seed must be a whole number of 0 or more"):
            use()


# ---- the channels come last ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "last_pool", "advice"),
    [
        ((32, 32, 3), 2, r"it looks like \(H, W, C\): give images as \[n, C, H, W\], by x.transpose\(0, 3, 1, 2\)"),
        ((28, 28, 1), 1, r"it looks like \(H, W, C\)"),
        ((3, 2, 2), 2, "lower last_pool"),
        ((3, 1, 1), 2, "use larger images"),
        ((1, 1, 30), 4, "use larger images"),
    ],
)
def test_advice_fits_the_shape(shape: tuple, last_pool: int, advice: str) -> None:
    with pytest.raises(ValueError, match=rf"is too small: pooling leaves \(\d+, \d+\); {advice}"):
        NetworkConfig(input_shape=shape, num_classes=2, last_pool=last_pool)
    if advice == "lower last_pool":
        assert min(NetworkConfig(input_shape=shape, num_classes=2, last_pool=1).final_size) == 1


def test_batches_whose_channels_come_last(splits: Splits) -> None:
    network = build_network("03 00", NetworkConfig(input_shape=(3, 16, 16), num_classes=2, width=2, hidden=4))
    with pytest.raises(
        ValueError, match=r"got \(5, 16, 16, 3\); the channels come last there: use x\.movedim\(-1, -3\)"
    ):
        network(torch.zeros(5, 16, 16, 3))
    assert network(torch.zeros(5, 16, 16, 3).movedim(-1, -3)).shape == (5, 2)
