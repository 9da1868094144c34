"""A gait as a parametric cycle: a few Fourier coefficients per joint, scaled to the speed that is asked for.

The cycle is one left-right symmetric stride of a retargeted motion-capture clip. Amplitude about the mean pose and
stride time follow the commanded speed, so that one cycle serves a whole range of speeds.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mwl._places import find
from mwl.core.errors import CorruptFile, MissingFile
from mwl.core.files import read_json, shown
from mwl.core.plain import from_plain
from mwl.robot.h1 import JOINT_NAMES

ROOT_CHANNELS = ("z", "roll", "pitch", "yaw")
CHANNELS = (*JOINT_NAMES, *ROOT_CHANNELS)
MAX_BYTES = 2**20  # of a file
LARGEST = 100.0  # rad, m and m/s: beyond it nothing is meant
LONGEST = 1e6  # s, the period of a cycle that stands still
LEG_LENGTH = 0.85  # m, hip to sole with the knee a little bent


class Pose(NamedTuple):
    """Reference pose: joint angles `[N, 19]` in rad, root height in m and roll, pitch, yaw in rad `[N, 4]`."""

    joints: Tensor
    root: Tensor


@dataclass(frozen=True)
class StrideLaw:
    """How stride time and amplitude follow the speed `v`: `T = clip(at_rest + slope v)`, in s and m/s."""

    at_rest: float
    slope: float
    shortest: float
    longest: float
    min_amplitude: float = 0.35
    max_amplitude: float = 1.25


def walking_direction(speed: Tensor) -> Tensor:
    """+1 where the gait's clock runs forward and -1 where it runs backward, `[N]`, from forward speed in m/s."""
    return torch.where(speed < -0.05, -1.0, 1.0)


