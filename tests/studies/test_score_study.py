"""The studies' own arithmetic on made tables and tiny networks; no benchmark needed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from studies.correlations import (
    FORWARD,
    correlations,
    cross_validated,
    measure_cells,
    score_table,
    sibling_means,
    study_correlations,
)
from studies.measures import Setting, alignment, candidate_scores, effective_rank
from studies.searches import (
    FEEDBACK,
    SEARCHES,
    Lookup,
    agreement,
    lightest_deepest,
    stability,
    study_feedback,
    study_searches,
    study_stability,
)
from studies.spikenas_bench import BenchCell, decode_id, load_spikenas_bench, made_up_bench

from lightsnn_kit.cells import Op
from lightsnn_kit.files import RunError, RunExistsError, plain
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.networks import build_network
from lightsnn_kit.paths import cell_paths, rank_cells
from lightsnn_kit.spaces import SPACES, CellSpace
from lightsnn_kit.training import evaluate, fit

TINY = Setting(dataset="digits", width=2, batch_size=8, num_steps=2, hidden=8)
CELLS = (FORWARD.uniform("conv3x3"), FORWARD.uniform("skip"), FORWARD.uniform("zeroize"))


def made_bench(ids, accuracy):
    return [BenchCell(i, *decode_id(i), a, 100, 1) for i, a in zip(ids, accuracy, strict=True)]


def a_stage(folder) -> Stage:
    return RunFolder.open(folder).stage("study", {})


def test_records_are_kept_and_scores_are_the_same_again(tmp_path):
    stage = a_stage(tmp_path)
    first = measure_cells(CELLS[:2], TINY, seeds=[0], stage=stage)
    again = measure_cells(CELLS, TINY, seeds=[0, 1], stage=stage)
    assert [(r["cell"], r["seed"]) for r in again] == [(str(c), s) for s in (0, 1) for c in CELLS]
    assert again[:2] == first  # seconds too: read back, not computed again
    assert len((stage.path / "scores.jsonl").read_text().splitlines()) == 6
    fresh = measure_cells(CELLS, TINY, seeds=[0, 1])
    assert [r["values"] for r in fresh] == [r["values"] for r in again]
    table = score_table(CELLS, fresh)
    assert table["sahd_batch"].shape == table["swap_batch"].shape == (3, 2)
    assert (table["swap_batch"][0] > table["swap_batch"][2]).all()  # convolutions against none
    assert table["swap_running"][2].min() >= 3 * TINY.num_steps
    del fresh[0]["values"]["swap_batch"]
    with pytest.raises(RunError, match="an earlier version began this run folder"):
        score_table(CELLS, fresh)
    assert table["longest path"].tolist() == [3, 0, -1]
    assert table["balanced"][2] == -math.inf
    assert table["convolutions"].tolist() == [6, 0, 0]


def test_measures_of_known_kernels():
    import torch

    y = torch.tensor([0, 0, 1, 1])
    same = (y[:, None] == y).double() - 0.5
    assert alignment(same, same) == 1.0
    assert alignment(same, -same) == -1.0
    assert effective_rank(torch.diag(torch.tensor([1.0, 1.0, 0.0]))) == pytest.approx(2.0)
    assert effective_rank(torch.zeros(3, 3)) == 0.0
    values = candidate_scores(FORWARD.uniform("zeroize"), TINY.config, TINY.labelled_batches(0, 1), seed=0)
    assert all(math.isfinite(value) for value in values.values())
    assert values["gradient"] == 0.0  # no weights in the cells


def test_correlations_of_a_made_table():
    accuracy = np.array([80.0, 81, 86, 87, 88, 88.5])
    table = {"longest path": np.array([0.0, 0, 1, 2, 3, 3]), "wrong": -accuracy}
    best, worst = correlations(table | {"exact": np.stack([accuracy, accuracy], 1)}, accuracy[:6], resamples=20)[::2]
    assert (best["score"], worst["score"]) == ("exact", "wrong")
    assert [best[name].estimate for name in ("kendall_tau", "tau_a", "ordered_right")] == pytest.approx([1.0] * 3)
    assert [worst[name].estimate for name in ("tau_a", "ordered_right")] == pytest.approx([-1.0, 0.0])
    assert best["tau_by_seed"] == pytest.approx([1.0, 1.0])
    assert best["regret"].estimate == 0.0
    assert worst["regret"].estimate == 8.5
    assert worst["tau_minus_longest_path"].estimate < -1
    depth_right = 1 - 2 * 0.5 / 15  # of 15 pairs two are tied in depth, the others right
    assert best["right_minus_longest_path"].estimate == pytest.approx(1 - depth_right)
    assert worst["right_minus_longest_path"].estimate == pytest.approx(-depth_right)
    assert best["without_errors"] == pytest.approx({"kendall_tau": 1.0, "ordered_right": 1.0})
    depth = correlations(table, accuracy, resamples=20)[0]
    assert depth["score"] == "longest path"
    assert depth["without_errors"]["kendall_tau"] == pytest.approx(math.sqrt(13 / 15)) == depth["kendall_tau"].estimate


def test_what_is_known_beyond_depth():
    accuracy = np.array([80.0, 81, 82, 86, 87, 88, 84])
    depth = np.array([0.0, 0, 0, 1, 1, 1, 2])
    table = {"longest path": depth, "within": np.array([1.0, 2, 3, 1, 2, 3, 9]), "against": -accuracy}
    rows = {row["score"]: row for row in correlations(table, accuracy, resamples=20)}
    assert [rows["within"]["within_depth"][d].estimate for d in "01"] == pytest.approx([1.0, 1.0])
    assert [rows["against"]["within_depth"][d].estimate for d in "01"] == pytest.approx([-1.0, -1.0])
    assert rows["longest path"]["within_depth"] == {"0": None, "1": None, "2": None}
    assert rows["within"]["within_depth"]["2"] is None  # one cell has no order
    shares = {name: row["right_within_depth"].estimate for name, row in rows.items()}
    assert shares == pytest.approx({"longest path": 0.5, "within": 1.0, "against": 0.0})


def test_cross_validation_chooses_the_score_that_is_right():
    rng = np.random.default_rng(0)
    accuracy, convs = rng.normal(size=60), np.full(60, 2.0)
    table = {"exact": accuracy, "random": np.random.default_rng(1).normal(size=60)}
    rows = cross_validated(table, accuracy, convs, splits=20)
    chosen = rows["chosen on the other half"]
    assert chosen["share"].get("exact", 0) >= 0.9
    assert rows["exact"]["accuracy"] > chosen["accuracy"] - 1e-9 > rows["random"]["accuracy"]


def test_siblings_and_lookup():
    plain, other, alone = 3, 2, 2 * 5  # conv at 1.0 and at 0.5 on 1<-0; conv at 0.5 on 2<-0: of another space
    cells = made_bench([plain, other, alone], [80.0, 82.0, 50.0])
    assert sibling_means(cells[:1] + cells[2:], cells)[0] == 82.0
    assert math.isnan(sibling_means(cells[2:], cells)[0])
    lookup = Lookup(cells)
    found = lookup.summary([cells[0].cell, cells[2].cell])
    assert found == {
        "known": 0.5,
        "accuracy_mean": 80.0,
        "accuracy_min": 80.0,
        "siblings_mean": (81.0 + 50.0) / 2,
        "siblings_min": 50.0,
    }


def test_eight_cells_are_deepest_and_lightest():
    cells = lightest_deepest()
    assert len(cells) == 8
    assert {(cell_paths(c).depth, c.num_convs) for c in cells} == {(3, 3)}


@pytest.mark.parametrize("name", [name for name in SEARCHES if "training" not in name and "60" not in name])
def test_every_search_runs(name):
    cell, count = SEARCHES[name](TINY, 1)
    assert cell in FORWARD
    assert count >= 0


def test_stability_of_scores_that_agree_and_differ():
    def only(op):
        return lambda mask: float(sum(op in ops for ops in mask.alive))

    same = stability([only(Op.CONV3X3)] * 3)
    assert (same["first_round_flips"], same["final_agreement"], same["different_cells"]) == (0.0, 1.0, 1)
    mixed = stability([only(Op.CONV3X3), only(Op.SKIP)])
    assert (mixed["final_agreement"], mixed["different_cells"], mixed["convs_mean"]) == (0.0, 2, 6.0)
    assert agreement(["ab"]) == 1.0


def test_the_correlations_hold_figures_but_no_rows(tmp_path):
    header = "id,1<-0,2<-0,3<-0,2<-1,3<-1,3<-2,test_acc,epochs,params\n"
    rows = []
    digits = [
        "000000",
        "001000",
        "003000",
        "303000",
        "300030",
        "313303",
        "011000",
        "100030",
        "300010",
        "030001",
        "333333",
        "002000",
    ]
    for number in [sum(int(d) * 5**place for place, d in enumerate(text)) for text in digits]:
        cell, thresholds = decode_id(number)
        named = {str(e): str(cell.op(e)) + (f"@{t}" if t else "") for e, t in zip(cell.edges, thresholds, strict=True)}
        ops = ",".join(named[name] for name in header.split(",")[1:7])
        path = cell_paths(cell)
        rows.append(f"{number},{ops},{80.0 + 2 * path.depth + number / 1e5 if path else 10.0:.5f},100,1\n")
    (tmp_path / "cifar10.csv").write_text(header + "".join(rows))
    bench = load_spikenas_bench(tmp_path)
    assert (len(bench), sum(cell.in_lightsnn_space for cell in bench)) == (12, 11)  # the last has threshold 0.5
    stage = a_stage(tmp_path / "run")
    found = study_correlations(bench, TINY, seeds=[0], resamples=5, stage=stage)
    assert found["cells"]["at hand"] == len(stage.records("scores")) == 11
    names = {row["score"] for row in found["all_cells"]}
    assert names >= {"longest path", "sahd_batch", "swap_batch", "random", "zico", "hd_ncd", "swap_whole", "swap_large"}
    assert "path, then swap" in names
    assert all(row["within_depth"].keys() == found["all_cells"][0]["within_depth"].keys() for row in found["all_cells"])
    assert all(row[name].low <= row[name].high for row in found["all_cells"] for name in ("tau_a", "ordered_right"))
    assert "conv3x3~" not in json.dumps(plain(found))  # no cell, no row


def test_searches_are_kept_one_by_one(tmp_path, monkeypatch):
    few = {name: SEARCHES[name] for name in ("random cell", "pruning by SAHD", "balanced")}
    monkeypatch.setattr("studies.searches.SEARCHES", few)
    bench, stage = made_up_bench(), a_stage(tmp_path)
    found = study_searches(bench, TINY, seeds=[0, 1], stage=stage)
    rows = {row["search"]: row for row in found["searches"]}
    assert list(rows) == list(few)
    assert [row["evaluations"] for row in rows.values()] == [0, 30, 1]
    assert [row["known"] for row in rows.values()] == [1, 1, 1]
    assert (rows["balanced"]["different_cells"], rows["balanced"]["agreement"]) == (1, 1)
    assert rows["balanced"]["accuracy_mean"] == pytest.approx(85.4, abs=0.1)  # 80 + 3·2 − 3·0.2, and below 0.1
    assert study_searches(bench, TINY, seeds=[0, 1], stage=stage) == found  # seconds too: read back
    assert "conv3x3~" not in json.dumps(plain(found))


def test_a_price_per_convolution_leaves_fewer(tmp_path):
    cells = [SEARCHES[f"pruning by SAHD{price}"](TINY, 0)[0] for price in ("", " − 1 per convolution")]
    free, dear = (sum(op.is_conv for op in cell.ops) for cell in cells)
    assert dear < free


def test_stability_varies_each_size_and_the_seeds_of_one(tmp_path):
    stage, space = a_stage(tmp_path), CellSpace(FORWARD.ops, 3, backward=False)
    found = study_stability(replace(TINY, batch_size=16, width=4), space=space, seeds=[0, 1], stage=stage)
    settings = [(row["setting"], row["seeds"]) for row in found["rows"]]
    sizes = ["batch_size 4", "batch_size 8", "batch_size 32", "width 2", "width 8", "num_steps 1", "num_steps 4"]
    both = ["base", *sizes, "batches 1", "batches 4"]
    assert settings == [(name, "weights and images") for name in both] + [("base", "weights"), ("base", "images")]
    assert all(0 <= row[name] <= 1 for row in found["rows"] for name in ("first_round_flips", "final_agreement"))
    assert found["settle"]["evaluations"] == [30] * 3  # two seeds for each of 15 candidates
    assert stage.records("rows") == found["rows"]


def test_feedback_is_trained_in_rows_and_tested_after_the_last_epoch(tmp_path):
    preset = presets.get("motion-dvs").quick().changed(train={"epochs": 2})
    found = study_feedback(preset, seeds=[1], stage=a_stage(tmp_path))
    assert [row["feedback"] for row in found["rows"]] == list(FEEDBACK)
    assert [row["convs"] for row in found["rows"]] == [3, 3, 4]
    splits = preset.load(seed=1)
    network = build_network(rank_cells(SPACES["lightsnn"])[0], preset.network_config(splits), seed=1)
    *_, last = fit(network, splits, replace(preset.train, seed=1))
    row = found["rows"][0]
    assert (row["val_accuracy"], row["test_accuracy"]) == (
        (last.val_accuracy,),
        (evaluate(network, splits.test).accuracy,),
    )
    with pytest.raises(RunExistsError, match="epochs was 2, now 3"):
        study_feedback(preset.changed(train={"epochs": 3}), seeds=[1], stage=a_stage(tmp_path))
