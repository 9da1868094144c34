"""The Unitree H1 as a value, and its figures by the names under which the package uses them.

They come from the model file (`assets/h1.xml`); what that leaves open is said here.
"""

import numpy as np
from numpy.typing import NDArray

from mwl.robot.model import ASSETS, Contacts, Scene, build_model
from mwl.robot.spec import FRAME_SKIP, TIMESTEP, RobotSpec

__all__ = ["ASSETS", "FRAME_SKIP", "H1", "TIMESTEP", "Contacts", "Scene", "build_model"]

SOLE_HEIGHT = -0.07  # m, the flat underside of the foot in the ankle frame
FOOT_CORNERS = tuple((x, y, SOLE_HEIGHT) for x in (-0.0953, 0.1956) for y in (-0.0135, 0.0135))
"""Corners of a sole in its ankle's frame, m, as of the published foot; the hull that touches is 1.5 mm smaller."""
SHOULDER = (0.0055, 0.21, 0.42)
"""Where the left arm turns, in the pelvis frame, m: a middle of its three axes, which don't meet."""
_LEG = (0.0, 0.0, -0.4, 0.8, -0.4)  # hip yaw, roll, pitch, knee, ankle in rad

H1 = RobotSpec.from_mjcf(
    ASSETS / "plain.xml",
    "unitree_h1",
    pose=(0.0, 0.0, 0.98, 1.0, 0.0, 0.0, 0.0, *_LEG, *_LEG, *[0.0] * 9),
    sole=FOOT_CORNERS,
)
ROBOT = H1.name
CONTROL_DT = H1.control_dt
JOINT_NAMES = H1.joints
"""The 19 hinge joints in the order of actions, of `qpos[7:26]` and of `qvel[6:25]`."""

ACTION_SIZE = H1.action_size
CTRL_LOW, CTRL_HIGH = H1.ctrl_low, H1.ctrl_high
RADIANS_PER_ACTION: NDArray[np.float32] = H1.radians_per_action
"""How far an action of 1 puts a joint's target from the middle of its range, in rad `[19]`."""
ROBOT_NQ, ROBOT_NV = H1.nq, H1.nv
QPOS0: NDArray[np.float64] = H1.qpos0
"""The benchmark's reset pose: root position in m, root quaternion (wxyz), joint angles in rad."""

action_to_ctrl = H1.action_to_ctrl
ctrl_to_action = H1.ctrl_to_action
