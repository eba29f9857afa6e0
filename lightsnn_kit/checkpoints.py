"""Checkpoint files: written atomically, read without running code from them; and the networks in them."""

from __future__ import annotations

from pathlib import Path

import torch

from .files import replacing
from .networks import NetworkConfig, SpikingNetwork, build_network

FORMAT = 1


def write_checkpoint(path: Path, content: dict) -> None:
    """Write ``content`` (tensors, numbers, text, lists, dicts); a reader finds the old file or the new, never a part.

    Raises ``OSError`` naming the file if it cannot be written.
    """
    try:
        with replacing(path) as making:
            torch.save({"format": FORMAT, **content}, making)
    except (OSError, RuntimeError) as error:  # torch 2.13 makes a RuntimeError of a full disk
        raise OSError(f"cannot write the checkpoint {path}: {error}; choose a writable folder with space.") from error


def read_checkpoint(path: Path) -> dict:
    """Read what ``write_checkpoint`` wrote, onto the CPU.

    Raises ``FileNotFoundError`` without the file, ``ValueError`` for one that is damaged or no checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}; expected last.pt or best.pt in the folder of a training.")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has half a dozen types for damaged files
        raise ValueError(f"{path} is damaged or no checkpoint ({type(error).__name__}); train again.") from error
    found = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
    if found != FORMAT:
        raise ValueError(f"{path} is no checkpoint of format {FORMAT} (found {found}); train again.")
    return stored


def load_network(path: str | Path) -> SpikingNetwork:
    """Rebuild the network of a checkpoint, on the CPU and in evaluation mode.

    Raises ``FileNotFoundError`` without the file, ``ValueError`` for one that is damaged or no checkpoint.
    """
    stored = read_checkpoint(Path(path))
    try:
        network = build_network(stored["cell"], NetworkConfig(**stored["network_config"]))
        network.load_state_dict(stored["network"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not describe a network ({error}); train again.") from error
    return network.to(memory_format=torch.channels_last).eval()  # as trained: convolutions round alike
