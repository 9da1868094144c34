"""The stage that fits the semantic head: an image tower and a word adapter on a locked text tower, then calibration."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from mwl.errors import BadInput, MissingFile
from mwl.semantics.calibration import calibrate
from mwl.semantics.cards import Card
from mwl.semantics.data import FrameData
from mwl.semantics.encoder import ClipEncoder, open_clip_encoder, sentence_clip
from mwl.semantics.head import STAGE, Calibration, SemanticHead, load_phrases
from mwl.semantics.network import WordAdapter, fit_adapter

FRAMES_OF_SPEECH = ("{}", "please {}", "robot, {}", "could you {}")


class SemanticModule(pl.LightningModule):
    """Draws pictures of a scene toward the words for what it calls for; the text tower stays as it is.

    Args:
        cards: file with the cards of the experts (a YAML list of `name`, `description`, `paraphrases`).
        development: labelled instructions on which temperature and refusal are calibrated.
        clip: `sentence` for the embedded architecture, else an open_clip name or `local-dir:FOLDER`.
        pretrained: weights tag or file of an open_clip model.
        lr: peak step size of AdamW.
        temperature: of the contrastive loss.
        phrases: the phrase bank.
        adapter_steps: updates of the map on the text embeddings, all of them before the pictures: it takes seconds.
        stay: weight of staying near the text tower's own embedding.
    """

    def __init__(
        self,
        cards: str = "data/semantics/cards.yaml",
        development: str = "data/semantics/development.yaml",
        clip: str = "sentence",
        pretrained: str | None = None,
        lr: float = 1e-3,
        temperature: float = 0.07,
        phrases: str = "data/semantics/phrases.yaml",
        adapter_steps: int = 300,
        stay: float = 7.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.clip, self.pretrained, self.lr, self.temperature = clip, pretrained, lr, temperature
        for file in (cards, development, phrases):
            if not Path(file).is_file():
                raise MissingFile(f"{file}: no such file (named in model.init_args)")
        self.cards = [Card(**card) for card in yaml.safe_load(Path(cards).read_text(encoding="utf-8"))]
        self.development = yaml.safe_load(Path(development).read_text(encoding="utf-8"))
        self.bank = load_phrases(Path(phrases))
        self.encoder: ClipEncoder | None = None
        self.visual: torch.nn.Module | None = None
        self.adapter: WordAdapter | None = None
        self.adapter_steps, self.stay = adapter_steps, stay

    def setup(self, stage: str) -> None:
        """Build the encoder and embed the words for every scene."""
        if self.encoder is not None:
            return
        self.encoder = sentence_clip() if self.clip == "sentence" else open_clip_encoder(self.clip, self.pretrained)
        self.visual = self.encoder.model.visual
        skills = self._data().skills
        missing = [skill for skill in skills if skill not in self.bank["skills"]]
        if missing:
            raise BadInput(f"the phrase bank has no phrases for {', '.join(missing)}")
        self.words = [self.encoder.texts(self.bank["skills"][skill]).clone() for skill in skills]
        self.adapter = fit_adapter(*self._phrases(), steps=self.adapter_steps, stay=self.stay)

    def _phrases(self) -> tuple[Tensor, Tensor]:
        """Embeddings `[P, E]` of the phrase bank and the group `[P]` of each: a skill, a topic, or "go on"."""
        assert self.encoder is not None
        skills = [[f.format(p) for p in phrases for f in FRAMES_OF_SPEECH] for phrases in self.bank["skills"].values()]
        groups = [*skills, *self.bank["other"].values(), self.bank["deictic"]]
        embedding = self.encoder.texts([str(phrase) for phrases in groups for phrase in phrases]).clone()
        return embedding, torch.cat([torch.full((len(phrases),), i) for i, phrases in enumerate(groups)])

    def _data(self) -> FrameData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FrameData):
            raise BadInput("the semantic head needs data.class_path: mwl.semantics.data.FrameData")
        return data

    def _targets(self, sample: bool) -> Tensor:
        """Embeddings of words for each skill `[S, E]`: their mean, or in training that of a random few."""
        assert self.adapter is not None
        means = [w[torch.randint(len(w), (4,))].mean(0) if sample else w.mean(0) for w in self.words]
        return self.adapter(F.normalize(torch.stack(means), dim=-1).to(self.device)).detach()

    def _logits(self, pictures: Tensor, sample: bool) -> Tensor:
        assert self.encoder is not None
        return self.encoder.pictures(pictures) @ self._targets(sample).T / self.temperature

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Contrastive loss over the skills, with other words for them in every batch."""
        pictures, skills = batch
        loss = F.cross_entropy(self._logits(pictures, sample=True), skills)
        if batch_idx % 10 == 0:
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Share of held-out pictures whose scene is recognised."""
        pictures, skills = batch
        accuracy = (self._logits(pictures, sample=False).argmax(-1) == skills).float().mean()
        self.log("val/frame_accuracy", accuracy, batch_size=len(skills), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW on the image tower, one cycle of the step size."""
        assert self.visual is not None
        optimizer = torch.optim.AdamW(self.visual.parameters(), lr=self.lr, weight_decay=0.05)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def handoff(self) -> dict[str, Any]:
        """Calibrate on the development instructions and give what the hand-over folder holds."""
        assert self.encoder is not None
        assert self.visual is not None
        self.encoder.model.cpu().eval()
        assert self.adapter is not None
        adapter = self.adapter.cpu().eval()
        head = SemanticHead(self.encoder, Calibration(), _all(self.bank["other"]), self.bank["deictic"], adapter)
        head.set_cards([Card(**card) for card in self.development["cards"]])
        calibration, metrics = calibrate(head, self.development["skills"], self.development["far"])
        head.calibration = replace(calibration, picture=head.calibration.picture)
        head.set_cards(self.cards)
        seen = self.trainer.callback_metrics.get("val/frame_accuracy")
        if seen is not None:
            metrics["frame_accuracy"] = float(seen)
        return {
            "stage": STAGE,
            "name": "semantic",
            "checkpoint": head.to_plain(self.clip, self.pretrained, self.visual.state_dict()),
            "card_names": head.names,
            "metrics": metrics,
            "provenance": {
                "text_encoder": "all-MiniLM-L6-v2 (Apache-2.0)" if self.clip == "sentence" else self.clip,
                "frames": "rendered from the embedded simulation",
                "phrases": "written by the project's authors",
            },
        }


def _all(groups: dict[str, list[str]]) -> list[str]:
    return [str(phrase) for phrases in groups.values() for phrase in phrases]
