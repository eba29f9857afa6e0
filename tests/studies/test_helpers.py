"""The helpers as modules: examples in docstrings, sizes, imports; and the figures that may be quoted."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
import studies
from studies.published import PUBLISHED

MODULES = [f"studies.{module.name}" for module in pkgutil.iter_modules(studies.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_examples_are_found() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 8


@pytest.mark.parametrize("name", MODULES)
def test_modules_stay_small_and_take_no_private_names(name: str) -> None:
    text = Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 320
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno + 1 > 40] == []
    taken = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [name for name in taken if name.startswith("_")] == []
    assert not any(node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


def test_quoted_figures_are_those_allowed() -> None:
    accuracies = {(quote.dataset, quote.value, quote.sd) for quote in PUBLISHED if quote.sd}
    assert accuracies == {
        ("cifar10", 93.12, 0.42),
        ("cifar10", 93.73, 0.32),
        ("cifar100", 70.06, 0.45),
        ("cifar100", 73.04, 0.36),
        ("tiny-imagenet", 52.81, 0.56),
        ("tiny-imagenet", 54.60, 0.48),
    }
    assert {quote.value for quote in PUBLISHED if not quote.sd} == {98, 4.49, 30}
    assert all("arXiv" in quote.source for quote in PUBLISHED)
    assert [str(quote) for quote in PUBLISHED[::6]] == ["93.12 ± 0.42 % test accuracy", "98 times faster"]
