"""Pictures without OpenGL: that the robot is in them, in colour, where it should be."""

import mujoco
import numpy as np
import pytest

from mwl.core.errors import BadInput, MissingDependency
from mwl.robot.h1 import build_model
from mwl.simulation import get_task, make_env
from mwl.simulation.rendering.raycast import RayCaster
from mwl.simulation.rendering.renderer import chosen_backend
from mwl.simulation.rendering.viewer import watch


def test_the_robot_is_in_the_picture() -> None:
    env = make_env("h1-walk", num_envs=1)
    env.reset()
    with_robot = env.render(width=96, height=64, camera="side", backend="raycast").astype(int)
    qpos, qvel = env.state
    qpos[0, 0] += 50.0  # cameras follow: the same picture, on another tile of the floor
    env.set_state(qpos, qvel)
    moved = env.render(width=96, height=64, camera="side", backend="raycast").astype(int)

    assert with_robot.shape == (64, 96, 3)
    middle = (slice(8, 60), slice(36, 60))
    assert with_robot[middle].std() > 30  # shell, joints and shadow stand out
    assert np.abs(with_robot[middle] - moved[middle]).mean() < 15


def test_pictures_are_the_same_every_time() -> None:
    pictures = []
    for _ in range(2):
        env = make_env("h1-door", num_envs=1, seed=2)
        env.reset()
        pictures.append(env.render(width=60, height=40, backend="raycast"))
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("camera", ["follow", "side", "head"])
def test_cameras_differ(camera: str) -> None:
    env = make_env("h1-door", num_envs=1)
    env.reset()
    own = env.render(width=60, height=40, backend="raycast")
    assert not np.array_equal(own, env.render(width=60, height=40, camera=camera, backend="raycast"))


def test_the_goal_is_drawn_where_it_is() -> None:
    env = make_env("h1-reach", num_envs=1)
    env.reset()
    qpos, qvel = env.state
    reds = []
    for height in (0.6, 1.4):
        env.set_state(qpos, qvel, goal=[[0.3, -0.6, height]])
        picture = env.render(width=96, height=64, camera="side", backend="raycast").astype(int)
        red = (picture[..., 0] > 120) & (picture[..., 1] < 80)
        reds.append(np.nonzero(red)[0].mean())
    assert reds[1] < reds[0]  # rows count from the top


def test_unknown_camera_and_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("h1-walk", num_envs=1)
    with pytest.raises(BadInput, match="cameras: side, follow, head"):
        env.render(camera="top")
    monkeypatch.setenv("MWL_RENDERER", "vulkan")
    with pytest.raises(BadInput, match="MWL_RENDERER"):
        env.render()


@pytest.mark.parametrize(("works", "chosen"), [(True, "egl"), (False, "raycast")])
def test_opengl_that_mujoco_is_told_to_use_is_used_where_it_works(
    monkeypatch: pytest.MonkeyPatch, works: bool, chosen: str
) -> None:
    monkeypatch.delenv("MWL_RENDERER", raising=False)
    monkeypatch.setattr("mwl.simulation.rendering.renderer.works", lambda backend: works)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert chosen_backend() == chosen
    monkeypatch.setenv("MWL_RENDERER", "osmesa")
    assert chosen_backend() == "osmesa", "what is said of this package alone goes first"


@pytest.mark.parametrize("task", ["h1-walk", "h1-door", "h1-maze", "h1-stair", "h1-slide"])
def test_rays_that_are_saved_would_have_shown_nothing_else(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(task, num_envs=1, seed=1)
    env.reset()
    model = build_model(env.task, visual=True)
    for camera in [model.camera(i).name for i in range(model.ncam)]:
        quick = env.render(width=150, height=100, camera=camera, backend="raycast").astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(RayCaster, "_covered", lambda *_: np.ones(15_000, bool))
            whole = env.render(width=150, height=100, camera=camera, backend="raycast").astype(int)
        # single pixels on an edge may fall to either side of it in float32: 3 of 15,000 at the most
        assert np.count_nonzero(np.abs(quick - whole).max(axis=-1) > 1) <= 3


@pytest.mark.parametrize("task", ["h1-door", "h1-maze", "h1-stair", "h1-slide", "h1-pole"])
def test_a_large_picture_shows_what_drawing_every_pixel_would(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rays: list[int] = []
    cast = RayCaster._cast
    monkeypatch.setattr(RayCaster, "_cast", lambda self, *told: rays.append(len(told[-1])) or cast(self, *told))
    model = build_model(get_task(task), visual=True)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pictures, counts = [], []
    for step in (None, 1):
        rays.clear()
        pictures.append(RayCaster(model, 480, 320, step).render(data, get_task(task).camera).astype(int))
        counts.append(sum(rays))
    different = np.abs(pictures[0] - pictures[1]).max(axis=-1) > 10
    assert different.mean() < 1e-3, "a corner or an edge that lies between four pixels, no more"
    assert counts[0] < 0.75 * counts[1]


def test_a_broken_opengl_is_an_error_not_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mwl.simulation.rendering.renderer.works", lambda backend: False)
    env = make_env("h1-walk", num_envs=1)
    with pytest.raises(MissingDependency, match="MWL_RENDERER=raycast"):
        env.render(width=31, height=17, backend="osmesa")


def test_the_viewer_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(MissingDependency, match="display"):
        watch(make_env("h1-walk", num_envs=1), lambda observation: observation)
