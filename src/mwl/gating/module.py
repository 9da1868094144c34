"""Pre-training of the gate: recognise from a state which expert's it is, without ever becoming certain."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

from mwl import keys
from mwl.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.gating.data import GateData
from mwl.gating.network import STAGE, Gate, LoadedGate
from mwl.gating.situation import SITUATION_SIZE
from mwl.simulation.robot import ROBOT


def entropy(probs: Tensor) -> Tensor:
    """Entropy `[N]` in nats of probabilities `[N, K]`."""
    return -(probs * probs.clamp(min=1e-12).log()).sum(dim=-1)


def entropy_shortfall(probs: Tensor, floor: float) -> Tensor:
    """How far the mean entropy of `[N, K]` lies below the floor, a share of ln K; zero above it.

    States of two skills overlap where one begins as the other does, and an expert given no chance is never tried.
    """
    return (floor * math.log(probs.shape[-1]) - entropy(probs).mean()).clamp(min=0)


class GateModule(pl.LightningModule):
    """Cross-entropy of the expert a recorded state came from, plus a penalty below an entropy floor.

    Args:
        experts: folder of expert folders, or a list of them; their cards say which experts there are.
        semantic: semantic head (hand-over folder, or `embedded`) whose text encoder embeds the cards.
        hidden: width of the hidden layers.
        key_size: length of phi(s) and psi_i.
        lr: step size of AdamW.
        entropy_floor: share of ln K below which mean entropy is penalised.
        entropy_weight: weight of that penalty.
    """

    def __init__(
        self,
        experts: str | list[str],
        semantic: str = "embedded",
        hidden: int = 128,
        key_size: int = 32,
        lr: float = 1e-3,
        entropy_floor: float = 0.1,
        entropy_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.experts, self.semantic = experts, semantic
        self.hidden, self.key_size, self.lr = hidden, key_size, lr
        self.entropy_floor, self.entropy_weight = entropy_floor, entropy_weight
        self.names: list[str] = []
        self.gate: Gate | None = None

    def setup(self, stage: str) -> None:
        """Embed the cards of the library's experts and read the recorded states."""
        if self.gate is not None:
            return
        library = ExpertLibrary.load(self.experts)
        self.names = library.names
        embeddings = embed_cards(library, self.semantic)
        self.register_buffer("card_embeddings", embeddings)
        self.gate = Gate(SITUATION_SIZE, embeddings.shape[-1], self.hidden, self.key_size)
        data = self._data()
        if data.train is None:
            data.prepare(library)
        assert data.train is not None
        self.gate.fit_normaliser(data.train[keys.FEATURES])

    def _data(self) -> GateData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, GateData):
            raise BadInput("the gate needs data.class_path: mwl.gating.data.GateData")
        return data

    def _losses(self, batch: TensorDict) -> tuple[Tensor, Tensor]:
        assert self.gate is not None
        logits = self.gate.logits(batch[keys.FEATURES], self.card_embeddings)  # type: ignore[arg-type]
        return F.cross_entropy(logits, batch[keys.EXPERT_ID]), logits.softmax(dim=-1)

    def training_step(self, batch: TensorDict, batch_idx: int) -> Tensor:
        """Loss on a random batch."""
        cross_entropy, probs = self._losses(batch)
        shortfall = entropy_shortfall(probs, self.entropy_floor)
        if batch_idx % 50 == 0:  # logging costs as much as an update of so small a network
            self.log_dict({"train/loss": cross_entropy, "train/entropy": entropy(probs).mean()})
        return cross_entropy + self.entropy_weight * shortfall

    def validation_step(self, batch: TensorDict, batch_idx: int) -> None:
        """Accuracy, cross-entropy and entropy on episodes that were not trained on."""
        cross_entropy, probs = self._losses(batch)
        accuracy = (probs.argmax(dim=-1) == batch[keys.EXPERT_ID]).float().mean()
        metrics = {"val/loss": cross_entropy, "val/accuracy": accuracy, "val/entropy": entropy(probs).mean()}
        self.log_dict(metrics, batch_size=len(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over phi and psi."""
        assert self.gate is not None
        return torch.optim.AdamW(self.gate.parameters(), lr=self.lr, weight_decay=1e-4)

    def handoff(self) -> dict[str, Any]:
        """What the gate's hand-over folder holds (arguments of `mwl.handoff.write_handoff`)."""
        assert self.gate is not None
        embeddings = dict(zip(self.names, self.card_embeddings.cpu(), strict=True))  # type: ignore[arg-type, operator]
        metrics = {
            key.removeprefix("val/"): float(value)
            for key, value in self.trainer.callback_metrics.items()
            if key.startswith("val/")
        }
        return {
            "stage": STAGE,
            "name": "gate",
            "checkpoint": LoadedGate(self.gate.cpu().eval(), embeddings).to_plain(),
            "robot": ROBOT,
            "experts": list(self.names),
            "metrics": metrics,
            "provenance": {"demonstrations": self._data().sources},
        }


def embed_cards(library: ExpertLibrary, semantic: str) -> Tensor:
    """Embeddings `[K, E]` of the experts' cards by a semantic head's text encoder."""
    from mwl.semantics import Card, SemanticHead

    head = SemanticHead.load(semantic)
    head.set_cards([Card(**card) for card in library.cards])
    return head.card_embeddings().detach().float().cpu().clone()
