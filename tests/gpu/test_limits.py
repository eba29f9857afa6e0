"""What ``make gpu`` promises of its parts: a limit for all that a part starts, and a page that says what is wrong."""

import os
import signal
import sys
import time
from pathlib import Path

from tests.bench import row
from tests.gpu.__main__ import facts, page, run_group


def test_what_a_part_started_ends_with_it(tmp_path: Path) -> None:
    """A test run that hangs would go on beside the parts after it, and be measured with them."""
    with (tmp_path / "log").open("w") as out:
        assert run_group(["sh", "-c", "sleep 60 & echo $!; wait"], out, 1.0) is None
    started = int((tmp_path / "log").read_text())
    for _ in range(100):  # whoever adopts it takes a moment to note that it is over
        state = Path(f"/proc/{started}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(started, signal.SIGKILL)
        raise AssertionError("the grandchild ran on")


def test_a_part_tells_how_it_ended(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as out:
        ends = [run_group([sys.executable, "-S", "-c", f"raise SystemExit({code})"], out, 60.0) for code in (0, 3)]
    assert ends == [0, 3]


def test_the_page_says_what_is_not_as_expected() -> None:
    rows = [row("integers", 2, "of 8 masks", 0, at_least=False), row("scores", 0, "of 8", 0, at_least=False)]
    parts = [{"name": "exactness", "status": "done", "seconds": 1.0, "rows": rows}]
    parts += [
        {"name": "memory", "status": "skipped", "seconds": 0.0, "rows": [], "reason": "torch sees no CUDA device"}
    ]
    written = page({"machine": facts(), "rehearsal": False, "paper": [], "parts": parts})
    assert "| integers | 2 | of 8 masks, **not as expected** |" in written
    assert "| scores | 0 | of 8 |" in written
    assert "Skipped: torch sees no CUDA device." in written
