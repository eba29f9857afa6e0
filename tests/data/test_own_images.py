"""Images of your own: every kind of file and pixel in its stated way, layouts of folders, the cache, bad input."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lightsnn_kit.data import image_folder, load
from lightsnn_kit.data.items import pixels

RNG = np.random.RandomState(0)
COLOUR = RNG.randint(0, 256, (8, 8, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]
LOSSLESS, LOSSY = ("png", "bmp", "tiff", "webp"), ("jpg", "webp")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder of each test is its own."""
    monkeypatch.setenv("LIGHTSNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def picture(label, number, shape=(12, 16)):
    """Stripes of a direction that tells the class, each image another."""
    rng = np.random.RandomState(100 * label + number)
    y, x = np.mgrid[: shape[0], : shape[1]]
    grey = 128 + 100 * np.sin((y if label % 2 else x) * (1 + label // 2) + rng.rand() * 6)
    return np.clip(grey[..., None] + rng.randn(*shape, 3) * 9, 0, 255).astype(np.uint8)


def write(folder, classes=("cat", "dog"), per_class=10, ending="png", first=0):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            Image.fromarray(picture(label, first + number)).save(folder / name / f"{number:02d}.{ending}")
    return folder


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def mine(folder, size=8, **options):
    return load("image-folder", folder=folder, size=size, **options)


# --- pixels


@pytest.mark.parametrize("ending", LOSSLESS)
@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_an_image_of_the_size_keeps_its_pixels(tmp_path, ending, kind):
    array = GREY if kind == "L" else COLOUR
    Image.fromarray(array).save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
    found = pixels(Image.open(tmp_path / f"a.{ending}"), 8)
    wanted = array[None] if kind == "L" and ending != "webp" else np.atleast_3d(array).transpose(2, 0, 1)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.broadcast_to(wanted, found.shape))  # a WebP file has no grey


@pytest.mark.parametrize("ending", LOSSY)
def test_lossy_files_are_read_nearly(tmp_path, ending):
    smooth = np.mgrid[:64, :64][0].astype(np.uint8)[..., None].repeat(3, 2)
    Image.fromarray(smooth).save(tmp_path / f"a.{ending}", quality=95)
    found = pixels(Image.open(tmp_path / f"a.{ending}"), 64)
    assert abs(found.transpose(1, 2, 0).astype(int) - smooth).max() <= 4


def with_alpha(array, alpha):
    return np.dstack([array, np.full(array.shape[:2], alpha, np.uint8)])


def palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    return image


def palette_with_hole():
    image = palette()
    image.info["transparency"] = 1
    return image


HALF = np.rint(GREY * 0.5 + 255 * 0.5)
KINDS = {
    "grey": (Image.fromarray(GREY), GREY[None]),
    "RGB": (Image.fromarray(COLOUR), COLOUR.transpose(2, 0, 1)),
    "one bit": (Image.fromarray(GREY > 128), np.where(GREY > 128, 255, 0)[None]),
    "16 bits": (Image.fromarray(GREY.astype(np.uint16) * 256 + 255), GREY[None]),
    "16 bits, big-endian": (Image.fromarray((GREY.astype(np.uint16) * 256 + 7).astype(">u2")), GREY[None]),
    "opaque RGBA": (Image.fromarray(with_alpha(COLOUR, 255)), COLOUR.transpose(2, 0, 1)),
    "transparent RGBA": (Image.fromarray(with_alpha(COLOUR, 0)), np.full((3, 8, 8), 255)),
    "half-transparent grey": (Image.fromarray(with_alpha(GREY, 128)), HALF[None]),
    "palette": (palette(), np.array([[[10, 200]], [[20, 100]], [[30, 50]]])),
    "palette with a hole": (palette_with_hole(), np.array([[[10, 255]], [[20, 255]], [[30, 255]]])),
    "CMYK": (
        Image.new("CMYK", (2, 2), (0, 255, 0, 0)),
        np.array([255, 0, 255])[:, None, None].repeat(2, 1).repeat(2, 2),
    ),
}


@pytest.mark.parametrize(("image", "wanted"), KINDS.values(), ids=KINDS)
def test_each_kind_of_pixel_in_its_stated_way(image, wanted):
    found = pixels(image)
    assert found.shape == wanted.shape
    assert found.dtype == np.uint8
    assert abs(found.astype(int) - wanted).max() <= 2 * ("half" in str(image.mode) or image.mode == "LA")


@pytest.mark.parametrize("kind", ["tiff", "webp"])
def test_of_several_pages_or_frames_the_first(tmp_path, kind):
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200))
    first.save(tmp_path / f"two.{kind}", save_all=True, append_images=[second], lossless=True)
    with Image.open(tmp_path / f"two.{kind}") as image:
        assert image.n_frames == 2
        assert (pixels(image) == 10).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_32_bits_are_refused(mode):
    with pytest.raises(ValueError, match="32 bits, whose range nothing tells; save it with 8 or 16 bits"):
        pixels(Image.new(mode, (4, 4)))


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "jpg"])
def test_exif_turns_the_image(tmp_path, ending, orientation):
    image, exif = Image.fromarray(COLOUR[:, :5]), Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(ending, {})
    image.save(tmp_path / f"a.{ending}", exif=exif, **options)
    found = pixels(Image.open(tmp_path / f"a.{ending}")).transpose(1, 2, 0)
    wanted = TURNS[orientation](COLOUR[:, :5])
    assert found.shape == wanted.shape
    assert abs(found.astype(int) - wanted).max() <= 4 * (ending == "jpg")


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (10, 25), (8, 20), (301, 99)])
def test_the_middle_of_an_image_is_what_is_left(shape):
    """A green square of the shorter side, red beside it: nothing red is left but at the border, where pixels mix."""
    short = min(shape)
    array = np.zeros((*shape, 3), np.uint8)
    array[..., 0] = 255
    at = [(side - short) // 2 for side in shape]
    array[at[0] : at[0] + short, at[1] : at[1] + short] = [0, 255, 0]
    found = pixels(Image.fromarray(array), 16)
    assert found.shape == (3, 16, 16)
    assert (found[1, 2:-2, 2:-2] == 255).all()
    assert (found[0, 2:-2, 2:-2] == 0).all()


def test_a_large_photograph_is_averaged_not_sampled(tmp_path):
    """Black and white columns in turn become grey; a JPEG decoded at a part of its size, too."""
    array = np.zeros((512, 768, 3), np.uint8)
    array[:, ::2] = 255
    for ending in ("png", "jpg"):
        folder = tmp_path / ending
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            for number in range(5):
                shift = array if number else array[:, ::-1]
                Image.fromarray(shift).save(folder / name / f"{number}.{ending}")
        x = image_folder._read(tuple(sorted(folder.rglob("*.*"))), 16)
        assert abs(x.astype(int) - 127).max() <= 3


# --- folders


def test_class_folders_are_parted_by_their_own_seed(tmp_path):
    folder = write(tmp_path / "p", ("dog", "cat"))
    splits = mine(folder)
    assert splits.class_names == ("cat", "dog")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    assert splits.test.y.bincount().tolist() == [2, 2]
    assert splits.train.x.shape[1:] == (3, 8, 8)
    assert mine(folder, seed=5).test.x.equal(splits.test.x)  # `seed` draws the validation part alone
    assert not mine(folder, seed=5).val.x.equal(splits.val.x)
    assert not mine(folder, split_seed=1).test.x.equal(splits.test.x)
    every = torch.cat([splits.train.x, splits.val.x, splits.test.x]).flatten(1).sum(1).sort().values
    paths = sorted(folder.rglob("*.png"))
    assert every.tolist() == sorted(int(pixels(Image.open(path), 8).sum(dtype=int)) for path in paths)
    assert splits.source.startswith("20 images, 8 x 8, test by split_seed 0, names and contents ")


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Test"), ("train", "validation", "test")])
def test_parts_by_folders(tmp_path, names):
    for number, name in enumerate(names):
        write(tmp_path / "p" / name, per_class=10 - number, first=20 * number)
    splits = mine(tmp_path / "p")
    val = 18 if len(names) == 3 else 4
    train = 20 if len(names) == 3 else 16
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [train, val, 20 - 2 * (len(names) - 1)]
    assert "test by folders" in splits.source


def test_labels_are_those_of_the_folders(tmp_path):
    """Numbers are in the order of numbers, and each image has its own folder's label."""
    for name in ("2", "10", "1"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, 8), 10 * int(name) + number).save(tmp_path / "p" / name / f"{number}.png")
    splits = mine(tmp_path / "p")
    assert splits.class_names == ("1", "2", "10")
    for part in (splits.train, splits.test):
        assert part.x.shape[1:] == (1, 8, 8)  # all are grey
        tens = part.x[:, 0, 0, 0] // 10
        assert [(1, 2, 10)[label] for label in part.y] == tens.tolist()


