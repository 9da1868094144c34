"""What a robot has done since a step of its plan began: how far, how much turned, how many footsteps."""

from functools import lru_cache

import torch
from torch import Tensor

from mwl.robot import frames
from mwl.robot.h1 import build_model
from mwl.robot.kinematics import FEET, PointKinematics
from mwl.simulation import get_task

STRIDE = 0.2  # m from where a foot stood to where it has made a step; nearer it was put down again, or hopped
AT_REST, ON_GROUND = 0.004, 0.01  # m in a control step that a standing foot moves; m above the lower of both feet


class Odometer:
    """Measures N robots.

    Attributes:
        home: `[N, 2]` where the episode began, m.
        start: `[N, 2]` where the step began, m.
        heading: `[N]` which way the robot was to face there, rad, as a running angle.
        turned: `[N]` rad to the left of that.
        path: `[N]` length of the way, m.
        footsteps: `[N]`.
        climbed: `[N, 2]` how far the root is above where the step began, and below the highest place since, m.
    """

    def __init__(self, root: Tensor) -> None:
        count = len(root)
        self.home, self.start, self.place = (root[:, :2].clone() for _ in range(3))
        self.heading = _yaw(root)
        self.turned, self.path = torch.zeros(count), torch.zeros(count)
        self.footsteps = torch.zeros(count, dtype=torch.int64)
        self._began, self._top, self._height = (root[:, 2].clone() for _ in range(3))
        self._feet, _ = _soles(root)
        self._stood = self._feet.clone()  # `[N, 2, 2]` where each foot has made its last step

    @property
    def travelled(self) -> Tensor:
        """Distance `[N]` from where the step began, m."""
        return (self.place - self.start).norm(dim=-1)

    @property
    def from_home(self) -> Tensor:
        """Distance `[N]` from where the episode began, m."""
        return (self.place - self.home).norm(dim=-1)

    @property
    def climbed(self) -> Tensor:
        """See above."""
        return torch.stack([self._height - self._began, self._top - self._height], dim=-1)

    def begin(self, mask: Tensor, heading: Tensor) -> None:
        """Begin anew where `mask` `[N]` holds, with the heading `[N]` that is to be kept."""
        now = self.heading + self.turned
        kept = now + frames.wrap_angle(heading - now)
        self.heading = torch.where(mask, kept, self.heading)
        self.turned = torch.where(mask, now - kept, self.turned)
        self.start = torch.where(mask.unsqueeze(-1), self.place, self.start)
        self._stood = torch.where(mask[:, None, None], self._feet, self._stood)
        self._began, self._top = (torch.where(mask, self._height, high) for high in (self._began, self._top))
        self.path, self.footsteps = self.path.masked_fill(mask, 0.0), self.footsteps.masked_fill(mask, 0)

    def update(self, root: Tensor) -> None:
        """Take in the robots' `qpos` `[N, 26]`."""
        self.path = self.path + (root[:, :2] - self.place).norm(dim=-1)
        self.place, self._height = root[:, :2].clone(), root[:, 2].clone()
        self._top = self._top.maximum(self._height)
        self.turned = self.turned + frames.wrap_angle(_yaw(root) - self.heading - self.turned)
        feet, height = _soles(root)
        stands = ((feet - self._feet).norm(dim=-1) < AT_REST) & (height < ON_GROUND)
        made = stands & ((feet - self._stood).norm(dim=-1) > STRIDE)
        self.footsteps = self.footsteps + made.sum(dim=-1)
        self._feet, self._stood = feet, torch.where(made.unsqueeze(-1), feet, self._stood)


def _soles(root: Tensor) -> tuple[Tensor, Tensor]:
    """Where the feet are `[N, 2, 2]` and how high above the lower one `[N, 2]`, m, of robots' `qpos` `[N, 26]`."""
    turned = frames.rotation_matrix(root[:, 3:7]).unsqueeze(1) @ _feet().positions(root[:, 7:26]).unsqueeze(-1)
    corners = (turned.squeeze(-1) + root[:, None, :3]).unflatten(1, (2, -1))  # the same number of corners to each foot
    height = corners[..., 2].amin(dim=-1)
    return corners[..., :2].mean(dim=2), height - height.amin(dim=-1, keepdim=True)


def _yaw(root: Tensor) -> Tensor:
    return frames.heading(frames.rotation_matrix(root[:, 3:7]))


@lru_cache(maxsize=1)
def _feet() -> PointKinematics:
    return PointKinematics(build_model(get_task("h1-stand")), FEET)
