"""What a run was made on: processor, memory, GPU, threads, and how busy the machine was (standard library only)."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def machine() -> dict[str, object]:
    """Facts of this machine and process; None where they cannot be told. Names of hosts and users are left out.

    ``gpu`` and ``threads`` are what torch uses, if it is loaded; ``load`` is the number of busy processes in the last
    minute.
    """
    torch = sys.modules.get("torch")
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory": _memory(),
        "gpu": _gpu(torch) if torch else None,
        "threads": torch.get_num_threads() if torch else None,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()  # platform.processor() is empty on many a Linux
    except OSError:
        return platform.processor() or None
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or None


def _memory() -> str | None:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def _gpu(torch: object) -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
