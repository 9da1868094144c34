"""One stage: hand-over, checkpoints, resume, and refusal of bad configurations."""

import json
import signal
from pathlib import Path

import pytest
import torch
import yaml

from mwl import tracking
from mwl.errors import BadInput, ConfigError, CorruptFile, MissingFile
from mwl.handoff import read_checkpoint, read_manifest
from mwl.pipeline.callbacks import LAST, PeriodicCheckpoint, RandomState
from mwl.pipeline.fit import Interrupted, fit, work_folder
from mwl.pipeline.logger import _without


def final_weight(folder: Path) -> float:
    return float(read_checkpoint(folder)["state_dict"]["weight"])


def test_fit_hands_over_and_converges(stage: Path, place: Path) -> None:
    folder = fit(["--config", str(stage), "--output", "runs/line"])
    assert read_manifest(folder, stage="toy", robot="unitree_h1")["name"] == "line"
    # gradient of (w x - 2 x)^2 has mean 2 (w - 2): 20 steps of 0.05 leave about 2 * 0.9^20 = 0.24 of the distance
    assert 1.4 < final_weight(folder) < 2.0


def test_nothing_is_written_beside_the_result(stage: Path) -> None:
    edited(stage, trainer__logger=True)  # Lightning's own, which asks for no folder
    before = set(Path().iterdir())
    fit(["--config", str(stage), "--output", "runs/line"])
    assert set(Path().iterdir()) - before <= {Path("runs"), Path("mlflow.db"), Path("mlruns")}


def test_same_seed_same_weights(stage: Path) -> None:
    first = fit(["--config", str(stage), "--output", "runs/a"])
    second = fit(["--config", str(stage), "--output", "runs/b"])
    assert final_weight(first) == final_weight(second)


def test_periodic_checkpoint_fires_under_manual_optimisation(stage: Path) -> None:
    fit(["--config", str(stage), "--output", "runs/line", "--checkpoint_every_s", "0"])
    checkpoint = torch.load(work_folder("runs/line") / LAST, weights_only=True)
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] == 20


