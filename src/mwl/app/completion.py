"""What the shell offers after TAB, by argcomplete: commands, flags, tasks, agents and configurations."""

import argparse
from collections.abc import Iterator
from typing import Any

from mwl import _gymnasium
from mwl._places import find_each


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and exit."""
    import argcomplete

    for command, action in _actions(parser):
        if action.dest == "task":
            action.completer = lambda **_: _gymnasium.TASK_NAMES  # type: ignore[attr-defined]
        elif action.dest in ("agent", "against"):
            action.completer = lambda **_: _agents()  # type: ignore[attr-defined]
        elif action.dest in ("pipeline", "config"):
            action.completer = _Files(command)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


class _Files:
    """Configurations that ship, for a command, and files of the working folder."""

    def __init__(self, command: str) -> None:
        kinds = {"run": "pipelines", "train": "teachers", "demonstrate": "demonstrators"}
        self.folder = f"conf/{kinds[command]}" if command in kinds else "conf"

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        shipped = [f"{self.folder}/{name}" for name in find_each(self.folder, "**/*.yaml")]
        return [*shipped, *FilesCompleter(("yaml",))(prefix)]


def _agents() -> list[str]:
    experts = [*find_each("data/experts", "*/manifest.json"), *find_each("data/transitions", "*/manifest.json")]
    agents = find_each("data/agents", "*/manifest.json")
    return [*(f"expert:{name.parent}" for name in experts), *(f"agent:{name.parent}" for name in agents)]


def _actions(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """All actions, with the command that they belong to."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _actions(below, name)
        else:
            yield command, action
