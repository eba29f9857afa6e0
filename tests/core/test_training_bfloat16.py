"""Training in bfloat16 on the CPU: what is rounded, who takes it, and that a resumed training stays with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_training import CONFIG, SPLITS, assert_same, contents, make_network, without_times
from torch import Tensor, nn

from lightsnn_kit import layers
from lightsnn_kit.fast import training_loops
from lightsnn_kit.layers import LIF, BatchNorm
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.spaces import PUBLISHED_CELLS
from lightsnn_kit.training import EpochRecord, fit
from lightsnn_kit.updates import takes_bfloat16


def in_bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def draw(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.bfloat16().to(memory_format=torch.channels_last)


# ---- layers: float32 inside, rounded once on the way out -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (8, 32, 32, 32)], ids=str)
def test_lif_computes_in_float32(shape) -> None:
    frames, weights = [3 * draw(*shape, seed=t) for t in range(4)], draw(*shape, seed=9)

    def run(dtype: torch.dtype) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        lif, xs = LIF(4 / 3, 1.0), [frame.clone().to(dtype).requires_grad_() for frame in frames]
        spikes = [lif(x) for x in xs]
        (torch.stack(spikes) * weights.to(dtype)).sum().backward()
        return spikes, lif.v, [x.grad for x in xs]

    with in_bfloat16():
        spikes, v, grads = run(torch.bfloat16)
    expected_spikes, expected_v, expected_grads = run(torch.float32)
    assert 0.1 < expected_spikes[-1].mean() < 0.9
    assert {s.dtype for s in spikes} == {g.dtype for g in grads} == {torch.bfloat16}
    assert all(torch.equal(a.float(), b) for a, b in zip(spikes, expected_spikes, strict=True))
    assert torch.equal(v, expected_v)  # float32, no bit less
    assert all(torch.equal(a, b.bfloat16()) for a, b in zip(grads, expected_grads, strict=True))


@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (3, 48, 32, 32)], ids=str)
@pytest.mark.parametrize("added", [False, True])
def test_norm_computes_in_float32(shape, added) -> None:
    y, plus, grad = 3 + 2 * draw(*shape), draw(*shape, seed=1) if added else None, draw(*shape, seed=2)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        norm = BatchNorm(shape[1])
        nn.init.uniform_(norm.weight, 0.5, 2, generator=torch.Generator().manual_seed(3))
        given = [t.clone().to(dtype).requires_grad_() for t in (y, plus) if t is not None]
        out = norm(*given)
        out.backward(grad.to(dtype))
        return {"out": out, "mean": norm.running_mean, "var": norm.running_var, "γ": norm.weight.grad,
                "β": norm.bias.grad} | {str(i): t.grad for i, t in enumerate(given)}  # fmt: skip

    with in_bfloat16():
        found = run(torch.bfloat16)
    for name, value in run(torch.float32).items():
        rounded = name in ("out", "0", "1")
        assert found[name].dtype == (torch.bfloat16 if rounded else torch.float32)
        assert torch.equal(found[name], value.bfloat16() if rounded else value), name


def test_rounding_is_torchs() -> None:
    """To the nearest, ties to even; infinities stay, and a NaN as arithmetic makes it."""
    bits = torch.arange(-(2**31), 2**31, 40_503, dtype=torch.int64).to(torch.int32)  # an odd step: every lower half
    ties = (torch.arange(0, 2**15, 7, dtype=torch.int32) << 16) + 2**15
    values = torch.cat([bits, ties]).view(torch.float32)
    values = torch.where(values.isnan(), torch.nan, values).view(-1, 1, 1)
    out = torch.empty_like(values, dtype=torch.bfloat16)
    ones = torch.stack([torch.ones(1), torch.zeros(1)]).numpy()
    training_loops.normalise(values.numpy(), layers.NONE, layers.numbers(out), ones)
    expected = (values * 1 + 0).bfloat16()
    same = out.view(torch.uint16) == expected.view(torch.uint16)
    assert (same | (out.isnan() & expected.isnan())).all()
    assert out.isnan().sum() == expected.isnan().sum() > 0


# ---- networks --------------------------------------------------------------------------------------------------------

CELL = PUBLISHED_CELLS["snasnet-cifar10"]
WIDE = NetworkConfig(input_shape=(3, 8, 8), num_classes=3, width=16, hidden=64, num_steps=3, last_pool=1, dropout=0.0)


def gradients(*, amp: bool, rounded: bool = False, recompute: bool = False) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one step; ``rounded``: with weights rounded to bfloat16 beforehand."""
    network = build_network(CELL, WIDE).train().to(memory_format=torch.channels_last)
    if rounded:
        network.bfloat16().float()
    x = 2 * torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        logits = network(x, recompute=recompute).float()
    loss = F.cross_entropy(logits, torch.arange(48) % 3)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_a_step_is_as_far_from_float32_as_rounded_weights_put_it() -> None:
    """Spikes that flip make the difference: rounding the weights alone turns the gradient by as much."""
    (loss, exact), (near, found), (_, by_weights) = gradients(amp=False), gradients(amp=True), gradients(**ROUNDED)
    assert near == pytest.approx(loss, rel=0.02)
    assert found.keys() == exact.keys()
    assert {grad.dtype for grad in found.values()} == {torch.float32}
    a, b, c = (torch.cat([grad.flatten() for grad in grads.values()]) for grads in (exact, found, by_weights))
    assert F.cosine_similarity(a, b, dim=0) > F.cosine_similarity(a, c, dim=0) - 0.15
    assert b.norm() == pytest.approx(a.norm().item(), rel=0.2)


