"""Cards: how an expert introduces itself in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from mwl.errors import BadInput


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
        if not self.name.strip() or not self.description.strip():
            raise BadInput("a card needs a name and a description")
        object.__setattr__(self, "paraphrases", tuple(self.paraphrases))

    @property
    def phrases(self) -> list[str]:
        """Description and paraphrases, the description first."""
        return [self.description, *self.paraphrases]
