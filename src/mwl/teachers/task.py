"""A teacher that learns from a task's own reward by PPO, about a pose: for skills of which no motion is at hand."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mwl.core.artifact import write_artifact
from mwl.core.checkpoints import load_module
from mwl.core.errors import ConfigError
from mwl.robot import frames
from mwl.robot.h1 import (
    CTRL_HIGH,
    CTRL_LOW,
    FRAME_SKIP,
    JOINT_NAMES,
    QPOS0,
    RADIANS_PER_ACTION,
    ROBOT,
    action_to_ctrl,
    ctrl_to_action,
)
from mwl.robot.joint_mirror import mirror_joints
from mwl.rollouts.pushes import push_at_random
from mwl.simulation import Simulation, build_model, get_task
from mwl.simulation.task import Measurement, SensorIndex, Task
from mwl.teachers.base_env import BaseTrainingEnv
from mwl.teachers.config import PPOTeacherConfig, artifact_of, plain
from mwl.teachers.gait_observation import MAX_ACTION
from mwl.teachers.ppo import ActorCritic, PPOTrainer
from mwl.teachers.teacher import acts_on

STAGE = "task_teacher"
JOINTS = len(JOINT_NAMES)
OBSERVATION_SIZE = 1 + 3 + 3 + 3 + 3 + 3 * JOINTS


@dataclass(frozen=True)
class TaskTrainingConfig:
    """How the robot acts and where its episodes begin."""

    pose: dict[str, float] = field(default_factory=dict)
    """Angles in rad about which it acts, by kind of joint, of the left side, which the right one mirrors; else 0."""
    height: float = 0.6
    """m of the root where an episode begins in the pose."""
    pitch: float = 0.0
    """rad by which the root leans forward there."""
    lowest_root: float = 0.0
    """m of the root below which an episode ends, besides where the task ends it."""
    scale: ClassVar[float] = 0.5  # rad of a unit of action
    pose_start_share: ClassVar[float] = 0.6  # of the episodes; the others begin as the task's do
    episode_steps: ClassVar[int] = 250
    aside: ClassVar[float] = 0.1  # what every m off the middle costs
    change: ClassVar[float] = 0.02  # what the mean squared change of action costs
    push_std: ClassVar[float] = 0.2  # m/s in x and y
    push_interval: ClassVar[float] = 2.0  # s

    def __post_init__(self) -> None:
        kinds = {_kind(name) for name in JOINT_NAMES}
        for name in self.pose.keys() - kinds:
            raise ConfigError(
                f"{STAGE}.training.pose: no joints are called {name!r}; there are {', '.join(sorted(kinds))}"
            )

    def joints(self) -> Tensor:
        """The pose `[19]` in rad."""
        left = torch.tensor([float(self.pose.get(_kind(name), 0.0)) for name in JOINT_NAMES])
        right = torch.tensor([name.startswith("right") for name in JOINT_NAMES])
        return torch.where(right, mirror_joints(left), left)


def _kind(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


@dataclass(frozen=True)
class TaskTeacherConfig(PPOTeacherConfig):
    """Which task, about which pose, how long trained."""

    name: str = "crawl"
    task: str = "h1-crawl"
    iterations: int = 2000
    training: TaskTrainingConfig = field(default_factory=TaskTrainingConfig)

    def __post_init__(self) -> None:
        task = get_task(self.task)
        if task.object_qpos0 or task.goal_size or task.begin is not None:
            raise ConfigError(
                f"{STAGE}.task: {self.task} has an object, a goal or starts of its own, which such a teacher "
                "does not see; choose a task of the robot alone"
            )


class TaskController:
    """What the policy observes, and what its actions mean.

    Args:
        config: pose and scale of the actions.
        num_envs: N.
    """

    def __init__(self, config: TaskTrainingConfig, num_envs: int) -> None:
        self.previous_action = torch.zeros(num_envs, JOINTS)
        self._pose, self._scale = config.joints(), config.scale
        self._low, self._high = torch.as_tensor(CTRL_LOW).float(), torch.as_tensor(CTRL_HIGH).float()
        self._targets = self._pose.expand(num_envs, JOINTS)

    def restart(self, mask: Tensor) -> None:
        """Begin anew where `mask` `[N]` holds."""
        self.previous_action = self.previous_action.masked_fill(mask.unsqueeze(-1), 0.0)

    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Observation `[N, 70]` of the robot's `qpos` `[N, 26]` (m, rad) and `qvel` `[N, 25]` (m/s, rad/s).

        Root height (m), gravity in the body frame (3), cosine and sine of the heading and y (m), velocities in the body
        frame (6), joint angles (19, rad), a tenth of their velocities (19, rad/s) and the previous action (19).
        """
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        yaw = frames.heading(rotation)
        return torch.cat(
            [
                qpos[:, 2:3],
                frames.gravity_in_body(rotation),
                torch.stack([yaw.cos(), yaw.sin(), qpos[:, 1]], dim=-1),
                frames.to_body(rotation, qvel[:, :3]),
                qvel[:, 3:6],
                qpos[:, 7:26],
                0.1 * qvel[:, 6:25],
                self.previous_action,
            ],
            dim=-1,
        )

    def joint_targets(self, action: Tensor) -> Tensor:
        """Position targets `[N, 19]` in rad of actions `[N, 19]`; the action becomes the previous one."""
        self.previous_action = action
        self._targets = (self._pose + self._scale * action).clamp(self._low, self._high)
        return self._targets

    def recall_targets(self, targets: Tensor) -> None:
        """Take executed position targets `[N, 19]` in rad for the previous action's."""
        change = (targets - self._targets) / self._scale
        self.previous_action = (self.previous_action + change).clamp(-MAX_ACTION, MAX_ACTION)


