"""Parameters of a clause: numbers, units, ways and hands out of words, and what an expert can't do by name."""

import math
from pathlib import Path
from typing import Any

import pytest

from mwl._places import SHIPPED
from mwl.core.errors import BadInput, CorruptFile, NoSkillFits
from mwl.core.manifest import Manifest
from mwl.instructions.velocity_commands import checked, shipped_manifests
from mwl.semantics import Clause, SemanticHead
from mwl.semantics.language.grammar import load_grammar
from mwl.semantics.language.parameters import Parameters, parse
from mwl.semantics.shipped import COMMANDED


@pytest.mark.parametrize(
    ("clause", "skill", "said"),
    [
        ("walk backwards slowly for 2.5 seconds", "walk", {"pace": 0.5, "direction": "backwards", "duration": 2.5}),
        ("walk for half a minute", "walk", {"duration": 30.0}),
        ("wait a minute and a half", "stand", {"duration": 90.0}),
        ("stand for 1 minute 30 seconds", "stand", {"duration": 90.0}),
        ("wait 500 ms", "stand", {"duration": 0.5}),
        ("walk two and a half metres", "walk", {"distance": 2.5}),
        ("walk about ten feet", "walk", {"distance": 3.048}),
        ("walk 1,5 m", "walk", {"distance": 1.5}),
        ("go back a couple of metres", "walk", {"direction": "backwards", "distance": 2.0}),
        ("walk two metres in four seconds", "walk", {"speed": 0.5, "distance": 2.0}),
        ("walk at half a metre per second", "walk", {"speed": 0.5}),
        ("walk at 3.6 km/h", "walk", {"speed": 1.0}),
        ("take twenty-one steps", "walk", {"footsteps": 21}),
        ("turn left", "walk", {"angle": math.pi / 2}),
        ("turn right by forty-five degrees", "walk", {"angle": -math.pi / 4}),
        ("turn around twice", "walk", {"angle": 2 * math.pi}),
        ("take a turn to the right", "walk", {"angle": -math.pi / 2}),
        ("walk in a circle to the right", "walk", {"angle": -2 * math.pi, "arc": True}),
        ("walk half a circle", "walk", {"angle": math.pi, "arc": True}),
        ("sidestep right", "walk", {"direction": "right"}),
        ("walk two metres three times", "walk", {"distance": 6.0}),
        ("run for four seconds", "run", {"duration": 4.0}),
        ("touch the target with your right hand", "", {"side": "right"}),
        ("take a left", "walk", {"angle": math.pi / 2}),
        ("take a step to the left", "walk", {"direction": "left", "footsteps": 1}),
        ("come back", "walk", {"target": "start"}),
        ("walk slowly back to where you started", "walk", {"pace": 0.5, "target": "start"}),
        ("wait", "stand", {}),
        ("walk past the pole", "", {"target": "pole"}),
        ("turn the door handle", "", {}),
        ("stop right there", "", {}),
    ],
)
def test_words_become_parameters(clause: str, skill: str, said: dict[str, Any]) -> None:
    parsed = parse(clause)
    assert parsed.skill == skill
    assert _rounded(parsed.parameters.said()) == _rounded(said)


