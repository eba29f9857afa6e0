"""Cells trained for the score study: plan, noise and correlations by hand, and one tiny training."""

import math
from dataclasses import replace

import numpy as np
import pytest
from studies.trained_cells import (
    SETS,
    Plan,
    SameData,
    draw_cells,
    identity_gain,
    identity_loops,
    later_cells,
    score_cells,
    structure_table,
    study_trained_cells,
    train_cells,
    trained_set,
    training_noise,
)

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import RunExistsError
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.presets import Preset
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.paths import rank_cells
from lightsnn_kit.spaces import SPACES

FORWARD = SPACES["lightsnn-forward"]
SECONDS = {"train_and_checkpoints": 2.0, "evaluate": 0.5}


def made_row(number, seed, accuracy, cell=None):
    row = {"number": number, "seed": seed, "cell": str(cell), "test_accuracy": accuracy, "seconds": SECONDS}
    return row | ({"convs": cell.num_convs} if cell else {})


def test_plan_trains_every_cell_first_and_refuses_nonsense():
    trainings = list(Plan(cells=40, repeats=6).trainings())
    assert len(trainings) == len(set(trainings)) == 52
    assert trainings[:40] == [(cell, 0) for cell in range(40)]
    for wrong in ({"cells": 5, "repeats": 6}, {"repeats": 1}, {"extra_seeds": 0}, {"score_seeds": 0}):
        with pytest.raises(ValueError, match="2 <= repeats <= cells"):
            Plan(**wrong)


def test_drawn_cells_differ_have_a_path_and_begin_alike():
    for preset in SETS.values():
        cells = draw_cells(preset.cell_space, 40, seed=0)
        assert len(set(cells)) == 40
        assert all(cell.conv_path_lengths() is not None for cell in cells)
        assert draw_cells(preset.cell_space, 10, seed=0) == cells[:10]
        assert draw_cells(preset.cell_space, 10, seed=1) != cells[:10]
    with pytest.raises(ValueError, match="183 different cells of a space of 729"):
        draw_cells(FORWARD, 183, seed=0)


def test_sets_are_the_space_with_feedback_on_motions_and_the_forward_space_on_images():
    assert [(p.dataset, p.cell_space.backward) for p in SETS.values()] == [
        ("motion-dvs", True),
        ("fashion-mnist-small", False),
    ]


def test_noise_by_hand():
    # Variances within cells: of (0.5, 0.7) 0.02, of (0.9, 0.9) 0; mean 0.01. First trainings 0.5, 0.9, 0.7: 0.04.
    rows = [made_row(0, 1, 0.7), made_row(1, 0, 0.9), made_row(0, 0, 0.5), made_row(1, 1, 0.9), made_row(2, 0, 0.7)]
    noise = training_noise(rows)
    assert noise["within_sd"] == pytest.approx(0.1)
    assert noise["between_sd"] == pytest.approx(0.2)
    assert noise["reliability"] == pytest.approx(0.75)
    assert noise["tau_first_and_others"] == pytest.approx(1.0)
    assert (noise["cells"], noise["seeds"], noise["accuracies"]) == (2, [2, 2], [[0.5, 0.7], [0.9, 0.9]])
    with pytest.raises(ValueError, match="got 1"):
        training_noise(rows[:3])


def test_noise_that_explains_everything_or_cells_that_do_not_differ():
    pairs = [(0, 0, 0.4), (1, 0, 0.5), (0, 1, 0.8), (1, 1, 0.1)]
    assert training_noise([made_row(*pair) for pair in pairs])["reliability"] == 0.0
    same = training_noise([made_row(number, seed, 0.25) for number in (0, 1) for seed in (0, 1)])
    assert math.isnan(same["reliability"])
    assert math.isnan(same["tau_first_and_others"])


FEEDBACK_CELLS = tuple(
    Cell.from_edges({"1<-0": a, "2<-1": b, "3<-2": c, "0<-3": back}, num_nodes=4)
    for a, b, c, back in (
        ("skip", "skip", "skip", "zeroize"),
        ("conv3x3", "skip", "skip", "zeroize"),
        ("conv3x3", "conv3x3", "skip", "skip"),
        ("conv3x3", "conv3x3", "conv3x3", "skip"),
    )
)


def made_records(values):
    return [
        {"cell": str(cell), "seed": seed, "values": {"sahd_batch": value + seed}}
        for seed in (0, 1)
        for cell, value in zip(FEEDBACK_CELLS, values, strict=True)
    ]


