"""A Python file of the user: its task, demonstrator and agent are found by name, in commands, pipelines and Python."""

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml

from mwl import _extensions, _gymnasium, make_env
from mwl._extensions import import_class, import_files
from mwl.app.cli import main
from mwl.core.artifact import read_manifest
from mwl.core.errors import BadInput, ConfigError, MissingFile
from mwl.demonstrators.registry import load_demonstration_config, record
from mwl.evaluation.agents import resolve
from mwl.pipeline import runner
from mwl.pipeline.config import load
from mwl.rollouts.episodes import run_episodes
from mwl.simulation import TASKS
from mwl.training.fit import fit

FILE = '''
import numpy as np
import torch
from mwl import register_task
from mwl.simulation import ObservationLayout, Task, rewards
from pathlib import Path

HERE = Path(__file__).parent


def reward(measured):
    """Nearer to the ball is better."""
    return rewards.standing(measured) * np.exp(-np.abs(measured.qpos[:, 26]))


def observe(measured):
    return {"robot_qpos": measured.qpos[:, :26], "ball": measured.qpos[:, 26:29], "robot_qvel": measured.qvel[:, :25]}


BALL = register_task(Task(
    name="h1-ball", scene=str(HERE / "ball.xml"), instruction="go to the ball", description="be near the ball",
    success_bar=500.0, reward=reward, terminated=rewards.fallen, observe=observe,
    layout=ObservationLayout(robot_qpos=26, ball=3, robot_qvel=25), object_qpos0=(2.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0),
))


class Still:
    """Demonstrator that commands one and the same."""

    name, command = "still", None

    def __init__(self, env, action=0.0):
        self.noise_scale, self.action = torch.ones(19), torch.full((env.num_envs, 19), action)

    def reset(self, observation, mask=None): ...
    def act(self, observation): return self.action
    def executed(self, action): ...
    def describe(self): return {"source": "a test"}


class Quiet:
    """Agent that does nothing."""

    last = None
    def reset(self, done=None): ...
    def act(self, observation, step=None): return torch.zeros(*observation.shape[:-1], 19)
'''
SCENE = """<mujoco><include file="floor.xml"/><include file="h1.xml"/><worldbody>
<body name="ball" pos="2 0 0.1"><freejoint/><geom type="sphere" size="0.1" mass="0.4"/></body></worldbody></mujoco>"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file, outside the package; nothing of it is left afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(_extensions, "_imported", {})
    (tmp_path / "ball.xml").write_text(SCENE, encoding="utf-8")
    (tmp_path / "ball_task.py").write_text(FILE, encoding="utf-8")
    yield tmp_path / "ball_task.py"
    sys.modules.pop("ball_task", None)
    if TASKS.pop("h1-ball", None) is not None:
        _gymnasium.TASK_NAMES.remove("h1-ball")
        gymnasium.registry.pop("mwl/h1-ball-v0", None)


TINY = {
    "network": {"size": "0.2M", "num_q": 2},
    "learning": {"batch_size": 8, "seed_steps": 400, "learning_starts": 200, "updates_per_step": 0.02},
    "planner": {"samples": 8, "iterations": 1, "elites": 4, "policy_samples": 2, "interval": 25},
    "guidance": {"enabled": False},
}


def stage(place: Path, steps: int) -> Path:
    """A world model on the user's task."""
    config = {
        "model": {"class_path": "mwl.world_model.module.WorldModelModule", "init_args": TINY},
        "data": {
            "class_path": "mwl.world_model.data.WorldModelData",
            "init_args": {"task": "h1-ball", "env_steps": steps, "num_envs": 8, "steps_per_round": 5},
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_model_summary": False},
    }
    path = place / "stage.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_a_task_trains_from_the_command_line(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", str(stage(own.parent, 1000)), "--output", "runs/ball"]
    assert main(command) == 2  # nothing names the file
    assert "no task 'h1-ball'" in capsys.readouterr().err
    assert main([*command, "--import", str(own)]) == 0
    manifest = read_manifest("runs/ball", stage="world_model")
    assert manifest["task"] == "h1-ball"
    assert manifest["provenance"]["env_steps"] == 1000


