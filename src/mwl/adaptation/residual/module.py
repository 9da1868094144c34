"""The stage that learns what a changed world does differently, and what experts should do about it."""

from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F

from mwl.adaptation.race import Race
from mwl.adaptation.residual.data import ActWithNoise, ResidualData
from mwl.adaptation.residual.recording import Recording, Steps
from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput
from mwl.core.normaliser import mean_and_std
from mwl.robot.h1 import ROBOT
from mwl.selection.config import TUNED, SelectionConfig, make_guidance, tuned_at
from mwl.selection.guidance import Guidance
from mwl.selection.residual import MAX_DELAY, Dynamics, Residual
from mwl.simulation.task import ObservationLayout
from mwl.training.host import HostModule

_GUIDANCE = SelectionConfig()
_DAMPING = 0.2  # see `Residual`
_NOISE = 0.04  # rad, std of joint targets in the mean over environments: from none in the first to twice so much
_LATER_NOISE = 0.015  # rad, once it is settled how late observations come
_LISTENING = 0.25  # share of the learning after which it is settled by how much observations come late
_NOMINAL_UPDATES, _UPDATES, _COMPARING = 5000, 100, 200  # of the networks: before, per round, to compare delays
_BATCH, _HELD_BACK = 256, 10  # every tenth step tells how good a prediction is
_LR, _DECAY = 1e-3, 1e-3
_LARGEST = 6.0  # standard deviations; contacts change more at times
_LEAST_ERROR = 1e-3  # of a feature's mean square error, where precision is one over it
_VARIANTS = torch.tensor(
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
)  # what competes: shares of the state shown, of the action


