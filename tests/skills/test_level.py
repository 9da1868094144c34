"""The world model at the level of skills: what it counts, what it follows, and that what was learned acts as it did."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch

from mwl.core import keys
from mwl.core.artifact import write_artifact
from mwl.core.checkpoints import load_checkpoint, save_checkpoint
from mwl.core.errors import BadInput
from mwl.evaluation.agents import resolve
from mwl.experts.guidance_state import GuidanceState, restarted
from mwl.experts.library import ExpertLibrary
from mwl.rollouts.episodes import run_episodes
from mwl.simulation import make_env
from mwl.skills import Route, SkillAgent, SkillEnv, SkillSpace
from mwl.training.callbacks import RandomState
from mwl.world_model import GuidanceConfig, LearningConfig, NetworkConfig, PlannerConfig
from mwl.world_model.agent import agent_from_plain
from mwl.world_model.data import WorldModelData
from mwl.world_model.exploration import HeldActions
from mwl.world_model.module import WorldModelModule

SKILLS = [str(Path(__file__).parents[2] / "data/experts" / name) for name in ("stand", "walk")]
WAY = ["walk 3", "turn 90", "walk 6", "turn -90", "walk 3"]


@pytest.fixture(scope="module")
def space() -> SkillSpace:
    return SkillSpace(ExpertLibrary.load(SKILLS))


def fitted(
    task: str,
    env_steps: int = 480,
    checkpoint: str | None = None,
    callbacks: tuple[pl.Callback, ...] = (),
    **guidance: Any,
) -> tuple[WorldModelModule, WorldModelData]:
    pl.seed_everything(0)
    module = WorldModelModule(
        NetworkConfig("0.2M", num_q=2, dropout=0.0, activation="silu"),
        LearningConfig(
            horizon=2, batch_size=16, seed_steps=160, learning_starts=120, held_share=0.5, held_steps=(2, 3)
        ),
        PlannerConfig(samples=64, iterations=2, elites=8, policy_samples=4, held=0.5),
        GuidanceConfig(planner_base=False, **guidance),
    )
    data = WorldModelData(task, env_steps, num_envs=2, level="skills", skills=SKILLS, steered=True, hold=20)
    quiet_trainer.fit(module, data, callbacks=[RandomState()])
    return module, data


def test_what_was_learned_over_decisions_acts_at_every_control_step(tmp_path: Path) -> None:
    module, data = fitted("h1-maze", route=WAY)
    assert module.global_step > 0
    assert data.replay is not None
    assert (data.spec.episode_steps, data.spec.action_size, data.rounds, data.env_steps) == (50, 2, 12, 480)
    assert len(data.replay) == 24  # decisions
    assert module.discount == pytest.approx(0.95)
    handed = module.artifact()
    assert handed["observation"]["size"] == make_env("h1-maze", 1).task.layout.size, "what it remembers is its own"
    save_checkpoint(tmp_path / "model.ckpt", handed["checkpoint"])
    agent = agent_from_plain(load_checkpoint(tmp_path / "model.ckpt"))
    assert isinstance(agent, SkillAgent)
    env = SkillEnv(make_env("h1-maze", 2, seed=7), SkillSpace(ExpertLibrary.load(SKILLS), steered=True), hold=20)
    decider = agent_from_plain(load_checkpoint(tmp_path / "model.ckpt")).decider  # type: ignore[union-attr]
    torch.manual_seed(3)
    decider.reset()
    state = env.reset()
    for step in range(2):
        state = env.step(state.set(keys.ACTION, decider.act(state[keys.OBSERVATION], step)))[keys.NEXT]
        state = state.exclude(keys.REWARD)
    inner = make_env("h1-maze", 2, seed=7)
    torch.manual_seed(3)
    agent.reset()
    each = inner.reset()
    for step in range(40):
        each = inner.step(each.set(keys.ACTION, agent.act(each[keys.OBSERVATION], step)))[keys.NEXT]
        agent.remember(each[keys.REWARD].squeeze(-1))
        each = each.exclude(keys.REWARD)
    seen = state[keys.OBSERVATION]
    assert torch.equal(each[keys.OBSERVATION], seen[:, :-1])
    assert (seen[:, -1] > 100).all()  # of the first checkpoint, where it begins: what it earned is remembered
    assert agent.control is not None
    assert torch.equal(agent.control.observed(each[keys.OBSERVATION]), seen)
    agent.leave_out("plan")
    route = agent.decider.guidance.reference(seen)  # type: ignore[attr-defined]
    agent.reset()
    agent.decider.act(seen)
    assert torch.equal(agent.decider.last[keys.ACTION], route[keys.REFERENCE_ACTION])  # type: ignore[attr-defined]


def test_without_a_plan_and_a_route_the_policy_prior_decides(tmp_path: Path) -> None:
    module, data = fitted("h1-maze", enabled=False)
    assert data.behaviour is not None
    named = resolve(str(write_artifact(tmp_path / "untold", **module.artifact())))
    assert named.expert_steps == ExpertLibrary.load(SKILLS).env_steps > 0, "what its skills cost is counted"
    agent = agent_from_plain(module.artifact()["checkpoint"]).decider  # type: ignore[union-attr]
    seen = torch.cat([make_env("h1-maze", 2, seed=7).reset()[keys.OBSERVATION], torch.zeros(2, 1)], dim=-1)
    planned = agent.act(seen)
    agent.leave_out("plan")
    assert torch.equal(agent.act(seen), module.model.policy(module.model.encode(agent.observer(seen))).mean)
    assert not torch.equal(agent.act(seen), planned)
    with pytest.raises(BadInput, match="no gate to leave out"):
        agent.leave_out("gate")


def test_skills_are_named_at_their_level_alone() -> None:
    for changes in ({"level": "skills"}, {"skills": SKILLS}):
        with pytest.raises(BadInput, match=r"data\.skills must name expert folders"):
            WorldModelData(**changes)  # type: ignore[arg-type]


def test_a_bridge_is_named_by_the_change_of_skill_it_serves() -> None:
    stop = str(Path(SKILLS[0]).parents[1] / "transitions/stop")
    data = WorldModelData("h1-maze", num_envs=1, level="skills", skills=SKILLS, bridges={"walk stand": stop})
    data.setup("fit")
    space = data.spec.skills
    assert space is not None
    assert space.skills == ["stand", "walk"]  # what acts between them is not to be chosen
    assert space.bridges[("walk", "stand")].expert == "stop"
    again = SkillSpace.from_plain(space.to_plain())
    assert (again.bridges, again.names) == (space.bridges, space.names)
    with pytest.raises(BadInput, match="no change of skill"):
        WorldModelData(num_envs=1, level="skills", skills=SKILLS, bridges={"walk": stop}).setup("fit")


class _Follow:
    """Decides as a route says."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.state: GuidanceState | None = None

    def reset(self, done: torch.Tensor | None = None) -> None:
        self.state = restarted(self.state, done, self.route.begin)

    def act(self, observation: torch.Tensor, step: int | None = None) -> torch.Tensor:
        guide, self.state = self.route.step(observation, self.state)
        return guide[keys.REFERENCE_ACTION]