def stop_after(rounds: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the stage stop after that many rounds as a SIGTERM does; returns the list of all that are made."""
    made: list[int] = []
    original = PeriodicCheckpoint.on_train_batch_end

    def stop(self: PeriodicCheckpoint, trainer: object, *rest: object) -> None:
        made.append(len(made))
        original(self, trainer, *rest)  # type: ignore[arg-type]
        if len(made) == rounds:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PeriodicCheckpoint, "on_train_batch_end", stop)
    return made


@pytest.mark.parametrize("data", ["toy.Rounds", "toy.RandomBatches"])
def test_resume_ends_bit_identical(stage: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    edited(stage, data__class_path=data)
    whole = fit(["--config", str(stage), "--output", "runs/whole"])
    made = stop_after(7, monkeypatch)
    with pytest.raises(Interrupted):
        fit(["--config", str(stage), "--output", "runs/parts"])
    assert not Path("runs/parts").exists(), "an interrupted stage must not hand over"
    torch.randn(100)  # whatever happened in between must not matter
    parts = fit(["--config", str(stage), "--output", "runs/parts", "--resume"])
    assert len(made) == 20, "7 rounds before, 13 after"
    assert final_weight(parts) == final_weight(whole)


def test_a_stage_resumed_with_other_settings_stays_in_its_run(
    stage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edited(stage, trainer__logger={"class_path": "mwl.pipeline.logger.StageLogger"})
    args = ["--config", str(stage), "--output", "runs/line"]
    stop_after(7, monkeypatch)
    with pytest.raises(Interrupted):
        fit(args)
    capsys.readouterr()
    fit([*args, "--resume", "--model.init_args.lr", "0.01"])
    (run,) = tracking.find_runs("mwl")
    assert run.data.params["lr"] == "0.05", "MLflow lets no parameter be changed"
    assert not caplog.records, [record.message for record in caplog.records]
    assert not capsys.readouterr().err
    (work_folder("runs/line") / LAST).unlink()
    fit([*args, "--resume"])
    assert "no checkpoint in runs/_work/line, so the stage begins anew" in capsys.readouterr().err
    assert len(tracking.find_runs("mwl")) == 2, "what begins anew is a run of its own"


def test_parameters_that_a_run_has_are_left_out_wherever_they_lie() -> None:
    given = {"size": 1, "planner": {"samples": 2, "elites": 3}, "gate": {}, "use": {"head": {"on": True}}}
    left = _without(given, {"size", "planner/elites", "use/head/on"})
    assert left == {"planner": {"samples": 2}, "gate": {}, "use": {"head": {}}}


def test_random_state_is_restored_once(stage: Path) -> None:
    callback = RandomState()
    torch.manual_seed(3)
    state = callback.state_dict()
    expected = torch.rand(2)
    callback.load_state_dict(state)
    torch.rand(5)
    callback.on_train_start()
    assert torch.equal(torch.rand(2), expected)
    after = torch.rand(2)
    callback.on_train_start()
    assert not torch.equal(torch.rand(2), after), "restoring twice would repeat the same numbers for ever"


def test_random_state_loads_with_weights_only(tmp_path: Path) -> None:
    torch.save(RandomState().state_dict(), tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)


def edited(stage: Path, **changes: object) -> Path:
    content = yaml.safe_load(stage.read_text())
    for dotted, value in changes.items():
        node = content
        *groups, last = dotted.split("__")
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    stage.write_text(yaml.safe_dump(content))
    return stage


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model__init_args__lrr": 0.1}, ["stage.yaml:", "'lrr'", "'lr'", "toy.Line"]),
        ({"data__init_args__round": 3}, ["stage.yaml:", "'round'", "'rounds'"]),
        ({"trainer__max_epoch": 3}, ["stage.yaml:", "'max_epoch'", "'max_epochs'"]),
        ({"traner__max_epochs": 3}, ["stage.yaml:", "traner", "trainer"]),
        ({"model__init_args__lr": "fast"}, ["stage.yaml:", "'lr'", "float"]),
        ({"model__class_path": "toy.Lime"}, ["toy.Lime"]),
        ({"model__class_path": "toi.Line"}, ["toi"]),
    ],
)
def test_bad_configuration_is_told_in_one_line(stage: Path, changes: dict[str, object], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(["--config", str(edited(stage, **changes)), "--output", "runs/line"])
    message = str(caught.value)
    assert "\n" not in message
    for part in told:
        assert part in message
    assert not Path("runs").exists(), "nothing may be written"


def test_missing_and_malformed_files(place: Path) -> None:
    with pytest.raises(MissingFile, match=r"no\.yaml"):
        fit(["--config", "no.yaml"])
    Path("bad.yaml").write_text("model: [1,\n  data: 3")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        fit(["--config", "bad.yaml"])


def test_corrupt_checkpoint_is_refused(stage: Path) -> None:
    work = work_folder("runs/line")
    work.mkdir(parents=True)
    (work / LAST).write_bytes(b"not a checkpoint")
    with pytest.raises(CorruptFile, match=r"last\.ckpt"):
        fit(["--config", str(stage), "--output", "runs/line", "--resume"])
    assert not Path("runs/line").exists()


def test_module_without_handoff_is_refused_before_training(stage: Path) -> None:
    edited(stage, model__class_path="lightning.pytorch.demos.boring_classes.BoringModel", model__init_args={})
    with pytest.raises(ConfigError, match="handoff"):
        fit(["--config", str(stage), "--output", "runs/line"])
    assert not work_folder("runs/line").parent.exists()


def test_an_accelerator_that_is_not_there_is_one_line(stage: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer: .*accelerator='warp'"):
        fit(["--config", str(stage), "--output", "runs/line", "--trainer.accelerator", "warp"])
    assert not work_folder("runs/line").parent.exists()


def test_a_refused_stage_leaves_an_earlier_one_of_its_name_as_it_was(stage: Path) -> None:
    fit(["--config", str(stage), "--output", "runs/line", "--checkpoint_every_s", "0"])
    work = work_folder("runs/line")
    before = (work / LAST).read_bytes()
    edited(stage, model__class_path="lightning.pytorch.demos.boring_classes.BoringModel", model__init_args={})
    with pytest.raises(ConfigError, match="handoff"):
        fit(["--config", str(stage), "--output", "runs/line"])
    assert (work / LAST).read_bytes() == before
    assert [folder.name for folder in work.parent.iterdir()] == ["line"]


def test_a_stage_refused_in_its_setup_leaves_nothing_either(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, stage: str) -> None:
        assert (work_folder("runs/line") / "config.yaml").is_file()  # by now something is written
        raise BadInput("no such task")

    with monkeypatch.context() as patch:
        patch.setattr("toy.Line.setup", refuse)
        for _ in range(2):
            with pytest.raises(BadInput, match="no such task"):
                fit(["--config", str(stage), "--output", "runs/line"])
            assert not work_folder("runs/line").parent.exists()
    fit(["--config", str(stage), "--output", "runs/line", "--checkpoint_every_s", "0"])
    before = (work_folder("runs/line") / LAST).read_bytes()
    monkeypatch.setattr("toy.Line.setup", refuse)
    for resume in ([], ["--resume"]):
        with pytest.raises(BadInput, match="no such task"):
            fit(["--config", str(stage), "--output", "runs/line", *resume])
        assert (work_folder("runs/line") / LAST).read_bytes() == before


def test_configuration_is_kept_beside_the_checkpoints(stage: Path) -> None:
    fit(["--config", str(stage), "--output", "runs/line", "--model.lr", "0.07"])
    kept = yaml.safe_load((work_folder("runs/line") / "config.yaml").read_text())
    assert kept["model"]["init_args"]["lr"] == 0.07
    assert json.loads(json.dumps(kept))  # plain values only
