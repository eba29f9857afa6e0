"""Training against spikingjelly: the LIF layer's gradients bit for bit, ten updates of SNASNet's published cells."""

import pytest
import torch
import torch.nn.functional as F
from per_edge import stock_lif, twins
from torch import Tensor, nn

from lightsnn_kit.layers import LIF, BatchNorm
from lightsnn_kit.networks import NetworkConfig
from lightsnn_kit.recording import record_spikes
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES

CELLS = PUBLISHED_CELLS | {"all convolutions": SPACES["snasnet"].uniform("conv3x3")}
SETTINGS = {"input_shape": (3, 8, 8), "num_classes": 3, "width": 8, "hidden": 64, "num_steps": 3}
SMALL = NetworkConfig(**SETTINGS, pool="avg", last_pool=1, votes=1, dropout=0.0, linear_std=0.2)


def run_lif(lif: nn.Module, x: Tensor, *, out_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes of every step of inputs [T, ...], and the gradient of their weighted sum."""
    lif.reset()
    x = x.detach().requires_grad_()
    spikes = torch.stack([lif(frame) for frame in x])
    (grad,) = torch.autograd.grad((spikes * out_weights).sum(), x)
    return spikes.detach(), grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 3, 4, 6, 6), (4, 7, 11), (3, 16, 32, 64, 32)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_lif_has_the_bits_of_spikingjelly(shape, dtype, layout) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    x = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    weights = torch.randn(shape, generator=generator, dtype=dtype)
    if layout is torch.channels_last and len(shape) == 5:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    ours, theirs = (run_lif(lif, x, out_weights=weights) for lif in (LIF(4 / 3, 1.0), stock_lif(4 / 3, 1.0)))
    assert 0.1 < theirs[0].mean() < 0.9
    assert theirs[1].count_nonzero() > 0.9 * x.numel()
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_lif_on_several_threads_and_on_nothing() -> None:
    x = 3 * torch.randn(2, 2**20 + 7, generator=torch.Generator().manual_seed(0))
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(run_lif(LIF(4 / 3, 1.0), x, out_weights=x))
    torch.set_num_threads(threads)
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
    nothing = torch.zeros(1, 0, 4)
    assert run_lif(LIF(4 / 3, 1.0), nothing, out_weights=nothing)[0].shape == (1, 0, 4)


def test_lif_by_hand() -> None:
    """tau 2, threshold 1: charged 0.5·2 = 1 fires and starts again, then 0.5·1 = 0.5 stays."""
    lif, x = LIF(2.0, 1.0), torch.tensor([2.0, 1.0], dtype=torch.float64, requires_grad=True)
    first, second = lif(x[:1]), lif(x[1:])
    assert (first.item(), second.item(), lif.v.item()) == (1.0, 0.0, 0.5)
    second.backward()  # ATan with alpha 2 at h − 1 = −0.5: 1 / (1 + (π/2)²), times 1/tau; no way through the reset
    assert x.grad.tolist() == pytest.approx([0.0, 0.5 / (1 + (torch.pi / 2) ** 2)])


def test_lif_where_no_gradient_reaches_it() -> None:
    lif, x = LIF(2.0, 1.0), torch.full((2,), 0.5, requires_grad=True)
    spikes = lif(x)
    assert torch.autograd.grad(lif.v.sum(), x, retain_graph=True)[0].tolist() == [0.5, 0.5]  # through v alone
    assert torch.autograd.grad(spikes.sum(), x)[0].min() > 0  # through the spikes alone
    with torch.no_grad():
        assert not lif(x).requires_grad


def loss_curve(network: nn.Module, x: Tensor, y: Tensor, updates: int) -> list[float]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = []
    for _ in range(updates):
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CELLS)
def test_loss_curves_equal_spikingjellys(name, layout) -> None:
    """Float64: a spike that flips by rounding would be seen at once, and none does."""
    x = 2 * torch.randn(12, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y = torch.arange(12) % 3
    theirs, ours = (network.double() for network in twins(CELLS[name], SMALL))
    ours.to(memory_format=layout)
    with record_spikes(ours) as spikes:
        ours(x)
    assert all(s.any() for s in spikes.values())
    expected, got = (loss_curve(network, x, y, 10) for network in (theirs, ours))
    assert max(expected) - min(expected) > 0.1  # the weights have moved
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CELLS)
def test_loss_curves_in_single_precision(name) -> None:
    """The compiled loops: as near to the curve in double precision as spikingjelly's layers in single precision."""
    x = 2 * torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    y = torch.arange(12) % 3
    theirs, ours = twins(CELLS[name], SMALL)
    expected = loss_curve(twins(CELLS[name], SMALL)[1].double(), x.double(), y, 10)
    ours.to(memory_format=torch.channels_last)
    assert loss_curve(theirs, x, y, 10) == pytest.approx(expected, rel=1e-4)
    assert loss_curve(ours, x, y, 10) == pytest.approx(expected, rel=1e-4)


def norm_step(norm: nn.Module, y: Tensor, plus: Tensor | None, weights: Tensor) -> dict[str, Tensor]:
    """Output, gradients and running statistics of one training step."""
    norm.train()
    y, plus = y.detach().requires_grad_(), None if plus is None else plus.detach().requires_grad_()
    out = (norm(y, plus) if isinstance(norm, BatchNorm) else norm(y) + (0 if plus is None else plus)).mul(weights)
    out.sum().backward()
    grads = {"y": y.grad, "weight": norm.weight.grad, "bias": norm.bias.grad} | (
        {} if plus is None else {"+": plus.grad}
    )
    return {"out": out.detach()} | grads | {"mean": norm.running_mean, "var": norm.running_var}


@pytest.mark.parametrize(
    "shape", [(2, 1, 1, 1), (4, 3, 5, 7), (6, 16, 8, 8), (3, 48, 32, 32), (9, 64, 96, 96)], ids=str
)
@pytest.mark.parametrize("added", [False, True])
def test_norm_is_as_exact_as_torchs(shape, added) -> None:
    """Against torch in double precision: errors at most twice those of torch in single precision (or 3e-7)."""
    generator = torch.Generator().manual_seed(len(shape) + shape[1])

    def draw(*sizes: int) -> Tensor:
        drawn = torch.randn(sizes, generator=generator)
        return drawn.to(memory_format=torch.channels_last) if len(sizes) == 4 else drawn

    y, plus, weights = 3 + 2 * draw(*shape), draw(*shape) if added else None, draw(*shape)
    ours, theirs = BatchNorm(shape[1]), nn.BatchNorm2d(shape[1])
    ours.weight.data, ours.bias.data = draw(shape[1]), draw(shape[1])
    theirs.load_state_dict(ours.state_dict())
    exact = nn.BatchNorm2d(shape[1]).double()
    exact.load_state_dict(ours.state_dict())
    assert ours._fits(y, plus)
    results = [norm_step(norm, y, plus, weights) for norm in (ours, theirs)]
    expected = norm_step(exact, y.double(), plus if plus is None else plus.double(), weights.double())
    for name, value in expected.items():
        size = value.abs().max().clamp(min=1)
        mine, reference = ((result[name] - value).abs().max() / size for result in results)
        assert mine <= max(2 * reference, 3e-7), name
    assert ours.num_batches_tracked == 1


@pytest.mark.parametrize("layout", ["contiguous", "expanded", "transposed"])
def test_norm_takes_gradients_of_any_layout(layout) -> None:
    y = torch.randn(3, 8, 6, 6, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    grad = {
        "contiguous": y.contiguous(),
        "expanded": torch.tensor(2.0).expand(3, 8, 6, 6),
        "transposed": y.transpose(2, 3),
    }[layout]
    found = []
    for norm in (BatchNorm(8), nn.BatchNorm2d(8)):
        given = y.clone(memory_format=torch.preserve_format).requires_grad_()
        found.append(torch.autograd.grad(norm(given), (given, norm.weight, norm.bias), grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_norm_by_hand() -> None:
    """Channel 0 holds 1 and 3: mean 2, variance 1, so −1 and 1; running variance 0.9·1 + 0.1·2 (unbiased)."""
    norm, y = BatchNorm(1, eps=0.0), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    out = norm(y.to(memory_format=torch.channels_last), torch.full((2, 1, 1, 1), 10.0))
    assert out.flatten().tolist() == [9.0, 11.0]
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((0.2, 1.1))


def test_norm_does_not_depend_on_the_number_of_threads() -> None:
    y = torch.randn(8, 16, 96, 96, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(norm_step(BatchNorm(16), y, y, y))
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_norm_elsewhere_is_torchs() -> None:
    """In evaluation, other types and layouts; one value per channel is torch's error."""
    ours, theirs = BatchNorm(4).eval(), nn.BatchNorm2d(4).eval()
    y = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for value in (y, y.to(memory_format=torch.channels_last), y.to(torch.bfloat16)):
        assert torch.equal(ours(value), theirs(value))
        assert torch.equal(ours(value, value), theirs(value) + value)
    ours.train(), theirs.train()
    assert torch.equal(ours(y), theirs(y))  # contiguous
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ours(torch.zeros(1, 4, 1, 1))
