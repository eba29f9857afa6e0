"""The command line before and while it works: names refused early, lists, the bar on a terminal, the version."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from lightsnn_kit import __main__ as command_line
from lightsnn_kit import __version__, data, scoring
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import bars, names, presets, runs
from lightsnn_kit.lab.notebooks import ParameterError, as_lists, plan_notebooks
from lightsnn_kit.lab.progress import Progress, Status, current

ROOT = Path(__file__).resolve().parents[2]


def said_by(*arguments: str) -> tuple[int, str, set[str]]:
    """Status, standard error and loaded modules of a command in a process of its own."""
    program = "import sys\nfrom lightsnn_kit.__main__ import main\ncode = main(sys.argv[1:])\nprint(code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    code, *modules = done.stdout.split()
    return int(code), done.stderr, set(modules)


def test_the_version(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        command_line.main(["--version"])
    assert capsys.readouterr().out == f"lightsnn_kit {__version__}\n"


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--method", "balancd"], "Did you mean 'balanced'?"),
        (["search", "--preset", "digts"], "Did you mean 'digits'?"),
        (["search", "--preset", "digits+forwrd"], "unknown variant 'forwrd'"),
        (["search", "--space", "lightsn"], "unknown space 'lightsn'"),
        (["search", "--proxy", "swop"], "Did you mean 'swap'?"),
        (["train", "--cell", "0303 0030"], "square"),
        (
            ["run", "notebooks/search.ipynb", "--run", "runs/x", "-p", "others=random,all-cov"],
            "Did you mean 'all-conv'?",
        ),
        (["demo", "-p", "preset=digts"], "Did you mean 'digits'?"),
    ],
)
def test_wrong_names_are_refused_before_torch_is_loaded(arguments: list[str], message: str) -> None:
    before = sorted((ROOT / "runs").glob("*"))
    code, said, modules = said_by(*arguments)
    assert (code, message in said) == (2, True), said
    assert "torch" not in modules
    assert sorted((ROOT / "runs").glob("*")) == before


def test_the_light_names_are_those_of_the_registries() -> None:
    assert set(names.PRESETS) == set(presets.PRESETS)
    assert set(names.DATASETS) == set(data.names())
    assert set(names.VARIANTS) == set(presets.VARIANTS)
    assert set(names.PROXIES) == set(scoring.PROXIES)


def test_names_of_your_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown preset 'mine'"):
        names.check_names(preset="mine")
    monkeypatch.setitem(presets.PRESETS, "mine", presets.get("digits"))
    names.check_names(preset="mine+forward")


def test_a_notebook_of_yours_has_its_own_names(tmp_path: Path, write_notebook) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "preset = 'mine'")
    assert plan_notebooks([notebook], {"preset": "other"}) == [(notebook, {"preset": "other"})]
    with pytest.raises(ParameterError, match=r"search\.ipynb: unknown preset 'other'"):
        plan_notebooks([ROOT / "notebooks" / "search.ipynb"], {"preset": "other"})


# ---- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("methods=lightsnn,balanced", ["lightsnn", "balanced"]),
        ("methods=random", ["random"]),
        ("methods=random, all-conv,", ["random", "all-conv"]),
        ("methods=['random']", ["random"]),
        ("sizes=16,64", [16, 64]),
        ("sizes=16", [16]),
        ("sizes=[]", []),
        ("name=a,b", "a,b"),
    ],
)
def test_lists_need_no_brackets(text: str, value: object, tmp_path: Path, write_notebook) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "methods = []\nsizes = [1]\nname = ''")
    given = as_lists([notebook], dict([command_line._parameter(text)]))
    assert given == {text.partition("=")[0]: value}
    assert plan_notebooks([notebook], given) == [(notebook, given)]


# ---- the bar ---------------------------------------------------------------------------------------------------------


def on_a_terminal(program: str) -> str:
    """What a Python program draws where somebody looks."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # rows, columns
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=its, stderr=its, stdin=its)
    os.close(its)
    text = b""
    while True:
        try:
            text += (part := os.read(ours, 4096))
        except OSError:  # the other end is closed
            break
        if not part:
            break
    os.close(ours)
    assert process.wait() == 0, text
    return text.decode()