def test_the_table_holds_feedback_edges_where_there_are_any():
    table = structure_table(FEEDBACK_CELLS, made_records([-9, -5, -6, -2]))
    assert table["feedback edges"].tolist() == [0, 0, 1, 1]
    assert table["longest path"].tolist() == [0, 1, 2, 3]
    assert table["sahd_batch"].tolist() == [[-9, -8], [-5, -4], [-6, -5], [-2, -1]]
    assert table["identity loops"].tolist() == [0, 0, 0, 0]
    assert "feedback edges" not in structure_table(FEEDBACK_CELLS[:2], made_records([-9, -5, -6, -2]))


@pytest.mark.parametrize(
    ("skips", "gain"),
    [
        (("1<-0", "3<-0"), 0.0),  # no loop
        (("0<-3",), 0.0),  # the way back to the start is missing
        (("3<-0", "0<-3"), 1.0),  # what is fed back arrives once
        (("1<-0", "3<-0", "3<-1", "0<-3"), 2.0),  # on two ways
        (("1<-0", "3<-1", "0<-1", "0<-3"), 2.0),  # two loops through node 0
        (("1<-0", "2<-1", "3<-2", "0<-1", "1<-2"), 2.0),  # f0' = f1' = f0 + f1
        (("1<-0", "2<-0", "3<-1", "0<-1", "1<-2"), (1 + 5**0.5) / 2),  # f0' = f0 + f1, f1' = f0: Fibonacci
    ],
)
def test_gain_of_identities_by_hand(skips, gain):
    cell = Cell.from_edges(dict.fromkeys(skips, "skip"), num_nodes=4)
    assert identity_gain(cell) == pytest.approx(gain, abs=1e-4)
    assert identity_loops(cell) == pytest.approx(gain if gain <= 1 else -gain, abs=1e-4)


def test_gain_is_the_growth_of_the_recurrence():
    """Step the cells' equations with identities alone: values grow by the gain, or vanish where it is 0."""
    for cell in draw_cells(SPACES["lightsnn"], 30, seed=3):
        ops = {edge: op for edge, op in cell.edge_ops.items() if edge in cell.live_edges and op == "skip"}
        feedback, sizes = np.ones(4), []
        for _ in range(40):
            values = np.zeros(4)
            for node in range(4):
                values[node] = feedback[node] + sum(
                    values[e.source] for e in ops if e.target == node and not e.is_backward
                )
            feedback = np.array(
                [sum(values[e.source] for e in ops if e.target == node and e.is_backward) for node in range(4)]
            )
            sizes.append(feedback.sum())
        gain = identity_gain(cell)
        assert gain == 0 or gain >= 1
        assert (sizes[-1] == 0) == (gain == 0)
        if gain > 1:
            assert sizes[-1] / sizes[-2] == pytest.approx(gain, rel=1e-3)


def test_later_cells_are_those_not_looked_at():
    accuracy, score = [0.9, 0.1, 0.2, 0.3, 0.4], [-9.0, 1.0, 2.0, 3.0, 4.0]
    found = {"rows": [made_row(i, 0, a) for i, a in enumerate(accuracy)] + [made_row(0, 1, 0.5)]}
    found |= {"scores": {"longest path": score}}
    (row,) = later_cells(found, 1, resamples=20)
    assert row["kendall_tau"].estimate == pytest.approx(1.0)
    assert later_cells(found, 3, resamples=20) == []


def test_a_set_reads_first_trainings_and_leaves_out_what_did_not_learn():
    accuracies = [(0, 0, 0.25), (1, 0, 0.5), (2, 0, 0.6), (3, 0, 0.9), (0, 1, 0.25), (1, 1, 0.6)]
    rows = [made_row(*row, cell=FEEDBACK_CELLS[row[0]]) for row in accuracies]
    records = made_records([-9, -5, -6, -2])
    found = trained_set(presets.get("motion-dvs"), FEEDBACK_CELLS, rows, records, chance=0.25, resamples=20)
    everything = {row["score"]: row["kendall_tau"].estimate for row in found["all_cells"]}
    assert everything["longest path"] == pytest.approx(1.0)
    assert everything["sahd_batch"] == pytest.approx(4 / 6)  # of 6 pairs one disagrees
    assert everything["feedback edges"] == pytest.approx(4 / math.sqrt(4 * 6))
    learned = {row["score"]: row["kendall_tau"].estimate for row in found["trained_cells"]}
    assert learned["sahd_batch"] == pytest.approx(1 / 3)
    assert found["cells"] == {"at hand": 4, "trained": 3, "chance": 0.25}
    assert found["training_seconds"] == 6 * 2.5
    assert [row["convs"] for row in found["rows"]] == [0, 1, 2, 3, 0, 1]
    assert len(found["scores"]["sahd_batch"]) == 4


