"""Kernels worked out by hand, the closed form, and a scorer without memory or leaks."""

import dataclasses
import gc
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based.neuron import BaseNode

from lightsnn_kit.cells import Cell
from lightsnn_kit.kernels import distinct_columns, hamming, log_det, sahd_kernel
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.recording import record_spikes, scoring_mode, spike_statistics
from lightsnn_kit.scoring import PROXIES, Scorer, ScoringConfig, count_parameters, measure, spiking_layers
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask

LIGHTSNN = SPACES["lightsnn"]
CONFIG = NetworkConfig(input_shape=(1, 8, 8), num_classes=3, width=8, hidden=64, votes=2, num_steps=4, input_scale=4.0)


def images(seed: int, count: int = 12) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def scorer(**settings) -> Scorer:
    batches = settings.pop("batches", (images(0), images(1)))
    return Scorer(supernet=build_supernet(settings.pop("space", LIGHTSNN), CONFIG, seed=0), batches=batches, **settings)


def test_sahd_kernel_by_hand():
    # N = 4; counts 2, 1, 0; hamming(0,1) = 1, (0,2) = 2, (1,2) = 1; chance n_i + n_j - 2 n_i n_j / N = 2, 2, 1
    spikes = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert hamming(spikes).tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    d01, d02, d12 = 0.5 * 1 / 2.001, 0.5 * 2 / 2.001, 0.5 * 1 / 1.001
    expected = torch.tensor([[4, 4 - d01, 4 - d02], [4 - d01, 4, 4 - d12], [4 - d02, 4 - d12, 4]], dtype=torch.float64)
    assert (sahd_kernel(spikes) - expected).abs().max() < 1e-12
    determinant = (
        4 * (16 - (4 - d12) ** 2)
        - (4 - d01) * ((4 - d01) * 4 - (4 - d12) * (4 - d02))
        + (4 - d02) * ((4 - d01) * (4 - d12) - 4 * (4 - d02))
    )
    assert abs(log_det(sahd_kernel(spikes)) - math.log(determinant)) < 1e-9


def test_second_sahd_kernel_by_hand():
    # complementary patterns: hamming 3 = chance, so d = 0.5 * 3 / 3.001; det = 9 - (3 - d)^2 = d (6 - d)
    d = 1.5 / (3 * (2 / 3 * 2 / 3 + 1 / 3 * 1 / 3) + 1e-3)
    spikes = torch.tensor([[1, 0, 1], [0, 1, 0]])
    assert abs(log_det(sahd_kernel(spikes)) - math.log(d * (6 - d))) < 1e-9


@pytest.mark.parametrize(("silent_share", "rate"), [(0.0, 0.2), (0.25, 0.1), (0.5, 0.3)])
def test_closed_form_on_random_spikes(silent_share, rate):
    # d is close to 0.5 off the diagonal in slots that fire and 0 in silent ones: K = N - 0.5 f (1 - identity).
    batch, neurons, slots = 32, 4000, 20
    generator = torch.Generator().manual_seed(0)
    kernels = []
    for slot in range(slots):
        fires = slot >= silent_share * slots
        spikes = (torch.rand(batch, neurons, generator=generator) < rate * fires).int()
        kernels.append(sahd_kernel(spikes))
    closed = (batch - 1) * math.log(0.5 * (1 - silent_share)) + math.log(batch * neurons)
    assert abs(log_det(torch.stack(kernels).mean(0)) - closed) < 0.25


@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_kernel_properties(batch, neurons, seed):
    rng = np.random.default_rng(seed)
    spikes = torch.from_numpy(rng.integers(0, 2, (batch, neurons)))
    distance, kernel = hamming(spikes), sahd_kernel(spikes)
    assert distance.tolist() == [[int((a != b).sum()) for b in spikes] for a in spikes]
    assert torch.equal(kernel, kernel.T)
    assert (kernel.diagonal() == neurons).all()
    order = torch.from_numpy(rng.permutation(batch))
    assert torch.equal(sahd_kernel(spikes[order]), kernel[order][:, order])
    if len(np.unique(spikes.numpy(), axis=0)) < batch:
        assert log_det(kernel) == -math.inf


