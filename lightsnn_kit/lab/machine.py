"""What a run was made on: processor, memory, GPU, threads, load; and whether a process still runs."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil


def machine() -> dict[str, object]:
    """Facts of this machine and process; None where they cannot be found out. Names of hosts and users are left out.

    ``gpu`` and ``threads`` are what torch uses, if it is loaded; ``load`` is the number of busy processes in the last
    minute.
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
        "load": round(psutil.getloadavg()[0], 2),
    }


def _processor() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():  # platform.processor() is empty on many a Linux
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def process_identity(pid: int | None = None) -> dict[str, object]:
    """What tells a process (this one) from a later one of its number, and from those of other machines."""
    process = psutil.Process(pid)
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:12]  # no names of hosts in files that may be shared
    return {"pid": process.pid, "created": process.create_time(), "host": host}


def is_running(identity: Mapping[str, object]) -> bool:
    """True if that process lives, on this machine; one that has ended but was not collected yet does not."""
    try:
        found = process_identity(int(identity["pid"]))
        ended = psutil.Process(found["pid"]).status() == psutil.STATUS_ZOMBIE
        return not ended and found == {name: identity.get(name) for name in found}
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
