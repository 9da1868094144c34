"""Training the teacher that opens the door, and the finished teacher as a demonstrator."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mwl.core.artifact import write_artifact
from mwl.core.checkpoints import load_module
from mwl.robot import frames
from mwl.robot.h1 import RADIANS_PER_ACTION, ROBOT, Contacts, action_to_ctrl, ctrl_to_action
from mwl.simulation import Simulation, build_model, get_task
from mwl.teachers.config import PPOTeacherConfig, artifact_of, parse_config, plain
from mwl.teachers.door.controller import ACTION_SIZE, DoorController
from mwl.teachers.door.env import DoorConfig, DoorEnv
from mwl.teachers.gait_observation import MAX_ACTION
from mwl.teachers.ppo import ActorCritic, PPOConfig, PPOTrainer
from mwl.teachers.teacher import FAST_FRAME_SKIP, FAST_TIMESTEP, TrackingPolicy

STAGE = "door_teacher"


@dataclass(frozen=True)
class DoorTeacherConfig(PPOTeacherConfig):
    """A teacher at the door: who walks, how rewarded, how long trained."""

    name: str = "handle_pull"
    walker: str = "data/teachers/walk"
    """Artifact of a commanded walking teacher; its weights travel with this teacher's."""
    start_from: str | None = None
    """Artifact of a teacher at the door to train on from, with the walker that it has."""
    iterations: int = 1200
    contacts: Contacts = "arms"
    """Contact shapes of the robot in training; `full` are the benchmark's, at half the speed."""
    door: DoorConfig = field(default_factory=DoorConfig)
    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(discount=0.985, entropy=0.001, hidden=(256, 256)))


def train_door_teacher(
    config: DoorTeacherConfig, out: Path | str, report: Callable[[dict[str, float]], None] = lambda metrics: None
) -> Path:
    """Train a teacher at the door by PPO and write its artifact; goes on from an interrupted training.

    Args:
        config: what to train.
        out: folder to write; the resumable checkpoint lies beside it until then.
        report: called with the metrics of every iteration.
    """
    out = Path(out)
    model = build_model(get_task("h1-door"), config.contacts, FAST_TIMESTEP)
    simulation = Simulation(model, config.ppo.num_envs, frame_skip=FAST_FRAME_SKIP, num_threads=1)
    before = HandlePull.load(config.start_from) if config.start_from is not None else None
    walker = TrackingPolicy.load(config.walker) if before is None else before.walker
    env = DoorEnv(simulation, walker, config.door, config.seed)
    trainer = PPOTrainer(env, config.ppo, out.with_name(f"{out.name}.training.ckpt"), asdict(config), config.seed)
    if not trainer.resume() and before is not None:
        trainer.begin_with(before.agent.state_dict(), before.env_steps)
    trainer.fit(config.iterations, report)
    return save_door_teacher(config, trainer, walker, out)


def save_door_teacher(config: DoorTeacherConfig, trainer: PPOTrainer, walker: TrackingPolicy, out: Path) -> Path:
    """Write the artifact of a teacher at the door, with its walker."""
    weights = {f"policy.{name}": value for name, value in trainer.agent.state_dict().items()}
    weights |= {f"walker.{name}": value for name, value in walker.agent.state_dict().items()}
    return write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={
            "hyper_parameters": {"teacher": plain(asdict(config)), "walker": plain(asdict(walker.config))},
            "state_dict": weights,
        },
        robot=ROBOT,
        metrics=trainer.env.end_iteration(trainer.iteration, trainer.mean_length),
        provenance={
            "method": "PPO on the door scene over a frozen walking teacher",
            "source": "made by this project from its robot model; its walker follows "
            + str(walker.cycle.provenance.get("source")),
            "walker": walker.provenance,
            "env_steps": trainer.env_steps,
            "seed": config.seed,
            **({"started_from": config.start_from} if config.start_from else {}),
        },
    )


class HandlePull:
    """The finished teacher on the benchmark's door: walks up, turns the hatch, pulls the leaf.

    Args:
        config: what it was trained as.
        agent: its trained networks.
        walker: its walker.
        provenance: what `describe` tells.
    """

    name = "handle_pull"
    command: Tensor | None = None

    def __init__(
        self, config: DoorTeacherConfig, agent: ActorCritic, walker: TrackingPolicy, provenance: dict[str, Any]
    ) -> None:
        self.agent, self.walker = agent, walker
        self._config, self._provenance = config, provenance
        self._controller: DoorController | None = None
        radians = config.door.scale.per_action()[3:].clone()
        radians[:10] = 2 * radians[:10]  # legs: the walker's own corrections are larger than the policy's
        self.noise_scale = radians / torch.as_tensor(RADIANS_PER_ACTION)

    @classmethod
    def load(cls, folder: Path | str) -> "HandlePull":
        """Load an artifact that `train_door_teacher` wrote."""
        with artifact_of(folder, STAGE) as (checkpoint, provenance):
            parts = checkpoint["hyper_parameters"]
            config = parse_config(DoorTeacherConfig, STAGE, {STAGE: parts["teacher"]}, "teacher checkpoint")
            walker_weights = _part(checkpoint["state_dict"], "walker.")
            walker = TrackingPolicy.from_parts(parts["walker"], walker_weights, provenance["walker"])
            weights = _part(checkpoint["state_dict"], "policy.")
            size = len(weights["normalizer.mean"])
            agent = load_module(lambda: ActorCritic(size, ACTION_SIZE, config.ppo), weights, "teacher")
            policy = cls(config, agent, walker, provenance)
            policy.describe()  # which reads what its manifest says of its cost
            return policy

    @property
    def env_steps(self) -> int:
        """Environment steps of its training, its walker's apart."""
        return int(self._provenance["env_steps"])

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew, standing, from observations `[N, O]` where `mask` `[N]` holds."""
        count = len(observation)
        if self._controller is None or len(self._controller.previous_action) != count:
            model = build_model(get_task("h1-door"), "arms", FAST_TIMESTEP)
            self._controller = DoorController(model, self.walker, self._config.door.scale, count)
            mask = None
        self._controller.restart(torch.ones(count, dtype=torch.bool) if mask is None else mask)

    def start_at(self, observation: Tensor, mask: Tensor) -> None:
        """Go on as from rest, in the heading of observations `[N, O]`, where `mask` `[N]` holds."""
        assert self._controller is not None, "reset before start_at"
        self._controller.restart(mask, frames.heading(frames.rotation_matrix(observation[:, 3:7])))

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, 55]` of the door task."""
        assert self._controller is not None, "reset before act"
        slices = get_task("h1-door").layout.slices
        qpos = torch.cat([observation[:, slices["robot_qpos"]], observation[:, slices["door_qpos"]]], dim=-1)
        qvel = torch.cat([observation[:, slices["robot_qvel"]], observation[:, slices["door_qvel"]]], dim=-1)
        answer = self.agent.act(self._controller.observe(qpos, qvel)).clamp(-MAX_ACTION, MAX_ACTION)
        targets = self._controller.joint_targets(answer, qpos, qvel)
        return torch.from_numpy(ctrl_to_action(targets.numpy()))

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed."""
        assert self._controller is not None, "reset before executed"
        self._controller.recall_targets(torch.from_numpy(action_to_ctrl(action.numpy())).float())

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        steps = self.env_steps + int(self._provenance["walker"]["env_steps"])
        return {"licence": self.walker.describe()["licence"], **self._provenance, "training_env_steps": steps}


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