def test_distinct_columns_by_hand():
    # three samples, seven neurons: 110, 000, 110, 011, 000, 111, 011 are four different columns, silence among them
    spikes = torch.tensor([[1, 0, 1, 0, 0, 1, 0], [1, 0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 1, 1]])
    assert distinct_columns(spikes) == 4
    assert distinct_columns(torch.zeros(3, 7)) == 1  # nobody fires: one pattern
    assert distinct_columns(torch.ones(3, 1)) == 1
    assert distinct_columns(torch.tensor([[0, 1, 1]])) == 2  # of one sample there are two at most


@given(st.integers(1, 140), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31 - 1))
def test_distinct_columns_are_a_set(batch, neurons, kinds, seed):
    """Any number of samples, one word or several: as many as a set of tuples holds, in any order of both."""
    rng = np.random.default_rng(seed)
    spikes = rng.integers(0, 2, (batch, kinds))[:, rng.integers(0, kinds, neurons)]
    flipped = rng.integers(0, 2, (2, neurons)) * [[batch], [neurons]] // 2  # some columns differ in a single sample
    spikes[flipped[0], flipped[1]] ^= 1
    expected = len(set(zip(*spikes.tolist(), strict=True)))
    assert distinct_columns(torch.from_numpy(spikes)) == expected
    assert distinct_columns(torch.from_numpy(spikes[rng.permutation(batch)])) == expected
    assert distinct_columns(torch.from_numpy(spikes[:, rng.permutation(neurons)])) == expected


@pytest.mark.parametrize("batch", [1, 15, 16, 17, 48, 63, 64, 65, 127, 128, 129, 200])
def test_no_sample_is_lost(batch):
    """Columns that differ from silence, or from all samples firing, in one sample each."""
    one = torch.cat([torch.eye(batch, dtype=torch.int64), torch.zeros(batch, 1, dtype=torch.int64)], 1)
    assert distinct_columns(one) == distinct_columns(1 - one) == batch + 1
    assert distinct_columns(torch.cat([one, one.flip(1)], 1)) == batch + 1
    both = torch.cat([one, 1 - one], 1)
    assert distinct_columns(both) == len(set(map(tuple, both.T.tolist()))) == 2 * batch + 2 * (batch > 2)