def test_one_coloured_image_makes_all_three_channels(tmp_path):
    folder = write(tmp_path / "p")
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    before = mine(folder).test.x
    assert before.shape[1] == 1
    Image.fromarray(COLOUR).save(folder / "dog" / "99.png")
    splits = mine(folder)
    parts = torch.cat([splits.train.x, splits.val.x, splits.test.x])
    same = (parts == parts[:, :1]).flatten(1).all(1)
    assert (len(parts), int(same.sum())) == (21, 20)


def test_hidden_and_other_files_are_left_out(tmp_path):
    folder = write(tmp_path / ".p")  # a hidden folder that was asked for is read
    wanted = mine(folder)
    for hidden in (".DS_Store", "cat/._00.png", ".ipynb_checkpoints/cat/00.png", "cat/.thumbs/1.png"):
        (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder / hidden).write_bytes(b"x")
    (folder / "README.txt").write_text("beside the classes")
    assert mine(folder).source == wanted.source
    (folder / "cat" / "labels.csv").write_text("1")
    (folder / "dog" / "IMG_1.HEIC").write_text("1")
    with pytest.warns(UserWarning, match=r"left out files of other endings than \.bmp.*\(\.csv: 1, \.heic: 1\)"):
        assert mine(folder).source == wanted.source


