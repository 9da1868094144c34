"""The stage that tunes experts to what a task pays for, before anything is learned around them."""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from mwl.adaptation.data import AdaptationData, TryCandidates
from mwl.adaptation.search import CorrectionSearch, SearchConfig, make_search
from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput
from mwl.experts.features import robot_state
from mwl.robot.h1 import ROBOT
from mwl.rollouts.metrics import JOINT_VELOCITIES
from mwl.selection.config import TUNED, SelectionConfig, Tuned, make_guidance, tuned_at
from mwl.selection.guidance import Guidance
from mwl.simulation.task import ObservationLayout
from mwl.training.host import HostModule

_GUIDANCE, _SEARCH = SelectionConfig(), SearchConfig()


class AdaptationModule(HostModule, pl.LightningModule):
    """Searches a correction of the leading experts' actions while they act, and keeps what wins a race, if anything.

    One training step is one round of acting; nothing is learned by gradients.

    Args:
        guidance: whose experts, and what they follow.
        search: how the correction is searched.
    """

    guidance: Guidance
    search: CorrectionSearch
    tuned: Tuned | None = None

    def __init__(self, guidance: SelectionConfig = _GUIDANCE, search: SearchConfig = _SEARCH) -> None:
        super().__init__()
        self.save_hyperparameters({"guidance": asdict(guidance), "search": asdict(search)})
        self.automatic_optimization = False
        self.guiding, self.searching = guidance, search

    def setup(self, stage: str) -> None:
        """Load the experts, and prepare the search.

        Raises:
            BadInput: see `make_guidance` and `make_search`.
        """
        data = self._data()
        if data.policy is not None:
            return
        spec = data.spec
        self._layout = None if spec.layout is None else ObservationLayout(**spec.layout)
        self.guidance, self.search = make_search(
            self.load_guidance(), self.searching, data.num_envs, spec, data.search_steps, data.race_steps
        )
        acting = self.guidance
        if self.searching.alone and acting.semantic_weights is not None and acting.gate is not None:
            acting = acting.without("gate")
        data.policy = TryCandidates(acting, self.search.candidates)

    def load_guidance(self) -> Guidance:
        """The experts as they were fitted, or with the residual that another adaptation learned.

        Raises:
            BadInput: they were corrected already.
        """
        self.tuned = tuned_at(self.guiding.experts)
        if self.tuned is not None and self.tuned.guidance.correction is not None:
            raise BadInput(
                f"guidance.experts: {self.guiding.experts} holds a correction, which another would replace; name the "
                "experts themselves"
            )
        return make_guidance(self.guiding, self._layout, self.tuned)

    def _data(self) -> AdaptationData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, AdaptationData):
            raise BadInput("an adaptation needs data.class_path: mwl.adaptation.data.AdaptationData")
        return data

    def configure_optimizers(self) -> None:
        """None: nothing is learned by gradients."""

    def on_train_start(self) -> None:
        """Begin to act, or go on."""
        self._data().start()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One round of candidates, or of the race."""
        data, search = self._data(), self.search
        if data.env_steps < data.search_steps:
            if search.waits:
                data.restart(search.begin_start_phase())
        elif not search.racing:
            data.restart(search.begin_race())  # what the last candidates left behind is no fair start
        frames = data.collect()
        for now in frames.unbind(1):
            after = now[keys.NEXT]
            reward, step = after[keys.REWARD].squeeze(-1), now[keys.STEP_COUNT].squeeze(-1)
            fell, velocity = after[keys.TERMINATED].squeeze(-1), self._joint_velocity(after[keys.OBSERVATION])
            if search.racing:
                search.compete(reward, step, fell, velocity)
            else:
                search.observe(reward, step, fell, now[keys.EXPERT_ACTION], velocity)
        self.log("train/reward", frames[keys.NEXT, keys.REWARD].mean(), prog_bar=True)
        self.log_dict(
            {
                "search/step_size": search.evolution.sigma.float(),
                "search/distance": search.evolution.mean.norm().float(),
                "step": float(data.env_steps),
            }
        )

    def _joint_velocity(self, observation: Tensor) -> Tensor | None:
        """Velocities of the joints `[N, J]` in rad/s at observations `[N, O]`; None where a task shows none."""
        return None if self._layout is None else robot_state(observation, self._layout)[1][:, JOINT_VELOCITIES]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was written.

        Raises:
            BadInput: a setting changed, all of which the search depends on.
        """
        for group in ("guidance", "search"):
            refuse_changed(f"model.{group}.", checkpoint["hyper_parameters"][group], self.hparams[group])

    def artifact(self) -> dict[str, Any]:
        """What the artifact holds: the tuned experts (arguments of `mwl.core.artifact.write_artifact`)."""
        data, spec = self._data(), self._data().spec
        profile = self.search.decide()
        before = 0 if self.tuned is None else self.tuned.env_steps
        return {
            "stage": TUNED,
            "name": spec.task,
            "checkpoint": {"guidance": self.guidance.to_plain(), "profile": profile.state_dict()},
            "robot": ROBOT,
            "task": spec.task,
            "observation": {"size": spec.observation_size, "layout": spec.layout},
            "action": {"size": spec.action_size, "low": -1.0, "high": 1.0},
            "metrics": {"env_steps": data.env_steps, "action_correction": self.search.report()},
            "provenance": {"env_steps": data.env_steps + before, "seed": data.seed},
        }