@pytest.mark.slow
def test_a_route_leads_through_the_maze(space: SkillSpace) -> None:
    env = make_env("h1-maze", 3, seed=0)
    agent = SkillAgent(_Follow(Route(space, WAY, env.task.layout)), space, env.task.layout, hold=10)
    assert run_episodes(env, agent, 0).returns.min() > 1200  # the bar of success


def test_a_route_turns_walks_and_stands_where_it_should(space: SkillSpace) -> None:
    """Its corners are seen from where the episode began, and how far it has come can be told from outside."""
    layout = make_env("h1-maze", 1).task.layout
    route = Route(space, ["walk 1", "turn 90", "walk 2"], layout, lines=False)
    observation = torch.zeros(3, layout.size)
    qpos = observation[:, layout.slices["robot_qpos"]]
    facing = torch.tensor([0.0, torch.pi / 2, torch.pi])  # whichever way it faces when it begins
    qpos[:, 3], qpos[:, 6] = (facing / 2).cos(), (facing / 2).sin()
    observation[:, layout.slices["robot_qpos"]] = qpos
    away = torch.stack([facing.cos(), facing.sin()], -1)
    told, state = [], None
    for ahead in (torch.zeros(3, 2), away, away + 2 * torch.stack([-facing.sin(), facing.cos()], -1)):
        observation[:, :2] = ahead
        guide, state = route.step(observation, state)
        told.append(space.decode(guide[keys.REFERENCE_ACTION]))
    walks, turns, stands = told
    torch.testing.assert_close(walks.commands["walk"], torch.tensor([[1.1, 0.0, 0.0]]).expand(3, -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(turns.commands["walk"], torch.tensor([[0.0, 0.0, 0.6]]).expand(3, -1), atol=1e-4, rtol=0)
    assert [decision.skill.tolist() for decision in told] == [[1] * 3, [1] * 3, [0] * 3]
    assert torch.equal(stands.skill, torch.zeros(3, dtype=torch.int64))
    assert route.reference(observation)[keys.FUSED_WEIGHTS][:, 1].eq(1).all()  # it begins anew where it stands


def test_a_route_returns_to_the_line_of_its_leg(space: SkillSpace) -> None:
    """It walks to the point 1 s ahead on it, or to the corner once that is nearer, whichever way the robot faces."""
    layout = make_env("h1-maze", 1).task.layout
    steered = SkillSpace(space.library, steered=True)
    route = Route(steered, ["walk 4"], layout, speed=1.0)
    observation = torch.zeros(4, layout.size)
    observation[:, :2] = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.0, -1.0], [3.5, 0.5]])
    observation[:, 3], observation[:, 6] = 0.5**0.5, 0.5**0.5  # a quarter turn aside
    velocity = steered.decode(route.reference(observation)[keys.REFERENCE_ACTION]).commands["walk"]
    # 0.5 m aside: (1, -0.5) of length sqrt(1.25); 1 m: the diagonal; the corner lies nearer than 1 m along the last
    expected = torch.tensor([[1.0, 0.0], [2 / 5**0.5, -1 / 5**0.5], [0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)]])
    expected[3] *= 0.5**0.5 + 0.1  # it slows down to 0.5 m/s 0.4 m before the corner
    torch.testing.assert_close(velocity, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("legs", [[], ["turn 90"], ["fly 3"], ["walk"], ["walk inf"]])
def test_a_route_that_leads_nowhere_is_refused(space: SkillSpace, legs: list[str]) -> None:
    with pytest.raises(BadInput, match="route"):
        Route(space, legs, make_env("h1-maze", 1).task.layout)


def test_random_decisions_are_held_for_as_long_as_they_should_be() -> None:
    torch.manual_seed(0)
    held = HeldActions(64, lambda count: torch.rand(count, 2), share=0.3, shortest=4, longest=8)
    begins, taken, lengths = torch.zeros(64, dtype=torch.bool), [], []
    before, age = torch.full((64, 2), -1.0), torch.zeros(64, dtype=torch.int64)
    for _ in range(400):
        mask, action = held.take(begins)
        taken.append(mask)
        goes_on = mask & action.eq(before).all(-1)
        lengths += age[~goes_on & (age > 0)].tolist()
        age = torch.where(goes_on, age + 1, mask.long())
        before = torch.where(mask.unsqueeze(-1), action, -1.0)
    assert torch.stack(taken).float().mean() == pytest.approx(0.3, abs=0.03)
    assert (min(lengths), max(lengths)) == (4, 8)
    assert held.take(begins, everywhere=True)[0].all()