@pytest.mark.parametrize(
    ("clause", "skill", "said"),
    [
        ("climb the stairs", "walk_rough", {"ground": "stairs", "rise": 1}),
        ("please go straight up the steps", "walk_rough", {"direction": "", "ground": "stairs", "rise": 1}),
        ("descend the staircase", "walk_rough", {"ground": "stairs", "rise": -1}),
        ("walk uphill", "walk_rough", {"ground": "slope", "rise": 1}),
        ("walk down the ramp for two metres", "walk_rough", {"ground": "slope", "distance": 2.0}),
        ("walk over rough ground", "walk_rough", {"ground": "slope"}),
        ("could you take a seat, please", "sit", {}),
        ("sit on the chair for five seconds", "sit", {"duration": 5.0}),
        ("use the stairs", "walk_rough", {"ground": "stairs", "rise": 1}),
        ("take the stairs down", "walk_rough", {"ground": "stairs", "rise": -1}),
        ("crawl", "crawl", {"ground": "tunnel"}),
        ("please crawl on all fours", "crawl", {"ground": "tunnel"}),
        ("walk through the tunnel", "crawl", {"ground": "tunnel", "rise": 1}),
        ("crawl two metres", "crawl", {"ground": "tunnel", "distance": 2.0}),
        ("run and jump over the hurdles", "hurdle", {"ground": "hurdles", "rise": 3}),
        ("step over the hurdle", "hurdle", {"ground": "hurdles", "rise": 1}),
        ("jump over two hurdles", "hurdle", {"ground": "hurdles", "rise": 2}),
        ("balance on the board for ten seconds", "balance", {"ground": "board", "duration": 10.0}),
        ("stand on the board", "balance", {"ground": "board"}),
        ("balance on one leg", "", {}),
        ("balance on the rolling board", "", {}),
        ("jump", "", {}),
        ("jump over the table", "", {}),
        ("walk through the maze", "maze", {"ground": "maze", "rise": 1}),
        ("please find your way out of the labyrinth", "maze", {"ground": "maze", "rise": 1}),
        ("walk two metres through the maze", "maze", {"ground": "maze", "distance": 2.0}),
        ("walk straight between the poles", "pole", {"ground": "poles", "rise": 10}),
        ("go through the poles for five seconds", "pole", {"ground": "poles", "duration": 5.0}),
        ("leave the maze", "maze", {"ground": "maze", "rise": 1}),
        ("leave the maze alone", "", {}),
        ("run through the maze", "", {"target": "maze"}),
        ("walk to the maze", "", {"target": "maze"}),
        ("walk between two poles", "", {}),
        ("walk past the pole", "", {"target": "pole"}),
        ("walk to the tunnel", "", {"target": "tunnel"}),
        ("crawl to the door", "", {"target": "door"}),
        ("walk to the hurdles", "", {"target": "hurdles"}),
        ("jump over -3 hurdles", "", {}),
        ("jump over 2.5 hurdles", "", {}),
        ("climb the ladder", "", {}),
        ("climb three metres", "", {"distance": 3.0}),
        ("run up the stairs", "", {}),
        ("walk backwards up the stairs", "", {"direction": "backwards"}),
        ("walk to the stairs", "", {"target": "stairs"}),
        ("sit on the floor", "", {}),
    ],
)
def test_stairs_slopes_and_a_chair_are_asked_for_where_somebody_can(
    clause: str, skill: str, said: dict[str, Any]
) -> None:
    parsed = parse(clause, skills=tuple(COMMANDED))
    assert parsed.skill == skill
    assert _rounded(parsed.parameters.said()) == {name: value for name, value in said.items() if value}
    assert parse(clause).skill in ("", "walk")  # nobody can: as any other words


def _rounded(said: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in said.items()}


@pytest.mark.parametrize(
    "clause",
    [
        "walk -3 metres",
        "walk minus three metres",
        "walk 0 m",
        "turn left and right",
        "walk in 2 seconds",
        "turn",
        "come back two metres",
    ],
)
def test_words_that_contradict_themselves_are_refused(clause: str) -> None:
    with pytest.raises(BadInput):
        parse(clause)


@pytest.mark.parametrize(
    ("skill", "told", "why"),
    [
        ("walk", Parameters(speed=2.0), "at most 1.6 m/s, not 2"),
        ("walk", Parameters(speed=0.8, direction="backwards"), "backwards at most 0.5 m/s"),
        ("walk", Parameters(count=3), "3 times"),
        ("walk", Parameters(side="left"), "no hand"),
        ("run", Parameters(pace=0.5), "one speed"),
        ("run", Parameters(direction="backwards"), "forwards alone"),
        ("reach", Parameters(side="both"), "one hand at a time"),
        ("stand", Parameters(distance=2.0), "no distance"),
        ("handle_pull", Parameters(side="left"), "no hand"),
    ],
)
def test_what_an_expert_cannot_do_is_refused_by_name(skill: str, told: Parameters, why: str) -> None:
    with pytest.raises(NoSkillFits, match=why) as refusal:
        checked([Clause("so", {skill: 1.0}, parameters=told)], shipped_manifests())
    assert skill in str(refusal.value)


def test_ranges_are_those_of_the_manifest() -> None:
    ranges = {"command_range": {"low": [-1.0, -1.0, -1.0], "high": [3.0, 1.0, 1.0]}}
    manifest = Manifest.of({**shipped_manifests()["walk"], **ranges})
    (told,) = checked([Clause("so", {"walk": 1.0}, parameters=Parameters(speed=2.0))], {"walk": manifest})
    assert told is not None
    assert (told.speed, told.way) == (2.0, (1.0, 0.0))


def test_faster_is_faster_than_the_step_before(head: SemanticHead) -> None:
    first, second = checked(head.plan("walk slowly, then faster"), shipped_manifests())
    assert first is not None
    assert second is not None
    assert second.speed == pytest.approx(1.33 * first.speed)
    with pytest.raises(NoSkillFits, match="than what"):
        head.plan("faster")


