"""CIFAR10 and CIFAR100: real files read as published, refused when damaged, fetched without ever losing anything."""

import copy
import hashlib
import http.server
import io
import pickle
import socketserver
import tarfile
import threading

import numpy as np
import pytest
import torch
from loaders import torchvision_datasets  # a helper of these tests: the module, or a skip with the reason
from standins import make_tiny_cifar

from lightsnn_kit.data import cifar, load
from lightsnn_kit.data import files as data_files
from lightsnn_kit.data.augmentation import augment

KINDS = {"cifar10": ("cifar-10-batches-py", cifar._CIFAR10), "cifar100": ("cifar-100-python", cifar._CIFAR100)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder that holds both data sets as made-up files."""
    folder = tmp_path_factory.mktemp("cifar")
    for kind in KINDS:
        make_tiny_cifar(folder, kind, seed=3)
    return folder


@pytest.fixture
def copied(tiny, tmp_path):
    """The tiny CIFAR10, to be damaged."""
    for path in (tiny / "cifar-10-batches-py").iterdir():
        (tmp_path / "cifar-10-batches-py").mkdir(exist_ok=True)
        (tmp_path / "cifar-10-batches-py" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def contents(folder):
    """Every file below a folder with its bytes: nothing may change."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def by_hand(path, labels):
    """What a file holds, read by the standard library alone."""
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    return content["data"].reshape(-1, 3, 32, 32), content[labels]


# --- reading


@pytest.mark.parametrize(("kind", "sizes"), [("cifar10", (80, 20, 20)), ("cifar100", (800, 200, 200))])
def test_tiny_files_are_read_as_they_are(tiny, kind, sizes):
    before = contents(tiny)
    splits = load(kind, seed=1, folder=tiny, check=False)
    assert tuple(map(len, (splits.train, splits.val, splits.test))) == sizes
    assert (splits.train.x.dtype, tuple(splits.train.x.shape[1:])) == (torch.uint8, (3, 32, 32))
    assert splits.num_classes == len(splits.class_names) == KINDS[kind][1].num_classes
    folder, published = KINDS[kind]
    x, y = by_hand(tiny / folder / published.test[0], published.labels)
    assert np.array_equal(splits.test.x, x)
    assert splits.test.y.tolist() == y
    train = [by_hand(tiny / folder / file, published.labels) for file in published.train]
    images = {image.tobytes(): label for x, y in train for image, label in zip(x, y, strict=True)}
    ours = [
        (image.numpy().tobytes(), label)
        for part in (splits.train, splits.val)
        for image, label in zip(part.x, part.y.tolist(), strict=True)
    ]
    assert dict(ours) == images
    assert len(ours) == len(images)
    assert contents(tiny) == before


def test_class_names_and_the_mark_of_a_stand_in(tiny):
    splits = load("cifar10", folder=tiny, check=False)
    assert splits.class_names[3] == "cat"
    assert splits.stand_in
    assert splits.source.startswith("cifar-10-batches-py: not the published files (data_batch_1, ")
    assert not load("digits").stand_in
    assert load("cifar10", folder=tiny / "cifar-10-batches-py", check=False).train.x.equal(splits.train.x)


def test_published_files_are_known_by_their_md5(tiny, monkeypatch):
    folder, published = KINDS["cifar10"]
    md5s = {name: hashlib.md5((tiny / folder / name).read_bytes()).hexdigest() for name in published.md5s}
    monkeypatch.setitem(vars(cifar), "_CIFAR10", replace_md5s(published, md5s))
    splits = load("cifar10", folder=tiny)
    assert (splits.stand_in, splits.source) == (False, "cifar-10-batches-py: the published files (md5)")


def replace_md5s(published, md5s, **changes):
    changed = copy.copy(published)
    for name, value in ({"md5s": md5s} | changes).items():
        object.__setattr__(changed, name, value)
    return changed


@pytest.mark.loaders
@pytest.mark.parametrize("kind", KINDS)
def test_torchvision_reads_the_same(tiny, kind):
    datasets = torchvision_datasets()
    folder, published = KINDS[kind]
    md5s = {name: hashlib.md5((tiny / folder / name).read_bytes()).hexdigest() for name in published.md5s}
    base = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
    # the published md5 sums, as torchvision lists them; then ours, so that its check runs on the tiny files
    theirs = dict(base.train_list + base.test_list) | {base.meta["filename"]: base.meta["md5"]}
    assert theirs == published.md5s
    assert (base.tgz_md5, base.filename, base.base_folder) == (published.archive_md5, published.archive, folder)
    lists = {part: [[name, md5s[name]] for name, _ in getattr(base, part)] for part in ("train_list", "test_list")}
    retargeted = type(base.__name__, (base,), lists | {"meta": base.meta | {"md5": md5s[published.meta]}})
    ours = load(kind, folder=tiny, check=False)
    test = retargeted(tiny, train=False)
    assert ours.class_names == tuple(test.classes)
    for (image, label), x, y in zip(test, ours.test.x, ours.test.y, strict=True):
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), x)
        assert label == y
    train = {np.asarray(image).transpose(2, 0, 1).tobytes(): label for image, label in retargeted(tiny, train=True)}
    parts = (ours.train, ours.val)
    assert {x.numpy().tobytes(): y for part in parts for x, y in zip(part.x, part.y.tolist(), strict=True)} == train


