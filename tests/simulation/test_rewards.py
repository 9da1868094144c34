"""Reward terms at their thresholds."""

import numpy as np
import pytest

from mwl.simulation import get_task, rewards
from mwl.simulation.task import Measurement, SensorIndex

SENSORS = {
    "actuator_force": 19,
    "com_velocity": 3,
    "torso_up": 3,
    "pelvis_up": 3,
    "head_position": 3,
    "imu_position": 3,
    "left_hand_position": 3,
    "right_hand_position": 3,
    "hatch_position": 3,
    "pelvis_position": 3,
    "wall_contact": 1,
    "chair_position": 3,
    "robot_on_pivot": 1,
    "robot_on_floor": 1,
    "board_on_floor": 1,
}


def measured(qpos: np.ndarray | None = None, goal: object = (), progress: int = 0, **sensors: object) -> Measurement:
    """One environment: upright, head at 1.68 m, at rest, no forces; `sensors` replaces values by name."""
    values = {name: np.zeros((1, size)) for name, size in SENSORS.items()}
    values["torso_up"][0, 2] = values["pelvis_up"][0, 2] = 1.0
    values["head_position"][0, 2] = 1.68
    for name, value in sensors.items():
        values[name] = np.broadcast_to(np.asarray(value, dtype=float), values[name].shape)
    return Measurement(
        qpos=np.zeros((1, 33)) if qpos is None else qpos,
        qvel=np.zeros((1, 31)),
        sensordata=np.concatenate([values[name] for name in SENSORS], axis=-1),
        goal=np.asarray([goal], dtype=float),
        progress=np.array([progress]),
        index=SensorIndex.of_sizes(**SENSORS),
    )


@pytest.mark.parametrize(
    ("kind", "value_at_margin", "x", "expected"),
    [
        ("gaussian", 0.1, 1.0, 1.0),  # on the bound
        ("gaussian", 0.1, 3.0, 0.1),  # one margin outside
        ("gaussian", 0.1, 2.0, 0.1**0.25),  # half a margin: 0.1^(d^2)
        ("linear", 0.0, 2.0, 0.5),
        ("linear", 0.0, 3.5, 0.0),
        ("linear", 0.1, 3.0, 0.1),
        ("quadratic", 0.0, 2.0, 0.75),
        ("quadratic", 0.0, -3.0, 0.0),  # below the lower bound by 2 margins
    ],
)
def test_tolerance(kind: str, value_at_margin: float, x: float, expected: float) -> None:
    value = rewards.tolerance(np.array([x]), 0.0, 1.0, 2.0, kind, value_at_margin)
    assert value[0] == pytest.approx(expected, abs=1e-12)


def test_tolerance_without_margin_is_a_step() -> None:
    np.testing.assert_array_equal(rewards.tolerance(np.array([-1.0, 1.0, 1.001]), -1.0, 1.0), [1, 1, 0])


def test_standing_still_without_effort_earns_one() -> None:
    assert get_task("h1-stand").reward(measured())[0] == 1.0


def test_effort_costs_at_most_a_fifth() -> None:
    """A joint counts nothing from 10 N m up: (4 + 0) / 5."""
    assert rewards.small_control(measured(actuator_force=50.0))[0] == pytest.approx(0.8)
    assert rewards.small_control(measured(actuator_force=5.0))[0] == pytest.approx((4 + 0.75) / 5)


@pytest.mark.parametrize(("task", "speed"), [("h1-walk", 1.0), ("h1-run", 5.0)])
def test_speed_pays_up_to_the_task_s(task: str, speed: float) -> None:
    reward = get_task(task).reward
    assert reward(measured(com_velocity=[speed, 0, 0]))[0] == pytest.approx(1.0)
    assert reward(measured(com_velocity=[speed / 2, 0, 0]))[0] == pytest.approx((5 * 0.5 + 1) / 6)
    assert reward(measured(com_velocity=[-1, 0, 0]))[0] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("distance", "expected"), [(1.001, 5.0), (0.999, 10.0), (0.051, 10.0), (0.049, 20.0)])
def test_reach_pays_by_distance(distance: float, expected: float) -> None:
    goal = [1.0, 0.5, 1.2]
    hand = [1.0 + distance, 0.5, 1.2]
    assert get_task("h1-reach").reward(measured(goal=goal, left_hand_position=hand))[0] == pytest.approx(expected)


