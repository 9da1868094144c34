"""Reaching while standing: the balance controller plus inverse kinematics of the left arm with integral action."""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.motion import frames
from mwl.motion.kinematics import HANDS, PointKinematics
from mwl.motion.lqr import LQRConfig, LQRStand
from mwl.simulation.robot import CONTROL_DT, CTRL_HIGH, CTRL_LOW, JOINT_NAMES, QPOS0, ctrl_to_action

CHAIN = slice(JOINT_NAMES.index("torso"), JOINT_NAMES.index("left_elbow") + 1)  # waist, shoulder (3), elbow
TARGET_BOX = ((0.05, 0.6), (-0.25, 0.7), (-0.3, 0.7))  # m relative to the pelvis: ahead, to the left, up
SHOULDER = torch.tensor([0.0055, 0.21, 0.42])  # m relative to the pelvis
BODY_RADIUS = 0.25  # m about the trunk's axis: nearer points lie within the body or behind its surface
_DAMPING = 0.05
_COMFORTABLE_ARM = torch.tensor([0.0, -0.6, 0.8, -0.8, 0.3])  # rad, elbow out: from here few poses meet the trunk
_NARROWED = {
    "torso": (-0.35, 0.35),
    "left_shoulder_roll": (0.05, 3.1),
}  # rad; further in, the upper arm meets the trunk
_COMFORT_GAIN = 0.1  # the two spare freedoms are drawn towards the comfortable pose
_JOINT_MARGIN = 0.02  # rad kept from the ends of the arm's range


class HandKinematics:
    """Left-hand position and its Jacobian over waist and arm, batched."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._points = PointKinematics(model, HANDS[:1])

    def position(self, joints: Tensor) -> Tensor:
        """Hand `[N, 3]` in the pelvis frame, in m, at joint angles `[N, 19]` in rad."""
        return self._points.positions(joints)[:, 0]

    def jacobian(self, joints: Tensor) -> Tensor:
        """Derivative `[N, 3, 5]` of the hand's position by the angles of waist and arm, m/rad."""
        step, arm = 1e-3, range(CHAIN.start, CHAIN.stop)
        hand = self.position(joints)
        moved = [self.position(joints + step * torch.eye(joints.shape[-1])[joint]) - hand for joint in arm]
        return torch.stack(moved, dim=-1) / step

    def arm_step(self, joints: Tensor, error: Tensor) -> Tensor:
        """Damped least-squares change of waist and arm `[N, 5]` in rad that moves the hand by `error` `[N, 3]` in m."""
        jacobian = self.jacobian(joints)
        normal = jacobian @ jacobian.transpose(-1, -2) + _DAMPING**2 * torch.eye(3)
        inverse = torch.linalg.solve(normal, jacobian).transpose(-1, -2)  # [N, 5, 3]
        comfort = (_COMFORTABLE_ARM - joints[:, CHAIN]).clamp(-1, 1).unsqueeze(-1)
        free = comfort - inverse @ (jacobian @ comfort)
        return (inverse @ error.unsqueeze(-1) + _COMFORT_GAIN * free).squeeze(-1)

    def solve(self, target: Tensor, iterations: int = 100) -> tuple[Tensor, Tensor]:
        """Arm pose for targets `[N, 3]` in the pelvis frame: joint angles `[N, 5]` and remaining error `[N]` in m."""
        joints = torch.tensor(QPOS0[7:26], dtype=torch.float32).repeat(len(target), 1)
        joints[:, CHAIN] = _COMFORTABLE_ARM
        for _ in range(iterations):
            error = target - self.position(joints)
            arm = joints[:, CHAIN] + self.arm_step(joints, error).clamp(-0.3, 0.3)
            joints[:, CHAIN] = _within_range(arm)
        return joints[:, CHAIN], (target - self.position(joints)).norm(dim=-1)


def _chain_range() -> tuple[Tensor, Tensor]:
    """Lowest and highest angles `[5]` of waist and arm that inverse kinematics may use, in rad."""
    names = JOINT_NAMES[CHAIN]
    servo = zip(CTRL_LOW[CHAIN] + _JOINT_MARGIN, CTRL_HIGH[CHAIN] - _JOINT_MARGIN, strict=True)
    low, high = zip(*(_NARROWED.get(name, limits) for name, limits in zip(names, servo, strict=True)), strict=True)
    return torch.tensor([float(x) for x in low]), torch.tensor([float(x) for x in high])


_LOW, _HIGH = _chain_range()


def _within_range(arm: Tensor) -> Tensor:
    return arm.clamp(_LOW, _HIGH)


def reachable_targets(model: mujoco.MjModel, count: int, generator: torch.Generator) -> Tensor:
    """Random left-hand targets `[count, 3]` that can be reached standing, relative to the pelvis, in m.

    Drawn evenly from `TARGET_BOX` outside the trunk; kept where the arm's inverse kinematics comes within 5 mm.
    """
    kinematics = HandKinematics(model)
    low, high = torch.tensor(TARGET_BOX).T
    kept = torch.empty(0, 3)
    while len(kept) < count:
        candidates = low + (high - low) * torch.rand(4 * count, 3, generator=generator)
        _, error = kinematics.solve(candidates)
        outside = candidates[:, :2].norm(dim=-1) > BODY_RADIUS
        kept = torch.cat([kept, candidates[outside & (error < 0.005)]])
    return kept[:count]


