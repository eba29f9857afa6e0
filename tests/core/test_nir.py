"""Exported networks: spikingjelly's and snntorch's readers of NIR give the kit's outputs, step by step."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nir
import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.nir_exchange import import_from_nir
from torch import Tensor

from lightsnn_kit.__main__ import main
from lightsnn_kit.cells import Cell, Edge, Op
from lightsnn_kit.data import Splits, load
from lightsnn_kit.files import RunExistsError
from lightsnn_kit.lab import commands
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network, build_supernet
from lightsnn_kit.nir_export import to_nir, write_nir
from lightsnn_kit.recording import record_potentials, record_spikes
from lightsnn_kit.training import TrainConfig, fit

ALL_OPS = "0113 0014 0002 0000"  # 2<-0 and 2<-1 carry the same value, so node 2 is twice the input
DIGITS = load("digits")
X, Y = DIGITS.train.x[:160], DIGITS.train.y[:160]
FEW = Splits.from_tensors(name="few digits", train=(X, Y), val=(X[:40], Y[:40]), test=(X[:40], Y[:40]))
SIZES = {"width": 4, "hidden": 24, "num_steps": 4, "pool": "avg", "linear_std": 0.3}
SIZES |= {"v_threshold": 0.5}  # all layers fire after two epochs
CONFIG = NetworkConfig(**SIZES, **FEW.network_settings())
PARTS = {"down.0": "down_norm", "down.3": "down_conv", "last.0": "last_norm"}  # in the kit: in the graph
ODD = {"input_shape": (3, 9, 7), "num_classes": 3, "votes": 3, "input_centre": (0.5, -0.25, 0.0), "input_scale": 1.7}
ODD |= {"tau": 2.5, "v_threshold": 0.7, "last_pool": 1}  # nothing as it is by default


@pytest.fixture(scope="module")
def trained() -> SpikingNetwork:
    """A cell with all four ops, trained on a few digits."""
    network = build_network(ALL_OPS, CONFIG, seed=0)
    list(fit(network, FEW, TrainConfig(epochs=2, batch_size=16, learning_rate=0.1)))
    return network.eval()


def shaken(cell: Cell | str, config: NetworkConfig) -> SpikingNetwork:
    """A network in double precision with weights and statistics moved at random, as no training would leave them."""
    network = build_network(cell, config, seed=1).double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                value.copy_(0.3 + noise)
            elif value.is_floating_point():
                value.add_(0.4 * (noise - 0.5))
    return network


def outputs(network: SpikingNetwork, x: Tensor) -> list[Tensor]:
    """The kit's logits [N, classes] of each step."""
    found: list[Tensor] = []
    votes = (len(x), network.config.num_classes, network.config.votes)
    hook = network.classifier[-1].register_forward_hook(lambda _, args, y: found.append(y.view(votes).mean(2)))
    with torch.no_grad():
        answer = network(x)
    hook.remove()
    assert torch.allclose(sum(found) / len(found), answer, atol=1e-6)
    return found


@contextlib.contextmanager
def watched(module: torch.nn.Module, names: Iterable[str]) -> Iterator[list[Tensor]]:
    """What these parts put out in the block, in order."""
    found: list[Tensor] = []
    parts = [module.get_submodule(name) for name in names]
    hooks = [part.register_forward_hook(lambda _, __, y: found.append(y)) for part in parts]
    yield found
    for hook in hooks:
        hook.remove()


def read_by_spikingjelly(graph: nir.NIRGraph, x: Tensor, num_steps: int, seen: list | None = None) -> list[Tensor]:
    """The outputs of each step; ``seen`` gets what the parts of ``PARTS`` put out."""
    module, state, found = import_from_nir(graph, dtype=x.dtype), None, []
    with torch.no_grad(), watched(module, PARTS.values()) as inside:
        for _ in range(num_steps):
            y, state = module(x, state)
            found.append(y)
    if seen is not None:
        seen += inside
    return found


