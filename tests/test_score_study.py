"""The study's own arithmetic on made tables and tiny networks; no benchmark needed."""

import json
import math

import numpy as np
import pytest

from lightsnn_kit.cells import Cell, Op
from lightsnn_kit.criteria import cell_paths
from lightsnn_kit.score_study.__main__ import main
from lightsnn_kit.score_study.measures import alignment, candidate_scores, effective_rank
from lightsnn_kit.score_study.searches import SEARCHES, Lookup, agreement, lightest_deepest, stability
from lightsnn_kit.score_study.study import (
    FORWARD,
    Setting,
    bench_cells,
    correlations,
    cross_validated,
    measure,
    score_table,
    sibling_means,
)
from lightsnn_kit.spikenas_bench import BenchCell, decode_id

TINY = Setting(dataset="digits", width=2, batch_size=8, num_steps=2, hidden=8)
CELLS = (FORWARD.uniform("conv3x3"), FORWARD.uniform("skip"), FORWARD.uniform("zeroize"))


def made_bench(ids, accuracy):
    return [BenchCell(i, *decode_id(i), a, 100, 1) for i, a in zip(ids, accuracy, strict=True)]


def test_records_are_kept_and_scores_are_the_same_again(tmp_path):
    cache = tmp_path / "scores.jsonl"
    first = measure(CELLS[:2], TINY, seeds=[0], cache=cache)
    again = measure(CELLS, TINY, seeds=[0, 1], cache=cache)
    assert [(r["cell"], r["seed"]) for r in again] == [(str(c), s) for s in (0, 1) for c in CELLS]
    assert again[:2] == first  # seconds too: read back, not computed again
    assert len(cache.read_text().splitlines()) == 6
    fresh = measure(CELLS, TINY, seeds=[0, 1])
    assert [r["values"] for r in fresh] == [r["values"] for r in again]
    table = score_table(CELLS, fresh)
    assert table["sahd_batch"].shape == (3, 2)
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
    x, y = TINY.labelled_batch(0)
    values = candidate_scores(FORWARD.uniform("zeroize"), TINY.config, x, y, seed=0)
    assert all(math.isfinite(value) for value in values.values())
    assert values["gradient"] == 0.0  # no weights in the cells


def test_correlations_of_a_made_table():
    accuracy = np.array([80.0, 81, 86, 87, 88, 88.5])
    table = {"longest path": np.array([0.0, 0, 1, 2, 3, 3]), "wrong": -accuracy}
    best, worst = correlations(table | {"exact": np.stack([accuracy, accuracy], 1)}, accuracy[:6], resamples=20)[::2]
    assert (best["score"], worst["score"]) == ("exact", "wrong")
    assert best["kendall_tau"].estimate == pytest.approx(1.0)
    assert best["tau_by_seed"] == pytest.approx([1.0, 1.0])
    assert best["regret"].estimate == 0.0
    assert worst["regret"].estimate == 8.5
    assert worst["tau_minus_longest_path"].estimate < -1


def test_cross_validation_chooses_the_score_that_is_right():
    rng = np.random.default_rng(0)
    accuracy, convs = rng.normal(size=60), np.full(60, 2.0)
    table = {"exact": accuracy, "random": np.random.default_rng(1).normal(size=60)}
    rows = cross_validated(table, accuracy, convs, splits=20)
    chosen = rows["chosen on the other half"]
    assert chosen["share"].get("exact", 0) >= 0.9
    assert rows["exact"]["accuracy"] > chosen["accuracy"] - 1e-9 > rows["random"]["accuracy"]


def test_siblings_and_lookup():
    plain, other, alone = 3, 2, 3 * 5  # conv at 1.0 and at 0.5 on 1<-0; conv on 2<-0
    cells = made_bench([plain, other, alone], [80.0, 82.0, 50.0])
    assert sibling_means(cells[:1] + cells[2:], cells)[0] == 82.0
    assert math.isnan(sibling_means(cells[2:], cells)[0])
    lookup = Lookup([cells[0]], cells)
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


def test_the_command_writes_figures_but_no_rows(tmp_path, monkeypatch):
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
    assert len(bench_cells(tmp_path)[0]) == 11  # the last has threshold 0.5
    monkeypatch.setattr("lightsnn_kit.score_study.study.project_root", lambda: tmp_path)
    monkeypatch.setattr("lightsnn_kit.score_study.study.Setting", lambda **_: TINY)
    main(["correlations", "--bench", str(tmp_path), "--seeds", "1", "--resamples", "5"])
    text = (tmp_path / "data" / "results" / "score_correlations.json").read_text()
    found = json.loads(text)
    assert found["cells"]["at hand"] == 11
    assert found["command"].startswith("python -m lightsnn_kit.score_study correlations")
    assert Cell.parse("|skip~0|") not in found.values()
    assert "conv3x3~" not in text  # no cell, no row