@dataclass(frozen=True)
class ReachConfig:
    """How the hand moves, and how often it is sent elsewhere."""

    gain: float = 0.6
    """Share of the arm's remaining way that its servo targets lead ahead of it."""
    max_lead: float = 0.35
    """Longest such lead in rad (norm over the arm's joints); it limits the arm's speed."""
    retarget_interval: float = 0.0
    """Mean time in s between new targets within an episode; 0 keeps the first."""
    beyond_share: float = 0.2
    """Share of random targets moved a quarter further from the shoulder, so that the edge of the reach lies inside."""
    balance: LQRConfig = field(default_factory=lambda: LQRConfig(knee=0.8, poses=2))
    """The reset's own bent knees: the robot stays at the height at which its targets were drawn."""
    seed: int = 0


class Reach:
    """Demonstrator that stands and brings its left hand to a target fixed in the world.

    Inverse kinematics from a fixed pose gives every target one arm pose, refined at each step for the body's lean; the
    arm's servo targets lead the arm towards it and carry its weight, so that no steady error remains. They depend on
    the present state and target alone, which makes them easy to clone. The rest of the body balances.

    Args:
        model: the benchmark's robot model; frame_skip: physics steps per control step.
        config: speed of the hand, balance, and seed of the random targets.
        targets: world positions `[N, 3]` in m; None draws reachable ones.
    """

    name = "reach"

    def __init__(
        self,
        model: mujoco.MjModel,
        frame_skip: int,
        config: ReachConfig | None = None,
        targets: Tensor | None = None,
    ) -> None:
        self.config = config or ReachConfig()
        self.command: Tensor | None = None
        self._stand = LQRStand(model, frame_skip, self.config.balance)
        self._kinematics = HandKinematics(model)
        self._generator = torch.Generator().manual_seed(self.config.seed)
        pelvis = torch.tensor(QPOS0[:3], dtype=torch.float32)
        self._pool = pelvis + self._draw_pool(model) if targets is None else targets
        self._random = targets is None
        self.targets = self._pool
        self._solution = torch.zeros(len(self._pool), 5)
        self._unsolved = torch.ones(len(self._pool), dtype=torch.bool)
        self._model, self._data = model, mujoco.MjData(model)
        self.noise_scale = self._stand.noise_scale

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew, with new targets if they are random, where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self.targets) != count:
            mask = torch.ones(count, dtype=torch.bool)
            self.targets = self._draw(count)
            self._solution, self._unsolved = torch.zeros(count, 5), mask
        self._stand.reset(observation, mask)
        self._retarget(mask)

    def aim(self, targets: Tensor) -> None:
        """Reach for these world positions `[N, 3]` in m from the next reset on."""
        self._pool, self._random = targets, False
        self.targets = targets[:0]

    def _draw_pool(self, model: mujoco.MjModel, size: int = 1024) -> Tensor:
        """Targets `[size, 3]` relative to the pelvis: reachable ones, and a share beyond in their directions."""
        pool = reachable_targets(model, size, self._generator)
        beyond = torch.rand(size, 1, generator=self._generator) < self.config.beyond_share
        return torch.where(beyond, SHOULDER + 1.25 * (pool - SHOULDER), pool)

    def _draw(self, count: int) -> Tensor:
        if not self._random:
            return self._pool
        return self._pool[torch.randint(len(self._pool), (count,), generator=self._generator)]

    def _retarget(self, mask: Tensor) -> None:
        self.targets = torch.where(mask.unsqueeze(-1), self._draw(len(mask)), self.targets)
        self._unsolved = self._unsolved | mask

    def _refine(self, joints: Tensor, target: Tensor) -> None:
        """Bring the arm's pose up to date with targets `[N, 3]` in the pelvis frame."""
        if self._unsolved.any():
            self._solution[self._unsolved], _ = self._kinematics.solve(target[self._unsolved])
            self._unsolved = torch.zeros_like(self._unsolved)
        pose = joints.clone()
        pose[:, CHAIN] = self._solution
        step = self._kinematics.arm_step(pose, target - self._kinematics.position(pose))
        self._solution = _within_range(self._solution + step.clamp(-0.1, 0.1))

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]`."""
        if self.config.retarget_interval > 0:
            chance = CONTROL_DT / self.config.retarget_interval
            self._retarget(torch.rand(len(observation), generator=self._generator) < chance)
        qpos = observation[:, :26]
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        offset = self.targets - qpos[:, :3]
        self.command = frames.to_heading(frames.heading(rotation), offset)
        joints = qpos[:, 7:26]
        self._refine(joints, frames.to_body(rotation, offset))
        lead = self.config.gain * (self._solution - joints[:, CHAIN])
        lead = lead * (self.config.max_lead / lead.norm(dim=-1, keepdim=True).clamp(min=self.config.max_lead))
        arm = _within_range(joints[:, CHAIN] + lead) + self._arm_sag(qpos)
        targets = self._stand.control(observation.double().numpy(), deliberate=CHAIN)
        targets[:, CHAIN] = arm.numpy()
        return torch.from_numpy(ctrl_to_action(targets)).clamp(-1, 1)

    def executed(self, action: Tensor) -> None:
        """Nothing to remember: the controller acts on the state alone."""

    def _arm_sag(self, qpos: Tensor) -> Tensor:
        """How far the arm's servos `[N, 5]` give way under the arm's weight, in rad, in poses `[N, 26]`."""
        data, model = self._data, self._model
        torque = np.zeros((len(qpos), model.nv))
        data.qvel[:] = 0
        for i, pose in enumerate(qpos.double().numpy()):
            data.qpos[:26] = pose
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_comVel(model, data)
            mujoco.mj_rne(model, data, 0, torque[i])
        arm = slice(6 + CHAIN.start, 6 + CHAIN.stop)
        return torch.from_numpy(torque[:, arm] / model.actuator_gainprm[CHAIN, 0]).float()

    def describe(self) -> dict[str, Any]:
        """Provenance: computed from the robot model, no data and no training."""
        return {**self._stand.describe(), "method": "linear-quadratic regulator and inverse kinematics of the left arm"}
