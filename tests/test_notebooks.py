"""Every notebook runs from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SHORT_EPISODES = """
from dataclasses import replace
from mwl.simulation import TASKS
for name, task in list(TASKS.items()):
    TASKS[name] = replace(task, max_episode_steps=60)
"""
SHORTER = {
    "tour.ipynb": {
        '"--trainer.max_epochs",\n        "2",': '"--trainer.max_epochs=1", "--data.init_args.batches_per_epoch=20",'
    },
    "train_elsewhere.ipynb": {
        "n_steps=512": "n_steps=128",
        "model.learn(4096)": "model.learn(256)",
        "total_frames=20 * N * T": "total_frames=2 * N * T",
    },
    "your_clip.ipynb": {'"iterations": 3': '"iterations": 1, "ppo": {"num_envs": 64, "rollout_steps": 8}'},
    "your_task.ipynb": {
        "seconds=20.0": "seconds=2.0",
        "env_steps 1280": "env_steps 320",
        "seed_steps 640": "seed_steps 240",
        "learning_starts 400": "learning_starts 160",
    },
}
"""What is trained and tried in fewer steps, by notebook."""


def run(path: Path, notebook: nbformat.NotebookNode) -> None:
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path) -> None:
    """Every line, with fewer steps."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for there, shorter in SHORTER.get(path.name, {}).items():
        assert any(there in cell.source for cell in code), f"{path.name}: no {there!r} to shorten"
        for cell in code:
            cell.source = cell.source.replace(there, shorter)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT_EPISODES))
    run(path, notebook)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_as_it_is(path: Path) -> None:
    run(path, nbformat.read(path, as_version=4))


def test_notebooks_are_stored_without_outputs() -> None:
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path.name}: clear the outputs before committing"
