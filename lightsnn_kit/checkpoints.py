"""Checkpoint files: written atomically, read without running code from them, known by their content; their networks."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path

import torch
from torch import Tensor

from .checks import NotRegisteredError, unknown
from .files import defaults_of, differences, plain, replacing, user_path
from .networks import NetworkConfig, SpikingNetwork, build_network

FORMAT = 2
DAMAGED = ("refuse", "best", "restart")  # what to do where a checkpoint of a training cannot be read


def digest(value: object, *, limit: float = math.inf) -> str:
    """The sha256 of tensors, numbers, text, lists and dicts of them, whatever device and memory layout they have.

    ``ValueError`` if the tensors take more than ``limit`` bytes.

    >>> digest({"x": torch.zeros(2)}) == digest({"x": torch.zeros(2, 1)[:, 0]}) != digest({"x": torch.zeros(3)})
    True
    """
    sha, left = hashlib.sha256(), [limit]

    def add(part: object) -> None:
        if isinstance(part, Tensor):
            left[0] -= part.numel() * part.element_size()
            if left[0] < 0:  # before it is unrolled: a repeated value takes no room in a file
                raise ValueError("its tensors are larger than the file")
            sha.update(f"{part.dtype} {tuple(part.shape)}:".encode())
            # as bytes: NumPy has no bfloat16
            sha.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(part, Mapping):
            sha.update(f"dict {len(part)}:".encode())
            for pair in part.items():
                add(pair)
        elif isinstance(part, list | tuple):
            sha.update(f"{type(part).__name__} {len(part)}:".encode())
            for one in part:
                add(one)
        else:
            sha.update(f"{type(part).__name__} {part!r}:".encode())

    add(value)
    return sha.hexdigest()


def write_checkpoint(path: str | Path, content: dict) -> None:
    """Write ``content`` (tensors, numbers, text, lists, dicts); a reader finds the old file or the new, never a part.

    Raises ``OSError`` naming the file if it cannot be written.
    """
    path = user_path(path)
    try:
        with replacing(path) as making:
            torch.save({"format": FORMAT, "sha256": digest(content), **content}, making)
    except (OSError, RuntimeError) as error:  # torch 2.13 makes a RuntimeError of a full disk
        raise OSError(f"cannot write the checkpoint {path}: {error}; choose a writable folder with space.") from error


def read_checkpoint(path: str | Path, *, identity: Mapping[str, object] | None = None) -> dict:
    """Read what ``write_checkpoint`` wrote, onto the CPU; no code of the file runs.

    Raises ``FileNotFoundError`` without the file, ``ValueError`` for one that is damaged or no checkpoint, and for one
    with other entries than ``identity`` has, naming them.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}; expected last.pt or best.pt in the folder of a training.")
    try:
        _check_archive(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
        found = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
        if found == FORMAT:
            wanted = stored.pop("sha256", None)
            del stored["format"]
            if digest(stored, limit=path.stat().st_size) != wanted:
                raise ValueError("its content is not what was written")
    except Exception as error:  # torch has half a dozen types for damaged files
        why = f"{type(error).__name__}: {error}".splitlines()[0][:150]
        raise ValueError(
            f"{path} is damaged or no checkpoint ({why}); restore it from a copy, or train again."
        ) from None
    if found != FORMAT:
        raise ValueError(
            f"{path} is no checkpoint of format {FORMAT} (found {found!r:.50}); train again, by this version."
        )
    if other := _others(stored, identity or {}):
        raise ValueError(f"{path} is of another training: {'; '.join(other)}.")
    return stored


def _check_archive(path: Path) -> None:
    """``ValueError`` for anything but an intact zip archive whose members lie in it as they are: none can unfold."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise ValueError("it holds compressed parts")
        if sum(one.file_size for one in members) > path.stat().st_size:
            raise ValueError("its parts are larger than the file")
        if torn := archive.testzip():
            raise ValueError(f"the part {torn} is damaged")


def resume_from(folder: Path, identity: Mapping[str, object], *, damaged: str) -> tuple[dict | None, bool]:
    """The checkpoint of a training's folder to go on from (None: from the start), and whether it stands for a bad one.

    ``ValueError`` for files of another training, and with ``damaged="refuse"`` for ones that are damaged, gone, or do
    not belong together.
    """
    if damaged not in DAMAGED:
        raise unknown("way with a damaged checkpoint", damaged, DAMAGED)
    found, wrong = {}, []
    for name in ("last.pt", "best.pt"):
        try:
            found[name] = read_checkpoint(folder / name)
        except FileNotFoundError:
            continue
        except ValueError as error:
            wrong.append(str(error))
    if other := [line for one in found.values() for line in _others(one, identity)]:
        raise ValueError(
            f"{folder} holds another training: {'; '.join(dict.fromkeys(other))}. Choose another folder, or the "
            f"earlier settings to resume it."
        )
    last, best = found.get("last.pt"), found.get("best.pt")
    if not (fault := " ".join(wrong) or _misfit(folder, last, best)):
        return last, False
    good = next((one for one in (last, best) if one and one["history"] and _best_epoch(one) == one["epoch"]), None)
    if damaged == "restart" or (damaged == "best" and good):
        return (good if damaged == "best" else None), damaged == "best"
    from_best = f"damaged='best' to go on from epoch {good['epoch']}, or " if good else ""
    raise ValueError(f"{fault} Pass {from_best}damaged='restart' to train again from the start of this training.")


def _others(stored: Mapping[str, object], identity: Mapping[str, object]) -> list[str]:
    defaults = {name: defaults_of(type(value)) for name, value in identity.items() if is_dataclass(value)}
    return differences({key: stored.get(key, "absent") for key in identity}, plain(identity), defaults=defaults)


def _best_epoch(stored: Mapping) -> int:
    """The epoch that was best on validation, the earliest of equals; 0 before the first."""
    return max(stored["history"], key=lambda record: record["val_accuracy"], default={"epoch": 0})["epoch"]


def _misfit(folder: Path, last: Mapping | None, best: Mapping | None) -> str:
    """What is wrong with two intact checkpoints of one training, '' if they belong together."""
    if last is None:
        return f"{folder} holds a best.pt without a last.pt to resume from." if best else ""
    epochs, wanted = last["epoch"], _best_epoch(last)
    if best is None:
        return f"{folder} holds no best.pt, but epoch {wanted} of last.pt was best." if wanted else ""
    shared = min(epochs, best["epoch"])
    if best["epoch"] not in (wanted, epochs + 1) or best["history"][:shared] != last["history"][:shared]:
        # epochs + 1: stopped after best.pt and before last.pt was written
        return f"{folder / 'best.pt'} is of epoch {best['epoch']}, but by last.pt epoch {wanted} of {epochs} was best."
    return ""


def load_network(path: str | Path, *, identity: Mapping[str, object] | None = None) -> SpikingNetwork:
    """Rebuild the network of a checkpoint, on the CPU and in evaluation mode.

    Raises ``FileNotFoundError`` without the file, ``ValueError`` for one that is damaged, no checkpoint, or of another
    training than ``identity`` says (see ``training.identity_of``).
    """
    return network_of(read_checkpoint(path, identity=identity), path)


def network_of(stored: Mapping[str, object], path: str | Path) -> SpikingNetwork:
    """The network of a checkpoint that was read from ``path``; ``ValueError`` if it describes none.

    Ops and neurons of your own must be registered as they were: their names stand in it, how they are built does not.
    """
    try:
        network = build_network(stored["cell"], NetworkConfig(**stored["network_config"]))
        network.load_state_dict(stored["network"])
        network.first_weights = f"checkpoint {digest(stored['network'])[:16]}"
    except NotRegisteredError as error:
        raise ValueError(f"{path} was trained with what is not known here: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a network ({error}); train again.") from error
    return network.to(memory_format=torch.channels_last).eval()  # as trained: convolutions round alike


def name_weights(network: SpikingNetwork) -> str:
    """What a training starts from: the seed of the weights, or their digest if they were changed since."""
    name, now = network.first_weights, digest(network.state_dict())[:16]
    if name.startswith("seed "):
        fresh = build_network(network.design, network.config, seed=int(name.removeprefix("seed ")))
        same = digest(fresh.state_dict())[:16] == now
    else:
        same = name.endswith(now)
    return name if same else f"weights {now}"
