"""The image tower of the embedded head: a few convolutions that keep small things visible."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AROUND = 8  # pixels, side of the squares whose mean is the surroundings of a pixel
_CONTRAST = 4.0


class SceneTower(nn.Module):
    """Picture to embedding; takes the place of the visual tower of an open_clip model.

    A target of a few pixels is lost in large patches and in the mean over a picture. Here the first layer sees colour
    and contrast against the surroundings, and besides the mean the maximum over the picture is carried to the end.

    Args:
        size: E, of the embedding.
        image_size: side in pixels of the pictures.
        width: channels of the first layer.
    """

    def __init__(self, size: int, image_size: int, width: int = 32) -> None:
        super().__init__()
        self.image_size = image_size
        channels = (6, width, 2 * width, 4 * width, 6 * width)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(itertools.pairwise(channels)):
            kernel, stride = (5, 4) if place == 0 else (3, 2)
            layers += [nn.Conv2d(before, after, kernel, stride, kernel // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(2 * channels[-1])
        self.head = nn.Linear(2 * channels[-1], size)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embeddings `[P, E]` of pictures `[P, 3, S, S]`."""
        around = F.interpolate(F.avg_pool2d(pictures, _AROUND), pictures.shape[-2:], mode="bilinear")
        seen = self.layers(torch.cat([pictures, _CONTRAST * (pictures - around)], dim=1))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=-1)
        embedded: Tensor = self.head(self.norm(pooled))
        return embedded
