"""The Unitree G1 as a value: a second robot, of 29 joints and half a metre less, for whatever takes a `RobotSpec`."""

from pathlib import Path

from mwl.robot.spec import Names, RobotSpec

SCENE = Path(__file__).parent / "assets" / "g1_plain.xml"
_LEG = (-0.2, 0.0, 0.0, 0.4, -0.2, 0.0)  # hip pitch, roll, yaw, knee, ankle pitch, roll in rad
_ARM = (
    0.2,
    0.2,
    0.0,
    1.28,
    0.0,
    0.0,
    0.0,
)  # shoulder pitch, roll, yaw, elbow, wrist roll, pitch, yaw: as its key `stand`

G1 = RobotSpec.from_mjcf(
    SCENE,
    "unitree_g1",
    pose=(0.0, 0.0, 0.776, 1.0, 0.0, 0.0, 0.0, *_LEG, *_LEG, 0.0, 0.0, 0.0, *_ARM, _ARM[0], -_ARM[1], *_ARM[2:]),
    names=Names(
        hip="{side}_hip_pitch_joint",
        knee="{side}_knee_joint",
        ankle="{side}_ankle_pitch_joint",
        foot="{side}_ankle_roll_link",
        shoulder="{side}_shoulder_pitch_joint",
        arm_out="{side}_shoulder_roll_joint",
        elbow="{side}_elbow_joint",
        forearm="{side}_wrist_yaw_link",
    ),
    hand=(0.0415, 0.003, 0.0),
)