# --- missing and damaged files


def test_missing_files_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar100: no train, test, meta in .*/cifar-100-python\. Pass download=True, or get https://www\.cs\.tor"
        r"onto\.edu/~kriz/cifar-100-python\.tar\.gz \(169,001,437 bytes, md5 eb9058c3a382ffc7106e4002c42a8d85\)",
    ):
        load("cifar100", folder=tmp_path)
    monkeypatch.setenv("LIGHTSNN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"in {tmp_path}/cifar10/cifar-10-batches-py\. "):
        load("cifar10")
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match=r"cifar10: .*'root'; the options of this data set: folder, check, download"):
        load("cifar10", root="x")
    with pytest.raises(ValueError, match=r"digits: .*'folder'; the options of this data set: none"):
        load("digits", folder="x")


def test_other_files_are_refused_and_kept(tiny):
    before = contents(tiny)
    with pytest.raises(
        ValueError, match=r"data_batch_1, .* are not the published files: md5 .*, expected c99cafc1.*mad"
    ):
        load("cifar10", folder=tiny)
    with pytest.raises(ValueError, match="are not the published files"):  # download=True replaces nothing either
        load("cifar10", folder=tiny, download=True)
    assert contents(tiny) == before


def repickle(path, protocol=2, **changes):
    content = pickle.loads(path.read_bytes(), encoding="latin1") | changes
    path.write_bytes(_repickled(content, protocol))


def _repickled(content, protocol):
    import standins

    return standins._pickle_2(content) if protocol == 2 else pickle.dumps(content, protocol)


BAD_FILES = {
    "a label": (lambda p: repickle(p, labels=[10] * 20), r"test_batch has the label 10, expected integers 0\.\.9"),
    "a text label": (lambda p: repickle(p, labels=["cat"] * 20), r"has the label 'cat'"),
    "too few labels": (
        lambda p: repickle(p, labels=[1]),
        r"'data' uint8 \[n, 3072\].*got uint8 \[20, 3072\] and 1 lab",
    ),
    "a narrow image": (lambda p: repickle(p, data=np.zeros((20, 9), np.uint8)), r"got uint8 \[20, 9\] and 20 labels"),
    "wide integers": (lambda p: repickle(p, data=np.zeros((20, 3072), np.uint16)), r"got uint16 \[20, 3072\]"),
    "no data": (lambda p: repickle(p, data=None), r"got <class 'NoneType'> \[\]"),
    "a list": (lambda p: p.write_bytes(pickle.dumps([1], 2)), r"must hold a dictionary, got list"),
    "half a file": (
        lambda p: p.write_bytes(p.read_bytes()[:-9000]),
        r"test_batch cannot be read: .*; restore the file",
    ),
    "an empty file": (lambda p: p.write_bytes(b""), r"test_batch cannot be read: EOFError"),
    "code": (lambda p: p.write_bytes(pickle.dumps(print)), r"it asks for builtins\.print, which no CIFAR file needs"),
    "an opener": (lambda p: p.write_bytes(b"cos\nsystem\n(S'touch x'\ntR."), r"it asks for os\.system"),
}


