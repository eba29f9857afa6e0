"""What a run was made on: processor, memory, GPU, threads, load; and whether a process still runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import psutil


def machine() -> dict[str, object]:
    """Facts of this machine and process; None where they cannot be found out. Names of hosts and users are left out.

    ``gpu`` and ``threads`` are what torch uses, if it is loaded; ``ranks`` is how many processes train one network;
    ``load`` is the number of busy processes in the last minute.
    """
    torch = sys.modules.get("torch")
    gpu = None
    if torch:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": psutil.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "gpu": gpu,
        "threads": torch.get_num_threads() if torch else None,
        "ranks": _ranks(torch),
        "load": round(psutil.getloadavg()[0], 2),
    }


def _ranks(torch: ModuleType | None) -> int:
    connected = torch and torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if connected else 1


def _processor() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():  # platform.processor() is empty on many a Linux
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def process_identity(pid: int | None = None) -> dict[str, object]:
    """What tells a process (this one) from a later one of its number, and from those of other machines."""
    process = psutil.Process(pid)
    return {"pid": process.pid, "created": process.create_time(), "host": _host()}


def _host() -> str:
    """This machine, or container: numbers of processes mean nothing outside. No name, as files may be shared."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # two containers may bear the name of their host
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:12]


def same_machine(identity: Mapping[str, object]) -> bool:
    """True if that process runs, or ran, where this one does."""
    return identity.get("host", _host()) == _host()


def living(identity: Mapping[str, object]) -> psutil.Process | None:
    """That process, if it lives and on this machine; one that has ended but was not collected yet does not."""
    try:
        process = psutil.Process(int(identity["pid"]))
        ended = process.status() == psutil.STATUS_ZOMBIE
        same = process_identity(process.pid) == {name: identity.get(name) for name in ("pid", "created", "host")}
        return process if same and not ended else None
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return None
