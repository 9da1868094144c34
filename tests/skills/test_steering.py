"""A walker that is told a velocity in the world: it turns to it, stands where it is told none, and seldom falls."""

from pathlib import Path

import pytest
import torch

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.experts.library import ExpertLibrary
from mwl.simulation import make_env
from mwl.skills import Route, SkillEnv, SkillSpace
from mwl.skills.commands import VELOCITY
from mwl.skills.steering import pose, steered

EXPERTS = Path(__file__).parents[2] / "data/experts"


@pytest.fixture(scope="module")
def space() -> SkillSpace:
    return SkillSpace(ExpertLibrary.load([EXPERTS / "stand", EXPERTS / "walk"]), steered=True)


def test_an_action_is_a_velocity_and_stands_where_that_is_slow(space: SkillSpace) -> None:
    assert space.names == ["walk along x", "walk along y"]
    decision = space.decode(torch.stack([space.encode("walk", [0.0, -0.8]), space.encode("stand"), torch.ones(2)]))
    assert decision.skill.tolist() == [1, 0, 1]
    torch.testing.assert_close(decision.commands["walk"], torch.tensor([[0.0, -0.8], [0.0, 0.0], [1.6, 1.6]]))
    assert space.draw(5).shape == (5, 2)
    assert len(space.grid()) == 9  # eight directions, and standing
    again = SkillSpace.from_plain(space.to_plain())
    assert (again.steered, again.names) == (True, space.names)
    with pytest.raises(BadInput, match="told a velocity"):
        SkillSpace(space.library, ["stand"], steered=True)


def test_a_third_skill_is_chosen_by_its_score(space: SkillSpace) -> None:
    experts = [*space.library.experts, ExpertLibrary.load(EXPERTS / "reach").experts[0]]
    three = SkillSpace(ExpertLibrary(experts), steered=True)
    assert three.names[:4] == ["score of walk", "score of reach", "walk along x", "walk along y"]
    encoded = [three.encode("stand"), three.encode("walk", [1.0, 0.0]), three.encode("reach", [0.3, 0.2, 0.1])]
    assert three.decode(torch.stack(encoded)).skill.tolist() == [0, 1, 2]


def test_it_turns_before_it_walks_and_changes_its_speed_little_by_little() -> None:
    velocity = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -0.1], [0.3, 0.0]])
    told = steered(velocity, torch.zeros(4), VELOCITY, torch.zeros(4))
    torch.testing.assert_close(told[:, 2], torch.tensor([0.6, 0.0, -0.6, 0.0]))  # the greatest rates
    torch.testing.assert_close(told[:, 0], torch.tensor([0.0, 0.03, 0.0, 0.0]))  # 1.5 m/s2 of 20 ms, if it faces there
    assert torch.equal(steered(velocity, torch.zeros(4), VELOCITY)[:, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]))


def test_a_walker_of_another_name_turns_as_fast_as_its_manifest_says() -> None:
    """`walk_robust` was shown turns of 1.2 rad/s, and says so; `walk` says nothing: 0.6 rad/s."""
    space = SkillSpace(ExpertLibrary.load([EXPERTS / "stand", EXPERTS.parent / "robust/walk_robust"]), steered=True)
    assert (space.walker, space.gait.high) == ("walk_robust", (1.6, 0.3, 1.2))
    assert SkillSpace.from_plain(space.to_plain()).gait == space.gait
    aside = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert steered(aside, torch.zeros(2), space.gait)[:, 2].tolist() == pytest.approx([1.2, -1.2])
    env = SkillEnv(make_env("h1-walk", 2, seed=0), space, hold=25)
    state = env.reset()
    for _ in range(4):
        state = env.step(state.set(keys.ACTION, torch.stack([space.encode("walk_robust", a) for a in aside])))
        state = state[keys.NEXT].exclude(keys.REWARD)
    # 2 s at 0.6 rad/s are 1.2 rad; at 1.2 rad/s a quarter turn of 1.57 rad fits
    yaw = pose(state[keys.OBSERVATION], env.layout)[1]
    assert (yaw * torch.tensor([1.0, -1.0]) > 1.2).all()


def test_it_goes_where_it_is_told_and_stops(space: SkillSpace) -> None:
    env = SkillEnv(make_env("h1-walk", 4, seed=0), space, hold=25)
    state, layout = env.reset(), env.layout
    velocity = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.7, 0.7], [0.0, -1.0]])
    action = torch.stack([space.encode("walk", told) for told in velocity])
    for step in range(14):
        state = env.step(state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
        if step == 7:
            begun = pose(state[keys.OBSERVATION], layout)[0]
    moved = pose(state[keys.OBSERVATION], layout)[0] - begun
    # in 3 s at 1 m/s; the half turn alone takes up to 4 s at 0.6 rad/s, which is what the first 4 s are for
    assert (torch.cosine_similarity(moved, velocity) > 0.95).all()
    assert (moved.norm(dim=-1) > 2).all()
    for step in range(10):
        state = env.step(state.set(keys.ACTION, torch.zeros(4, 2)))[keys.NEXT].exclude(keys.REWARD)
        if step == 4:
            stopped = pose(state[keys.OBSERVATION], layout)[0]
    # whichever way they face: on the spot a robot strays by 0.1 m in 2.5 s; `stand`, which faces along x, fell by then
    assert ((pose(state[keys.OBSERVATION], layout)[0] - stopped).norm(dim=-1) < 0.5).all()
    assert (pose(state[keys.OBSERVATION], layout)[2] < 0.3).all()
    assert not state[keys.TERMINATED].any()


def test_a_route_tells_velocities(space: SkillSpace) -> None:
    layout = make_env("h1-maze", 1).task.layout
    route = Route(space, ["turn 90", "walk 2"], layout, speed=1.0)
    observation = torch.zeros(1, layout.size)
    observation[:, 3] = 1.0  # facing along x
    torch.testing.assert_close(
        space.decode(route.reference(observation)[keys.REFERENCE_ACTION]).commands["walk"],
        torch.tensor([[0.0, 1.0]]),
        atol=1e-5,
        rtol=0,
    )