class TaskEnv(BaseTrainingEnv):
    """N robots on a task, written for PPO alone.

    Args:
        simulation: batched simulation of the task's scene, advancing one control step of 20 ms per call.
        task: what is rewarded.
        config: how the robots act and begin.
        seed: of starts and pushes.
    """

    action_size = JOINTS

    def __init__(self, simulation: Simulation, task: Task, config: TaskTrainingConfig, seed: int) -> None:
        super().__init__(simulation, config.episode_steps, seed)
        self.config, self.task = config, task
        self.controller = TaskController(config, self.num_envs)
        self._index = SensorIndex(simulation.model)
        self._returns: list[Tensor] = []

    def observe(self) -> Tensor:
        """Observation `[N, O]` of the present state."""
        return self.controller.observe(*self._state())

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance one control step of 20 ms with actions `[N, 19]`, then begin anew where an episode ended.

        Returns:
            observation of the reached states `[N, O]` (before any reset; `observe` gives the one after), reward `[N]`,
            terminated `[N]` and truncated `[N]`, both bool.
        """
        action = action.clamp(-MAX_ACTION, MAX_ACTION)
        change = action - self.controller.previous_action
        self._simulation.step(self.controller.joint_targets(action).double().numpy())
        self._age += 1
        push_at_random(self._simulation, self.config.push_std, self.config.push_interval, self._generator)
        observation, physics = self.observe(), self._simulation
        none, stage = np.zeros((self.num_envs, 0)), np.zeros(self.num_envs, dtype=np.int64)
        measured = Measurement(physics.qpos, physics.qvel, physics.sensordata, none, stage, self._index)
        reward = torch.from_numpy(self.task.reward(measured)).float()
        self._returns.append(reward.mean())
        reward = reward - self.config.change * change.square().mean(dim=-1)
        reward = reward - self.config.aside * torch.from_numpy(physics.qpos[:, 1]).float().abs()
        low = physics.qpos[:, 2] < self.config.lowest_root
        terminated = torch.from_numpy(self.task.terminated(measured) | physics.unstable | low)
        truncated = self._truncated(terminated)
        self._begin(terminated | truncated)
        return observation, reward, terminated, truncated

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        """The mean of the task's own reward."""
        reward = torch.stack(self._returns).mean().item()
        self._returns = []
        return {"task_reward": reward}

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where `mask` `[N]` holds."""
        if not mask.any():
            return
        config, count = self.config, self.num_envs
        start = torch.tensor(QPOS0, dtype=torch.float32)
        qpos = start + self._uniform(-0.01, 0.01, count, len(start))
        posed = self._uniform(0, 1, count) < config.pose_start_share
        zero, pitch = torch.zeros(count), config.pitch + self._uniform(-0.15, 0.15, count)
        inplace = torch.cat(
            [
                qpos[:, :2],
                config.height + self._uniform(-0.1, 0.1, count, 1),
                frames.quaternion_from_euler(zero, pitch, self._uniform(-0.2, 0.2, count)),
                config.joints() + self._uniform(-0.2, 0.2, count, JOINTS),
            ],
            dim=-1,
        )
        qpos = torch.where(posed.unsqueeze(-1), inplace, qpos)
        qvel = torch.zeros(count, self._simulation.model.nv)
        self.controller.restart(mask)
        self._simulation.reset(mask.numpy(), qpos.double().numpy(), qvel.double().numpy())
        self._age = torch.where(mask, 0, self._age)


def train_task_teacher(
    config: TaskTeacherConfig, out: Path | str, report: Callable[[dict[str, float]], None] = lambda metrics: None
) -> Path:
    """Train a teacher by PPO on a task's own reward and write its artifact; goes on from an interrupted training.

    Args:
        config: what to train.
        out: folder to write; the resumable checkpoint lies beside it until then.
        report: called with the metrics of every iteration.
    """
    out = Path(out)
    trainer = _trainer(config, out)
    trainer.fit(config.iterations, report)
    path = write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={"hyper_parameters": plain(asdict(config)), "state_dict": trainer.agent.state_dict()},
        robot=ROBOT,
        **acts_on(config.task),
        metrics={"episode_length": trainer.mean_length},
        provenance={
            "method": "PPO on the task's own reward",
            "source": "made by this project from its robot model",
            "licence": "MIT",
            "env_steps": trainer.env_steps,
            "seed": config.seed,
        },
    )
    trainer.checkpoint.unlink(missing_ok=True)
    return path


def _trainer(config: TaskTeacherConfig, out: Path) -> PPOTrainer:
    """The training where its checkpoint left it; its physics steps are twice the benchmark's."""
    task = get_task(config.task)
    model = build_model(task, timestep=2 * task.robot.timestep)
    simulation = Simulation(model, config.ppo.num_envs, FRAME_SKIP // 2, num_threads=1)
    env = TaskEnv(simulation, task, config.training, config.seed)
    trainer = PPOTrainer(env, config.ppo, out.with_name(f"{out.name}.training.ckpt"), asdict(config), config.seed)
    trainer.resume()
    return trainer


class TaskPolicy:
    """The finished teacher: a demonstrator on its task.

    Args:
        config: what it was trained as.
        agent: its trained networks.
        provenance: what `describe` tells.
    """

    command: Tensor | None = None

    def __init__(self, config: TaskTeacherConfig, agent: ActorCritic, provenance: dict[str, Any]) -> None:
        self.name, self._provenance = f"task_{config.name}", provenance
        self._config, self._agent = config, agent
        self._controller = TaskController(config.training, 0)
        self.noise_scale = (config.training.scale / torch.from_numpy(RADIANS_PER_ACTION)).float()

    @classmethod
    def load(cls, folder: Path | str) -> "TaskPolicy":
        """Load an artifact that `train_task_teacher` wrote.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: see `mwl.core.artifact.read_manifest`.
        """
        with artifact_of(folder, STAGE) as held:
            config = held.config(TaskTeacherConfig, STAGE)
            made = lambda: ActorCritic(OBSERVATION_SIZE, JOINTS, config.ppo)  # noqa: E731
            return cls(config, load_module(made, held.checkpoint["state_dict"], "teacher"), held.provenance)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew from observations `[N, O]` where `mask` `[N]` holds."""
        count = len(observation)
        if len(self._controller.previous_action) != count:
            self._controller, mask = TaskController(self._config.training, count), None
        self._controller.restart(torch.ones(count, dtype=torch.bool) if mask is None else mask)

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at observations `[N, O]` that begin with the robot's qpos and qvel."""
        action = self._agent.act(self._controller.observe(observation[:, :26], observation[:, 26:51]))
        targets = self._controller.joint_targets(action.clamp(-MAX_ACTION, MAX_ACTION))
        return torch.from_numpy(ctrl_to_action(targets.numpy()))

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed, so that the policy's previous action is the true one."""
        self._controller.recall_targets(torch.from_numpy(action_to_ctrl(action.numpy())).float())

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        return dict(self._provenance)
