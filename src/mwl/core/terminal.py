"""What is said to people: text of users as it is, never as markup or commands to the terminal, and no secret in it."""

import os
import sys
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from rich.text import Text

_SECRETS = ("MWL_CHAT_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MWL_PLAYGROUND_TOKEN")
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MWL_CHAT_URL")  # may hold a password
_HIDDEN = "***"
_ACTING = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of what acts instead of being shown
_BIDIRECTIONAL = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text with everything that would act on a terminal (escape sequences, reversed text) spelled as `\x1b`."""
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    if character in "\n\t":
        return True
    return character not in _BIDIRECTIONAL and unicodedata.category(character) not in _ACTING


def plain(text: object) -> "Text":
    """Text for rich, which would take brackets in a string for markup."""
    from rich.text import Text

    return Text(printable(str(text)))


def redacted(text: str) -> str:
    """The text without the values of secrets in the environment: keys, passwords, what addresses hold of them."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets() -> set[str]:
    found = {os.environ.get(name, "") for name in _SECRETS}
    for name in _ADDRESSES:
        found |= _within(os.environ.get(name, ""))
    return {secret for secret in found if secret}


def _within(address: str) -> set[str]:
    """What an address holds before its @, or in its query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return set()
    if parts.scheme.startswith("sqlite"):
        return set()  # a path
    user, at, _ = parts.netloc.rpartition("@")
    if not at:
        return set()
    password = user.partition(":")[2]
    return {user, password, unquote(password)}


def told(message: str) -> str:
    """A message as one line that can be shown: without secrets and without what acts on a terminal."""
    return printable(" ".join(redacted(message).split()))


def tell(message: str) -> None:
    """Say something in one line on stderr."""
    print(f"mwl: {told(message)}", file=sys.stderr, flush=True)
