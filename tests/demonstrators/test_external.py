"""A user's policy file reads what its description says, and its numbers become the joint targets that it means."""

import pytest
import torch
import yaml
from torch import nn

from mwl.core.errors import ConfigError, CorruptFile, MissingFile
from mwl.demonstrators.external import CommandedJoints, ObservedPiece, UserPolicy, UserPolicyConfig
from mwl.demonstrators.registry import load_demonstration_config, record
from mwl.experts.library import Expert
from mwl.export.expert import export_onnx
from mwl.robot.h1 import CTRL_LOW, JOINT_NAMES, QPOS0, RADIANS_PER_ACTION, action_to_ctrl
from mwl.simulation import get_task

KNEES = ["left_knee", "right_knee"]
DEFAULT = [0.8, 0.8]


class Bend(nn.Module):
    """Answers with the first two numbers it reads."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return observation[:, :2]


class Count(nn.Module):
    """Remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("asked", torch.zeros(1, 2))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return self.asked.clone()


@pytest.fixture
def bend(tmp_path) -> str:
    torch.jit.script(Bend()).save(str(tmp_path / "bend.pt"))
    return str(tmp_path / "bend.pt")


def make(file: str, *pieces: ObservedPiece, **more) -> UserPolicy:
    actions = CommandedJoints(KNEES, DEFAULT, 0.25, {"torso": 0.1})
    return UserPolicy(UserPolicyConfig(file, list(pieces), actions, **more))


def standing(count: int = 2) -> torch.Tensor:
    observation = torch.zeros(count, 51)
    observation[:, :26] = torch.tensor(QPOS0)
    return observation


