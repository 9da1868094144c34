"""What is installed and what works: versions, threads, physics, pictures, films, language."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mwl.core.errors import MwlError
from mwl.core.machine import cpu_cores, omp_threads
from mwl.doctor.finding import Finding

_CONSTRAINTS = Path("constraints.txt")
_OPTIONAL = {
    "mink": "pip install -c constraints.txt -e '.[retarget]'",
    "onnxruntime": "pip install -c constraints.txt -e '.[export]'",
    "minari": "pip install -c constraints.txt -e '.[datasets]'",
}
_REQUIRED = ("torch", "lightning", "torchrl", "tensordict", "mujoco", "gymnasium", "open-clip-torch", "mlflow")


def python() -> Iterator[Finding]:
    ok = sys.version_info >= (3, 11)
    yield Finding("python", ok, platform.python_version(), "" if ok else "use Python 3.11 or newer")


def packages() -> Iterator[Finding]:
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


def torch_pair() -> Iterator[Finding]:
    """Whether torchvision was built for the torch that is there; lightning, timm and open_clip import both."""
    name, remedy = "torch and torchvision", "pip install -c constraints.txt torch torchvision  # both in one command"
    torch, torchvision = (importlib.metadata.version(package) for package in ("torch", "torchvision"))
    state = f"torch {torch}, torchvision {torchvision}"
    wanted = [re.search(r"torch\s*\(?==\s*([\w.]+)", line) for line in importlib.metadata.requires("torchvision") or []]
    for match in wanted:
        if match and match[1] != torch.partition("+")[0]:
            yield Finding(name, False, f"{state}, which is made for torch {match[1]}", remedy)
            return
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # each wrong pair fails in its own way
        yield Finding(name, False, f"{state}: {type(error).__name__}: {str(error)[:150]}", remedy)
    else:
        yield Finding(name, True, state)


def threads() -> Iterator[Finding]:
    """Whether what the environment says about threads fits the machine."""
    import torch

    cores, machine = cpu_cores(), os.cpu_count() or 1
    state = f"{cores} CPU cores, torch uses {torch.get_num_threads()}"
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said and omp_threads() is None:
        yield Finding("threads", False, f"{state}; OMP_NUM_THREADS is {said[:40]!r}", "export OMP_NUM_THREADS=1")
    elif torch.get_num_threads() > cores or (omp_threads() or 1) > cores:
        asked = f"{state}; OMP_NUM_THREADS is {said or 'unset'}: more threads than cores are far slower"
        yield Finding("threads", False, asked, "export OMP_NUM_THREADS=1")
    elif cores < machine:
        widen = "if that is not meant: start it without taskset, or give the container more cores"
        yield Finding("threads", True, f"{state}; this process may use {cores} of {machine} cores", widen)
    else:
        yield Finding("threads", True, state)


def gpu() -> Iterator[Finding]:
    """Whether a GPU that is there can be used."""
    import torch

    if torch.cuda.is_available():
        found = f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
        yield Finding("GPU", True, f"{found}; used with trainer.accelerator: gpu")
    elif shutil.which("nvidia-smi"):
        remedy = "rm -rf .venv && make setup  # installs the CUDA build of torch"
        yield Finding("GPU", False, f"present, but torch {torch.__version__} cannot use it", remedy)
    else:
        yield Finding("GPU", True, "none; everything runs on the CPU")


def simulation() -> Iterator[Finding]:
    from mwl.simulation import TASKS, make_env

    env = make_env("h1-stand", num_envs=2)
    env.rollout(3)
    yield Finding("simulation", True, f"works; tasks: {', '.join(sorted(TASKS))}")


def renderer() -> Iterator[Finding]:
    """Whether pictures can be drawn, by whatever `MWL_RENDERER` names."""
    from mwl.simulation import make_env
    from mwl.simulation.rendering.renderer import chosen_backend

    remedy = "unset MWL_RENDERER  # the ray caster needs no library"
    env = make_env("h1-stand")
    env.reset()
    try:
        backend, picture = chosen_backend(), env.render(width=64, height=48)
    except MwlError as error:
        yield Finding("renderer", False, str(error), remedy)
        return
    seen = bool(picture.std() > 0)
    yield Finding("renderer", seen, backend if seen else f"{backend} draws nothing", "" if seen else remedy)


def films() -> Iterator[Finding]:
    import imageio_ffmpeg

    try:
        yield Finding("ffmpeg", True, imageio_ffmpeg.get_ffmpeg_version())
    except (OSError, RuntimeError) as error:  # no program for this machine, or one that does not start
        remedy = "pip install -c constraints.txt imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to one of yours"
        yield Finding("ffmpeg", False, str(error)[:150], remedy)


def semantic_head() -> Iterator[Finding]:
    from mwl.semantics import SemanticHead

    try:
        head = SemanticHead.load("embedded")
        weights = head.weights("stand still")
    except MwlError as error:
        yield Finding("semantic head", False, str(error), "mwl fit --config conf/semantic.yaml")
        return
    best = max(weights, key=lambda name: weights[name])
    yield Finding("semantic head", True, f"works; “stand still” means {best}, skills: {', '.join(head.names)}")


CHECKS = (python, packages, torch_pair, threads, gpu, simulation, renderer, films, semantic_head)
