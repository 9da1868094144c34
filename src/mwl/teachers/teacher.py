"""Training a tracking teacher from its configuration, and the finished teacher as a demonstrator."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mwl.core.artifact import read_checkpoint, read_manifest, write_artifact
from mwl.core.checkpoints import load_module
from mwl.core.errors import ConfigError
from mwl.mocap.gait_cycle import GaitCycle
from mwl.robot import frames
from mwl.robot.h1 import (
    CONTROL_DT,
    FRAME_SKIP,
    H1,
    JOINT_NAMES,
    RADIANS_PER_ACTION,
    ROBOT,
    action_to_ctrl,
    ctrl_to_action,
)
from mwl.robot.kinematics import FEET, PointKinematics, above_soles
from mwl.simulation import Simulation, build_model, get_task
from mwl.simulation.shift import draw_shifts
from mwl.teachers.config import PPOTeacherConfig, artifact_of, parse_config, plain
from mwl.teachers.env import CommandConfig, TrackingConfig, TrackingEnv, draw_commands
from mwl.teachers.gait_observation import MAX_ACTION, OBSERVATION_SIZE, RESIDUAL_JOINTS, GaitController
from mwl.teachers.ground_heights import SEEN, Ground
from mwl.teachers.ppo import ActorCritic, PPOTrainer

STAGE = "teacher"
FAST_TIMESTEP = 0.004  # s; half the benchmark's resolution, and the policies transfer without loss
FAST_FRAME_SKIP = 5
HEADING_MEMORY = 0.95  # share of its heading error that a robot under changing commands keeps per control step


@dataclass(frozen=True)
class Starter:
    """A teacher that starts the robot for another one."""

    config: "TeacherConfig"
    agent: ActorCritic
    steps: int  # control steps after which the other one takes over


@dataclass(frozen=True)
class TeacherConfig(PPOTeacherConfig):
    """A tracking teacher: which gait, how rewarded, how long trained."""

    name: str = "walk"
    task: str | None = None
    """The task on which it also acts by itself, as an agent that is told its preferred speed; None: it is cloned."""
    cycle: str = "data/motion/walk.json"
    iterations: int = 620
    exact_iterations: int = 0
    """The last of them on the benchmark's own contacts and physics step instead of the fast ones: for gaits that the
    difference topples."""
    start_from: str | None = None
    """Artifact of a teacher whose networks this one begins with; its steps are counted along."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def train_teacher(
    config: TeacherConfig, out: Path | str, report: Callable[[dict[str, float]], None] = lambda metrics: None
) -> Path:
    """Train a teacher by PPO and write its artifact; goes on from an interrupted training's checkpoint.

    Args:
        config: what to train.
        out: folder to write; the resumable checkpoint lies beside it until then.
        report: called with the metrics of every iteration.
    """
    out = Path(out)
    trainer = _trainer(config, out, exact=False)
    trainer.fit(config.iterations - config.exact_iterations, report)
    if config.exact_iterations:
        trainer = _trainer(config, out, exact=True)
        trainer.fit(config.iterations, report)
    return save_teacher(config, trainer, out)


def _trainer(config: TeacherConfig, out: Path, exact: bool) -> PPOTrainer:
    """The training where its checkpoint left it, on the robot of the benchmark or on the fast one."""
    task = get_task("h1-walk")
    if config.tracking.ground is not None:
        task = replace(task, scene=config.tracking.ground.scene)
    model = build_model(task) if exact else build_model(task, "fast", FAST_TIMESTEP)
    frame_skip = FRAME_SKIP if exact else FAST_FRAME_SKIP
    shifts = draw_shifts(config.tracking.shifts, config.ppo.num_envs, config.seed)
    models = [shift.applied(model, H1) for shift in shifts]
    simulation = Simulation(model, config.ppo.num_envs, frame_skip=frame_skip, num_threads=1, models=models)
    env = TrackingEnv(simulation, GaitCycle.load(config.cycle), config.tracking, config.seed, shifts)
    trainer = PPOTrainer(env, config.ppo, out.with_name(f"{out.name}.training.ckpt"), asdict(config), config.seed)
    if not trainer.resume() and config.start_from is not None:
        manifest = read_manifest(config.start_from, stage=STAGE, robot=ROBOT)
        weights = widened(read_checkpoint(config.start_from)["state_dict"], trainer.agent)
        trainer.begin_with(weights, manifest["provenance"]["env_steps"])
    return trainer


