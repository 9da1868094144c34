"""A recording is loaded only if all in it is what it should be, and overwrites nothing that it was not told to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mwl.app.cli import main
from mwl.core.artifact import sha256_of
from mwl.core.errors import BadInput, ConfigError, CorruptFile, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations, manifest_of
from mwl.demonstrators.registry import load_demonstration_config
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.spec import ExpertSpec

STEPS = 8
Arrays = dict[str, np.ndarray]


def recording() -> Demonstrations:
    generator = torch.Generator().manual_seed(0)
    return Demonstrations(
        torch.rand(STEPS, 51, generator=generator),
        2 * torch.rand(STEPS, 19, generator=generator) - 1,
        torch.tensor([0, 0, 0, 1, 1, 3, 3, 3]),
        {"task": "h1-walk", "demonstrator": "test", "skills": ["run", "walk"]},
        command=torch.rand(STEPS, 3, generator=generator),
        executed_action=torch.rand(STEPS, 19, generator=generator),
        reward=torch.rand(STEPS, generator=generator),
        skill=torch.arange(STEPS) % 2,
    )


def stored(path: Path, change: Callable[[Arrays], Any] = lambda arrays: None, **entries: Any) -> Path:
    """A recording whose arrays and manifest were changed, with a digest that agrees."""
    recording().save(path)
    with np.load(path) as content:
        arrays = dict(content)
    change(arrays)
    np.savez_compressed(path, **arrays)
    manifest = json.loads(manifest_of(path).read_text()) | {"sha256": sha256_of(path)} | entries
    manifest_of(path).write_text(json.dumps({key: value for key, value in manifest.items() if value is not ...}))
    return path


def spoil(name: str, value: float) -> Callable[[Arrays], Any]:
    return lambda arrays: arrays[name].reshape(STEPS, -1).__setitem__((5, 0), value)


def replace(**arrays: Any) -> Callable[[Arrays], Any]:
    return lambda content: content.update({key: np.asarray(value) for key, value in arrays.items()})


@pytest.mark.parametrize("name", ["observation", "action", "command", "executed_action", "reward"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_its_place(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=f"{name} is not finite at step 5"):
        Demonstrations.load(stored(tmp_path / "a.npz", spoil(name, value)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (replace(action=np.zeros((STEPS, 19), np.int32)), "action is int32"),
        (replace(action=np.zeros(STEPS, np.float32)), r"action is float32 of shape \[8\]"),
        (replace(action=np.zeros((STEPS, 0), np.float32)), "executed_action has 19 numbers, action 0"),
        (replace(observation=np.zeros((STEPS - 1, 51), np.float32)), "observation is float32 of shape"),
        (replace(observation=np.full((STEPS, 51), 1e300)), "observation is not finite at step 0"),
        (replace(reward=np.zeros((STEPS, 1), np.float32)), "reward is float32"),
        (replace(reward=np.array(["a"] * STEPS)), "reward is <U1"),
        (replace(episode=np.zeros(STEPS, np.float32)), "episode is float32"),
        (replace(episode=np.array([0, 0, 1, 0, 1, 1, 1, 1])), "numbered upwards"),
        (replace(episode=np.full(STEPS, -1)), "numbered upwards"),
        (replace(episode=np.full(STEPS, 2**63, np.uint64)), "numbered upwards"),
        (replace(skill=np.full(STEPS, 2, np.int8)), "skills beyond the 2"),
        (replace(skill=np.full(STEPS, -1, np.int8)), "skills beyond the 2"),
        (replace(action=np.full((STEPS, 19), 1.5, np.float32)), r"action lies outside \[-1, 1\]"),
        (replace(surprise=np.zeros(STEPS)), "holds .*surprise"),
        (lambda arrays: arrays.pop("action"), "lacks action"),
        (lambda arrays: [arrays.update({k: v[:0]}) for k, v in list(arrays.items())], "holds no step"),
    ],
)
def test_arrays_that_are_no_recording_are_refused(change: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=match):
        Demonstrations.load(stored(tmp_path / "a.npz", change))


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"task": ...}, "task: field required"),
        ({"task": 3}, "task: input should be a valid string"),
        ({"sha256": None}, "sha256"),
        ({"sha256": "0"}, "content differs"),
        ({"schema": 2}, "schema"),
        ({"steps": 7}, "holds 8 of 7 steps"),
        ({"skills": "walk"}, "skills"),
        ({"recording_env_steps": "many"}, "recording_env_steps"),
        ({"trainings": {"a": 1.5}}, "trainings"),
    ],
)
def test_manifests_that_are_of_no_recording_are_refused(entries: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=match):
        Demonstrations.load(stored(tmp_path / "a.npz", **entries))


def test_a_plain_float64_recording_with_column_order_is_taken_as_it_is(tmp_path: Path) -> None:
    def other(arrays: Arrays) -> None:
        for name, value in arrays.items():
            arrays[name] = np.asfortranarray(value.astype(">f8") if value.dtype.kind == "f" else value.astype(">i4"))

    ours, theirs = (
        Demonstrations.load(stored(tmp_path / "a.npz")),
        Demonstrations.load(stored(tmp_path / "b.npz", other)),
    )
    torch.testing.assert_close(theirs.observation, ours.observation, rtol=0, atol=0)
    torch.testing.assert_close(theirs.episode, ours.episode)


def test_nothing_that_could_not_be_read_back_is_written(tmp_path: Path) -> None:
    for value in (float("nan"), 1e5):  # the latter overflows half precision
        data = recording()
        data.observation[2, 3] = value
        with pytest.raises(CorruptFile, match="observation is not finite at step 2"):
            data.save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named_errors(tmp_path: Path) -> None:
    path, rng = stored(tmp_path / "a.npz"), np.random.default_rng(0)
    for file in (path, manifest_of(path)):
        whole = file.read_bytes()
        for _ in range(100):
            damaged = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(len(damaged))] = rng.integers(256)
            file.write_bytes(damaged)
            manifest = json.loads(whole) if file == manifest_of(path) else json.loads(manifest_of(path).read_text())
            if file == path:
                manifest_of(path).write_text(json.dumps(manifest | {"sha256": sha256_of(path)}))
            try:
                read = Demonstrations.load(path)
            except BadInput as error:
                sound = len(str(error)) < 800
            else:
                sound = bool(read.observation.isfinite().all())
            assert sound
        file.write_bytes(whole)


def test_a_dot_in_a_name_is_no_ending(tmp_path: Path) -> None:
    names = [recording().save(tmp_path / name).name for name in ("noise_0.1", "noise_0.2", "take.npz", ".x")]
    assert names == ["noise_0.1.npz", "noise_0.2.npz", "take.npz", ".x.npz"]
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "noise_0.1.json",
        "noise_0.2.json",
        "take.json",
        ".x.json",
    }
    assert len(Demonstrations.load(tmp_path / "noise_0.1")) == STEPS


def test_experts_refuse_data_of_another_size(tmp_path: Path) -> None:
    spec = ExpertSpec("walk", "h1-walk", command="hand_target", default_command=(0.0, 0.0, 0.0))
    data = recording()
    data.command = torch.rand(STEPS, 2)
    with pytest.raises(SpecMismatch, match="2 numbers, 'hand_target' takes 3"):
        DemonstrationData([str(data.save(tmp_path / "a"))]).prepare(spec)
    data = recording()
    data.manifest["task"] = "h1-reach"
    with pytest.raises(SpecMismatch, match="h1-reach has 57"):
        DemonstrationData([str(data.save(tmp_path / "b"))]).prepare(spec)
    data = recording()
    data.skill = torch.zeros(STEPS, dtype=torch.int64)
    with pytest.raises(BadInput, match="shows nothing of walk"):
        DemonstrationData([str(data.save(tmp_path / "c"))]).prepare(spec)


def test_a_field_that_the_kind_does_not_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    for text, match in (
        ("kind: stand\nteacher: data/teachers/walk\n", "kind stand does not use teacher"),
        ("kind: tracking\nteacher: x\nbalance: {knee: 0.6}\n", "kind tracking does not use balance"),
        ("kind: handle_pull\nteacher: x\ncommand: [1.0, 0.0, 0.0]\n", "kind handle_pull does not use command"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=match):
            load_demonstration_config(path)
    path.write_text("kind: tracking\nteacher: x\ncommand: [1.0, 0.0, 0.0]\nrecording: {episodes: 2}\n")
    assert load_demonstration_config(path).command == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["motion", "demonstrate", "none.yaml", "--out", "there"],
        ["motion", "demonstrate", "none.yaml", "--out", "manifest"],
        ["motion", "export", "none.npz", "--format", "lerobot", "--out", "folder"],
        ["motion", "import", "none", "--format", "lerobot", "--out", "there.npz"],
        ["motion", "train", "none.yaml", "--out", "folder"],  # without a checkpoint of its training beside it
        ["experts", "export", "none", "--out", "there.onnx"],
    ],
)
def test_commands_refuse_to_overwrite_before_they_look_at_anything_else(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("there.npz", "there.onnx", "manifest.json", "folder/x"):
        (tmp_path / name).write_text("mine")
    assert main(arguments) == 2
    assert "exists already; --force replaces it" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 2  # now for what does not exist
    assert "exists already" not in capsys.readouterr().err
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"mine"}