def read_by_snntorch(graph: nir.NIRGraph, x: Tensor, num_steps: int) -> list[Tensor]:
    """One image at a time: its reader counts the batch as a dimension when it flattens."""
    from snntorch.import_nir import import_from_nir as imported

    found = []
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # it tells how it scales thresholds
        module = imported(graph)
        for one in x:
            for layer in module.modules():
                if isinstance(layer, snntorch.Leaky):
                    layer.reset_mem()
            found.append(torch.stack([module(one[None])[0].flatten() for _ in range(num_steps)]))
    return list(torch.stack(found, 1))


def furthest(got: list[Tensor], want: list[Tensor]) -> float:
    assert len(got) == len(want)
    return max(float((a - b).abs().max()) for a, b in zip(got, want, strict=True))


# ---- the same values -------------------------------------------------------------------------------------------------


def test_a_trained_cell_gives_the_same_outputs_after_a_round_trip(trained: SpikingNetwork, tmp_path: Path) -> None:
    network, x = copy.deepcopy(trained).double(), DIGITS.test.x[:20].double()
    with record_spikes(network) as spikes:
        want = outputs(network, x)
    assert all(0.01 < spike.float().mean() < 0.9 for spike in spikes.values())  # no layer is out of play
    assert furthest(want[1:], want[:-1]) > 0.1  # nor one step like the other
    graph = nir.read(write_nir(network, tmp_path / "trained.nir"))
    assert furthest(read_by_spikingjelly(graph, x, CONFIG.num_steps), want) < 1e-12


def test_snntorch_gives_the_same_outputs(trained: SpikingNetwork, tmp_path: Path) -> None:
    """In single precision, for images in which no potential is so near the threshold that rounding could decide."""
    x = DIGITS.test.x[:12].float()
    with record_potentials(trained) as potentials, torch.no_grad():
        trained(x)
    margins = torch.stack(
        [(v - CONFIG.v_threshold).abs().transpose(0, 1).flatten(1).amin(1) for v in potentials.values()]
    ).amin(0)
    x = x[margins > 1e-5]
    assert len(x) >= 6
    graph = nir.read(write_nir(trained, tmp_path / "trained.nir"))
    got = read_by_snntorch(graph, x, CONFIG.num_steps)
    assert furthest(got, outputs(trained, x)) < 1e-5


@pytest.mark.parametrize(
    "cell",
    [
        ALL_OPS,
        "0111 0011 0001 0000",  # skips alone: the output is four times the input
        "0003 0003 0003 0000",  # nodes 1 and 2 get nothing, and their convolutions emit a bias
        "0300 0030 0000 0000",  # nothing reaches the output
        "03 00",
    ],
)
def test_any_forward_cell_with_any_settings(cell: str) -> None:
    network = shaken(cell, NetworkConfig(**SIZES | ODD))
    x = 3 * torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    graph = to_nir(network)
    assert (len(graph.inputs), len(graph.outputs)) == (1, 1)  # nir adds some where a node hangs loose
    inside: list[Tensor] = []
    got = read_by_spikingjelly(graph, x, 4, inside)
    with watched(network, PARTS) as wanted:
        assert furthest(got, outputs(network, x)) < 1e-11
    assert furthest(inside, wanted) < 1e-11  # sums that spikes round off: outputs alone would hide a wrong digit


def test_two_skips_are_two() -> None:
    """x_1 = x_0 and x_2 = x_0 + x_1: by plain edges the input would enter node 2 once."""
    graph = to_nir(shaken("0110 0010 0001 0000", CONFIG))
    into = [source for source, target in graph.edges if target == "cell1_skip_3_2"]
    assert sorted(into) == ["cell1_skip_2_0", "cell1_skip_2_1"]
    assert len(set(graph.edges)) == len(graph.edges)
    assert np.array_equal(graph.nodes["cell1_skip_2_0"].weight[:, :, 0, 0], np.eye(4))


def test_a_potential_at_the_threshold_spikes(trained: SpikingNetwork) -> None:
    node = to_nir(trained).nodes["hidden_lif"]
    (threshold,) = np.unique(node.v_threshold)
    assert threshold < CONFIG.v_threshold  # NIR: v > threshold
    assert np.nextafter(np.float32(threshold), np.float32(2)) == CONFIG.v_threshold  # and no number lies between


