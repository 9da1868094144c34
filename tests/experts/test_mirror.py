"""Mirror images of training steps: the same as what a mirrored robot would see and do."""

from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.datasets.demonstrations import Demonstrations
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.cloning.mirror import mirrored
from mwl.experts.spec import ExpertSpec
from mwl.robot.joint_mirror import AXIAL_SIGN, POLAR_SIGN, mirror_joints
from mwl.simulation import get_task

LAYOUT = get_task("h1-walk").layout
WALK = ExpertSpec(name="walk", task="h1-walk", command="velocity", default_command=(1.1, 0.0, 0.0))
REACH = ExpertSpec(name="reach", task="h1-reach", command="hand_target", default_command=(0.4, 0.2, 0.1))
COMMAND_SIGN = torch.tensor([1.0, -1.0, -1.0])


def random_observations(count: int) -> Tensor:
    """Observations `[count, 51]` of robots anywhere, in any attitude and pose."""
    return torch.randn(count, LAYOUT.size, generator=torch.Generator().manual_seed(0))


def mirror_world(observation: Tensor) -> Tensor:
    """Observations `[N, 51]` with the world's y axis turned round; a rotation's axis is an axial vector."""
    position, rotation, joints, velocity, spin, rates = observation.split([3, 4, 19, 3, 3, 19], dim=-1)
    parts = [
        position * POLAR_SIGN,
        rotation * torch.cat([torch.ones(1), AXIAL_SIGN]),
        mirror_joints(joints),
        velocity * POLAR_SIGN,
        spin * AXIAL_SIGN,
        mirror_joints(rates),
    ]
    return torch.cat(parts, dim=-1)


def steps_of(spec: ExpertSpec, observation: Tensor, command: Tensor, action: Tensor) -> TensorDict:
    features = spec.featurise(observation, LAYOUT, command)
    return TensorDict({keys.FEATURES: features, keys.ACTION: action}, batch_size=[len(features)])


def test_a_mirrored_step_is_what_the_mirrored_robot_sees_and_does() -> None:
    observation, command, action = random_observations(32), torch.randn(32, 3), torch.randn(32, 19)
    here = steps_of(WALK, observation, command, action)
    there = steps_of(WALK, mirror_world(observation), command * COMMAND_SIGN, mirror_joints(action))
    reflected = mirrored(here, WALK)
    for key in (keys.FEATURES, keys.ACTION):
        torch.testing.assert_close(reflected[key], there[key], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mirrored(reflected, WALK)[key], here[key])


def saved(folder: Path, command: Tensor) -> str:
    count = len(command)
    manifest = {"task": "h1-walk", "demonstrator": "test", "recording_env_steps": count}
    episode = torch.arange(count) // (count // 4)
    recorded = Demonstrations(random_observations(count), torch.rand(count, 19) - 0.5, episode, manifest, command)
    return str(recorded.save(folder / "steps"))


def test_data_with_mirror_images_have_no_sides(tmp_path: Path) -> None:
    file = saved(tmp_path, torch.rand(40, 3))
    plain, both = DemonstrationData([file], validation_share=0.25), DemonstrationData([file], 256, 1, 0.25, mirror=True)
    plain.prepare(WALK)
    both.prepare(WALK)
    assert plain.train is not None
    assert both.train is not None
    assert both.validation is not None
    assert (len(plain.train), len(both.train), len(both.validation)) == (30, 60, 10)
    sideways = both.train[keys.FEATURES][:, -2]
    assert plain.train[keys.FEATURES][:, -2].min() >= 0
    torch.testing.assert_close(sideways.sum(), torch.zeros(()), atol=1e-4, rtol=0)


def test_a_skill_of_one_hand_has_no_mirror_image() -> None:
    features = torch.zeros(1, REACH.input_size)
    with pytest.raises(BadInput, match="has a side"):
        mirrored(TensorDict({keys.FEATURES: features, keys.ACTION: torch.zeros(1, 19)}, batch_size=[1]), REACH)
