"""Make ``fashion-mnist-small.npz``: 2,500 + 500 real images cut from Fashion-MNIST, the same bytes every time.

    sudo apt-get install dataset-fashion-mnist      # Debian or Ubuntu: the four original files, MIT licence
    python data/make_fashion_mnist_small.py

Of the 60,000 training images 250 of each class are drawn, of the 10,000 test images 50 of each class, with a fixed
seed, and kept in the order of the original files. The four files can also come from elsewhere: ``--source FOLDER``.
The printed checksum must be the one in ``data/README.md``; a zlib other than the classic one (such as zlib-ng) gives
the same arrays in other bytes, which the kit refuses: restore the committed file from git then.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

SOURCE = Path("/usr/share/datasets/fashion-mnist")
OUTPUT = Path(__file__).resolve().parent / "fashion-mnist-small.npz"
PER_CLASS = {"train": 250, "t10k": 50}
SEED = 0


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of a gzipped IDX file: 2 zero bytes, type 8, number of axes, then big-endian sizes."""
    if not path.is_file():
        raise SystemExit(f"no {path}; install Debian's package dataset-fashion-mnist, or give --source FOLDER.")
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise SystemExit(f"{path} starts with {raw[:3].hex()}, expected 000008 (an IDX file of bytes).")
    sizes = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def cut(source: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 28, 28] and labels [n], uint8, balanced over the ten classes, in the order of the source."""
    images, labels = (read_idx(source / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    rng = np.random.RandomState(SEED)  # numpy keeps this generator's stream the same in all versions
    drawn = [rng.permutation(np.flatnonzero(labels == label))[: PER_CLASS[part]] for label in range(10)]
    chosen = np.sort(np.concatenate(drawn))
    return images[chosen], labels[chosen]


def make(source: Path = SOURCE) -> bytes:
    """The npz file as bytes: ``train_x``, ``train_y``, ``test_x``, ``test_y``."""
    (train_x, train_y), (test_x, test_y) = cut(source, "train"), cut(source, "t10k")
    buffer = io.BytesIO()  # npz members carry a constant date, so the bytes depend on the arrays and zlib only
    np.savez_compressed(buffer, train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)
    return buffer.getvalue()


def main() -> None:
    """Write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the four *-ubyte.gz files")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the npz file to write")
    options = parser.parse_args()
    content = make(options.source)
    options.output.write_bytes(content)
    print(f"{options.output.name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
