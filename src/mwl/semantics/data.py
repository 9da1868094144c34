"""Frames of the simulation with the skill their scene calls for: what the image tower learns from."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mwl import keys
from mwl.errors import BadInput
from mwl.simulation import make_env

CAMERAS = ("follow", "side", "head")


class FrameData(pl.LightningDataModule):
    """Renders scenes from all cameras, with the robot in states that differ, and hands out batches of them.

    Args:
        scenes: the skill that each task's scene calls for, by task name.
        marks: colour `[r, g, b]` of the thing that a picture of the task must show to be used, by task name. A target
            behind the camera calls for nothing.
        frames_per_scene: pictures rendered of each.
        batch_size: pictures per batch.
        batches: batches in all.
        image_size: side of a picture in pixels.
        validation_share: share of the pictures, the last ones, kept for validation.
        seed: seed of the scenes.
    """

    def __init__(
        self,
        scenes: dict[str, str],
        frames_per_scene: int = 400,
        batch_size: int = 64,
        batches: int = 250,
        image_size: int = 96,
        validation_share: float = 0.15,
        seed: int = 0,
        marks: dict[str, list[int]] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if len(set(scenes.values())) < 2:
            raise BadInput("data.scenes needs scenes of at least two skills, or there is nothing to tell apart")
        self.scenes, self.frames_per_scene, self.image_size = scenes, frames_per_scene, image_size
        self.batch_size, self.batches, self.validation_share, self.seed = batch_size, batches, validation_share, seed
        self.marks = marks or {}
        self.skills = list(dict.fromkeys(scenes.values()))
        self.train: tuple[Tensor, Tensor] | None = None
        self.validation: tuple[Tensor, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Render."""
        if self.train is not None:
            return
        pictures = [
            render_scene(task, self.frames_per_scene, self.image_size, self.seed, self.marks.get(task))
            for task in self.scenes
        ]
        held_out = round(self.validation_share * self.frames_per_scene)
        labels = [
            torch.full((len(p),), self.skills.index(s)) for p, s in zip(pictures, self.scenes.values(), strict=True)
        ]
        kept = slice(None, self.frames_per_scene - held_out)
        rest = slice(self.frames_per_scene - held_out, None)
        self.train = torch.cat([p[kept] for p in pictures]), torch.cat([label[kept] for label in labels])
        self.validation = torch.cat([p[rest] for p in pictures]), torch.cat([label[rest] for label in labels])

    def train_dataloader(self) -> DataLoader:
        """Random batches of pictures `[B, S, S, 3]` and skills `[B]`."""
        assert self.train is not None, "set up before training"
        return DataLoader(_Batches(*self.train, self.batch_size, self.batches), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """All held-out pictures as one batch."""
        assert self.validation is not None, "set up before validation"
        return DataLoader([self.validation], batch_size=None)  # type: ignore[arg-type]


class _Batches(IterableDataset):
    def __init__(self, pictures: Tensor, skills: Tensor, size: int, count: int) -> None:
        self.pictures, self.skills, self.size, self.count = pictures, skills, size, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.count):
            chosen = torch.randint(len(self.pictures), (self.size,))
            yield augment(self.pictures[chosen]), self.skills[chosen]


def augment(pictures: Tensor) -> Tensor:
    """Random brightness and contrast per picture `[B, H, W, 3]`, so that colour alone decides nothing."""
    scale = 0.75 + 0.5 * torch.rand(len(pictures), 1, 1, 1)
    shift = 50 * (torch.rand(len(pictures), 1, 1, 1) - 0.5)
    return (pictures.float() * scale + shift).clamp(0, 255).to(torch.uint8)


def shows(picture: np.ndarray, colour: Sequence[int], pixels: int = 4) -> bool:
    """Whether at least `pixels` of a picture `[H, W, 3]` have the hue of a colour, however lit."""
    values = picture.reshape(-1, 3).astype(np.float64)
    brightness = np.linalg.norm(values, axis=1)
    likeness = values @ (np.asarray(colour) / np.linalg.norm(colour)) / np.maximum(brightness, 1.0)
    return int(((likeness > 0.95) & (brightness > 60)).sum()) >= pixels


def render_scene(task: str, count: int, size: int, seed: int, mark: Sequence[int] | None = None) -> Tensor:
    """Pictures `[count, size, size, 3]` uint8 of a task's scene: new episodes, the robot pushed about, all cameras."""
    generator = torch.Generator().manual_seed(seed)
    envs = 16
    env: Any = make_env(task, envs, seed=seed)
    pictures: list[np.ndarray] = []
    while len(pictures) < count:
        state = env.reset()
        for _ in range(int(torch.randint(1, 30, (1,), generator=generator))):
            state[keys.ACTION] = 0.3 * torch.randn(envs, env.action_spec.shape[-1], generator=generator)
            state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
        for index in range(envs):
            camera = CAMERAS[index % len(CAMERAS)]
            picture = env.render(index, size, size, camera, backend="raycast")
            if mark is None or shows(picture, mark):
                pictures.append(picture)
    env.close()
    return torch.from_numpy(np.stack(pictures[:count]))
