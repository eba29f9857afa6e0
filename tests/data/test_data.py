"""Data: golden numbers of the embedded sets, disjoint parts, scoring batches, and every error message."""

import hashlib
import importlib.util
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightsnn_kit import data
from lightsnn_kit.data import Split, Splits, load, names, register, scoring_batches
from lightsnn_kit.data import splits as _splits

FOLDER = Path(__file__).resolve().parents[2] / "data"
NPZ = FOLDER / "fashion-mnist-small.npz"


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Each test registers into a copy and reads the committed data."""
    monkeypatch.setattr(data, "_LOADERS", {name: data._LOADERS[name] for name in ("digits", "fashion-mnist-small")})
    monkeypatch.delenv("LIGHTSNN_DATA", raising=False)


def samples(split):
    """Every sample as its bytes; no two images of the embedded sets are equal, so this stands for the index."""
    return [image.tobytes() for image in split.x.numpy()]


def checkerboard(num_samples=20, num_classes=2, shape=(1, 4, 4)):
    """Tiny valid images: sample i holds 0, i, 0, i, ... and has class i % num_classes."""
    x = torch.zeros(num_samples, *shape, dtype=torch.uint8)
    x.flatten(1)[:, 1::2] = torch.arange(num_samples, dtype=torch.uint8)[:, None]
    return x, torch.arange(num_samples) % num_classes


def tiny(**changes):
    return Splits.from_tensors(**{"name": "tiny", "train": checkerboard(), "test": checkerboard()} | changes)


# --- the embedded sets


def test_digits_golden():
    splits = load("digits")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [1157, 285, 355]
    assert splits.train.y.bincount().tolist() == [115, 117, 114, 118, 116, 117, 116, 116, 112, 116]
    assert splits.val.y.bincount().tolist() == [28, 29, 28, 29, 29, 29, 29, 28, 28, 28]
    assert splits.test.y.bincount().tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert splits.train.x.dtype == torch.uint8
    assert splits.train.x.shape[1:] == (1, 8, 8)
    assert splits.network_settings() == {
        "input_shape": (1, 8, 8),
        "num_classes": 10,
        "input_centre": (73,),
        "input_scale": 0.0110776,
        "events": False,
    }


def test_digits_are_those_of_scikit_learn_times_15():
    from sklearn.datasets import load_digits

    bunch, splits = load_digits(), load("digits")
    levels = {
        (image * 15).astype(np.uint8).tobytes(): label for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    parts = [splits.train, splits.val, splits.test]
    assert {image: y for part in parts for image, y in zip(samples(part), part.y.tolist(), strict=True)} == levels
    assert len(levels) == 1797
    assert max(part.x.max() for part in parts) == 240
    fifth_zero = np.flatnonzero(bunch.target == 0)[4]
    assert (
        samples(splits.test)[splits.test.y.tolist().index(0)] == (bunch.images[fifth_zero] * 15).astype("u1").tobytes()
    )


def test_fashion_golden():
    splits = load("fashion-mnist-small")
    assert splits.train.y.bincount().tolist() == [200] * 10
    assert splits.val.y.bincount().tolist() == splits.test.y.bincount().tolist() == [50] * 10
    assert int(splits.test.x.sum()) == 29089426
    assert int(splits.train.x.sum()) + int(splits.val.x.sum()) == 143524412
    assert splits.test.x.shape == (500, 1, 28, 28)
    assert (splits.class_names[splits.test.y[0]], int(splits.test.x[0].sum())) == ("T-shirt/top", 78865)
    assert (splits.centre, splits.scale) == ((73,), 0.0110816)


@pytest.mark.parametrize(("name", "total"), [("digits", 1797), ("fashion-mnist-small", 3000)])
def test_parts_are_disjoint_and_only_train_and_val_depend_on_the_seed(name, total):
    first, again, other = load(name, seed=0), load(name, seed=0), load(name, seed=1)
    sets = [set(samples(part)) for part in (first.train, first.val, first.test)]
    assert len(set.union(*sets)) == sum(map(len, sets)) == total
    assert samples(first.val) == samples(again.val)
    assert samples(first.train) == samples(again.train)
    assert torch.equal(first.test.x, other.test.x)
    assert torch.equal(first.test.y, other.test.y)
    moved = set(samples(other.val))
    assert moved != sets[1]
    assert moved | set(samples(other.train)) == sets[0] | sets[1]


# --- the file and its script


def test_file_is_small_and_its_checksum_is_the_documented_one():
    content = NPZ.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    assert len(content) <= 1_400_000
    assert checksum == data._SHA256[NPZ.name]
    assert checksum in (FOLDER / "README.md").read_text()
    assert "Copyright (c) 2017 Zalando SE" in (FOLDER / "LICENSE-fashion-mnist").read_text()


def script():
    spec = importlib.util.spec_from_file_location("make_fashion", FOLDER / "make_fashion_mnist_small.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_makes_the_committed_file(tmp_path):
    maker = script()
    if not maker.SOURCE.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    made = tmp_path / "made.npz"
    made.write_bytes(maker.make())
    with np.load(made) as new, np.load(NPZ) as old:
        assert sorted(new) == sorted(old)
        assert all(np.array_equal(new[key], old[key]) for key in old)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng compresses to other bytes
        assert made.read_bytes() == NPZ.read_bytes()


def test_script_names_a_missing_source(tmp_path):
    with pytest.raises(SystemExit, match=r"no .*train-images-idx3-ubyte.gz; install Debian's package dataset-fashion"):
        script().make(tmp_path)


def test_missing_and_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTSNN_DATA", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=rf"no file {tmp_path}/fashion.*sha256 b2a1d5ab.*git checkout -- data/fas"
    ):
        load("fashion-mnist-small")
    content = NPZ.read_bytes()
    (tmp_path / NPZ.name).write_bytes(content[:-1])
    cut = hashlib.sha256(content[:-1]).hexdigest()
    with pytest.raises(ValueError, match=rf"{tmp_path}/fashion.* is damaged: sha256 {cut}, expected b2a1d5ab.*restore"):
        load("fashion-mnist-small")
    shutil.copy(NPZ, tmp_path)
    assert len(load("fashion-mnist-small").test) == 500


def test_missing_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTSNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"no data folder .*nowhere; set LIGHTSNN_DATA to the folder data/"):
        load("fashion-mnist-small")
    monkeypatch.setenv("LIGHTSNN_DATA", "")  # empty means unset
    assert data.data_folder() == FOLDER


# --- a user's own data


def test_centre_and_scale_by_hand():
    x = torch.tensor([[0, 4], [2, 6]] * 6, dtype=torch.uint8).reshape(12, 2, 1, 1)  # channel means 1 and 5
    y = torch.tensor([0, 1] * 6)
    splits = Splits.from_tensors(name="hand", train=(x, y), val=(x, y), test=(x, y))
    assert splits.centre == (1, 5)
    assert splits.scale == 0.447214  # values 0, 2, 4, 6 about 3: variance (9 + 1 + 1 + 9) / 4 = 5, and 1 / sqrt(5)
    floats = Splits.from_tensors(name="hand", train=(x / 8, y), val=(x / 8, y), test=(x / 8, y))
    assert floats.centre == (0, 1)
    assert floats.scale == 3.57771


def test_val_is_carved_by_class_or_given():
    x, y = checkerboard(25, 2)  # 13 + 12 samples: a fifth rounded down is 2 + 2
    carved = tiny(train=(x, y))
    assert carved.val.y.bincount().tolist() == [2, 2]
    assert len(carved.train) == 21
    given_val = tiny(train=(x, y), val=checkerboard(6))
    assert len(given_val.val) == 6
    assert len(given_val.train) == 25
    assert carved.class_names == ("0", "1")
    assert tiny(class_names=["a", "b"]).class_names == ("a", "b")


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=60), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_carving_is_a_stratified_partition(labels, seed):
    y = torch.tensor(labels)
    counts = y.bincount(minlength=4)
    split = Split(torch.arange(len(y)).reshape(-1, 1, 1, 1).float(), y)
    if counts.max() < 5:
        with pytest.raises(ValueError, match="val is carved from classes of at least 5 samples, train has none"):
            _splits.carve("set", split, seed)
        return
    train, val = _splits.carve("set", split, seed)
    assert sorted(torch.cat([train.x, val.x]).flatten().tolist()) == list(range(len(y)))
    assert torch.equal(val.y.bincount(minlength=4), counts // 5)
    for part in (train, val):  # order and labels are kept
        index = part.x.flatten().long()
        assert torch.equal(index, index.sort().values)
        assert torch.equal(part.y, y[index])


def test_event_frames_are_carried_and_turned_to_time_first():
    x = torch.arange(20 * 3 * 2 * 2 * 2).reshape(20, 3, 2, 2, 2).float()
    splits = tiny(train=(x, torch.arange(20) % 2), test=(x[:4], [0, 1, 0, 1]))
    assert splits.network_settings() == {
        "input_shape": (2, 2, 2),
        "num_classes": 2,
        "input_centre": (0, 0),
        "input_scale": 1.0,
        "events": True,
    }
    frames, y = splits.test.batch(torch.tensor([2, 0]))
    assert frames.shape == (3, 2, 2, 2, 2)
    assert frames.is_contiguous()
    assert y.tolist() == [0, 0]
    assert torch.equal(frames[1, 0], x[2, 1])
    (batch,) = scoring_batches(splits.test, batch_size=4, num_batches=1, seed=0)
    assert batch.shape == (3, 4, 2, 2, 2)
    assert sorted(batch[2, :, 0, 0, 0].tolist()) == x[:4, 2, 0, 0, 0].tolist()


def test_arrays_and_small_label_types_are_taken():
    x, y = checkerboard()
    split = Split(x.numpy(), y.numpy().astype(np.uint16))
    assert repr(split) == "Split(x=uint8[20, 1, 4, 4], y=int64[20])"
    assert split.y.tolist() == y.tolist()


def with_nan():
    x = checkerboard()[0].float()
    x[3, 0, 1, 1], x[7, 0, 0, 0] = torch.nan, torch.inf
    return x


BAD_TENSORS = {
    "no channel axis": (
        {"train": (torch.zeros(9, 8, 8), torch.zeros(9))},
        r"tiny: train: x must be .*shape \[9, 8, 8\].*x\[:, None\]",
    ),
    "three polarities": (
        {"test": (torch.zeros(9, 4, 3, 8, 8), [0] * 9)},
        r"tiny: test: x must be .*\[n, T, 2, H, W\].*\[9, 4, 3, 8, 8\]",
    ),
    "no samples": (
        {"val": (torch.zeros(0, 1, 4, 4), [])},
        r"tiny: val: .*at least one sample, got shape \[0, 1, 4, 4\]",
    ),
    "int64 pixels": (
        {"train": (checkerboard()[0].long(), [0] * 20)},
        r"uint8, int16 or floating point, got torch.int64; uint8 holds these values",
    ),
    "float labels": (
        {"train": (checkerboard()[0], torch.zeros(20))},
        r"integer label .*\(shape \[20\], int64\), got shape \[20\], torch.float32",
    ),
    "one-hot labels": (
        {"train": (checkerboard()[0], torch.eye(20).long())},
        r"for each of the 20 samples .*got shape \[20, 20\]",
    ),
    "lengths": ({"test": (checkerboard()[0], [0] * 19)}, r"tiny: test: y must be .*the 20 samples .*got shape \[19\]"),
    "negative label": ({"train": (checkerboard()[0], [0] * 9 + [-1] * 11)}, r"labels 0..K-1, got -1 for sample 9"),
    "nan": ({"train": (with_nan(), [0] * 20)}, r"tiny: train: x has NaN or infinity in sample 3 \(2 of 20 samples\)"),
    "not a pair": ({"train": checkerboard()[0]}, r"tiny: train must be a pair \(x, y\), got Tensor"),
    "gap in labels": (
        {"train": (checkerboard()[0], [0, 1, 3, 3] * 5)},
        r"train has label 3, but train holds 3 classes, so labels must be 0..2",
    ),
    "class only in test": (
        {"test": checkerboard(20, 3)},
        r"test has label 2, but train holds 2 classes, so labels must be 0..1",
    ),
    "one class": (
        {"train": checkerboard(20, 1), "test": checkerboard(20, 1)},
        r"has the label 0, .* 2 classes",
    ),
    "class names": ({"class_names": ("a", "b", "c")}, r"\(2, 3, 1, False\), expected \(2, 2, 1, False\)"),
    "other size": (
        {"test": checkerboard(shape=(1, 6, 6))},
        r"samples like train's .*4, 4\].*; test is Split\(x=uint8\[20, 1, 6, 6\]",
    ),
    "other type": (
        {"test": (checkerboard()[0].float(), [0] * 20)},
        r"tiny: all parts need .*; test is Split\(x=float32",
    ),
    "few samples": (
        {"train": checkerboard(8)},
        r"tiny: val is carved from classes of at least 5 samples, .*pass val=\(x, y\)",
    ),
    "constant": (
        {"train": (torch.full((20, 1, 4, 4), 7.0), [0, 1] * 10), "test": (torch.ones(2, 1, 4, 4), [0, 1])},
        r"every value of train is 7;",
    ),
    "seed": ({"seed": -1}, r"seed must be a whole number of 0 or more, got -1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_bad_tensors_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


# --- names


def test_the_three_lines_of_the_readme_work():
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "stripes" in block)
    scope = dict(zip(("x_train", "y_train"), checkerboard(30), strict=True))
    scope |= dict(zip(("x_test", "y_test"), checkerboard(10), strict=True))
    exec(block, scope)
    assert names() == ("digits", "fashion-mnist-small", "stripes")
    assert [len(part) for part in (scope["splits"].train, scope["splits"].val, scope["splits"].test)] == [24, 6, 10]


def test_register_refuses_a_taken_name_and_other_things():
    with pytest.raises(ValueError, match="'digits' exists already; choose another name, or pass replace=True"):
        register("digits", lambda seed: tiny(seed=seed))
    assert load("digits").name == "digits"
    register("digits", lambda seed: tiny(seed=seed), replace=True)
    assert load("digits").name == "tiny"
    with pytest.raises(TypeError, match=r"a function loader\(seed\) -> Splits, got 'mine' and 3"):
        register("mine", 3)
    register("mine", lambda seed: checkerboard())
    with pytest.raises(TypeError, match="the loader of 'mine' must return Splits"):
        load("mine")


def test_unknown_name_and_bad_seed():
    with pytest.raises(
        ValueError, match=r"unknown data set 'digit'; .*digits, fashion-mnist-small, .*Did you mean 'digits'\?"
    ):
        load("digit")
    with pytest.raises(ValueError, match=r"unknown data set \['digits'\]"):
        load(["digits"])
    register("mine", lambda seed: pytest.fail("the loader ran in spite of a bad seed"))
    for seed in (-1, 1.0, True, "7"):
        with pytest.raises(ValueError, match=r"seed must be a whole number of 0 or more, got"):
            load("mine", seed=seed)


# --- scoring batches


def test_scoring_batches_golden():
    split = Split(torch.arange(10.0).reshape(10, 1, 1, 1), [0] * 10)
    first, second = scoring_batches(split, batch_size=4, seed=7)
    order = np.random.RandomState(7).permutation(10)  # NumPy promises this stream for good
    assert order[:8].tolist() == [8, 5, 0, 2, 1, 9, 7, 3]
    assert first.flatten().tolist() == [8, 5, 0, 2]
    assert second.flatten().tolist() == [1, 9, 7, 3]
    other, _ = scoring_batches(split, batch_size=4, seed=8)
    assert other.flatten().tolist() != first.flatten().tolist()


@given(n=st.integers(1, 40), size=st.integers(1, 40), batches=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_scoring_batches_never_repeat_a_sample_needlessly(n, size, batches, seed):
    split = Split(torch.arange(n).reshape(n, 1, 1, 1).float(), [0] * n)
    if size > n:
        with pytest.raises(ValueError, match=f"batch_size {size} is larger than the split of {n} samples"):
            scoring_batches(split, batch_size=size, num_batches=batches, seed=seed)
        return
    drawn = [b.flatten().tolist() for b in scoring_batches(split, batch_size=size, num_batches=batches, seed=seed)]
    assert [len(set(batch)) for batch in drawn] == [size] * batches
    if size * batches <= n:
        assert len(set().union(*drawn)) == size * batches


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.0}, {"batch_size": 2, "num_batches": -1}])
def test_scoring_batches_need_positive_integers(options):
    with pytest.raises(
        ValueError, match=r"(batch_size|num_batches) must be a whole number of 1 or more, got (0|2.0|-1)\."
    ):
        scoring_batches(tiny().train, seed=0, **options)
