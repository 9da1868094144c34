"""The stage that fits one expert: behaviour cloning of noise-injected demonstrations."""

import math
from copy import deepcopy
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput
from mwl.core.ranges import Positive, Whole
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.measure import measure_expert
from mwl.experts.network import Actor, MemoryPolicyNetwork, network_of
from mwl.experts.spec import ExpertSpec


class BehaviourCloning(pl.LightningModule):
    """Fits one expert to demonstrations, and measures it on its task when done.

    Args:
        name: the expert's name.
        task: benchmark task it is measured on.
        card: `name`, `description` and `paraphrases` by which instructions find it.
        command: kind of command it takes (`hand_target`, `velocity`), or None.
        default_command: the command where nobody gives one.
        hidden: widths of the hidden layers.
        memory: width of its memory, a GRU; 0 makes a stateless expert.
        lr: peak learning rate of Adam; it warms up over the first steps and decays to a twentieth along a cosine.
        evaluation_episodes: episodes of the measurement that goes into the manifest; 0 skips it.
    """

    weight_decay: ClassVar[float] = 1e-4  # of AdamW, as the gate's

    def __init__(
        self,
        name: str,
        task: str,
        card: dict[str, Any],
        command: str | None = None,
        default_command: list[float] | None = None,
        hidden: list[int] | None = None,
        memory: Whole = 0,
        lr: Positive = 2e-3,
        evaluation_episodes: Whole = 20,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.spec = ExpertSpec(
            name=name,
            task=task,
            command=command,
            default_command=tuple(default_command or ()),
            hidden=tuple(hidden or (256, 256)),
            memory=memory,
        )
        if not card.get("name") or not card.get("description"):
            raise BadInput(f"model.card of expert {name}: needs a name and a description")
        self.card, self.lr, self.evaluation_episodes = card, lr, evaluation_episodes
        self.network = network_of(self.spec)
        self._memory: Tensor | None = None  # [B, M] where the last batch of sequences ended

    def setup(self, stage: str) -> None:
        """Compute the expert's features of the data and, on a first start, its normaliser."""
        data = self._data()
        if data.train is None:
            data.prepare(self.spec)
        assert data.train is not None
        self.network.fit_normaliser(data.train[keys.FEATURES], data.train[keys.ACTION], self.spec.ignored)

    def on_train_epoch_start(self) -> None:
        """Let a live demonstrator, where there is one, label the states that the student has come to visit.

        The student acts on the CPU, beside the simulation.
        """
        student = self.network if self.device.type == "cpu" else deepcopy(self.network).cpu()
        self._data().aggregate(self.current_epoch, self.spec, Actor(student))

    def _data(self) -> DemonstrationData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DemonstrationData):
            raise BadInput("behaviour cloning needs data.class_path: mwl.experts.cloning.data.DemonstrationData")
        return data

    def _loss(self, batch: TensorDict, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Loss on steps `[B]`, or on sequences `[L, B]` from a memory `[B, M]`, and the memory afterwards.

        Actions count in standard deviations of the labels, in which the loss weighs all joints alike.
        """
        label = (batch[keys.ACTION] - self.network.action_mean) / self.network.action_std
        if not isinstance(self.network, MemoryPolicyNetwork):
            return nn.functional.mse_loss(self.network.standardised(batch[keys.FEATURES]), label), None
        if memory is None or len(memory) != batch.shape[1]:
            memory = self.network.initial_memory(batch.shape[1])
        action, memory = self.network.unroll(batch[keys.FEATURES], batch[keys.IS_INIT], memory)
        return nn.functional.mse_loss(action, label), memory.detach()

    def training_step(self, batch: TensorDict, batch_idx: int) -> Tensor:
        """Squared error of standardised actions: on random steps, or on the next steps of the streams.

        The memory goes on from batch to batch, gradients do not: back-propagation through time, truncated to a batch.
        """
        loss, self._memory = self._loss(batch, self._memory)
        if batch_idx % 50 == 0:  # logging costs as much as an update of so small a network
            self.log("train/loss", loss)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the memory with which the streams go on."""
        checkpoint["memory"] = self._memory

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with that memory.

        Raises:
            BadInput: the network or what it is fitted for is another one.
        """
        fixed = ("name", "task", "command", "hidden", "memory")
        refuse_changed("model.", checkpoint["hyper_parameters"], self.hparams, fixed)
        self._memory = checkpoint.get("memory")

    def validation_step(self, batch: TensorDict, batch_idx: int) -> None:
        """The same error on episodes that were not trained on."""
        self.log("val/loss", self._loss(batch)[0], batch_size=batch.numel(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW with a short warm-up and a cosine decay over the whole training."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)
        warm_up = min(100, total // 10 + 1)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            progress = min(1.0, (step - warm_up) / max(1, total - warm_up))
            return 0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def artifact(self) -> dict[str, Any]:
        """Measure the expert and give its artifact's content (arguments of `mwl.core.artifact.write_artifact`)."""
        network = self.network.cpu().eval()
        return {
            "stage": "expert",
            "name": self.spec.name,
            "checkpoint": {"hyper_parameters": self.spec.to_plain(), "state_dict": network.state_dict()},
            **self.spec.to_manifest(),
            "card": self.card,
            "metrics": measure_expert(self.spec, network, self.evaluation_episodes),
            "provenance": provenance_of(self._data().provenance),
        }


def provenance_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """What an expert's data cost and where they come from, summed over its demonstration files.

    A teacher that serves several demonstrators counts once.
    """
    trainings: dict[str, int] = {}
    for m in manifests:  # a demonstrator with several teachers names them all
        trainings |= m.get("trainings") or {
            m.get("teacher") or m.get("demonstrator", "unknown"): int(m.get("training_env_steps", 0))
        }
    recording = sum(int(m.get("recording_env_steps", 0)) for m in manifests)
    return {
        "env_steps": sum(trainings.values()) + recording,
        "recording_env_steps": recording,
        "training_env_steps": trainings,
        "source": [m.get("source") for m in manifests],
        "licence": sorted({str(m.get("licence", "unknown")) for m in manifests}),
        "demonstrations": [made for m in manifests if (made := m.get("sha256", m.get("config")))],
    }
