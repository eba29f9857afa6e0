"""An extension of the Jupyter server, enabled by the package's own configuration file: saved notebooks keep pictures.

A widget is gone when its kernel is; `report.before_saving` leaves its picture in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    server.contents_manager.register_pre_save_hook(_before_saving)


def _before_saving(model: dict, **rest: object) -> None:
    from .report import before_saving  # with nbconvert and plotly: when something is saved first

    before_saving(model, **rest)
