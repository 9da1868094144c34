"""Aggregation: the data grow by the student's own states, help it, and survive an interruption."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch

from mwl import make_env
from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.datasets.recording import RecordingConfig, record_demonstrations
from mwl.demonstrators.lqr import LQRStand
from mwl.experts.cloning.dagger import Dagger, DaggerConfig
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.cloning.module import BehaviourCloning
from mwl.experts.library import Expert
from mwl.experts.network import Actor
from mwl.experts.spec import ExpertSpec
from mwl.robot.h1 import FRAME_SKIP

CARD = {"name": "s", "description": "stand", "paraphrases": []}
SHORT = RecordingConfig(episodes=2, steps=20, noise_levels=(0.0,), drop_before_fall=0)


@pytest.fixture(scope="module")
def demonstrator(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("conf") / "stand.yaml"
    path.write_text("kind: stand\ntask: h1-stand\n")
    return str(path)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> str:
    """Four clean episodes of 2 s: what a student may not be cloned from."""
    env = make_env("h1-stand", num_envs=4, seed=0)
    config = RecordingConfig(episodes=4, steps=100, noise_levels=(0.0,))
    recorded = record_demonstrations(LQRStand(env.model, FRAME_SKIP), env, config)
    return str(recorded.save(tmp_path_factory.mktemp("data") / "clean.npz"))


def fit(
    file: str, dagger: DaggerConfig | None, epochs: int, batches: int, checkpoint: Path | None = None, memory: int = 0
):
    pl.seed_everything(0)
    module = BehaviourCloning("s", "h1-stand", CARD, hidden=[64, 64], memory=memory, lr=3e-3, evaluation_episodes=0)
    data = DemonstrationData(
        [file], batch_size=128, batches_per_epoch=batches, validation_share=0.0, dagger=dagger
    )  # fmt: skip
    trainer = quiet_trainer.fit(module, data, epochs, checkpoint=checkpoint)
    return module, data, trainer


def test_the_data_grow_by_what_the_student_visits(demonstrator, clean, monkeypatch):
    monkeypatch.setattr(DaggerConfig, "demonstrator_share", 0.0)
    config = DaggerConfig(demonstrator, rounds=2, recording=SHORT)
    module, data, _ = fit(clean, config, epochs=4, batches=5)
    assert len(data.train) == 400
    assert len(data.steps) == 400 + 2 * 2 * 20  # two rounds of two robots, who need longer than 0.4 s to fall
    assert data.train_dataloader().dataset.data is not data.train
    # the student acted: its states are none that the demonstrator's own roll-outs hold
    added, recorded = data.dagger.steps[keys.FEATURES], data.train[keys.FEATURES]
    assert torch.cdist(added[10:20], recorded).min() > 0.01
    cost = module.artifact()["provenance"]
    assert cost["recording_env_steps"] == 400 + 80


def test_a_student_with_memory_goes_on_in_its_own_episodes(demonstrator, clean, monkeypatch):
    monkeypatch.setattr(DaggerConfig, "demonstrator_share", 0.0)
    config = DaggerConfig(demonstrator, rounds=1, recording=SHORT)
    _, data, _ = fit(clean, config, epochs=2, batches=5, memory=4)
    begins = data.dagger.steps[keys.IS_INIT]
    assert torch.equal(begins, torch.arange(40) % 20 == 0)  # two robots, 20 steps each
    batch = next(iter(data.train_dataloader()))
    assert batch.batch_size == (32, 4)  # 128 steps in sequences of 32


def test_an_interrupted_fit_keeps_what_was_aggregated(demonstrator, clean, tmp_path):
    config = DaggerConfig(demonstrator, rounds=2, recording=SHORT)
    _, before, trainer = fit(clean, config, epochs=2, batches=5)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, after, _ = fit(clean, config, epochs=4, batches=5, checkpoint=tmp_path / "last.ckpt")
    assert (before.dagger.rounds, after.dagger.rounds) == (1, 2)
    torch.testing.assert_close(
        after.dagger.steps[keys.FEATURES][: len(before.dagger.steps)], before.dagger.steps[keys.FEATURES]
    )
    assert len(after.dagger.manifests) == 2


def test_bad_settings_are_refused(demonstrator):
    with pytest.raises(BadInput, match="rounds"):
        DaggerConfig(demonstrator, rounds=0)


@pytest.mark.slow
def test_aggregation_keeps_a_student_on_its_feet(demonstrator, clean):
    def survived(dagger: DaggerConfig | None) -> float:
        module, _, _ = fit(clean, dagger, epochs=6, batches=200)
        env = make_env("h1-stand", num_envs=8, seed=77)
        state, alive, steps = env.reset(), torch.ones(8, dtype=torch.bool), 0
        for _ in range(300):
            action = module.network(module.spec.featurise(state[keys.OBSERVATION], env.task.layout)).detach()
            state = env.step(state.set(keys.ACTION, action))[keys.NEXT]
            alive &= ~state[keys.TERMINATED].squeeze(-1)
            steps += int(alive.sum())
            state = state.exclude(keys.REWARD)
        return steps / 8

    recording = RecordingConfig(episodes=8, steps=150, noise_levels=(0.0,), drop_before_fall=5)
    # three seeds each: 103, 113 and 101 steps without, 270, 259 and 172 with
    assert survived(DaggerConfig(demonstrator, recording=recording)) > 1.3 * survived(None)


def test_a_student_takes_turns_with_its_partners_and_keeps_what_is_its_own(data_folder, tmp_path):
    file = tmp_path / "touch.yaml"
    file.write_text(f"kind: touch\ntask: h1-reach\nteacher: {data_folder / 'teachers/walk'}\n")
    recording = RecordingConfig(episodes=12, steps=30, noise_levels=(0.0,), drop_before_fall=0)
    config = DaggerConfig(str(file), partners=[str(data_folder / "experts/reach")], recording=recording)
    expert = Expert.load(data_folder / "experts/approach")
    dagger = Dagger(config)
    dagger.collect(expert.spec, Actor(expert.network))
    assert dagger.steps is not None
    # most of the twelve targets are out of reach and call for walking; those within reach are the partner's to learn
    assert 12 * 30 * 0.5 < len(dagger.steps) <= 12 * 30
    assert keys.IS_INIT in dagger.steps
    stander = ExpertSpec(name="stand", task="h1-stand")
    with pytest.raises(BadInput, match="touch shows approach, reach, but not stand"):
        dagger.collect(stander, Actor(expert.network))
