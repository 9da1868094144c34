"""Pre-training of the gate: to recognise from a state which expert's it is, or the return of each from there."""

import math
from copy import deepcopy
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Positive
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import ROBOT
from mwl.selection.context import CONTEXT_SIZE
from mwl.selection.data import GateData
from mwl.selection.monte_carlo import MonteCarloData
from mwl.selection.network import STAGE, Gate, LoadedGate


def entropy(probs: Tensor) -> Tensor:
    """Entropy `[N]` in nats of probabilities `[N, K]`."""
    return -(probs * probs.clamp(min=1e-12).log()).sum(dim=-1)


def return_loss(predicted: Tensor, returns: Tensor, evaluated: Tensor) -> Tensor:
    """Mean squared error of predictions `[B, K]` where experts were evaluated; every such expert counts as much."""
    error = (predicted - returns).square() * evaluated
    per_expert = error.sum(dim=0) / evaluated.sum(dim=0).clamp(min=1)
    return per_expert.sum() / evaluated.any(dim=0).sum().clamp(min=1)


def entropy_shortfall(probs: Tensor, floor: float) -> Tensor:
    """How far the mean entropy of `[N, K]` lies below the floor, a share of ln K; zero above it.

    States of two skills overlap where one begins as the other does, and an expert given no chance is never evaluated.
    """
    return (floor * math.log(probs.shape[-1]) - entropy(probs).mean()).clamp(min=0)


