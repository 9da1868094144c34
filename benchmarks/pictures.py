"""What the semantic head makes of pictures: of things that are no scene, of our own films, and of frames of every task.

Pictures of no scene come from packages at hand (icons of Matplotlib and MLflow, sprites of Gymnasium, photographs of
scikit-learn, Matplotlib and viser) and are drawn here; none is learned from. One half of them, `--part 0`, is to
develop with; the other one is reported.

    python benchmarks/pictures.py [--part 1] [--head embedded] [--table FILE]
"""

import argparse
import collections
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import mwl
from mwl.core.errors import NoSkillFits
from mwl.evaluation.table import report
from mwl.evaluation.video import annotate
from mwl.semantics.encoders.towers import IMAGE_SIZE
from mwl.semantics.scenes import CAMERAS, differ, squeeze
from mwl.simulation import TASKS, HumanoidEnv, make_env

SKILLS = {"walk": "ground", "run": "ground", "stand": "ground", "reach": "target", "approach": "target"}
SCENES = {"h1-stand": "ground", "h1-walk": "ground", "h1-run": "ground", "h1-reach": "target", "h1-door": "door"}
ANSWERS = ("ground", "target", "door")
FILM_SIZES = ((320, 240), (480, 360), (720, 480), (1280, 720))  # pixels
OF_EACH = 24
SEED = 90_000
Pictures = Iterator[np.ndarray]


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _half(files: list[Path], part: int) -> list[Path]:
    assert files, "a package has its pictures elsewhere"
    return sorted(files)[part::2]


def plain(rng: np.random.Generator, part: int) -> Pictures:
    for _ in range(OF_EACH):
        picture = np.full((240, 320, 3), rng.integers(0, 256, 3), np.uint8)
        yield picture + rng.integers(0, 3, picture.shape).clip(0, 255 - picture).astype(np.uint8)  # a camera's noise


def gradients(rng: np.random.Generator, part: int) -> Pictures:
    y, x = np.mgrid[0:1:240j, 0:1:320j]
    for _ in range(OF_EACH):
        angle, ends = rng.uniform(0, 2 * np.pi), rng.uniform(0, 255, (2, 3))
        along = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
        along = (along - along.min()) / np.ptp(along)
        yield (ends[0] + along[..., None] * (ends[1] - ends[0])).astype(np.uint8)


def rectangles(rng: np.random.Generator, part: int) -> Pictures:
    for _ in range(OF_EACH):
        image = Image.new("RGB", (640, 480), tuple(rng.integers(0, 256, 3)))
        for _ in range(int(rng.integers(1, 5))):
            low, high = np.sort(rng.uniform(0, 1, (2, 2)), axis=0) * [640, 480]
            ImageDraw.Draw(image).rectangle((*low, *high), fill=tuple(rng.integers(0, 256, 3)))
        yield np.asarray(image.resize((320, 240), Image.Resampling.BICUBIC))


def _pasted(icon: Image.Image, ground: tuple[int, ...], size: int, soft: bool) -> np.ndarray:
    icon = icon.convert("RGBA").resize((size, size), Image.Resampling.BICUBIC)
    if not soft:
        icon.putalpha(icon.getchannel("A").point(lambda a: 255 * (a > 127)))
    image = Image.new("RGBA", (size, size), (*ground, 255))
    image.alpha_composite(icon)
    return np.asarray(image.convert("RGB"))


def icons(soft: bool) -> Callable[[np.random.Generator, int], Pictures]:
    """Symbols of toolbars, with hard or soft edges."""

    def drawn(rng: np.random.Generator, part: int) -> Pictures:
        for file in _half(list((_package("matplotlib") / "mpl-data/images").glob("*.png")), part):
            with Image.open(file) as icon:
                for ground in ((255, 255, 255), (200, 200, 200), tuple(rng.integers(0, 256, 3))):
                    yield _pasted(icon, ground, int(rng.choice([64, 160, 320])), soft)

    return drawn


def glyphs(rng: np.random.Generator, part: int) -> Pictures:
    file = next((_package("mlflow") / "server/js/build/static/media").glob("fontawesome-webfont*.ttf"))
    codes = [code for code in range(0xF000 + part, 0xF200, 2) if code % 100 not in (15, 16)]  # these are empty
    for code in rng.choice(codes, 4 * OF_EACH, replace=False):
        ground = (255, 255, 255) if rng.random() < 0.5 else tuple(rng.integers(0, 256, 3))
        ink = tuple(rng.integers(0, 200, 3)) if rng.random() < 0.7 else (40, 40, 40)
        image = Image.new("RGB", (240, 240), ground)
        font = ImageFont.truetype(file, int(rng.integers(80, 200)))
        ImageDraw.Draw(image).text((120, 120), chr(code), fill=ink, font=font, anchor="mm")
        yield np.asarray(image)


def sprites(rng: np.random.Generator, part: int) -> Pictures:
    for file in _half(list((_package("gymnasium") / "envs/toy_text/img").rglob("*.png")), part):
        with Image.open(file) as icon:
            yield _pasted(icon, tuple(rng.integers(0, 256, 3)), int(rng.choice([64, 160, 320])), soft=True)


def photographs(rng: np.random.Generator, part: int) -> Pictures:
    files = [
        *(_package("sklearn") / "datasets/images").glob("*.jpg"),
        *(_package("matplotlib") / "mpl-data/sample_data").glob("*.jpg"),
        *(_package("viser") / "_assets/hdri").glob("*.jpg"),
    ]
    for file in _half(files, part):
        with Image.open(file) as image:
            for _ in range(16):
                high = rng.uniform(0.3, 1.0) * image.height
                wide = min(rng.uniform(1.0, 1.6) * high, image.width)
                left, top = rng.uniform(0, 1, 2) * [image.width - wide, image.height - high]
                box = (left, top, left + wide, top + high)
                yield np.asarray(image.convert("RGB").resize((320, 240), Image.Resampling.BILINEAR, box))


