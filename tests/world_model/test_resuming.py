"""Trainings that are stopped and go on: the same to the bit, and what may change in between."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from point_mass import StopAfter, ToyData, ToyModule
from toy_training import ENVS, final_weights, fit, make_module, uninterrupted

from mwl.core import keys
from mwl.core.errors import BadInput, NonFiniteLoss
from mwl.training.resume import MoreRounds, OptimiserSettings
from mwl.world_model.module import WorldModelModule


def test_same_seed_same_weights_bit_for_bit_and_another_seed_others() -> None:
    weights = []
    for seed in (1, 2):
        pl.seed_everything(seed)
        module = make_module(guided=True)
        fit(module, steps=352)
        weights.append(final_weights(module))
    assert torch.equal(weights[0], final_weights(uninterrupted(352)))
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("stop_at", "steps", "size"),
    [(12, 352, {}), (17, 352, {}), (6, 128, {"seed_steps": 80, "starts": 64, "rate": 0.1})],
    ids=["seeding", "planning", "small"],
)
def test_resumed_training_ends_as_the_uninterrupted_one(
    stop_at: int, steps: int, size: dict[str, Any], tmp_path: Path
) -> None:
    whole = uninterrupted(steps, **size)
    first, resumed = (make_module(guided=True, **size) for _ in range(2))
    pl.seed_everything(1)
    with pytest.raises(InterruptedError):
        fit(first, steps, [StopAfter(stop_at, tmp_path / "last.ckpt")])
    pl.seed_everything(77)  # the generators come from the checkpoint, not from the new process
    data = fit(resumed, steps, checkpoint=str(tmp_path / "last.ckpt"))
    assert data.rounds == steps // (2 * ENVS)
    assert torch.equal(final_weights(resumed), final_weights(whole))
    assert resumed.trust.steps == whole.trust.steps


def stopped(path: Path, steps: int = 352, stop_at: int = 17, **changes: Any) -> None:
    """Leave a checkpoint of a training that stopped after some rounds of two steps by eight environments."""
    pl.seed_everything(1)
    with pytest.raises(InterruptedError):
        fit(make_module(guided=True, **changes), steps, [StopAfter(stop_at, path)])


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint after 17 of 22 rounds."""
    path = tmp_path_factory.mktemp("begun") / "last.ckpt"
    stopped(path)
    return str(path)


@pytest.mark.parametrize("stop_at", [20, 22])
def test_a_training_that_is_over_goes_on_for_more_steps(tmp_path: Path, stop_at: int) -> None:
    """22 rounds make 352 steps: a checkpoint of the last of them looks to Lightning as if there was no more to do."""
    whole = uninterrupted(480)
    stopped(tmp_path / "last.ckpt", stop_at=stop_at)
    resumed = make_module(guided=True)
    data = fit(resumed, 480, [MoreRounds()], checkpoint=str(tmp_path / "last.ckpt"))
    assert data.env_steps == 480
    assert resumed.global_step == whole.global_step
    assert torch.equal(final_weights(resumed), final_weights(whole))


def test_configured_rates_hold_after_a_resume(tmp_path: Path) -> None:
    # the note of what was configured travels in the checkpoint of the pipeline's callback
    first = make_module(guided=True)
    note = OptimiserSettings()
    with pytest.raises(InterruptedError):
        fit(first, 352, [note, StopAfter(17, tmp_path / "last.ckpt")])
    resumed = make_module(guided=True)
    resumed.learning = replace(resumed.learning, lr=1e-5)
    fit(resumed, 352, [OptimiserSettings()], checkpoint=str(tmp_path / "last.ckpt"))
    model, policy = resumed.trainer.optimizers
    assert [group["lr"] for group in model.param_groups] == [pytest.approx(3e-6), 1e-5]
    assert [group["lr"] for group in policy.param_groups] == [1e-5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": {"num_q": 3}}, r"model\.network\.num_q is 3, but the checkpoint was made with 2"),
        ({"guiding": {"enabled": False}}, r"model\.guidance\.enabled is False"),
        ({"guiding": {"trust_initial": 0.1}}, r"model\.guidance\.trust_initial"),
        ({"learning": {"center_values": True}}, r"model\.learning\.center_values"),
        ({"data": {"seed": 4}}, r"data\.seed is 4, but the checkpoint was made with 3"),
        ({"data": {"num_envs": 4}}, r"data\.num_envs is 4"),
        ({"data": {"steps_per_round": 4}}, r"data\.steps_per_round is 4"),
        ({"data": {"env_steps": 160}}, r"data\.env_steps is 160, but the checkpoint has 272 behind it"),
    ],
)
def test_what_cannot_change_at_a_resume_is_named(begun: str, change: dict[str, Any], said: str) -> None:
    module, settings = make_module(guided=True), {"env_steps": 352, "num_envs": ENVS, "steps_per_round": 2, "seed": 3}
    parts = {name: replace(getattr(module, name), **changed) for name, changed in change.items() if name != "data"}
    network, learning = parts.get("network", module.network), parts.get("learning", module.learning)
    other = ToyModule(network, learning, module.planning, parts.get("guiding", module.guiding))  # type: ignore[arg-type]
    data = ToyData(**{**settings, **change.get("data", {})})
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(BadInput, match=said):
        trainer.fit(other, datamodule=data, ckpt_path=begun, weights_only=True)


def test_other_advice_is_written_into_what_was_collected(tmp_path: Path) -> None:
    """What the replay buffer holds of the experts' reference actions is theirs under the weights of now."""
    stopped(tmp_path / "last.ckpt", semantic_weights={"good": 1.0})
    module = make_module(guided=True, semantic_weights={"bad": 1.0})
    module.follow = "bad"
    data = fit(module, 352, checkpoint=str(tmp_path / "last.ckpt"))
    assert data.replay is not None
    rows = data.replay.buffer[: 352 // ENVS]
    assert torch.allclose(rows[keys.REFERENCE_ACTION], rows[keys.EXPERT_ACTION][..., 1, :])


def test_training_goes_on_from_the_last_checkpoint_after_a_non_finite_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that broke and went on ends as the one that never broke: the checkpoint holds no trace of it."""
    pl.seed_everything(1)
    whole = make_module(guided=True)
    fit(whole, steps=320)

    class SaveThenBreak(StopAfter):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.datamodule.rounds == self.rounds:  # type: ignore[attr-defined]
                trainer.save_checkpoint(self.path)
                with torch.no_grad():
                    trainer.lightning_module.model.dynamics[0][0].bias.fill_(float("nan"))  # type: ignore[union-attr, index, operator]

    pl.seed_everything(1)
    broken = make_module(guided=True)
    monkeypatch.setattr(WorldModelModule, "diagnostics", str(tmp_path))
    with pytest.raises(NonFiniteLoss):
        fit(broken, 320, [SaveThenBreak(17, tmp_path / "last.ckpt")])
    resumed = make_module(guided=True)
    fit(resumed, 320, checkpoint=str(tmp_path / "last.ckpt"))
    assert torch.equal(final_weights(resumed), final_weights(whole))
