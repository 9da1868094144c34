"""A policy that a user brings, as a demonstrator: a TorchScript or ONNX file, and what it reads and commands.

TorchScript files are code: loading one runs what its author put there, so load only files you trust. ONNX files are
data.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mwl.core.errors import ConfigError, CorruptFile, MissingDependency, MissingFile
from mwl.robot import frames
from mwl.robot.h1 import (
    ACTION_SIZE,
    CONTROL_DT,
    JOINT_NAMES,
    RADIANS_PER_ACTION,
    ctrl_to_action,
)

Piece = Literal[
    "angular_velocity", "linear_velocity", "gravity", "height", "command", "joint_positions", "joint_velocities",
    "previous_action", "phase", "observation",
]  # fmt: skip


@dataclass(frozen=True)
class ObservedPiece:
    """One piece of what the policy reads.

    `angular_velocity` (rad/s), `linear_velocity` (m/s) and `gravity` (unit vector) are in the body frame, 3 numbers
    each; `height` of the root in m; `command` as configured, 3; `joint_positions` of the policy's joints less their
    defaults in rad; `joint_velocities` in rad/s; `previous_action` as the policy gave it; `phase` sine and cosine of a
    clock; `observation` the benchmark's own, whole.
    """

    name: Piece
    scale: list[float] | float = 1.0
    """Factor of every number, or one factor each."""
    period: float = 0.8
    """Of `phase`, in s."""


@dataclass(frozen=True)
class CommandedJoints:
    """What the policy's numbers mean: joint target = default + scale * number, in rad."""

    joints: list[str]
    default: list[float]
    scale: list[float] | float
    others: dict[str, float] = field(default_factory=dict)
    """Targets in rad of joints that the policy does not command; 0 where none is given."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.joints, *self.others} - set(JOINT_NAMES))
        if unknown:
            raise ConfigError(f"policy.actions: no joint {', '.join(unknown)}; joints: {', '.join(JOINT_NAMES)}")
        factors = self.scale if isinstance(self.scale, list) else self.joints
        if len(set(self.joints)) != len(self.joints) or not len(self.joints) == len(self.default) == len(factors):
            raise ConfigError("policy.actions: joints must differ, with one default each, and one scale or one each")


@dataclass(frozen=True)
class UserPolicyConfig:
    """A policy file, and all that is needed to run it on this robot."""

    file: str
    """TorchScript (.pt) or ONNX (.onnx): numbers `[N, F]` in, `[N, A]` out."""
    observations: list[ObservedPiece]
    """In the order in which the policy reads them."""
    actions: CommandedJoints
    rate_hz: float = 50.0
    command: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Forward and sideways in m/s, turning in rad/s."""
    recurrent: bool = False
    """The file keeps a memory of one robot: every robot gets a copy, made to forget by loading it again."""
    licence: str = "unknown"
    source: str = ""

    def __post_init__(self) -> None:
        if not self.observations:
            raise ConfigError("policy.observations is empty: name what the policy reads, in its order")
        numbers = [*self.actions.default, *self.actions.others.values(), *self.command, self.rate_hz]
        for scale in [self.actions.scale, *(piece.scale for piece in self.observations)]:
            numbers += scale if isinstance(scale, list) else [scale]
        if not all(map(math.isfinite, numbers)):
            raise ConfigError("policy: scales, defaults, rate and command must be finite numbers")
        if any(not (math.isfinite(piece.period) and piece.period > 0) for piece in self.observations):
            raise ConfigError("policy.observations: a period must be a number of seconds above 0")
        steps = 1 / (CONTROL_DT * self.rate_hz) if self.rate_hz > 0 else 0.0
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise ConfigError(
                f"policy.rate_hz is {self.rate_hz:g}; it must divide the control rate, {1 / CONTROL_DT:g}"
            )


class Network(Protocol):
    """The file's function of observations `[N, F]`."""

    def __call__(self, observation: Tensor) -> Tensor:
        """Numbers `[N, A]`."""
        ...


