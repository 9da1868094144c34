"""Settings under which a checkpoint can't go on: named instead of being overruled in silence."""

from collections.abc import Iterable, Mapping
from typing import Any

from mwl.core.errors import BadInput
from mwl.core.files import shown


def refuse_changed(
    within: str, then: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str] | None = None
) -> None:
    """Refuse to resume under other settings than a checkpoint was made with.

    Args:
        within: what the names lie in, for the message, as `data.`.
        then: settings of the checkpoint; those that it does not know are not compared.
        now: settings now.
        names: those that can't change; None takes all of `now`.

    Raises:
        BadInput: one of them changed; the message names it with both values.
    """
    for name in now if names is None else names:
        if name in then and _plain(then[name]) != _plain(now[name]):
            raise BadInput(
                f"--resume: {within}{name} is {shown(now[name])}, but the checkpoint was made with "
                f"{shown(then[name])}; put it back, or fit without --resume"
            )


def _plain(value: Any) -> Any:
    """Lists and tuples compare alike."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
