"""The script that gives every figure of a page a menu to save it: widgets and reports carry it, JupyterLab loads it."""

from __future__ import annotations

from pathlib import Path

SAVE_MENU = (Path(__file__).parent / "jupyter" / "save_menu.js").read_text(encoding="utf-8")
