"""Training a tracking teacher from its configuration, and the finished teacher as a demonstrator."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from torch import Tensor

from mwl.errors import ConfigError
from mwl.handoff import read_checkpoint, read_manifest, write_handoff
from mwl.motion.cycle import GaitCycle
from mwl.motion.gait import OBSERVATION_SIZE, RESIDUAL_JOINTS, GaitController
from mwl.motion.ppo import ActorCritic, PPOConfig, PPOTrainer
from mwl.motion.tracking import MAX_ACTION, TrackingConfig, TrackingEnv
from mwl.simulation import Simulation, build_model, get_task
from mwl.simulation.robot import CTRL_HIGH, CTRL_LOW, JOINT_NAMES, ROBOT, action_to_ctrl, ctrl_to_action

STAGE = "teacher"
FAST_TIMESTEP = 0.004  # s; half the benchmark's resolution, and the policies transfer without loss
FAST_FRAME_SKIP = 5


@dataclass(frozen=True)
class TeacherConfig:
    """A tracking teacher: which gait, how rewarded, how long trained."""

    name: str = "walk"
    cycle: str = "data/motion/walk.json"
    iterations: int = 620
    """Of `ppo.num_envs * ppo.rollout_steps` environment steps each."""
    seed: int = 0
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)


def load_config(path: Path | str) -> TeacherConfig:
    """Read a teacher's YAML.

    Raises:
        ConfigError: missing, not YAML, or an entry that the configuration doesn't know.
    """
    return _parse(lambda parser: parser.parse_path(str(path)), f"{path}")


def config_from_plain(entries: dict[str, Any]) -> TeacherConfig:
    """Configuration from plain values, as a checkpoint carries them."""
    return _parse(lambda parser: parser.parse_object(entries), "teacher checkpoint")


def _parse(parse: Callable[[jsonargparse.ArgumentParser], jsonargparse.Namespace], where: str) -> TeacherConfig:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TeacherConfig, "teacher")
    try:
        return parser.instantiate_classes(parse(parser)).teacher
    except (jsonargparse.ArgumentError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def train_teacher(
    config: TeacherConfig, out: Path | str, report: Callable[[dict[str, float]], None] = lambda metrics: None
) -> Path:
    """Train a teacher by PPO and write its hand-over folder; goes on from an interrupted training's checkpoint.

    Args:
        config: what to train.
        out: folder to write; the resumable checkpoint lies beside it until then.
        report: called with the metrics of every iteration.
    """
    out = Path(out)
    model = build_model(get_task("h1-walk"), "fast", FAST_TIMESTEP)
    cycle = GaitCycle.load(config.cycle)
    simulation = Simulation(model, config.ppo.num_envs, frame_skip=FAST_FRAME_SKIP, num_threads=1)
    env = TrackingEnv(simulation, cycle, config.tracking, config.seed)
    trainer = PPOTrainer(env, config.ppo, out.with_name(f"{out.name}.training.ckpt"), asdict(config), config.seed)
    trainer.resume()
    trainer.fit(config.iterations, report)
    return save_teacher(config, trainer, out)


def save_teacher(config: TeacherConfig, trainer: PPOTrainer, out: Path) -> Path:
    """Write the hand-over folder of a trained teacher, the policy alone."""
    return write_handoff(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={"hyper_parameters": _plain(asdict(config)), "state_dict": trainer.agent.state_dict()},
        robot=ROBOT,
        metrics={"episode_length": trainer.mean_length, "preferred_speed": trainer.env.preferred_speed},
        provenance={
            "method": "tracking PPO on a gait cycle",
            "cycle": config.cycle,
            "source": trainer.env.controller.cycle.provenance,
            "env_steps": trainer.env_steps,
            "seed": config.seed,
        },
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


class TrackingPolicy:
    """A tracking teacher on the benchmark's own tasks: a demonstrator with a gait clock.

    Args:
        config: what it was trained as.
        agent: its trained networks.
        cycle: its gait.
        provenance: what `describe` tells.
        command: velocity command `[3]` or per robot `[N, 3]`: forward, sideways in m/s, turning in rad/s.
    """

    def __init__(
        self,
        config: TeacherConfig,
        agent: ActorCritic,
        cycle: GaitCycle,
        provenance: dict[str, Any],
        command: Tensor | None = None,
    ) -> None:
        self.name = f"tracking_{config.name}"
        self._config, self._agent, self._cycle, self._provenance = config, agent, cycle, provenance
        self._told = torch.tensor([config.tracking.command.preferred_speed, 0.0, 0.0]) if command is None else command
        self._controller: GaitController | None = None
        self.noise_scale = self._action_noise_scale()

    @classmethod
    def load(cls, folder: Path | str, command: Tensor | None = None) -> "TrackingPolicy":
        """Load a teacher's hand-over folder."""
        manifest = read_manifest(folder, stage=STAGE, robot=ROBOT)
        checkpoint = read_checkpoint(folder)
        config = config_from_plain({"teacher": checkpoint["hyper_parameters"]})
        agent = ActorCritic(OBSERVATION_SIZE, len(RESIDUAL_JOINTS), config.ppo)
        agent.load_state_dict(checkpoint["state_dict"])
        provenance = {**manifest["provenance"], "training_env_steps": manifest["provenance"]["env_steps"]}
        return cls(config, agent, GaitCycle.load(config.cycle), provenance, command)

    @property
    def command(self) -> Tensor | None:
        """What the robots are told now, `[N, 3]`."""
        return None if self._controller is None else self._controller.target

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Start from standing where `mask` `[N]` holds, from observations `[N, O]`."""
        count = len(observation)
        if self._controller is None or len(self._controller.phase) != count:
            tracking = self._config.tracking
            self._controller = GaitController(self._cycle, tracking.scale, count, tracking.command.ramp_rate)
            mask = None
        everywhere = torch.ones(count, dtype=torch.bool) if mask is None else mask
        target = self._told.expand(count, 3)
        start = self._config.tracking.command.start_speed
        self._controller.restart(
            everywhere, torch.zeros(count), target, target[:, 0].clamp(-start, start), torch.zeros(count)
        )

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]` that begin with the robot's qpos and qvel."""
        assert self._controller is not None, "reset before act"
        qpos, qvel = observation[:, :26], observation[:, 26:51]
        residual = self._agent.act(self._controller.observe(qpos, qvel)).clamp(-MAX_ACTION, MAX_ACTION)
        self._reference = self._controller.reference().joints
        targets = self._controller.joint_targets(residual)
        self._controller.advance()
        return torch.from_numpy(ctrl_to_action(targets.numpy()))

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed, so that the policy's previous action is the true one."""
        assert self._controller is not None, "reset before executed"
        targets = torch.from_numpy(action_to_ctrl(action.numpy())).float()
        residual = self._controller.residual(targets, self._reference)
        self._controller.previous_action = residual.clamp(-MAX_ACTION, MAX_ACTION)

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        licence = f"MIT; reference motion: {self._cycle.provenance.get('licence', 'unknown')}"
        return {"licence": licence, **self._provenance, "command": self._told.tolist()}

    def _action_noise_scale(self) -> Tensor:
        """Benchmark action units `[19]` per unit of residual action; joints without residual get the shoulders'."""
        scale = self._config.tracking.scale
        radians = torch.full((len(JOINT_NAMES),), scale.shoulder_pitch)
        radians[[JOINT_NAMES.index(name) for name in RESIDUAL_JOINTS]] = scale.per_joint()
        return radians / torch.as_tensor((CTRL_HIGH - CTRL_LOW) / 2).float()