class UserPolicy:
    """Demonstrator that runs a user's policy.

    Args:
        config: the file, its observations and actions.

    Raises:
        MissingFile, CorruptFile: no file, or no TorchScript or ONNX.
        MissingDependency: an ONNX file without onnxruntime.
    """

    name = "policy"

    def __init__(self, config: UserPolicyConfig) -> None:
        self.config = config
        self._networks = [load_network(config.file)]
        self._every = round(1 / (CONTROL_DT * config.rate_hz))
        actions = config.actions
        self._joints = [JOINT_NAMES.index(name) for name in actions.joints]
        self._default = torch.tensor(actions.default)
        self._scale = torch.as_tensor(actions.scale, dtype=torch.float32).expand(len(self._joints))
        self._resting = torch.tensor([actions.others.get(name, 0.0) for name in JOINT_NAMES])
        self._told = torch.tensor(config.command)
        self.command: Tensor | None = None
        self._age = torch.zeros(0, dtype=torch.long)
        self._previous = self._answer = torch.zeros(0, len(self._joints))
        self._given = torch.zeros(0, ACTION_SIZE)
        radians = torch.full((ACTION_SIZE,), float(self._scale.mean()))
        radians[self._joints] = self._scale
        self.noise_scale = radians / torch.as_tensor(RADIANS_PER_ACTION)

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self._age) != count:
            mask = torch.ones(count, dtype=torch.bool)
            self._age = torch.zeros(count, dtype=torch.long)
            self._previous, self._answer = (torch.zeros(count, len(self._joints)) for _ in range(2))
        if "command" in [piece.name for piece in self.config.observations]:
            self.command = self._told.expand(count, 3)
        self._age[mask], self._previous[mask], self._answer[mask] = 0, 0.0, 0.0
        if self.config.recurrent:
            self._networks = (self._networks * count)[:count]
            for i in mask.nonzero()[:, 0].tolist():
                self._networks[i] = load_network(self.config.file)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]` that begin with the robot's qpos and qvel."""
        due = self._age % self._every == 0
        if due.any():
            answer = self._run(self.observe(observation))
            self._answer = torch.where(due.unsqueeze(-1), answer, self._answer)
        self._age += 1
        targets = self._resting.repeat(len(observation), 1)
        targets[:, self._joints] = self._default + self._scale * self._answer
        self._previous, self._given = self._answer, torch.from_numpy(ctrl_to_action(targets.numpy())).clamp(-1, 1)
        return self._given

    def executed(self, action: Tensor) -> None:
        """Hear which action `[N, 19]` was executed: what the policy reads as its previous one.

        What the servos' range cut off its answer stays in it.
        """
        moved = torch.as_tensor(RADIANS_PER_ACTION) * (action - self._given)
        self._previous = self._answer + moved[:, self._joints] / self._scale

    def observe(self, observation: Tensor) -> Tensor:
        """What the policy reads, `[N, F]`, at benchmark observations `[N, O]`."""
        pieces = []
        for piece in self.config.observations:
            value = self._piece(piece, observation)
            scale = torch.as_tensor(piece.scale, dtype=torch.float32)
            if scale.ndim and len(scale) != value.shape[-1]:
                raise ConfigError(
                    f"policy.observations: {piece.name} has {value.shape[-1]} numbers, {len(scale)} scales"
                )
            pieces.append(scale * value)
        return torch.cat(pieces, dim=-1)

    def _piece(self, piece: ObservedPiece, observation: Tensor) -> Tensor:
        qpos, qvel = observation[:, :26], observation[:, 26:51]
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        match piece.name:
            case "angular_velocity":
                return qvel[:, 3:6]
            case "linear_velocity":
                return frames.to_body(rotation, qvel[:, :3])
            case "gravity":
                return frames.gravity_in_body(rotation)
            case "height":
                return qpos[:, 2:3]
            case "command":
                return self._told.expand(len(observation), 3)
            case "joint_positions":
                return qpos[:, 7:][:, self._joints] - self._default
            case "joint_velocities":
                return qvel[:, 6:][:, self._joints]
            case "previous_action":
                return self._previous
            case "phase":
                angle = 2 * math.pi * CONTROL_DT * self._age.float().unsqueeze(-1) / piece.period
                return torch.cat([angle.sin(), angle.cos()], dim=-1)
            case "observation":
                return observation

    def _run(self, observation: Tensor) -> Tensor:
        """The file's numbers `[N, A]`.

        Raises:
            ConfigError: it cannot read so many numbers, or gives other actions than stated, or none that are finite.
        """
        try:
            if self.config.recurrent:
                rows = zip(self._networks, observation.split(1), strict=True)
                answer = torch.cat([network(row) for network, row in rows])
            else:
                answer = self._networks[0](observation)
        except Exception as error:  # TorchScript, ONNX runtime and what the file's author wrote raise what they like
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ConfigError(
                f"{self.config.file}: does not run on the {observation.shape[-1]} numbers stated ({lines[-1][:160]})"
            ) from error
        if answer.shape != (len(observation), len(self._joints)):
            raise ConfigError(
                f"{self.config.file}: gives {list(answer.shape)} numbers; policy.actions has {len(self._joints)} joints"
            )
        if not torch.isfinite(answer).all():
            raise ConfigError(f"{self.config.file}: gives numbers that are not finite for finite observations")
        return answer

    def describe(self) -> dict[str, Any]:
        """Provenance as far as the user stated it."""
        return {
            "method": "a user's own policy",
            "source": self.config.source or Path(self.config.file).name,
            "licence": self.config.licence,
            "training_env_steps": 0,
        }


def load_network(path: str) -> Network:
    """The function in a TorchScript or ONNX file.

    Raises:
        MissingFile, CorruptFile, MissingDependency: see `UserPolicy`.
    """
    if not Path(path).is_file():
        raise MissingFile(f"{path}: no such policy file")
    if Path(path).suffix == ".onnx":
        return _OnnxNetwork(path)
    try:
        module = torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:  # damaged archives raise errors of several kinds
        raise CorruptFile(f"{path}: not a TorchScript file (torch.jit.save writes one)") from error
    return lambda observation: _tensor(module(observation))


def _tensor(answer: Any) -> Tensor:
    if not isinstance(answer, Tensor):
        raise TypeError(f"it gives a {type(answer).__name__}, not one tensor")
    return answer.float()


class _OnnxNetwork:
    """An ONNX file of one input and one output."""

    def __init__(self, path: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependency("an ONNX policy needs onnxruntime: pip install 'mwl[export]'") from error
        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises a dozen kinds of its own
            raise CorruptFile(f"{path}: not an ONNX file that this onnxruntime can load") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ConfigError(f"{path}: has {len(inputs)} inputs; a policy reads one array [N, F]")
        self._input = inputs[0].name
        self._one_at_a_time = isinstance(inputs[0].shape[0], int)

    def __call__(self, observation: Tensor) -> Tensor:
        parts = observation.split(1) if self._one_at_a_time else [observation]
        try:
            answers = [self._session.run(None, {self._input: part.numpy()})[0] for part in parts]
        except Exception as error:
            raise RuntimeError(str(error)) from error
        return torch.cat([torch.from_numpy(answer) for answer in answers])
