"""Files of data sets: where they lie, and whether they are the published ones."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The folder named by the variable LIGHTSNN_DATA, or else ``data/`` of the repository the kit is imported from."""
    named = os.environ.get("LIGHTSNN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / "data"
    if not folder.is_dir():
        raise FileNotFoundError(f"no data folder {folder}; set LIGHTSNN_DATA to the folder data/ of the repository.")
    return folder
