"""Rendered scenes as training data of the image tower."""

import numpy as np
import pytest
import torch

from mwl.core.errors import BadInput
from mwl.semantics.data import NOTHING, FrameData, augment
from mwl.semantics.encoders.distractors import captioned, no_scenes, patterns
from mwl.semantics.scenes import differ, render_scenes


def test_scenes_become_labelled_pictures() -> None:
    data = FrameData(
        {"h1-walk": "walk", "h1-door": "open_door"}, frames_per_scene=10, batch_size=8, batches=3, image_size=80
    )
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    pictures, skills = batches[0]
    assert pictures.shape == (8, 80, 80, 3)
    assert pictures.dtype == torch.uint8
    assert set(skills.tolist()) <= {0, 1, NOTHING}
    assert skills.tolist().count(NOTHING) == 2  # a quarter of 8
    held_out, _ = next(iter(data.val_dataloader()))
    assert len(held_out) == 4  # 15 % of 10, rounded, twice


def test_the_same_seed_renders_the_same_pictures() -> None:
    first, second = (
        FrameData({"h1-walk": "walk", "h1-door": "open_door"}, frames_per_scene=6, image_size=80) for _ in range(2)
    )
    first.setup("fit")
    second.setup("fit")
    assert torch.equal(first.train[0], second.train[0])  # type: ignore[index]


def test_augmentation_stays_within_bytes() -> None:
    pictures = torch.randint(0, 256, (16, 80, 80, 3), dtype=torch.uint8)
    changed = augment(pictures)
    assert changed.dtype == torch.uint8
    assert changed.shape == pictures.shape
    assert not torch.equal(changed, pictures)
    assert patterns(3, 80).shape == (3, 80, 80, 3)


def test_scenes_that_call_for_no_skill_are_learned_as_such() -> None:
    scenes = {"h1-walk": "walk", "h1-door": "open_door"}
    data = FrameData(scenes, frames_per_scene=4, validation_share=0.25, image_size=80, others=["h1-maze", "h1-push"])
    data.setup("fit")
    for (pictures, skills), each in ((data.train, 3), (data.validation, 1)):  # type: ignore[misc]
        assert len(pictures) == len(skills)
        assert skills[skills != NOTHING].tolist() == [0] * each + [1] * each
    # two of each other task, of which a quarter, rounded to none, is held out
    assert data.train[1].tolist().count(NOTHING) == 4  # type: ignore[index]


def test_pictures_of_no_scene_are_of_many_kinds_and_the_same_for_a_seed() -> None:
    scenes = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(no_scenes(24, scenes))
    assert drawn[0].shape == (24, 64, 64, 3)
    assert drawn[0].dtype == torch.uint8
    assert torch.equal(*drawn)
    assert len(drawn[0].flatten(1).unique(dim=0)) >= 20, (
        "but for two scenes that were changed in the same way, all differ"
    )
    assert not any(torch.equal(picture, scene) for picture in drawn[0] for scene in scenes)


def test_a_caption_leaves_what_is_below_it() -> None:
    pictures = torch.full((8, 64, 64, 3), 200, dtype=torch.uint8)
    told = captioned(pictures, share=1.0)
    assert (told[:, 0].float().mean(dim=(1, 2)) < 200).all(), "a strip at the top is dark"
    assert torch.equal(told[:, 25:], pictures[:, 25:]), "it takes a third at the most, and a row"
    assert torch.equal(captioned(pictures, share=0.0), pictures)


def test_one_skill_alone_cannot_be_told_apart() -> None:
    with pytest.raises(BadInput):
        FrameData({"h1-walk": "walk", "h1-run": "walk"})


def test_a_thing_is_in_view_where_a_picture_differs_from_its_twin() -> None:
    twin = np.full((20, 20, 3), 150, dtype=np.uint8)
    picture = twin.copy()
    assert not differ(picture, twin)
    picture[3, 4:9] = [115, 26, 19]
    assert not differ(picture, twin), "five pixels are one too few"
    picture[4, 4] = [115, 26, 19]
    assert differ(picture, twin)


def test_every_picture_of_a_target_shows_it() -> None:
    scenes = render_scenes("h1-walk", ["h1-reach"], 8, 96, 3, {})
    reddish = (scenes["h1-reach"].float() @ torch.tensor([1.0, -0.5, -0.5])).amax(dim=(1, 2))
    grey = (scenes["h1-walk"].float() @ torch.tensor([1.0, -0.5, -0.5])).amax(dim=(1, 2))
    # Red of 230, 51, 38 gives 185 in full light. Where the ball is out of view, its shadow alone tells.
    assert (reddish > 40).float().mean() >= 0.5
    assert (grey < 40).all()
