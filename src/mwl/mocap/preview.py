"""Pictures of a motion clip: a contact sheet that shows at one look whether a clip is what it should be, and a film."""

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mwl.core.files import with_ending, writing
from mwl.mocap.clips import MotionClip
from mwl.simulation import build_model, get_task
from mwl.simulation.rendering.renderer import make_renderer

COLUMNS, ROWS = 6, 2
_SHEET_FRAME = (220, 260)  # pixels, width and height
_FILM_FRAME = (320, 240)
_FILM_FPS = 12.5
_CAMERA = "follow"


def contact_sheet(clip: MotionClip, path: Path | str) -> Path:
    """Write twelve evenly spaced moments of a clip as one picture (.png), each with its time."""
    path = with_ending(path, ".png")
    moments = np.linspace(0, len(clip.qpos) - 1, COLUMNS * ROWS).round().astype(int)
    width, height = _SHEET_FRAME
    sheet = Image.new("RGB", (COLUMNS * width, ROWS * height))
    font = ImageFont.load_default(size=14)
    for i, picture in enumerate(_pictures(clip.qpos[moments], _SHEET_FRAME)):
        corner = (i % COLUMNS * width, i // COLUMNS * height)
        sheet.paste(Image.fromarray(picture), corner)
        label = f"{moments[i] / clip.fps:.2f} s"
        ImageDraw.Draw(sheet).text((corner[0] + 8, corner[1] + 6), label, fill="black", font=font)
    with writing(path) as scratch:
        sheet.save(scratch, format="PNG")
    return path


def film(clip: MotionClip, path: Path | str, seconds: float = 20.0) -> Path:
    """Write a clip's first `seconds` as a film (.mp4) in real time."""
    import imageio.v2 as imageio

    path = with_ending(path, ".mp4")
    length = min(len(clip.qpos), round(seconds * clip.fps))
    moments = np.arange(0, length, clip.fps / _FILM_FPS).round().astype(int)
    pictures = list(_pictures(clip.qpos[np.minimum(moments, length - 1)], _FILM_FRAME))
    with writing(path) as scratch:
        imageio.mimwrite(scratch, pictures, fps=_FILM_FPS, codec="libx264", macro_block_size=2)  # type: ignore[arg-type]
    return path


def _pictures(qpos: NDArray[np.float64], size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Pictures `[H, W, 3]` of poses `[T, 26]`."""
    model = build_model(get_task("h1-walk"), visual=True)
    renderer = make_renderer(model, *size)
    data = mujoco.MjData(model)
    for pose in qpos:
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)  # the camera follows the centre of mass
        mujoco.mj_camlight(model, data)
        yield renderer.render(data, _CAMERA)
