"""What a manifest says of a finished stage: its name, card, inputs and outputs, and what it was made from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mwl.core.errors import BadInput, CorruptFile
from mwl.core.files import shown
from mwl.core.plain import from_plain

SCHEMA = 1
_LONGEST_TEXT = 400  # characters
_MOST_PHRASES = 2000
_MUST_BE = ("name", "stage", "files")  # others may be empty


@dataclass(frozen=True)
class Card:
    """An expert in words; an instruction finds the expert through them.

    Args:
        name: of the expert.
        description: what it does, one short sentence.
        paraphrases: other ways to ask for it.
    """

    name: str
    description: str
    paraphrases: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.paraphrases, list | tuple) or len(self.paraphrases) > _MOST_PHRASES:
            raise BadInput(f"a card's paraphrases are not a list of at most {_MOST_PHRASES} texts")
        object.__setattr__(self, "paraphrases", tuple(self.paraphrases))
        for text in (self.name, *self.phrases):
            if not isinstance(text, str) or not text.strip():
                raise BadInput(f"a card needs a name and a description: {shown(text)} is not a text")
            if len(text) > _LONGEST_TEXT or not text.isprintable():
                raise BadInput(f"a card has {shown(text)}: longer than {_LONGEST_TEXT} characters or can't be printed")

    @property
    def phrases(self) -> list[str]:
        """Description and paraphrases, the description first."""
        return [self.description, *self.paraphrases]


@dataclass(frozen=True)
class Provenance:
    """What a result was made from, and the environment steps that it cost; None where it was not said."""

    env_steps: int | None = None
    recording_env_steps: int | None = None
    training_env_steps: dict[str, int] | int | None = None
    guided: bool | None = None
    licence: str | list[str] | None = None


@dataclass(frozen=True)
class TakenCommand:
    """A command that an expert takes: its kind and what holds where nobody gives one."""

    kind: str
    default: Sequence[float] = ()


@dataclass(frozen=True)
class Signal:
    """An observation or an action: how many numbers, and the command that comes with an observation."""

    size: int | None = None
    command: TakenCommand | None = None


@dataclass(frozen=True)
class _Metrics:
    env_steps: int | None = None


@dataclass(frozen=True, eq=False)
class Manifest(Mapping[str, Any]):
    """The entries that anything here reads, by type; as a mapping, all entries as they were written."""

    stage: str = ""
    name: str = ""
    robot: str | None = None
    task: str | None = None
    mlflow_run_id: str | None = None
    memory: int = 0
    observation: Signal = Signal()
    action: Signal = Signal()
    card: Card | None = None
    metrics: _Metrics = _Metrics()
    provenance: Provenance = Provenance()
    files: dict[str, str] = field(default_factory=dict)
    _entries: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def of(cls, entries: Mapping[str, Any], where: str = "manifest") -> "Manifest":
        """The manifest with these entries, checked for their types.

        Raises:
            CorruptFile: an entry has a wrong type.
        """
        if isinstance(entries, Manifest):
            return entries
        if not isinstance(entries, Mapping):
            raise CorruptFile(f"{where}: is not the manifest of a stage")
        said = {key: value for key, value in entries.items() if key in _MUST_BE or value not in (None, {})}
        try:
            manifest = from_plain(cls, said, where, unknown=True)
        except CorruptFile:
            raise
        except BadInput as error:
            raise CorruptFile(f"{where}: {error}") from error
        object.__setattr__(manifest, "_entries", dict(entries))
        return manifest

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
