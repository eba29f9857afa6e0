"""Several processes train one network: the numbers of one process, one writer, clear ends where something is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import Tensor, nn

from lightsnn_kit.__main__ import main
from lightsnn_kit.checkpoints import digest, read_checkpoint
from lightsnn_kit.files import RunError
from lightsnn_kit.layers import BatchNorm
from lightsnn_kit.ranks import Ranks, of_torchrun
from lightsnn_kit.training import fit
from lightsnn_kit.updates import parts
from tests.core.rank_work import (
    ALIKE,
    CONFIG,
    ROOT,
    environment_of_ranks,
    small_network,
    splits_of_digits,
    started,
    trained,
)

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TORCHRUN |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


# ---- who takes what --------------------------------------------------------------------------------------------------


def of_rank(rank: int, count: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.count = rank, count
    return ranks


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 16))
def test_parts_and_shares_cover_a_batch(size: int, accumulate: int, ranks: int) -> None:
    """Each sample once, in order; shares and parts are even; with a sample for each rank no share is empty."""
    cuts = parts(size, accumulate=accumulate, ranks=ranks)
    shares = [of_rank(rank, ranks).share(low, high) for low, high in cuts for rank in range(ranks)]
    assert [i for each in shares for i in range(each.start, each.stop)] == list(range(size))
    sizes = [high - low for low, high in cuts]
    assert max(sizes) - min(sizes) <= 1
    assert len(cuts) <= accumulate
    if size >= max(2, ranks):
        assert min(sizes) >= 2
        assert min(each.stop - each.start for each in shares) >= 1
    assert all(max(found) - min(found) <= 1 for found in [[s.stop - s.start for s in shares[:ranks]]])


# ---- batch normalisation over ranks ----------------------------------------------------------------------------------


def norm_step(norm: nn.Module, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    y = y.detach().requires_grad_()
    out = norm(y)
    grads = torch.autograd.grad((out * weights).sum(), (y, norm.weight, norm.bias))
    return (out.detach(), *grads)


class Meeting:
    """Threads in the place of ranks: each waits for the others, and gets the sum in the order of the ranks."""

    def __init__(self, count: int) -> None:
        self.barrier, self.values = threading.Barrier(count), [None] * count

    def add_up(self, rank: int, values: Tensor) -> Tensor:
        self.values[rank] = values.clone()
        self.barrier.wait(60)
        total = sum(self.values)
        self.barrier.wait(60)
        return total


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_norm_is_that_of_the_whole_batch(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """Uneven shares against torch on the whole batch in double precision: output, gradients, running statistics."""
    generator = torch.Generator().manual_seed(0)
    y, weights = (5 + 2 * torch.randn(7, 3, 4, 5, generator=generator) for _ in range(2))
    y = y.to(dtype, memory_format=layout)
    meeting, cuts = Meeting(3), [slice(0, 1), slice(1, 4), slice(4, 7)]
    norms = [BatchNorm(3) for _ in cuts]
    for rank, norm in enumerate(norms):
        norm.add_up = partial(meeting.add_up, rank)
    with ThreadPoolExecutor(3) as pool:
        shares = list(pool.map(norm_step, norms, [y[cut] for cut in cuts], [weights[cut] for cut in cuts]))
    whole = nn.BatchNorm2d(3).double()
    out, grad, gamma, beta = norm_step(whole, y.double(), weights.double())
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 1e-3, "atol": 0.05}  # of values near 8
    for i, expected in enumerate((out, grad)):
        found = torch.cat([share[i] for share in shares])
        assert found.dtype == dtype
        assert torch.allclose(found.double(), expected, **near)
    for i, expected in enumerate((gamma, beta), start=2):
        assert torch.allclose(sum(share[i] for share in shares).double(), expected, **near)
    assert grad.abs().max() > 0.1
    for norm in norms:
        assert torch.allclose(norm.running_mean.double(), whole.running_mean, rtol=1e-6)
        assert torch.allclose(norm.running_var.double(), whole.running_var, rtol=1e-6)
        assert norm.num_batches_tracked == 1


# ---- two processes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """What two processes did that were started once, by gloo on the processor."""
    place = tmp_path_factory.mktemp("ranks")
    ends = started(2, ["work", str(place)])
    assert [status for status, _ in ends] == [0, 0], ends
    return place, [torch.load(place / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", ALIKE)
def test_two_ranks_are_one_process_with_the_whole_batch(both, name: str) -> None:
    """Losses to 1e-6 and weights to 1e-5 after 3 or 6 updates, whose size is 0.1; both ranks have the same bits.

    They are not those of one process: a convolution's gradient is a float32 sum over samples, and here the sums of two
    shares are added. The sums of normalisation are in double precision, order of data, augmentation and dropout are the
    same bits. In a long training a membrane within such an error of the threshold will spike in one alone.
    """
    one, (first, second) = trained(name), (found[name] for found in both[1])
    assert first["records"] == second["records"]
    start = small_network(splits_of_digits(), **ALIKE[name][0]).state_dict()
    moved = 0.0
    for key, weights in one["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key])
        assert torch.allclose(first["weights"][key], weights, rtol=0, atol=1e-5), key
        moved = max(moved, (weights - start[key]).abs().max().item())
    assert moved > 0.01
    for mine, theirs in zip(map(dict, first["records"]), map(dict, one["records"]), strict=True):
        assert mine.pop("precision") == theirs.pop("precision") == "float32"
        assert mine == pytest.approx(theirs, rel=1e-6)


def test_bfloat16_on_two_ranks(both) -> None:
    """There rounding is coarse, spikes differ, and every update makes more of it: losses to 1 %."""
    one, (first, second) = trained("plain", amp="on"), (found["bfloat16"] for found in both[1])
    assert first["records"] == second["records"]
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert [record["train_loss"] for record in first["records"]] == pytest.approx(
        [record["train_loss"] for record in one["records"]], rel=1e-2
    )
    assert first["records"][0]["train_loss"] != both[1][0]["plain"]["records"][0]["train_loss"]


def test_rank_0_alone_writes(both) -> None:
    place, (first, _) = both
    assert not (place / "run1").exists()
    stored = read_checkpoint(place / "run0" / "last.pt")
    assert [record | {"seconds": 0} for record in stored["history"]] == first["plain"]["records"]
    assert all(torch.equal(value, first["plain"]["weights"][name]) for name, value in stored["network"].items())


def test_one_process_reads_what_two_have_trained(both, tmp_path: Path) -> None:
    """A checkpoint does not depend on the number of ranks; the provenance of a run tells it."""
    shutil.copytree(both[0] / "run0", tmp_path / "run")
    again = list(fit(small_network(splits_of_digits()), splits_of_digits(), CONFIG, folder=tmp_path / "run"))
    assert [asdict(record) | {"seconds": 0} for record in again] == both[1][0]["plain"]["records"]


def test_what_is_wrong_is_told_on_every_rank(both) -> None:
    _, (first, second) = both
    assert "cell, first weights, data or settings of rank 0 are those of rank 0" in first["other data"]
    assert "cell, first weights, data or settings of rank 1 are not those of rank 0" in second["other data"]
    for found in (first, second):
        assert "each of the 2 ranks needs a sample of every batch and of the validation part" in found["too few"]
        assert found["no folder"].startswith("OSError: cannot write the checkpoint")
        assert "TrainingDivergedError: " in found["wild"]
        assert "learning rate 1e+38. Last good checkpoint kept: none" in found["wild"]
        assert not any(found["norms"])  # nothing is left in the network
        assert found["sum"] == (3.0, 1.0)


# ---- refused before any work -----------------------------------------------------------------------------------------


def test_one_process_needs_no_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert of_torchrun() is None
    set_all(monkeypatch, TORCHRUN | {"WORLD_SIZE": "1"})
    assert of_torchrun() is None


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"RANK": ""}, "RANK='' is not what it sets"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
        ({"MASTER_ADDR": " "}, "MASTER_ADDR=''"),
        ({"MASTER_PORT": "-1"}, "MASTER_PORT='-1'"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000"),
        ({"RANK": "4"}, "RANK=4, WORLD_SIZE=4"),
        ({"LOCAL_RANK": "5"}, "LOCAL_RANK=5"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE=3"),  # the machines have other numbers of processes
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
    ],
)
def test_a_malformed_environment(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str) -> None:
    set_all(monkeypatch, TORCHRUN | wrong)
    with pytest.raises(RunError, match="TORCHELASTIC_RUN_ID says that torchrun has started") as error:
        of_torchrun()
    assert said in str(error.value)
    assert "torchrun --nproc_per_node=2 -m -- lightsnn_kit train" in str(error.value)


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_more_ranks_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TORCHRUN)
    with_gpus(monkeypatch, 2)
    with pytest.raises(RunError, match=r"4 processes on this machine, which has 2 GPUs; .*--nproc_per_node=2, or hide"):
        of_torchrun()


@pytest.mark.parametrize(("gpus", "name"), [(4, "nccl"), (0, "gloo")])
def test_no_way_to_talk(monkeypatch: pytest.MonkeyPatch, gpus: int, name: str) -> None:
    set_all(monkeypatch, TORCHRUN)
    with_gpus(monkeypatch, gpus)
    monkeypatch.setattr(torch.distributed, f"is_{name}_available", lambda: False)
    with pytest.raises(RunError, match=f"(?i)was built without {name}, by which processes talk") as error:
        of_torchrun()
    assert ("CUDA_VISIBLE_DEVICES=" in str(error.value)) == (gpus > 0)


def test_without_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TORCHRUN)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(RunError, match=r"Lightning Fabric, and it is not here .*pip install 'lightsnn_kit\[fabric\]'"):
        of_torchrun()


def test_nobody_else_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 asks at a port where no rank 0 listens."""
    set_all(monkeypatch, TORCHRUN)
    monkeypatch.setattr("lightsnn_kit.ranks.PATIENCE", timedelta(seconds=1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(RunError, match=f"rank 1 cannot reach the others at 127.0.0.1:{port}: "):
            of_torchrun()


@pytest.mark.parametrize("command", ["search", "evaluate --run x", "demo", "run x.ipynb --run x"])
def test_other_commands_take_one_process(monkeypatch: pytest.MonkeyPatch, capsys, command: str) -> None:
    set_all(monkeypatch, TORCHRUN)
    assert main(command.split()) == 2
    assert f"start {command.split()[0]} without torchrun" in capsys.readouterr().err


def test_a_cancelled_run_is_not_started_again(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    """torchrun takes the end of a cancelled process for a failure."""
    (tmp_path / "run" / "job").mkdir(parents=True)
    (tmp_path / "run" / "job" / "cancel").touch()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(["train", "--run", str(tmp_path / "run")]) == 130
    assert "cancelled; run it again" in capsys.readouterr().err


def fabric_of(**wrong: object) -> SimpleNamespace:
    precision = SimpleNamespace(precision=wrong.pop("precision", "32-true"))
    strategy = type(wrong.pop("strategy", "DDPStrategy"), (), {"precision": precision})()
    size = {"world_size": 2, "global_rank": 0, "all_reduce": None, "broadcast": None}
    return SimpleNamespace(strategy=strategy, **(size | wrong))


@pytest.mark.parametrize(
    ("fabric", "said"),
    [
        ("ddp", "fabric must be a lightning_fabric.Fabric, got 'ddp'"),
        (fabric_of(strategy="FSDPStrategy"), "use strategy='ddp', got FSDPStrategy"),
        (fabric_of(precision="bf16-mixed"), r"TrainConfig\(amp='on'\)"),
        (fabric_of(), "the 2 processes of this Fabric are not connected; call fabric.launch"),
    ],
)
def test_fabrics_that_are_none(fabric: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(small_network(splits_of_digits()), splits_of_digits(), CONFIG, fabric=fabric)


def test_a_fabric_of_one_process_changes_nothing() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    alone, with_it = (trained("plain", each) for each in (None, fabric))
    assert alone["records"] == with_it["records"]
    assert all(torch.equal(value, with_it["weights"][name]) for name, value in alone["weights"].items())


# ---- a rank is killed ------------------------------------------------------------------------------------------------


def words(folder: Path) -> list[str]:
    """A training of four epochs, each of 3 updates and 1 validation; the ninth forward pass is in the third."""
    words = ["train", "--cell", "0303 0030 2002 0200", "--name", "mine", "--setting", "batch_size=512", "--test"]
    return [*words, "--width=4", "--num-steps=2", "--epochs=4", "--json", "--run", str(folder)]


def dying(rank: int, place: Path) -> dict[str, str]:
    return {"DIES": str(rank), "AT": "9", "MARK": str(place / "mark")}


ROW = Path("mine", "seed0", "train")


def bits(folder: Path, said: str) -> tuple[object, ...]:
    """What is left of a training: which test samples are right, the epochs, a digest of weights and momenta."""
    epochs = [json.loads(line) for line in (folder / ROW / "epochs.jsonl").read_text().splitlines()]
    kept = read_checkpoint(folder / ROW / "checkpoints" / "last.pt")
    digests = digest([kept["network"], kept["optimizer"]])
    return json.loads(said.splitlines()[-1])["right"], [epoch["train_loss"] for epoch in epochs], digests


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """What two ranks leave that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ends = started(2, words(folder))
    assert [status for status, _ in ends] == [0, 0], ends
    assert '"ranks": 2' in (folder / ROW / "settings.json").read_text()
    return bits(folder, ends[0][1])


@pytest.mark.fault
@pytest.mark.parametrize("dies", [0, 1])
def test_a_killed_rank(whole: tuple, tmp_path: Path, dies: int) -> None:
    """The other ends by itself and says why; the same command again ends with the bits of a run that was not killed."""
    folder = tmp_path / "run"
    ends = started(2, words(folder), **dying(dies, tmp_path))
    assert ends[dies][0] == -signal.SIGKILL
    status, said = ends[1 - dies]
    assert status == 2
    assert f"error: rank {1 - dies} of 2 has lost another" in said
    assert "start the same command again" in said
    assert "Traceback" not in said
    assert len((folder / ROW / "epochs.jsonl").read_text().splitlines()) == 2
    ends = started(2, words(folder), **dying(dies, tmp_path))
    assert [status for status, _ in ends] == [0, 0], ends
    assert bits(folder, ends[0][1]) == whole
    assert len(whole[1]) == 4


@pytest.mark.fault
def test_torchrun_starts_a_killed_training_again(whole: tuple, tmp_path: Path) -> None:
    """``--max-restarts``: all anew, from the last finished epoch; addresses of the dead ranks are not asked."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--max-restarts=1"]
    options = ["--monitor-interval=1", "-m", "--", "tests.core.rank_work", *words(tmp_path / "run")]
    environment = environment_of_ranks(**dying(1, tmp_path))
    done = subprocess.run([*torchrun, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "rank 0 of 2 has lost another" in done.stderr
    assert (tmp_path / "mark").exists()
    assert bits(tmp_path / "run", done.stdout) == whole
