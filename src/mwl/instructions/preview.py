"""`mwl instruct`: what an instruction in plain words means for the experts."""

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mwl._places import find_each
from mwl.core.errors import BadInput, CorruptFile, MissingFile, NoSkillFits
from mwl.core.files import shown
from mwl.semantics.encoders.cache import cache_folder
from mwl.semantics.language.clauses import QUOTES
from mwl.semantics.plan.answer_cache import KeptAnswers, states
from mwl.semantics.shipped import COMMANDED, skill_folders

MAX_PIXELS = 16_000_000  # decoded, some 200 MB
MAX_BYTES = 256 * 2**20  # of a file, coded
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # PIL hands others to programs of the system


@dataclass(frozen=True)
class Question:
    """What `mwl instruct` is asked.

    Args:
        text: the instruction.
        head: semantic artifact, or `embedded`.
        frame: picture of the scene.
        planner: `clip` or `chat`.
        chat_url, chat_model: endpoint and model of the latter; None takes them from the environment.
        encoder, pretrained: the CLIP that the head was fitted on, if not the built-in one; see `SemanticHead.load`.
    """

    text: str
    head: str = "embedded"
    frame: Path | None = None
    planner: str = "clip"
    chat_url: str | None = None
    chat_model: str | None = None
    encoder: str | None = None
    pretrained: str | None = None


def instruct(question: Question) -> dict[str, Any]:
    """Weights of an instruction over the experts, and its steps in order.

    Returns:
        `instruction`, `refused`, `reason` of a refusal, `weights` of the instruction by expert name (of its first step,
        if it has several), the `nearest` phrases with skill and closeness, `plan`, a list of steps with weights and
        what ends them, `notice`, what is to be known about the head that answered, `planner`, who made the plan (`clip`
        or `chat`), and `fallback`, why the head made it where a language model was asked.
    """
    text = question.text
    if not text.strip(QUOTES + " \t\r\n"):
        raise BadInput("the instruction is empty; say what the robot should do")
    by_words = question == Question(text)  # nothing but what ships is asked, so that the same words mean the same
    kept, asked = KeptAnswers(cache_folder() / "instruct"), _asked(text) if by_words else b""
    if by_words and (answer := kept.read(asked)) is not None:
        return answer
    picture = None if question.frame is None else read_picture(question.frame)
    from mwl.instructions.planner import choose_planner, who_planned
    from mwl.instructions.preconditions import check_order
    from mwl.instructions.velocity_commands import checked, shipped_manifests
    from mwl.semantics import SemanticHead

    head = SemanticHead.load(question.head, question.encoder, question.pretrained)
    planner = choose_planner(head, question.planner, question.chat_url, question.chat_model)
    near = [{"phrase": p, "skill": name, "score": round(float(score), 4)} for p, name, score in head.nearest(text, 3)]
    answer = {"instruction": text, "refused": False, "reason": "", "weights": {}, "nearest": near, "plan": []}
    answer["notice"] = head.notice
    try:
        plan = planner.plan(text, picture)
        check_order(plan)
        checked(plan, shipped_manifests())
        whole = any(clause.recipe for clause in plan)
        answer["weights"] = dict(plan[0].weights)
        if whole and _is_one(plan):
            with suppress(NoSkillFits):
                answer["weights"] = head.weights(text, picture)
    except BadInput as refusal:
        answer |= {"refused": True, "reason": str(refusal)}
    else:
        answer["plan"] = [
            {
                "clause": c.text,
                "skill": max(c.weights, key=c.weights.__getitem__),
                "weights": dict(c.weights),
                "command": c.parameters.said(),
                "when": c.when,
                "until": c.until,
                "steps": c.steps,
                "recipe": c.recipe,
            }
            for c in plan
        ]
    answer |= who_planned(planner)
    if by_words and len(head.names) == len(skill_folders()):  # else one was passed over, which is to be said again
        kept.write(asked, answer)
    return answer


def _asked(text: str) -> bytes:
    """The words, and what their answer hangs on: the program and all that it reads, each file by size and time."""
    read = ("data/semantics", "data/experts", *(place for _, place in COMMANDED.values()))
    shipped = [file for folder in read for file in find_each(folder, "**/*").values()]
    return repr((text, states(shipped))).encode(errors="surrogatepass")


def _is_one(plan: list[Any]) -> bool:
    """Whether all steps come from one recipe."""
    return len({clause.recipe for clause in plan}) == 1


def read_picture(path: Path) -> Any:
    """A picture file as RGB; a transparent one is laid on white.

    Raises:
        MissingFile: no such file.
        CorruptFile: not a picture, or one of more than 16 million pixels or 256 MiB; a small file may say that it is
            any size.
    """
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise MissingFile(f"{shown(path)}: no such picture")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CorruptFile(f"{shown(path)}: larger than the {MAX_BYTES // 2**20} MiB that a picture may have")
        content = io.BytesIO(path.read_bytes())  # of a file PIL reserves as much memory as a part of it claims to take
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is lower
            with Image.open(content, formats=_FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    size = f"{opened.width} x {opened.height} pixels"
                    raise CorruptFile(f"{shown(path)}: {size}; a picture may have {MAX_PIXELS // 10**6} million")
                picture = opened.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CorruptFile(f"{shown(path)}: not a picture that can be read ({', '.join(_FORMATS)})") from error
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")
