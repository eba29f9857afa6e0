"""Files of data sets: where they lie, whether they are the published ones, and fetching those that are missing.

Nothing that was there before is ever changed or deleted.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..files import replacing, user_path

STAND_IN = "SYNTHETIC_STAND_IN.txt"
"""The file that marks a folder of made-up samples in the format of a real data set."""


def data_folder() -> Path:
    """The folder named by the variable LIGHTSNN_DATA, or else ``data/`` of the repository the kit is imported from.

    ``FileNotFoundError`` if there is none, as where the kit was installed without its repository.
    """
    root, named = Path(__file__).resolve().parents[2], os.environ.get("LIGHTSNN_DATA")
    folder = user_path(named) if named else root / "data"
    if not folder.is_dir() or not (named or (root / "pyproject.toml").is_file()):  # beside an installed kit: another's
        raise FileNotFoundError(
            f"no data folder {folder}; set LIGHTSNN_DATA to the folder data/ of the repository, or to a folder of "
            f"yours for data sets, which may be empty."
        )
    return folder


def set_folder(name: str, folder: str | Path | None) -> Path:
    """``folder``, or else the data set's own folder in ``data_folder()``; it need not exist."""
    return data_folder() / name if folder is None else user_path(folder)


def cache_folder() -> Path:
    """The folder for what can be made again: LIGHTSNN_CACHE, or else the kit's own in the user's cache folder.

    It need not exist. ``RunError`` for a user without a home folder.
    """
    import platformdirs

    return user_path(os.environ.get("LIGHTSNN_CACHE") or platformdirs.user_cache_dir("lightsnn_kit"))


def is_hidden(path: Path, root: Path) -> bool:
    """True for copies that programs keep out of sight below ``root``: they are no samples, in any layout.

    >>> is_hidden(Path("/x/.data/3/._4.npy"), Path("/x/.data")), is_hidden(Path("/x/.data/3/4.npy"), Path("/x/.data"))
    (True, False)
    """
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def visible(folder: Path, ending: str) -> list[Path]:
    """All files below a folder whose name ends so, in the order of their names, without those that are hidden."""
    found = [path for path in folder.rglob(f"*{ending}") if path.is_file() and not is_hidden(path, folder)]
    return sorted(found)


def check_memory(what: str, needed: int, advice: str) -> None:
    """``ValueError`` for what needs more memory than the machine has left, a warning for over half: before it is taken.

    >>> check_memory("frames", 10**18, "take fewer steps")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: frames need 1,000,000,000.0 GB of memory, and ... GB are available; take fewer steps.
    """
    import psutil

    if needed < 2**28:  # not worth asking
        return
    free = psutil.virtual_memory().available
    said = f"{what} need {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are available; {advice}."
    if needed > free:
        raise ValueError(said)
    if needed > free / 2:
        warnings.warn(said, stacklevel=3)


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
