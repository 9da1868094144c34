"""Frames of the simulation with the skill their scene calls for: what the image tower learns from."""

from collections.abc import Iterator

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Seed, Share, ShareBelowOne
from mwl.semantics.scenes import render_scenes

NOTHING = -1  # label of pictures that show no scene
_PLAIN = 0.1  # share of plain pictures among those of no scene
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
        nothing_share: share of a batch that shows no scene at all, so that such pictures are told from scenes.
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
        nothing_share: Share = 0.125,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if len(set(scenes.values())) < 2:
            raise BadInput("data.scenes needs scenes of at least two skills, or there is nothing to tell apart")
        self.scenes, self.frames_per_scene, self.image_size = scenes, frames_per_scene, image_size
        self.batch_size, self.batches, self.validation_share, self.seed = batch_size, batches, validation_share, seed
        self.cameras, self.nothing = cameras or {}, round(nothing_share * batch_size)
        self.skills = list(dict.fromkeys(scenes.values()))
        self.train: tuple[Tensor, Tensor] | None = None
        self.validation: tuple[Tensor, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Render."""
        if self.train is not None:
            return
        ground, *tasks = self.scenes
        pictures = render_scenes(ground, tasks, self.frames_per_scene, self.image_size, self.seed, self.cameras)
        cut = self.frames_per_scene - round(self.validation_share * self.frames_per_scene)
        labels = torch.tensor([self.skills.index(self.scenes[task]) for task in pictures])
        kept, rest = ([p[part] for p in pictures.values()] for part in (slice(None, cut), slice(cut, None)))
        self.train = torch.cat(kept), labels.repeat_interleave(len(kept[0]))
        self.validation = torch.cat(rest), labels.repeat_interleave(len(rest[0]))

    def train_dataloader(self) -> DataLoader:
        """Random batches of pictures `[B, S, S, 3]` and skills `[B]`, `NOTHING` for pictures of no scene."""
        assert self.train is not None, "set up before training"
        return DataLoader(_Batches(*self.train, self.batch_size, self.batches, self.nothing), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """All held-out pictures as one batch."""
        assert self.validation is not None, "set up before validation"
        return DataLoader([self.validation], batch_size=None)  # type: ignore[arg-type]


class _Batches(IterableDataset):
    def __init__(self, pictures: Tensor, skills: Tensor, size: int, count: int, nothing: int) -> None:
        self.pictures, self.skills, self.size, self.count, self.nothing = pictures, skills, size, count, nothing

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.count):
            chosen = torch.randint(len(self.pictures), (self.size - self.nothing,))
            empty = patterns(self.nothing, self.pictures.shape[1])
            skills = torch.cat([self.skills[chosen], torch.full((self.nothing,), NOTHING)])
            yield torch.cat([augment(self.pictures[chosen]), empty]), skills


def augment(pictures: Tensor) -> Tensor:
    """Pictures `[B, H, W, 3]` uint8 in other light, some mirrored, some as coarse as a small picture blown up."""
    count, side = len(pictures), pictures.shape[1]
    changed = pictures.permute(0, 3, 1, 2).float()
    coarse = int(torch.randint(min(_COARSEST, side), 2 * side, (1,)))
    if coarse < side:
        changed = F.interpolate(changed, (coarse, coarse), mode="bilinear", antialias=True)
        changed = F.interpolate(changed, (side, side), mode="bilinear")
    scale = (0.75 + 0.5 * torch.rand(count, 1, 1, 1)) * (0.9 + 0.2 * torch.rand(count, 3, 1, 1))
    changed = changed * scale + 50 * (torch.rand(count, 1, 1, 1) - 0.5)
    if torch.rand(()) < 0.5:
        changed = changed.flip(-1)
    return changed.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def patterns(count: int, size: int) -> Tensor:
    """Pictures `[count, size, size, 3]` uint8 of no scene: random blotches on a colour, coarse to fine.

    Plain colours are rare among them, as a door fills the view of who stands before it.
    """
    plain = torch.rand(count, 3, 1, 1)
    cells = int(torch.randint(2, size // 2, (1,)))
    blotches = F.interpolate(torch.rand(count, 3, cells, cells), (size, size), mode="nearest")
    share = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) > _PLAIN)
    mixed = 255 * ((1 - share) * plain + share * blotches)
    return mixed.to(torch.uint8).permute(0, 2, 3, 1)