@pytest.mark.parametrize(("damage", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_damaged_files_are_named(copied, damage, message):
    damage(copied / "cifar-10-batches-py" / "test_batch")
    before = contents(copied)
    with pytest.raises(ValueError, match=message):
        load("cifar10", folder=copied, check=False)
    assert contents(copied) == before


def test_damaged_class_names(copied):
    repickle(copied / "cifar-10-batches-py" / "batches.meta", label_names=["a"])
    with pytest.raises(ValueError, match=r"batches\.meta must hold the list 'label_names' of 10 names"):
        load("cifar10", folder=copied, check=False)


# --- download


class Server(socketserver.ThreadingTCPServer):
    """Serves one file; cuts the first ``cuts`` answers off after ``cut_at`` bytes."""

    allow_reuse_address = True

    def __init__(self, content, *, cuts=0, cut_at=0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cuts, self.cut_at, self.asked = content, cuts, cut_at, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        cut, server.cuts = server.cuts > 0, max(0, server.cuts - 1)
        self.wfile.write(server.content[: server.cut_at] if cut else server.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(content, **options):
        servers.append(server := Server(content, **options))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def published(tiny, serve, monkeypatch):
    """The tiny CIFAR10 as if it were the published one: a function that serves its archive."""
    folder, real = KINDS["cifar10"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(tiny / folder, folder)
    archive = stream.getvalue()
    md5s = {name: hashlib.md5((tiny / folder / name).read_bytes()).hexdigest() for name in real.md5s}
    facts = {"archive_md5": hashlib.md5(archive).hexdigest(), "archive_size": len(archive)}
    monkeypatch.setattr(cifar, "_CIFAR10", replace_md5s(real, md5s, **facts))

    def start(content=archive, **options):
        server = serve(content, **options)
        monkeypatch.setattr(cifar, "_SITE", server.url)
        return server

    start.archive = archive
    return start


def test_download_unpacks_verified_files_only(published, tiny, tmp_path):
    server, root = published(), tmp_path / "new"
    splits = load("cifar10", folder=root, download=True)
    assert splits.test.x.equal(load("cifar10", folder=tiny).test.x)
    assert (splits.stand_in, server.asked) == (False, ["/cifar-10-python.tar.gz"])
    made = {str(name) for name in contents(root)}
    assert made == {"cifar-10-python.tar.gz", *(f"cifar-10-batches-py/{name}" for name in cifar._CIFAR10.md5s)}
    before = contents(root)
    load("cifar10", folder=root, download=True)
    (root / "cifar-10-batches-py" / "test_batch").unlink()  # a missing file comes from the archive that is there
    load("cifar10", folder=root, download=True)
    assert len(server.asked) == 1
    assert contents(root) == before


def test_an_interrupted_download_leaves_nothing_and_starts_again(published, tmp_path):
    published(cuts=1, cut_at=5000)
    with pytest.raises(OSError, match=r"cannot download http.*Run it again, or put the file at .*tar\.gz yourself"):
        load("cifar10", folder=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []
    load("cifar10", folder=tmp_path, download=True)
    assert (tmp_path / "cifar-10-python.tar.gz").read_bytes() == published.archive


@pytest.mark.parametrize("length", [-3000, 0, 9])
def test_a_wrong_file_is_discarded(published, tmp_path, length):
    published(b"x" * (len(published.archive) + length))
    with pytest.raises(ValueError, match=r"gave another file, which was discarded: .*Put the right one at"):
        load("cifar10", folder=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_the_user_is_never_replaced(published, tmp_path):
    server = published()
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"mine")
    with pytest.raises(
        ValueError, match=r"cifar-10-python\.tar\.gz has md5 .*; move it away to download it again from"
    ):
        load("cifar10", folder=tmp_path, download=True)
    assert contents(tmp_path) == {next(iter(contents(tmp_path))): b"mine"}
    assert server.asked == []


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "_SITE", "http://127.0.0.1:1/")
    with pytest.raises(OSError, match=r"cannot download http://127\.0\.0\.1:1/.*refused"):
        load("cifar10", folder=tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_unpacking_takes_regular_files_by_name_and_leaves_nothing_else(tmp_path):
    archive, root = tmp_path / "a.tar", tmp_path / "root"
    root.mkdir()
    with tarfile.open(archive, "w") as tar:
        for name in ("d/good", "../evil", "d/bad"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        link = tarfile.TarInfo("d/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    empty = hashlib.md5(b"").hexdigest()
    for name, message in (("d/link", "no readable file d/link"), ("d/none", "no readable file d/none")):
        with pytest.raises(ValueError, match=message):
            data_files.unpack(archive, root, {"d/good": empty, name: empty})
    with pytest.raises(ValueError, match=r"it is d/bad of .*a\.tar, which is not the published archive"):
        data_files.unpack(archive, root, {"d/bad": "0" * 32})
    assert {str(name) for name in contents(tmp_path)} == {"a.tar", "root/d/good"}
    archive.write_bytes(archive.read_bytes()[:700])
    with pytest.raises(ValueError, match="has no readable file d/bad"):
        data_files.unpack(archive, root, {"d/bad": empty})


# --- crop, flip and normalisation in batches, on bytes


def test_augmentation_of_bytes_is_that_of_floats_and_of_the_definition():
    """Bit-equal to moving each padded image on its own, and the same whether images are bytes or floats."""
    x = torch.arange(8 * 3 * 32 * 32).reshape(8, 3, 32, 32).remainder(251).to(torch.uint8)
    fill = (125.0, 123.0, 114.0)
    moved = augment(x, crop=4, flip=True, fill=fill, generator=torch.Generator().manual_seed(5))
    as_floats = augment(x.float(), crop=4, flip=True, fill=fill, generator=torch.Generator().manual_seed(5))
    assert moved.dtype == torch.uint8
    assert moved.float().equal(as_floats)
    generator = torch.Generator().manual_seed(5)
    top, left = torch.randint(9, (2, 8, 1), generator=generator)
    mirrored = torch.rand(8, 1, generator=generator) < 0.5
    for image, got, i, j, flip in zip(x, moved, top, left, mirrored, strict=True):
        padded = torch.stack(
            [torch.nn.functional.pad(c, (4, 4, 4, 4), value=f) for c, f in zip(image, fill, strict=True)]
        )
        window = padded[:, int(i) : int(i) + 32, int(j) : int(j) + 32]
        assert got.equal(window.flip(-1) if flip else window)
    assert 0 < mirrored.sum() < 8


def test_normalised_cifar_has_mean_near_0_and_spread_1(tiny):
    splits = load("cifar10", folder=tiny, check=False)
    centre = torch.tensor(splits.centre).view(3, 1, 1)
    x = (splits.train.x.double() - centre) * splits.scale
    assert x.mean((0, 2, 3)).abs().max() <= 0.5 * splits.scale  # the centre is rounded to an integer
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("kind", "least"), [("cifar10", 0.7), ("cifar100", 0.4)])
def test_the_stand_in_can_be_learned(tiny, kind, least):
    """Even the nearest class mean finds most test images' classes, by chance it would be 0.1 and 0.01."""
    splits = load(kind, folder=tiny, check=False)
    means = torch.stack([splits.train.x[splits.train.y == k].float().mean(0) for k in range(splits.num_classes)])
    found = torch.cdist(splits.test.x.float().flatten(1), means.flatten(1)).argmin(1)
    assert (found == splits.test.y).float().mean() >= least
