"""Words of gestures: which are one, with which arm, and what is none."""

import pytest

from mwl.core.errors import NoSkillFits
from mwl.semantics import SemanticHead
from mwl.semantics.language.parameters import Parameters, parse

SKILLS = ("raise_arm", "wave", "crouch")


@pytest.mark.parametrize(
    ("clause", "skill", "told"),
    [
        ("wave your hand", "wave", Parameters()),
        ("please wave to the audience", "wave", Parameters()),
        ("wave your left arm for five seconds", "wave", Parameters(duration=5.0, side="left")),
        ("give a right-handed wave", "wave", Parameters(side="right")),
        ("wave with both hands", "wave", Parameters(side="both")),
        ("say hello to the people", "wave", Parameters()),
        ("wave at me", "wave", Parameters()),
        ("say hello to everybody", "wave", Parameters()),
        ("raise your right arm", "raise_arm", Parameters(side="right")),
        ("lift your left hand above your head", "raise_arm", Parameters(side="left")),
        ("hands up", "raise_arm", Parameters(side="both")),
        ("hold your arm up for 3 seconds", "raise_arm", Parameters(duration=3.0)),
        ("crouch down", "crouch", Parameters()),
        ("squat for four seconds", "crouch", Parameters(duration=4.0)),
        ("crouch 3 metres", "crouch", Parameters(distance=3.0)),  # which is refused with the reason
    ],
)
def test_words_of_a_gesture_and_its_arm(clause, skill, told):
    parsed = parse(clause, skills=SKILLS)
    assert (parsed.skill, parsed.parameters) == (skill, told)


@pytest.mark.parametrize(
    "clause",
    [
        *("a wave of heat is coming this week", "wave function of the electron", "a wave", "wave of protest"),
        *("raise", "raise the box", "raise your leg", "lift weights", "raise the price", "lift your left leg and wave"),
        *("crouch under the table", "a person squats down", "arms", "crouch with your left hand", "put it down"),
    ],
)
def test_what_says_anything_else_is_no_gesture(clause):
    assert parse(clause, skills=SKILLS).skill not in SKILLS


def test_without_a_skill_its_words_ask_for_nothing():
    assert parse("wave your hand", skills=("raise_arm",)).skill == ""


@pytest.mark.parametrize("words", ["wave while walking", "walk while waving", "raise your right arm while you run"])
def test_a_gesture_is_done_alone(words):
    with pytest.raises(NoSkillFits, match="while doing anything else"):
        SemanticHead.load("embedded").plan(words)


def test_gestures_follow_one_another():
    plan = SemanticHead.load("embedded").plan("raise your left arm, then wave for two seconds, and then walk")
    skills = [max(clause.weights, key=clause.weights.__getitem__) for clause in plan]
    assert skills == ["raise_arm", "wave", "walk"]
    assert (plan[0].parameters.side, plan[1].parameters.duration) == ("left", 2.0)


def test_what_is_forbidden_is_not_done():
    with pytest.raises(NoSkillFits):
        SemanticHead.load("embedded").plan("do not wave")


def test_nobody_goes_around_a_thing():
    head = SemanticHead.load("embedded")
    for words in ("walk around the chair", "run twice around the big table", "stand, then go round the ball"):
        with pytest.raises(NoSkillFits, match="nobody here goes around a thing"):
            head.plan(words)
    for words in ("turn around", "walk around in a circle"):
        head.plan(words)
