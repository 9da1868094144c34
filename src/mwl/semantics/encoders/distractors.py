"""Pictures that show none of our scenes, and captions like those of our films: what the image tower is set against."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torch.nn import functional as F

_PLAIN = 0.1  # share of plain pictures among blotches
_MOST_SHAPES = 12
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,:"


def no_scenes(count: int, scenes: Tensor) -> Tensor:
    """Pictures `[count, S, S, 3]` uint8 of no scene: drawings, blotches, and scenes `[P, S, S, 3]` mangled."""
    kinds, size = torch.randint(6, (count,)), scenes.shape[1]
    mangled = [_mangled(scenes[torch.randint(len(scenes), ())]) for _ in range(int((kinds == 0).sum()))]
    drawn = [_drawing(size) for _ in range(int((kinds > 1).sum()))]
    return torch.stack([*mangled, *drawn, *patterns(int((kinds == 1).sum()), size)])


def patterns(count: int, size: int) -> Tensor:
    """Pictures `[count, size, size, 3]` uint8 of random blotches on a colour, coarse to fine.

    Plain colours are rare among them, as a door fills the view of who stands before it.
    """
    plain = torch.rand(count, 3, 1, 1)
    cells = int(torch.randint(2, size // 2, (1,)))
    blotches = F.interpolate(torch.rand(count, 3, cells, cells), (size, size), mode="nearest")
    share = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) > _PLAIN)
    mixed = 255 * ((1 - share) * plain + share * blotches)
    return mixed.to(torch.uint8).permute(0, 2, 3, 1)


def captioned(pictures: Tensor, share: float = 0.5) -> Tensor:
    """Pictures `[B, S, S, 3]` uint8, some under a dark strip with writing and bars, as films have."""
    size = pictures.shape[1]
    done = [torch.from_numpy(_caption(p.numpy(), size)) if torch.rand(()) < share else p for p in pictures]
    return torch.stack(done)


def _caption(picture: np.ndarray, size: int) -> np.ndarray:
    rng = _generator()
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    letters = int(rng.integers(5, 5 + size // 8))
    font, rows = ImageFont.load_default(size=letters), int(rng.integers(1, 6))
    bars = size * rng.uniform(0.7, 0.85) if rng.random() < 0.5 else size
    draw.rectangle((0, 0, size, min(size // 3, letters // 2 + rows * (letters + 2))), fill=(0, 0, 0, 110))
    for row in range(min(rows, size // 3 // (letters + 2))):
        top = 2 + row * (letters + 2)
        draw.text((2, top), _words(rng)[: int(bars / letters * rng.uniform(0.5, 1.8))], fill="white", font=font)
        if bars < size and row < 4:
            draw.rectangle((bars, top, size - 3, top + letters), outline=(255, 255, 255, 160))
            end = bars + (size - 3 - bars) * rng.random()
            draw.rectangle((bars, top, end, top + letters), fill=(255, 190, 60, 255))
    return np.array(image)


def _generator() -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**31, ())))


def _words(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_LETTERS), 60))


def _mangled(scene: Tensor) -> Tensor:
    """A scene `[S, S, 3]` upside down, on its side, in exchanged colours or as a negative."""
    changes = (
        lambda: scene.flip(0),
        lambda: scene.transpose(0, 1),
        lambda: scene.roll(int(torch.randint(1, 3, ())), -1),
        lambda: 255 - scene,
    )
    return changes[int(torch.randint(len(changes), ()))]()


def _drawing(size: int) -> Tensor:
    """A picture `[size, size, 3]` uint8 of shapes and letters on a ground, with hard or soft edges."""
    rng = _generator()
    image = Image.fromarray(_ground(rng, size)).resize((2 * size, 2 * size))
    draw = ImageDraw.Draw(image, "RGBA")
    few, some, many = int(rng.integers(1, 4)), int(rng.integers(_MOST_SHAPES)), 100
    for _ in range((few, some, many)[rng.choice(3, p=[0.4, 0.5, 0.1])]):
        _shape(rng, draw, 2 * size)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 8))))
    smooth = Image.Resampling.BOX if rng.random() < 0.7 else Image.Resampling.NEAREST
    picture = np.asarray(image.resize((size, size), smooth)).astype(float)
    if rng.random() < 0.5:  # muted colours
        grey = picture.mean(axis=-1, keepdims=True) * rng.uniform(0.8, 1.2, 3)
        picture = grey + rng.uniform(0, 0.6) * (picture - grey)
    if rng.random() < 0.3:
        picture += rng.normal(0, rng.uniform(1, 15), picture.shape)
    return torch.from_numpy(picture.clip(0, 255).astype(np.uint8))


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """A plain colour, a gradient between some, two halves, or a cloudy texture, `[size, size, 3]` uint8."""
    kind, colours = rng.integers(5), rng.uniform(0, 255, (3, 3))
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    if kind == 0:
        colours[0] = rng.choice([colours[0], np.full(3, 255.0), np.full(3, colours[0, 0]), np.zeros(3)])
        return np.broadcast_to(colours[0].astype(np.uint8), (size, size, 3)).copy()
    if kind <= 2:
        angle = rng.uniform(0, 2 * np.pi)
        along = np.hypot(x - angle / 6, y) if kind == 1 else np.cos(angle) * x + np.sin(angle) * y
        along = (along - along.min()) / np.ptp(along)
        if rng.random() < 0.3:
            along = (along > rng.uniform(0.2, 0.8)).astype(float)
        mixed = np.stack([np.interp(along, [0, rng.uniform(0.2, 0.8), 1], c) for c in colours.T], axis=-1)
        return mixed.astype(np.uint8)
    # noise whose power falls with frequency, as in photographs; channels alike to some degree
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    fall = np.maximum(frequency, 1 / size) ** -rng.uniform(0.7, 2.0)
    noise = rng.standard_normal((3, size, size)) + rng.uniform(0, 3) * rng.standard_normal((size, size))
    clouds = np.fft.irfft2(np.fft.rfft2(noise) * fall, s=(size, size)).transpose(1, 2, 0)
    clouds = (clouds - clouds.mean((0, 1))) / clouds.std((0, 1))
    return (colours[0] + rng.uniform(15, 70) * clouds).clip(0, 255).astype(np.uint8)


def _shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int) -> None:
    """Draw one shape or word of any colour anywhere."""
    colour = (*(int(c) for c in rng.integers(0, 256, 3)), int(rng.choice([255, 255, 160])))
    if rng.random() < 0.3:
        colour = (*[int(rng.integers(0, 256))] * 3, 255)
    centre, half = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0.02, 0.45, 2) * side
    box = (*(centre - half), *(centre + half))
    line = int(rng.integers(1, max(2, side // 16)))
    filled = {"fill": colour} if rng.random() < 0.6 else {"outline": colour, "width": line}
    kind = rng.integers(6)
    if kind == 0:
        draw.rectangle(box, **filled)  # type: ignore[arg-type]
    elif kind == 1:
        draw.ellipse(box, **filled)  # type: ignore[arg-type]
    elif kind == 2:
        draw.rounded_rectangle(box, float(rng.uniform(0.05, 0.5) * min(half)), **filled)  # type: ignore[arg-type]
    elif kind == 3:
        corners = centre + rng.uniform(-1, 1, (int(rng.integers(3, 8)), 2)) * half
        draw.polygon([tuple(corner) for corner in corners], **filled)  # type: ignore[arg-type]
    elif kind == 4:
        draw.line([tuple(p) for p in rng.uniform(0, side, (int(rng.integers(2, 6)), 2))], fill=colour, width=line)
    else:
        font = ImageFont.load_default(size=float(rng.uniform(0.04, 0.4) * side))
        draw.text(tuple(box[:2]), _words(rng)[: int(rng.integers(1, 12))], fill=colour, font=font)
