"""An exported agent acts as the one it was made of, in closed loop, for any number of robots; MuJoCo alone does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mwl.core.errors import BadInput
from mwl.export.agent import ExportedAgent, export_agent
from mwl.simulation import make_env
from mwl.world_model import load_agent
from mwl.world_model.agent import WorldModelAgent

pytest.importorskip("onnxscript", reason="the export extra is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")

ROOT = Path(__file__).parents[2]
AGENTS = [
    pytest.param(folder, id=folder.name, marks=[] if folder.name == "walk" else pytest.mark.slow)
    for folder in sorted((ROOT / "data/agents").iterdir())
    if folder.name not in ("sit_simple", "sit_hard", "balance_simple", "crawl", "hurdle", "maze", "pole")  # refused
]


class Exported:
    """A file at work in N environments."""

    def __init__(self, file: Path, count: int) -> None:
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self.told = self.session.get_modelmeta().custom_metadata_map
        kinds = {node.name: np.int64 if "int64" in node.type else np.float32 for node in self.session.get_inputs()}
        begin = json.loads(self.told["begin"])
        self.memory = {name: np.repeat(np.array(value, kinds[name]), count, 0) for name, value in begin.items()}
        self.outputs = [node.name for node in self.session.get_outputs()]

    def act(self, observation: torch.Tensor) -> dict[str, np.ndarray]:
        feed = {"observation": observation.numpy(), **self.memory}
        said = dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))
        self.memory = {name: said[f"next_{name}"] for name in self.memory}
        return said


def without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, so that a planner's search is one function; both its Q networks are drawn anyway."""
    monkeypatch.setattr(torch, "randn", lambda *size, **settings: torch.zeros(*size, **settings))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)


@pytest.mark.parametrize("folder", AGENTS)
def test_a_shipped_agent_acts_alike_in_closed_loop(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    agent = load_agent(folder)
    assert isinstance(agent, WorldModelAgent)
    assert agent.model.num_q == 2
    without_chance(monkeypatch)
    exported = Exported(export_agent(folder, tmp_path / "a.onnx"), count=3)
    env = make_env(exported.told["task"], num_envs=3, seed=5)
    data = env.reset()
    for step in range(60):
        observation = data["observation"]
        said = exported.act(observation)
        action = agent.act(observation)
        # Both compute in float32, in another order; within the closed loop nothing adds up, as both see one robot.
        torch.testing.assert_close(torch.from_numpy(said["action"]), action, atol=2e-4, rtol=0, msg=f"step {step}")
        assert agent.last is not None
        torch.testing.assert_close(torch.from_numpy(said["weights"]), agent.last["fused_weights"], atol=1e-4, rtol=0)
        data = env.step(data.set("action", torch.from_numpy(said["action"])))["next"]


def test_the_file_moves_the_robot_where_this_package_is_not(data_folder: Path, tmp_path: Path):
    export_agent(data_folder / "experts/walk", tmp_path / "walk.onnx")
    command = [sys.executable, "-I", ROOT / "docs/examples/onnx_loop.py", tmp_path / "walk.onnx", "--seconds", "4"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "mwl" not in (ROOT / "docs/examples/onnx_loop.py").read_text()
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.replace(",", "").split()
    x, z = float(said[said.index("x") + 1]), float(said[said.index("pelvis") + 1])
    assert x > 2.5  # told to walk at 1 m/s for 4 s, some 0.5 s of which it spends speeding up
    assert z > 0.8


def test_what_cannot_be_exported_is_refused_in_words(tmp_path: Path, data_folder: Path):
    with pytest.raises(BadInput, match="guided by experts"):
        ExportedAgent(object())
    (tmp_path / "there.onnx").touch()
    with pytest.raises(BadInput, match="exists already; --force"):
        export_agent(data_folder / "agents/walk", tmp_path / "there.onnx")
