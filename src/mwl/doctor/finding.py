"""What `mwl doctor` says about one thing."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; where it is not ok, `remedy` says what to do."""

    name: str
    ok: bool
    state: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `mwl doctor --json` prints it."""
        return asdict(self)
