"""The page of promises: each line names tests, and they are there and run."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PAGE = "notebooks/promises.md"
ROOT = Path(__file__).resolve().parents[1]
LINES = [
    line for line in (ROOT / PAGE).read_text(encoding="utf-8").splitlines() if re.match(r"\| (?!promise)\w|\| `", line)
]


@cache
def found_in(file: str) -> dict[str, str]:
    """The tests of a file, with the source of their decorators."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    whole = " ".join(ast.unparse(node) for node in tree.body if ast.unparse(node).startswith("pytestmark"))
    return {node.name: " ".join([whole, *map(ast.unparse, node.decorator_list)]) for node in found}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:50])
def test_a_promise_has_its_test(line: str) -> None:
    names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
    assert names
    marks = [found_in(file)[name] for file, name in names]
    assert not any("skip(" in mark or "xfail" in mark for mark in marks)
    assert ("●" in line) == any("mark.fault" in mark for mark in marks)


def test_the_page_is_linked() -> None:
    assert f"]({PAGE})" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(LINES) >= 28
