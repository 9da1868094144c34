"""A BVH file of a person who walks straight ahead at 1 m/s, in whatever spelling a test wants."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

LEG = 0.84  # m, hip to ankle: the robot's is 0.8, so that it walks at 0.8 / 0.84 m/s
SPEED = 1.0
BODY = {  # joint: parent and offset in m, y up, looking along z, left along x
    "Hips": ("", (0, 0, 0)),
    "Spine": ("Hips", (0, 0.15, 0)),
    **{
        f"{side}{name}": (parent.format(side), (sign * x, y, 0))
        for side, sign in (("Left", 1), ("Right", -1))
        for name, parent, x, y in (
            ("Shoulder", "Spine", 0.03, 0.33),
            ("Arm", "{}Shoulder", 0.15, 0),
            ("ForeArm", "{}Arm", 0.28, 0),
            ("Hand", "{}ForeArm", 0.25, 0),
            ("UpLeg", "Hips", 0.09, 0),
            ("Leg", "{}UpLeg", 0, -0.42),
            ("Foot", "{}Leg", 0, -0.42),
        )
    },
}


def write_bvh(
    path: Path,
    *,
    up: str = "y",
    moves: str = "XYZ",
    turns: str = "ZXY",
    unit: float = 1.0,
    fps: float = 30.0,
    seconds: float = 2.0,
    frame_time: str | None = None,
    above: bool = False,
    rest_pose: bool = False,
    all_move: bool = False,
    named: Callable[[str], str] = str,
    spelt: Callable[[str], str] = str,
    newline: str = "\n",
    encoding: str = "utf-8",
) -> Path:
    """Write the walk.

    Args:
        path: file to write.
        up: axis that points up, `y` or `z`.
        moves, turns: order of the root's positions and of all rotations.
        unit: m per unit of length.
        fps: frames per second; frame_time: what the file says instead.
        above: the root is a joint above the hips, and the path is the hips'.
        rest_pose: the first frame is no part of the motion.
        all_move: every joint has positions, and they stand for the offsets.
        named: spelling of joints; spelt: spelling of keywords and channels.
        newline, encoding: of the text.
    """
    body = {**({"Reference": ("", (0, 0, 0))} if above else {}), **BODY}
    if above:
        body["Hips"] = ("Reference", (0, 0.8, 0))
    root = next(iter(body))
    hips, angles = _walk(np.arange(round(fps * seconds)) / fps)

    def turned(vector: np.ndarray) -> np.ndarray:
        return np.stack([vector[..., 0], -vector[..., 2], vector[..., 1]], -1) if up == "z" else vector

    lines, columns = [spelt("HIERARCHY")], []

    def describe(joint: str, depth: int) -> None:
        parent, offset = body[joint]
        place = turned(np.array(offset, dtype=float)) / unit
        kinds = [f"{axis}rotation" for axis in turns]
        if joint == root or joint == "Hips" or all_move:
            kinds = [f"{axis}position" for axis in moves] + kinds
        track = turned(hips) / unit if joint == "Hips" else np.broadcast_to(place, hips.shape)
        turn = turned(angles.get(joint, np.zeros(hips.shape)))
        columns.extend(
            track[:, "XYZ".index(kind[0])] if kind.endswith("position") else np.degrees(turn[:, "XYZ".index(kind[0])])
            for kind in kinds
        )
        shown = np.zeros(3) if joint == root or all_move else place
        below = [name for name, (above_it, _) in body.items() if above_it == joint]
        lines.append("\t" * depth + spelt("JOINT" if parent else "ROOT") + " " + named(joint))
        lines.append("\t" * depth + "{")
        lines.append("\t" * depth + spelt("OFFSET") + " " + " ".join(f"{number:.6f}" for number in shown))
        lines.append("\t" * depth + spelt("CHANNELS") + f" {len(kinds)} " + " ".join(map(spelt, kinds)))
        for name in below:
            describe(name, depth + 1)
        if not below:
            lines.append(spelt("End Site") + " { " + spelt("OFFSET") + " 0 0 0 }")
        lines.append("\t" * depth + "}")

    describe(root, 0)
    table = np.stack(columns, axis=1)
    if rest_pose:
        table = np.concatenate([np.zeros((1, table.shape[1])), table])
    lines += [spelt("MOTION"), f"{spelt('Frames:')} {len(table)}", f"{spelt('Frame Time:')} {frame_time or 1 / fps}"]
    lines += [" ".join(f"{number:.5f}" for number in row) for row in table]
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    return path


def _walk(times: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Path of the hips `[T, 3]` and rotations `{joint: [T, 3]}` in rad about x, y and z, one stride a second."""
    height, nothing = 0.80, np.zeros(len(times))
    angles = {}
    for side, sign, begin in (("Left", 1, 0.0), ("Right", -1, 0.5)):
        stride, phase = np.divmod(times + begin, 1.0)
        swing = np.clip((phase - 0.6) / 0.4, 0, 1)
        ahead = stride - begin + 0.3 + swing**2 * (3 - 2 * swing) - times  # m, of the foot before the hip
        down = height - 0.12 * np.sin(np.pi * swing)
        reach = np.hypot(ahead, down)
        bend = 2 * np.arccos(np.clip(reach / LEG, 0, 1))
        thigh = -np.arctan2(ahead, down) - bend / 2
        for joint, angle in (("UpLeg", thigh), ("Leg", bend), ("Foot", -thigh - bend)):
            angles[side + joint] = np.stack([angle, nothing, nothing], axis=1)
        angles[f"{side}Arm"] = np.stack([nothing, nothing, nothing - sign * 1.4], axis=1)
    return np.stack([nothing, nothing + height, SPEED * times], axis=1), angles