def test_a_task_trains_from_python(own: Path) -> None:
    import_files([own])
    folder = fit({**yaml.safe_load(stage(own.parent, 1000).read_text()), "output": "runs/ball"})
    assert folder is not None
    assert read_manifest(folder)["observation"]["size"] == 54


def test_its_object_is_in_its_scene_and_gymnasium_knows_it(own: Path) -> None:
    import_files([own])
    env = make_env("h1-ball", num_envs=2, seed=0)
    observation = env.reset()["observation"]
    np.testing.assert_allclose(observation[:, 26:29], [[2.0, 0.0, 0.1]] * 2, atol=0.011)  # the reset's noise is 0.01
    assert gymnasium.make("mwl/h1-ball-v0").reset(seed=0)[0].shape == (54,)


def test_a_demonstrator_is_named_by_its_class(own: Path) -> None:
    import_files([own])
    path = own.parent / "still.yaml"
    text = "class_path: ball_task.Still\ninit_args: {action: 0.25}\ntask: h1-ball\nrecording: {episodes: 2, steps: 5}\n"
    path.write_text(text, encoding="utf-8")
    recording = record(load_demonstration_config(path))
    assert (recording.action == 0.25).all()
    assert recording.manifest["demonstrator"] == "still"
    path.write_text(text + "teacher: data/teachers/walk\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="teacher"):
        load_demonstration_config(path)
    path.write_text(text.replace("Still", "Moving"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ball_task\.Moving"):
        load_demonstration_config(path)


def test_an_agent_is_named_by_its_class(own: Path) -> None:
    import_files([own])
    named = resolve("class:ball_task.Quiet")
    assert named.name == "Quiet"
    assert run_episodes(make_env("h1-ball", num_envs=1, seed=0), named.agent, 0).fell.all()
    with pytest.raises(BadInput, match="instruction"):
        resolve("class:ball_task.Quiet", instruction="walk")


def pipeline(own: Path) -> Path:
    """One that evaluates the user's agent on the user's task."""
    look = {"kind": "evaluate", "task": "h1-ball", "agent": "class:ball_task.Quiet", "episodes": 1, "video": False}
    path = own.parent / "line.yaml"
    path.write_text(yaml.safe_dump({"name": "line", "imports": [str(own)], "stages": {"look": look}}), encoding="utf-8")
    return path


def test_the_file_counts_in_the_key_of_a_stage(own: Path) -> None:
    path = pipeline(own)
    line, stages = load(path)
    without = runner._plan("look", stages["look"], line, path).key
    import_files(line.imports)
    key = runner._plan("look", stages["look"], line, path).key
    assert key == runner._plan("look", stages["look"], line, path).key != without
    own.write_text(FILE + "# changed\n", encoding="utf-8")
    assert runner._plan("look", stages["look"], line, path).key != key


@pytest.mark.slow
def test_a_pipeline_imports_the_file_in_the_processes_of_its_stages(own: Path) -> None:
    assert runner.run_pipeline(pipeline(own)).ran == ["look"]
    assert runner.run_pipeline(pipeline(own)).skipped == ["look"]


def test_what_can_not_be_imported_is_told_in_one_line(own: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"none\.py"):
        import_files([tmp_path / "none.py"])
    (tmp_path / "json.py").write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match="another module"):
        import_files([tmp_path / "json.py"])
    (tmp_path / "broken_task.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(BadInput, match="ZeroDivisionError"):
        import_files([tmp_path / "broken_task.py"])
    (tmp_path / "twice_task.py").write_text(
        "from dataclasses import replace\nfrom mwl.simulation import get_task, register_task\n"
        "register_task(replace(get_task('h1-walk'), success_bar=1.0))",
        encoding="utf-8",
    )
    with pytest.raises(BadInput, match="another task named 'h1-walk'"):
        import_files([tmp_path / "twice_task.py"])
    for path in ("Quiet", "json.none", "no_such_module.Quiet", "."):
        with pytest.raises(BadInput, match=r"FILE\.CLASS"):
            import_class(path)
