"""Adjustments of experts joint by joint, by hand, and the search that finds them."""

import pytest
import torch

from mwl.robot.h1 import JOINT_NAMES, action_to_ctrl
from mwl.robot.joint_mirror import joint_mirror
from mwl.selection.action_correction import ActionCorrection, Joints, joints_of
from mwl.simulation import get_task
from mwl.training.cmaes import Evolution

UNIT = torch.tensor([2.0, 2.0, 1.0])
MIRROR = (torch.tensor([1, 0, 2]), torch.tensor([-1.0, -1.0, -1.0]))  # a pair that mirrors, and a trunk joint


def correction(start_phase: int = 0) -> ActionCorrection:
    return ActionCorrection(torch.tensor([True, False]), UNIT, MIRROR, start_phase)


@pytest.mark.parametrize(
    ("coefficient", "expected"),
    [
        (0, [0.14, 0.16, 0.3]),  # an offset of 0.02 rad is 0.04 of action, left up and right down
        (1, [0.1, 0.2, 0.32]),  # the trunk has none
        (2, [0.11, 0.22, 0.3]),  # a tenth more of the movement around 0
        (4, [0.09, 0.18, 0.3]),  # a tenth of the way to where the joints are, 0
        (6, [0.1 + 0.004 * 5, 0.2 + 0.004 * 5, 0.3]),
    ],
)
def test_each_number_by_hand(coefficient: int, expected: list[float]) -> None:
    made = correction()
    assert len(made.coefficients) == 8  # four for the pair and four for the trunk
    made.coefficients[coefficient] = 1.0
    if coefficient == 1:
        expected = [0.1, 0.2, 0.3]
    action = torch.tensor([[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]])
    out = made(action, Joints(torch.zeros(1, 3), torch.full((1, 3), 5.0)))
    assert out[0, 0].tolist() == pytest.approx(expected)
    assert torch.equal(out[0, 1], action[0, 1])  # the other expert is left alone


def test_zero_changes_nothing_and_a_row_of_candidates_holds_for_its_environment() -> None:
    made, action = correction(), torch.rand(2, 2, 3)
    joints = Joints(torch.rand(2, 3), torch.rand(2, 3))
    assert torch.equal(made(action, joints), action)
    candidates = torch.zeros(2, 8)
    candidates[1, 2] = 1.0
    out = made(action, joints, candidates)
    assert torch.equal(out[0], action[0])
    assert not torch.equal(out[1, 0], action[1, 0])


def test_mirrored_robot_gets_mirrored_adjustments() -> None:
    index, sign = joint_mirror()
    made = ActionCorrection(torch.tensor([True]), torch.rand(19)[index].maximum(torch.ones(19)), (index, sign))
    made.coefficients.copy_(torch.randn(len(made.coefficients)))
    action, position, velocity = (0.1 * torch.randn(1, 19) for _ in range(3))
    out = made(action.unsqueeze(1), Joints(position, velocity))[:, 0]

    def mirrored(x: torch.Tensor) -> torch.Tensor:
        return x[:, index] * sign

    other = made(mirrored(action).unsqueeze(1), Joints(mirrored(position), mirrored(velocity)))[:, 0]
    assert torch.allclose(other, mirrored(out), atol=1e-6)


def test_joints_are_the_commands_that_hold_them() -> None:
    layout = get_task("h1-walk").layout
    observation = torch.zeros(1, layout.size)
    observation[0, 3], observation[0, 10] = 1.0, 0.8
    ctrl = action_to_ctrl(joints_of(observation, layout).position.numpy())
    assert ctrl[0, JOINT_NAMES.index("left_knee")] == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("start_phase", [0, 20])
def test_correction_travels_as_plain_values(start_phase: int) -> None:
    made = correction(start_phase)
    made.coefficients.copy_(torch.randn(len(made.coefficients)))
    action, joints, age = torch.rand(2, 2, 3), Joints(torch.rand(2, 3), torch.rand(2, 3)), torch.tensor([3, 14])
    again = ActionCorrection.from_plain(made.to_plain())
    assert torch.equal(again(action, joints, age=age), made(action, joints, age=age))


def test_coefficients_of_the_start_phase_fade_out() -> None:
    """Of 20 steps the first 10 have them alone; at 15 both kinds count half, from 20 on the main ones alone."""
    made = correction(start_phase=20)
    assert len(made.coefficients) == 2 * made.size == 16
    made.coefficients[0], made.coefficients[made.size] = 1.0, 3.0  # offsets of the pair, of 0.04 of action per unit
    action = torch.zeros(5, 2, 3)
    out = made(action, None, age=torch.tensor([0, 10, 15, 20, 500]))[:, 0, 0]
    assert out.tolist() == pytest.approx([0.12, 0.12, 0.08, 0.04, 0.04])
    assert made(action, None)[:, 0, 0].tolist() == pytest.approx(
        [0.04] * 5
    )  # age unknown: the start phase is long over


def searched(generations: int, search: Evolution) -> Evolution:
    goal = torch.linspace(-2, 2, 10)
    for _ in range(generations):
        search.tell(-(search.ask() - goal).square().sum(dim=1))
    return search


def test_search_finds_the_optimum_and_keeps_its_steps_bounded() -> None:
    torch.manual_seed(0)
    search = searched(60, Evolution(10, 16, 0.5))
    assert (search.mean - torch.linspace(-2, 2, 10)).norm() < 0.5  # from 4.0
    assert search.sigma <= 0.5


def test_search_goes_on_where_it_was_saved() -> None:
    torch.manual_seed(0)
    search = searched(5, Evolution(10, 16, 0.5))
    state, random = {name: value.clone() for name, value in search.state_dict().items()}, torch.get_rng_state()
    whole = searched(3, search).mean.clone()
    resumed = Evolution(10, 16, 0.5)
    resumed.load_state_dict(state)
    torch.set_rng_state(random)
    assert torch.equal(searched(3, resumed).mean, whole)