def an_experiment(folder, preset: Preset) -> SameData:
    return SameData(RunFolder.open(folder), preset)


def test_a_stopped_training_goes_on_and_a_finished_one_is_read_back(tmp_path):
    preset, plan = presets.get("digits+forward").quick(), Plan(cells=2, repeats=2, extra_seeds=1)
    cells = draw_cells(FORWARD, 2, seed=0)
    rows = train_cells(an_experiment(tmp_path, preset), cells, plan)
    assert [(row["number"], row["seed"], row["cell"]) for row in rows] == [
        (0, 0, str(cells[0])),
        (1, 0, str(cells[1])),
        (0, 1, str(cells[0])),
        (1, 1, str(cells[1])),
    ]
    kept = (tmp_path / "cell001/seed1/result.json").read_bytes()
    (tmp_path / "cell000/seed1/result.json").unlink()
    again = train_cells(an_experiment(tmp_path, preset), cells, plan)
    assert [row["test_accuracy"] for row in again] == [row["test_accuracy"] for row in rows]
    assert (tmp_path / "cell001/seed1/result.json").read_bytes() == kept
    with pytest.raises(RunExistsError, match="cell was"):
        train_cells(an_experiment(tmp_path, preset), cells[::-1], plan)


def test_all_seeds_are_trained_on_the_data_of_seed_0(tmp_path):
    preset = presets.get("digits+forward").quick()
    experiment = an_experiment(tmp_path, preset)
    row = experiment.row("cell000", 2, cell=FORWARD.uniform("conv3x3"))
    row.run()
    assert row.splits.val.x.equal(preset.load(seed=0).val.x)
    assert not row.splits.val.x.equal(preset.load(seed=2).val.x)
    assert row.training.settings["train"]["seed"] == 2


def test_scores_are_kept_and_the_same_again(tmp_path):
    preset = replace(presets.get("digits+forward").quick(), per_class=8)  # a score compares 64 samples
    experiment = an_experiment(tmp_path, preset)
    cells = (*draw_cells(FORWARD, 2, seed=0), FORWARD.uniform("zeroize"))
    first = score_cells(experiment, cells[:2], seeds=[0])
    records = score_cells(experiment, cells, seeds=[0, 1])
    assert [(r["cell"], r["seed"]) for r in records] == [(str(cell), seed) for seed in (0, 1) for cell in cells]
    assert records[:2] == first
    assert set(first[0]["values"]) == {
        f"{n}_{bn}" for n in ("sahd", "hd", "swap", "firing") for bn in ("batch", "running")
    }
    assert len((tmp_path / "scores/scores.jsonl").read_text().splitlines()) == 6
    assert records[2]["values"]["sahd_batch"] == -math.inf
    assert np.isfinite(records[0]["values"]["firing_batch"])


def test_the_study_of_a_tiny_set(tmp_path):
    """The figures of a set are made of its rows, and a second call finds all of them on the disk."""
    stage, plan = RunFolder.open(tmp_path).stage("study", {}), Plan(cells=3, repeats=2, extra_seeds=1, score_seeds=1)
    tiny = {"digits": replace(presets.get("digits").quick(), per_class=8)}
    found = study_trained_cells(plan, sets=tiny, resamples=5, stage=stage)
    part = found["sets"]["digits"]
    assert [(row["number"], row["seed"]) for row in part["rows"]] == list(plan.trainings())
    assert part["cells"] == {"at hand": 3, "trained": part["cells"]["trained"], "chance": 0.1}
    assert (part["looked_at"], part["later_cells"], found["data_seed"]) == (23, [], 0)
    again = study_trained_cells(plan, sets=tiny, resamples=5, stage=stage)
    assert again["sets"]["digits"]["rows"] == part["rows"]


def test_the_balanced_recurrent_cell_keeps_a_value():
    assert identity_gain(rank_cells(SPACES["lightsnn"], recurrent=True)[0]) == 1.0
    assert identity_gain(rank_cells(SPACES["lightsnn"])[0]) == 0.0
