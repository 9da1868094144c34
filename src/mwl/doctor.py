"""`mwl doctor`: what is installed, what works, and what to do about the rest."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mwl import tracking
from mwl.errors import MwlError
from mwl.handoff import MANIFEST, sha256_of

_CONSTRAINTS = Path("constraints.txt")
_DATA = Path("data")
_OPTIONAL = {
    "mink": "pip install -c constraints.txt -e '.[retarget]'",
    "onnxruntime": "pip install -c constraints.txt -e '.[export]'",
    "minari": "pip install -c constraints.txt -e '.[datasets]'",
}
_REQUIRED = ("torch", "lightning", "torchrl", "tensordict", "mujoco", "gymnasium", "open-clip-torch", "mlflow")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    state: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `mwl doctor --json` prints it."""
        return asdict(self)


def diagnose() -> list[Finding]:
    """Look at everything; a check that itself fails is a finding, not an error."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _compute,
        _simulation,
        _renderer,
        _films,
        _store,
        _data_files,
        _semantics,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # whatever breaks in a half-installed environment is what the user wants to know
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            findings.append(Finding(check.__name__.strip("_").replace("_", " "), False, what, "make setup"))
    return findings


def _python() -> Iterator[Finding]:
    ok = sys.version_info >= (3, 11)
    yield Finding("python", ok, platform.python_version(), "" if ok else "use Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    pinned = _pinned()
    for name in (*_REQUIRED, *_OPTIONAL):
        remedy = _OPTIONAL.get(name, "make setup")
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                name, name in _OPTIONAL, "not installed" + (" (optional)" if name in _OPTIONAL else ""), remedy
            )
            continue
        expected = pinned.get(name.lower())
        same = expected is None or version.split("+")[0] == expected
        yield Finding(
            name, True, version if same else f"{version}, tested with {expected}", "" if same else "make setup"
        )


def _pinned() -> dict[str, str]:
    if not _CONSTRAINTS.is_file():
        return {}
    found = re.findall(r"^([\w.\-]+)==([^\s;#]+)", _CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def _compute() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("threads", True, f"{cores} CPU cores, torch uses {torch.get_num_threads()}")
    if torch.cuda.is_available():
        found = f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
        yield Finding("GPU", True, f"{found}; used with trainer.accelerator: gpu")
    elif shutil.which("nvidia-smi"):
        remedy = "rm -rf .venv && make setup  # installs the CUDA build of torch"
        yield Finding("GPU", False, f"present, but torch {torch.__version__} cannot use it", remedy)
    else:
        yield Finding("GPU", True, "none; everything runs on the CPU")


def _simulation() -> Iterator[Finding]:
    from mwl.simulation import TASKS, make_env

    env = make_env("h1-stand", num_envs=2)
    env.rollout(3)
    yield Finding("simulation", True, f"works; tasks: {', '.join(sorted(TASKS))}")


def _renderer() -> Iterator[Finding]:
    from mwl.simulation import make_env
    from mwl.simulation.rendering import chosen_backend

    env = make_env("h1-stand")
    env.reset()
    picture = env.render(width=64, height=48)
    yield Finding("renderer", bool(picture.std() > 0), chosen_backend())


def _films() -> Iterator[Finding]:
    import imageio_ffmpeg

    yield Finding("ffmpeg", True, imageio_ffmpeg.get_ffmpeg_version())


def _store() -> Iterator[Finding]:
    uri = tracking.tracking_uri()
    remedy = "make the folder writable, or set MLFLOW_TRACKING_URI"
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        place = next(path for path in (file.parent, *file.resolve().parents) if path.is_dir())
        try:
            with tempfile.TemporaryFile(dir=place):
                ok = True
        except OSError:
            ok = False
        state = "exists" if file.is_file() else "will be made on first use"
        yield Finding("MLflow store", ok, f"{uri}, {state if ok else 'not writable'}", "" if ok else remedy)
    else:
        tracking.client().search_experiments(max_results=1)
        yield Finding("MLflow store", True, uri)


def _data_files() -> Iterator[Finding]:
    expected = dict(_recorded_digests())
    if not expected:
        yield Finding("data", True, "no data/ folder here; run from the repository to use the shipped data")
        return
    broken = [str(path) for path, digest in expected.items() if not path.is_file() or sha256_of(path) != digest]
    state = f"{len(expected)} files match their sha256" if not broken else f"damaged: {', '.join(broken)}"
    yield Finding("data", not broken, state, "git checkout -- data" if broken else "")


def _recorded_digests() -> Iterator[tuple[Path, str]]:
    """Shipped files with the sha256 that the JSON file beside them records: a hand-over manifest, or one per file."""
    for path in sorted(_DATA.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name == MANIFEST:
            yield from ((path.parent / name, digest) for name, digest in content.get("files", {}).items())
        elif isinstance(content, dict) and "sha256" in content and path.with_suffix(".npz").is_file():
            yield path.with_suffix(".npz"), content["sha256"]


def _semantics() -> Iterator[Finding]:
    from mwl.semantics import SemanticHead

    try:
        head = SemanticHead.load("embedded")
        weights = head.weights("stand still")
    except MwlError as error:
        yield Finding("semantic head", False, str(error), "mwl fit --config conf/semantic.yaml")
        return
    best = max(weights, key=lambda name: weights[name])
    yield Finding("semantic head", True, f"works; “stand still” means {best}, skills: {', '.join(head.names)}")
