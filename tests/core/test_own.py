"""Ops, neurons, scores and methods of your own: what they compute, worked out another way, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from lightsnn_kit import blocks, checks, figures
from lightsnn_kit.blocks import NEURONS, make_neuron, register_neuron
from lightsnn_kit.cells import Cell, Edge
from lightsnn_kit.checkpoints import load_network
from lightsnn_kit.data import Splits
from lightsnn_kit.energy import estimate_synops, measure_energy
from lightsnn_kit.evolution import Evolution, evolve
from lightsnn_kit.files import RunError
from lightsnn_kit.kernels import log_det, sahd_kernel
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.cell_measures import measure_cell
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.workshop import Workshop
from lightsnn_kit.methods import METHODS, Found, Method, Request, choose, num_weights, register_method
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.ops import OWN_OPS, Op, register_op, tie_rank
from lightsnn_kit.recording import record_potentials, record_spikes, scoring_mode
from lightsnn_kit.records import read_steps, step_record
from lightsnn_kit.scoring import PROXIES, Scorer, count_parameters, register_score
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask
from lightsnn_kit.training import TrainConfig, evaluate, fit
from lightsnn_kit.widgets.cell_graph import CellGraph
from lightsnn_kit.workers import score_in_processes

CONFIG = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=2, hidden=8, votes=2, num_steps=3, input_scale=4.0)
CELL = "|dw3x3~0|+|skip~0|dw3x3~1|"
IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def depthwise(channels: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def plif(config: NetworkConfig) -> neuron.ParametricLIFNode:
    settings = {"v_threshold": config.v_threshold, "surrogate_function": surrogate.ATan(), "detach_reset": True}
    return neuron.ParametricLIFNode(init_tau=config.tau, **settings)


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An op ``dw3x3``, and the neurons ``plif`` and ``if``; what is registered lasts for a test."""
    kept = [(registry, dict(registry)) for registry in (OWN_OPS, NEURONS, PROXIES, METHODS)]
    monkeypatch.setattr(checks, "_told", set())
    register_op("dw3x3", depthwise)
    register_neuron("plif", plif)
    register_neuron("if", lambda config: neuron.IFNode(config.v_threshold))
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


def quiet(network: nn.Module) -> nn.Module:
    """Nothing is told of it any more."""
    what = ("the plain engine scores, as the fast one does not know it.",)
    what += ("in training it is computed as you built it, without compiled loops.",)
    checks._told.update(f"{blocks.own_parts(network)}: {words}" for words in what)
    return network


# ---- an op: what it is called, and what it computes ------------------------------------------------------------------


def test_its_name_is_read_back_everywhere() -> None:
    op, cell = Op("dw3x3"), Cell.parse(CELL)
    assert (str(op), op.is_own, op.is_conv, Op.SKIP.is_own) == ("dw3x3", True, True, False)
    for again in (pickle.loads(pickle.dumps(op)), copy.deepcopy(op), Op(op)):
        assert again is op
    assert op not in list(Op)
    assert str(cell) == CELL
    assert Cell.parse(str(cell)) == pickle.loads(pickle.dumps(cell)) == cell
    assert (cell.num_convs, cell.conv_path_lengths()) == (2, (0, 2))
    assert cell.matrix_text() == ""
    space = CellSpace(("zeroize", "skip", "conv3x3", "dw3x3"), 2)
    steps = tuple(prune_search(space, lambda mask: mask.num_conv_ops))
    assert read_steps([step_record(step) for step in steps], space=space) == steps


def test_ties_go_by_name_after_conv3x3_and_before_skip() -> None:
    register_op("blur", lambda channels: nn.AvgPool2d(5, 1, 2), spiking=False)
    space = CellSpace(("skip", "dw3x3", "conv3x3", "blur", "zeroize"), 2, backward=False)
    pruned = [step.pruned[0].op for step in prune_search(space, lambda mask: 0.0)]
    assert [str(op) for op in pruned] == ["zeroize", "conv3x3", "blur", "dw3x3"]
    assert sorted(space.ops, key=tie_rank) == [*pruned, Op.SKIP]
    assert not Op("blur").is_conv


