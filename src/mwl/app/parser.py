"""The parser of commands: a mistake is one line, with what may have been meant."""

import argparse
import re
from typing import Any, NoReturn

from mwl.app.answers import one_line
from mwl.core.errors import did_you_mean

_INVALID = re.compile(r"invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)$", re.DOTALL)
_WORD = re.compile(r"[^\s,']+")


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, with what may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line."""
        if wrong := _INVALID.search(message):
            message += did_you_mean(wrong["word"], _WORD.findall(wrong["known"]))
        self.exit(2, f"{self.prog}: {one_line(message)} (see `{self.prog} --help`)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what is left over is refused by the command that it was said to."""
        options, others = super().parse_known_args(args, namespace)
        if others:
            flags = [flag for action in self._actions for flag in action.option_strings]
            unknown = next((word for word in others if word.startswith("-")), others[0])
            self.error(f"unrecognized arguments: {' '.join(others)}{did_you_mean(unknown.partition('=')[0], flags)}")
        return options, others


def add_force(sub: argparse.ArgumentParser) -> None:
    """The flag of commands that write a file or folder which the user names."""
    sub.add_argument("--force", action="store_true", help="replace what is there")
