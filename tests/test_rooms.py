"""Rooms of the package: imports point one way, in the order that the design page lists, and no folder is crowded."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "mwl"
FILES = sorted(SRC.rglob("*.py"))


def listed() -> list[str]:
    """Rooms in the order of docs/design.md, from the ground up."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    return re.findall(r"^  (\w+)/ ", page, flags=re.MULTILINE)


def imported(file: Path) -> set[str]:
    """Rooms that a file imports from anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("mwl.") and (SRC / name.split(".")[1]).is_dir()}


def test_the_design_page_lists_every_room() -> None:
    rooms = {file.relative_to(SRC).parts[0] for file in FILES if len(file.relative_to(SRC).parts) > 1}
    assert sorted(listed()) == sorted(rooms)


@pytest.mark.parametrize("room", listed())
def test_imports_point_down(room: str) -> None:
    above = listed()[listed().index(room) + 1 :]
    upward = {
        f"{file.relative_to(SRC)} imports {other}"
        for file in (SRC / room).rglob("*.py")
        for other in imported(file)
        if other in above
    }
    assert not upward


def test_no_folder_is_crowded() -> None:
    counts: dict[Path, int] = {}
    for file in FILES:
        counts[file.parent] = counts.get(file.parent, 0) + 1
    assert {str(folder): count for folder, count in counts.items() if count > 12} == {}