ROUNDED = {"amp": False, "rounded": True}


def test_steps_taken_twice_give_the_same_bits() -> None:
    (loss, grads), (again, repeated) = gradients(amp=True), gradients(amp=True, recompute=True)
    assert loss == again
    assert_same(grads, repeated)


# ---- who takes it ----------------------------------------------------------------------------------------------------


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch):
    """Make this processor one with AMX, or without."""
    return lambda has: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has})


@pytest.mark.parametrize("has", [False, True])
def test_only_fast_asks_what_the_processor_has(amx, has: bool) -> None:
    amx(has)
    taken = {amp: takes_bfloat16(amp, torch.device("cpu")) for amp in ("auto", "fast", "on", "off")}
    assert taken == {"auto": False, "fast": has, "on": True, "off": False}


def test_records_say_what_was_taken(amx) -> None:
    found = {}
    for has in (False, True):
        amx(has)
        for amp in ("auto", "fast"):
            [found[amp, has]] = fit(make_network(), SPLITS, replace(CONFIG, epochs=1, amp=amp))
    assert {key: record.precision for key, record in found.items()} == {
        ("auto", False): "float32",
        ("fast", False): "float32",
        ("auto", True): "float32",
        ("fast", True): "bfloat16",
    }
    plain = replace(found["auto", False], seconds=0.0)
    assert replace(found["auto", True], seconds=0.0) == replace(found["fast", False], seconds=0.0) == plain
    assert EpochRecord(1, 0.5, 0.5, 0.5, 0.5, 0.1, 2.0).precision == ""  # of an earlier version


@pytest.mark.parametrize("began", [False, True])
def test_a_resumed_training_stays_with_what_it_began_with(amx, tmp_path: Path, began: bool) -> None:
    config, whole = replace(CONFIG, amp="fast", epochs=3), tmp_path / "whole"
    amx(began)
    expected = without_times(list(fit(make_network(), SPLITS, config, folder=whole)))
    next(fit(make_network(), SPLITS, config, folder=tmp_path / "moved"))
    amx(not began)  # the folder goes to another machine
    assert without_times(list(fit(make_network(), SPLITS, config, folder=tmp_path / "moved"))) == expected
    assert_same(contents(tmp_path / "moved"), contents(whole))


@pytest.mark.parametrize("recompute", [False, True])
def test_every_update_sees_the_weights_of_the_one_before(recompute: bool) -> None:
    network, weights = make_network(), []

    def check(conv: nn.Module, inputs: tuple, output: Tensor) -> None:
        if network.training:
            weights.append(conv.weight.detach().clone())
            assert torch.equal(output, F.conv2d(inputs[0].bfloat16(), weights[-1].bfloat16(), padding=1))

    network.stem[0].register_forward_hook(check)
    list(fit(network, SPLITS, replace(CONFIG, epochs=1, amp="on", recompute=recompute)))
    assert len(weights) == 3  # batches
    assert not any(torch.equal(a.bfloat16(), b.bfloat16()) for a, b in pairwise(weights))


def test_parts_of_a_batch() -> None:
    [record] = fit(make_network(), SPLITS, replace(CONFIG, epochs=1, amp="on", accumulate=2))
    [whole] = fit(make_network(), SPLITS, replace(CONFIG, epochs=1, amp="on"))
    assert record.train_loss == pytest.approx(whole.train_loss, rel=0.1)


# ---- threads ---------------------------------------------------------------------------------------------------------


def lif_step() -> Tensor:
    return LIF(4 / 3, 1.0)(3 * torch.randn(2**18, generator=torch.Generator().manual_seed(0), requires_grad=True))


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_while_another_training_has_the_threads(two_threads) -> None:
    expected = lif_step()
    with training_loops.SHARING:
        assert torch.equal(lif_step(), expected)