class GaitCycle:
    """One gait cycle that can be evaluated at any phase and speed.

    Args:
        name: gait, for example `walk`.
        mean: mean pose `[C]` in the order of `CHANNELS`.
        cosine, sine: Fourier coefficients `[H, C]` of the first H harmonics.
        period: duration of the recorded stride in s; speed: its speed in m/s.
        stride: how stride time and amplitude follow the commanded speed.
        provenance: source, licence and maker of the clip.
    """

    def __init__(
        self,
        name: str,
        mean: Tensor,
        cosine: Tensor,
        sine: Tensor,
        *,
        period: float,
        speed: float,
        stride: StrideLaw,
        provenance: dict[str, Any],
    ) -> None:
        self.name, self.mean, self.cosine, self.sine = name, mean, cosine, sine
        self.period, self.speed, self.stride, self.provenance = period, speed, stride, provenance
        self._harmonics = 2 * torch.pi * torch.arange(1, len(cosine) + 1, dtype=mean.dtype)

    def stride_time(self, speed: Tensor) -> Tensor:
        """Duration of one stride in s `[N]` at speeds in m/s `[N]`."""
        law = self.stride
        return (law.at_rest + law.slope * speed.abs()).clamp(law.shortest, law.longest)

    def amplitude(self, speed: Tensor) -> Tensor:
        """Factor on the motion about the mean pose `[N]` at speeds in m/s `[N]`, proportional to the stride length."""
        law = self.stride
        ratio = speed.abs() * self.stride_time(speed) / (self.speed * self.period)
        return (law.min_amplitude + (1 - law.min_amplitude) * ratio).clamp(law.min_amplitude, law.max_amplitude)

    def pose(self, phase: Tensor, command: Tensor) -> Pose:
        """Reference pose at phases `[N]` (one stride per unit) and velocity commands `[N, 3]`.

        The command is forward and sideways speed in m/s and turning rate in rad/s. The clip holds no sidestep and no
        turn: hip roll and hip yaw get the sweep that a foot fixed to the floor makes under a body that moves so.
        """
        speed = command[..., 0]
        angle = phase.unsqueeze(-1) * self._harmonics
        motion = angle.cos() @ self.cosine + angle.sin() @ self.sine
        channels = self.mean + self.amplitude(speed).unsqueeze(-1) * motion
        joints, root = channels[..., : len(JOINT_NAMES)], channels[..., len(JOINT_NAMES) :]
        direction = walking_direction(speed)
        sweep = (direction * self.stride_time(speed) / 4 * (2 * torch.pi * phase).cos()).unsqueeze(-1)
        roll, yaw = command[..., 1:2] / LEG_LENGTH * sweep, command[..., 2:3] * sweep
        nothing = torch.zeros_like(joints[..., :3])
        legs = torch.cat([yaw, roll, nothing, -yaw, -roll, nothing], dim=-1)
        return Pose(torch.cat([joints[..., :10] + legs, joints[..., 10:]], dim=-1), root)

    def save(self, path: Path | str) -> None:
        """Write the cycle as JSON, coefficients rounded to 0.01 mrad."""
        coefficients = torch.cat([self.mean.unsqueeze(0), self.cosine, self.sine])
        content = {
            "name": self.name,
            "period": self.period,
            "speed": self.speed,
            "stride": asdict(self.stride),
            "provenance": self.provenance,
            "harmonics": len(self.cosine),
            "layout": "per channel: mean, then cosine and then sine coefficients of harmonics 1..H; rad, root z in m",
            "channels": {
                name: [round(value, 5) for value in column.tolist()]
                for name, column in zip(CHANNELS, coefficients.T, strict=True)
            },
        }
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> "GaitCycle":
        """Read a cycle written by `save`.

        Raises:
            MissingFile: no such file.
            CorruptFile: not a gait cycle of this robot.
        """
        where = shown(Path(path))
        if not find(path).is_file():
            raise MissingFile(f"{where}: no such gait cycle")
        stored = from_plain(_Stored, read_json(path, limit=MAX_BYTES), where, unknown=True)
        count = stored.harmonics
        missing = [name for name in CHANNELS if len(stored.channels.get(name, ())) != 1 + 2 * count]
        if count < 1 or missing:
            raise CorruptFile(
                f"{where}: not a gait cycle of this robot: {shown(missing)} have not 1 + 2 x {count} numbers"
            )
        columns = torch.tensor([stored.channels[name] for name in CHANNELS], dtype=torch.float32)
        law = stored.stride
        sound = columns.abs().max() <= LARGEST and 0 < stored.period <= LONGEST and 0 < abs(stored.speed) <= LARGEST
        if not sound or not 0 < law.shortest <= law.longest <= LONGEST:
            raise CorruptFile(f"{where}: not a gait cycle of this robot: coefficients, times or speed are out of range")
        mean, cosine, sine = columns.T.split([1, count, count])
        return cls(
            stored.name,
            mean[0],
            cosine,
            sine,
            period=stored.period,
            speed=stored.speed,
            stride=law,
            provenance=stored.provenance,
        )


@dataclass(frozen=True)
class _Stored:
    """What `save` writes."""

    name: str
    period: float
    speed: float
    stride: StrideLaw
    provenance: dict[str, Any]
    harmonics: int
    channels: dict[str, list[float]]


def fit_cycle(
    name: str,
    samples: np.ndarray,
    *,
    period: float,
    speed: float,
    stride: StrideLaw,
    provenance: dict[str, Any],
    harmonics: int = 8,
) -> GaitCycle:
    """Fit a cycle to evenly spaced samples `[L, C]` of one stride, in the order of `CHANNELS`."""
    spectrum = np.fft.rfft(samples, axis=0) / len(samples)
    to_tensor = torch.from_numpy
    return GaitCycle(
        name,
        to_tensor(spectrum[0].real).float(),
        to_tensor(2 * spectrum[1 : harmonics + 1].real).float(),
        to_tensor(-2 * spectrum[1 : harmonics + 1].imag).float(),
        period=period,
        speed=speed,
        stride=stride,
        provenance=provenance,
    )
