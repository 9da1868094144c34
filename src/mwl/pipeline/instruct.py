"""`mwl instruct`: what an instruction in plain words means for the experts."""

from pathlib import Path
from typing import Any

from mwl.errors import BadInput, CorruptFile, MissingFile, NoSkillFits


def instruct(text: str, head_path: str = "embedded", frame: Path | None = None) -> dict[str, Any]:
    """Weights of an instruction over the experts, and of each of its clauses in order.

    Args:
        text: the instruction.
        head_path: semantic hand-over folder, or `embedded` for the shipped one.
        frame: picture of the scene.

    Returns:
        `instruction`, `refused`, `weights` of its first clause by expert name, the `nearest` phrases with skill and
        closeness, and `plan`, a list of clauses with weights.
    """
    if not text.strip():
        raise BadInput("the instruction is empty; say what the robot should do")
    picture = None if frame is None else read_picture(frame)
    from mwl.semantics import SemanticHead

    head = SemanticHead.load(head_path)
    near = [{"phrase": p, "skill": name, "score": round(float(score), 4)} for p, name, score in head.nearest(text, 3)]
    answer: dict[str, Any] = {"instruction": text, "refused": False, "weights": {}, "nearest": near, "plan": []}
    try:
        if picture is not None:  # one look answers one request: what comes later would need a later look
            answer["weights"] = head.weights(text, frame=picture)
            answer["plan"] = [{"clause": text, "weights": answer["weights"]}]
        else:
            plan = head.plan(text)
            answer["plan"] = [{"clause": clause.text, "weights": dict(clause.weights)} for clause in plan]
            answer["weights"] = head.weights(text) if plan[0].recipe else dict(plan[0].weights)
    except NoSkillFits:
        return {**answer, "refused": True}
    return answer


def read_picture(path: Path) -> Any:
    """A picture file as RGB.

    Raises:
        MissingFile: no such file.
        CorruptFile: not a picture.
    """
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise MissingFile(f"{path}: no such picture")
    try:
        return Image.open(path).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise CorruptFile(f"{path}: not a picture that can be read") from error