def plots(rng: np.random.Generator, part: int) -> Pictures:
    """Charts and solid bodies, by another renderer."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    for index in range(OF_EACH):
        figure = plt.figure(figsize=(4, 3), dpi=80)
        colour = rng.uniform(0, 1, 3)
        if index % 2:
            axes = figure.add_subplot(projection="3d")
            axes.bar3d(*rng.uniform(0, 1, (3, 4)), *rng.uniform(0.1, 1.0, (3, 4)), color=colour)
            axes.view_init(elev=rng.uniform(5, 60), azim=rng.uniform(0, 360))
            if rng.random() < 0.5:
                axes.set_axis_off()
        else:
            figure.add_subplot().plot(rng.normal(size=(40, 3)).cumsum(axis=0), color=colour)
        figure.canvas.draw()
        yield np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
        plt.close(figure)


NO_SCENE: dict[str, Callable[[np.random.Generator, int], Pictures]] = {
    "plain colours": plain,
    "gradients": gradients,
    "rectangles": rectangles,
    "icons, hard edges": icons(soft=False),
    "icons, soft edges": icons(soft=True),
    "symbols of a font": glyphs,
    "sprites": sprites,
    "photographs": photographs,
    "plots": plots,
}


def _states(task: str, part: int, count: int) -> Iterator[tuple[HumanoidEnv, HumanoidEnv, int]]:
    """Robots some random steps into episodes, and the same ones on open ground."""
    env, twin = (make_env(name, count, seed=SEED + part) for name in (task, "h1-walk"))
    torch.manual_seed(part)  # of the actions
    env.rollout(8, break_when_any_done=False)
    twin.reset()
    qpos, qvel = env.state
    twin.set_state(qpos[:, : twin.model.nq], qvel[:, : twin.model.nv])
    for index in range(count):
        yield env, twin, index


def _seen(picture: np.ndarray, empty: np.ndarray) -> bool:
    """Whether something is to be seen that the twin lacks, in as many pixels as the image tower gets."""
    return differ(squeeze(picture, IMAGE_SIZE).numpy(), squeeze(empty, IMAGE_SIZE).numpy())


def films(task: str, part: int, count: int = 8) -> Iterator[tuple[str, np.ndarray]]:
    """By size, frames as `mwl evaluate --video` and `mwl play` draw them, packed as pictures of films are.

    Left out are those in which the target is out of view, or can't be seen under the writing.
    """
    rng = np.random.default_rng(part)
    for env, twin, index in _states(task, part, count):
        for size in FILM_SIZES:
            weights = dict(zip(("stand", "walk", "run"), rng.dirichlet(np.ones(3)), strict=True))
            lines = [f"agent on {task}", f"“{env.task.instruction}”", f"t = {rng.uniform(0, 9):.1f} s"]
            picture = annotate(env.render(index, *size, backend="raycast"), lines, weights)
            empty = annotate(twin.render(index, *size, backend="raycast"), lines, weights)
            if SCENES[task] == "target" and not _seen(picture, empty):
                continue
            packed = io.BytesIO()
            Image.fromarray(picture).save(packed, "JPEG", quality=85)
            yield f"films of {size[0]}x{size[1]}", np.asarray(Image.open(packed))


def frames(task: str, part: int, count: int = 6) -> Pictures:
    """Frames from all cameras on which there is something to be seen."""
    for env, twin, index in _states(task, part, count):
        for camera in CAMERAS:
            for size in ((480, 320), (160, 160)):
                picture, empty = (e.render(index, *size, camera, backend="raycast") for e in (env, twin))
                if SCENES.get(task) == "ground" or _seen(picture, empty):
                    yield picture


def told(head: mwl.SemanticHead, picture: np.ndarray) -> str:
    """The scene whose skill "go on" becomes, or "" for a refusal."""
    try:
        weights = head.weights("go on", picture)
    except NoSkillFits:
        return ""
    return SKILLS.get(max(weights, key=weights.__getitem__), "door")


def measure(head: mwl.SemanticHead, part: int) -> list[list[str]]:
    """A row for each kind: how many, not told, and what the others were taken for."""
    counts: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for place, (kind, drawn) in enumerate(NO_SCENE.items()):
        for picture in drawn(np.random.default_rng([SEED, part, place]), part):
            counts[kind, "none"][told(head, picture)] += 1
    for task, scene in SCENES.items():
        for kind, picture in films(task, part):
            counts[kind, scene][told(head, picture)] += 1
    for task in TASKS:
        for picture in frames(task, part):
            scene = SCENES.get(task, "none")
            counts[f"frames of {task}", scene][told(head, picture)] += 1
    rows = []
    for (kind, scene), answers in counts.items():
        taken = [str(answers[answer]) for answer in ANSWERS]
        rows.append([kind, scene, str(answers.total()), str(answers[""]), *taken])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=int, choices=(0, 1), default=1, help="which half of the pictures")
    parser.add_argument("--head", default="embedded", help="folder of a semantic head")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    head = mwl.SemanticHead.load("embedded")
    if options.head != "embedded":
        other, cards = mwl.SemanticHead.load(options.head), head.cards
        head = other
        head.set_cards(cards)
    titles = ("pictures", "what they show", "how many", "can't tell", *(f"taken for {answer}" for answer in ANSWERS))
    report(titles, measure(head, options.part), options.table)


if __name__ == "__main__":
    main()
