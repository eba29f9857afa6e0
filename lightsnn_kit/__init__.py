"""Search, train and study spiking neural networks built from cells.

The names below are what most work needs; each loads with its module when it is first used, so that importing the
package is quick. All else is reached through its module: ``lightsnn_kit.figures``, ``lightsnn_kit.widgets``, ...

>>> from lightsnn_kit import choose
>>> choose("balanced", "lightsnn").cell.num_convs
3
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "cells": "Cell",
    "ops": "register_op",
    "spaces": "SPACES CellSpace OpMask",
    "blocks": "register_neuron",
    "networks": "NetworkConfig build_network build_supernet",
    "recording": "record_spikes",
    "scoring": "Scorer ScoringConfig register_score",
    "search": "prune_search random_search",
    "methods": "METHODS choose register_method",
    "data": "Splits load register scoring_batches",
    "training": "TrainConfig evaluate fit",
    "checkpoints": "load_network",
    "energy": "measure_energy",
    "lab.experiments": "Experiment run_rows",
    "widgets": "CellExplorer",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
