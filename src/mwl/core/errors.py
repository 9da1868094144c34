"""Named errors: each says what was wrong, where, and what to do about it.

The command line prints the message alone, without a traceback, and exits with `exit_code`: 2 when the input was
bad (nothing has been started), 1 when a run that had started failed.
"""

import difflib
from collections.abc import Iterable

MAX_MESSAGE = 500  # characters; a message may repeat a bad value, and that may be a megabyte
_LONGEST_WORD = 100  # that is worth a comparison


class MwlError(Exception):
    """Base of every error that `mwl` raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= MAX_MESSAGE:
            return text
        half = (MAX_MESSAGE - 5) // 2
        return f"{text[:half]} ... {text[-half:]}"


class BadInput(MwlError):
    """What the user handed in can't be used; nothing was started."""

    exit_code = 2


class ConfigError(BadInput):
    """A configuration file or override doesn't fit the schema."""


class UnknownTask(BadInput):
    """No task of that name exists in the chosen suite."""


class UnknownAgent(BadInput):
    """The text given as agent names no checkpoint folder, expert or run."""


class MissingFile(BadInput):
    """A file or folder that was named does not exist."""


class CorruptFile(BadInput):
    """A file exists but cannot be read as what it should be, or its sha256 differs from its manifest."""


class SpecMismatch(BadInput):
    """A checkpoint was made for another robot, observation, action or schema than it is used with."""


class MissingDependency(BadInput):
    """An optional package or system library is needed and absent; the message names the install command."""


class NoSkillFits(BadInput):
    """The instruction is too far from the card of every expert; `nearest` names the closest skills."""

    def __init__(self, message: str, nearest: list[str] | None = None) -> None:
        super().__init__(message)
        self.nearest = list(nearest or [])


class WriteFailed(MwlError):
    """A result could not be written, as on a full disk; what was there before is unchanged."""


class StoreFailed(MwlError):
    """The MLflow store can't be reached, made, read or written; the message says why."""


class PhysicsError(MwlError):
    """The simulation produced states that are not finite in every environment."""


class NonFiniteLoss(MwlError):
    """A loss, and with it a weight or an action, became NaN or infinite; the message says where, and how to go on."""


class StageFailed(MwlError):
    """A stage of a pipeline did not finish; the message names the stage and its log."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known words nearest to a misspelt one, else the empty string."""
    close = difflib.get_close_matches(word[:_LONGEST_WORD], list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
