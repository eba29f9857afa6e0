"""Files of data sets: where they lie, whether they are the published ones, and fetching those that are missing.

Nothing that was there before is ever changed or deleted. A file gets its final name only when it is complete and its
checksum is right; what is fetched so far is kept beside it as ``NAME.part``, from where the next try goes on.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path

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


def fetch(url: str, path: Path, *, md5: str, size: int) -> None:
    """Download ``url`` to ``path``; a file that is already there is checked, and never replaced.

    An interrupted download goes on at its last byte if the server can (HTTP Range), and starts again otherwise.
    ``OSError`` if it is cut off or the server cannot be reached (what came is kept), ``ValueError`` for a wrong md5
    (what came is discarded).
    """
    if path.exists():
        _check_md5(path, md5, f"move it away to download it again from {url}")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        if _length(part) < size:
            _append(url, part)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", None) == 416:  # the server's file ends before what we hold: start again next time
            part.unlink()
        raise OSError(f"cannot download {url} ({_length(part):,} of {size:,} bytes in {part}): {error}") from error
    if _length(part) < size:
        raise OSError(f"{url} was cut off: {_length(part):,} of {size:,} bytes are in {part}; run it again to go on.")
    if (found := md5_of(part)) != md5:
        part.unlink()  # our own, and of no use: the next try must not go on from it
        raise ValueError(
            f"{url} gave a file with md5 {found}, expected {md5}; it was discarded. Run it again, or get the file "
            f"elsewhere and put it at {path}."
        )
    os.replace(part, path)


def unpack(archive: Path, folder: Path, md5s: Mapping[str, str]) -> None:
    """Copy the named files of a tar archive into ``folder/<first part of each name>``, each complete and checked.

    Only the files of ``md5s`` (name in the archive -> md5) are read, whatever else the archive holds or says. Files
    that are there already stay as they are. ``ValueError`` for a damaged archive.
    """
    name = ""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as temporary, tarfile.open(archive) as tar:
            for number, (name, md5) in enumerate(md5s.items()):
                target, copy = folder / name, Path(temporary, str(number))
                if target.exists():
                    continue
                copy.write_bytes(tar.extractfile(name).read())
                _check_md5(copy, md5, f"it is {name} of {archive}, which is not the published archive")
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(copy, target)
    # no such name, no regular file (None has no read), an archive or a compressed stream that breaks off
    except (KeyError, AttributeError, tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} has no readable file {name} ({error}); move it away.") from error


def _check_md5(path: Path, md5: str, advice: str) -> None:
    if (found := md5_of(path)) != md5:
        raise ValueError(f"{path} has md5 {found}, expected {md5}; {advice}.")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(url: str, part: Path) -> None:
    """Write what the server sends to ``part``, after what it holds if the server goes on from there."""
    have = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with part.open("ab" if goes_on else "wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