def widened(weights: dict[str, Tensor], agent: ActorCritic) -> dict[str, Tensor]:
    """Weights of an agent that sees less, for one that also sees what they know nothing of and make nothing of."""
    wide = {name: value.clone() for name, value in agent.state_dict().items()}
    for name, value in weights.items():
        if value.dim() and value.shape[-1] < wide[name].shape[-1]:
            wide[name][..., : value.shape[-1]] = value
            if "weight" in name:
                wide[name][..., value.shape[-1] :] = 0.0
        else:
            wide[name] = value
    return wide


def save_teacher(config: TeacherConfig, trainer: PPOTrainer, out: Path) -> Path:
    """Write the artifact of a trained teacher, the policy alone."""
    return write_artifact(
        out,
        stage=STAGE,
        name=config.name,
        checkpoint={"hyper_parameters": plain(asdict(config)), "state_dict": trainer.agent.state_dict()},
        robot=ROBOT,
        **acts_on(config.task),
        metrics={"episode_length": trainer.mean_length, "preferred_speed": trainer.env.preferred_speed},
        provenance={
            "method": "tracking PPO on a gait cycle",
            "cycle": config.cycle,
            "source": GaitCycle.load(config.cycle).provenance,
            "env_steps": trainer.env_steps,
            "seed": config.seed,
            **_ancestry(config),
        },
    )


def acts_on(task: str | None) -> dict[str, Any]:
    """What the manifest of a teacher says of the task on which it acts."""
    if task is None:
        return {}
    layout = get_task(task).layout
    return {
        "task": task,
        "observation": {"size": layout.size, "layout": layout.sizes},
        "action": {"size": get_task(task).robot.action_size, "low": -1.0, "high": 1.0},
    }


def _ancestry(config: TeacherConfig) -> dict[str, Any]:
    """The teacher that this one began with, and how many of its steps are that one's."""
    if config.start_from is None:
        return {}
    steps = read_manifest(config.start_from, stage=STAGE, robot=ROBOT)["provenance"]["env_steps"]
    return {"started_from": config.start_from, "started_with_env_steps": steps}


