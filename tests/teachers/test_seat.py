"""A walker steered before a chair that may stand anywhere near, then poses: when it sits down, and what is refused."""

from pathlib import Path

import pytest
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.artifact import read_manifest
from mwl.core.errors import ConfigError, SpecMismatch
from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.run import evaluate
from mwl.robot.h1 import H1, JOINT_NAMES, QPOS0
from mwl.rollouts import rollout
from mwl.teachers.acting.seat import LAYOUT, SeatTeacher, SeatTeacherConfig
from mwl.teachers.poses import Poses
from mwl.teachers.train import parse_teacher_config, read_teacher_config, train

ROOT = Path(__file__).parents[2]
ADDRESS = "conf/teachers/sit.yaml#hard"


@pytest.fixture(autouse=True)
def _from_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def teacher() -> SeatTeacher:
    return SeatTeacher.load("data/agents/sit_hard")


def config() -> SeatTeacherConfig:
    read = read_teacher_config(ADDRESS)
    assert isinstance(read, SeatTeacherConfig)
    return read


def before_the_chair(*places: tuple[float, float, float]) -> torch.Tensor:
    """Observations of still robots at (m ahead of the chair, m to its left, rad turned); the chair looks along y."""
    observation = torch.zeros(len(places), LAYOUT.size)
    robot, chair = (observation[:, LAYOUT.slices[name]] for name in ("robot_qpos", "chair_qpos"))
    robot[:] = torch.tensor(QPOS0)
    chair[:, 0], chair[:, 3], chair[:, 6] = 1.0, 0.5**0.5, 0.5**0.5
    for row, (ahead, left, turned) in zip(robot, places, strict=True):
        half = torch.tensor((torch.pi / 2 + turned) / 2)
        row[0], row[1] = 1.0 - left, ahead
        row[3], row[6] = half.cos(), half.sin()
    return observation


def test_it_sits_down_where_it_stands_right_and_nowhere_else(teacher: SeatTeacher) -> None:
    spot = config().steering.standoff
    seen = before_the_chair((spot, 0.0, 0.0), (spot + 0.3, 0.0, 0.0), (spot, 0.2, 0.0), (spot, 0.0, 1.5))
    alone = Poses.of(config().sitting())
    alone.reset(seen[:1])
    for _ in range(10):
        actions = teacher.act(seen)
        torch.testing.assert_close(actions[0], alone.act(seen[:1])[0])
    assert ((actions[1:] - actions[0]).abs().amax(dim=1) > 0.1).all()  # of 2, the range of an action: they walk
    # sitting it goes on wherever it is pushed, until an episode begins
    away = before_the_chair(*[(1.0, 0.5, 0.5)] * 4)
    torch.testing.assert_close(teacher.act(away)[0], alone.act(away[:1])[0])
    teacher.reset(torch.tensor([True, False, False, False]))
    assert (teacher.act(away)[0] - alone.act(away[:1])[0]).abs().max() > 0.1


def test_its_hips_go_to_the_side_on_which_the_seat_is(teacher: SeatTeacher) -> None:
    steering = config().steering
    left, right = teacher.act(before_the_chair((steering.standoff, 0.03, 0.0), (steering.standoff, -0.03, 0.0)))
    moved = torch.from_numpy(H1.action_to_ctrl(left.numpy()) - H1.action_to_ctrl(right.numpy())).float()
    hips = [name.endswith("hip_roll") for name in JOINT_NAMES]
    expected = torch.tensor(hips) * steering.hips * 0.06  # they stand 6 cm apart
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0.0)


def test_it_does_not_sit_down_while_it_moves(teacher: SeatTeacher) -> None:
    seen = before_the_chair((config().steering.standoff, 0.0, 0.0)).repeat(2, 1)
    seen[1, LAYOUT.slices["robot_qvel"].start] = config().steering.speed + 0.1
    still, moving = teacher.act(seen)
    alone = Poses.of(config().sitting())
    alone.reset(seen)
    torch.testing.assert_close(still, alone.act(seen)[0])
    assert not torch.allclose(moving, still)


def test_most_sit_on_a_chair_that_stands_anywhere(teacher: SeatTeacher) -> None:
    env = make_env("h1-sit_hard", num_envs=8, seed=11)
    for step in rollout(env, teacher, 260):
        last = step
    # Sitting upright and still pays 1, less up to 0.2 for force and 0.3 for a seat up to 6 cm off its middle. About one
    # in ten falls or has not sat down by then; more than three of eight have a chance of 1 in 200.
    assert (last.after[keys.REWARD].squeeze(-1) > 0.4).sum() >= 5


def test_it_is_put_together_by_its_configuration(tmp_path: Path) -> None:
    folder = train(ADDRESS, str(tmp_path / "made"))
    provenance = read_manifest(folder)["provenance"]
    searches = 1_440_000 + 4_060_800 + 547_200
    assert provenance["env_steps"] == 20_275_200 + searches  # and the walker's
    seen = before_the_chair((0.6, 0.1, 1.0))
    torch.testing.assert_close(SeatTeacher.load(folder).act(seen), SeatTeacher.load("data/agents/sit_hard").act(seen))


def test_other_observations_are_refused(teacher: SeatTeacher) -> None:
    with pytest.raises(SpecMismatch, match="51 numbers; h1-sit_hard shows 64"):
        teacher.act(torch.zeros(1, 51))
    with pytest.raises(SpecMismatch, match="made for h1-sit_hard"):
        evaluate(EvaluationConfig("h1-walk", "agent:sit_hard", episodes=1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"steering": {"gain": -1.0}}, "above 0 and at most 10"),
        ({"steering": {"near": [0.1, float("nan")]}}, "above 0 and at most 10"),
        ({"seconds": [0.4, float("nan"), 0.4]}, "must be finite"),
        ({"poses": [[0.1, 0.2]], "seconds": [0.4]}, "rows of 5 numbers"),
        ({"chair": 1}, "chair"),
    ],
)
def test_figures_that_fit_nothing_are_refused(changes: dict, match: str) -> None:
    sound = {name: getattr(config(), name) for name in ("poses", "seconds")}
    with pytest.raises(ConfigError, match=match):
        parse_teacher_config({"seat_teacher": {**sound, **changes}}, "sit.yaml")


def test_who_is_reset_before_acting_begins_everywhere(teacher: SeatTeacher) -> None:
    seen = before_the_chair((0.5, 0.0, 0.3))
    again = SeatTeacher.load("data/agents/sit_hard")
    again.reset(torch.ones(len(seen), dtype=torch.bool))
    assert torch.equal(teacher.act(seen), again.act(seen))


def test_a_single_robot_is_a_batch_of_one(teacher: SeatTeacher) -> None:
    seen = before_the_chair((0.5, 0.0, 0.3))
    torch.testing.assert_close(teacher.act(seen[0]), SeatTeacher.load("data/agents/sit_hard").act(seen)[0])
