"""Files of data sets: where they lie, whether they are the published ones, and fetching those that are missing.

Nothing that was there before is ever changed or deleted.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..files import replacing

STAND_IN = "SYNTHETIC_STAND_IN.txt"
"""The file that marks a folder of made-up samples in the format of a real data set."""


def data_folder() -> Path:
    """The folder named by the variable LIGHTSNN_DATA, or else ``data/`` of the repository the kit is imported from."""
    named = os.environ.get("LIGHTSNN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "data"
    if not folder.is_dir():
        raise FileNotFoundError(f"no data folder {folder}; set LIGHTSNN_DATA to the folder data/ of the repository.")
    return folder


def set_folder(name: str, folder: str | Path | None) -> Path:
    """``folder``, or else the data set's own folder in ``data_folder()``; it need not exist."""
    return data_folder() / name if folder is None else Path(folder).expanduser()


def is_stand_in(folder: Path) -> bool:
    """True if a folder or the one that holds it is marked as made up."""
    return any((place / STAND_IN).is_file() for place in (folder, folder.parent))


def md5_of(path: Path) -> str:
    """The md5 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def fetch(url: str, path: Path, *, md5: str) -> None:
    """Download ``url`` to ``path`` by pooch; a file that is already there is checked, and never replaced.

    It gets its name when it is complete and its md5 is right. ``OSError`` if the server cannot be reached or breaks
    off, ``ValueError`` for another md5; then nothing is left behind.
    """
    import pooch

    if path.exists():  # pooch would replace it
        _check_md5(path, md5, f"move it away to download it again from {url}")
        return
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, f"md5:{md5}", fname=path.name, path=path.parent, progressbar=True)
    except OSError as error:
        raise OSError(f"cannot download {url}: {error}. Run it again, or put the file at {path} yourself.") from error
    except ValueError as error:
        raise ValueError(
            f"{url} gave another file, which was discarded: {error}. Put the right one at {path}."
        ) from error


def unpack(archive: Path, folder: Path, md5s: Mapping[str, str]) -> None:
    """Copy the named files of a tar archive into ``folder/<first part of each name>``, each complete and checked.

    Only the files of ``md5s`` (name in the archive -> md5) are read, whatever else the archive holds or says. Files
    that are there already stay as they are. ``ValueError`` for a damaged archive.
    """
    name = ""
    try:
        with tarfile.open(archive) as tar:
            for name, md5 in md5s.items():
                target = folder / name
                if not target.exists():
                    with replacing(target) as making:
                        making.write_bytes(tar.extractfile(name).read())
                        _check_md5(making, md5, f"it is {name} of {archive}, which is not the published archive")
    # no such name, no regular file (None has no read), an archive or a compressed stream that breaks off
    except (KeyError, AttributeError, tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} has no readable file {name} ({error}); move it away.") from error


def _check_md5(path: Path, md5: str, advice: str) -> None:
    if (found := md5_of(path)) != md5:
        raise ValueError(f"{path} has md5 {found}, expected {md5}; {advice}.")