def test_it_computes_a_depthwise_convolution_of_spikes() -> None:
    network = build_network("|dw3x3~0|", CONFIG).eval()
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    found, _ = network.cell1(x, None)
    spikes = (x / CONFIG.tau >= 1).double()
    weight = network.cell1.ops["1<-0"].body[0].weight.double()  # [C, 1, 3, 3]
    padded = nn.functional.pad(spikes, (1, 1, 1, 1))
    taps = ((dy, dx) for dy in range(3) for dx in range(3))
    wanted = sum(padded[:, :, y : y + 8, x : x + 8] * weight[:, 0, y, x, None, None] for y, x in taps)
    assert spikes.sum() > 20
    assert (found - wanted / math.sqrt(1 + 1e-5)).abs().max() < 1e-5  # BN at its start: mean 0, variance 1


def test_parameters_by_hand() -> None:
    """9 weights, gain and bias per channel: 11·2 in cell 1 and 11·4 in cell 2 for each edge."""
    bare = build_network("|skip~0|+|skip~0|skip~1|", CONFIG).num_parameters
    assert build_network(CELL, CONFIG).num_parameters == bare + 2 * 66
    space = CellSpace(("zeroize", "skip", "conv3x3", "dw3x3"), 3, backward=False)
    supernet = build_supernet(space, CONFIG)
    assert count_parameters(supernet, OpMask.from_cell(Cell.parse(CELL), space)) == bare + 2 * 66
    full = 3 * (66 + 9 * (4 + 16) + 2 * 6)  # both convolutions on three edges
    assert supernet.num_parameters == bare + full


@pytest.mark.parametrize("init", ["stock", "lattice"])
def test_a_copy_of_conv3x3_is_conv3x3(init: str) -> None:
    """The same module under a name of yours: the same logits, and of real weights the same score, to the bit."""
    register_op(
        "mine", lambda c: nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)), replace=True
    )
    cell = Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|/|skip~1|conv3x3~2|+|zeroize~2|")
    twin = Cell.parse(str(cell).replace("conv3x3", "mine"))
    logits = []
    for network in (build_network(one, CONFIG) for one in (cell, twin)):
        with torch.no_grad(), scoring_mode(network, "batch"):
            logits.append(network(IMAGES))
    assert torch.equal(*logits)
    assert logits[0].std() > 0
    scores = []
    for one in (cell, twin):
        space = CellSpace(("zeroize", "skip", max(one.ops, key=lambda op: op.is_conv)), 3)
        supernet = quiet(build_supernet(space, CONFIG, init=init))
        scores.append(Scorer(supernet=supernet, batches=(IMAGES,))(OpMask.from_cell(one, space)))
    assert math.isfinite(scores[0])
    assert (scores[0] == scores[1]) == (init == "stock")  # on the lattice yours keeps its real weights


def test_its_score_by_another_way_and_every_decision_of_a_search() -> None:
    space = CellSpace(("zeroize", "skip", "conv3x3", "dw3x3"), 2, backward=False)
    supernet = quiet(build_supernet(space, CONFIG))
    score = Scorer(supernet=supernet, batches=(IMAGES,))

    def by_hand(mask: OpMask) -> float:
        with torch.no_grad(), scoring_mode(supernet, "batch"), record_spikes(supernet) as spikes:
            supernet(IMAGES, mask=mask)
        kernels = [sahd_kernel(step.flatten(1)) for record in spikes.values() for step in record]
        convs = sum(op.is_conv for ops in mask.alive for op in ops)
        assert len(kernels) == CONFIG.num_steps * (2 * convs + 3)  # its LIF layers count, in both cells
        return log_det(sum(kernels) / len(kernels))

    mask, order = space.full_mask(), list(map(Op, ("zeroize", "conv3x3", "dw3x3", "skip")))
    for step in prune_search(space, score, keep_path=False):
        wanted = {op: by_hand(mask.without(Edge(1, 0), op)) for op in mask.alive[0]}
        assert {op: value for _, op, value in step.scores} == pytest.approx(wanted, abs=1e-9)
        (decision,) = step.pruned
        assert decision.op == max(wanted, key=lambda op: (wanted[op], -order.index(op)))
        mask = step.mask
    assert step.round == 3


