"""The semantic head measured: latency, what a new process costs, and what the picture decides on fresh frames.

python benchmarks/semantics.py [latency] [process] [frames]
"""

import collections
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch
import yaml

import mwl
from mwl.core import keys
from mwl.core.errors import NoSkillFits
from mwl.semantics import Card
from mwl.semantics.scenes import CAMERAS, differ
from mwl.semantics.shipped import DATA
from mwl.simulation import make_env

SCENES = {"h1-walk": "walk", "h1-reach": "reach", "h1-door": "open_door"}
PHRASES = ("go on", "do the task")
FRAMES, SEED = 48, 70_000  # of each scene, camera and size; no training seed comes near
SIZES = ((480, 320), (160, 160), (64, 64))  # pixels


def milliseconds(head: "mwl.SemanticHead", text: str) -> float:
    """Time of one call of `weights`."""
    began = time.perf_counter()
    head.weights(text)
    return 1000 * (time.perf_counter() - began)


def latency() -> None:
    """Print medians over instructions that were never asked before, and over the same ones again."""
    head = mwl.SemanticHead.load("embedded")
    head.weights(f"walk forward {time.time()} steps")  # loads the text tower
    texts = [f"walk {number} steps forward {time.time()}" for number in range(2, 32)]
    for name in ("first weights", "again"):
        values = [milliseconds(head, text) for text in texts]
        print(f"{name}: median {statistics.median(values):.1f} ms, worst {max(values):.1f} ms")


def process() -> None:
    """Print what `mwl instruct` costs as a process of its own: nothing cached, a new instruction, a known one."""
    with tempfile.TemporaryDirectory() as cache:
        for name, text in (("nothing cached", "walk on"), ("new words", "walk straight"), ("same words", "walk on")):
            began, before = time.perf_counter(), _children_seconds()
            command = [sys.executable, "-m", "mwl", "instruct", text, "--json"]
            subprocess.run(command, check=True, capture_output=True, env={**_environment(), "MWL_CACHE": cache})
            took, cpu = time.perf_counter() - began, _children_seconds() - before
            print(f"process, {name}: {took:.1f} s ({cpu:.1f} s of CPU)")


def _environment() -> dict[str, str]:
    return dict(os.environ)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def episodes(task: str, seed: int) -> tuple[Any, Any]:
    """Environments some steps into new episodes, and the same robots on open ground."""
    env, twin = (make_env(name, FRAMES, seed=seed) for name in (task, "h1-walk"))
    state = env.reset()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(8):
        state[keys.ACTION] = 0.2 * torch.randn(FRAMES, env.action_spec.shape[-1], generator=generator)
        state = env.step(state)[keys.NEXT].exclude(keys.REWARD)
    twin.reset()
    qpos, qvel = env.state
    twin.set_state(qpos[:, : twin.model.nq], qvel[:, : twin.model.nv])
    return env, twin


def frames() -> None:
    """Print how often "go on" goes to the skill of the scene: of the frames with its thing in view, and of all."""
    head = mwl.SemanticHead.load("embedded")
    development = yaml.safe_load((DATA / "semantics" / "development.yaml").read_text(encoding="utf-8"))
    head.set_cards([Card(**card) for card in development["cards"]])
    for place, (task, skill) in enumerate(SCENES.items()):
        env, twin = episodes(task, SEED + place)
        for size in SIZES:
            for camera in CAMERAS:
                answers = collections.Counter()
                for index in range(FRAMES):
                    picture, empty = (e.render(index, *size, camera, backend="raycast") for e in (env, twin))
                    seen = task == "h1-walk" or differ(picture, empty)
                    answers.update(_answer(head, phrase, picture, skill, seen) for phrase in PHRASES)
                print(_line(task, size, camera, answers))


def _answer(
    head: "mwl.SemanticHead", phrase: str, picture: np.ndarray, skill: str, seen: bool
) -> tuple[str, bool, bool]:
    try:
        weights = head.weights(phrase, picture)
    except NoSkillFits:
        return phrase, seen, False
    return phrase, seen, max(weights, key=weights.__getitem__) == skill


def _line(task: str, size: tuple[int, int], camera: str, answers: "collections.Counter[tuple[str, bool, bool]]") -> str:
    told = []
    for phrase in PHRASES:
        right, in_view = answers[phrase, True, True], answers[phrase, True, True] + answers[phrase, True, False]
        total = in_view + answers[phrase, False, True] + answers[phrase, False, False]
        told.append(f"{phrase!r} {right}/{in_view} in view, {right + answers[phrase, False, True]}/{total} of all")
    return f"{task} {size[0]}x{size[1]} {camera}: {'; '.join(told)}"


if __name__ == "__main__":
    known = {"latency": latency, "process": process, "frames": frames}
    for wanted in sys.argv[1:] or list(known):
        known[wanted]()