def test_endings_in_capitals(tmp_path):
    folder = write(tmp_path / "p")
    for path in folder.rglob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    assert len(mine(folder).test) == 4


def test_copies_between_the_parts_are_told(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / "p" / part)
    with pytest.warns(UserWarning, match=r"copies of train's images in test: 20 \(test/\w+/\d+\.png = train/"):
        mine(tmp_path / "p")


def nothing(folder):
    pass


def beside(folder):
    Image.fromarray(COLOUR).save(folder / "loose.png")


def too_deep(folder):
    folder.rename(folder.parent / "inner")
    folder.mkdir()
    (folder.parent / "inner").rename(folder / "photos")


def inner(folder):
    (folder / "cat" / "persian").mkdir()


def only_train(folder):
    too_deep(folder)
    (folder / "photos").rename(folder / "train")


def new_class_in_test(folder):
    only_train(folder)
    write(folder / "test", ("cat", "bird"))


def stray_folder(folder):
    only_train(folder)
    write(folder / "test")
    (folder / "more").mkdir()


BAD_FOLDERS = {
    "no such folder": (shutil.rmtree, FileNotFoundError, r"no folder .*/p; expected CLASS/FILE, or train/CLASS/FILE"),
    "empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), ValueError, "holds no folders of classes; two"),
    "one class": (lambda f: shutil.rmtree(f / "dog"), ValueError, "holds only the class 'cat'; two classes or more"),
    "empty class": (
        lambda f: (f / "emu").mkdir(),
        ValueError,
        r"class folder .*/emu holds nothing; put files of",
    ),
    "class of texts": (
        lambda f: ((f / "emu").mkdir(), (f / "emu" / "a.heic").touch()),
        ValueError,
        r"class folder .*/emu holds files of other endings, such as a\.heic; put",
    ),
    "too deep": (too_deep, ValueError, "holds only the class 'photos'|one level too deep"),
    "deep in a class": (inner, ValueError, r"cat/persian is a folder within a class's: one level too deep\. Give as"),
    "beside the classes": (beside, ValueError, r"loose\.png lies in no folder of a class; expected CLASS/FILE"),
    "no test": (only_train, ValueError, r"has no folder test, only train\. Make it, .* a fifth is then held out"),
    "class in test alone": (
        new_class_in_test,
        ValueError,
        r"test has the class 'bird', which train has not",
    ),
    "beside the parts": (stray_folder, ValueError, "holds train and test, and beside them more; move it away"),
    "few": (
        lambda f: [(f / "cat" / f"0{i}.png").unlink() for i in range(5)],
        ValueError,
        r"cat holds 5 files; a fifth of",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders_are_refused_before_any_image_is_read(tmp_path, monkeypatch, change, error, message):
    change(write(tmp_path / "p"))
    monkeypatch.setattr(image_folder, "_digests", lambda paths: pytest.fail("files were read"))
    with pytest.raises(error, match=f"(?s){message}"):
        mine(tmp_path / "p")


@pytest.mark.parametrize("size", [0, -3, 2.5, "32", True, None, 10**6])
def test_bad_sizes(tmp_path, size):
    with pytest.raises(ValueError, match="size must be a whole number from 1 to 4096, got"):
        mine(write(tmp_path / "p"), size=size)


def test_unknown_and_missing_options():
    with pytest.raises(ValueError, match=r"missing a required .*'folder'.*options of this data set: folder, size"):
        load("image-folder")


def test_a_class_may_be_named_train(tmp_path):
    assert mine(write(tmp_path / "p", ("car", "plane", "train"))).class_names == ("car", "plane", "train")


# --- damaged files


def test_all_damaged_files_are_named_and_nothing_is_changed(tmp_path, cache):
    folder = write(tmp_path / "p", ending="jpg")
    wanted = mine(folder, size=4)
    bad = [folder / "cat" / "03.jpg", folder / "cat" / "07.jpg", folder / "dog" / "00.jpg"]
    kept = {path: path.read_bytes() for path in bad}
    bad[0].write_bytes(kept[bad[0]][:400])
    bad[1].write_bytes(b"")
    bad[2].write_text("<html>404</html>")
    before, stored = contents(folder), contents(cache)
    with pytest.raises(ValueError, match=r"3 of 20 images cannot be read: .*03\.jpg .*07\.jpg .*00\.jpg "):
        mine(folder, size=4)
    assert contents(folder) == before
    assert contents(cache) == stored
    for path, content in kept.items():
        path.write_bytes(content)
    assert mine(folder, size=4).test.x.equal(wanted.test.x)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_cut_file_of_each_kind_is_named(tmp_path, ending):
    folder = write(tmp_path / "p", ending=ending)
    path = folder / "dog" / f"04.{ending}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"1 of 20 images cannot be read: .*dog/04\.{ending} \(\w+"):
        mine(folder)


def test_a_bomb_is_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "p")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # twice that is refused: of 16 x 12 pixels 192
    with pytest.raises(ValueError, match=r"20 of 20 images cannot be read: .*00\.png \(DecompressionBombE.* and 15 m"):
        mine(folder)


def test_a_missing_target_is_named(tmp_path):
    folder = write(tmp_path / "p")
    (folder / "cat" / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(OSError, match=r"cat/link\.png"):
        mine(folder)


# --- what is kept


def test_images_are_decoded_once(tmp_path, cache, monkeypatch):
    folder = write(tmp_path / "p")
    before, splits = contents(folder), mine(folder)
    assert contents(folder) == before
    assert [path.name[:2] for path in cache.iterdir()] == ["p-"]
    read = image_folder._read
    monkeypatch.setattr(image_folder, "_read", lambda *args: pytest.fail("images were decoded again"))
    again = mine(shutil.copytree(folder, tmp_path / "elsewhere" / "p"))  # the contents count, not place or time
    for part in ("train", "val", "test"):
        assert getattr(again, part).x.equal(getattr(splits, part).x)
    assert again.source == splits.source
    mine(folder, split_seed=3)
    calls = []
    monkeypatch.setattr(image_folder, "_read", lambda *args: calls.append(args[1]) or read(*args))
    mine(folder, size=9)
    Image.fromarray(picture(1, 77)).save(folder / "cat" / "00.png")
    assert mine(folder).source != splits.source
    (folder / "cat" / "01.png").rename(folder / "dog" / "01b.png")
    mine(folder)
    assert calls == [9, 8, 8]


def test_damaged_stored_images_are_made_anew(tmp_path, cache):
    folder = write(tmp_path / "p")
    wanted = mine(folder).test.x.clone()
    (stored,) = cache.iterdir()
    (stored / "x.npy").write_bytes((stored / "x.npy").read_bytes()[:-7])
    with pytest.warns(UserWarning, match=r"image-folder: the stored images in .* were damaged .* made anew\.$"):
        assert mine(folder).test.x.equal(wanted)


def test_without_a_cache_images_stay_in_memory(tmp_path, monkeypatch):
    folder = write(tmp_path / "p")
    wanted = mine(folder).train.x
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIGHTSNN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cannot write to the folder .*/file/images.* images stay in memory "):
        assert mine(folder).train.x.equal(wanted)


def test_memory_is_estimated_before_work(tmp_path, monkeypatch):
    import psutil

    folder = write(tmp_path / "p")
    monkeypatch.setattr(image_folder, "_digests", lambda paths: pytest.fail("files were read"))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**9})())
    said = r"20 images of 4096 x 4096 pixels need 2\.0 GB of memory, and 1\.0 GB are available; take a smaller size"
    with pytest.raises(ValueError, match=said):
        mine(folder, size=4096)


def test_the_bar_says_what_is_done(tmp_path, monkeypatch, capsys):
    import tqdm.auto

    bar = tqdm.auto.tqdm
    monkeypatch.setattr(tqdm.auto, "tqdm", lambda *args, **options: bar(*args, **{**options, "delay": 0}))
    mine(write(tmp_path / "p"), size=128)
    said = capsys.readouterr().err
    assert "image-folder: at most 1 MB: 100%" in said
    assert "20/20" in said
