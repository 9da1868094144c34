"""From an untrained teacher to an expert: the stages of `conf/pipelines/experts.yaml`, as small as can be."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mwl.core.errors import BadInput
from mwl.experts.library import Expert
from mwl.pipeline.config import load, merge, references
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
    """The stages that end in the walk expert, as small as can be, in a pipeline of their own run from the project."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {"teacher": SMALL_TEACHER, "demonstrations": SMALL_RECORDING, "fit": SHORT_FIT}
    stages = yaml.safe_load(PIPELINE.read_text())["stages"]
    chosen = {
        name: merge(stages[name], {"overrides": small[stages[name]["kind"]]}) for name in needed_by("walk", stages)
    }
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump({"name": "chain", "output": str(tmp_path / "out"), "stages": chosen}))
    return path


def needed_by(name: str, stages: dict[str, Any]) -> list[str]:
    """A stage and all that it needs, what comes first in front."""
    before = [other for needed in sorted(set(references(stages[name]))) for other in needed_by(needed, stages)]
    return [*dict.fromkeys(before), name]


@pytest.mark.long
def test_a_teacher_becomes_an_expert(chain: Path, tmp_path: Path) -> None:
    result = run_pipeline(chain)
    assert (result.ran[0], result.ran[-1]) == ("teacher_walk.first", "walk")
    cost = Expert.load(tmp_path / "out/walk").manifest["provenance"]
    assert cost["training_env_steps"] == {"tracking_walk": 3 * 32}  # 8 robots, 4 steps, in each of three stages
    assert cost["recording_env_steps"] == 40 * (len(result.ran) - 4)  # 2 robots, 20 steps, in every recording
    assert run_pipeline(chain).ran == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("teacher_walk.config=none.yaml", "none.yaml"),
        ("teacher_walk.overrides.teacher.iterrations=3", r"teachers/walk\.yaml.*iterrations"),
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
    for aside in ("data/transitions", "data/robust"):
        assert {folder.name for folder in (ROOT / aside).iterdir()} <= stages.keys()
