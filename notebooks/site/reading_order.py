"""The reading order: the README's table of notebooks is its one source; all else is made from it.

``python notebooks/site/reading_order.py`` writes the line to the notebooks before and after into each of them; the
site's table of contents and its index follow the same list (``make site``), and a test holds all of it together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from lightsnn_kit.files import write_text

FOLDER = Path(__file__).resolve().parents[1]
PARTS = {"lessons": "Lessons", "guides": "Guides", "search": "Stages of a run", "reproduce": "Experiments"}
LINE = re.compile(r"\n*(?:\*\*Before:\*\*|\*\*Next:\*\*) \[.*\Z")


@dataclass(frozen=True)
class Row:
    """A row of the README's table: pages in reading order, and what it says of them."""

    part: str  # heading under which the site lists it
    pages: tuple[Path, ...]
    text: str


def rows(folder: Path = FOLDER) -> list[Row]:
    """The rows of the README beside the folder of notebooks; pages of a folder that it does not name come after."""
    text = (folder.parent / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| notebook \|.*?\n\n", text, flags=re.MULTILINE | re.DOTALL)[0]
    found, part = [], "Begin"
    for line in table.strip().splitlines()[2:]:
        first, said = (column.strip() for column in line.strip().strip("|").split("|", 1))
        names = re.findall(r"`([\w/]+)`", first)
        part = PARTS.get(names[0].rstrip("/"), "Begin" if not found else "Deep dives")
        pages = [
            page for name in names for page in (_inside(folder / name, said) if "/" in name else _page(folder, name))
        ]
        found.append(Row(part, tuple(pages), said))
    listed = {page for row in found for page in row.pages}
    if more := [page for page in _inside(folder / "guides", "") if page not in listed]:
        last = max((i for i, row in enumerate(found) if row.part == "Deep dives"), default=0)
        found.insert(last + 1, Row("Guides", tuple(more), "further guides"))
    return found


def _page(folder: Path, name: str) -> list[Path]:
    return [path for path in (folder / f"{name}.ipynb", folder / f"{name}.md") if path.is_file()]


def _inside(folder: Path, said: str) -> list[Path]:
    """The pages of a folder: first those that are named, in that order, then the others by name."""
    named = [page for name in re.findall(r"`(\w+)`", said) for page in _page(folder, name)]
    pages = (path for path in folder.glob("*") if path.suffix in (".ipynb", ".md"))
    return list(dict.fromkeys([*named, *sorted(pages)]))


def order(folder: Path = FOLDER) -> list[Path]:
    """All pages in reading order."""
    return [page for row in rows(folder) for page in row.pages]


def title_of(page: Path) -> str:
    """The first line of a page: its question."""
    text = page.read_text(encoding="utf-8")
    first = "".join(json.loads(text)["cells"][0]["source"]) if page.suffix == ".ipynb" else text
    return first.splitlines()[0].removeprefix("# ")


def line_of(page: Path, pages: Sequence[Path]) -> str:
    """The line of a page that leads to the ones before and after it."""
    at = pages.index(page)
    around = {"Before": pages[at - 1] if at else None, "Next": pages[at + 1] if at + 1 < len(pages) else None}
    links = [
        f"**{word}:** [{title_of(other)}]({relpath(other, page.parent)})" for word, other in around.items() if other
    ]
    return " · ".join(links)


def with_line(text: str, line: str) -> str:
    """A first cell that ends with the line, in place of an earlier one.

    >>> with_line("# A?\\n\\nText.\\n\\n**Next:** [B](b.ipynb)", "**Next:** [C](c.ipynb)")
    '# A?\\n\\nText.\\n\\n**Next:** [C](c.ipynb)'
    """
    return f"{LINE.sub('', text)}\n\n{line}"


def numbered(page: Path) -> bool:
    """True for lessons, whose line ``course.py`` writes: they are handed out without the other notebooks."""
    return page.parent.name == "lessons"


def update(folder: Path = FOLDER) -> list[Path]:
    """Write the line into every notebook that has another one; those changed."""
    pages, changed = order(folder), []
    for page in pages:
        if page.suffix != ".ipynb" or numbered(page):
            continue
        content = json.loads(page.read_text(encoding="utf-8"))
        first = content["cells"][0]
        text = with_line(old := "".join(first["source"]), line_of(page, pages))
        if text != old:
            first["source"] = text.splitlines(keepends=True)
            write_text(page, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
            changed.append(page)
    return changed


if __name__ == "__main__":
    print(*(f"changed {page.relative_to(FOLDER)}" for page in update()), sep="\n")