class TrackingPolicy:
    """A tracking teacher on the benchmark's own tasks: a demonstrator with a gait clock.

    Args:
        config: what it was trained as.
        agent: its trained networks.
        cycle: its gait.
        provenance: what `describe` tells.
        command: velocity command `[3]` or per robot `[N, 3]`: forward, sideways in m/s, turning in rad/s.
        commands: random commands instead, which change within an episode; None keeps `command`. The robot then forgets
            within half a second which heading it meant to have: a student sees the commanded rate, but no such plan.
        gain: what the teacher is told per unit of command `[3]`, for one that gives less than it is told.
        drift: m/s that it goes to the outside of a turn, per m/s forward and rad/s; it is told to make up for them.
        seed: of the random commands.
        ground: where the hurdles of the task's scene are, for a teacher that is told of them; None: there are none.
        starter: another teacher of the same gait that acts first; the commanded speed then rises as it learned.

    Raises:
        ConfigError: the starter learned another gait, or other scales of its actions.
    """

    def __init__(
        self,
        config: TeacherConfig,
        agent: ActorCritic,
        cycle: GaitCycle,
        provenance: dict[str, Any],
        command: Tensor | None = None,
        commands: CommandConfig | None = None,
        gain: tuple[float, float, float] = (1.0, 1.0, 1.0),
        drift: float = 0.0,
        seed: int = 0,
        ground: Ground | None = None,
        starter: Starter | None = None,
    ) -> None:
        if starter is not None and (starter.config.cycle, starter.config.tracking.scale) != (
            config.cycle,
            config.tracking.scale,
        ):
            raise ConfigError(f"starter: it learned another gait or action scale than the teacher {config.name}")
        self.name = f"tracking_{config.name}"
        self.config, self.agent, self.cycle, self.provenance = config, agent, cycle, provenance
        self._told = torch.tensor([config.tracking.command.preferred_speed, 0.0, 0.0]) if command is None else command
        self._gain, self._drift = torch.tensor(gain), drift
        self._commands, self._generator = commands, torch.Generator().manual_seed(seed)
        self._steered = commands is not None
        trained_on = config.tracking.ground
        self._sees, self._ground = trained_on is not None and trained_on.sees, ground
        self._feet = None if trained_on is None else PointKinematics(build_model(get_task("h1-walk")), FEET)
        self._controller: GaitController | None = None
        self._starter, self._age = starter, torch.zeros(0, dtype=torch.int64)
        self._start = (config if starter is None else starter.config).tracking.command
        self.noise_scale = self._action_noise_scale()

    @classmethod
    def load(cls, folder: Path | str, command: Tensor | None = None, **options: Any) -> "TrackingPolicy":
        """Load a teacher's artifact; `options` are the other arguments by name."""
        with artifact_of(folder, STAGE) as (checkpoint, provenance):
            parts = checkpoint["hyper_parameters"], checkpoint["state_dict"]
            return cls.from_parts(*parts, provenance, command, **options)

    @classmethod
    def load_with_starter(
        cls, folder: Path | str, starter: Path | str, seconds: float, command: Tensor | None = None, **options: Any
    ) -> "TrackingPolicy":
        """A teacher for which another one acts in the first seconds.

        What it cost are the steps of both; a starter that began with another teacher adds its own alone.
        """
        first = cls.load(starter)
        steps = round(seconds / CONTROL_DT)
        policy = cls.load(folder, command, starter=Starter(first.config, first.agent, steps), **options)
        added = first.provenance["env_steps"] - first.provenance.get("started_with_env_steps", 0)
        cost = policy.provenance["env_steps"] + added
        policy.provenance = {
            **policy.provenance,
            "env_steps": cost,
            "training_env_steps": cost,
            "starter": f"{starter}",
        }
        return policy

    @classmethod
    def from_parts(
        cls,
        hyper_parameters: dict[str, Any],
        weights: dict[str, Tensor],
        provenance: dict[str, Any],
        command: Tensor | None = None,
        **options: Any,
    ) -> "TrackingPolicy":
        """Build it from what a checkpoint holds."""
        config = parse_config(TeacherConfig, STAGE, {STAGE: hyper_parameters}, "teacher checkpoint")
        ground = config.tracking.ground
        size = OBSERVATION_SIZE + (2 if ground is not None and ground.sees else 0)
        agent = load_module(lambda: ActorCritic(size, len(RESIDUAL_JOINTS), config.ppo), weights, "teacher")
        return cls(config, agent, GaitCycle.load(config.cycle), provenance, command, **options)

    @property
    def command(self) -> Tensor | None:
        """What the robots should do now, `[N, 3]`."""
        if self._controller is None:
            return None
        scaled = self._controller.target / self._gain
        return scaled - self._against_drift(scaled)

    def _translated(self, command: Tensor) -> Tensor:
        """What the teacher has to be told `[N, 3]` so that it does as commanded `[N, 3]`."""
        return self._gain * (command + self._against_drift(command))

    def _against_drift(self, command: Tensor) -> Tensor:
        forward, _, turning = command.unbind(-1)
        nothing = torch.zeros_like(forward)
        return torch.stack([nothing, self._drift * forward * turning, nothing], dim=-1)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Start from standing where `mask` `[N]` holds, from observations `[N, O]`."""
        count = len(observation)
        if self._controller is None or len(self._controller.phase) != count:
            scale = self.config.tracking.scale
            self._controller = GaitController(self.cycle, scale, count, self._start.ramp_rate)
            self._age = torch.zeros(count, dtype=torch.int64)
            mask = None
        everywhere = torch.ones(count, dtype=torch.bool) if mask is None else mask
        target = self._translated(self._told.expand(count, 3)) if self._commands is None else self._draw(count)
        start = self._start.start_speed
        self._age = torch.where(everywhere, 0, self._age)
        self._controller.ramp_rate = torch.where(everywhere, self._start.ramp_rate, self._controller.ramp_rate)
        self._controller.restart(
            everywhere, torch.zeros(count), target, target[:, 0].clamp(-start, start), torch.zeros(count)
        )

    @property
    def speed(self) -> Tensor:
        """Forward speed `[N]` in m/s that is commanded by now, on the ramp to what was told."""
        assert self._controller is not None, "reset before speed"
        return self._controller.command[:, 0]

    def change_speed(self, mask: Tensor, speed: float, rate: float) -> None:
        """Tell robots, where `mask` `[N]` holds, another forward speed in m/s, reached at a rate in m/s^2."""
        controller = self._controller
        assert controller is not None, "reset before change_speed"
        controller.target[:, 0] = torch.where(mask, speed, controller.target[:, 0])
        controller.ramp_rate = torch.where(mask, rate, controller.ramp_rate)

    def start_at(self, observation: Tensor, mask: Tensor) -> None:
        """Go on where `mask` `[N]` holds with robots that are under way, seen as `[N, O]`.

        At the phase whose pose is closest to theirs and from their own speed, as far as the teacher was trained for it.
        """
        controller = self._controller
        assert controller is not None, "reset before start_at"
        target = self._translated(self._told.expand(len(observation), 3))
        phase = controller.closest_phase(observation[:, 7:26], target)
        low, high = self.config.tracking.command.forward
        speed = frames.to_body(frames.rotation_matrix(observation[:, 3:7]), observation[:, 26:29])[:, 0]
        controller.restart(mask, phase, target, speed.clamp(low, high), torch.zeros(len(observation)))

    def steer(self, command: Tensor) -> None:
        """Tell the robots `[N, 3]`: forward, sideways in m/s, turning in rad/s from whatever heading they have."""
        assert self._controller is not None, "reset before steer"
        self._controller.target, self._steered = self._translated(command), True

    def reference(self) -> Tensor:
        """Joint angles `[N, 19]` of the gait at its present phase, rad."""
        assert self._controller is not None, "reset before reference"
        return self._controller.reference().joints

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]` that begin with the robot's qpos and qvel."""
        assert self._controller is not None, "reset before act"
        qpos, qvel = observation[:, :26], observation[:, 26:51]
        if self._feet is not None:
            qpos = above_soles(self._feet, qpos)
        if self._commands is not None:
            self._change_commands(len(qpos))
        if self._steered:
            self._forget_heading(qpos)
        seen = self._controller.observe(qpos, qvel)
        if self._sees:
            seen = torch.cat([seen, self.ahead(qpos)], dim=-1)
        residual = self._residual(seen).clamp(-MAX_ACTION, MAX_ACTION)
        targets = self._controller.joint_targets(residual)
        self._controller.advance()
        return torch.from_numpy(ctrl_to_action(targets.numpy()))

    def ahead(self, qpos: Tensor) -> Tensor:
        """Way in m to the next hurdle and its height in m `[N, 2]`, of robots at `qpos` `[N, 26]`."""
        if self._ground is None:
            return torch.tensor([SEEN, 0.0]).expand(len(qpos), 2)
        return self._ground.ahead(torch.zeros(len(qpos), dtype=torch.int64), qpos[:, 0])

    def _residual(self, observation: Tensor) -> Tensor:
        residual = self.agent.act(observation)
        if self._starter is None:
            return residual
        starting = (self._age < self._starter.steps).unsqueeze(-1)
        self._age += 1
        return torch.where(starting, self._starter.agent.act(observation), residual) if starting.any() else residual

    def _draw(self, count: int) -> Tensor:
        assert self._commands is not None
        return self._translated(draw_commands(self._commands, count, self._generator))

    def _change_commands(self, count: int) -> None:
        controller, config = self._controller, self._commands
        assert controller is not None
        assert config is not None
        if config.resample_interval > 0:
            change = torch.rand(count, 1, generator=self._generator) < CONTROL_DT / config.resample_interval
            controller.target = torch.where(change, self._draw(count), controller.target)

    def _forget_heading(self, qpos: Tensor) -> None:
        controller = self._controller
        assert controller is not None
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        kept = HEADING_MEMORY * controller.heading_error(rotation)
        controller.desired_heading = frames.heading(rotation) - kept

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed, so that the policy's previous action is the true one."""
        assert self._controller is not None, "reset before executed"
        targets = torch.from_numpy(action_to_ctrl(action.numpy())).float()
        self._controller.recall_targets(targets)

    def describe(self) -> dict[str, Any]:
        """Provenance of the teacher."""
        licence = f"MIT; reference motion: {self.cycle.provenance.get('licence', 'unknown')}"
        return {
            "licence": licence,
            **self.provenance,
            "teacher": self.name,
            "command": self._told.tolist() if self._commands is None else plain(asdict(self._commands)),
        }

    def _action_noise_scale(self) -> Tensor:
        """Benchmark action units `[19]` per unit of residual action; joints without residual get the shoulders'."""
        scale = self.config.tracking.scale
        radians = torch.full((len(JOINT_NAMES),), scale.shoulder_pitch)
        radians[[JOINT_NAMES.index(name) for name in RESIDUAL_JOINTS]] = scale.per_joint()
        return radians / torch.as_tensor(RADIANS_PER_ACTION)
