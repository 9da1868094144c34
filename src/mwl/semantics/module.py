"""The stage that fits the semantic head: pictures drawn toward words, adapters on what is locked, then calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from mwl._places import find
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput, MissingFile
from mwl.core.ranges import Positive
from mwl.semantics.calibration import calibrate, calibrate_pictures
from mwl.semantics.cards import load_cards
from mwl.semantics.data import NOTHING, FrameData
from mwl.semantics.encoders.distractors import no_scenes
from mwl.semantics.encoders.towers import SENTENCE, ClipEncoder, make_encoder
from mwl.semantics.head import STAGE, Calibration, SemanticHead
from mwl.semantics.network import WordAdapter, fit_adapter
from mwl.semantics.shipped import load_labelled, load_phrases

FRAMES_OF_SPEECH = ("{}", "please {}", "robot, {}", "could you {}")


class SemanticModule(pl.LightningModule):
    """Draws pictures of a scene toward the words for what it calls for; the text tower stays as it is.

    Of the embedded architecture the image tower is trained. A pre-trained CLIP stays as it is on both sides, and a
    small adapter after each is fitted.

    Args:
        cards: file with the cards of the experts (a YAML list of `name`, `description`, `paraphrases`).
        development: labelled instructions on which temperature and refusal are calibrated.
        clip: `sentence` for the embedded architecture, else an open_clip name or `local-dir:FOLDER`.
        pretrained: weights tag or file of an open_clip model.
        lr: peak step size of AdamW.
        phrases: the phrase bank.
    """

    temperature: ClassVar[float] = 0.07  # of the contrastive loss, as CLIP begins with
    adapter_steps: ClassVar[int] = 300
    """Updates of the map on the text embeddings, all of them before the pictures: it takes seconds."""
    stay: ClassVar[float] = 7.0
    """Weight of staying near the text tower's own embedding."""

    def __init__(
        self,
        cards: str = "data/semantics/cards.yaml",
        development: str = "data/semantics/development.yaml",
        clip: str = "sentence",
        pretrained: str | None = None,
        lr: Positive = 1e-3,
        phrases: str = "data/semantics/phrases.yaml",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.clip, self.pretrained, self.lr = clip, pretrained, lr
        for file in (cards, development, phrases):
            if not find(file).is_file():
                raise MissingFile(f"{file}: no such file (named in model.init_args)")
        self.cards = load_cards(cards)
        self.development = load_labelled(development)
        self.bank = load_phrases(Path(phrases))
        self.encoder: ClipEncoder | None = None
        self.visual: torch.nn.Module | None = None
        self.adapter: WordAdapter | None = None
        self.picture_adapter: WordAdapter | None = None

    def setup(self, stage: str) -> None:
        """Build the encoder and embed the words for every scene."""
        if self.encoder is not None:
            return
        data = self._data()
        self.encoder = make_encoder(self.clip, self.pretrained, data.image_size)
        skills = data.skills
        missing = [skill for skill in skills if skill not in self.bank["skills"]]
        if missing:
            raise BadInput(f"the phrase bank has no phrases for {', '.join(missing)}")
        # Every skill of the bank is a wrong answer for a picture, not those alone that have a scene.
        names = [*skills, *(name for name in self.bank["skills"] if name not in skills)]
        self.words = [self.encoder.texts(self.bank["skills"][name]).clone() for name in names]
        self.adapter = fit_adapter(*self._phrases(), steps=self.adapter_steps, stay=self.stay)
        if self._trains_tower:
            self.visual = self.encoder.visual.requires_grad_(True)
        else:
            self.picture_adapter = WordAdapter(self.words[0].shape[-1], self.PICTURE_RANK)

    def on_fit_start(self) -> None:
        """Bring the tower to where pictures will be: a frozen one is no part of this module."""
        assert self.encoder is not None
        self.encoder.visual.to(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse settings that what was learned depends on.

        Raises:
            BadInput: one of them changed.
        """
        fixed = ("clip", "pretrained", "phrases")
        refuse_changed("model.", checkpoint["hyper_parameters"], self.hparams, fixed)

    PICTURE_RANK = 128

    @property
    def _trains_tower(self) -> bool:
        return self.clip == SENTENCE

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

    def _seen(self, pictures: Tensor) -> Tensor:
        """Embeddings `[P, E]` of pictures, adapted where the tower is not trained."""
        assert self.encoder is not None
        if self.picture_adapter is None:
            return self.encoder.pictures(pictures)
        with torch.no_grad():
            raw = self.encoder.pictures(pictures)
        adapted: Tensor = self.picture_adapter(raw)
        return adapted

    def _logits(self, pictures: Tensor, sample: bool) -> Tensor:
        return self._seen(pictures) @ self._targets(sample).T / self.temperature

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Contrastive loss over the skills, with other words for them in every batch; no scene is like no skill."""
        pictures, skills = batch
        log_probs = self._logits(pictures, sample=True).log_softmax(dim=-1)
        scene = skills != NOTHING
        per_picture = torch.where(scene, -log_probs.gather(1, skills.clamp(min=0)[:, None])[:, 0], -log_probs.mean(-1))
        loss = per_picture.mean()
        if batch_idx % 10 == 0:
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Share of held-out pictures whose scene is recognised."""
        pictures, skills = (part[batch[1] != NOTHING] for part in batch)
        accuracy = (self._logits(pictures, sample=False).argmax(-1) == skills).float().mean()
        self.log("val/frame_accuracy", accuracy, batch_size=len(skills), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW on the image tower or on the pictures' adapter, one cycle of the step size."""
        trained = self.visual or self.picture_adapter
        assert trained is not None
        optimizer = torch.optim.AdamW(trained.parameters(), lr=self.lr, weight_decay=0.05)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=total, pct_start=0.15)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def artifact(self) -> dict[str, Any]:
        """Calibrate on the development instructions and give what the artifact holds."""
        assert self.encoder is not None
        assert self.adapter is not None
        self.encoder.visual.cpu().eval()
        adapter = self.adapter.cpu().eval()
        pictures = None if self.picture_adapter is None else self.picture_adapter.cpu().eval()
        background = [str(phrase) for phrases in self.bank["other"].values() for phrase in phrases]
        head = SemanticHead(self.encoder, Calibration(), background, self.bank["deictic"], adapter, pictures)
        head.set_cards(self.development["cards"])
        head.calibration, metrics = calibrate(head, self.development["skills"], self.development["far"])
        self._calibrate_pictures(head, metrics)
        head.set_cards(self.cards)
        seen = self.trainer.callback_metrics.get("val/frame_accuracy")
        if seen is not None:
            metrics["frame_accuracy"] = float(seen)
        return {
            "stage": STAGE,
            "name": "semantic",
            "checkpoint": head.to_plain(self.clip, self.pretrained, self.visual.state_dict() if self.visual else None),
            "card_names": head.names,
            "metrics": metrics,
            "provenance": {
                "text_encoder": "all-MiniLM-L6-v2 (Apache-2.0)" if self.clip == SENTENCE else self.clip,
                "frames": "rendered from the embedded simulation",
                "phrases": "written by the project's authors",
            },
        }

    @torch.no_grad()
    def _calibrate_pictures(self, head: SemanticHead, metrics: dict[str, float]) -> None:
        """Set from which closeness a picture decides, on pictures that were not learned from."""
        data = self._data()
        assert data.validation is not None
        pictures, skills = data.validation
        cards = head.card_embeddings()
        names = [*data.skills, ""]  # the last one for pictures of `NOTHING`
        owners = torch.tensor([head.names.index(name) if name in head.names else NOTHING for name in names])
        empty = self._seen(no_scenes(len(pictures), pictures)) @ cards.T
        calibration, found = calibrate_pictures(head.calibration, self._seen(pictures) @ cards.T, owners[skills], empty)
        head.calibration = calibration
        metrics.update(found)
