"""Reading SpikeNAS-Bench from tiny made files in both layouts; the real table only where it is at hand."""

import os
from pathlib import Path

import pytest
from studies.spikenas_bench import ID_EDGES, decode_id, load_spikenas_bench, made_up_bench

from lightsnn_kit.cells import Cell, Edge, Op

HEADER = "id,1<-0,2<-0,3<-0,2<-1,3<-1,3<-2,test_acc,epochs,params\n"
ROW_A = "8,conv3x3@1.0,skip,zeroize,zeroize,zeroize,zeroize,71.5,100,17917668\n"
ROW_B = "2,conv3x3@0.5,zeroize,zeroize,zeroize,zeroize,zeroize,10.0,200,17917668\n"
LOG = """architecture id: 8
model parameters: 17917668
epoch, train_acc, train_loss, val_acc, val_loss
0.000, 40.000, 1.500, 41.000, 1.400
1.000, 50.000, 1.300, 52.000, 1.200
test accuracy: 71.500
firing rate of layers: 0.244, -1.000, 0.081
Elapsed time: 1.0hour8.0minute57.1second
"""


def test_ids_count_in_base_five():
    cell, thresholds = decode_id(4 * 5**2 + 1 * 5**5)  # third digit: edge 3<-0, sixth: 3<-2
    assert cell.op(Edge(3, 0)) is Op.CONV3X3
    assert cell.op(Edge(3, 2)) is Op.SKIP
    assert thresholds == tuple(1.5 if edge == Edge(3, 0) else None for edge in cell.edges)
    assert sorted(ID_EDGES) == sorted(cell.edges)
    assert len({decode_id(number) for number in range(5**6)}) == 5**6


@pytest.mark.parametrize("number", [-1, 5**6, 3.0, True])
def test_ids_out_of_range(number):
    with pytest.raises(ValueError, match="from 0 to 15624"):
        decode_id(number)


def test_csv(tmp_path):
    (tmp_path / "cifar10_some.csv").write_text(HEADER + ROW_A + ROW_B)
    (tmp_path / "cifar100_other.txt").write_text("not read")
    second, first = load_spikenas_bench(tmp_path)
    assert (first.id, first.accuracy, first.params, first.epochs) == (8, 71.5, 17917668, 100)
    assert first.cell == Cell.parse("|conv3x3~0|+|skip~0|zeroize~1|+|zeroize~0|zeroize~1|zeroize~2|")
    assert (first.in_lightsnn_space, second.in_lightsnn_space) == (True, False)


@pytest.mark.parametrize("below", ["", "data"])
def test_published_logs(tmp_path, below):
    folder = tmp_path / below / "CIFAR10" / "8"
    folder.mkdir(parents=True)
    (folder / "train_process.txt").write_text(LOG)
    (cell,) = load_spikenas_bench(tmp_path)
    (tmp_path / "cifar10.csv").write_text(HEADER + ROW_A.replace(",100,", ",2,"))
    assert load_spikenas_bench(tmp_path) == (cell,)  # both layouts say the same


def test_damaged_files_are_named(tmp_path):
    table = tmp_path / "cifar10.csv"
    table.write_text(HEADER + ROW_A.replace("skip", "zeroize"))
    with pytest.raises(ValueError, match="edge 2<-0 has 'zeroize', but id 8 means 'skip'"):
        load_spikenas_bench(tmp_path)
    table.write_text(HEADER + ROW_A + ROW_A)
    with pytest.raises(ValueError, match="holds 1 cells twice"):
        load_spikenas_bench(tmp_path)
    table.unlink()
    folder = tmp_path / "CIFAR10" / "9"
    folder.mkdir(parents=True)
    (folder / "train_process.txt").write_text(LOG)
    with pytest.raises(ValueError, match="says architecture id 8"):
        load_spikenas_bench(tmp_path)
    (folder / "train_process.txt").write_text(LOG.split("test accuracy")[0])
    with pytest.raises(ValueError, match="no line 'test accuracy"):
        load_spikenas_bench(tmp_path)


def test_absence_says_what_was_looked_for(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"tju-sun-lab/SpikeNAS-Bench and pass the folder that holds CIFAR100/"):
        load_spikenas_bench(tmp_path, dataset="CIFAR100")
    monkeypatch.delenv("LIGHTSNN_EXTRA_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set LIGHTSNN_EXTRA_DATA"):
        load_spikenas_bench()


def test_made_up_cells_fill_the_space_and_have_siblings():
    cells = made_up_bench()
    ours = [cell for cell in cells if cell.in_lightsnn_space]
    assert len({cell.cell for cell in cells}) == len(ours) == 3**6
    assert len(cells) == 2 * 3**6 - 2**6  # 64 cells hold no convolution, so no threshold to change
    assert {cell.accuracy for cell in ours if cell.cell.conv_path_lengths() is None} == {10.0}
    assert set(made_up_bench(step=50)) < set(cells)


@pytest.mark.skipif(
    not (Path(os.environ.get("LIGHTSNN_EXTRA_DATA", "/none")) / "spikenas-bench").is_dir(), reason="no SpikeNAS-Bench"
)
def test_the_table_at_hand():
    cells = load_spikenas_bench()
    ours = [cell for cell in cells if cell.in_lightsnn_space]
    assert len(ours) <= 3**6
    dead = [cell for cell in ours if cell.cell.conv_path_lengths() is None]
    assert all(cell.accuracy == 10.0 for cell in dead)  # no path from input to output: chance
    assert all(cell.accuracy > 75.0 for cell in ours if cell not in dead)
    # a convolution has 9·(128² + 256²) weights and 2·(128 + 256) of its batch normalisations, dead or not
    assert {cell.params - 738048 * sum(op.is_conv for op in cell.cell.ops) for cell in cells} == {17179620}
