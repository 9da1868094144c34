"""What can be named on the command line: tasks, skills, experts, agents and pipelines, wherever they lie."""

from pathlib import Path
from textwrap import shorten
from typing import Any

from mwl._places import find_each
from mwl.app.argument_checks import EXPERTS
from mwl.core.artifact import MANIFEST, read_manifest
from mwl.core.errors import BadInput
from mwl.core.files import read_text
from mwl.core.manifest import Manifest


def listed(what: str) -> list[dict[str, Any]]:
    """The entries of a list, each of the same keys: what it is called, what it is, where it lies."""
    return {"tasks": _tasks, "skills": _skills, "experts": _experts, "agents": _agents, "pipelines": _pipelines}[what]()


def _tasks() -> list[dict[str, Any]]:
    from mwl.simulation.tasks import TASKS

    return [
        {"name": task.name, "asks": task.instruction, "success from": task.success_bar, "steps": task.max_episode_steps}
        for task in TASKS.values()
    ]


def _experts() -> list[dict[str, Any]]:
    entries = []
    for folder, manifest in (found for place in EXPERTS for found in _manifests(place)):
        does = manifest.card.description if manifest.card else ""
        entries.append({"name": f"expert:{manifest.name}", "does": does, "folder": str(folder)})
    return entries


def _skills() -> list[dict[str, Any]]:
    from mwl.semantics.shipped import COMMANDED, commands, skill_folders

    by = {place: address for address, place in COMMANDED.values()}
    cards = []
    for folder in skill_folders():
        if (card := read_manifest(folder, files=False).card) is not None:
            own = [address for place, address in by.items() if folder.as_posix().endswith(place)]
            cards.append((card, own[0] if own else f"expert:{card.name}"))
    cards += commands()
    return [{"name": card.name, "say": " | ".join(card.phrases[:4]), "by": who} for card, who in cards]


def _agents() -> list[dict[str, Any]]:
    return [
        {
            "name": f"agent:{folder.name}",
            "task": manifest.task or "",
            "is": manifest.stage,
            "folder": str(folder),
        }
        for folder, manifest in _manifests("data/agents")
    ]


def _pipelines() -> list[dict[str, Any]]:
    entries = []
    for name, file in find_each("conf/pipelines", "*.yaml").items():
        first = read_text(file).partition("\n")[0].lstrip("# ")
        entries.append({"name": f"conf:pipelines/{name}", "does": shorten(first, 70), "file": str(file)})
    return entries


def _manifests(place: str) -> list[tuple[Path, Manifest]]:
    """Folders of artifacts, with their manifests; those that are none are left out."""
    found = []
    for file in find_each(place, f"*/{MANIFEST}").values():
        try:
            found.append((file.parent, read_manifest(file.parent, files=False)))
        except BadInput:  # `mwl doctor` tells
            continue
    return found


def columns(entries: list[dict[str, Any]]) -> str:
    """The entries as plain columns, with their keys above."""
    if not entries:
        return "none"
    rows = [list(entries[0]), *([str(value) for value in entry.values()] for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