@pytest.mark.parametrize(
    ("text", "part"),
    [("walk, jump, then stand", "jump"), ("stop walking and sit down", "sit down"), ("stand and then dance", "dance")],
)
def test_a_part_that_no_skill_fits_refuses_the_whole(head: SemanticHead, text: str, part: str) -> None:
    with pytest.raises(NoSkillFits, match=part):
        head.plan(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("walk foward 2 meteres", "2 of what"),
        ("come back", "from where"),
        ("walk in a square with sides of two metres", "no skill fits"),
        ("take a big step forward", "no skill fits"),
        ("walk two metres north", "no skill fits"),
        ("...", "no words"),
    ],
)
def test_what_is_not_understood_is_not_passed_over(head: SemanticHead, text: str, why: str) -> None:
    with pytest.raises(NoSkillFits, match=why):
        head.plan(text)


@pytest.mark.parametrize("words", ["walk 2 metres and back", "walk two metres, turn around, then walk back"])
def test_back_means_the_start_once_one_has_gone(head: SemanticHead, words: str) -> None:
    assert head.plan(words)[-1].parameters.said() == {"target": "start"}
    (alone,) = head.plan("walk back")
    assert alone.parameters.said() == {"direction": "backwards"}


def test_a_robot_may_be_called(head: SemanticHead) -> None:
    assert [clause.text for clause in head.plan("Hey robot, I want you to walk ahead")] == ["walk ahead"]


@pytest.mark.parametrize("text", ["stop", "STOP!", "abort", "emergency stop", "cancel"])
def test_a_robot_told_to_stop_stands(head: SemanticHead, text: str) -> None:
    (clause,) = head.plan(text)
    assert clause.weights["stand"] > 0.9


def test_a_grammar_may_be_extended(tmp_path: Path) -> None:
    content = (SHIPPED / "data" / "semantics" / "grammar.yaml").read_text()
    file = tmp_path / "grammar.yaml"
    file.write_text(content.replace("1609.344: [mile, miles]", "1609.344: [mile, miles]\n    201.168: [furlong]"))
    assert parse("walk a furlong", load_grammar(file)).parameters.distance == pytest.approx(201.168)
    file.write_text("units: 3")
    with pytest.raises(CorruptFile, match="not a grammar"):
        load_grammar(file)


@pytest.mark.parametrize(
    ("table", "word", "clause", "skill", "said"),
    [
        ("takes", "ride", "ride the stairs", "walk_rough", {"ground": "stairs", "rise": 1}),
        ("alone", "balance now", "balance now", "balance", {"ground": "board"}),
        ("towards", "alongside", "walk alongside the pole", "", {"target": "pole"}),
        ("to", "unto", "walk unto the door", "walk", {"target": "door"}),
        ("beside", "hard by", "stand hard by the door", "stand", {"target": "door"}),
        ("within", "inside", "walk 2 metres inside 4 seconds", "walk", {"distance": 2.0, "speed": 0.5}),
        ("about", "circa", "walk circa 2 metres", "walk", {"distance": 2.0}),
    ],
)
def test_every_word_that_goes_before_another_stands_in_the_grammar(
    table: str, word: str, clause: str, skill: str, said: dict[str, Any], tmp_path: Path
) -> None:
    content = (SHIPPED / "data" / "semantics" / "grammar.yaml").read_text()
    file = tmp_path / "grammar.yaml"
    file.write_text(content.replace(f"\n{table}: [", f"\n{table}: [{word}, "))
    grown, skills = parse(clause, load_grammar(file), tuple(COMMANDED)), tuple(COMMANDED)
    assert (grown.skill, _rounded(grown.parameters.said())) == (skill, said)
    shipped = parse(clause, skills=skills)
    assert (shipped.skill, _rounded(shipped.parameters.said())) != (skill, said)


@pytest.mark.parametrize(
    "clause",
    [
        "walk inf metres",
        "walk nan m",
        "walk for -infinity seconds",
        "walk 1e999 metres",
        "take an infinite number of steps",
    ],
)
def test_a_number_without_end_is_refused_by_name(clause: str) -> None:
    with pytest.raises(BadInput, match="no number that a robot can count to"):
        parse(clause)


@pytest.mark.parametrize(
    ("text", "until", "duration"),
    [
        ("stand by the door", "at_door", None),
        ("wait next to the door for two seconds", "at_door", 2.0),
        ("please stand in front of the target", "at_goal", None),
    ],
)
def test_who_stands_by_a_thing_goes_there_first(text: str, until: str, duration: float | None) -> None:
    way, stay = SemanticHead.load("embedded").plan(text)
    assert [max(step.weights, key=step.weights.__getitem__) for step in (way, stay)] == ["walk", "stand"]
    assert (way.until, stay.until, stay.parameters.duration) == (until, "never", duration)