@given(st.integers(1, 12), st.integers(0, 2**31 - 1))
def test_log_det_agrees_with_lapack(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    sign, expected = np.linalg.slogdet(matrix)
    if sign > 0:
        assert log_det(matrix) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert log_det(matrix) == -math.inf


@pytest.mark.parametrize(
    "matrix", [np.ones((3, 3)), np.zeros((2, 2)), [[1.0, 2.0], [2.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]]
)
def test_singular_and_negative_determinants_are_minus_infinity(matrix):
    assert log_det(np.array(matrix)) == -math.inf


def test_counted_layers():
    # one LIF per convolution of every edge in both cells, plus downsampling, last activation and hidden layer
    statistics = scorer().statistics(LIGHTSNN.full_mask())[0]
    assert len(statistics.by_layer()) == 27
    assert {d.shape for _, d in statistics.by_layer().values()} == {(4, 12, 12)}
    five = scorer(space=SPACES["snasnet"]).statistics(SPACES["snasnet"].full_mask())[0]
    assert len(five.by_layer()) == 2 * 12 * 2 + 3


def test_convolutions_on_edges_that_reach_nothing_are_counted():
    cell = LIGHTSNN.uniform("zeroize").replace(LIGHTSNN.edges[0], "conv3x3")  # 1<-0 alone: no path to the output
    assert len(scorer().statistics(OpMask.from_cell(cell, LIGHTSNN))[0].by_layer()) == 2 + 3


def test_dead_cell_scores_minus_infinity():
    for proxy in ("sahd", "hd"):
        assert scorer(proxy=proxy)(OpMask.from_cell(LIGHTSNN.uniform("zeroize"), LIGHTSNN)) == -math.inf


def test_score_is_the_log_determinant_of_the_mean_kernel_over_recorded_spikes():
    """The same score from ``record_spikes`` and a loop over pairs of samples, written out."""
    score, x = scorer(batches=(images(0),)), images(0)
    mask = LIGHTSNN.full_mask()
    with torch.no_grad(), scoring_mode(score.supernet, "batch"), record_spikes(score.supernet) as spikes:
        score.supernet(x, mask=mask)
    kernels = []
    for layer, t in itertools.product(spikes.values(), range(CONFIG.num_steps)):
        c = layer[t].flatten(1).double().numpy()
        n, rate = c.shape[1], c.mean(1)
        kernel = np.empty((len(c), len(c)))
        for i, j in itertools.product(range(len(c)), repeat=2):
            chance = n * (rate[i] * (1 - rate[j]) + (1 - rate[i]) * rate[j]) + 1e-3
            kernel[i, j] = n - 0.5 * (c[i] != c[j]).sum() / chance
        kernels.append(kernel)
    assert score(mask) == pytest.approx(np.linalg.slogdet(np.mean(kernels, axis=0))[1], abs=1e-8)


FEEDBACK = Cell.from_edges({(1, 0): "conv3x3", (2, 0): "conv3x3", (3, 1): "skip", (0, 2): "conv3x3"}, num_nodes=4)
TWO_WAYS = "|conv3x3~0|+|conv3x3~0|conv3x3~1|+|skip~0|zeroize~1|conv3x3~2|"
REACHES_NOTHING = "|conv3x3~0|+|conv3x3~0|conv3x3~1|+|skip~0|zeroize~1|zeroize~2|"  # of nodes 1 and 2


@pytest.mark.parametrize("cell", [TWO_WAYS, REACHES_NOTHING, str(FEEDBACK), str(LIGHTSNN.uniform("zeroize"))])
@pytest.mark.parametrize("bn", ["batch", "running"])
def test_swap_counts_every_neuron_of_the_built_network_once(cell, bn):
    """The built network with the supernet's weights and integer statistics, its columns counted with a set."""
    space = SPACES["lightsnn"]
    score, x = scorer(batches=(images(0),), proxy="swap", bn=bn), images(0)
    network = built_with_weights_of(score.supernet, Cell.parse(cell))
    with torch.no_grad(), scoring_mode(network, bn), record_spikes(network) as spikes:
        network(x)
    columns = [set(map(bytes, step.flatten(1).T.numpy())) for layer in spikes.values() for step in layer]
    mask = OpMask.from_cell(Cell.parse(cell), space)
    assert score(mask) == sum(map(len, columns))
    assert len(columns) == CONFIG.num_steps * len(spiking_layers(mask))
    assert sum(map(len, columns)) >= len(columns)  # a silent layer shows one pattern at every step


def built_with_weights_of(supernet, cell):
    """The discrete network whose layers are those that the supernet has for its ops, shared and not copied."""
    network = build_network(cell, CONFIG)
    for name in ("stem", "down", "last", "classifier"):
        setattr(network, name, getattr(supernet, name))
    for built, whole in ((network.cell1, supernet.cell1), (network.cell2, supernet.cell2)):
        for edge in cell.live_edges:
            if cell.op(edge).is_conv:
                conv, norm = whole.ops[f"{edge}:{cell.op(edge)}"][1:]
                built.ops[str(edge)] = Adding(conv, norm)
    return network


class Adding(torch.nn.Sequential):
    """The layers of an edge as a built cell calls them: the last adds the sum so far."""

    def __getitem__(self, index):
        layer = super().__getitem__(index)
        return layer if index == 0 else lambda x, total: layer(x) if total is None else total + layer(x)


def test_swap_of_a_supernet_takes_the_first_of_equal_layers():
    """Of a mask with all ops, too: one layer per node that feeds convolutions; mean over batches."""
    mask, found = LIGHTSNN.full_mask().without(LIGHTSNN.edges[0], "skip"), []
    for x in (images(0), images(1)):
        score = scorer(batches=(x,))
        with torch.no_grad(), scoring_mode(score.supernet, "batch"), record_spikes(score.supernet) as spikes:
            score.supernet(x, mask=mask)
        nodes = {(name.partition(".ops.")[0], name.partition("<-")[2][:1]): layer for name, layer in spikes.items()}
        assert len(nodes) == 2 * 4 + 3
        columns = [set(map(bytes, step.flatten(1).T.numpy())) for layer in nodes.values() for step in layer]
        found.append(sum(map(len, columns)))
        [statistics] = score.statistics(mask, patterns=True)
        assert statistics.distinct_columns(spiking_layers(mask)) == found[-1]
    assert scorer(proxy="swap")(mask) == sum(found) / 2
    assert found[0] != found[1]


def test_swap_without_feedback_is_that_of_the_forward_part():
    for bn in ("batch", "running"):
        masks = [OpMask.from_cell(cell, LIGHTSNN) for cell in (FEEDBACK, FEEDBACK.forward_part())]
        cut, forward = (scorer(proxy="swap", bn=bn, feedback=False)(mask) for mask in masks)
        assert cut == forward == scorer(proxy="swap", bn=bn)(masks[1]) < scorer(proxy="swap", bn=bn)(masks[0])


def test_a_dead_cell_has_few_patterns():
    """Nothing is −inf: each of the three layers behind it shows a pattern a step, and here no more than a few."""
    dead = OpMask.from_cell(LIGHTSNN.uniform("zeroize"), LIGHTSNN)
    found = scorer(proxy="swap", bn="running")(dead)
    assert found == 3 * CONFIG.num_steps
    assert scorer(proxy="swap")(OpMask.from_cell(LIGHTSNN.uniform("conv3x3"), LIGHTSNN)) > 10 * found


def test_score_ignores_the_order_of_samples():
    mask, order = LIGHTSNN.full_mask(), torch.randperm(12, generator=torch.Generator().manual_seed(5))
    for bn in ("running", "batch"):
        a, b = (scorer(batches=(x,), bn=bn)(mask) for x in (images(0), images(0)[order]))
        # with batch statistics the sums are in another order, and a neuron at its threshold may flip
        assert a == pytest.approx(b, abs=1e-9 if bn == "running" else 0.5)


def test_score_does_not_depend_on_what_was_scored_before():
    rng = np.random.default_rng(0)
    masks = [OpMask.from_cell(LIGHTSNN.sample(rng), LIGHTSNN) for _ in range(6)]
    masks += [LIGHTSNN.full_mask()]
    shared = scorer()
    forward = [shared(mask) for mask in masks]
    assert [shared(mask) for mask in reversed(masks)][::-1] == forward
    assert [scorer()(mask) for mask in masks] == forward
    assert len(set(forward)) > 4


def test_missing_reset_makes_scores_depend_on_history():
    published = scorer(reset=False)
    first, second = published(LIGHTSNN.full_mask()), published(LIGHTSNN.full_mask())
    assert first != second
    fresh = scorer(reset=False, batches=published.batches[:1])
    assert fresh(LIGHTSNN.full_mask()) == scorer(batches=published.batches[:1])(LIGHTSNN.full_mask())


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_sixty_scores_leave_no_hook_and_no_memory(engine):
    score = scorer(batches=(images(0, 6),), engine=engine)
    mask = LIGHTSNN.full_mask()
    for edge, op in mask.candidates():  # the fast engine keeps the packed weights of every group of edges it met
        score(mask.without(edge, op))
    buffers = {name: buffer.clone() for name, buffer in score.supernet.named_buffers()}
    counts = []
    for index, (edge, op) in enumerate(itertools.chain(mask.candidates(), mask.candidates()[:24])):
        score(mask.without(edge, op))
        if index % 20 == 19:
            score(mask)  # the same pass each time, so that the states left behind are the same
            gc.collect()
            counts.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
    assert len(set(counts)) == 1, counts  # memory flat: not one tensor more after 60 scores than after 20
    hooks = [len(m._forward_hooks) for m in score.supernet.modules()]
    assert sum(hooks) == 0
    assert any(isinstance(m, BaseNode) for m in score.supernet.modules())
    for name, buffer in score.supernet.named_buffers():
        assert torch.equal(buffer, buffers[name]), name  # running statistics untouched
    assert all(module.training for module in score.supernet.modules())


def test_hooks_are_removed_after_an_error():
    supernet = build_supernet(LIGHTSNN, CONFIG)
    with pytest.raises(RuntimeError, match="stop"), record_spikes(supernet):
        raise RuntimeError("stop")
    assert not any(m._forward_hooks for m in supernet.modules())


def test_feedback_off_is_the_published_behaviour():
    score = scorer(feedback=False)
    mask = LIGHTSNN.full_mask()
    before = score.statistics(mask)[0]
    assert len(before.by_layer()) == 27  # the backward LIFs stay counted
    for name, parameter in score.supernet.named_parameters():
        if any(f"{edge}:" in name for edge in LIGHTSNN.edges if edge.is_backward):
            parameter.data.mul_(-3)
    assert torch.equal(score.statistics(mask)[0].hamming, before.hamming)  # their values are never read
    backward = next(edge for edge in LIGHTSNN.edges if edge.is_backward)
    zeroize, skip = (score(mask.without(backward, op)) for op in ("zeroize", "skip"))
    assert zeroize == skip  # bit for bit


def test_bn_on_running_statistics_kills_activity():
    config = dataclasses.replace(CONFIG, input_scale=1.0)
    for init in ("lattice", "stock"):
        supernet = build_supernet(LIGHTSNN, config, init=init)
        batch, running = (
            spike_statistics(supernet, LIGHTSNN.full_mask(), images(0), bn=bn).firing_rate
            for bn in ("batch", "running")
        )
        assert batch["last.1"].mean() > 0.1  # the last activation
        assert running["last.1"].max() < 0.01


def test_structural_proxies_count_by_hand():
    mask = LIGHTSNN.full_mask()
    cell = LIGHTSNN.uniform("skip").replace(LIGHTSNN.edges[0], "conv3x3")
    one = OpMask.from_cell(cell, LIGHTSNN)
    assert (scorer(proxy="convs")(mask), scorer(proxy="convs")(one)) == (12, 1)
    # width 8: conv 9*8*8 + BN 16 in cell 1, 9*16*16 + 32 in cell 2
    per_edge = 9 * 8 * 8 + 16 + 9 * 16 * 16 + 32
    macro = (9 * 8 + 16) + (16 + 9 * 8 * 16 + 32) + 32 + 64 * 64 + (64 * 6 + 6)
    assert scorer(proxy="params")(one) == macro + per_edge
    assert scorer(proxy="params")(mask) == macro + 12 * per_edge


def test_proxies_by_name():
    mask = LIGHTSNN.full_mask()
    assert set(PROXIES) == {"sahd", "hd", "swap", "params", "convs", "firing_rate"}
    values = {name: scorer(proxy=name)(mask) for name in PROXIES}
    assert values["sahd"] != values["hd"]
    assert 0 < values["firing_rate"] < 1


def test_score_is_the_mean_over_batches():
    mask = LIGHTSNN.full_mask()
    single = [scorer(batches=(images(seed),))(mask) for seed in (0, 1)]
    assert scorer()(mask) == pytest.approx(np.mean(single), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hamming(torch.tensor([[0.5, 1.0]])), "binary patterns"),
        (lambda: hamming(torch.zeros(3)), r"expected binary patterns \[B, N\].*got \(3,\)"),
        (lambda: distinct_columns(torch.tensor([[0.5, 1.0]])), "binary patterns"),
        (lambda: distinct_columns(torch.tensor([[0, -1]])), "binary patterns"),
        (lambda: distinct_columns(torch.tensor([[math.nan, 1.0]])), "binary patterns"),
        (lambda: distinct_columns(torch.zeros(3)), r"expected binary patterns \[B, N\].*got \(3,\)"),
        (lambda: distinct_columns(torch.zeros(3, 0)), r"got \(3, 0\)"),
        (lambda: distinct_columns(torch.zeros(0, 3)), r"got \(0, 3\)"),
        (
            lambda: scorer().statistics(LIGHTSNN.full_mask())[0].distinct_columns([]),
            r"not counted; ask for them: .*patterns=True",
        ),
        (lambda: scorer(proxy="swp"), "unknown proxy 'swp'; expected one of .*swap"),
        (lambda: log_det(np.zeros((2, 3))), "square matrix of finite numbers"),
        (lambda: log_det(np.full((2, 2), np.nan)), "square matrix of finite numbers"),
        (lambda: scorer(proxy="sadh"), "unknown proxy 'sadh'; expected one of sahd"),
        (lambda: scorer(bn="none")(LIGHTSNN.full_mask()), "bn must be 'batch' or 'running', got 'none'"),
        (lambda: scorer()(SPACES["snasnet"].full_mask()), "the mask belongs to"),
        (lambda: scorer(batches=())(LIGHTSNN.full_mask()), "at least one batch"),
        (lambda: scorer(batches=(images(0) * math.nan,))(LIGHTSNN.full_mask()), "NaN or infinite"),
    ],
)
def test_errors_teach(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_statistics_of_unknown_kernel():
    statistics = spike_statistics(build_supernet(LIGHTSNN, CONFIG), LIGHTSNN.full_mask(), images(0))
    with pytest.raises(ValueError, match="unknown kernel 'x'"):
        statistics.kernel("x")


def test_one_pass_gives_all_measures():
    mask = OpMask.from_cell(Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|skip~1|conv3x3~2|"), LIGHTSNN)
    found = measure(scorer(), mask)
    assert (found.sahd, found.hd) == (scorer()(mask), scorer(proxy="hd")(mask))
    assert found.mean_firing_rate == pytest.approx(scorer(proxy="firing_rate")(mask), abs=1e-12)
    assert (found.swap, measure(scorer(), mask, patterns=True).swap) == (None, scorer(proxy="swap")(mask))
    first = scorer().statistics(mask)[0]
    assert torch.equal(found.kernels["sahd"], first.kernel())
    supernet = scorer().supernet
    with scoring_mode(supernet, "batch"), record_spikes(supernet) as spikes, torch.no_grad():
        supernet(images(0), mask=mask)
    for name, rate in first.firing_rate.items():  # spikes [T, B, ...]: per step, over samples and neurons
        assert rate.tolist() == pytest.approx(spikes[name].double().flatten(1).mean(1).tolist(), abs=1e-12)
        assert found.firing_rate[name].shape == (CONFIG.num_steps,)


@pytest.mark.parametrize("text", ["0303 0030 2002 0200", "0300 0000 0000 0000", "1111 1111 1111 1111"])
def test_parameters_of_a_cell_are_those_of_its_network(text):
    text = text if text != "1111 1111 1111 1111" else "0111 1011 1101 1110"
    cell, space = Cell.parse(text), SPACES["snasnet"]
    supernet = build_supernet(space, CONFIG)
    counted = count_parameters(supernet, OpMask.from_cell(cell.live_part(), space))
    assert counted == build_network(cell, CONFIG).num_parameters
    assert count_parameters(supernet, space.full_mask()) == supernet.num_parameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "quick"}, "engine must be 'auto' or 'plain' or 'fast', got 'quick'"),
        ({"engine": "fast", "reset": False}, "always starts from reset states"),
        ({"batch_size": 1}, "batch_size must be a whole number of 2 or more, got 1"),
        ({"num_batches": 0}, "num_batches must be a whole number of 1 or more, got 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScoringConfig(**settings)
    with pytest.raises(ValueError, match=message):
        scorer(**settings)


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_a_space_without_convolutions(engine):
    """Only the LIF layers between and after the cells are counted."""
    found = scorer(space=CellSpace(("zeroize", "skip")), engine=engine)
    mask = found.supernet.design.full_mask()
    assert [len(one.layers) for one in found.statistics(mask)] == [3, 3]
    assert found(mask) == scorer(space=CellSpace(("zeroize", "skip")), engine="plain")(mask)


def test_one_block_records_batches_of_one_size():
    supernet, mask = scorer().supernet, LIGHTSNN.full_mask()
    message = r"saw batches of shapes \[\(2, .*\(3, .*take a block for each"

    def record(*counts):
        with record_spikes(supernet):
            for count in counts:
                supernet(images(0, count), mask=mask)

    with pytest.raises(ValueError, match=message):
        record(2, 3)
    with pytest.raises(TypeError):  # what goes wrong inside is what is told
        record(2, 3, None)