class ResidualModule(HostModule, pl.LightningModule):
    """Learns a residual: first the world as it was, then what is otherwise, then whether that earns more.

    One training step is one round of acting. The experts' own noise-free action is the reference throughout.

    Args:
        guidance: whose experts, and what they follow.
    """

    guidance: Guidance
    lowest: Tensor  # m, of the root of a robot that doesn't fall; 0: nothing is known yet
    delay: Tensor  # control steps; -1 until it is settled
    errors: Tensor  # of what each delay explains
    racing: Tensor

    def __init__(self, guidance: SelectionConfig = _GUIDANCE) -> None:
        super().__init__()
        self.save_hyperparameters({"guidance": asdict(guidance)})
        self.automatic_optimization = False
        self.guiding = guidance

    def setup(self, stage: str) -> None:
        """Load the experts, and prepare what is learned.

        Raises:
            BadInput: the task shows no robot, or see `make_guidance`.
        """
        data = self._data()
        if data.policy is not None:
            return
        if data.spec.layout is None:
            raise BadInput(f"{data.spec.task}: a residual needs a task that shows the robot")
        self._layout = ObservationLayout(**data.spec.layout)
        self.residual = Residual(_DAMPING)
        if tuned_at(self.guiding.experts) is not None:
            raise BadInput(f"guidance.experts: {self.guiding.experts} was adapted already; name the experts themselves")
        self.guidance = replace(make_guidance(self.guiding, self._layout), residual=self.residual)
        rounds = -(-data.learning_steps // data.frames_per_round)
        self.recording = Recording(data.num_envs, rounds * data.steps_per_round)
        self.race = self._race(_VARIANTS)
        self.register_buffer("lowest", torch.zeros(()))
        self.register_buffer("delay", torch.tensor(-1))
        self.register_buffer("racing", torch.tensor(False))
        self.register_buffer("errors", torch.zeros(1 + MAX_DELAY))
        data.policy = ActWithNoise(self.guidance, self._levels(_NOISE))

    def _race(self, variants: Tensor) -> Race:
        data = self._data()
        return Race(variants, data.num_envs, data.race_steps // data.num_envs, data.spec.episode_steps)

    def _levels(self, noise: float) -> Tensor:
        data = self._data()
        unit, levels = torch.tensor(data.spec.unit), torch.linspace(0, 2 * noise, data.num_envs)
        return levels.unsqueeze(-1) * unit

    def _data(self) -> ResidualData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ResidualData):
            raise BadInput("a residual needs data.class_path: mwl.adaptation.residual.data.ResidualData")
        return data

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Of what changed; the world as it was is learned in one go, before."""
        return torch.optim.AdamW(self.residual.dynamics.change.parameters(), lr=_LR, weight_decay=_DECAY)

    def on_train_start(self) -> None:
        """Learn the world as it was, unless a checkpoint brought it; begin to act, or go on."""
        data = self._data()
        if not self.lowest:
            self._learn_nominal()
        if self.delay >= 0:
            self.residual.delay = int(self.delay)
            data.policy.noise.copy_(self._levels(0.0 if self.racing else _LATER_NOISE))  # type: ignore[union-attr]
        data.start()

    def _learn_nominal(self) -> None:
        world, dynamics = self._data().nominal(), self.residual.dynamics
        world.setup("fit")
        world.policy = ActWithNoise(self.guidance, self._levels(_NOISE))
        world.start()
        recording = Recording(world.num_envs, world.total_rounds * world.steps_per_round)
        while world.rounds_left:
            recording.add(world.collect(), self._layout)
        world.teardown("fit")
        self.lowest.fill_(recording.lowest_at_work())
        steps = recording.steps(float(self.lowest))
        scales = {"state": steps.state, "step": steps.after - steps.state, "action": steps.action}
        for name, rows in scales.items():
            for kind, value in zip(("mean", "std"), mean_and_std(rows), strict=True):
                getattr(dynamics, f"{name}_{kind}").copy_(value)
        optimizer = torch.optim.AdamW(dynamics.before.parameters(), lr=_LR, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, _NOMINAL_UPDATES)
        for _ in range(_NOMINAL_UPDATES):
            batch = _drawn(steps)
            told = dynamics.in_deviations(batch.state, batch.after)
            loss = F.smooth_l1_loss(dynamics.as_before(batch.state, batch.action), told)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One round of learning, or of the race."""
        data = self._data()
        learns = data.env_steps < data.learning_steps
        if not learns and not self.racing:
            self._begin_race()
        frames = data.collect()
        if learns:
            self.recording.add(frames, self._layout)
            self._learn(data)
        else:
            for now in frames.unbind(1):
                after = now[keys.NEXT]
                told = (after[keys.REWARD], now[keys.STEP_COUNT], after[keys.TERMINATED])
                self.race.observe(*(entry.squeeze(-1) for entry in told))
        self.log("train/reward", frames[keys.NEXT, keys.REWARD].mean(), prog_bar=True)
        self.log("step", float(data.env_steps))

    def _learn(self, data: ResidualData) -> None:
        if self.delay < 0 and data.env_steps >= _LISTENING * data.learning_steps:
            self._settle_delay()
            assert isinstance(data.policy, ActWithNoise)
            data.policy.noise.copy_(self._levels(_LATER_NOISE))
        if self.delay >= 0:
            optimizer = self.optimizers()
            assert isinstance(optimizer, LightningOptimizer)
            error = self._fit_change(self.residual.dynamics.change, optimizer, int(self.delay), _UPDATES)
            self.residual.dynamics.precision.copy_(_precision(error))
            self.residual.shares.fill_(1.0)
            self.log("train/model_error", error.mean())

    def _settle_delay(self) -> None:
        """Observations come as late as explains them best: the actions of so many steps before led to them."""
        candidates = []
        for delay in range(1 + MAX_DELAY):
            change = deepcopy(self.residual.dynamics.change)
            optimizer = torch.optim.AdamW(change.parameters(), lr=_LR, weight_decay=_DECAY)
            self.errors[delay] = self._fit_change(change, optimizer, delay, _COMPARING).mean()
            candidates.append(change.state_dict())
        self.delay.fill_(int(self.errors.argmin()))
        self.residual.delay = int(self.delay)
        self.residual.dynamics.change.load_state_dict(candidates[self.residual.delay])

    def _fit_change(
        self, change: nn.Module, optimizer: torch.optim.Optimizer | LightningOptimizer, delay: int, updates: int
    ) -> Tensor:
        """Fit what changed; returns the mean square error of each feature `[50]` in steps that were held back."""
        dynamics, steps = self.residual.dynamics, self.recording.steps(float(self.lowest), delay)
        held = torch.arange(len(steps.state)) % _HELD_BACK == 0
        learned, kept = Steps(*(part[~held] for part in steps)), Steps(*(part[held] for part in steps))
        if not len(kept.state):
            raise BadInput(
                f"{self._data().spec.task}: the robot falls at once in this world, so that nothing can be learned in it"
            )
        for _ in range(updates):
            batch = _drawn(learned)
            missing = _missing(dynamics, batch)
            loss = F.smooth_l1_loss(change(dynamics.read(batch.state, batch.action)), missing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            told = change(dynamics.read(kept.state, kept.action))
            error: Tensor = (told - _missing(dynamics, kept)).square().mean(dim=0)
        return error

    def _begin_race(self) -> None:
        """Learning is over; from now on environments do without the residual, with half of it, or with all of it.

        Where observations come in time, half of it is none.
        """
        self.racing.fill_(True)
        if not self.delay:
            self.race = self._race(_VARIANTS[[0, 2]])
        policy = self._data().policy
        assert isinstance(policy, ActWithNoise)
        policy.noise.zero_()
        self.residual.shares = self.race.candidates
        self._data().restart(self.race.draws)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was written.

        Raises:
            BadInput: a setting changed, all of which what was learned depends on.
        """
        refuse_changed("model.guidance.", checkpoint["hyper_parameters"]["guidance"], self.hparams["guidance"])
        shares, variants = (checkpoint["state_dict"].get(name) for name in ("residual.shares", "race.corrections"))
        if isinstance(shares, Tensor):
            self.residual.shares = torch.zeros_like(shares)
        if isinstance(variants, Tensor):
            self.race = self._race(variants)

    def artifact(self) -> dict[str, Any]:
        """What the artifact holds: experts with the residual (arguments of `mwl.core.artifact.write_artifact`)."""
        data, spec = self._data(), self._data().spec
        winner = self.race.winner()
        shares = self.race.corrections[winner]
        self.residual.shares = shares.unsqueeze(0).clone()
        gain, error = self.race.gains()
        profile = self.race.profile(winner)
        guidance = self.guidance if winner else replace(self.guidance, residual=None)
        return {
            "stage": TUNED,
            "name": spec.task,
            "checkpoint": {"guidance": guidance.to_plain(), "profile": profile.state_dict()},
            "robot": ROBOT,
            "task": spec.task,
            "observation": {"size": spec.observation_size, "layout": spec.layout},
            "action": {"size": spec.action_size, "low": -1.0, "high": 1.0},
            "metrics": {
                "env_steps": data.env_steps,
                "residual": {
                    "shift": None if data.shift is None else str(data.shift),
                    "delay": int(self.delay),
                    "delay_errors": self.errors.tolist(),
                    "gains": (gain - gain[0]).tolist(),
                    "errors": error.tolist(),
                    "kept": ["experts as they are", "late observations mended", "actions matched"][int(shares.sum())],
                },
            },
            "provenance": {"env_steps": data.env_steps, "nominal_env_steps": data.nominal_steps, "seed": data.seed},
        }


def _drawn(steps: Steps) -> Steps:
    """A batch of steps."""
    chosen = torch.randint(len(steps.state), (_BATCH,))
    return Steps(*(part[chosen] for part in steps))


def _missing(dynamics: Dynamics, steps: Steps) -> Tensor:
    """What the world as it was does not explain of the steps, `[B, 50]` in standard deviations."""
    with torch.no_grad():
        told = dynamics.in_deviations(steps.state, steps.after) - dynamics.as_before(steps.state, steps.action)
    return told.clamp(-_LARGEST, _LARGEST)


def _precision(error: Tensor) -> Tensor:
    """One over the mean square errors `[50]`, of mean 1."""
    precision = 1 / (error + _LEAST_ERROR)
    return precision / precision.mean()
