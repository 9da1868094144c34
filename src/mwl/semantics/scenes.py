"""Pictures of the simulation's scenes: the same robots on open ground and beside whatever a task puts there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mwl.core import keys
from mwl.simulation import make_env

CAMERAS = ("follow", "side", "head")
ASPECTS = (1.0, 4 / 3, 1.5, 16 / 9)  # width over height of the pictures
ENVIRONMENTS = 16
HEIGHTS = (64, 120, 160, 240, 320, 480)  # pixels
LEAST_PIXELS, LEAST_CHANGE = 6, 30  # that change by that much, summed over channels, where a thing is in view


def render_scenes(
    ground: str, tasks: Sequence[str], count: int, size: int, seed: int, cameras: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """Pictures `[count, size, size, 3]` uint8 by task, each with the task's thing in view.

    Every picture of a task has a twin on open ground, with the same robot seen by the same camera; where the two hardly
    differ, the thing is out of view, and the picture is left out.

    Args:
        ground: task whose scene is empty.
        tasks: tasks that put something into it.
        count: pictures of each.
        size: side in pixels; pictures are drawn in other sizes and shapes and squeezed to that, as the encoder does.
        seed: of the robots' states, the targets and the doors.
        cameras: by task, those that it has besides `CAMERAS`.
    """
    generator = np.random.default_rng(seed)
    worlds: dict[str, Any] = {task: make_env(task, ENVIRONMENTS, seed=seed) for task in (ground, *tasks)}
    found: dict[str, list[Tensor]] = {task: [] for task in worlds}
    while any(len(found[task]) < count for task in tasks):
        robots = _robots(worlds[ground], generator)
        for task in tasks:
            _put(worlds[task], *robots, generator)
        for index in range(ENVIRONMENTS):
            wanted = [task for task in tasks if len(found[task]) < count]
            _pictures(worlds, wanted, ground, index, size, generator, cameras, found)
    for world in worlds.values():
        world.close()
    return {task: torch.stack(pictures[:count]) for task, pictures in found.items()}


def _pictures(
    worlds: dict[str, Any],
    wanted: Sequence[str],
    ground: str,
    index: int,
    size: int,
    generator: np.random.Generator,
    cameras: Mapping[str, Sequence[str]],
    found: dict[str, list[Tensor]],
) -> None:
    """Add one robot's picture of every scene that is still wanted, seen by one camera drawn at random."""
    height = int(generator.choice(HEIGHTS))
    width = round(height * generator.choice(ASPECTS))
    camera = str(generator.choice(CAMERAS))
    empty = worlds[ground].render(index, width, height, camera, backend="raycast")
    found[ground].append(squeeze(empty, size))
    for task in wanted:
        if generator.random() < 0.2 and cameras.get(task):
            own = str(generator.choice(list(cameras[task])))
            picture = worlds[task].render(index, width, height, own, backend="raycast")
            found[task].append(squeeze(picture, size))
            continue
        picture = worlds[task].render(index, width, height, camera, backend="raycast")
        if differ(picture, empty):
            found[task].append(squeeze(picture, size))


def differ(picture: np.ndarray, twin: np.ndarray) -> bool:
    """Whether something is to be seen in a picture `[H, W, 3]` that its twin without it lacks."""
    gap = np.abs(picture.astype(int) - twin.astype(int)).sum(axis=-1)
    return int((gap > LEAST_CHANGE).sum()) >= LEAST_PIXELS


def squeeze(picture: np.ndarray, size: int) -> Tensor:
    """A picture `[H, W, 3]` uint8 as `[size, size, 3]` uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0).float()
    if pixels.shape[-2:] != (size, size):
        pixels = torch.nn.functional.interpolate(
            pixels, (size, size), mode="bilinear", antialias=True, align_corners=False
        )
    return pixels[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _robots(env: Any, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """States `(qpos [N, nq], qvel [N, nv])` of pushed robots, half of them put elsewhere and turned."""
    state = env.reset()
    for _ in range(int(generator.integers(1, 15))):
        pushes = 0.3 * generator.standard_normal((ENVIRONMENTS, env.action_spec.shape[-1]))
        state[keys.ACTION] = torch.from_numpy(pushes).float()
        state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
    qpos, qvel = (part.numpy() for part in env.state)
    qpos[:, 7:] += 0.1 * generator.standard_normal((ENVIRONMENTS, qpos.shape[1] - 7))
    moved = generator.random(ENVIRONMENTS) < 0.5
    place = generator.uniform((-1.0, -0.3), (0.15, 0.3), (ENVIRONMENTS, 2))
    qpos[moved, :2] += place[moved]
    heading = np.where(moved, generator.normal(0.0, 0.5, ENVIRONMENTS), 0.0)
    qpos[:, 3:7] = _turned(heading, qpos[:, 3:7])
    env.set_state(qpos, qvel)
    return qpos, qvel


def _turned(heading: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Quaternions `[N, 4]` wxyz, turned about the vertical by angles `[N]` in rad."""
    c, s = np.cos(heading / 2), np.sin(heading / 2)
    w, x, y, z = quaternion.T
    return np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=-1)


def _put(env: Any, qpos: np.ndarray, qvel: np.ndarray, generator: np.random.Generator) -> None:
    """Put robots into a scene at the start of its own episode; what else moves there is anywhere in its range."""
    env.reset()
    own, _ = (part.numpy() for part in env.state)
    robot, count = qpos.shape[1], own.shape[1] - qpos.shape[1]
    own[:, :robot] = qpos
    if count and env.model.nq - env.model.njnt == 6:  # but for the robot's base, hinges and slides alone
        low, high = env.model.jnt_range[-count:].T
        share = generator.random((ENVIRONMENTS, count)) * (generator.random((ENVIRONMENTS, 1)) < 0.5)
        own[:, robot:] = low + share * (high - low)
    speed = np.zeros((ENVIRONMENTS, env.model.nv))
    speed[:, : qvel.shape[1]] = qvel
    env.set_state(own, speed)
