"""Learning the guided world model online: one training step is one round of acting and then learning."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import lightning.pytorch as pl
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mwl.core import keys
from mwl.core.checkpoints import check_weights, refuse_changed, save_checkpoint
from mwl.core.errors import BadInput, NonFiniteLoss
from mwl.selection import Guidance
from mwl.selection.config import Tuned, make_guidance, tuned_at
from mwl.skills import Route
from mwl.world_model.agent import STAGE, WorldModelAgent, describe_agent, switches_of
from mwl.world_model.behaviour import Behaviour
from mwl.world_model.config import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.data import WorldModelData
from mwl.world_model.exploration import HeldActions
from mwl.world_model.learning.demonstrations import transitions, with_reference_actions
from mwl.world_model.learning.learner import Learner, NonFiniteGradient
from mwl.world_model.learning.losses import RunningScale, discount_for, lambda_at
from mwl.world_model.learning.trust_region import TrustRegion
from mwl.world_model.network import WorldModel
from mwl.world_model.observation import Observer
from mwl.world_model.planner import GuidanceSwitches, MPPIPlanner

_NETWORK, _LEARNING, _PLANNER, _GUIDANCE = NetworkConfig(), LearningConfig(), PlannerConfig(), GuidanceConfig()
_FIXED = {  # settings that can't change in the middle of a training, by group
    "network": ["size", "num_q"],
    "learning": ["center_values"],
    "guidance": ["enabled", "experts", "trust_initial"],
}
_REFERENCE_SETTINGS = ["gate", "semantic_weights", "instruction", "semantic", "alpha", "mode", "margin"]
_UNGUIDED = GuidanceSwitches(candidates=False, base=False, policy_base=False)


class WorldModelModule(pl.LightningModule):
    """TD-MPC2, guided by experts or not.

    Args:
        network: size of the networks.
        learning: losses and optimisers.
        planner: planning budget.
        guidance: where the experts guide.
    """

    diagnostics: ClassVar[str] = "runs/diagnostics"
    """Folder for the batch that made a loss non-finite."""

    def __init__(
        self,
        network: NetworkConfig = _NETWORK,
        learning: LearningConfig = _LEARNING,
        planner: PlannerConfig = _PLANNER,
        guidance: GuidanceConfig = _GUIDANCE,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                "network": asdict(network),
                "learning": asdict(learning),
                "planner": asdict(planner),
                "guidance": asdict(guidance),
            }
        )
        self.automatic_optimization = False
        self.network, self.learning, self.planning, self.guiding = network, learning, planner, guidance
        self.scale = RunningScale()
        self.model: WorldModel | None = None
        self.tuned: Tuned | None = None
        self._seeding = True
        self._owed_updates = 0.0
        self._reference_is_stale = False  # what the replay buffer says of the experts' reference actions
        self._returns: list[float] = []
        self._return_so_far: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Build everything that depends on the environment, and connect it to the data module."""
        if self.model is not None:
            return
        data = self._data()
        spec = data.spec
        self.observer = Observer(spec.layout, spec.position, spec.skills is None or not spec.skills.steered)
        self.guidance = self.make_guidance()
        example = self.observer(torch.zeros(1, spec.observation_size))
        self.model_arguments = {
            "feature_size": example.shape[-1],
            "action_size": spec.action_size,
            "num_experts": self.guidance.num_experts if self.guidance else 0,
            **asdict(self.network),
        }
        self.model = WorldModel(**self.model_arguments)
        self.discount = self.learning.discount or discount_for(spec.episode_steps)
        self.switches = switches_of(self.guiding) if self.guidance else _UNGUIDED
        guiding = self.guiding
        unit = torch.tensor(spec.unit)
        self.learner = Learner(self.model, self.scale, self.learning, guiding, self.switches, self.discount, unit)
        widest = self.planning.max_std / float(unit.min())  # at this radius every action has the largest deviation
        self.trust = TrustRegion(
            spec.episode_steps,
            data.num_envs,
            initial=guiding.trust_initial if self._trusted else widest,
            largest=widest,
            growth=guiding.trust_growth,
            window=guiding.trust_window,
            tolerance=guiding.trust_tolerance,
        )
        candidates = spec.skills.grid() if spec.skills is not None and guiding.enabled else None
        planner = MPPIPlanner(
            self.model, self.planning, self.learning.horizon, self.discount, unit, self.switches, candidates
        )
        # noise that changes with every step would undo what held actions are for: turning alone takes seconds
        noisy = not self.learning.held_share
        agent = WorldModelAgent(
            self.model, planner, self.observer, self.guidance, pick=self.planning.acting, explore=noisy
        )
        if self.tuned is not None and self.tuned.task == spec.task:
            check_weights(self.trust.reference.state_dict(), self.tuned.profile, "adaptation")
            self.trust.reference.load_state_dict(self.tuned.profile)  # measured for longer than the seed phase will
        noise = guiding.warm_start_noise
        controls = guiding.trust_controls and (self.guidance is not None or self._trusted)
        behaviour = Behaviour(
            agent, data.num_envs, spec.action_size, guiding.warm_start, noise, controls, self._held(data)
        )
        replay = data.connect(behaviour, self.learning.horizon, self.learning.batch_size)
        if self.learning.demonstrations:
            rows = transitions(self.learning.demonstrations, spec.task, spec.observation_size)
            replay.add_demonstrations(rows if self._experts is None else with_reference_actions(rows, self._experts))

    @property
    def _experts(self) -> Guidance | None:
        """The guidance of experts over joints; None without, and where a route over skills is the reference."""
        return None if isinstance(self.guidance, Route) else self.guidance

    def _held(self, data: WorldModelData) -> HeldActions | None:
        """Random actions to explore by, where they are wanted."""
        learning, size, space = self.learning, data.spec.action_size, data.spec.skills
        if not learning.held_share:
            return None
        draw = (lambda count: torch.rand(count, size) * 2 - 1) if space is None else space.draw
        return HeldActions(data.num_envs, draw, learning.held_share, *learning.held_steps)

    def make_guidance(self) -> Guidance | Route | None:
        """Load experts and gate and settle the instruction's weights; None without guidance.

        Raises:
            BadInput: neither gate, nor weights, nor an instruction is given, or the environment is not the robot's.
        """
        config = self.guiding
        if not config.enabled:
            return None
        if self._trainer is not None and self._data().spec.robot is None:
            raise BadInput(f"guidance.enabled: the experts are the robot's; switch it off in {self._data().spec.task}")
        space = self._data().spec.skills if self._trainer is not None else None
        if space is not None:
            assert self.observer.layout is not None
            if config.route is None:
                return None
            return Route(space, config.route, self.observer.layout, config.route_speed)
        self.tuned = tuned_at(config.experts)
        if self.tuned is not None and self.tuned.guidance.residual is not None:
            raise BadInput(
                f"guidance.experts: {config.experts} holds a residual, around which nothing is planned; act by it "
                "alone, or name experts or an adaptation without one"
            )
        return make_guidance(config, self.observer.layout, self.tuned)

    def _data(self) -> WorldModelData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, WorldModelData):
            raise BadInput("the world model needs data.class_path: mwl.world_model.data.WorldModelData")
        return data

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The learner's."""
        return self.learner.optimizers()

    def on_train_start(self) -> None:
        """Begin to collect, or go on."""
        self._data().start()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One round: collect N x k transitions, then make the updates they call for."""
        data = self._data()
        assert data.behaviour is not None
        assert data.replay is not None
        self._enter_phase(data)
        data.behaviour.agent.trust_radius = float(self.trust.radius)
        frames = data.collect()
        self._remember(frames, data)
        self._owed_updates += frames.numel() * self.learning.updates_per_step
        metrics = {}
        if data.env_steps > self.learning.learning_starts and data.replay.ready():
            self._center_values(data)
            updates, self._owed_updates = int(self._owed_updates), self._owed_updates % 1
            metrics = self._learn(data, updates)
        else:
            self._owed_updates = 0.0
        self._report(data, frames, metrics)

    @property
    def _trusted(self) -> bool:
        """Whether how far plans may leave what acts without them is to be earned; else the search is TD-MPC2's.

        Without plans the experts act, and without experts the policy prior: that one gets better all the time, so that
        only controls can say what it earns.
        """
        if self.guidance is None:
            return self.planning.around_policy and self.guiding.trust_controls
        return self.guiding.planner_base

    def _enter_phase(self, data: WorldModelData) -> None:
        """Act by the experts, then plan; reference actions from before they changed are written anew."""
        assert data.behaviour is not None
        assert data.replay is not None
        self._seeding = data.behaviour.seeding = data.env_steps < self.learning.seed_steps
        if self._reference_is_stale and self.guidance is not None:
            data.replay.relabel(self.guidance.reference)
        self._reference_is_stale = False

    def _remember(self, frames: TensorDictBase, data: WorldModelData) -> None:
        """Put a round into the replay buffer, and learn from it how far plans may be trusted."""
        assert self.model is not None
        assert data.replay is not None
        assert data.behaviour is not None
        if self.guidance is not None:
            after = frames[keys.NEXT, keys.OBSERVATION].flatten(0, 1)
            memory = frames.get((keys.NEXT, keys.MEMORY))
            memory = None if memory is None else memory.flatten(0, 1)
            age = frames[keys.STEP_COUNT].flatten() + 1
            guide = self.guidance.reference(after, memory, age)
            frames[keys.NEXT, keys.REFERENCE_ACTION] = guide[keys.REFERENCE_ACTION].view_as(
                frames[keys.REFERENCE_ACTION]
            )
        data.replay.extend(frames)
        self.model.norm.update(self.observer(frames[keys.OBSERVATION].flatten(0, 1)).to(self.device))
        clean, control = data.behaviour.clean, data.behaviour.control
        for t in range(frames.shape[1]):
            now, after = frames[:, t], frames[:, t][keys.NEXT]
            reward, step = after[keys.REWARD].squeeze(-1), now[keys.STEP_COUNT].squeeze(-1)
            fell = after[keys.TERMINATED].squeeze(-1)
            if not self._seeding:
                if self._trusted:
                    self.trust.observe(reward, step, fell, control)
            elif data.behaviour.warm_start:
                self.trust.reference.record(reward[clean], step[clean])
            self._count_return(reward, after[keys.DONE].squeeze(-1))

    def _count_return(self, reward: Tensor, done: Tensor) -> None:
        if self._return_so_far is None:
            self._return_so_far = torch.zeros_like(reward)
        self._return_so_far += reward
        self._returns += self._return_so_far[done].tolist()
        self._return_so_far[done] = 0

    def _center_values(self, data: WorldModelData) -> None:
        """Before the first update, set what the Q networks count from."""
        assert self.model is not None
        assert data.replay is not None
        if self.learning.center_values and self.model.value_offset == 0:
            filled = len(data.replay) // data.num_envs
            mean = data.replay.buffer[:filled][keys.NEXT, keys.REWARD].mean()
            self.model.value_offset.copy_(mean / (1 - self.discount))

    def _learn(self, data: WorldModelData, updates: int) -> dict[str, float]:
        """Make updates; returns the means of their metrics."""
        assert self.model is not None
        assert data.replay is not None
        self.model.train()
        early = data.env_steps < self.learning.demonstration_steps
        data.replay.share = self.learning.demonstration_share if early else 0.0
        weight = self._guidance_weight(data)
        optimizers = self.optimizers(use_pl_optimizer=False)
        total: dict[str, Tensor] = {}
        for i in range(updates):
            batch = data.replay.sample_batch(self.observer).to(self.device)
            # Lightning counts steps, and saves checkpoints, by its own wrapper alone: the last of a round is its step
            step = self.optimizers()[1].step if i == updates - 1 else None  # type: ignore[index]
            with self.model.autocast():
                try:
                    metrics = self.learner.update(batch, optimizers, weight, step)  # type: ignore[arg-type]
                except NonFiniteGradient as error:
                    self._stop_with(error)
            for name, value in metrics.items():
                total[name] = total.get(name, 0.0) + value
        return {name: float(value) / updates for name, value in total.items()}

    def _guidance_weight(self, data: WorldModelData) -> float:
        """How much the policy is drawn to the experts by now."""
        guiding, share = self.guiding, self.trust.lambda_scale
        return lambda_at(guiding.lambda_mode, guiding.lambda_weight, guiding.lambda_steps, data.env_steps, share)

    def _stop_with(self, error: NonFiniteGradient) -> NoReturn:
        """Save the batch and say so.

        Raises:
            NonFiniteLoss: always.
        """
        steps = self._data().env_steps
        path = Path(self.diagnostics) / f"non_finite_{self._data().task.replace('/', '_')}_{steps}.pt"
        batch = error.batch.to(torch.device("cpu"))._asdict()
        save_checkpoint(path, {name: value for name, value in batch.items() if value is not None})
        raise NonFiniteLoss(
            f"{error} after {steps} environment steps; the batch is in {path}. --resume goes on from the last "
            "checkpoint; a smaller learning.lr helps if it recurs"
        ) from error

    def _report(self, data: WorldModelData, frames: TensorDictBase, metrics: dict[str, float]) -> None:
        """One `log_dict` per round, over environment steps."""
        metrics = dict(metrics)
        metrics["train/reward"] = float(frames[keys.NEXT, keys.REWARD].mean())
        metrics["train/trust_radius"] = float(self.trust.radius)
        metrics["train/scale"] = float(self.scale.value)
        if self.guidance is not None:
            weights = frames[keys.FUSED_WEIGHTS].mean(dim=(0, 1)).tolist()
            names = self.guidance.library.names
            metrics |= {f"weights/{name}": weight for name, weight in zip(names, weights, strict=True)}
        self.log_dict({**metrics, "step": float(data.env_steps)})
        if self._returns:
            mean = sum(self._returns) / len(self._returns)
            self.log("train/return", mean, prog_bar=True)
            self._returns.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is neither weight nor data."""
        checkpoint["round_state"] = {
            "owed_updates": self._owed_updates,
            "returns": list(self._returns),
            "return_so_far": self._return_so_far,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was written, under the settings of now.

        Raises:
            BadInput: one of them changed that the networks, the replay buffer or the search depend on.
        """
        data = self._data()
        data.check_resumable(checkpoint[type(data).__qualname__])  # Lightning restores the data after the weights
        then = checkpoint["hyper_parameters"]
        for group, names in _FIXED.items():
            refuse_changed(f"model.{group}.", then[group], self.hparams[group], names)
        before, now = then["guidance"], self.hparams["guidance"]
        self._reference_is_stale = any(before[name] != now[name] for name in _REFERENCE_SETTINGS)
        state = checkpoint["round_state"]
        self._owed_updates, self._returns = float(state["owed_updates"]), list(state["returns"])
        self._return_so_far = state["return_so_far"]

    def artifact(self) -> dict[str, Any]:
        """What the artifact holds: everything acting needs (arguments of `mwl.core.artifact.write_artifact`)."""
        data = self._data()
        assert data.behaviour is not None
        agent = data.behaviour.agent
        agent.trust_radius = float(self.trust.last_accepted)
        spec, before = data.spec, 0 if self.tuned is None else self.tuned.env_steps
        return {
            "stage": STAGE,
            "name": spec.task,
            "checkpoint": describe_agent(agent, self.model_arguments, spec.layout, spec.skills, spec.hold),
            "robot": spec.robot,
            "task": spec.task,
            "observation": spec.shown,
            "action": {"size": spec.action_size, "low": -1.0, "high": 1.0},
            "metrics": {
                "env_steps": data.env_steps,
                "trust_radius": agent.trust_radius,
            },
            "provenance": {
                "guided": self.guidance is not None,
                "env_steps": before + data.env_steps,
                "adaptation_env_steps": before,
                "seed": data.seed,
            },
        }
