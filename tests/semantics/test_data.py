"""Rendered scenes as training data of the image tower."""

import numpy as np
import pytest
import torch

from mwl.errors import BadInput
from mwl.semantics.data import FrameData, augment, shows


def test_scenes_become_labelled_pictures() -> None:
    data = FrameData({"h1-walk": "walk", "h1-door": "open_door"}, frames_per_scene=20, batch_size=8, batches=3)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    pictures, skills = batches[0]
    assert pictures.shape == (8, 96, 96, 3)
    assert pictures.dtype == torch.uint8
    assert set(skills.tolist()) <= {0, 1}
    held_out, _ = next(iter(data.val_dataloader()))
    assert len(held_out) == 6  # 15 % of 20, twice


def test_the_same_seed_renders_the_same_pictures() -> None:
    first, second = (FrameData({"h1-walk": "walk", "h1-door": "open_door"}, frames_per_scene=16) for _ in range(2))
    first.setup("fit")
    second.setup("fit")
    assert torch.equal(first.train[0], second.train[0])  # type: ignore[index]


def test_augmentation_stays_within_bytes() -> None:
    pictures = torch.randint(0, 256, (16, 4, 4, 3), dtype=torch.uint8)
    changed = augment(pictures)
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, pictures)


def test_one_skill_alone_cannot_be_told_apart() -> None:
    with pytest.raises(BadInput):
        FrameData({"h1-walk": "walk", "h1-run": "walk"})


def test_a_mark_is_seen_in_shade_and_missed_where_it_is_not() -> None:
    picture = np.full((20, 20, 3), 150, dtype=np.uint8)
    assert not shows(picture, [230, 51, 38])
    picture[3, 4:8] = [115, 26, 19]  # the same red at half the light
    assert shows(picture, [230, 51, 38])
