"""Reaching without a step: balance about poses from upright to bent down, and inverse kinematics of the left arm."""

from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np
import torch
from torch import Tensor

from mwl.demonstrators.lqr import PROVENANCE, LQRConfig, noise_scale
from mwl.demonstrators.squat import Squat
from mwl.robot import frames, h1
from mwl.robot.h1 import CONTROL_DT, CTRL_HIGH, CTRL_LOW, FRAME_SKIP, JOINT_NAMES, QPOS0, ctrl_to_action
from mwl.robot.kinematics import HANDS, PointKinematics

CHAIN = slice(JOINT_NAMES.index("torso"), JOINT_NAMES.index("left_elbow") + 1)  # waist, shoulder (3), elbow
TARGET_BOX = ((0.05, 0.6), (-0.25, 0.7), (-0.8, 0.7))  # m relative to the upright pelvis: ahead, to the left, up
_LEGS = ((0.0, 0.25), (-0.3, 0.3))  # m; between and before them a bent robot has its knees
SHOULDER = torch.tensor(h1.SHOULDER)
BODY_RADIUS = 0.25  # m about the trunk's axis: nearer points lie within the body or behind its surface
_DAMPING = 0.05
_COMFORTABLE_ARM = torch.tensor([0.0, -0.6, 0.8, -0.8, 0.3])  # rad, elbow out: from here few poses meet the trunk
_NARROWED = {
    "torso": (-0.35, 0.35),
    "left_shoulder_roll": (0.05, 3.1),
}  # rad; further in, the upper arm meets the trunk
_COMFORT_GAIN = 0.1  # the two spare freedoms are drawn towards the comfortable pose
FARTHEST = 3.0  # times as far from the shoulder as targets within reach
_SAG = 0.03  # depth that a bent robot rests short of what is asked of it
_BENT = 2 * _SAG  # nearer than this it has bent as far as it will
_JOINT_MARGIN = 0.02  # rad kept from the ends of the arm's range


class HandKinematics:
    """Left-hand position and its Jacobian over waist and arm, batched."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._points = PointKinematics(model, HANDS[:1])

    def position(self, joints: Tensor) -> Tensor:
        """Hand `[N, 3]` in the pelvis frame, in m, at joint angles `[N, 19]` in rad."""
        return self._points.positions(joints)[:, 0]

    def linearised(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Hand `[N, 3]` in m, and its derivative `[N, 3, 5]` by the angles of waist and arm, m/rad, by differences."""
        step = 1e-3
        moved = joints + step * torch.eye(joints.shape[-1])[CHAIN].unsqueeze(1)  # [5, N, 19]
        # all in one call: it is the number of operations that costs
        hands = self.position(torch.cat([joints.unsqueeze(0), moved]).flatten(0, 1)).unflatten(0, (-1, len(joints)))
        return hands[0], (hands[1:] - hands[0]).permute(1, 2, 0) / step

    def arm_step(self, joints: Tensor, target: Tensor) -> Tensor:
        """Damped least-squares change of waist and arm `[N, 5]` in rad that moves the hand to targets `[N, 3]` in m."""
        hand, jacobian = self.linearised(joints)
        normal = jacobian @ jacobian.transpose(-1, -2) + _DAMPING**2 * torch.eye(3)
        inverse = torch.linalg.solve(normal, jacobian).transpose(-1, -2)  # [N, 5, 3]
        comfort = (_COMFORTABLE_ARM - joints[:, CHAIN]).clamp(-1, 1).unsqueeze(-1)
        free = comfort - inverse @ (jacobian @ comfort)
        return (inverse @ (target - hand).unsqueeze(-1) + _COMFORT_GAIN * free).squeeze(-1)

    def solve(self, target: Tensor, iterations: int = 100) -> tuple[Tensor, Tensor]:
        """Arm pose for targets `[N, 3]` in the pelvis frame: joint angles `[N, 5]` and remaining error `[N]` in m."""
        joints = torch.tensor(QPOS0[7:26], dtype=torch.float32).repeat(len(target), 1)
        joints[:, CHAIN] = _COMFORTABLE_ARM
        for _ in range(iterations):
            joints[:, CHAIN] = _within_range(joints[:, CHAIN] + self.arm_step(joints, target).clamp(-0.3, 0.3))
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
    """Random left-hand targets `[count, 3]` that can be reached without a step, relative to the upright pelvis, in m.

    Drawn evenly from `TARGET_BOX` outside trunk and legs; kept where the arm's inverse kinematics comes within 5 mm
    from a pose bent as far as the target's height asks for.
    """
    kinematics, squat = HandKinematics(model), Squat(model, FRAME_SKIP, LQRConfig())
    low, high = torch.tensor(TARGET_BOX).T
    kept = torch.empty(0, 3)
    while len(kept) < count:
        candidates = low + (high - low) * torch.rand(4 * count, 3, generator=generator)
        depth = (squat.needed(candidates[:, 2] + float(QPOS0[2])) - _SAG).clamp(min=0)
        seen = squat.seen_from(depth, torch.zeros(len(candidates)), candidates)
        _, error = kinematics.solve(seen)
        trunk = seen[:, :2].norm(dim=-1) < BODY_RADIUS
        (_, ahead), (right, left) = _LEGS
        legs = (depth > 0) & (candidates[:, 0] < ahead) & (candidates[:, 1] > right) & (candidates[:, 1] < left)
        kept = torch.cat([kept, candidates[~trunk & ~legs & (error < 0.005)]])
    return kept[:count]


