"""From an untrained teacher to an expert: the stages of `conf/pipelines/experts.yaml`, as small as can be."""

from pathlib import Path

import pytest
import yaml

from mwl.errors import BadInput
from mwl.experts.library import Expert
from mwl.pipeline.config import load
from mwl.pipeline.runner import run_pipeline

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "conf/pipelines/experts.yaml"
SMALL_TEACHER = {"teacher": {"iterations": 1, "ppo": {"num_envs": 8, "rollout_steps": 4}}}
SMALL_RECORDING = {"recording": {"episodes": 2, "steps": 20, "drop_before_fall": 0}}
SHORT_FIT = {
    "trainer": {"max_epochs": 1, "logger": False},
    "model": {"init_args": {"evaluation_episodes": 0}},
    "data": {"init_args": {"batches_per_epoch": 5, "validation_share": 0.0}},
}


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three stages that end in the walk expert, in a pipeline of their own; the folder is that of the project."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stages = yaml.safe_load(PIPELINE.read_text())["stages"]
    walk = {name: stages[name] for name in ("teacher_walk", "record_walk", "walk")}
    walk["teacher_walk"].setdefault("overrides", {}).update(SMALL_TEACHER)
    walk["record_walk"].setdefault("overrides", {}).update(SMALL_RECORDING)
    walk["walk"]["overrides"]["data"]["init_args"].update(SHORT_FIT["data"]["init_args"])
    walk["walk"]["overrides"] |= {key: value for key, value in SHORT_FIT.items() if key != "data"}
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump({"name": "chain", "output": str(tmp_path / "out"), "stages": walk}))
    return path


def test_a_teacher_becomes_an_expert(chain: Path, tmp_path: Path) -> None:
    result = run_pipeline(chain)
    assert result.ran == ["teacher_walk", "record_walk", "walk"]
    expert = Expert.load(tmp_path / "out/walk")
    assert expert.manifest["provenance"]["training_env_steps"] == {"tracking_walk": 32}  # 8 robots, 4 steps, once
    assert expert.manifest["provenance"]["recording_env_steps"] == 40
    assert run_pipeline(chain).ran == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("teacher_walk.config=none.yaml", "none.yaml"),
        ("teacher_walk.overrides.teacher.iterrations=3", r"walk_teacher\.yaml.*iterrations"),
        ("record_walk.overrides.recording.epissodes=3", r"walk\.yaml.*epissodes"),
    ],
)
def test_misconfigured_stages_are_refused_before_anything_starts(chain: Path, change: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run_pipeline(chain, [f"stages.{change}"])
    assert not (chain.parent / "out").exists()


def test_every_shipped_expert_is_made() -> None:
    _, stages = load(PIPELINE)
    shipped = {folder.name for folder in (ROOT / "data/experts").iterdir() if folder.is_dir()}
    assert shipped <= stages.keys()
    assert all(f"look_{name}" in stages for name in shipped)
