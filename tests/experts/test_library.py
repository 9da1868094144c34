"""The library: one batched call equals K single ones, and nothing that does not fit is let in."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from mwl.core.artifact import MANIFEST, write_artifact
from mwl.core.errors import BadInput, CorruptFile, MissingFile, SpecMismatch
from mwl.experts.library import Expert, ExpertLibrary, infer_layout
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.simulation import get_task

WALK, REACH = get_task("h1-walk").layout, get_task("h1-reach").layout
HAND_AT_REST = (0.37, 0.21, 0.10)


def make_expert(name: str, hidden: tuple[int, ...] = (32, 32), command: str | None = None) -> Expert:
    defaults = {None: (), "hand_target": HAND_AT_REST, "velocity": (1.0, 0.0, 0.0)}
    spec = ExpertSpec(name, "h1-walk", command=command, default_command=defaults[command], hidden=hidden)
    network = PolicyNetwork(spec.input_size, spec.action_size, hidden)
    network.fit_normaliser(torch.randn(100, spec.input_size), 0.3 * torch.randn(100, spec.action_size))
    return Expert(spec, network, {"card": {"name": name, "description": name, "paraphrases": []}})


def save(expert: Expert, folder) -> None:
    checkpoint = {"hyper_parameters": expert.spec.to_plain(), "state_dict": expert.network.state_dict()}
    entries = expert.spec.to_manifest()
    write_artifact(folder, stage="expert", name=expert.spec.name, checkpoint=checkpoint, card={}, **entries)


def observations(layout, count: int = 5) -> torch.Tensor:
    observation = 0.3 * torch.randn(count, layout.size)
    observation[:, 2:7] += torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    return observation


@pytest.mark.parametrize("layout", [WALK, REACH], ids=["walk", "reach"])
def test_batched_experts_equal_single_ones(layout):
    library = ExpertLibrary(
        [make_expert("a"), make_expert("b", (48, 16)), make_expert("c", (16, 40), "hand_target"),
         make_expert("d", (32, 32), "velocity")]
    )  # fmt: skip
    observation = observations(layout)
    together = library.actions(observation, layout)
    assert together.shape == (5, 4, 19)
    assert together.abs().max() <= 1
    single = torch.stack([expert.act(observation, layout) for expert in library.experts], dim=1)
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)


def test_a_given_command_wins_over_task_and_default():
    library = ExpertLibrary([make_expert("a"), make_expert("c", command="hand_target")])
    observation = observations(REACH)
    own = library.actions(observation)
    told = library.actions(observation, commands={"c": torch.tensor([0.4, 0.3, 0.2])})
    torch.testing.assert_close(told[:, 0], own[:, 0])
    assert not torch.allclose(told[:, 1], own[:, 1])
    default = library.actions(observation[:, :51])
    declared = library.actions(observation[:, :51], commands={"c": torch.tensor(HAND_AT_REST)})
    torch.testing.assert_close(default, declared)


def test_actions_do_not_depend_on_where_the_robot_is():
    library = ExpertLibrary([make_expert("a"), make_expert("c", command="hand_target")])
    observation = observations(REACH)
    moved = observation.clone()
    shift = torch.tensor([3.0, -2.0])
    for name in ("robot_qpos", "left_hand", "goal"):
        start = REACH.slices[name].start
        moved[:, start : start + 2] += shift
    torch.testing.assert_close(library.actions(moved), library.actions(observation), atol=1e-5, rtol=0)


def test_a_written_expert_loads_and_acts_alike(tmp_path):
    expert = make_expert("a")
    save(expert, tmp_path / "a")
    save(make_expert("b"), tmp_path / "b")
    library = ExpertLibrary.load(tmp_path)
    assert library.names == ["a", "b"]
    observation = observations(WALK)
    torch.testing.assert_close(library.actions(observation)[:, 0], expert.act(observation, WALK), atol=1e-5, rtol=0)


def change(folder, **entries) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **entries}))


@pytest.mark.parametrize(
    "entries",
    [
        {"robot": "unitree_g1"},
        {"stage": "gate"},
        {"schema": 99},
        {"action": {"size": 23}},
        {"observation": {"features": "egocentric/9", "size": 50, "command": None}},
    ],
    ids=["robot", "stage", "schema", "action", "features"],
)
def test_an_expert_that_does_not_fit_is_refused(entries, tmp_path):
    save(make_expert("a"), tmp_path / "a")
    change(tmp_path / "a", **entries)
    with pytest.raises(SpecMismatch, match="a"):
        ExpertLibrary.load(tmp_path / "a")


def test_damaged_and_missing_experts_are_refused(tmp_path):
    with pytest.raises(MissingFile, match="no expert there"):
        ExpertLibrary.load(tmp_path)
    save(make_expert("a"), tmp_path / "a")
    checkpoint = tmp_path / "a" / "model.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(CorruptFile, match="sha256"):
        ExpertLibrary.load(tmp_path)


def test_names_must_differ(tmp_path):
    save(make_expert("a"), tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with pytest.raises(BadInput, match="differ"):
        ExpertLibrary.load(tmp_path)
    library = ExpertLibrary.load(tmp_path / "one")
    with pytest.raises(BadInput, match="no expert 'run'"):
        library.index("run")


def test_depths_must_agree():
    with pytest.raises(SpecMismatch, match="depth"):
        ExpertLibrary([make_expert("a"), make_expert("b", (32, 32, 32))])


def test_an_observation_of_another_size_is_refused():
    with pytest.raises(SpecMismatch, match="no task shows 7"):
        infer_layout(7)
    with pytest.raises(SpecMismatch, match="51"):
        make_expert("a").act(torch.randn(2, 50), WALK)
    with pytest.raises(SpecMismatch, match="default command"):
        ExpertSpec("c", "h1-reach", command="hand_target", default_command=(0.1,))
    with pytest.raises(SpecMismatch, match="robot_qpos"):
        make_expert("a").act(torch.randn(2, 3), SimpleNamespace(slices={}, size=3))


def test_shipped_experts_have_cards_and_measured_returns(data_folder):
    library = ExpertLibrary.load(data_folder / "experts")
    assert {"stand", "walk", "reach"} <= set(library.names)
    for expert in library.experts:
        assert len(expert.manifest["card"]["paraphrases"]) >= 8
        assert expert.manifest["metrics"]["episodes"] >= 20
        assert expert.manifest["provenance"]["licence"]


def test_a_teacher_that_several_learned_from_is_counted_once() -> None:
    def expert(name: str, teachers: dict[str, int], recorded: int) -> Expert:
        spec = ExpertSpec(name=name, task="h1-walk", hidden=(4,))
        provenance = {"training_env_steps": teachers, "recording_env_steps": recorded}
        return Expert(spec, PolicyNetwork(spec.input_size, 19, spec.hidden), {"provenance": provenance})

    shared = ExpertLibrary([expert("walk", {"t": 1000}, 10), expert("approach", {"t": 1000, "s": 200}, 30)])
    assert shared.env_steps == 1240


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["state_dict"]["layers.0.weight"].fill_(torch.nan), r"state_dict\.layers\.0\.weight is not finite"),
        (lambda c: c["state_dict"]["input_std"].zero_(), "spread that is not above 0"),
        (lambda c: c["state_dict"]["layers.2.weight"].fill_(3e38), "weights beyond"),
        (lambda c: c["hyper_parameters"].update(hidden=[10**9, 10**9]), "the network takes"),
        (lambda c: c["hyper_parameters"].update(hidden=[10**30]), "64 bits"),
        (lambda c: c["hyper_parameters"].update(hidden=[]), "hidden is"),
        (lambda c: c["hyper_parameters"].update(default_command=["x", 0.0, 0.0]), "default_command"),
        (lambda c: c["hyper_parameters"].update(task="h1-fly"), "h1-fly"),
        (lambda c: c["hyper_parameters"].update(surprise=1), "surprise"),
        (lambda c: c.pop("hyper_parameters"), "lacks hyper_parameters"),
        (lambda c: c.update(state_dict=[1]), "no weights"),
    ],
)
def test_a_checkpoint_that_is_no_sound_expert_is_refused(change, match, tmp_path):
    expert = make_expert("walk", command="velocity")
    checkpoint = {"hyper_parameters": expert.spec.to_plain(), "state_dict": dict(expert.network.state_dict())}
    change(checkpoint)
    entries = expert.spec.to_manifest()
    write_artifact(tmp_path / "e", stage="expert", name="walk", checkpoint=checkpoint, card={}, **entries)
    with pytest.raises(BadInput, match=match):
        Expert.load(tmp_path / "e")


def test_half_written_experts_beside_sound_ones_do_not_count(tmp_path):
    save(make_expert("a"), tmp_path / "a")
    save(make_expert("a"), tmp_path / ".a.abcdefgh")
    assert ExpertLibrary.load(tmp_path).names == ["a"]
    (tmp_path / "policy.onnx").write_bytes(b"x")
    with pytest.raises(MissingFile, match="is an ONNX file"):
        ExpertLibrary.load(tmp_path / "policy.onnx")
