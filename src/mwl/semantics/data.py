"""Frames of the simulation with the skill their scene calls for: what the image tower learns from."""

from collections.abc import Iterator, Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Seed, ShareBelowOne
from mwl.semantics.encoders.distractors import captioned, no_scenes
from mwl.semantics.scenes import render_scenes

NOTHING = -1  # label of pictures that show no scene
_NO_SCENE = 0.25  # share of a batch that shows no scene at all, so that such pictures are told from scenes
_COARSEST = 64  # pixels, side of the coarsest pictures learned from


class FrameData(pl.LightningDataModule):
    """Renders scenes from all cameras, with the robot in states that differ, and hands out batches of them.

    Args:
        scenes: the skill that each task's scene calls for, by task name; the first task's scene is open ground.
        frames_per_scene: pictures rendered of each.
        batch_size: pictures per batch.
        batches: batches in all.
        image_size: side of a picture in pixels.
        validation_share: share of the pictures, the last ones, kept for validation.
        seed: seed of the scenes.
        cameras: by task, cameras of its own that pictures are taken with as well.
        others: tasks whose scenes call for none of the skills; all of them get as many pictures as one of `scenes`.
    """

    def __init__(
        self,
        scenes: dict[str, str],
        frames_per_scene: Count = 400,
        batch_size: Count = 64,
        batches: Count = 250,
        image_size: Count = 160,
        validation_share: ShareBelowOne = 0.15,
        seed: Seed = 0,
        cameras: dict[str, list[str]] | None = None,
        others: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if len(set(scenes.values())) < 2:
            raise BadInput("data.scenes needs scenes of at least two skills, or there is nothing to tell apart")
        self.scenes, self.frames_per_scene, self.image_size = scenes, frames_per_scene, image_size
        self.batch_size, self.batches, self.validation_share, self.seed = batch_size, batches, validation_share, seed
        self.cameras, self.nothing = cameras or {}, round(_NO_SCENE * batch_size)
        self.others = list(others)
        self.skills = list(dict.fromkeys(scenes.values()))
        self.train: tuple[Tensor, Tensor] | None = None
        self.validation: tuple[Tensor, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Render."""
        if self.train is not None:
            return
        ground, *tasks = self.scenes
        pictures = render_scenes(ground, tasks, self.frames_per_scene, self.image_size, self.seed, self.cameras)
        labelled = [(seen, self.skills.index(self.scenes[task])) for task, seen in pictures.items()]
        if self.others:
            each = -(-self.frames_per_scene // len(self.others))
            rest = render_scenes(ground, self.others, each, self.image_size, self.seed + 1, self.cameras)
            labelled += [(rest[task], NOTHING) for task in self.others]
        cuts = [len(seen) - round(self.validation_share * len(seen)) for seen, _ in labelled]
        self.train = _joined([(seen[:cut], skill) for (seen, skill), cut in zip(labelled, cuts, strict=True)])
        self.validation = _joined([(seen[cut:], skill) for (seen, skill), cut in zip(labelled, cuts, strict=True)])

    def train_dataloader(self) -> DataLoader:
        """Random batches of pictures `[B, S, S, 3]` and skills `[B]`, `NOTHING` for pictures of no scene."""
        assert self.train is not None, "set up before training"
        return DataLoader(_Batches(*self.train, self.batch_size, self.batches, self.nothing), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """All held-out pictures as one batch."""
        assert self.validation is not None, "set up before validation"
        return DataLoader([self.validation], batch_size=None)  # type: ignore[arg-type]


def _joined(labelled: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    skills = torch.cat([torch.full((len(seen),), skill) for seen, skill in labelled])
    return torch.cat([seen for seen, _ in labelled]), skills


class _Batches(IterableDataset):
    def __init__(self, pictures: Tensor, skills: Tensor, size: int, count: int, nothing: int) -> None:
        self.pictures, self.skills, self.size, self.count, self.nothing = pictures, skills, size, count, nothing

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.count):
            chosen = torch.randint(len(self.pictures), (self.size - self.nothing,))
            pictures = torch.cat([self.pictures[chosen], no_scenes(self.nothing, self.pictures)])
            skills = torch.cat([self.skills[chosen], torch.full((self.nothing,), NOTHING)])
            yield captioned(augment(pictures)), skills


def augment(pictures: Tensor) -> Tensor:
    """Pictures `[B, H, W, 3]` uint8 in other light, some mirrored, some as coarse as a small picture blown up."""
    count, side = len(pictures), pictures.shape[1]
    changed = pictures.permute(0, 3, 1, 2).float()
    coarse = int(torch.randint(min(_COARSEST, side), 2 * side, (1,)))
    if coarse < side:
        changed = F.interpolate(changed, (coarse, coarse), mode="bilinear", antialias=True)
        changed = F.interpolate(changed, (side, side), mode="bilinear")
    scale = (0.75 + 0.5 * torch.rand(count, 1, 1, 1)) * (0.9 + 0.2 * torch.rand(count, 3, 1, 1))
    if torch.rand(()) < 0.2:  # few colours, as a GIF has
        levels = int(torch.randint(5, 32, (1,)))
        changed = (changed / 255 * levels + torch.rand_like(changed) - 0.5).round() * 255 / levels
    changed = changed * scale + 50 * (torch.rand(count, 1, 1, 1) - 0.5)
    if torch.rand(()) < 0.5:
        changed = changed.flip(-1)
    return changed.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
