"""Scores from papers against the same definitions written out another way, and against values recorded once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from studies.correlations import FORWARD
from studies.from_papers import (
    MaskedConv2d,
    SampleNorm,
    apply_ncd,
    ncd_scores,
    regularised,
    whole_patterns,
    zico,
)
from studies.measures import Setting, candidate_scores
from torch.nn import functional as F

from lightsnn_kit.exact import ExactBatchNorm2d, LatticeConv2d
from lightsnn_kit.kernels import hamming, log_det
from lightsnn_kit.networks import build_network, reset_state
from lightsnn_kit.recording import record_spikes, scoring_mode
from lightsnn_kit.spaces import OpMask

TINY = Setting(dataset="digits", width=2, batch_size=8, num_steps=2, hidden=8)
CELL = FORWARD.uniform("conv3x3")
MASK = OpMask.from_cell(CELL, FORWARD)
GOLDEN = {"sahd_ncd": -7.572897107512814, "hd_ncd": 18.076983334294074, "swap_ncd": 126.0}


def masked(seed=0, **options):
    return apply_ncd(TINY.scorer(FORWARD, seed, engine="plain"), seed=seed, **options)


def test_each_sample_is_normalised_by_itself():
    norm = SampleNorm(1)
    x = 3 * torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(0)) + 2
    expected = F.layer_norm(x.double(), x.shape[1:], eps=norm.eps)
    assert (norm(x).double() - expected).abs().max() < 1e-5
    assert torch.equal(norm(x.flip(0)), norm(x).flip(0))
    assert (norm(torch.zeros(2, 3, 4, 4)) == 0).all()  # silence stays silence


def test_ncd_changes_every_convolution_but_the_stem_and_every_norm():
    network = masked().supernet
    convs = {name: m for name, m in network.named_modules() if isinstance(m, LatticeConv2d)}
    assert {name for name, m in convs.items() if not isinstance(m, MaskedConv2d)} == {"stem.0"}
    assert len(convs) == 1 + 2 * 6 + 1  # the stem, six edges in both cells, the downsampling
    assert len({m.draw for m in convs.values() if isinstance(m, MaskedConv2d)}) == 2 * 6 + 1
    norms = [m for m in network.modules() if isinstance(m, ExactBatchNorm2d)]
    assert len(norms) == 1 + 2 * 6 + 3
    assert all(type(m) is SampleNorm for m in norms)


def test_a_mask_is_drawn_once_per_convolution_and_seed():
    scorer = masked()
    ncd_scores(scorer, MASK)
    convs = [m for m in scorer.supernet.modules() if isinstance(m, MaskedConv2d)]
    masks = [m.mask for m in convs]
    assert {tuple(mask.shape) for mask in masks} == {(2, 8, 8), (4, 4, 4)}
    share = float(torch.cat([mask.flatten() for mask in masks]).mean())
    assert 0.02 < share < 0.09  # 1,280 draws at 0.05 are within 0.03 and 0.07 but for one seed of a thousand
    x = (torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    ours = convs[0]
    assert torch.equal(ours(x), F.conv2d(x * masks[0], ours.weight, padding=1) * ours.scale)
    again, other = masked(), masked(seed=1)
    assert ncd_scores(again, MASK) == ncd_scores(scorer, MASK)
    assert ncd_scores(other, MASK) != ncd_scores(scorer, MASK)
    first = next(m for m in again.supernet.modules() if isinstance(m, MaskedConv2d))
    assert torch.equal(first.mask, masks[0])


def test_ncd_by_hand():
    """The pass written out in float64 for the cell of all convolutions, and HD from its spikes."""
    scorer = masked(kept=0.5)
    found, network = ncd_scores(scorer, MASK), scorer.supernet
    config, states, kernels = network.config, {}, []

    def fire(name, x):
        v = states.get(name, torch.zeros_like(x))
        v = v + (x - v) / config.tau
        spikes = (v >= config.v_threshold).double()
        states[name] = v * (1 - spikes)
        kernels.append(spikes[0].numel() - hamming(spikes.flatten(1)))
        return spikes

    def conv(module, x):
        if isinstance(module, MaskedConv2d):
            x = x * module.mask
        return F.conv2d(x, module.weight.double(), padding=1) * module.scale

    def norm(x):
        return F.layer_norm(x, x.shape[1:], eps=1e-5)

    def cell(number, x):
        nodes, ops = [x], getattr(network, f"cell{number}").ops
        for i in range(1, 4):
            edges = [(f"{i}<-{j}:conv3x3", nodes[j]) for j in range(i)]
            nodes.append(sum(norm(conv(ops[key][1], fire((number, key), z))) for key, z in edges))
        return nodes[-1]

    pixels = (scorer.batches[0].double() - network.input_centre) * config.input_scale
    drive = norm(conv(network.stem[0], pixels))
    hidden = network.classifier[1]
    for _ in range(config.num_steps):
        y = fire("down", norm(cell(1, drive)))
        y = F.avg_pool2d(norm(conv(network.down[2], y)), 2)
        y = F.avg_pool2d(fire("last", norm(cell(2, y))), 2)
        fire("hidden", F.linear(y.flatten(1), hidden.weight.double()) * hidden.scale)
    mean = sum(kernel.double() for kernel in kernels) / len(kernels)
    assert len(kernels) == 2 * (2 * 6 + 3)
    assert found["hd_ncd"] == pytest.approx(log_det(mean), rel=1e-12)


def test_ncd_of_one_seed_stays_as_recorded():
    assert ncd_scores(masked(), MASK) == pytest.approx(GOLDEN, rel=1e-12)
    dead = ncd_scores(masked(), OpMask.from_cell(FORWARD.uniform("zeroize"), FORWARD))
    assert dead == {"sahd_ncd": -math.inf, "hd_ncd": -math.inf, "swap_ncd": 6.0}  # silence: three layers, two steps


def test_ncd_needs_a_plain_scorer_on_batches():
    with pytest.raises(ValueError, match="NCD needs engine='plain' and bn='batch', got auto, batch"):
        apply_ncd(TINY.scorer(FORWARD, 0), seed=0)
    with pytest.raises(ValueError, match="got plain, running"):
        apply_ncd(TINY.scorer(FORWARD, 0, engine="plain", bn="running"), seed=0)


def test_zico_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 5))  # three batches, two layers
    second[:, 0] = 1.0  # a weight whose gradient never varies
    batches = [{"a": torch.tensor(a), "b": torch.tensor(b)} for a, b in zip(first, second, strict=True)]
    expected = 0.0
    for layer in (first, second[:, 1:]):
        expected += math.log((np.abs(layer).mean(0) / layer.std(0)).sum())
    assert zico(batches) == pytest.approx(expected)
    assert zico([batches[0], batches[0]]) == 0.0  # nothing varies: no layer is left
    scaled = [{name: 7 * gradient for name, gradient in batch.items()} for batch in batches]
    assert zico(scaled) == pytest.approx(zico(batches))


def test_zico_and_whole_patterns_of_a_network():
    batches = TINY.labelled_batches(0)
    assert [tuple(x.shape) for x, _ in batches] == [(8, 1, 8, 8)] * 2
    assert not torch.equal(batches[0][0], batches[1][0])
    values = candidate_scores(CELL, TINY.config, batches, seed=0)
    network, gradients = build_network(CELL, TINY.config, seed=0), []
    names = [name for name, p in network.named_parameters() if p.dim() > 1]
    with scoring_mode(network, "batch"), record_spikes(network) as spikes:
        for x, y in batches:
            loss = F.cross_entropy(network(x), y)
            found = torch.autograd.grad(loss, [p for p in network.parameters() if p.dim() > 1])
            gradients.append(dict(zip(names, found, strict=True)))
            reset_state(network)
    assert values["zico"] == pytest.approx(zico(gradients), rel=1e-4)
    columns = np.concatenate([s[:2].flatten(2).numpy()[t] for s in spikes.values() for t in range(2)], axis=1)
    assert values["swap_whole"] == len(np.unique(columns, axis=1).T)  # [8, all neurons of two steps]
    only = candidate_scores(CELL, TINY.config, batches[:1], seed=0)
    assert only == {name: value for name, value in values.items() if name != "zico"}


def test_whole_patterns_are_one_set():
    rng = np.random.default_rng(0)
    layers = [torch.from_numpy(rng.integers(0, 2, size=(2, 70, *shape))) for shape in ((3, 2, 2), (5,))]
    layers.append(layers[0][:, :, :1])  # what is seen before counts once
    columns = np.concatenate([layer.flatten(2).numpy()[t] for layer in layers for t in range(2)], axis=1)
    assert whole_patterns(layers) == len(np.unique(columns, axis=1).T)


def test_regularised_swap_by_hand():
    swap = np.array([[10.0, 20.0], [10.0, 20.0], [10.0, 20.0]])
    found = regularised(swap, np.array([0.0, 2.0, 6.0]), 6)
    assert found["swap_middle"] == pytest.approx(swap * np.exp([[-1.0], [0.0], [-4.0]]))
    assert found["swap_large"] == pytest.approx(swap * np.exp([[-1.0], [-4 / 9], [0.0]]))