def test_what_it_draws_comes_from_the_seed() -> None:
    class Noise(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.randn(channels, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gain

    register_op("noise", Noise, spiking=False)
    before = torch.get_rng_state()
    one, same, other = (build_network("|noise~0|", CONFIG, seed=seed).cell1.ops["1<-0"].body.gain for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_operations_are_counted_where_they_can_be() -> None:
    """A spike has as many targets as pixels around it, in its own channel; after the first layer values are real."""
    register_op("two", lambda c: nn.Sequential(*depthwise(c), nn.Conv2d(c, c, 1, bias=False)))
    register_op("bare", depthwise, spiking=False)
    network = build_network("|two~0|+|bare~0|bare~1|", CONFIG).eval()
    with record_spikes(network) as spikes:
        network(IMAGES)
    report = measure_energy(network, IMAGES)
    rows = {row.name: row for row in report.layers}
    reach = torch.tensor([2.0] + [3.0] * 6 + [2.0])
    targets = (spikes["cell1.lif.0"] * reach.outer(reach)).sum().item() / 6
    assert targets > 10
    first, second, bare = (rows[f"cell1.ops.{name}"] for name in ("1<-0.body.0", "1<-0.body.2", "2<-0.body.0"))
    assert (first.synops, first.macs) == (pytest.approx(targets), 0)
    assert (second.synops, second.macs) == (0, 3 * 64 * 2 * 2)
    assert (bare.synops, bare.macs) == (0, 3 * 64 * 2 * 9)
    assert report.macs == sum(row.macs for row in report.layers)
    assert "an op of your own" in report.assumptions[-1]


# ---- an op: what cannot follow says so -------------------------------------------------------------------------------


def test_the_plain_engine_scores_and_says_so_once() -> None:
    space = CellSpace(("skip", "dw3x3"), 2, backward=False)
    supernet = build_supernet(space, CONFIG)
    score = Scorer(supernet=supernet, batches=(IMAGES,))
    with pytest.warns(UserWarning, match="the op 'dw3x3': the plain engine scores"):
        score(space.full_mask())
    assert (
        Scorer(supernet=supernet, batches=(IMAGES,)).engine_used == score.engine_used == "plain"
    )  # errors if told again
    with pytest.raises(ValueError, match="the fast engine does not know the op 'dw3x3'; use engine='plain'"):
        Scorer(supernet=supernet, batches=(IMAGES,), engine="fast")
    alone = build_supernet(CellSpace(("skip", "conv3x3"), 2), replace(CONFIG, neuron="if"))
    with pytest.warns(UserWarning, match="the neuron 'if': the plain engine scores"):
        assert Scorer(supernet=alone, batches=(IMAGES,)).engine_used == "plain"
    with (
        pytest.raises(ValueError, match="worker processes do not know the op 'dw3x3'"),
        score_in_processes(score, workers=1),
    ):
        pass


def test_what_needs_to_know_more_of_an_op_is_refused(tmp_path: Path) -> None:
    space, cell = CellSpace(("zeroize", "skip", "dw3x3"), 2, backward=False), Cell.parse("|dw3x3~0|")
    rng, score = np.random.default_rng(0), lambda mask: 0.0
    assert math.isnan(num_weights(OpMask.from_cell(cell)))
    assert num_weights(OpMask.from_cell(Cell.parse("|conv3x3~0|"))) == 9
    assert len(list(evolve(space, score, Evolution(keep_path=False), budget=3, rng=rng))) == 3
    questions = {
        "the number of weights of 'dw3x3', an op of your own": lambda: choose("most-parameters", space),
        "the number of weights of 'dw3x3'": lambda: choose("nsga2", space, score=score, budget=3),
        "the fan-out of 'dw3x3'": lambda: estimate_synops(CONFIG, cell, {}),
        "dw3x3 on edge 1<-0 has no SNASNet code": cell.to_matrix,
    }
    for message, ask in questions.items():
        with pytest.raises(ValueError, match=message):
            ask()
    with pytest.raises(RunError, match="does not know your op 'dw3x3'; train it by fit"):
        Workshop("digits", folder=tmp_path).start(cell)


def test_names_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown op 'dw'; expected one of zeroize, .*dw3x3, or register_op\(\) it"):
        Cell.parse("|dw~0|")
    with pytest.raises(
        ValueError, match=r"unknown neuron 'plf'; .*register_neuron\(\) it in this process\. Did you mean 'p"
    ):
        replace(CONFIG, neuron="plf")
    refused = {
        "the op 'dw3x3' exists already; choose another name, or pass replace=True": lambda: register_op(
            "dw3x3", depthwise
        ),
        "the op 'conv3x3' is the kit's own": lambda: register_op("conv3x3", depthwise, replace=True),
        "the neuron 'lif' is the kit's own": lambda: register_neuron("lif", plif, replace=True),
        "the neuron 'plif' exists already": lambda: register_neuron("plif", plif),
        "the score 'sahd' is the kit's own": lambda: register_score("sahd", lambda scorer, mask: 0.0, replace=True),
        "the method 'random' is the kit's own": lambda: register_method("random", METHODS["swap"], replace=True),
        r"begins with a letter; got 'a\|b~0'": lambda: register_op("a|b~0", depthwise),
        "got '3x3'": lambda: register_neuron("3x3", plif),
    }
    for message, ask in refused.items():
        with pytest.raises(ValueError, match=message):
            ask()
    for ask in (
        lambda: register_op("mine", None),
        lambda: register_method("mine", lambda request: Found(Cell.parse("|skip~0|"))),
        lambda: register_score(7, lambda scorer, mask: 0.0),
    ):
        with pytest.raises(TypeError, match="expected a"):
            ask()


def test_replacing_keeps_the_op_and_takes_the_new_module() -> None:
    before = Op("dw3x3")
    assert register_op("dw3x3", lambda channels: nn.Identity(), spiking=False, replace=True) is before
    assert not before.is_conv
    assert isinstance(build_network("|dw3x3~0|", CONFIG).cell1.ops["1<-0"].body, nn.Identity)


def test_a_layer_begins_at_rest_after_it_was_tried_out() -> None:
    """With as many neurons as are tried: spikingjelly begins anew by itself where their number changes."""
    layer = make_neuron(replace(CONFIG, neuron="if"))
    assert layer(torch.full((9,), 0.25)).sum() == 0
    assert layer.v.tolist() == [0.25] * 9


def test_builds_that_break_their_terms() -> None:
    register_op("halves", lambda c: nn.MaxPool2d(2), spiking=False)
    register_op("nothing", lambda c: None)
    with pytest.raises(
        ValueError, match=r"the op 'halves' made \(6, 2, 4, 4\) of \(6, 2, 8, 8\); an op keeps the shape"
    ):
        build_network("|halves~0|", CONFIG)(IMAGES)
    with pytest.raises(TypeError, match="the op 'nothing' is built as a NoneType; build must return a Module"):
        build_network("|nothing~0|", CONFIG)
    register_neuron("relu", lambda config: nn.ReLU())
    register_neuron("several", lambda config: neuron.IFNode(step_mode="m"))
    register_neuron("graded", lambda config: neuron.TernaryIFNode())
    for name, error in (("relu", TypeError), ("several", TypeError), ("graded", ValueError)):
        with pytest.raises(error, match=f"the neuron '{name}'"):
            make_neuron(replace(CONFIG, neuron=name))


# ---- a neuron --------------------------------------------------------------------------------------------------------


def test_lif_is_what_it_was() -> None:
    assert CONFIG.neuron == "lif"
    assert type(make_neuron(CONFIG)).__name__ == "LIF"
    assert (make_neuron(CONFIG).tau, blocks.own_parts(build_network("|skip~0|", CONFIG))) == (4 / 3, "")


def test_an_if_neuron_by_hand() -> None:
    layer = make_neuron(replace(CONFIG, neuron="if"))
    drive = torch.tensor([0.4, 0.0, 1.5])
    assert [layer(drive).tolist() for _ in range(5)] == [[0, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("if", lambda: neuron.IFNode(1.0)),
        ("plif", lambda: plif(CONFIG)),
        ("izhikevich", lambda: neuron.IzhikevichNode()),
    ],
)
def test_every_layer_is_spikingjellys_step_by_step(name: str, make) -> None:
    register_neuron("izhikevich", lambda config: neuron.IzhikevichNode())
    network = build_network("|conv3x3~0|+|conv3x3~0|conv3x3~1|", replace(CONFIG, neuron=name)).eval()
    drives: dict[str, list[Tensor]] = {}
    layers = {name: module for name, module in network.named_modules() if isinstance(module, neuron.BaseNode)}
    assert sorted(layers) == [
        "cell1.lif.0",
        "cell1.lif.1",
        "cell2.lif.0",
        "cell2.lif.1",
        "classifier.2",
        "down.1",
        "last.1",
    ]
    for layer, module in layers.items():
        module.register_forward_pre_hook(lambda _, args, at=layer: drives.setdefault(at, []).append(args[0].clone()))
    with torch.no_grad(), record_potentials(network) as potentials, record_spikes(network) as spikes:
        network(IMAGES * 3)
    for layer, steps in drives.items():
        theirs = make()
        with torch.no_grad():
            assert torch.equal(torch.stack([theirs(x) for x in steps]), spikes[layer].float())
        fired = potentials[layer] >= theirs.v_threshold
        assert torch.equal(fired, spikes[layer].bool())
    assert name == "izhikevich" or spikes["cell1.lif.0"].float().mean() > 0.05


def test_a_learnable_constant_counts_once_for_each_node() -> None:
    """Two convolutions read node 0: one layer; and three layers outside of the cells."""
    config, cell = replace(CONFIG, neuron="plif"), Cell.parse("|conv3x3~0|+|conv3x3~0|conv3x3~1|")
    plain = build_network(cell, CONFIG).num_parameters
    assert build_network(cell, config).num_parameters == plain + 2 * 2 + 3
    space = CellSpace(("zeroize", "skip", "conv3x3", "dw3x3"), 3, backward=False)
    supernet = build_supernet(space, config)
    for one in (cell, Cell.parse(CELL), Cell.parse("|dw3x3~0|+|conv3x3~0|zeroize~1|").live_part()):
        assert count_parameters(supernet, OpMask.from_cell(one, space)) == build_network(one, config).num_parameters


# ---- both, trained ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splits() -> Splits:
    return presets.get("digits").changed(per_class=4).load(seed=0)


def test_training_checkpoints_and_exact_resume(splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"width": 2, "hidden": 32, "num_steps": 2, "votes": 1, "neuron": "plif"}
    config = NetworkConfig(**sizes, **splits.network_settings())
    train = TrainConfig(epochs=2, batch_size=20, learning_rate=0.2)

    def network() -> nn.Module:
        return build_network(CELL, config, seed=5)

    trained = network()
    with pytest.warns(UserWarning, match="the op 'dw3x3', the neuron 'plif': in training it is computed as you built"):
        whole = list(fit(trained, splits, train, folder=tmp_path / "whole"))
    next(fit(network(), splits, train, folder=tmp_path / "cut"))
    resumed = network()
    again = list(fit(resumed, splits, train, folder=tmp_path / "cut"))
    assert [replace(one, seconds=0) for one in again] == [replace(one, seconds=0) for one in whole]
    assert all(torch.equal(one, trained.state_dict()[name]) for name, one in resumed.state_dict().items())
    moved = trained.cell1.lif["0"].w - network().cell1.lif["0"].w
    assert moved.abs() > 1e-4  # the time constant has learnt
    kernel = "cell1.ops.1<-0.body.0.weight"
    assert not torch.equal(trained.state_dict()[kernel], network().state_dict()[kernel])
    loaded = load_network(tmp_path / "whole" / "last.pt")
    assert torch.equal(loaded(splits.test.x), trained.eval()(splits.test.x))
    assert evaluate(loaded, splits.test) == evaluate(trained, splits.test)
    for registry, name, how in ((NEURONS, "plif", "register_neuron"), (OWN_OPS, "dw3x3", "register_op")):
        with monkeypatch.context() as without:
            without.delitem(registry, name)
            with pytest.raises(
                ValueError, match=rf"last.pt was trained with what is not known here: .*{name}.*{how}\(\)"
            ):
                load_network(tmp_path / "whole" / "last.pt")


def test_run_folders_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"width": 2, "hidden": 16, "num_steps": 2, "votes": 1, "neuron": "if"}
    preset = presets.get("digits").changed(
        per_class=2, network=network, train={"epochs": 1, "batch_size": 10, "frozen_norm_epochs": 0}
    )
    quiet(build_network(CELL, replace(CONFIG, neuron="if")))
    monkeypatch.setitem(SPACES, "mine", CellSpace(("zeroize", "skip", "dw3x3"), 3, backward=False))
    preset = preset.changed(space="mine")
    row = Experiment.open(tmp_path / "run", preset).row("mine", 0, cell=CELL)
    assert len(list(row.train())) == 1
    again = Experiment.open(tmp_path / "run")
    assert again.preset.network["neuron"] == "if"
    assert again.preset.cell_space.size == 27
    assert [one.stage.settings["cell"] for one in again.rows()] == [CELL]
    assert again.rows()[0].trained().config.neuron == "if"
    del OWN_OPS["dw3x3"]
    with pytest.raises(RunError, match=r"unknown op 'dw3x3'; .*register_op\(\) it"):
        Experiment.open(tmp_path / "run").rows()


def test_figures_and_widgets_show_them(tmp_path: Path) -> None:
    space, cell = CellSpace(("zeroize", "skip", "conv3x3", "dw3x3"), 3, backward=False), Cell.parse(CELL)
    graph = CellGraph(cell, space=space)
    assert [(one["op"], one["glyph"]) for one in graph.palette][-1] == ("dw3x3", "★")
    assert len({one["colour"] for one in graph.palette}) == 4
    graph.close()
    assert figures.cell_graph(cell).layout.title.text.count("Cell: 1 skip, 2 dw3x3") == 1
    steps = list(prune_search(space, lambda mask: mask.num_conv_ops))
    assert {trace.name for trace in figures.prune_trace(steps).data} >= set(map(str, space.ops))
    assert figures.cell_unrolled(cell).data[0].name == "1<-0 dw3x3, step t"
    score = Scorer(supernet=quiet(build_supernet(space, CONFIG)), batches=(IMAGES,))
    found = measure_cell(cell, space, score)
    assert (found.parameters, found.synops) == (build_network(cell, CONFIG).num_parameters, None)
    assert found.sahd == score(OpMask.from_cell(cell, space))


# ---- a score, a way to search ----------------------------------------------------------------------------------------


def test_a_score_by_name() -> None:
    register_score("quiet", lambda scorer, mask: -PROXIES["firing_rate"](scorer, mask))
    space = CellSpace(("zeroize", "skip", "conv3x3"), 2)
    settings = {"supernet": build_supernet(space, CONFIG), "batches": (IMAGES,)}
    score, rate = (Scorer(**settings, engine="plain", proxy=name) for name in ("quiet", "firing_rate"))
    mask = space.uniform("conv3x3")
    mask = OpMask.from_cell(mask, space)
    assert score(mask) == -rate(mask) < 0
    assert score.with_synops(mask)[0] == score(mask)
    assert presets.get("digits").changed(scoring={"proxy": "quiet"}).to_dict()["scoring"] == asdict(score.config) | {
        "engine": "auto",
        "num_batches": 2,
    }


def test_a_method_by_name() -> None:
    def climb(request: Request) -> Found:
        """From a random cell, one op changed at a time; a change that does not lower the score is kept."""
        cell = request.space.sample(request.rng)
        score, taken = request.score_of(cell), 1
        while taken < request.budget:
            edge = cell.edges[request.rng.integers(len(cell.edges))]
            other = cell.replace(edge, request.space.ops[request.rng.integers(len(request.space.ops))])
            value, taken = request.score_of(other), taken + 1
            cell, score = (other, value) if value >= score else (cell, score)
        return Found(cell, score, taken)

    register_method("climb", Method(climb, "hill climbing", scores=True))
    space = CellSpace(("zeroize", "skip", "dw3x3"))
    chosen, again = (choose("climb", space, score=lambda m: m.num_conv_ops, budget=60, seed=3) for _ in range(2))
    assert chosen.cell == again.cell
    assert (chosen.evaluations, chosen.score) == (60, sum(op == "dw3x3" for op in chosen.cell.ops))
    assert chosen.score >= 10
    with pytest.raises(
        ValueError, match=r"unknown method 'clim'; .*register_method\(\) it in this process\. Did you mean 'c"
    ):
        choose("clim", space)
