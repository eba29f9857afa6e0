"""How cells are written: our strings, and SNASNet matrices as people hold them (lists, arrays, tensors, text)."""

from __future__ import annotations

import re

import numpy as np

from .checks import shown

MAX_NODES = 100  # of a cell; more is a slip of the pen, and memory that nobody meant to ask for
FORMS = (
    "'0303 0030 2002 0200' (one row of digits per node), nested lists such as [[0, 3], [0, 0]], an array, a tensor, or "
    "one of these as it is printed"
)
_NUMBER = re.compile(r"[0-9]+(?:\.0*)?(?![0-9.])")
_PRINTED = re.compile(r"(?:torch\.|np\.|numpy\.)?(?:tensor|array|matrix)\(|,\s*(?:dtype|device|requires_grad)=[\w.':]+")


def read_matrix(value: object) -> np.ndarray:
    """The numbers of a square matrix, int64 [n, n]: of a list, an array, a tensor, or a text in any usual form.

    ``ValueError`` naming the forms that are read.

    >>> [read_matrix(one).tolist() for one in ("03 00", ["03", "00"], [[0.0, 3.0], [0, 0]])] == 3 * [[[0, 3], [0, 0]]]
    True
    >>> read_matrix("tensor([[0, 3],\\n        [0, 0]])").tolist()
    [[0, 3], [0, 0]]
    """
    rows = _rows_of_text(value) if isinstance(value, str) else _array(value)
    if rows is None or rows.ndim != 2 or not 2 <= len(rows) == rows.shape[1] <= MAX_NODES:
        raise ValueError(
            f"a SNASNet matrix is square and of integers, n from 2 to {MAX_NODES}, got {shown(value)}. Read are "
            f"{FORMS}."
        )
    return rows


def read_string(text: str) -> tuple[int, tuple[str, ...]]:
    """The number of nodes and the names of the ops of a cell string, in the order of ``cell_edges``.

    ``ValueError`` naming the group or entry that is malformed.

    >>> read_string("|skip~0|/|conv3x3~1|")
    (2, ('skip', 'conv3x3'))
    """
    forward, slash, backward = text.strip().removeprefix("\ufeff").partition("/")
    groups = forward.split("+") + (backward.split("+") if slash else [])
    num_nodes = forward.count("+") + 2
    targets = [*range(1, num_nodes), *(range(num_nodes - 1) if slash else ())]
    if num_nodes > MAX_NODES or len(groups) != len(targets):
        most = f" (at most {MAX_NODES})" * (num_nodes > MAX_NODES)
        raise ValueError(
            f"malformed cell {shown(text)}: {num_nodes} nodes{most} need {len(targets)} groups, got {len(groups)}."
        )
    ops: list[str] = []
    for position, (target, group) in enumerate(zip(targets, groups, strict=True)):
        sources = range(target) if position < num_nodes - 1 else range(target + 1, num_nodes)
        ops += _parse_group(group.strip(), target, sources)
    return num_nodes, tuple(ops)


def _parse_group(group: str, target: int, sources: range) -> list[str]:
    """The ops of one ``|op~source|op~source|`` group, checked against the sources it must name."""
    entries = group[1:-1].split("|")
    expected = "|" + "".join(f"<op>~{source}|" for source in sources)
    if not (group.startswith("|") and group.endswith("|")) or len(entries) != len(sources):
        raise ValueError(f"malformed group {shown(group)} of node {target}; expected {expected}.")
    ops = []
    for entry, source in zip(entries, sources, strict=True):
        name, _, where = entry.partition("~")
        if where != str(source):
            raise ValueError(
                f"malformed entry {shown(entry)} in group {shown(group)} of node {target}; expected {expected}."
            )
        ops.append(name)
    return ops


def _array(value: object) -> np.ndarray | None:
    """An array of whole numbers, None for anything else."""
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value  # a tensor on any device
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
        return None
    if array.dtype.kind == "U" and array.ndim in (1, 2):  # rows of digits, or digits one by one
        return _rows_of_text("\n".join(" ".join(np.atleast_1d(row).tolist()) for row in array))
    if array.dtype.kind not in "iuf" or not (np.isfinite(array) & (array == np.round(array))).all():
        return None
    return array.clip(-1, 10).astype(np.int64)  # what lies outside the codes stays outside


def _rows_of_text(text: str) -> np.ndarray | None:
    """Rows are parted by line breaks or brackets, else by bars, else by blanks or commas (rows of digits)."""
    if len(text) > 200 * MAX_NODES**2:
        return None
    text = _PRINTED.sub(" ", text.strip().removeprefix("\ufeff"))
    if re.search(r"[^0-9.\s,;|\[\](){}'\"]", text):
        return None
    lines = r"[\])}\n]+" if "\n" in text else r"[\])};]+"  # a semicolon is a separator of a spreadsheet's lines
    for ends in (lines, r"\|+", r"[\s,]+"):
        rows = [words for part in re.split(ends, text) if (words := re.split(r"[\s,;|\[\](){}'\"]+", part.strip()))]
        rows = [[word for word in words if word] for words in rows]
        rows = [words for words in rows if words]
        if len(rows) > 1:
            break
    if len(rows) < 2 or not all(_NUMBER.fullmatch(word) for words in rows for word in words):
        return None
    rows = [list(words[0]) if len(words) == 1 else words for words in rows]  # "0303" is 0, 3, 0, 3
    if {len(row) for row in rows} != {len(rows)} or any(len(word.split(".")[0]) > 1 for row in rows for word in row):
        return None
    return np.array([[int(word.split(".")[0]) for word in row] for row in rows])