def test_a_bar_counts_on_a_terminal_and_tells_the_time_left() -> None:
    program = "import time\nfrom lightsnn_kit.lab.bars import counting\nwith counting('train', 3) as tick:\n"
    drawn = on_a_terminal(
        program + "    for epoch in range(3):\n        time.sleep(0.2)\n        tick(f'epoch {epoch}')"
    )
    assert re.search(r"train:  67%.+2/3 \[\d\d:\d\d<\d\d:\d\d.+epoch 1", drawn)
    assert "\n" not in drawn.strip()  # one line


def test_without_a_terminal_the_words_are_lines(capsys: pytest.CaptureFixture) -> None:
    with bars.counting("train", 2) as tick:
        tick("epoch 1")
        tick()
    assert capsys.readouterr() == ("epoch 1\n", "")


def test_a_run_of_another_process_is_drawn_from_its_files(tmp_path: Path) -> None:
    stage = runs.RunFolder.open(tmp_path).stage("search", {})
    stage.expect("scores", 4)
    stage.append("scores", {"seconds": 30.0})
    program = "import time\nfrom pathlib import Path\nfrom lightsnn_kit.lab import bars\nbars._EVERY = 0.05\n"
    program += f"with bars.watching(Path({str(tmp_path)!r}), 'search'):\n    time.sleep(1)"
    drawn = on_a_terminal(program)
    assert re.search(r"search  25% \|.+search: 1 of 4 scores, about 1 min \d\d? s of work left", drawn)


def test_a_bar_survives_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with bars.watching(tmp_path / "nowhere", "search"):
        pass
    with pytest.raises(RunError, match="the block's own"), bars.watching(tmp_path, "search"):
        raise RunError("the block's own")


def part(stage: str, done: int, total: int, each: float | None, *, finished: bool = False) -> Progress:
    left = None if each is None else 0.0 if finished else (total - done) * each
    return Progress(stage, "epochs", done, total, finished, each, left)


def test_one_line_for_a_whole_run() -> None:
    """Three parts of 10 epochs: one done at 1 s each, one half at 3 s, one not begun: 10 + 15 of 10 + 30 + 30 s."""
    parts = (part("a", 10, 10, 1.0, finished=True), part("b", 5, 10, 3.0), part("c", 0, 10, 3.0))
    share, words = current(Status("running", "", parts, 45.0))
    assert share == pytest.approx(25 / 70)
    assert words == "b: 5 of 10 epochs, 1 of 3 parts done, about 45 s left"
    assert current(Status("unfinished", "", parts, 45.0))[1].endswith("about 45 s of work left")
    unknown = (part("b", 5, 10, 3.0), part("c", 0, 4, None))
    assert (
        current(Status("running", "", unknown, None))[1] == "b: 5 of 10 epochs, 0 of 2 parts done, more than 15 s left"
    )
    assert current(Status("running", "", unknown[1:], None))[1] == "c: 0 of 4 epochs, time left not known yet"
    assert current(Status("finished", "", parts[:1], None)) == (1.0, "1 of 1 parts done")
    silent = Progress("evaluate", None, 0, None, False, None, None)
    assert current(Status("running", "", (silent,), None)) == (0.0, "evaluate begun")


# ---- make ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
def test_make_lab_as_root_says_what_to_do() -> None:
    command = ["make", "lab", "READY=", "PY=echo started"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "make lab ARGS=--allow-root" in refused.stdout
    assert "started" not in refused.stdout.replace("not start", "")
    allowed = subprocess.run([*command, "ARGS=--allow-root"], cwd=ROOT, capture_output=True, text=True)
    assert allowed.returncode == 0
    assert "--allow-root" in allowed.stdout