def targets(action: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(action_to_ctrl(action.numpy())).float()


def test_pieces_come_scaled_and_in_order(bend):
    observation = standing()
    observation[:, 29:32] = torch.tensor([1.0, 2.0, 3.0])  # angular velocity
    observation[:, 7 + 3] = 1.0  # the left knee, 0.2 from its default
    policy = make(
        bend,
        ObservedPiece("joint_positions", 2.0),
        ObservedPiece("angular_velocity", [1.0, 0.5, 0.25]),
        ObservedPiece("gravity"),
        ObservedPiece("command", 2.0),
        ObservedPiece("phase", period=0.08),  # a quarter turn per step
        command=(1.1, 0.0, 0.2),
    )
    policy.reset(observation)
    expected = [0.4, 0.0, 1.0, 1.0, 0.75, 0.0, 0.0, -1.0, 2.2, 0.0, 0.4]
    torch.testing.assert_close(policy.observe(observation)[0], torch.tensor([*expected, 0.0, 1.0]))
    action = policy.act(observation)
    torch.testing.assert_close(policy.observe(observation)[0, -2:], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    expected_targets = torch.zeros(2, 19)
    expected_targets[:, JOINT_NAMES.index("left_knee")] = 0.8 + 0.25 * 0.4
    expected_targets[:, JOINT_NAMES.index("right_knee")] = 0.8
    expected_targets[:, JOINT_NAMES.index("torso")] = 0.1
    torch.testing.assert_close(targets(action), expected_targets, atol=1e-6, rtol=0)
    torch.testing.assert_close(policy.command, torch.tensor([1.1, 0.0, 0.2]).expand(2, 3))


def test_the_previous_action_is_the_executed_one(bend):
    policy = make(bend, ObservedPiece("joint_positions"), ObservedPiece("previous_action"))
    policy.reset(standing())
    action = policy.act(standing())
    moved = action.clone()
    knee = JOINT_NAMES.index("left_knee")
    moved[:, knee] += 0.05 / float(RADIANS_PER_ACTION[knee])  # 0.05 rad: 0.2 of the policy's units
    policy.executed(moved)
    expected = torch.tensor([0.0, 0.0, 0.2, 0.0]).expand(2, 4)
    torch.testing.assert_close(policy.observe(standing()), expected, atol=1e-5, rtol=0)
    policy.reset(standing(), torch.tensor([True, False]))
    assert policy.observe(standing())[:, 2].tolist() == pytest.approx([0.0, 0.2], abs=1e-5)


def test_a_slower_policy_is_asked_less_often_and_remembers_per_robot(tmp_path):
    torch.jit.script(Count()).save(str(tmp_path / "count.pt"))
    policy = make(str(tmp_path / "count.pt"), ObservedPiece("height"), rate_hz=25.0, recurrent=True)
    policy.reset(standing())
    knee = JOINT_NAMES.index("left_knee")
    asked = [round(float(targets(policy.act(standing()))[0, knee] - 0.8) / 0.25) for _ in range(4)]
    assert asked == [1, 1, 2, 2]
    policy.reset(standing(), torch.tensor([True, False]))
    numbers = (targets(policy.act(standing()))[:, knee] - 0.8) / 0.25
    torch.testing.assert_close(numbers, torch.tensor([1.0, 3.0]), atol=1e-4, rtol=0)


def test_an_exported_expert_demonstrates_itself(data_folder, tmp_path):
    pytest.importorskip("onnxscript", reason="the export extra is not installed")
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    file = export_onnx(data_folder / "experts/stand", tmp_path / "stand.onnx")
    actions = CommandedJoints(list(JOINT_NAMES), (CTRL_LOW + RADIANS_PER_ACTION).tolist(), RADIANS_PER_ACTION.tolist())
    policy = UserPolicy(UserPolicyConfig(str(file), [ObservedPiece("observation")], actions))
    observation = standing(3) + 0.01 * torch.randn(3, 51)
    policy.reset(observation)
    expected = Expert.load(data_folder / "experts/stand").act(observation, get_task("h1-stand").layout)
    torch.testing.assert_close(policy.act(observation), expected, atol=1e-5, rtol=0)


def test_a_configuration_records_it(bend, tmp_path):
    description = {
        "kind": "policy",
        "task": "h1-stand",
        "policy": {
            "file": bend, "licence": "MIT", "source": "test",
            "observations": [{"name": "joint_positions"}, {"name": "command", "scale": [2, 2, 0.25]}],
            "actions": {"joints": KNEES, "default": DEFAULT, "scale": 0.25},
        },
        "recording": {"episodes": 2, "steps": 10, "drop_before_fall": 0},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(description))
    data = record(load_demonstration_config(tmp_path / "mine.yaml"))
    assert data.command.shape == (len(data), 3)
    assert (data.manifest["demonstrator"], data.manifest["licence"]) == ("policy", "MIT")


def test_what_does_not_fit_is_one_clear_error(bend, tmp_path):
    with pytest.raises(ConfigError, match="left_nee"):
        CommandedJoints(["left_nee"], [0.8], 0.25)
    with pytest.raises(ConfigError, match="one default each"):
        CommandedJoints(KNEES, [0.8], 0.25)
    with pytest.raises(ConfigError, match="rate_hz"):
        make(bend, ObservedPiece("height"), rate_hz=30.0)
    with pytest.raises(MissingFile):
        make(str(tmp_path / "none.pt"), ObservedPiece("height"))
    (tmp_path / "noise.pt").write_text("no archive")
    with pytest.raises(CorruptFile, match="TorchScript"):
        make(str(tmp_path / "noise.pt"), ObservedPiece("height"))
    narrow = make(bend, ObservedPiece("height"))  # one number in, one out: two joints want two
    narrow.reset(standing())
    with pytest.raises(ConfigError, match="2 joints"):
        narrow.act(standing())
    wrong = make(bend, ObservedPiece("gravity", [1.0, 2.0]))
    wrong.reset(standing())
    with pytest.raises(ConfigError, match="2 scales"):
        wrong.act(standing())


class Pair(nn.Module):
    """Answers with two tensors."""

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return observation[:, :2], observation[:, :2]


class Picky(nn.Module):
    """Raises an error of its own, which TorchScript hands on as `torch.jit.Error`."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        if observation.size(1) != 5:
            raise ValueError("five numbers, please")
        return observation[:, :2]


class Broken(nn.Module):
    """Answers with NaN."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return observation[:, :2] / 0 * 0


@pytest.mark.parametrize(("network", "message"), [(Pair, "tuple"), (Picky, "five numbers"), (Broken, "not finite")])
def test_files_that_do_not_fit_are_one_clear_error(network, message, tmp_path):
    torch.jit.script(network()).save(str(tmp_path / "policy.pt"))
    policy = make(str(tmp_path / "policy.pt"), ObservedPiece("gravity"))
    policy.reset(standing())
    with pytest.raises(ConfigError, match=message):
        policy.act(standing())


@pytest.mark.parametrize("more", [{"rate_hz": 0.0}, {"rate_hz": float("nan")}, {"command": (float("inf"), 0.0, 0.0)}])
def test_numbers_that_mean_nothing_are_refused(more, bend):
    with pytest.raises(ConfigError, match=r"finite|rate_hz"):
        make(bend, ObservedPiece("joint_positions"), **more)
    with pytest.raises(ConfigError, match="period"):
        make(bend, ObservedPiece("phase", period=0.0))


def test_the_description_in_the_docs_is_read(data_folder, tmp_path):
    page = (data_folder.parent / "docs/guide/demonstrators.md").read_text()
    (tmp_path / "mine.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    config = load_demonstration_config(tmp_path / "mine.yaml")
    assert [piece.name for piece in config.policy.observations][-1] == "phase"
    assert len(config.policy.actions.joints) == 10
