"""A newcomer's own folder of photographs is searched, trained and reported on by two commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.files import read_json
from lightsnn_kit.lab.experiments import Experiment

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("across", "along", "down", "up")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """200 photographs as a telephone leaves them: stripes in four directions, JPEGs of several sizes, some turned."""
    folder, rng = tmp_path_factory.mktemp("own") / "my photos", np.random.RandomState(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(50):
            height, width = rng.randint(90, 200, 2)
            y, x = np.mgrid[:height, :width] * 20 / min(height, width)
            angle = np.pi / 4 * label + rng.uniform(-0.1, 0.1)
            grey = 128 + 80 * np.sin(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 6))
            colour = grey[..., None] + rng.randn(height, width, 3) * 20 + rng.randint(-30, 30, 3)
            image, exif = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)), Image.Exif()
            if number % 5 == 0:
                exif[0x0112], image = 6, image.rotate(90, expand=True)
            image.save(folder / name / f"IMG_{number:04d}.jpg", exif=exif)
        (folder / name / ".DS_Store").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """The run folder after the first command, given from the photographs' own place."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTSNN_CACHE", str(place))
        patch.chdir(photos.parent)
        run = place / "run"
        assert command_line.main([*TRAIN, "--data", "folder=my photos", "--run", str(run)]) == 0
        patch.chdir(place)
        yield run


TRAIN = ["train", "--dataset", "image-folder", "--data", "size=16", "--method", "lightsnn"]
TRAIN += ["--width", "4", "--num-steps", "2", "--epochs", "12"]


def test_the_first_command_searches_and_trains(trained, photos, capsys):
    """The second one, `evaluate`, tests from any other folder, and prints the figures of the row."""
    capsys.readouterr()
    assert command_line.main(["evaluate", "--run", str(trained), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (row["method"], row["evaluations"], row["test_samples"]) == ("lightsnn", 60, 40)
    assert row["preset"] == "image-folder, width 4, num steps 2, size 16, folder my photos"
    assert row["test_accuracy"] > 0.5  # chance: 0.25
    assert not row["stand_in"]
    experiment = Experiment.open(trained)
    assert dict(experiment.preset.data) == {"size": 16, "folder": str(photos)}
    splits, _ = experiment.load(0)
    assert splits.class_names == CLASSES
    assert splits.source.startswith("200 images, 16 x 16, test by split_seed 0, ")


def test_other_photographs_are_refused(trained, photos, capsys):
    """A run goes on with the images that it was begun with."""
    path = photos / "up" / "IMG_0007.jpg"
    content = path.read_bytes()
    Image.new("RGB", (99, 99), "red").save(path)
    try:
        again = [*TRAIN, "--data", f"folder={photos}", "--run", str(trained), "--seed", "1"]
        assert command_line.main(again) == 2
    finally:
        path.write_bytes(content)
    assert "source was '200 images" in capsys.readouterr().err


@pytest.mark.notebooks
def test_the_second_command_reports(trained):
    notebooks = [str(ROOT / "notebooks" / f"{name}.ipynb") for name in ("evaluate", "report")]
    assert command_line.main(["run", *notebooks, "--run", str(trained)]) == 0
    assert (trained / "report.html").stat().st_size > 10**5
    (row,) = read_json(trained / "results.json")["rows"]
    assert row["test_samples"] == 40


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "image-folder: missing a required argument: 'folder'; the options of this data set: folder, size"),
        (["folder=nowhere"], "image-folder: no folder "),
        (["folder=.", "size=0"], "size must be a whole number from 1 to 4096, got 0"),
        (
            ["folder=.", "sizes=32"],
            "got an unexpected keyword argument 'sizes'; the options of this data set: folder, s",
        ),
        (["folder=."], "holds no folders of classes"),
    ],
)
def test_bad_options_are_told(data, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [word for one in data for word in ("--data", one)]
    assert command_line.main(["search", "--dataset", "image-folder", *options]) == 2
    assert said in capsys.readouterr().err


def test_an_option_needs_a_value(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["search", "--dataset", "image-folder", "--data", "photos"])
    assert "expected name=value such as width=8, but got 'photos'" in capsys.readouterr().err
