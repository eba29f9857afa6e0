"""KernelExplorer: hand-checked kernels, the score's own kernel, pairs by click and by number, wrong choices."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightsnn_kit.kernels import log_det
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.widgets import KernelExplorer, PlotView


def drawn(view: PlotView) -> dict:
    return json.loads(view.spec)


def heading(view: PlotView) -> str:
    return drawn(view)["layout"]["title"]["text"]


def statistics() -> SimpleNamespace:
    """Two recorded layers, the first standing for two, T = 2, B = 3.

    Layer "a" (and its twin "c"): N = 4, at step 0 the patterns 1100, 1010, 0000; at step 1 nothing fires.
    Layer "b": N = 2, at both steps 10, 01, 11.
    """
    a = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    b = np.array([[1, 0], [0, 1], [1, 1]])
    steps = [[a, np.zeros_like(a)], [b, b]]
    counts = np.array([[c.sum(1) for c in layer] for layer in steps])
    hamming = np.array([[(c[:, None] != c).sum(2) for c in layer] for layer in steps])
    return SimpleNamespace(layers=(("a", "c"), ("b",)), num_neurons=np.array([4, 2]), counts=counts, hamming=hamming)


@pytest.fixture
def explorer() -> KernelExplorer:
    view = KernelExplorer(statistics(), labels=[1, 0, 1], images=np.arange(12).reshape(3, 1, 2, 2))
    yield view
    view.close()


def test_one_slot_by_hand(explorer: KernelExplorer) -> None:
    explorer.select("a", 0)
    hamming, d, kernel = explorer.matrices()
    assert hamming.tolist() == [[0, 2, 2], [2, 0, 2], [2, 2, 0]]
    # rates 1/2, 1/2, 0: by chance 4·(1/4 + 1/4) = 2 of the first pair, 4·(0 + 1/2) = 2 of the others
    assert d[0, 1] == d[0, 2] == pytest.approx(0.5 * 2 / 2.001)
    assert kernel == pytest.approx(4 - d)
    assert "Kernel of a, step 0" in explorer.figure().layout.title.text
    assert "log|det K| = Σ log|λ| = " in heading(explorer.spectrum)
    assert f"{np.log(np.linalg.det(kernel)):.4g}".replace("-", "−") in heading(explorer.spectrum)


def test_the_pointer_and_a_click_choose_a_pair(explorer: KernelExplorer) -> None:
    """Sorted by class the samples are 1, 0, 2: the entry in column 2 and row 0 is the pair (1, 2)."""
    assert explorer.panels.hovers
    for kind, column, pair in (("hover", 2, (1, 2)), ("click", 1, (1, 0))):
        explorer.panels._handle_custom_msg({"kind": kind, "curve": 0, "point": 0, "x": column, "y": 0}, [])
        assert {explorer.first.value, explorer.second.value} == set(pair)
        assert "sample" in explorer.pair.value


def test_averages_count_a_layer_as_often_as_it_stands_for_others(explorer: KernelExplorer) -> None:
    explorer.select()
    hamming, d, kernel = explorer.matrices()
    # over 3 layers and 2 steps: 2·(2 + 0) from a and c, 2·2 from b for the pair (0, 1)
    assert hamming[0, 1] == pytest.approx((2 * 2 + 2 * 2) / 6)
    assert kernel == pytest.approx((2 * 4 + 2) / 3 - d)
    explorer.select("all", 1)
    assert explorer.matrices()[0][0, 1] == pytest.approx(2 / 3)
    explorer.select("b")
    assert explorer.matrices()[0].tolist() == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_the_average_is_the_kernel_of_the_score(engine: str) -> None:
    space = SPACES["lightsnn"]
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=16, num_steps=3)
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    score = Scorer(supernet=build_supernet(space, config), batches=(x,), engine=engine)
    found = score.statistics(space.full_mask())[0]
    view = KernelExplorer(found)
    assert len(view.rows) == 27
    assert np.array_equal(view.matrices()[2], found.kernel().numpy())  # bit for bit
    assert log_det(view.matrices()[2]) == score(space.full_mask())
    total = drawn(view.spectrum)["layout"]["title"]["text"].split("= ")[-1].split("<")[0].replace("−", "-")
    assert float(total) == pytest.approx(score(space.full_mask()), rel=1e-3)
    view.close()


def test_samples_are_sorted_by_class_on_demand(explorer: KernelExplorer) -> None:
    assert drawn(explorer.panels)["layout"]["xaxis"]["ticktext"] == ["0", "1"]
    explorer.sort.value = False
    assert "ticktext" not in drawn(explorer.panels)["layout"]["xaxis"]
    unlabelled = KernelExplorer(statistics())
    assert unlabelled.sort.disabled
    assert "ticktext" not in drawn(unlabelled.panels)["layout"]["xaxis"]
    assert unlabelled.pictures.spec == ""
    unlabelled.close()


def test_a_pair_is_shown_by_number_and_by_click(explorer: KernelExplorer) -> None:
    explorer.select("b", 0)
    explorer.first.value, explorer.second.value = 0, 2
    assert "sample 0 (class 1), sample 2 (class 1): <b>Hamming 1, d 0.4" in explorer.pair.value
    notes = [note["text"] for note in drawn(explorer.pictures)["layout"]["annotations"]]
    assert notes == ["sample 0 (class 1)", "sample 2 (class 1)"]
    # sorted by class the samples stand as 1, 0, 2: a click in row 0, column 2 means the pair (1, 2)
    point = {"kind": "click", "curve": 1, "point": None, "x": 2, "y": 0, "customdata": None}
    explorer.panels._handle_custom_msg(point, [])
    assert (explorer.first.value, explorer.second.value) == (1, 2)
    assert explorer.pair.value.startswith("sample 1 (class 0), sample 2 (class 1): <b>Hamming 1,")


def test_a_silent_slot_is_told(explorer: KernelExplorer) -> None:
    explorer.select("a", 1)
    assert "a, step 1: no neuron fires" in explorer.message.value
    assert "= −∞" in heading(explorer.spectrum)
    explorer.select("a", 0)
    assert explorer.message.value == ""


def test_wrong_choices_become_messages_and_keep_the_view(explorer: KernelExplorer) -> None:
    before = explorer.panels.spec
    explorer.select("cell9")
    assert "unknown layer &#x27;cell9&#x27;; expected one of all, a, b, c." in explorer.message.value
    explorer.select("a", 2)
    assert "step must be a whole number from 0 to 1, got 2." in explorer.message.value
    explorer.first.value = 3
    assert "⚠ sample must be a whole number from 0 to 2, got 3." in explorer.message.value
    assert explorer.panels.spec == before
    explorer.first.value = 2
    assert explorer.message.value == ""


def test_records_that_do_not_fit_are_refused() -> None:
    for key in ("counts", "hamming"):
        broken = statistics()
        setattr(broken, key, getattr(broken, key)[:, :1])
        with pytest.raises(ValueError, match=r"statistics need counts \[L, T, B\] and hamming \[L, T, B, B\]"):
            KernelExplorer(broken)
    with pytest.raises(ValueError, match=r"labels must hold one entry per sample, 3; got shape \(2,\)"):
        KernelExplorer(statistics(), labels=[0, 1])
    with pytest.raises(ValueError, match="images must hold one entry per sample, 3"):
        KernelExplorer(statistics(), images=np.zeros((2, 1, 2, 2)))


def test_large_batches_stay_below_a_megabyte_and_controls_have_labels() -> None:
    rng = np.random.default_rng(0)
    c = rng.integers(0, 2, (256, 50))
    record = SimpleNamespace(layers=(("a",),), num_neurons=np.array([50]), counts=c.sum(1)[None, None])
    record.hamming = (c[:, None] != c).sum(2)[None, None]
    view = KernelExplorer(record, labels=np.arange(256) % 10)
    assert max(view.panels.payload, view.spectrum.payload) < 1e6
    assert "100 of 256 samples" in heading(view.panels)
    assert all(control.description for control in (view.layer, view.step, view.sort, view.first, view.second))
    view.close()
