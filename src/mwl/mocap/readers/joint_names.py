"""Whose joint is a hip, a knee ...: the spellings of the common skeletons, and a user's own.

Known are CMU, LAFAN1, Mixamo, Xsens, Rokoko, Biovision (`LeftHip`, `LeftKnee`), SMPL (`L_Hip`), Daz (`lThighBend`,
`lShin`), Bandai Namco (`UpperLeg_L`), 3ds Max (`Bip01 L Thigh`) and Acclaim (`lfemur`), with any namespace before them.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from mwl.core.errors import BadInput, CorruptFile
from mwl.core.files import read_yaml, shown

LANDMARKS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
SIDED = tuple(f"{side}_{mark}" for side in ("left", "right") for mark in LANDMARKS)
_SPELT = {  # the first that a skeleton has counts: beside LeftArm, LeftShoulder is the collarbone
    "hip": ("upleg", "upperleg", "thigh", "thighbend", "femur", "hip"),
    "knee": ("knee", "shin", "calf", "lowerleg", "lowleg", "tibia", "leg"),
    "ankle": ("ankle", "foot"),
    "shoulder": ("arm", "upperarm", "uparm", "shldr", "shldrbend", "humerus", "shoulder"),
    "elbow": ("elbow", "forearm", "lowerarm", "lowarm", "forearmbend", "radius"),
    "wrist": ("wrist", "hand"),
}
_WORDS = {word for words in _SPELT.values() for word in words}


def landmark_joints(
    where: Path, parents: Mapping[str, str | None], joint_map: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The joint of every landmark, `{side_landmark: joint}`.

    Args:
        where: the file.
        parents: `{joint: parent}` of its skeleton.
        joint_map: joints that the user names; the others are found by their spelling.

    Raises:
        BadInput: the map names a joint that is not there.
        CorruptFile: a joint is not found, or they do not hang on each other as limbs do.
    """
    unknown = [name for name in (joint_map or {}).values() if name not in parents]
    if unknown:
        raise BadInput(f"--joint-map: no joint {shown(unknown[0])} in {shown(where)}; it has {_listed(list(parents))}")
    found = {**_by_spelling(where, list(parents)), **(joint_map or {})}
    missing = [landmark for landmark in SIDED if landmark not in found]
    if missing:
        raise CorruptFile(
            f"{shown(where)}: none of its joints is known as {', '.join(missing)}; it has {_listed(list(parents))}; "
            f"--joint-map FILE names them, a line each, as '{missing[0]}: JOINT'"
        )
    for side in ("left", "right"):
        for limb in (LANDMARKS[:3], LANDMARKS[3:]):
            chain = [found[f"{side}_{mark}"] for mark in limb]
            if not _hang(parents, chain):
                raise CorruptFile(
                    f"{shown(where)}: {', '.join(chain)} seem to be {side} {', '.join(limb)}, but do not hang on each "
                    "other; --joint-map FILE names the right ones"
                )
    return found


def read_joint_map(path: Path | str) -> dict[str, str]:
    """A user's map of landmarks to joints: YAML, `left_hip: their_joint` a line.

    Raises:
        MissingFile: no such file.
        CorruptFile: no YAML of names.
        BadInput: a landmark that there is not.
    """
    content = read_yaml(path, limit=2**16)
    if not isinstance(content, dict) or not content:
        raise CorruptFile(f"{shown(Path(path))}: names no joints; a line is 'left_hip: JOINT'")
    strange = [key for key in content if key not in SIDED]
    if strange:
        raise BadInput(f"{shown(Path(path))}: no landmark {shown(strange[0])}; they are {', '.join(SIDED)}")
    if not all(isinstance(joint, str | int) for joint in content.values()):
        raise CorruptFile(f"{shown(Path(path))}: every landmark needs the name of one joint")
    return {key: str(joint) for key, joint in content.items()}


def _by_spelling(where: Path, joints: Sequence[str]) -> dict[str, str]:
    spelt: dict[tuple[str, str], list[str]] = {}
    for joint in joints:
        side, word = _side_and_word(joint)
        if side:
            spelt.setdefault((side, word), []).append(joint)
    found = {}
    for landmark in SIDED:
        side, mark = landmark.split("_")
        match = next((spelt[side, word] for word in _SPELT[mark] if (side, word) in spelt), [])
        if len(match) > 1:
            raise CorruptFile(
                f"{shown(where)}: {shown(match[0])} and {shown(match[1])} may both be the {landmark}; "
                "--joint-map FILE says which"
            )
        if match:
            found[landmark] = match[0]
    return found


def _side_and_word(joint: str) -> tuple[str, str]:
    """Side and what remains of a joint's name: `mixamorig:LeftUpLeg` is `("left", "upleg")`; `("", "")` without one."""
    name = re.split(r"[:|]", joint)[-1].strip()
    whole = re.search(r"(left|right)", name, re.IGNORECASE)
    if whole:
        return whole[0].lower(), _letters(name[whole.end() :]) or _letters(name[: whole.start()])
    letter = re.search(r"(?:^|[ _.\-])([lr])(?=[ _.\-]|$)", name, re.IGNORECASE)
    if letter:
        word = _letters(name[letter.end() :]) or _letters(name[: letter.start()])
    else:
        letter = re.match(r"([lr])", name, re.IGNORECASE)
        word = _letters(name[1:]) if letter and _letters(name[1:]) in _WORDS else ""
    return ({"l": "left", "r": "right"}[letter[1].lower()], word) if letter and word else ("", "")


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _hang(parents: Mapping[str, str | None], chain: Sequence[str]) -> bool:
    """Whether every joint of a chain is an ancestor of the next."""
    for above, below in pairwise(chain):
        joint = parents[below]
        while joint is not None and joint != above:
            joint = parents[joint]
        if joint is None:
            return False
    return True


def _listed(joints: Sequence[str]) -> str:
    names = ", ".join(shown(Path(joint), 40) for joint in joints if not joint.endswith(".end"))
    return shown(Path(names), 400)
