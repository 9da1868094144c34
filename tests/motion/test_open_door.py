"""Opening the door in two parts: whose turn it is, and that the second part goes on from whatever the first left."""

import pytest
import torch

from mwl import keys
from mwl.errors import BadInput
from mwl.motion.demonstrations import RecordingConfig
from mwl.motion.demonstrators import DemonstrationConfig, record
from mwl.motion.door_teacher import HandlePull
from mwl.motion.open_door import SKILLS, OpenDoor, OpenDoorConfig
from mwl.simulation import make_env

HANDLE_PULL, HOLD_DOOR = range(2)
HINGE = 26  # in the observation of h1-door


@pytest.fixture
def demonstrator(data_folder) -> OpenDoor:
    return OpenDoor(HandlePull.load(data_folder / "teachers/handle_pull"))


@pytest.fixture
def observation() -> torch.Tensor:
    return make_env("h1-door", num_envs=2, num_threads=1, seed=0).reset()[keys.OBSERVATION]


def test_the_angle_of_the_leaf_says_whose_turn_it_is(demonstrator, observation):
    demonstrator.reset(observation)
    turns = []
    for hinge in (0.0, 0.2, 0.35, 0.2, 0.1, 0.2):  # rad; between 0.15 and 0.3 it stays as it was
        observation[0, HINGE] = hinge
        demonstrator.act(observation)
        turns.append(demonstrator.skill.tolist())
    first = [HANDLE_PULL, HANDLE_PULL, HOLD_DOOR, HOLD_DOOR, HANDLE_PULL, HANDLE_PULL]
    assert turns == [[skill, HANDLE_PULL] for skill in first]


def test_a_new_episode_begins_with_the_handle(demonstrator, observation):
    demonstrator.reset(observation)
    observation[:, HINGE] = 0.5
    demonstrator.act(observation)
    demonstrator.reset(observation, torch.tensor([True, False]))
    assert demonstrator.skill.tolist() == [HANDLE_PULL, HOLD_DOOR]


def test_what_went_before_does_not_matter_to_who_takes_over(demonstrator, observation):
    observation[1] = observation[0]
    demonstrator.reset(observation)
    for _ in range(5):  # the second robot is moved otherwise than its demonstrator says
        answer = demonstrator.act(observation)
        demonstrator.executed(torch.stack([answer[0], torch.full((19,), 0.5)]))
    before = demonstrator.act(observation)
    assert not torch.allclose(before[0], before[1], atol=1e-3)
    observation[:, HINGE] = 0.5
    first, second = demonstrator.act(observation)
    torch.testing.assert_close(first, second)


def test_a_leaf_that_is_lost_before_it_is_ajar_is_refused():
    with pytest.raises(BadInput, match=r"lost is 0\.4"):
        OpenDoorConfig(lost=0.4)


def test_a_recording_tells_the_two_parts_apart(data_folder):
    config = DemonstrationConfig(
        kind="open_door",
        task="h1-door",
        teacher=str(data_folder / "teachers/handle_pull"),
        recording=RecordingConfig(episodes=4, steps=160, noise_levels=(0.0,)),
    )
    both = record(config)
    pulled, held = (both.of(name) for name in SKILLS)
    # of 40 episodes 39 passed 0.3 rad, all of those by the 110th step: at least three of four, 50 steps each
    assert len(held) >= 150
    assert len(pulled) + len(held) == len(both)
    assert (held.observation[:, HINGE] > 0.15).all()
    assert both.manifest["teacher"] == "handle_pull"  # experts of either part name the training they share
