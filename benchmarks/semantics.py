"""The semantic head measured: labelled instructions, what the picture decides on fresh frames, and what it costs.

python benchmarks/semantics.py words|frames|latency|process [--frames 48] [--table FILE]
"""

import argparse
import collections
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import mwl
from mwl._places import SHIPPED
from mwl.core import keys
from mwl.core.errors import NoSkillFits
from mwl.evaluation.table import report
from mwl.semantics import Card
from mwl.semantics.calibration import SHORT_CARD, auroc, expected_calibration_error
from mwl.semantics.scenes import CAMERAS, differ
from mwl.simulation import make_env

SCENES = {"h1-walk": "walk", "h1-reach": "reach", "h1-door": "open_door"}
PHRASES = ("go on", "do the task")
SEED = 70_000  # no training seed comes near
SIZES = ((480, 320), (160, 160), (64, 64))  # pixels
LABELLED = {
    "development": SHIPPED / "data" / "semantics/development.yaml",
    "held out": Path("tests/semantics/data/held_out.yaml"),
}
Printed = tuple[Sequence[str], list[list[str]]]  # titles and rows


def words() -> Printed:
    """Scores on labelled instructions of eight skills; one that is refused counts as wrong "with refusals"."""
    head, development = mwl.SemanticHead.load("embedded"), _read(LABELLED["development"])
    cards = [Card(**card) for card in development["cards"]]
    rows = []
    for name, file in LABELLED.items():
        labelled = _read(file)
        for count in (5, SHORT_CARD):
            head.set_cards([replace(card, paraphrases=card.paraphrases[:count]) for card in cards])
            figures = _scored(head, labelled["skills"], labelled["far"])
            rows.append([name, f"{count} paraphrases", *(f"{figure:.3f}" for figure in figures)])
    titles = (
        "instructions",
        "cards",
        "top-1",
        "with refusals",
        "refusal AUROC",
        "far ones refused",
        "calibration error",
    )
    return titles, rows


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _scored(head: "mwl.SemanticHead", skills: Mapping[str, Sequence[str]], far: Sequence[str]) -> tuple[float, ...]:
    texts = [text for each in skills.values() for text in each]
    labels = torch.tensor([head.names.index(name) for name, each in skills.items() for _ in each])
    scores = torch.stack([head.scores(text) for text in texts])
    near, away = (np.array([head.confidence(text) for text in each]) for each in (texts, far))
    right = (scores.argmax(-1) == labels).float().mean()
    told = np.mean([_first(head, text) == name for name, each in skills.items() for text in each])
    refused = np.mean([_first(head, text) is None for text in far])
    error = expected_calibration_error((scores / head.calibration.temperature).softmax(-1), labels)
    return float(right), float(told), auroc(near, away), float(refused), error


def _first(head: "mwl.SemanticHead", text: str, frame: np.ndarray | None = None) -> str | None:
    """The skill that weighs most; None where the head refuses."""
    try:
        weights = head.weights(text, frame)
    except NoSkillFits:
        return None
    return max(weights, key=weights.__getitem__)


def milliseconds(head: "mwl.SemanticHead", text: str) -> float:
    """Time of one call of `weights`."""
    began = time.perf_counter()
    head.weights(text)
    return 1000 * (time.perf_counter() - began)


def latency() -> Printed:
    """Times of instructions that were never asked before, and of the same ones again."""
    head = mwl.SemanticHead.load("embedded")
    head.weights(f"walk forward {time.time()} steps")  # loads the text tower
    texts = [f"walk {number} steps forward {time.time()}" for number in range(2, 32)]
    rows = []
    for name in ("first weights", "again"):
        values = [milliseconds(head, text) for text in texts]
        rows.append([name, f"{statistics.median(values):.1f}", f"{max(values):.1f}"])
    return ("of an instruction", "median, ms", "worst of 30, ms"), rows


def process() -> Printed:
    """What `mwl instruct` costs as a process of its own: nothing cached, a new instruction, a known one."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name, text in (("nothing cached", "walk on"), ("new words", "walk straight"), ("same words", "walk on")):
            began, before = time.perf_counter(), _children_seconds()
            command = [sys.executable, "-m", "mwl", "instruct", text, "--json"]
            subprocess.run(command, check=True, capture_output=True, env={**_environment(), "MWL_CACHE": cache})
            took, cpu = time.perf_counter() - began, _children_seconds() - before
            rows.append([name, f"{took:.1f}", f"{cpu:.1f}"])
    return ("a process of its own", "s", "s of CPU"), rows


def _environment() -> dict[str, str]:
    return dict(os.environ)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def episodes(task: str, count: int, seed: int) -> tuple[Any, Any]:
    """Environments some steps into new episodes, and the same robots on open ground."""
    env, twin = (make_env(name, count, seed=seed) for name in (task, "h1-walk"))
    state = env.reset()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(8):
        state[keys.ACTION] = 0.2 * torch.randn(count, env.action_spec.shape[-1], generator=generator)
        state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
    twin.reset()
    qpos, qvel = env.state
    twin.set_state(qpos[:, : twin.model.nq], qvel[:, : twin.model.nv])
    return env, twin


def frames(count: int) -> Printed:
    """How often "go on" and "do the task" go to the skill of the scene: of frames with its thing in view, of all."""
    head = mwl.SemanticHead.load("embedded")
    head.set_cards([Card(**card) for card in _read(LABELLED["development"])["cards"]])
    rows = []
    for place, (task, skill) in enumerate(SCENES.items()):
        env, twin = episodes(task, count, SEED + place)
        for size in SIZES:
            row = [f"{task} -> {skill}", f"{size[0]}x{size[1]}"]
            for camera in CAMERAS:
                answers = collections.Counter()
                for index in range(count):
                    picture, empty = (e.render(index, *size, camera, backend="raycast") for e in (env, twin))
                    seen = task == "h1-walk" or differ(picture, empty)
                    answers.update((seen, _first(head, phrase, picture) == skill) for phrase in PHRASES)
                seen, whole = answers[True, True] + answers[True, False], answers.total()
                row.append(f"{answers[True, True]} of {seen}; {answers[True, True] + answers[False, True]} of {whole}")
            rows.append(row)
    return ("scene, its skill", "pixels", *CAMERAS), rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="?", choices=("words", "frames", "latency", "process"), help="without it all of them"
    )
    parser.add_argument("--frames", type=int, default=48, help="of each scene, camera and size")
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep the table there, too, as `make results` does")
    options = parser.parse_args()
    known = {"words": words, "frames": lambda: frames(options.frames), "latency": latency, "process": process}
    for name in [options.what] if options.what else known:
        report(*known[name](), options.table)


if __name__ == "__main__":
    main()
