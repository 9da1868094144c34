"""One stage: artifact, checkpoints, resume, and refusal of bad configurations."""

import errno
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mwl.core.artifact import read_checkpoint, read_manifest
from mwl.core.checkpoints import save_checkpoint
from mwl.core.errors import BadInput, ConfigError, MissingFile, WriteFailed
from mwl.experiments import tracking
from mwl.experiments.logger import _without
from mwl.training.callbacks import PeriodicCheckpoint, RandomState
from mwl.training.fit import Interrupted, fit
from mwl.training.lock import held
from mwl.training.resume import BEFORE, LAST, usable_checkpoint
from mwl.training.stage_cli import work_folder


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


@pytest.mark.parametrize("rounds", [20, 40])
def test_a_stage_stopped_at_an_epoch_s_end_ends_bit_identical(
    stage: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """What follows an epoch, validation and the next epoch's beginning, draws random numbers as well."""
    edited(stage, data__class_path="toy.Validated", model__class_path="toy.Drawing", trainer__max_epochs=2)
    whole = fit(["--config", str(stage), "--output", "runs/whole"])
    made = stop_after(rounds, monkeypatch)
    with pytest.raises(Interrupted):
        fit(["--config", str(stage), "--output", "runs/parts"])
    parts = fit(["--config", str(stage), "--output", "runs/parts", "--resume"])
    assert len(made) == 40
    assert read_checkpoint(parts) == read_checkpoint(whole)


def test_a_stage_resumed_with_other_settings_stays_in_its_run(
    stage: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edited(stage, trainer__logger={"class_path": "mwl.experiments.logger.StageLogger"})
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
    callback.on_fit_end(None, None)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(2), expected)
    after = torch.rand(2)
    callback.on_fit_end(None, None)  # type: ignore[arg-type]
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
        ({"model": None}, ["stage.yaml", "`model` is empty"]),
        ({"trainer": None}, ["stage.yaml", "`trainer` is empty"]),
        ({"data__init_args": None}, ["stage.yaml", "`data.init_args` is empty"]),
        ({"seed_everything": -1}, ["stage.yaml:", "seed_everything", "-1"]),
        ({"seed_everything": 2**33}, ["stage.yaml:", "seed_everything", "4294967295"]),
        ({"checkpoint_every_s": -1}, ["stage.yaml:", "'checkpoint_every_s'", "greater than or equal to 0", "-1"]),
        ({"threads": 0}, ["stage.yaml:", "'threads'", "0"]),
        ({"trainer__gradient_clip_val": -1.0}, ["trainer.gradient_clip_val"]),
        ({"trainer__gradient_clip_val": 1.0}, ["trainer", "gradient_clip_val"]),
        ({"trainer__logger": ["CSVLogger"]}, ["stage.yaml", "trainer.logger"]),
        ({"trainer__max_epochs": -5}, ["trainer", "max_epochs", "-5"]),
        ({"trainer__max_epochs": 0}, ["nothing was trained", "trainer.max_epochs"]),
        ({"model__class_path": "toy.Settled", "model__init_args": {"share": 1.5}}, ["stage.yaml:", "'share'", "1.5"]),
        ({"model__class_path": "toy.Settled", "model__init_args": {"switch": False}}, ["'switch'", "quotes, 'off'"]),
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
    assert not work_folder("runs/line").parent.exists(), "nothing may be written"


def test_missing_and_malformed_files(place: Path) -> None:
    with pytest.raises(MissingFile, match=r"no\.yaml"):
        fit(["--config", "no.yaml"])
    Path("bad.yaml").write_text("model: [1,\n  data: 3")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        fit(["--config", "bad.yaml"])


def torn(path: Path) -> None:
    """Cut a file in half, as a power cut does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    """Lose a page in the middle of a file; its table of contents, at the end, stays."""
    content = bytearray(path.read_bytes())
    middle = content.index(b"PK", 1) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [torn, zeroed])
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_is_set_aside(
    stage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    both: bool,
) -> None:
    """The stage goes on from the checkpoint before, or begins anew where that is damaged too, and ends the same."""
    whole = fit(["--config", str(stage), "--output", "runs/whole"])
    args = ["--config", str(stage), "--output", "runs/line", "--checkpoint_every_s", "0"]
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted):
            fit(args)
    work = work_folder("runs/line")
    for name in (LAST, BEFORE) if both else (LAST,):
        damage(work / name)
    assert final_weight(fit([*args, "--resume"])) == final_weight(whole)
    said = capsys.readouterr().err
    assert "last.ckpt.damaged" in said
    assert ("so the stage begins anew" if both else "goes on from the checkpoint before") in said


def test_module_without_artifact_is_refused_before_training(stage: Path) -> None:
    edited(stage, model__class_path="lightning.pytorch.demos.boring_classes.BoringModel", model__init_args={})
    with pytest.raises(ConfigError, match="artifact"):
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
    with pytest.raises(ConfigError, match="artifact"):
        fit(["--config", str(stage), "--output", "runs/line", "--force"])
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
    for how in ("--force", "--resume"):
        with pytest.raises(BadInput, match="no such task"):
            fit(["--config", str(stage), "--output", "runs/line", how])
        assert (work_folder("runs/line") / LAST).read_bytes() == before


def test_a_module_may_call_its_artifact_by_the_former_name(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy import Line

    monkeypatch.setattr("toy.Line.handoff", Line.artifact, raising=False)
    monkeypatch.delattr("toy.Line.artifact")
    fit(["--config", str(stage), "--output", "runs/line"])
    assert read_manifest("runs/line", stage="toy")["name"] == "line"


def test_configuration_is_kept_beside_the_checkpoints(stage: Path) -> None:
    fit(["--config", str(stage), "--output", "runs/line", "--model.lr", "0.07"])
    kept = yaml.safe_load((work_folder("runs/line") / "config.yaml").read_text())
    assert kept["model"]["init_args"]["lr"] == 0.07
    assert json.loads(json.dumps(kept))  # plain values only
    fit(["--config", str(stage), "--output", "runs/line", "--model.lr", "0.07", "--force"])
    kept = work_folder("runs/line") / "config.yaml"
    with pytest.raises(BadInput, match="--force"):  # that it was said once says nothing of the next time
        fit(["--config", str(kept)])


def test_a_finished_result_is_replaced_only_when_asked(stage: Path) -> None:
    args = ["--config", str(stage), "--output", "runs/line"]
    fit(args)
    before = (Path("runs/line") / "manifest.json").read_bytes()
    with pytest.raises(BadInput, match="--force"):
        fit([*args, "--model.init_args.lr", "0.01"])
    assert (Path("runs/line") / "manifest.json").read_bytes() == before
    fit([*args, "--model.init_args.lr", "0.01", "--force"])
    assert (Path("runs/line") / "manifest.json").read_bytes() != before


def test_a_trial_run_touches_nothing(stage: Path) -> None:
    args = ["--config", str(stage), "--output", "runs/line"]
    assert fit([*args, "--trainer.fast_dev_run", "true"]) is None
    assert not Path("runs").exists()
    fit(args)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert fit([*args, "--trainer.fast_dev_run", "3"]) is None
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="fast_dev_run"):
        fit([*args, "--resume", "--trainer.fast_dev_run", "true"])


def test_two_at_work_on_one_result_are_one_too_many(stage: Path) -> None:
    args = ["--config", str(stage), "--output", "runs/line"]
    lock = Path("runs/_work/line.lock")
    with held(lock, Path("runs/line")):
        for how in ([], ["--resume"], ["--force"]):
            with pytest.raises(BadInput, match="another `mwl fit` or `mwl run`"):
                fit([*args, *how])
    fit(args)
    assert not lock.exists()


def test_a_full_disk_leaves_the_checkpoint_as_it_was(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(["--config", str(stage), "--output", "runs/whole"])
    args = ["--config", str(stage), "--output", "runs/line", "--checkpoint_every_s", "0"]
    written = Path.write_bytes
    count = []

    def full(self: Path, data: bytes) -> int:
        count.append(self)
        if len(count) == 8:
            written(self, bytes(data)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(WriteFailed, match="no space left"):
            fit(args)
    work = work_folder("runs/line")
    assert not [path for path in work.iterdir() if ".part" in path.name]
    assert len(torch.load(work / LAST, weights_only=True)["state_dict"]) == 1
    assert final_weight(fit([*args, "--resume"])) == final_weight(whole)


def test_one_device_is_enough(stage: Path) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        fit(["--config", str(stage), "--output", "runs/line", "--trainer.devices", "2"])
    assert not work_folder("runs/line").parent.exists()


@pytest.mark.parametrize("name", ["n" * 300, "a/" + "n" * 256])
def test_a_name_that_no_file_system_takes_is_refused(stage: Path, name: str) -> None:
    with pytest.raises(BadInput, match="longer than"):
        fit(["--config", str(stage), "--output", name])


def test_what_is_configured_holds_after_a_resume(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates, betas and weight decay of the configuration, which config.yaml names, and not those of the checkpoint."""
    edited(stage, model__class_path="toy.Scheduled", model__init_args={"lr": 0.1})
    args = ["--config", str(stage), "--output", "runs/line"]
    with monkeypatch.context() as patch:
        stop_after(10, patch)
        with pytest.raises(Interrupted):
            fit(args)
    fit([*args, "--resume", "--model.init_args.lr", "0.01", "--model.init_args.decay", "0.5"])
    checkpoint = torch.load(work_folder("runs/line") / LAST, weights_only=True)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    # the schedule halves the rate every ten batches, of which there are twenty: 0.01 / 4, and not 0.1 / 4
    assert group["lr"] == pytest.approx(0.0025)
    assert group["weight_decay"] == 0.5
    assert checkpoint["lr_schedulers"][0]["base_lrs"] == [0.01]


def test_what_training_itself_moved_stays_after_a_resume(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(stage, model__class_path="toy.Adapting")
    whole = fit(["--config", str(stage), "--output", "runs/whole"])
    args = ["--config", str(stage), "--output", "runs/parts"]
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted):
            fit(args)
    assert final_weight(fit([*args, "--resume"])) == final_weight(whole)


def test_another_seed_is_refused_at_a_resume(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["--config", str(stage), "--output", "runs/line"]
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted):
            fit(args)
    described = (work_folder("runs/line") / "config.yaml").read_text()
    with pytest.raises(BadInput, match="seed_everything is 2, but the checkpoint was made with 1"):
        fit([*args, "--resume", "--seed_everything", "2"])
    assert (work_folder("runs/line") / "config.yaml").read_text() == described


def test_networks_of_another_size_are_told_at_a_resume(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(stage, model__class_path="toy.Wide", model__init_args={"width": 1})
    args = ["--config", str(stage), "--output", "runs/line"]
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(Interrupted):
            fit(args)
    with pytest.raises(BadInput, match=r"another size .*weight"):
        fit([*args, "--resume", "--model.init_args.width", "2"])


def test_a_replay_buffer_that_is_gone_is_as_a_damaged_checkpoint(tmp_path: Path) -> None:
    buffer = tmp_path / "replay.pt"
    for name in (BEFORE, LAST):
        save_checkpoint(tmp_path / name, {"Data": {"replay": str(buffer)}, "of": name})
    save_checkpoint(buffer, {"rows": None})
    assert usable_checkpoint(tmp_path) == (tmp_path / LAST, [])
    save_checkpoint(tmp_path / BEFORE, {"Data": {"replay": {}}})
    buffer.unlink()
    path, notices = usable_checkpoint(tmp_path)
    assert path == tmp_path / BEFORE
    assert "replay.pt: no such file; set aside as last.ckpt.damaged" in notices[0]


def test_a_refused_stage_leaves_no_run(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(stage, trainer__logger={"class_path": "mwl.experiments.logger.StageLogger"})

    def refuse(self: object, stage: str) -> None:
        raise MissingFile("data/nothing.npz: no such file")

    with monkeypatch.context() as patch:
        patch.setattr("toy.Line.setup", refuse)
        with pytest.raises(MissingFile):
            fit(["--config", str(stage), "--output", "runs/line"])
    assert not tracking.find_runs("mwl")
    fit(["--config", str(stage), "--output", "runs/line"])
    assert len(tracking.find_runs("mwl")) == 1
