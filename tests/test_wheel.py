"""The wheel, installed into a fresh environment, carries out the commands in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "src", "data", "conf")
LIMIT = 40 * 2**20  # bytes of the wheel
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def installed_wheel(place: Path) -> Path:
    """A virtual environment with the wheel, which takes its dependencies from the one that runs this."""
    for name in SOURCES:  # a copy, as the build leaves files beside its sources
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, place)
        else:
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(place)]
    subprocess.run([*PIP, *build], check=True)
    (wheel,) = place.glob("mwl-*.whl")
    assert wheel.stat().st_size <= LIMIT
    folder = place / "venv"
    with_own(folder, "--no-compile", "--force-reinstall", str(wheel))
    for name in SOURCES:  # nothing may be found there any more
        shutil.rmtree(place / name, ignore_errors=True)
    return folder


def with_own(folder: Path, *what: str) -> None:
    """Make an environment in which only what is told is its own, and the rest of the one that runs this."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # read after what is in the folder
    install = ["install", "--quiet", "--no-index", "--no-deps", *what]
    subprocess.run([*PIP, "--python", str(folder / "bin/python"), *install], check=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel."""
    pytest.importorskip("setuptools", minversion="77")
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


def run(environment: Path, here: Path, *command: str) -> str:
    """Standard output of a command of the environment; what it leaves lies below `runs`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW", "MWL"))}
    own |= {"MWL_HOME": str(environment / "home"), "MWL_CACHE": os.environ["MWL_CACHE"], "OMP_NUM_THREADS": "1"}
    own["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run([environment / "bin" / command[0], *command[1:]], cwd=here, env=own, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert set(os.listdir(here)) <= {"runs"}
    return done.stdout.decode()


def package(environment: Path, here: Path) -> Path:
    """The folder of the package that the environment imports."""
    found = Path(run(environment, here, "python", "-c", "import mwl; print(mwl.__file__)").strip()).parent
    assert found.is_relative_to(environment)
    return found


def test_the_wheel_understands_instructions_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    assert (package(environment, tmp_path) / "_shipped/data/agents/walk/model.ckpt").is_file()
    for file in ("py.typed", "reports/page.html", "reports/charts.js"):
        assert (package(environment, tmp_path) / file).is_file()
    assert "walk" in run(environment, tmp_path, "mwl", "instruct", "walk forward")
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_the_wheel_acts_and_learns_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    shipped = {path: path.stat().st_mtime_ns for path in package(environment, tmp_path).rglob("*")}
    run(environment, tmp_path, "mwl", "evaluate", "--task", "h1-walk", "--episodes", "2")
    run(environment, tmp_path, "mwl", "play", "walk forward, then stop")
    assert (tmp_path / "runs/play.mp4").is_file()
    few = (
        "--data.init_args.files=[data/demonstrations/stand.npz]",
        "--trainer.max_epochs=1",
        "--data.init_args.batches_per_epoch=5",
        "--model.init_args.evaluation_episodes=1",
    )
    run(environment, tmp_path, "mwl", "fit", "--config", "conf:experts/stand.yaml", *few)
    assert (tmp_path / "runs/stand/manifest.json").is_file()
    run(environment, tmp_path, "mwl", "run", "conf:pipelines/tiny.yaml")
    assert (tmp_path / "runs/tiny/comparison/comparison.png").is_file()
    assert "(published)" in (tmp_path / "runs/tiny/report.html").read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in package(environment, tmp_path).rglob("*")} == shipped
