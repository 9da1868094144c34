"""Commands of experts: what a velocity command means where nobody gives one, and what such a skill must not see."""

import pytest
import torch
from torch import Tensor

from mwl.experts import features
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.robot import frames
from mwl.robot.h1 import QPOS0
from mwl.simulation import get_task

LAYOUT = get_task("h1-walk").layout
SPEC = ExpertSpec(name="walk", task="h1-walk", command="velocity", default_command=(1.1, 0.0, 0.0))


def standing(heading: float) -> Tensor:
    """Observation `[1, 51]` of the reset pose, turned to a heading in rad."""
    qpos = torch.tensor(QPOS0, dtype=torch.float32).clone()
    zero = torch.zeros(())
    qpos[3:7] = frames.quaternion_from_euler(zero, zero, torch.tensor(heading))
    return torch.cat([qpos, torch.zeros(25)]).unsqueeze(0)


@pytest.mark.parametrize(("heading", "turning"), [(0.0, 0.0), (0.3, -0.3), (-0.2, 0.2), (2.0, -0.5), (-2.0, 0.5)])
def test_without_a_command_the_robot_turns_back_to_the_x_axis(heading: float, turning: float) -> None:
    command = SPEC.resolve_command(standing(heading), LAYOUT)
    torch.testing.assert_close(command, torch.tensor([[1.1, 0.0, turning]]), atol=1e-5, rtol=0)


def test_a_given_command_is_taken_as_it_is() -> None:
    told = torch.tensor([[0.5, -0.2, 0.1]])
    torch.testing.assert_close(SPEC.resolve_command(standing(1.0), LAYOUT, told), told)


def test_a_velocity_skill_does_not_see_its_heading() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(SPEC.input_size, SPEC.action_size, (16,))
    told = torch.tensor([[0.5, 0.0, 0.0]])
    sample = SPEC.featurise(torch.randn(64, LAYOUT.size), LAYOUT, told)
    east, north = (SPEC.featurise(standing(heading), LAYOUT, told) for heading in (0.0, 1.5))
    assert not torch.equal(east[:, list(features.HEADING)], north[:, list(features.HEADING)])
    network.fit_normaliser(sample, torch.randn(64, SPEC.action_size))
    assert (network(east) - network(north)).abs().max() > 1e-3  # seen, it would matter
    network.fit_normaliser(sample, torch.randn(64, SPEC.action_size), SPEC.ignored)
    torch.testing.assert_close(network(east), network(north), atol=1e-5, rtol=0)


def test_a_skill_for_any_ground_does_not_see_how_high_that_is() -> None:
    spec = ExpertSpec(name="rough", task="h1-slide", command="velocity_over_ground", default_command=(1.0, 0.0, 0.0))
    torch.manual_seed(0)
    network = PolicyNetwork(spec.input_size, spec.action_size, (16,))
    low = standing(0.0)
    high = low + torch.eye(LAYOUT.size)[2]
    told = torch.tensor([[0.5, 0.0, 0.0]])
    sample = spec.featurise(torch.randn(64, LAYOUT.size), LAYOUT, told)
    network.fit_normaliser(sample, torch.randn(64, spec.action_size), spec.ignored)
    below, above = (spec.featurise(seen, LAYOUT, told) for seen in (low, high))
    torch.testing.assert_close(network(below), network(above), atol=1e-5, rtol=0)
    assert 0.9 < below[0, -1] < 1.1, "above its soles it stands as high as on the floor"
