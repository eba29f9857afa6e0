"""The networks against spikingjelly's own SNASNet, and what the discrete network may leave out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.model import snas_net
from spikingjelly.activation_based.neuron import BaseNode
from torch import nn

from lightsnn_kit.cells import Cell, Edge, Op, cell_edges
from lightsnn_kit.networks import NetworkConfig, SpikingCell, build_network, build_supernet, linear_spread, reset_state
from lightsnn_kit.recording import record_spikes
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, CellSpace, OpMask

T = 5
TOLERANCE = {"rtol": 1e-6, "atol": 1e-9}
SMALL = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=4, hidden=8, votes=2, num_steps=3)


def randomise(module: nn.Module, generator: torch.Generator, gain: float) -> None:
    """Weights large enough that every LIF fires; BN weight, bias and running statistics away from 1 and 0."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            m.weight.data.copy_(gain * torch.randn(m.weight.shape, generator=generator) / m.weight[0].numel() ** 0.5)
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.copy_(1 + torch.rand(m.weight.shape, generator=generator))
            m.bias.data.copy_(0.3 + torch.rand(m.bias.shape, generator=generator))
            m.running_mean.copy_(torch.randn(m.running_mean.shape, generator=generator) * 0.2)
            m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=generator))


def copy_cell(oracle: nn.Module, ours: SpikingCell) -> None:
    """Oracle's module lists follow our edge order: forward by (target, source), then backward."""
    theirs = [*oracle.cell_architecture, *oracle.cell_architecture_back]
    for edge, module in zip(cell_edges(ours.num_nodes), theirs, strict=True):
        if str(edge) in ours.ops and isinstance(module, nn.Sequential):
            for target, source in zip(ours.ops[str(edge)], list(module)[1:], strict=True):
                target.load_state_dict(source.state_dict())


def batch_norms(ours: SpikingCell, oracle: nn.Module) -> list[tuple[nn.BatchNorm2d, nn.BatchNorm2d]]:
    theirs = [*oracle.cell_architecture, *oracle.cell_architecture_back]
    pairs = zip(cell_edges(ours.num_nodes), theirs, strict=True)
    return [(ours.ops[str(e)][1], m[2]) for e, m in pairs if isinstance(m, nn.Sequential) and str(e) in ours.ops]


def fires_everywhere(network: nn.Module, run) -> bool:
    layers = {name for name, module in network.named_modules() if isinstance(module, BaseNode)}
    with record_spikes(network) as spikes:
        run()
    return set(spikes) == layers and all(s.any() for s in spikes.values())


def random_live_cells(count: int) -> list[Cell]:
    """Random SNASNet matrices with live backward edges and no dead edge (the oracle computes dead edges too)."""
    rng, found = np.random.default_rng(5), []
    while len(found) < count:
        cell = SPACES["snasnet"].sample(rng)
        used = [edge for edge, op in cell.edge_ops.items() if op is not Op.ZEROIZE]
        if set(used) == set(cell.live_edges) and any(edge.is_backward for edge in used) and cell.num_convs > 1:
            found.append(cell)
    return found


@pytest.mark.parametrize("training", [True, False], ids=["bn-batch", "bn-running"])
def test_cell_equals_spikingjelly(training):
    for number, cell in enumerate(random_live_cells(24)):
        generator = torch.Generator().manual_seed(number)
        args = SimpleNamespace(threshold=1.0, tau=4 / 3)
        oracle = snas_net.Neuronal_Cell_backward(args, 4, 4, torch.tensor(cell.to_matrix())).double()
        randomise(oracle, generator, gain=2.0)
        ours = SpikingCell(cell, 4, SMALL).double()
        copy_cell(oracle, ours)
        oracle.train(training), ours.train(training)
        x = 1.5 * torch.rand(6, 4, 8, 8, generator=generator, dtype=torch.float64) + 0.2

        def run_oracle(oracle=oracle, x=x):
            return [oracle(x) for _ in range(T)]

        functional.reset_net(oracle), reset_state(ours)
        with record_spikes(oracle) as spikes:
            expected = run_oracle()
        assert all(s.any() for s in spikes.values())
        assert len(spikes) == sum(op.is_conv for op in cell.ops)
        fed_back = None
        for t in range(T):
            got, fed_back = ours(x, fed_back, last_step=t == T - 1)
            torch.testing.assert_close(got, expected[t], **TOLERANCE)
        for mine, theirs in batch_norms(ours, oracle):
            torch.testing.assert_close(mine.running_mean, theirs.running_mean, **TOLERANCE)
            torch.testing.assert_close(mine.running_var, theirs.running_var, **TOLERANCE)


