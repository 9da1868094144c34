"""An exported expert acts as the one it was made of, for any number of robots."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput, MissingFile
from mwl.experts.library import Expert
from mwl.experts.network import PolicyNetwork, network_of
from mwl.experts.spec import ExpertSpec
from mwl.export.expert import export_onnx
from mwl.robot.h1 import JOINT_NAMES, action_to_ctrl
from mwl.simulation import get_task

pytest.importorskip("onnxscript", reason="the export extra is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")


@pytest.fixture
def commanded(tmp_path) -> Expert:
    """A reaching expert with random weights."""
    torch.manual_seed(0)
    spec = ExpertSpec("r", "h1-reach", command="hand_target", default_command=(0.3, 0.2, 0.1), hidden=(32, 32))
    network = PolicyNetwork(spec.input_size, spec.action_size, spec.hidden)
    network.fit_normaliser(torch.randn(100, spec.input_size), 0.3 * torch.randn(100, spec.action_size))
    checkpoint = {"hyper_parameters": spec.to_plain(), "state_dict": network.state_dict()}
    card = {"name": "r", "description": "reach", "paraphrases": []}
    write_artifact(tmp_path / "r", stage="expert", name="r", checkpoint=checkpoint, card=card, **spec.to_manifest())
    return Expert.load(tmp_path / "r")


def run(path, observation: torch.Tensor, command: torch.Tensor | None = None) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"observation": observation.numpy()} | ({} if command is None else {"command": command.numpy()})
    return torch.from_numpy(session.run(["action"], inputs)[0])


def observations(size: int, count: int) -> torch.Tensor:
    observation = 0.3 * torch.randn(count, size)
    observation[:, 2:4] += 1
    return observation


def test_the_walk_expert_acts_alike_and_says_how_to_use_it(data_folder, tmp_path):
    path = export_onnx(data_folder / "experts/walk", tmp_path / "out" / "walk.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["walk.onnx"]
    expert, layout = Expert.load(data_folder / "experts/walk"), get_task("h1-walk").layout
    for count in (1, 16):
        observation, command = observations(layout.size, count), 0.3 * torch.randn(count, 3)
        action = run(path, observation, command)
        torch.testing.assert_close(action, expert.act(observation, layout, command), atol=1e-5, rtol=0)
    told = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(told["joint_names"]) == list(JOINT_NAMES)
    targets = np.array(json.loads(told["action_offset"])) + np.array(json.loads(told["action_scale"])) * action.numpy()
    np.testing.assert_allclose(targets, action_to_ctrl(action.numpy()), atol=1e-6)
    assert json.loads(told["joint_stiffness"])[:5] == [200, 200, 200, 300, 40]
    assert json.loads(told["joint_damping"])[:5] == [5, 5, 5, 6, 2]
    assert json.loads(told["default_joint_pos"])[3] == pytest.approx(0.8)
    assert json.loads(told["observation_layout"])["robot_qvel"] == [26, 51]


SHIPPED = [
    pytest.param(folder, id=folder.name, marks=[] if folder.name == "handle_pull" else pytest.mark.slow)
    for place in ("experts", "transitions")
    for folder in sorted((Path(__file__).parents[2] / "data" / place).iterdir())
]


@pytest.mark.parametrize("folder", SHIPPED)
def test_a_shipped_expert_acts_alike_for_any_number_of_robots(folder: Path, tmp_path: Path):
    path, expert = export_onnx(folder, tmp_path / "x.onnx"), Expert.load(folder)
    layout, size = get_task(expert.spec.task).layout, expert.spec.command_size
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        observation, memory = observations(layout.size, count), torch.rand(count, expert.spec.memory)
        command = 0.3 * torch.randn(count, size) if size else None
        inputs = {"observation": observation, "command": command, "memory": memory if expert.spec.memory else None}
        told = {name: value.numpy() for name, value in inputs.items() if value is not None}
        action = torch.from_numpy(session.run(["action"], told)[0])
        expected, _ = expert.step(observation, memory, layout, command)
        torch.testing.assert_close(action, expected, atol=1e-5, rtol=0)


def test_bad_input_is_refused(commanded, tmp_path):
    with pytest.raises(BadInput, match=r"\.onnx"):
        export_onnx(tmp_path / "r", tmp_path / "r.pt")
    (tmp_path / "there.onnx").touch()
    with pytest.raises(BadInput, match="exists already; --force"):
        export_onnx(tmp_path / "r", tmp_path / "there.onnx")
    assert (tmp_path / "there.onnx").stat().st_size == 0
    with pytest.raises(MissingFile):
        export_onnx(tmp_path / "none", tmp_path / "r.onnx")


def test_an_expert_with_memory_acts_alike_along_an_episode(tmp_path):
    torch.manual_seed(0)
    spec = ExpertSpec("w", "h1-walk", command="velocity", default_command=(1, 0, 0), hidden=(32, 32), memory=8)
    network = network_of(spec)
    checkpoint = {"hyper_parameters": spec.to_plain(), "state_dict": network.state_dict()}
    write_artifact(tmp_path / "w", stage="expert", name="w", checkpoint=checkpoint, card={}, **spec.to_manifest())
    path, layout = export_onnx(tmp_path / "w", tmp_path / "w.onnx"), get_task("h1-walk").layout
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expert, exported = Expert.load(tmp_path / "w"), np.zeros((3, 8), dtype=np.float32)
    memory, command = torch.zeros(3, 8), torch.tensor([[0.5, 0.1, -0.2]]).repeat(3, 1)
    for _ in range(4):
        observation = observations(layout.size, 3)
        inputs = {"observation": observation.numpy(), "command": command.numpy(), "memory": exported}
        action, exported = session.run(["action", "next_memory"], inputs)
        expected, memory = expert.step(observation, memory, layout, command)
        torch.testing.assert_close(torch.from_numpy(action), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.from_numpy(exported), memory, atol=1e-5, rtol=0)
    assert memory.abs().max() > 0.01
    assert json.loads(session.get_modelmeta().custom_metadata_map["memory"]) == 8
