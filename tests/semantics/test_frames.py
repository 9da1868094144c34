"""The picture decides what "go on" means: fresh frames of three scenes, and pictures that show none of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mwl.core import keys
from mwl.core.errors import NoSkillFits
from mwl.semantics import Card, SemanticHead
from mwl.semantics.head import LEAST_COLOURS
from mwl.semantics.scenes import CAMERAS, differ
from mwl.simulation import make_env

SCENES = {"h1-walk": "walk", "h1-reach": "reach", "h1-door": "open_door"}
DOOR = Card("open_door", "open the door by its handle", ["pull open the door", "turn the door handle"])
SEED, ROBOTS = 40_000, 8  # no seed that training uses
AT_LEAST = 0.8  # chance is one in four


def _some_steps(task: str) -> Any:
    """Environments five random steps into new episodes."""
    env: Any = make_env(task, ROBOTS, seed=SEED)
    state = env.reset()
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(5):
        state[keys.ACTION] = 0.2 * torch.randn(ROBOTS, env.action_spec.shape[-1], generator=generator)
        state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
    return env


def _frames(task: str) -> Iterator[np.ndarray]:
    """Pictures from all cameras, without those that the scene's thing is out of."""
    env, twin = _some_steps(task), make_env("h1-walk", ROBOTS)
    twin.reset()
    qpos, qvel = env.state
    twin.set_state(qpos[:, : twin.model.nq], qvel[:, : twin.model.nv])
    for index in range(ROBOTS):
        for camera in CAMERAS:
            picture, empty = (e.render(index, 240, 160, camera, backend="raycast") for e in (env, twin))
            if task == "h1-walk" or differ(picture, empty):
                yield picture


@pytest.fixture
def with_door(head: SemanticHead) -> SemanticHead:
    """Stand, walk, reach and open_door."""
    head.set_cards([*head.cards, DOOR])
    return head


@pytest.mark.parametrize("task", list(SCENES))
def test_the_scene_decides_what_going_on_means(with_door: SemanticHead, task: str) -> None:
    right = []
    for picture in _frames(task):
        for phrase in ("go on", "do the task"):
            try:
                weights = with_door.weights(phrase, picture)
                right.append(max(weights, key=weights.__getitem__) == SCENES[task])
            except NoSkillFits:
                right.append(False)
    assert len(right) >= 16
    assert np.mean(right) >= AT_LEAST


def test_words_that_say_what_to_do_are_not_overruled(with_door: SemanticHead) -> None:
    picture = next(_frames("h1-door"))
    assert with_door.weights("walk forward", picture) == with_door.weights("walk forward")


def test_a_scene_that_no_skill_is_for_is_refused(head: SemanticHead) -> None:
    with pytest.raises(NoSkillFits, match="picture"):
        head.weights("go on", next(_frames("h1-door")))


@pytest.mark.parametrize("ground", [(255, 255, 255), (128, 128, 128), (200, 200, 200)])
@pytest.mark.parametrize("drawn", [None, (200, 20, 20), (120, 70, 30), (20, 200, 20)])
def test_a_drawing_is_no_scene(
    with_door: SemanticHead, ground: tuple[int, int, int], drawn: tuple[int, int, int] | None
) -> None:
    picture = np.full((240, 320, 3), ground, np.uint8)
    if drawn:
        picture[60:180, 120:200] = drawn
    with pytest.raises(NoSkillFits, match="picture"):
        with_door.weights("go on", picture)


def test_a_small_picture_of_a_door_has_the_shades_of_a_scene() -> None:
    env = _some_steps("h1-door")
    for camera in CAMERAS:  # the fewest colours are those of a door that fills the view: 29
        assert len(np.unique(env.render(0, 64, 64, camera, backend="raycast").reshape(-1, 3), axis=0)) > LEAST_COLOURS


def test_going_on_before_a_door_unfolds_to_the_recipe(with_door: SemanticHead) -> None:
    plan = with_door.plan("stand still, then go on", next(_frames("h1-door")))
    assert [max(c.weights, key=c.weights.__getitem__) for c in plan] == ["stand", *["open_door"] * 3]
    assert [bool(clause.seen) for clause in plan] == [False, True, True, True]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (240, 320, 4)])
def test_pictures_of_any_shape_are_looked_at(head: SemanticHead, shape: tuple[int, ...]) -> None:
    scores = head.picture_scores(np.full(shape, 90, dtype=np.uint8))
    assert scores.shape == (3,)
    assert bool(torch.isfinite(scores).all())