@pytest.mark.parametrize("training", [True, False], ids=["bn-batch", "bn-running"])
@pytest.mark.parametrize("name", PUBLISHED_CELLS)
def test_published_networks_equal_spikingjelly(name, training):
    cell = PUBLISHED_CELLS[name]
    args = SimpleNamespace(
        timestep=T, second_avgpooling=2, dataset="cifar100", threshold=1.0, tau=4 / 3, celltype="backward"
    )
    oracle = snas_net.SNASNet(args, torch.tensor(cell.to_matrix())).double()
    randomise(oracle, torch.Generator().manual_seed(1), gain=2.0)
    config = NetworkConfig(input_shape=(3, 32, 32), num_classes=100, width=128, votes=5, pool="avg", num_steps=T)
    ours = build_network(cell, config).double()
    copy_cell(oracle.cell1, ours.cell1), copy_cell(oracle.cell2, ours.cell2)
    ours.stem.load_state_dict(oracle.stem.state_dict())
    ours.down.load_state_dict(oracle.downconv1.state_dict())
    ours.last.load_state_dict(oracle.last_act.state_dict())
    ours.classifier.load_state_dict(oracle.classifier.state_dict())
    oracle.train(training), ours.train(training)
    oracle.classifier[0].eval(), ours.classifier[0].eval()  # dropout off in both
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    functional.reset_net(oracle)
    with torch.no_grad():
        with record_spikes(oracle) as spikes:
            expected = oracle(x)
        got = ours(x)
    assert len(spikes) == 2 * sum(op.is_conv for op in cell.ops) + 3
    assert all(s.any() for s in spikes.values())
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, **TOLERANCE)
    macro = [(ours.stem[1], oracle.stem[1]), (ours.down[3], oracle.downconv1[3]), (ours.last[0], oracle.last_act[0])]
    cells = batch_norms(ours.cell1, oracle.cell1) + batch_norms(ours.cell2, oracle.cell2)
    for mine, theirs in macro + cells:
        torch.testing.assert_close(mine.running_mean, theirs.running_mean, **TOLERANCE)
        torch.testing.assert_close(mine.running_var, theirs.running_var, **TOLERANCE)


def firing_network(cell: Cell, num_steps: int) -> nn.Module:
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=8, hidden=128, votes=2, num_steps=num_steps)
    network = build_network(cell, config).eval()
    randomise(network, torch.Generator().manual_seed(0), gain=2.0)
    return network


def test_every_live_backward_edge_matters_from_the_second_step_on():
    cell = SPACES["lightsnn"].uniform("conv3x3")
    x = 4 * torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    backward = [edge for edge in cell.live_edges if edge.is_backward]
    assert len(backward) == 6
    for edge in backward:
        for num_steps, matters in [(1, False), (2, True)]:
            network = firing_network(cell, num_steps)
            assert num_steps == 1 or fires_everywhere(network, lambda network=network: network(x))
            before = network(x)
            network.cell1.ops[str(edge)][0].weight.data.neg_()
            assert (network(x) != before).any().item() is matters, (edge, num_steps)


@pytest.mark.parametrize("pattern", ["3<-0", "3<-0 1<-0", "3<-0 3<-1", "3<-0 0<-3 2<-0", ""])
def test_discrete_network_computes_only_what_reaches_the_output(pattern, monkeypatch):
    cell = Cell.from_edges(dict.fromkeys(pattern.split(), "conv3x3"), num_nodes=4)
    network = build_network(cell, SMALL).eval()
    calls = []
    convolve = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: calls.append(self) or convolve(self, x))
    network(torch.rand(2, 1, 8, 8))
    forward = sum(not edge.is_backward for edge in cell.live_edges)
    backward = len(cell.live_edges) - forward
    steps = SMALL.num_steps
    # stem once; downsampling every step; backward edges not in the last step; both cells
    assert len(calls) == 1 + steps + 2 * (forward * steps + backward * (steps - 1))
    live = {"3<-0": 1, "3<-0 1<-0": 1, "3<-0 3<-1": 2, "3<-0 0<-3 2<-0": 2, "": 0}[pattern]
    assert len(cell.live_edges) == live == sum(isinstance(m, nn.Conv2d) for m in network.cell1.modules())


def test_dead_cell_still_gives_logits():
    network = build_network(SPACES["lightsnn"].uniform("zeroize"), SMALL)
    assert torch.isfinite(network(torch.rand(2, 1, 8, 8))).all()


def test_supernet_with_a_one_op_mask_equals_the_discrete_network():
    space = SPACES["snasnet-maxpool"]
    rng = np.random.default_rng(0)
    for seed in range(8):
        cell = space.sample(rng)
        supernet, network = build_supernet(space, SMALL, init="stock").eval(), build_network(cell, SMALL).eval()
        randomise(supernet, torch.Generator().manual_seed(seed), gain=2.0)
        for name in ("stem", "down", "last", "classifier"):
            getattr(network, name).load_state_dict(getattr(supernet, name).state_dict())
        for mine, theirs in ((network.cell1, supernet.cell1), (network.cell2, supernet.cell2)):
            for edge in cell.live_edges:
                if cell.op(edge).is_conv:
                    for a, b in zip(mine.ops[str(edge)], list(theirs.ops[f"{edge}:{cell.op(edge)}"])[1:], strict=True):
                        a.load_state_dict(b.state_dict())
        x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        expected = supernet(x, mask=OpMask.from_cell(cell, space))
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)


