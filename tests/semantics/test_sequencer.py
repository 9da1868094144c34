"""Following a plan: what ends a step, what is logged, and what a near fall does."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mwl.core.errors import BadInput, CorruptFile, MissingFile
from mwl.semantics import Clause, Sequencer, SequencerConfig
from mwl.semantics.language.clauses import condition, ending
from mwl.semantics.language.connectors import Connector, load_connectors
from mwl.semantics.language.parameters import Parameters
from mwl.semantics.language.recipes import load_recipes
from mwl.semantics.plan.progress import met
from mwl.semantics.shipped import shipped_connectors
from mwl.simulation import get_task

REACH = get_task("h1-reach").layout
STAND, WALK, REACHING = (
    {"stand": 1.0, "walk": 0.0, "reach": 0.0},
    {"stand": 0.0, "walk": 1.0, "reach": 0.0},
    {"stand": 0.0, "walk": 0.0, "reach": 1.0},
)


def _observation(x: float = 0.0, height: float = 0.98, gap: float = 1.0) -> Tensor:
    observation = torch.zeros(REACH.size)
    observation[0], observation[2], observation[3] = x, height, 1.0  # upright: quaternion (1, 0, 0, 0)
    observation[REACH.slices["goal"].start] = gap
    return observation


def test_a_step_ends_after_its_time_and_the_last_one_stays() -> None:
    sequencer = Sequencer([Clause("stand", STAND, steps=3), Clause("walk", WALK)])
    seen = [int(sequencer.update(_observation(), REACH, step).argmax()) for step in range(600)]
    assert seen[:3] == [0, 0, 0]
    assert set(seen[3:]) == {1}
    first, last = sequencer.decisions
    assert (first.step, first.before, first.after, first.reason) == (3, 0, 1, "time is up")
    assert (last.before, last.after, last.reason) == (1, 2, "no progress"), "two steps, so 2 lies past the end"
    assert sequencer.finished


def test_a_step_that_waits_for_something_is_tried_once_more_before_it_is_left() -> None:
    config = SequencerConfig(timeout=5, retries=1)
    sequencer = Sequencer([Clause("reach", REACHING, until="hand_at_goal"), Clause("stand", STAND)], config)
    seen = [int(sequencer.update(_observation(), REACH, step).argmax()) for step in range(12)]
    assert seen == [2] * 11 + [0], "left with the sixth update of the second try"
    assert [d.reason for d in sequencer.decisions] == ["time is up: once more", "time is up"]


def test_between_a_run_and_a_stand_somebody_walks() -> None:
    skills = ("run", "stand", "walk")
    run, stand, _ = ({name: float(name == skill) for name in skills} for skill in skills)
    ways = [Connector("run", "stand", by, steps) for by, steps in (("slow_down", 9), ("walk", 3), ("run", 9))]
    config = SequencerConfig(connectors=tuple(ways))  # the first that can be carried out
    sequencer = Sequencer([Clause("run", run, steps=2), Clause("stop", stand, steps=2), Clause("run", run)], config)
    seen = [int(sequencer.update(_observation(), REACH, step).argmax()) for step in range(9)]
    assert seen == [0] * 2 + [2] * 3 + [1] * 2 + [0] * 2, "a step's time begins with its own skill"
    assert [d.reason for d in sequencer.decisions] == ["time is up", "from run to stand: walk in between", "time is up"]
    sequencer.replan([Clause("run", run), Clause("stop", stand)], 1, 9, "the scene changed")
    assert int(sequencer.update(_observation(), REACH, 9).argmax()) == 2, "so it is under another plan"
    sequencer.reset()
    assert int(sequencer.update(_observation(), REACH, 0).argmax()) == 0, "and nothing is left where a plan begins"


def test_transitions_are_kept_where_somebody_can_carry_them_out(tmp_path: Path) -> None:
    ways = [(way.after, way.by) for way in shipped_connectors(["run", "stand", "walk", "slow_down"])]
    assert ways == [("stand", "slow_down"), ("stand", "walk"), ("walk", "slow_down")]
    (found,) = shipped_connectors(["run", "stand", "walk"])
    assert (found.before, found.after, found.by) == ("run", "stand", "walk")
    assert shipped_connectors(["run", "stand"]) == ()
    entry = "- {before: run, after: stand, by: walk"
    for content in (f"{entry}}}", f"{entry}, steps: 0}}", "5"):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(CorruptFile, match="not a list of connectors"):
            load_connectors(tmp_path / "bad.yaml", ["walk"])
    with pytest.raises(MissingFile):
        load_connectors(tmp_path / "none.yaml", ["walk"])


def test_another_plan_takes_over_where_it_is_told_to() -> None:
    sequencer = Sequencer([Clause("stand", STAND, steps=1), Clause("walk", WALK)])
    for step in range(3):
        sequencer.update(_observation(), REACH, step)
    assert sequencer.place == [1]
    sequencer.replan(
        [Clause("stand", STAND), Clause("reach", REACHING), Clause("walk", WALK)], 1, 3, "the scene changed"
    )
    assert int(sequencer.update(_observation(), REACH, 3).argmax()) == 2
    assert (sequencer.decisions[-1].after, sequencer.decisions[-1].reason) == (1, "the scene changed")


@pytest.mark.parametrize("skill", ["crawl", "crouch"])
def test_near_the_ground_is_no_fall_for_who_is_there_on_purpose(skill: str) -> None:
    sequencer = Sequencer([Clause(skill, {"stand": 0.0, skill: 1.0})])
    assert int(sequencer.update(_observation(height=0.4), REACH, 0).argmax()) == 1
    assert not sequencer.decisions


def test_the_first_step_may_take_longer_in_some_environments() -> None:
    sequencer = Sequencer([Clause("stand", STAND, steps=3), Clause("walk", WALK)])
    sequencer.longer = torch.tensor([0, 4])
    both = torch.stack([_observation(), _observation()])
    seen = torch.stack([sequencer.update(both, REACH, step).argmax(dim=-1) for step in range(8)])
    assert (seen == 0).sum(dim=0).tolist() == [3, 7]


def test_a_met_goal_ends_a_step_in_its_environment_alone() -> None:
    sequencer = Sequencer([Clause("reach", REACHING, until="hand_at_goal"), Clause("stand", STAND)])
    far, near = _observation(gap=0.06), _observation(gap=0.04)  # m, on either side of 5 cm
    weights = sequencer.update(torch.stack([far, near]), REACH, 0)
    assert weights.argmax(dim=-1).tolist() == [2, 0]
    assert [(d.environment, d.reason) for d in sequencer.decisions] == [(1, "the hand is at the target")]
    sequencer.reset(torch.tensor([False, True]))
    assert sequencer.update(torch.stack([far, far]), REACH, 1).argmax(dim=-1).tolist() == [2, 2]


def test_a_robot_is_at_its_goal_where_the_hand_reaches_it_and_it_stands_still() -> None:
    steady, moving, beyond = _observation(), _observation(), _observation()
    goal, velocity = REACH.slices["goal"], REACH.slices["robot_qvel"]
    for observation in (steady, moving):
        observation[goal] = torch.tensor([0.35, 0.2, 1.5])  # within 4 cm of 0.32 m ahead, 0.18 m to the left
    moving[velocity.start] = 0.3  # m/s
    beyond[goal] = torch.tensor([0.35, -0.2, 1.5])  # to the right, 0.38 m off
    turned = steady.clone()
    turned[3:7] = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5])  # a quarter turn to the left: the goal is to the right
    assert met("at_goal", torch.stack([steady, moving, beyond, turned]), REACH).tolist() == [True, False, False, False]


def test_walking_that_gets_nowhere_is_left_and_walking_that_does_is_not() -> None:
    config = SequencerConfig(stall=10)
    stuck = Sequencer([Clause("walk", WALK), Clause("stand", STAND)], config)
    getting_on = Sequencer([Clause("walk", WALK), Clause("stand", STAND)], config)
    for step in range(30):
        last_stuck = stuck.update(_observation(), REACH, step)
        last_moving = getting_on.update(_observation(x=0.02 * step), REACH, step)  # 1 m/s
    assert int(last_stuck.argmax()) == 0
    assert stuck.decisions[0].reason == "no progress"
    assert int(last_moving.argmax()) == 1
    assert not getting_on.decisions


def test_a_near_fall_puts_all_weight_on_standing_until_it_is_over() -> None:
    sequencer = Sequencer([Clause("walk", WALK)])
    chosen = [int(sequencer.update(_observation(height=h), REACH, i).argmax()) for i, h in enumerate([1.0, 0.7, 1.0])]
    assert chosen == [1, 0, 1]
    assert [d.reason for d in sequencer.decisions] == ["about to fall: recover", "recovered: go on"]


def test_plans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput):
        Sequencer([])
    with pytest.raises(BadInput):
        Sequencer([Clause("a", {"stand": 1.0}), Clause("b", {"walk": 1.0})])
    with pytest.raises(BadInput, match="moon"):
        Sequencer([Clause("a", {"stand": 1.0}, until="moon")])


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("walk forward", ("walk forward", "never")),
        ("walk until you are at the door", ("walk", "at_door")),
        ("pull until the door is open", ("pull", "door_open")),
        ("reach out until your hand touches the ball", ("reach out", "hand_at_goal")),
        ("walk until you are close to the target", ("walk", "at_goal")),
    ],
)
def test_what_ends_a_clause(clause: str, expected: tuple[str, str]) -> None:
    assert ending(clause) == expected


@pytest.mark.parametrize(
    "clause", ["walk until dawn", "walk until you are through the maze", "if you are tired, stand", "when I clap, walk"]
)
def test_a_condition_that_nothing_can_see_is_refused(clause: str) -> None:
    with pytest.raises(BadInput, match="the door is open"):
        ending(condition(clause)[0])


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("if the door is closed, open it", ("open it", "not door_open")),
        ("stand unless the door is open", ("stand", "not door_open")),
        ("if you are at the door, stand", ("stand", "at_door")),
        ("if you are through, stand", ("stand", "through_door")),
        ("stand if you have gone through the doorway", ("stand", "through_door")),
        ("walk", ("walk", "")),
    ],
)
def test_a_condition_is_a_predicate(clause: str, expected: tuple[str, str]) -> None:
    assert condition(clause) == expected


def _at(x: float, yaw: float = 0.0) -> Tensor:
    observation = _observation(x)
    observation[3], observation[6] = math.cos(yaw / 2), math.sin(yaw / 2)
    return observation


def _ends(told: Parameters, observations: list[Tensor], until: str = "never") -> list[tuple[str, str]]:
    steps = [Clause("walk", WALK, until, parameters=told), Clause("stand", STAND)]
    sequencer = Sequencer(steps, SequencerConfig(timeout=20, retries=0))
    for step, observation in enumerate(observations):
        sequencer.update(observation, REACH, step)
    return sequencer.states()


def test_a_step_ends_by_what_was_asked_and_says_how() -> None:
    on = [_at(0.02 * step) for step in range(80)]  # 1 m/s
    assert _ends(Parameters(distance=1.0), on)[0] == ("done", "1 m gone")
    round_about = [_at(0.0, 0.02 * step) for step in range(100)]  # past half a turn, where the angle jumps
    assert _ends(Parameters(angle=1.9), round_about)[0] == ("done", "turned as far as asked")
    assert _ends(Parameters(angle=-1.9), round_about)[0] == ("", ""), "the other way round"
    assert _ends(Parameters(target="table"), on)[0] == ("impossible", "no table is here")
    assert _ends(Parameters(), on, "door_open")[0][0] == "impossible", "the task shows no door"
    assert _ends(Parameters(), on, "hand_at_goal")[0] == ("timed out", "time is up")
    assert _ends(Parameters(distance=9.0), [_at(0.0)] * 200)[0] == ("failed", "no progress")


def test_a_touch_for_a_time_is_over_when_it_has_lasted() -> None:
    """Held for two steps, then lost, then held for the five of 0.1 s: the sixth sight of it says that they are over."""
    clause = Clause("touch", REACHING, "hand_at_goal", steps=5, parameters=Parameters(duration=0.1))
    sequencer = Sequencer([clause, Clause("stand", STAND)], SequencerConfig(timeout=20, retries=0))
    for step, gap in enumerate([1.0] * 3 + [0.0] * 2 + [1.0] + [0.0] * 7):
        sequencer.update(_observation(gap=gap), REACH, step)
    assert sequencer.states()[0] == ("done", "the hand is at the target for 0.1 s")
    assert sequencer.decisions[0].step == 3 + 2 + 1 + 5
    lost = Sequencer([clause, Clause("stand", STAND)], SequencerConfig(timeout=20, retries=0))
    for step in range(30):
        lost.update(_observation(gap=float(step % 4 == 0)), REACH, step)
    assert lost.states()[0] == ("timed out", "time is up")


def test_a_step_is_passed_over_unless_its_condition_holds() -> None:
    steps = [Clause("reach", REACHING, when=when) for when in ("hand_at_goal", "not hand_at_goal")]
    sequencer = Sequencer([*steps, Clause("stand", STAND)])
    for step in range(3):
        sequencer.update(_observation(gap=1.0), REACH, step)
    assert sequencer.states()[0] == ("done", "passed over: the hand is not at the target")
    assert sequencer.place == [1]


def test_a_recipe_with_an_unknown_predicate_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "recipes.yaml"
    file.write_text("- {name: a, phrases: [b], needs: [c], steps: [{text: d, until: moon}]}")
    with pytest.raises(CorruptFile, match="moon"):
        load_recipes(file)


def test_who_has_opened_the_door_is_at_it_and_has_turned_its_handle():
    layout = get_task("h1-door").layout
    observation = torch.zeros(4, layout.size)  # at the start, before the shut door, the handle level
    hinge, hatch = layout.slices["door_qpos"].start, layout.slices["door_qpos"].start + 1
    observation[1, hatch] = 0.8  # turned
    observation[2, hinge] = 0.3  # ajar, the handle sprung back
    observation[3, hinge] = 0.2  # not past the bolt
    for predicate in ("at_door", "handle_turned"):
        assert met(predicate, observation, layout).tolist() == [False, True, True, False], predicate
