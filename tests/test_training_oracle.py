"""Training against spikingjelly: the LIF layer's gradients bit for bit, ten updates of SNASNet's published cells."""

import pytest
import torch
import torch.nn.functional as F
from per_edge import stock_lif, twins
from torch import Tensor, nn

from lightsnn_kit._lif import LIF
from lightsnn_kit.networks import NetworkConfig
from lightsnn_kit.scoring import record_spikes
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
@pytest.mark.parametrize("shape", [(5, 3, 4, 6, 6), (4, 7, 11), (3, 16, 32, 32, 16)], ids=str)
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
