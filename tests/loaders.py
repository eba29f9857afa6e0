"""Other libraries' loaders, which do not import beside every build of torch: the module, or a skip with the reason."""

import importlib
import os

import pytest


def _module(name):
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # torchvision: RuntimeError, no operator
        if os.environ.get("LIGHTSNN_NEED_LOADERS"):  # set by `make test-loaders`: there a skip would hide a failure
            raise
        pytest.skip(f"{name} does not import here ({str(error).splitlines()[0]}); run make test-loaders")


def torchvision_datasets():
    return _module("torchvision.datasets")


def spikingjelly_datasets():
    """``spikingjelly.datasets`` with its modules ``dvs128_gesture`` and ``utils``."""
    for name in ("dvs128_gesture", "utils"):
        _module(f"spikingjelly.datasets.{name}")
    return importlib.import_module("spikingjelly.datasets")
