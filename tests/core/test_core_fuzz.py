"""Parsers meet anything: what they read means what it says, everything else is the documented ``ValueError``.

300 examples each; ``HYPOTHESIS_PROFILE=nightly`` takes more. What was found once is kept as an ``@example``.
"""

from __future__ import annotations

import copy
import io
import tempfile
from pathlib import Path

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lightsnn_kit.cells import Cell, Edge, Op, as_cell, as_edge
from lightsnn_kit.checkpoints import digest, load_network, read_checkpoint, write_checkpoint
from lightsnn_kit.notation import read_matrix
from lightsnn_kit.records import mask_key, read_steps, step_record
from lightsnn_kit.search import PruneStep, prune_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask

fuzz = settings(max_examples=max(300, settings().max_examples), suppress_health_check=list(HealthCheck))

ODD = [None, True, "", "nan", float("nan"), float("inf"), -1, 0, 2**70, "-" * 3000, [], {}, [[[[]]]], "\ufeff", "0<-1"]
leaves = st.one_of(
    st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from([*Op]).map(str)
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
OURS = "|conv3x3~0|+|skip~0|conv3x3~1|/|skip~1|zeroize~2|+|conv3x3~2|"
THEIRS = "0303 0030 2002 0200"


def near(text: str) -> st.SearchStrategy[str]:
    """Texts a few slips away from one that is read."""
    signs = st.sampled_from([*"|~+/0123459 ,[]()\n.-", "\ufeff", "skip", "conv3x3", "tensor(", "\u0663", "\u00b2"])
    slips = st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, 3), signs), max_size=4)

    def slipped(changes: list[tuple[int, int, str]]) -> str:
        found = text
        for place, dropped, sign in changes:
            found = found[:place] + sign + found[place + dropped :]
        return found

    return slips.map(slipped)


def read_or_refused(read, value: object) -> object:
    """What is read, None where the documented error says why not."""
    said = "a message"
    try:
        return read(value)
    except ValueError as error:
        said = str(error)
    assert 0 < len(said) < 3000
    return None


@fuzz
@given(near(OURS) | near(THEIRS) | st.text() | anything)
@example("a=" + "-" * 3000)
@example("|skip~0|" * 3000)
def test_fuzz_cells(value: object) -> None:
    for read in (Cell.parse, as_cell):
        cell = read_or_refused(read, value)
        if cell is not None:
            assert Cell.parse(str(cell)) == cell
            assert not cell.matrix_text() or Cell.parse(cell.matrix_text()) == cell
            assert len(cell.ops) == len(cell.edges)


@fuzz
@given(near(THEIRS) | near(str([[0, 3], [1, 0]])) | st.lists(st.lists(leaves, max_size=4), max_size=4) | anything)
def test_fuzz_matrices(value: object) -> None:
    matrix = read_or_refused(read_matrix, value)
    if matrix is not None:
        assert matrix.shape == (len(matrix), len(matrix))
        assert read_matrix(matrix.tolist()).tolist() == matrix.tolist()
        cell = read_or_refused(Cell.from_matrix, value)
        assert cell is None or cell.to_matrix().tolist() == matrix.tolist()


@fuzz
@given(near("3<-0") | st.text() | anything)
@example("9" * 5000 + "<-0")
@example("\u0663<-0")
def test_fuzz_edges(value: object) -> None:
    edge = read_or_refused(Edge.parse, value)
    assert edge is None or str(edge) == str(Edge.parse(str(edge)))
    pair = read_or_refused(as_edge, value)
    assert pair is None or all(type(node) is int for node in pair)


@fuzz
@given(st.lists(st.lists(st.sampled_from(["skip", "zeroize", "conv3x3", "conv"]), max_size=4), max_size=3) | anything)
def test_fuzz_masks(value: object) -> None:
    space = CellSpace(("zeroize", "skip", "conv3x3"), 2)
    mask = read_or_refused(lambda alive: OpMask(space, alive), value)
    if mask is not None:
        assert OpMask(space, mask.alive) == mask
        assert len(mask_key(mask).split()) == len(space.edges)
        assert 1 <= mask.num_cells <= space.size


@fuzz
@given(st.lists(st.sampled_from([*Op, "skip", "conv", None, 3]), max_size=4) | anything, anything, anything)
def test_fuzz_spaces(ops: object, nodes: object, backward: object) -> None:
    space = read_or_refused(lambda given: CellSpace(given, nodes, backward), ops)
    assert space is None or space.uniform(space.ops[0]) in space


STEPS = [step_record(step) for step in prune_search(SPACES["lightsnn-forward"], lambda mask: float(mask.num_cells))]


def places(value: object, at: tuple = ()) -> list[tuple]:
    """All places inside nested lists and dicts."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


PLAIN = copy.deepcopy([{**row, "scores": [list(score) for score in row["scores"]]} for row in STEPS])
PLACES = places(PLAIN)[1:]


@fuzz
@given(st.lists(st.tuples(st.sampled_from(PLACES), anything), max_size=3))
def test_fuzz_records(changes: list) -> None:
    rows = copy.deepcopy(PLAIN)
    for place, value in changes:
        part = rows
        for key in place[:-1]:
            inside = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            part = part[key] if key in inside else None
        if isinstance(part, dict) or (isinstance(part, list) and type(place[-1]) is int and place[-1] < len(part)):
            part[place[-1]] = value
    steps = read_or_refused(read_steps, rows)
    if steps is not None:
        assert all(isinstance(step, PruneStep) for step in steps)
        assert read_steps([step_record(step) for step in steps]) == steps


@fuzz
@given(anything)
def test_fuzz_records_of_anything(value: object) -> None:
    steps = read_or_refused(read_steps, value)
    assert steps is None or steps == ()


def saved() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(
            Path(folder) / "x.pt", {"cell": "03 00", "history": [1.5, None], "network": {"w": torch.ones(9)}}
        )
        return (Path(folder) / "x.pt").read_bytes()


BYTES = saved()
WANTED = {"cell": "03 00", "history": [1.5, None], "network": {"w": torch.ones(9)}}


@fuzz
@given(
    st.lists(
        st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=3
    )
)
def test_fuzz_checkpoints(changes: list[tuple[int, int, bytes]]) -> None:
    content = BYTES
    for place, dropped, new in changes:
        content = content[:place] + new + content[place + dropped :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(content)
        found = read_or_refused(read_checkpoint, path)
        assert found is None or digest(found) == digest(WANTED)
        assert read_or_refused(load_network, path) is None


@fuzz
@given(
    st.dictionaries(st.sampled_from(["format", "sha256", "cell", "network_config", "network"]), anything, max_size=5)
)
def test_fuzz_contents_of_checkpoints(content: dict) -> None:
    """A file made by torch of plain values, its sum right or wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path, buffer = Path(folder) / "x.pt", io.BytesIO()
        torch.save({"format": 2, "sha256": digest(content)} | content, buffer)
        path.write_bytes(buffer.getvalue())
        read_or_refused(read_checkpoint, path)
        assert read_or_refused(load_network, path) is None