def test_the_step_and_what_is_told(trained: SpikingNetwork, tmp_path: Path) -> None:
    graph = nir.read(write_nir(trained, tmp_path / "slow.nir", dt=1e-3))
    assert np.unique(graph.nodes["down_lif"].tau) == pytest.approx([4e-3 / 3], rel=1e-12)
    assert (graph.metadata["dt"], graph.metadata["num_steps"]) == (1e-3, 4)
    assert Cell.parse(graph.metadata["cell"]) == trained.design
    assert "mean" in graph.metadata["readout"]


# ---- refused ---------------------------------------------------------------------------------------------------------


def own_neuron() -> SpikingNetwork:
    network = shaken("03 00", CONFIG)
    network.down[1] = neuron.IFNode()
    return network


def lost() -> SpikingNetwork:
    network = shaken("03 00", CONFIG)
    network.stem[0].weight.data[0] = float("nan")
    return network


EVENTS = NetworkConfig(**SIZES, input_shape=(2, 16, 16), num_classes=2, events=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_supernet("lightsnn", CONFIG), "supernet.*choose a cell"),
        (lambda: build_network("03 00", CONFIG), "never trained.*fit"),
        (lambda: shaken("0303 0030 2002 0200", CONFIG), "feeds back over 0<-2, 1<-3: .*forward_part"),
        (lambda: shaken(Cell.parse("|maxpool3x3~0|"), CONFIG), "no max pooling, which the cell has; put avgpool3x3"),
        (lambda: shaken("03 00", NetworkConfig(**SIZES | {"pool": "max"}, **FEW.network_settings())), 'pool="avg"'),
        (lambda: shaken("03 00", EVENTS), "no max pooling, which networks of event data have"),
        (own_neuron, "only the kit's LIF layers .* IFNode"),
        (lost, "stem.0.weight of the network holds NaN"),
        (lambda: torch.nn.Flatten(), "expected a network of build_network"),
    ],
)
def test_what_cannot_be_written_is_refused(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_nir(make())


def test_feedback_that_reaches_nothing_is_no_feedback() -> None:
    """Node 1 reaches the output in neither cell, so what is fed back to it changes nothing."""
    cell = Cell.parse("003 000 010")
    assert cell.op(Edge(1, 2)) is Op.SKIP
    assert to_nir(shaken(cell, CONFIG)).nodes.keys() == to_nir(shaken(cell.forward_part(), CONFIG)).nodes.keys()


def test_files_are_not_overwritten(trained: SpikingNetwork, tmp_path: Path) -> None:
    path = write_nir(trained, tmp_path / "mine.nir")
    before = path.read_bytes()
    with pytest.raises(RunExistsError, match=r"mine\.nir exists; choose another name"):
        write_nir(trained, path, dt=1e-3)
    assert path.read_bytes() == before
    assert nir.read(write_nir(trained, path, dt=1e-3, replace=True)).metadata["dt"] == 1e-3
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_writes_each_row_it_can(
    trained: SpikingNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def row(name: str, network: SpikingNetwork) -> SimpleNamespace:
        return SimpleNamespace(name=name, trained=lambda: network, stage=SimpleNamespace(path=tmp_path / name))

    rows = [row("good/seed0", trained), row("odd/seed0", build_network("03 00", CONFIG))]
    monkeypatch.setattr(commands, "_trained", lambda run: [one for one in rows if one.name.startswith(run)])
    assert main(["export", "--run", ""]) == 0
    assert "odd/seed0: not written: the network was never trained" in capsys.readouterr().out
    assert nir.read(tmp_path / "good/seed0/network.nir").metadata["num_steps"] == 4
    assert main(["export", "--run", "odd"]) != 0
    assert "never trained" in capsys.readouterr().err


def test_without_the_package(trained: SpikingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"needs the package nir.*pip install"):
        to_nir(trained)