@dataclass(frozen=True)
class ReachConfig:
    """How the hand moves, and how often it is sent elsewhere."""

    gain: ClassVar[float] = 0.6
    """Share of the arm's remaining way that its servo targets lead ahead of it."""
    max_lead: ClassVar[float] = 0.35
    """Longest such lead in rad (norm over the arm's joints); it limits the arm's speed."""
    retarget_interval: float = 0.0
    """Mean time in s between new targets within an episode; 0 keeps the first."""
    beyond_share: ClassVar[float] = 0.2
    """Share of random targets moved further from the shoulder, most of them a little, so that the edge lies inside."""
    max_bend: ClassVar[float] = 0.12
    """Longest lead of the pose that is held over the robot's own, in depth; it limits how fast the robot bends."""
    balance: ClassVar[LQRConfig] = LQRConfig()
    seed: ClassVar[int] = 0  # of the random targets


class Reach:
    """Demonstrator that brings its left hand to a target fixed in the world without a step, bent down where it is low.

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
        self._squat = Squat(model, frame_skip, self.config.balance)
        self._kinematics = HandKinematics(model)
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self._pool = None if targets is not None and not self._moves else self._draw_pool(model)
        self._aimed = targets
        self.targets = torch.zeros(0, 3)
        self._solution, self._unsolved = torch.zeros(0, 5), torch.zeros(0, dtype=torch.bool)
        self._model, self._data = model, mujoco.MjData(model)
        self.noise_scale = noise_scale(model, self.config.balance)

    @property
    def _moves(self) -> bool:
        return self.config.retarget_interval > 0

    def reset(self, observation: Tensor, mask: Tensor | None = None) -> None:
        """Begin anew, with new targets if they are random, where `mask` `[N]` holds."""
        count = len(observation)
        if mask is None or len(self.targets) != count:
            mask = torch.ones(count, dtype=torch.bool)
            self.targets, self._solution = torch.zeros(count, 3), torch.zeros(count, 5)
            self._unsolved = mask
        self._aim(mask, self._random(observation) if self._aimed is None else self._aimed)

    def aim(self, targets: Tensor, mask: Tensor | None = None) -> None:
        """Reach for these world positions `[N, 3]` in m from the next reset on, or at once where `mask` `[N]` holds."""
        self._aimed = targets
        if mask is not None:
            self._aim(mask, targets)

    def _aim(self, mask: Tensor, targets: Tensor) -> None:
        self.targets = torch.where(mask.unsqueeze(-1), targets, self.targets)
        self._unsolved = self._unsolved | mask

    def _draw_pool(self, model: mujoco.MjModel, size: int = 1024) -> Tensor:
        """Targets `[size, 3]` from the upright pelvis: reachable ones, and a share beyond in their directions."""
        pool = reachable_targets(model, size, self._generator)
        beyond = torch.rand(size, 1, generator=self._generator) < self.config.beyond_share
        further = 1 + (FARTHEST - 1) * torch.rand(size, 1, generator=self._generator).square()
        targets = torch.where(beyond, SHOULDER + further * (pool - SHOULDER), pool)
        targets[:, 2].clamp_(min=-float(QPOS0[2]))  # none below the floor
        return targets

    def _random(self, observation: Tensor) -> Tensor:
        """Targets `[N, 3]` in the world around robots at `[N, O]`, drawn from the pool."""
        assert self._pool is not None
        drawn = self._pool[torch.randint(len(self._pool), (len(observation),), generator=self._generator)]
        qpos = observation[:, :26]
        depth = self._squat.of(qpos)
        upright = self._squat.pelvis(torch.zeros_like(depth)) - self._squat.pelvis(depth)
        yaw = frames.heading(frames.rotation_matrix(qpos[:, 3:7]))
        return qpos[:, :3] + frames.to_heading(-yaw, drawn + upright)

    def _refine(self, joints: Tensor, target: Tensor) -> None:
        """Bring the arm's pose up to date with targets `[N, 3]` in the frame that the pelvis will have."""
        if self._unsolved.any():
            self._solution[self._unsolved], _ = self._kinematics.solve(target[self._unsolved])
            self._unsolved = torch.zeros_like(self._unsolved)
        pose = joints.clone()
        pose[:, CHAIN] = self._solution
        step = self._kinematics.arm_step(pose, target)
        self._solution = _within_range(self._solution + step.clamp(-0.1, 0.1))

    def act(self, observation: Tensor) -> Tensor:
        """Action `[N, 19]` in [-1, 1] at benchmark observations `[N, O]`."""
        if self._moves:
            chance = torch.rand(len(observation), generator=self._generator)
            self._aim(chance < CONTROL_DT / self.config.retarget_interval, self._random(observation))
        qpos = observation[:, :26]
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        offset = self.targets - qpos[:, :3]
        self.command = frames.to_heading(frames.heading(rotation), offset)
        joints, depth = qpos[:, 7:26], self._squat.of(qpos)
        ahead = (self._squat.needed(self.targets[:, 2]) - depth).clamp(-self.config.max_bend, self.config.max_bend)
        self._refine(joints, self._seen(self.command, rotation, depth))
        lead = self.config.gain * (self._solution - joints[:, CHAIN])
        lead = lead * (self.config.max_lead / lead.norm(dim=-1, keepdim=True).clamp(min=self.config.max_lead))
        arm = _within_range(joints[:, CHAIN] + lead) + self._arm_sag(qpos)
        targets = self._squat.control(observation, depth + ahead, deliberate=CHAIN)
        targets[:, CHAIN] = arm.numpy()
        return torch.from_numpy(ctrl_to_action(targets)).clamp(-1, 1)

    def _seen(self, command: Tensor, rotation: Tensor, depth: Tensor) -> Tensor:
        """Targets `[N, 3]` as the pelvis will see them once it has bent as far as they need, in m.

        Where the robot has all but bent so far, as it sees them now: it comes to rest a little higher than it should.
        """
        left = self._squat.needed(self.targets[:, 2]) - depth
        left = left.sign() * (left.abs() - _BENT).clamp(min=0)
        return self._squat.seen_from(depth + left, depth, command, rotation)

    def miss(self, observation: Tensor, targets: Tensor) -> Tensor:
        """How far from targets `[N, 3]` (world, m) the hands of robots at `[N, O]` would end, `[N]` in m."""
        qpos = observation[:, :26]
        rotation = frames.rotation_matrix(qpos[:, 3:7])
        relative = frames.to_heading(frames.heading(rotation), targets - qpos[:, :3])
        needed = self._squat.needed(targets[:, 2])
        return self._kinematics.solve(self._squat.seen_from(needed, self._squat.of(qpos), relative), 40)[1]

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
        return {**PROVENANCE, "method": "linear-quadratic regulator and inverse kinematics of the left arm"}