def test_door_parts() -> None:
    """0.1 posture + 0.45 open + 0.05 turned + 0.05 hand at the hatch + 0.35 passed."""
    qpos = np.zeros((1, 28))
    hatch, far = [0.8, 0.4, 1.2], [0.8, 0.4, 9.0]
    reward = get_task("h1-door").reward

    at_rest = reward(measured(qpos, hatch_position=hatch, left_hand_position=far, right_hand_position=far))
    assert at_rest[0] == pytest.approx(0.1 + 0.05 * 0.1)  # the hatch term is 0.1 at one margin
    qpos[0, 26:] = 1.0, 1.0
    done = measured(
        qpos, hatch_position=hatch, left_hand_position=hatch, right_hand_position=far, imu_position=[1.2, 0, 1]
    )
    assert reward(done)[0] == pytest.approx(1.0)
    qpos[0, 26] = -0.5  # a door pushed the wrong way counts against
    assert reward(done)[0] == pytest.approx(1.0 - 0.45 * 1.25)


def test_maze_stages() -> None:
    """Reaching a checkpoint pays 100 times its number once, and turns the direction that pays."""
    task = get_task("h1-maze")
    first = measured(progress=0)
    assert task.advance(first)[0] == 1
    assert task.reward(first)[0] > 100
    between = measured(progress=1, pelvis_position=[1.5, 0, 1], com_velocity=[2, 0, 0])
    assert task.advance(between)[0] == 1
    touching = measured(progress=1, pelvis_position=[1.5, 0, 1], com_velocity=[2, 0, 0], wall_contact=1)
    assert task.reward(touching)[0] == pytest.approx(0.1 * task.reward(between)[0])
    sideways = measured(progress=2, pelvis_position=[3, 3, 1], com_velocity=[0, 2, 0])
    assert task.reward(sideways)[0] > task.reward(measured(progress=2, pelvis_position=[3, 3, 1]))[0]
    assert task.advance(measured(progress=4, pelvis_position=[6, 6, 1]))[0] == 4


def test_sitting_pays_where_the_chair_stands() -> None:
    """Seated at 0.7 m, head 0.4 m above the trunk's sensor; 0.39 m too far forward is a margin outside: 0.1."""
    qpos = np.zeros((1, 33))
    qpos[0, :3] = 1.0, 0.5, 0.7
    seated = {"head_position": [0, 0, 1.4], "imu_position": [0, 0, 1.0]}
    reward = get_task("h1-sit_hard").reward
    assert reward(measured(qpos, chair_position=[1.1, 0.5, 0], **seated))[0] == pytest.approx(1.0)
    assert reward(measured(qpos, chair_position=[0.61, 0.5, 0], **seated))[0] == pytest.approx(0.5 + 0.5 * 0.1)
    fixed = get_task("h1-sit_simple").reward
    assert fixed(measured(qpos, **seated))[0] < 0.51, "the chair of the simple task stays at the origin"


def test_balancing_is_standing_higher() -> None:
    """On the board the head has to be 0.37 m higher; a quarter of 1.65 m below, the posture is worth 0.1."""
    qpos = np.zeros((1, 33))
    qpos[0, 2] = 1.38
    for task in ("h1-balance_simple", "h1-balance_hard"):
        assert get_task(task).reward(measured(qpos, head_position=[0, 0, 2.03]))[0] == pytest.approx(1.0)
        lower = measured(qpos, head_position=[0, 0, 1.65 + 0.37 - 1.65 / 4])
        assert get_task(task).reward(lower)[0] == pytest.approx(0.1)


@pytest.mark.parametrize("touched", ["robot_on_pivot", "robot_on_floor", "board_on_floor"])
def test_balancing_ends_where_something_touches_what_it_must_not(touched: str) -> None:
    qpos = np.zeros((1, 33))
    qpos[0, 2] = 1.38
    terminated = get_task("h1-balance_simple").terminated
    assert not terminated(measured(qpos))[0]
    assert terminated(measured(qpos, **{touched: 1}))[0]


@pytest.mark.parametrize(
    ("task", "height"),
    [
        ("h1-balance_hard", 0.8),
        ("h1-sit_hard", 0.5),
        ("h1-stand", 0.2),
        ("h1-walk", 0.2),
        ("h1-door", 0.58),
        ("h1-pole", 0.5),
        ("h1-sit_simple", 0.5),
    ],
)
def test_episodes_end_below_the_task_s_height(task: str, height: float) -> None:
    above, below = np.zeros((1, 28)), np.zeros((1, 28))
    above[0, 2], below[0, 2] = height, height - 1e-6
    terminated = get_task(task).terminated
    assert not terminated(measured(above))[0]
    assert terminated(measured(below))[0]


@pytest.mark.parametrize("task", ["h1-reach", "h1-crawl"])
def test_some_episodes_never_end_early(task: str) -> None:
    assert not get_task(task).terminated(measured())[0]