def test_supernet_mixes_with_equal_weights():
    space = CellSpace(("zeroize", "skip"), num_nodes=2, backward=False)
    cell = build_supernet(space, SMALL).cell1
    x = torch.rand(2, 4, 8, 8)
    out, _ = cell(x, None, mask=space.full_mask())
    assert torch.equal(out, 0.5 * x)  # weights 1/2 for skip and for zeroize
    out, _ = cell(x, None, mask=space.full_mask().without(Edge(1, 0), Op.ZEROIZE))
    assert torch.equal(out, x)


@pytest.mark.parametrize(
    ("shape", "events", "features"),
    [((3, 32, 32), False, 512), ((1, 28, 28), False, 392), ((1, 16, 16), False, 128), ((2, 128, 128), True, 2048)],
)
def test_classifier_size_follows_from_the_shapes(shape, events, features):
    config = NetworkConfig(input_shape=shape, num_classes=4, width=4, hidden=8, num_steps=2, events=events)
    assert config.features == features  # 2C times height times width after the pools
    x = torch.rand(3, 2, *shape) if events else torch.rand(2, *shape)
    assert build_network("0303 0030 2002 0200", config)(x).shape == (2, 4)


def test_all_event_frames_are_used():
    config = NetworkConfig(input_shape=(2, 16, 16), num_classes=4, width=4, hidden=8, num_steps=2, events=True)
    network = firing_like(build_network(SPACES["lightsnn"].uniform("conv3x3"), config).eval())
    x = torch.rand(7, 2, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    before = network(x)
    for t in range(7):
        changed = x.clone()
        changed[t] = 3 - changed[t]
        assert (network(changed) != before).any(), t


def firing_like(network: nn.Module) -> nn.Module:
    randomise(network, torch.Generator().manual_seed(0), gain=2.0)
    return network


def test_normalisation_belongs_to_the_network():
    raw = NetworkConfig(**{**SMALL.__dict__, "input_centre": (10.0,), "input_scale": 0.5})
    x = torch.randint(0, 20, (2, 1, 8, 8), dtype=torch.uint8)
    expected = build_network("03 00", SMALL, seed=4).eval()((x.float() - 10) * 0.5)
    torch.testing.assert_close(build_network("03 00", raw, seed=4).eval()(x), expected)


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a = build_network("03 00", SMALL, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    b = build_network("03 00", SMALL, seed=4)
    c = build_network("03 00", SMALL, seed=5)
    assert torch.equal(a.stem[0].weight, b.stem[0].weight)
    assert not torch.equal(a.stem[0].weight, c.stem[0].weight)
    bound = (6 / (5 * 9)) ** 0.5  # Kaiming-uniform: sqrt(6 / ((1 + a^2) fan_in)) with a = 2, fan_in = 9
    assert 0.9 * bound < a.stem[0].weight.abs().max() <= bound


@pytest.mark.parametrize(("linear_std", "expected"), [(None, 0.01 * (32768 / 512) ** 0.5), (0.01, 0.01)])
def test_spread_of_the_linear_weights(linear_std, expected):
    settings = {**SMALL.__dict__, "input_shape": (3, 32, 32), "hidden": 512, "linear_std": linear_std}
    hidden, last = (build_network("03 00", NetworkConfig(**settings)).classifier[i] for i in (1, 3))
    assert hidden.in_features == 512
    assert hidden.weight.std().item() == pytest.approx(expected, rel=0.01)
    assert not last.bias.any()
    assert last.weight.std().item() == pytest.approx(linear_std or 0.01 * 2**0.5, rel=0.05)  # 512 of 1024 inputs


def test_linear_spread_at_the_papers_sizes():
    assert linear_spread(None, 32768, 32768) == linear_spread(None, 1024, 1024) == 0.01


def test_small_networks_have_a_hidden_layer_that_fires():
    """With the paper's 0.01 at 64 inputs the hidden layer never spikes, so nothing could be learned."""
    for linear_std, fires in ((None, True), (0.01, False)):
        config = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=8, hidden=64, linear_std=linear_std)
        network = build_network(SPACES["lightsnn"].uniform("conv3x3"), config)
        with record_spikes(network) as spikes:
            network(4 * torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
        assert bool(spikes["classifier.2"].any()) is fires


def test_forward_resets_the_state():
    network = firing_network(SPACES["lightsnn"].uniform("conv3x3"), 3)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    first = network(x)
    assert torch.equal(network(x), first)
    assert not torch.equal(network(x, reset=False), first)
    reset_state(network)
    assert torch.equal(network(x, reset=False), first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width must be a whole number of 1 or more, got 0"),
        ({"num_steps": -1}, "num_steps must be a whole number of 1 or more, got -1"),
        ({"input_shape": (1, 2, 2)}, "is too small: pooling leaves"),
        ({"input_shape": (8, 8)}, r"input_shape is \(C, H, W\)"),
        ({"pool": "mean"}, "pool must be 'max' .* or 'avg'"),
        ({"tau": 0.5}, "need tau > 1"),
    ],
)
def test_config_errors_teach(settings, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**{**SMALL.__dict__, **settings})


def test_input_errors_teach():
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\] with .* = \(1, 8, 8\), got \(2, 3, 8, 8\)"):
        build_network("03 00", SMALL)(torch.rand(2, 3, 8, 8))