class GateModule(pl.LightningModule):
    """Learns whose turn it is, from recordings (`GateData`) or from roll-outs (`MonteCarloData`).

    Of recorded states it learns whose they are: cross-entropy, plus a penalty below an entropy floor. Of states from
    which experts were rolled out it learns the return of each: squared error of the logits, so that the probabilities
    are a Boltzmann distribution over that, and the most probable expert is the one that is expected to earn most.

    Args:
        experts: folder of expert folders, or a list of them; their cards say which experts there are.
        semantic: semantic head (artifact, or `embedded`) whose text encoder embeds the cards.
        hidden: width of the hidden layers.
        lr: step size of AdamW.
    """

    key_size: ClassVar[int] = 32
    """Length of phi(s) and psi_i."""
    entropy_floor: ClassVar[float] = 0.1
    """Share of ln K below which mean entropy is penalised."""
    entropy_weight: ClassVar[float] = 1.0
    """Weight of that penalty."""
    temperature: ClassVar[float] = 0.05
    """Of the Boltzmann distribution: reward per step by which an expert has to earn more to be e times as probable."""

    def __init__(
        self,
        experts: str | list[str],
        semantic: str = "embedded",
        hidden: Count = 128,
        lr: Positive = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.experts, self.semantic, self.hidden, self.lr = experts, semantic, hidden, lr
        self.names: list[str] = []
        self.gate: Gate | None = None

    def setup(self, stage: str) -> None:
        """Embed the cards of the library's experts."""
        if self.gate is not None:
            return
        self.library = ExpertLibrary.load(self.experts)
        self.names = self.library.names
        embeddings = embed_cards(self.library, self.semantic)
        self.register_buffer("card_embeddings", embeddings)
        self.gate = Gate(CONTEXT_SIZE, embeddings.shape[-1], self.hidden, self.key_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse settings that what was learned depends on.

        Raises:
            BadInput: one of them changed.
        """
        fixed = ("experts", "semantic", "hidden")
        refuse_changed("model.", checkpoint["hyper_parameters"], self.hparams, fixed)

    def on_fit_start(self) -> None:
        """Read the recorded states, or make the first roll-outs, unless a checkpoint brought them."""
        data = self._data()
        if data.train is not None:
            return
        data.prepare(self.library)
        assert data.train is not None
        assert self.gate is not None
        self.gate.fit_normaliser(data.train[keys.FEATURES])

    def on_train_epoch_start(self) -> None:
        """Make roll-outs where the gate as it stands leads, if they are due."""
        data = self._data()
        if isinstance(data, MonteCarloData):
            data.prepare(self.library, self.loaded(), self.current_epoch)

    def loaded(self) -> LoadedGate:
        """A copy of the gate as it stands, on the CPU, where experts act."""
        assert self.gate is not None
        embeddings = dict(zip(self.names, self.card_embeddings.cpu(), strict=True))  # type: ignore[arg-type]
        return LoadedGate(deepcopy(self.gate).cpu().eval(), embeddings)

    def _data(self) -> GateData | MonteCarloData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, GateData | MonteCarloData):
            raise BadInput(
                "the gate needs data.class_path: mwl.selection.data.GateData or "
                "mwl.selection.monte_carlo.MonteCarloData"
            )
        return data

    def _losses(self, batch: TensorDict) -> tuple[Tensor, Tensor]:
        """Loss, and probabilities `[B, K]`."""
        assert self.gate is not None
        logits = self.gate.logits(batch[keys.FEATURES], self.card_embeddings)  # type: ignore[arg-type]
        probs = logits.softmax(dim=-1)
        if keys.EXPERT_RETURN in batch:
            return return_loss(self.temperature * logits, batch[keys.EXPERT_RETURN], batch[keys.EVALUATED]), probs
        shortfall = entropy_shortfall(probs, self.entropy_floor)
        return F.cross_entropy(logits, batch[keys.EXPERT_ID]) + self.entropy_weight * shortfall, probs

    def training_step(self, batch: TensorDict, batch_idx: int) -> Tensor:
        """Loss on a random batch."""
        loss, probs = self._losses(batch)
        if batch_idx % 50 == 0:  # logging costs as much as an update of so small a network
            self.log_dict({"train/loss": loss, "train/entropy": entropy(probs).mean()})
        return loss

    def validation_step(self, batch: TensorDict, batch_idx: int) -> None:
        """Loss and entropy on episodes that were not trained on, and how good the choice is.

        `accuracy` is that of a recorded state's expert. Of roll-outs it says how often the best expert is chosen where
        all were evaluated; `return` is that of the chosen one there, `return_best` that of the best.
        """
        loss, probs = self._losses(batch)
        metrics = {"val/loss": loss, "val/entropy": entropy(probs).mean()}
        choice = probs.argmax(dim=-1)
        if keys.EXPERT_RETURN in batch:
            compared = batch[keys.EVALUATED].all(dim=-1)
            returns, choice = batch[keys.EXPERT_RETURN][compared], choice[compared]
            best = returns.max(dim=-1)
            metrics["val/accuracy"] = (choice == best.indices).float().mean()
            metrics["val/return"] = returns.gather(-1, choice.unsqueeze(-1)).mean()
            metrics["val/return_best"] = best.values.mean()
        else:
            metrics["val/accuracy"] = (choice == batch[keys.EXPERT_ID]).float().mean()
        self.log_dict(metrics, batch_size=len(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over phi and psi."""
        assert self.gate is not None
        return torch.optim.AdamW(self.gate.parameters(), lr=self.lr, weight_decay=1e-4)

    def artifact(self) -> dict[str, Any]:
        """What the gate's artifact holds (arguments of `mwl.core.artifact.write_artifact`)."""
        assert self.gate is not None
        metrics = {
            key.removeprefix("val/"): float(value)
            for key, value in self.trainer.callback_metrics.items()
            if key.startswith("val/")
        }
        return {
            "stage": STAGE,
            "name": "gate",
            "checkpoint": self.loaded().to_plain(),
            "robot": ROBOT,
            "experts": list(self.names),
            "metrics": metrics,
            "provenance": self._data().provenance,
        }


def embed_cards(library: ExpertLibrary, semantic: str) -> Tensor:
    """Embeddings `[K, E]` of the experts' cards by a semantic head's text encoder."""
    from mwl.semantics import SemanticHead

    head = SemanticHead.load(semantic)
    head.set_cards(library.cards)
    return head.card_embeddings().detach().float().cpu().clone()
