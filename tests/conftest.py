"""Fixtures shared by all tests, and the rule that tests marked ``gpu`` need CUDA."""

from __future__ import annotations

import gc
import json
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one core per worker, its notebooks included: more threads wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("kit", deadline=None)  # tests never assert time, and machines may be busy
settings.register_profile("nightly", deadline=None, max_examples=10_000)  # make fuzz
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "kit"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch  # only here: collecting the other tests needs no torch

        if not torch.cuda.is_available():
            for item in gpu_tests:
                item.add_marker(pytest.mark.skip(reason="needs CUDA, and torch.cuda.is_available() is False"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """A function (path, *sources) that writes a notebook of code cells; the first is its parameters cell."""

    def write(path: Path, parameters: str, *sources: str) -> Path:
        cells = [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {"tags": ["parameters"]} if number == 0 else {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate((parameters, *sources))
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
        return path

    return write


@pytest.fixture
def leaves_nothing() -> Callable[[Callable[[], object]], None]:
    """A function that checks of another, which makes a view, closes and returns it: twenty calls leave no widget."""
    from ipywidgets.widgets.widget import _instances  # the only list of open widgets

    def check(view: Callable[[], object]) -> None:
        view()
        gc.collect()
        before = len(_instances)
        ghosts = [weakref.ref(view()) for _ in range(20)]
        gc.collect()
        assert len(_instances) == before
        assert [ghost() for ghost in ghosts if ghost()] == []

    return check
