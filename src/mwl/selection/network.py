"""State-aware selection of experts, p(i|s) = softmax_i(phi(s) . psi_i), psi made from what an expert's card says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mwl.core.artifact import checkpoint_of, read_checkpoint, read_manifest
from mwl.core.checkpoints import load_module
from mwl.core.errors import CorruptFile, SpecMismatch
from mwl.core.normaliser import mean_and_std, normalise
from mwl.selection.context import CONTEXT_SIZE

STAGE = "gate"


class Gate(nn.Module):
    """Selection probabilities of K experts, any K (paper eq. 3).

    An expert is known by its card's embedding alone, so one that is added later gets its psi without training.

    Args:
        feature_size: number F of features of a context.
        card_size: length E of a card's embedding.
        hidden: width of phi's and psi's hidden layers.
        key_size: length of phi(s) and psi_i.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, feature_size: int, card_size: int, hidden: int = 128, key_size: int = 32) -> None:
        super().__init__()
        self.sizes = {"feature_size": feature_size, "card_size": card_size, "hidden": hidden, "key_size": key_size}
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("std", torch.ones(feature_size))
        self.phi = nn.Sequential(
            nn.Linear(feature_size, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, key_size, bias=False),
        )
        self.psi = nn.Sequential(nn.Linear(card_size, hidden), nn.SiLU(), nn.Linear(hidden, key_size, bias=False))

    @torch.no_grad()
    def fit_normaliser(self, features: Tensor) -> None:
        """Take mean and spread from training features `[T, F]`."""
        for buffer, found in zip((self.mean, self.std), mean_and_std(features), strict=True):
            buffer.copy_(found)

    def logits(self, features: Tensor, card_embeddings: Tensor) -> Tensor:
        """phi(s) . psi_i, `[N, K]`."""
        keys: Tensor = self.psi(card_embeddings)
        result: Tensor = self.phi(normalise(features, self.mean, self.std)) @ keys.T
        return result

    def forward(self, features: Tensor, card_embeddings: Tensor) -> Tensor:
        """Probabilities `[N, K]` at features `[N, F]` for experts with card embeddings `[K, E]`."""
        return self.logits(features, card_embeddings).softmax(dim=-1)


class LoadedGate(NamedTuple):
    """A gate, and by expert the card embeddings `[E]` that it was trained with."""

    gate: Gate
    card_embeddings: dict[str, Tensor]

    def embeddings_of(self, names: Sequence[str]) -> Tensor:
        """Embeddings `[K, E]` in the order of `names`.

        Raises:
            SpecMismatch: the gate was made without one of them.
        """
        missing = [name for name in names if name not in self.card_embeddings]
        if missing:
            known = ", ".join(self.card_embeddings)
            raise SpecMismatch(
                f"the gate has no card of expert {', '.join(missing)} (it knows {known}); fit the gate again with it"
            )
        return torch.stack([self.card_embeddings[name] for name in names])

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain values and tensors, to be read back by `from_plain`."""
        return {
            "hyper_parameters": dict(self.gate.sizes),
            "state_dict": self.gate.state_dict(),
            "card_embeddings": dict(self.card_embeddings),
        }

    @classmethod
    def from_plain(cls, entries: Mapping[str, Any]) -> "LoadedGate":
        """The gate that `to_plain` described.

        Raises:
            CorruptFile, SpecMismatch: entries of another type, or weights that do not fit.
        """
        settings = entries["hyper_parameters"]
        gate = load_module(lambda: Gate(**settings), entries["state_dict"], "gate")
        cards, size = entries["card_embeddings"], gate.sizes["card_size"]
        if not isinstance(cards, Mapping) or not all(_is_embedding(card, size) for card in cards.values()):
            raise CorruptFile(f"gate: its card embeddings are not {size} numbers each; fit the gate again")
        if not (gate.std > 0).all():
            raise CorruptFile("gate: its normaliser has a spread that is not above 0; fit the gate again")
        return cls(gate.eval(), {str(name): card.float() for name, card in cards.items()})


def _is_embedding(card: Any, size: int) -> bool:
    return isinstance(card, Tensor) and card.shape == (size,) and bool(card.float().isfinite().all())


def load_gate(folder: Path | str) -> LoadedGate:
    """Load the artifact of a gate.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
        SpecMismatch: the gate was made for other features of a context.
    """
    read_manifest(folder, stage=STAGE)
    with checkpoint_of("a gate", folder):
        loaded = LoadedGate.from_plain(read_checkpoint(folder))
    size = loaded.gate.sizes["feature_size"]
    if size != CONTEXT_SIZE:
        raise SpecMismatch(f"{folder}: a gate that sees {size} features, this version {CONTEXT_SIZE}; fit it again")
    return loaded
