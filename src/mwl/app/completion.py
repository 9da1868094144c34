"""What the shell offers after TAB, by argcomplete: commands, flags, tasks, agents and configurations."""

import argparse
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from mwl import _gymnasium
from mwl._places import find_each
from mwl.app.argument_checks import EXPERTS
from mwl.core.errors import MwlError


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and exit."""
    import argcomplete

    _add_fit_flags(parser)
    for command, action in _actions(parser):
        if action.dest == "task":
            action.completer = lambda **_: _gymnasium.TASK_NAMES  # type: ignore[attr-defined]
        elif action.dest in ("agent", "against"):
            action.completer = lambda **_: _agents()  # type: ignore[attr-defined]
        elif action.dest in ("pipeline", "config"):
            action.completer = _Files(command)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def _add_fit_flags(parser: argparse.ArgumentParser) -> None:
    """Let `mwl fit` take the flags of the model and the data of its configuration, where such a one is begun."""
    words = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", 0))].split()
    if words[1:2] != ["fit"] or not words[-1].startswith(("--m", "--d")):
        return
    from mwl.app.fit_help import fit_flags

    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    named.add_argument("-c", "--config", action="append", default=[])
    fit = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices["fit"]
    with suppress(MwlError, argparse.ArgumentError):  # no such file: its name is completed by itself
        for flag in fit_flags(named.parse_known_args(words)[0].config):
            fit.add_argument(flag)


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
    experts = [name for folder in EXPERTS for name in find_each(folder, "*/manifest.json")]
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
