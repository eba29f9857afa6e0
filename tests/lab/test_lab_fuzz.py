"""Whatever lies in a run's files: each parser gives a value or its documented error, and a monitor goes on."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.figures.runs import record_curves, runs_scatter
from lightsnn_kit.files import RunError, differences, read_json, read_records, to_json
from lightsnn_kit.lab import jobs, machine, presets, results
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.notebooks import ParameterError, check_parameters, literal, notebook_parameters
from lightsnn_kit.lab.report import without_widgets
from lightsnn_kit.lab.results import gather
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.lab.saved_cells import load_cell, read_cell
from lightsnn_kit.widgets import CompareRuns, RunMonitor

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 2**63, 1e308, 101.0, "", "nan", "<b>", "|", "a" * 300])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DEEP = [b"[" * 20_000, b"[" * 20_000 + b"]" * 20_000, b'{"a":' * 20_000, b"\xff\xfe", b"\xef\xbb\xbf{}", b"9" * 9_000]
slow = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: object, at: tuple = ()) -> Iterator[tuple]:
    """Where something stands in nested dicts and lists: the paths of all values."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*at, key))


@st.composite
def changed(draw: st.DrawFn, valid: object) -> object:
    """The valid value with one to three of its parts replaced by odd ones, or taken away."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(list(places(value)))) or [None]
        if last is None:
            return draw(ODD)
        inside = value
        for key in way:
            inside = inside[key]
        if isinstance(inside, dict) and draw(st.booleans()):
            del inside[last]
        else:
            inside[last] = draw(ODD)
    return value


def contents(valid: object) -> st.SearchStrategy[bytes]:
    """Bytes of a file of JSON: near a valid one, of another shape, nested deeply, or none."""
    text = json.dumps(valid)
    torn = st.integers(0, len(text)).map(lambda end: text[:end].encode())
    return changed(valid).map(lambda value: json.dumps(value).encode()) | torn | st.binary() | st.sampled_from(DEEP)


ROW = {"preset": "p", "dataset": "d", "method": "a", "seed": 0, "test_accuracy": 0.5, "quick": False, "stand_in": False}
ROW |= {"cell": "|conv3x3~0|", "synops": 1e3, "macs": 1e3, "energy_pj": 9e3, "parameters": 12, "firing_rate": 0.1}
ROW |= {"seconds": {"load": 1.0, "train": 2.0}, "assumptions": ["45 nm"], "source": "here"}
SETTINGS = {"preset": {k: v for k, v in presets.get("digits").to_dict().items() if k != "train"}}
SETTINGS |= {"source": "here", "stand_in": False}
TRAIN = presets.get("digits").to_dict()["train"]
EPOCH = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 2.0}
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": "x = 1\ny = 'a'"},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": ["y"], "execution_count": 1, "outputs": [
            {"output_type": "display_data", "metadata": {}, "data": {"text/plain": ["a"], "text/html": "<b>a</b>"}},
            {"output_type": "display_data", "metadata": {}, "data": {
                "application/vnd.plotly.v1+json": {"data": [], "layout": {"title": {"text": "a"}}}}},
        ]},
    ],
    "metadata": {"kernelspec": {"name": "python3"}, "widgets": {}}, "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def refused(call: Callable[[], object], *errors: type[Exception]) -> str:
    """The words by which a call is refused, "" if it is not; other errors than these are none that is documented."""
    try:
        call()
    except errors or RunError as error:  # noqa: B030  (a tuple, or one class)
        return str(error) or "without a word"
    return ""


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@slow
@given(content=contents({"a": [1, {"b": None}], "crc32": "00000000"}))
def test_fuzz_read_json(content: bytes, place: Path) -> None:
    path = write(place / "x.json", content)
    said = refused(lambda: read_json(path))
    assert not said or "x.json" in said


@slow
@given(lines=st.lists(contents(EPOCH | {"crc32": "00000000"}), max_size=4))
def test_fuzz_read_records(lines: list[bytes], place: Path) -> None:
    path, found = write(place / "x.jsonl", b"\n".join(lines)), []
    said = refused(lambda: found.extend(read_records(path)))
    assert "x.jsonl" in said if said else all(isinstance(record, dict) for record in found)


@given(old=ODD, new=ODD, defaults=st.dictionaries(st.text(max_size=3), ODD))
def test_fuzz_differences(old: object, new: object, defaults: dict) -> None:
    assert differences(old, old, defaults=defaults) == differences(new, new) == []
    assert bool(differences(old, new)) == bool(differences(new, old))


@given(value=ODD)
def test_fuzz_to_json(value: object) -> None:
    assert differences(json.loads(to_json(value)), value) == []


@slow
@given(content=contents(NOTEBOOK))
def test_fuzz_notebook_parameters(content: bytes, place: Path) -> None:
    path = write(place / "n.ipynb", content)
    said = refused(lambda: notebook_parameters(path))
    assert not said or "n.ipynb" in said


@slow
@given(value=ODD, name=st.sampled_from(["x", "y", "z"]))
def test_fuzz_check_parameters(value: object, name: str, place: Path) -> None:
    path = write(place / "n.ipynb", NOTEBOOK)
    assert len(refused(lambda: check_parameters(path, {name: value}), ParameterError)) < 1000


@given(text=st.text() | st.sampled_from("-([{+~").map(lambda one: one * 3000) | st.binary().map(str))
def test_fuzz_parameter_of_the_command_line(text: str) -> None:
    assert command_line._parameter(f"a={text}")[0] == "a"
    said = refused(lambda: literal(text), ValueError)
    assert not said or "expected a literal" in said


@given(notebook=changed(NOTEBOOK))
def test_fuzz_without_widgets(notebook: object) -> None:
    said = refused(lambda: without_widgets(notebook))
    assert not said or "the notebook" in said


@slow
@given(content=contents({"cell": "|conv3x3~0|", "matrix": "03 00"}))
def test_fuzz_load_cell(content: bytes, place: Path) -> None:
    write(place / "mine.json", content)
    said = refused(lambda: load_cell(place, "mine"))
    assert not said or "mine.json" in said


@given(value=ODD | st.from_regex(r"[0-4 |~+/\n,]{0,12}", fullmatch=True))
def test_fuzz_read_cell(value: object) -> None:
    refused(lambda: read_cell(value)[0].num_convs, ValueError, RunError)


@slow
@given(begun=contents({"settings": SETTINGS, "provenance": {}}), train=contents({"train": TRAIN}))
def test_fuzz_open_an_experiment(begun: bytes, train: bytes, place: Path) -> None:
    write(place / "run" / "experiment" / "settings.json", begun)
    for content in (json.dumps({"train": TRAIN}).encode(), train):
        write(place / "run" / "experiment" / "result.json", content)
        said = refused(lambda: Experiment.open(place / "run"))
        assert not said or "experiment" in said


@slow
@given(content=contents({"settings": {"method": "a", "seed": 0, "cell": "03 00"}, "provenance": {}}))
def test_fuzz_rows_of_an_experiment(content: bytes, place: Path) -> None:
    write(place / "run" / "a" / "seed0" / "settings.json", content)
    said = refused(lambda: Experiment(RunFolder(place / "run"), presets.get("digits")).rows())
    assert not said or "seed0" in said


@slow
@given(content=contents({"rows": [ROW, ROW | {"seed": 1}]}))
def test_fuzz_gather(content: bytes, place: Path) -> None:
    path, rows = write(place / "results.json", content), []
    said = refused(lambda: rows.extend(gather(path)))
    assert not said or "results.json" in said
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows if row.get("test_accuracy") is not None)


JOB = {"pid": 1, "created": 1.5, "host": "0123", "notebooks": ["a"], "started": ""}
FILES = {
    "job/job.json": JOB,
    "job/end.json": {"state": "finished", "message": "", "ended": ""},
    "a/seed0/settings.json": {"settings": {}, "provenance": {}},
    "a/seed0/expected.json": {"records": "epochs", "total": 3},
    "a/seed0/epochs.jsonl": EPOCH,
}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunMonitor]:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, valid in FILES.items():
        write(folder / name, json.dumps(valid).encode() + b"\n")
    view = RunMonitor(folder)
    yield view
    view.close()


@given(data=st.data(), name=st.sampled_from(list(FILES)))
def test_fuzz_status_and_a_monitor_that_goes_on(data: st.DataObject, name: str, monitored: RunMonitor) -> None:
    for valid, content in FILES.items():
        write(monitored.folder / valid, json.dumps(content).encode() + b"\n")
    monitored.check()
    assert monitored.message.value == ""
    write(monitored.folder / name, data.draw(contents(FILES[name])) + b"\n")
    said = refused(lambda: jobs.status(monitored.folder))
    monitored.check()
    assert not said or "⚠" in monitored.message.value


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents({"rows": [ROW, ROW | {"seed": 1}]}))
def test_fuzz_compare_runs(content: bytes, place: Path) -> None:
    """A place that cannot be read is left out, and named; what is shown is drawn."""
    good = write(place / "good.json", {"rows": [ROW | {"preset": "q"}]})
    other = write(place / "other.json", content)
    with contextlib.closing(CompareRuns([good, other])) as view:
        assert "other.json" in view.message.value if len(view.rows) == 1 else view.message.value == ""
        assert len(view.rows) == 1 or not refused(lambda: gather(other))


@given(rows=st.lists(changed(EPOCH | {"score": -1.0}), min_size=1, max_size=3))
def test_fuzz_record_curves(rows: list) -> None:
    refused(lambda: record_curves({"a": rows}).to_json(), ValueError)
    refused(lambda: runs_scatter(rows).to_json(), ValueError)


@given(row=changed(ROW))
def test_fuzz_markdown(row: object) -> None:
    assert not set("<[") & set(results.markdown(str(row)).data)


@given(identity=changed(machine.process_identity()))
def test_fuzz_identity_of_a_process(identity: object) -> None:
    own = machine.process_identity()
    found = machine.living(identity)
    assert found is None or {name: identity[name] for name in own} == own


def test_a_stage_without_a_folder_has_no_records(tmp_path: Path) -> None:
    assert Stage(tmp_path / "none").records("scores") == []
