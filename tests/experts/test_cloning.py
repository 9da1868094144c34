"""Behaviour cloning as a stage: it learns, repeats for a seed, and refuses data that do not fit."""

import lightning.pytorch as pl
import pytest
import quiet_trainer
import torch

from mwl.core import keys
from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput, SpecMismatch
from mwl.datasets.demonstrations import Demonstrations
from mwl.experts.cloning.data import DemonstrationData
from mwl.experts.cloning.module import BehaviourCloning
from mwl.experts.library import ExpertLibrary
from mwl.semantics.cards import Card

CARD = {"name": "lean", "description": "lean over", "paraphrases": ["tilt"]}


@pytest.fixture
def data_file(tmp_path) -> str:
    """A teacher whose every action is a linear function of the joint angles."""
    generator = torch.Generator().manual_seed(0)
    observation = 0.2 * torch.randn(400, 51, generator=generator)
    observation[:, 3] += 1
    mixing = torch.randn(19, 19, generator=generator) / 19
    manifest = {
        "task": "h1-stand", "demonstrator": "linear", "recording_env_steps": 400, "training_env_steps": 7,
        "licence": "MIT", "source": "test",
    }  # fmt: skip
    action = observation[:, 7:26] @ mixing
    episode = torch.arange(400) // 40
    return str(Demonstrations(observation, action, episode, manifest).save(tmp_path / "linear.npz"))


def fit(data_file: str, epochs: int = 3) -> tuple[BehaviourCloning, pl.Trainer]:
    pl.seed_everything(0)
    module = BehaviourCloning("lean", "h1-stand", CARD, hidden=[32, 32], lr=5e-3, evaluation_episodes=0)
    data = DemonstrationData([data_file], batch_size=64, batches_per_epoch=100)
    trainer = quiet_trainer.fit(module, data, epochs)
    return module, trainer


def test_cloning_explains_held_out_episodes_and_hands_over(data_file, tmp_path):
    module, trainer = fit(data_file)
    # the loss is in units of the labels' variance: predicting the mean scores 1
    assert trainer.callback_metrics["val/loss"] < 0.15
    entries = module.artifact()
    assert entries["provenance"]["env_steps"] == 407
    write_artifact(tmp_path / "lean", **entries)
    library = ExpertLibrary.load(tmp_path / "lean")
    assert library.cards == [Card(**CARD)]


def test_cloning_repeats_for_a_seed(data_file):
    weights = [fit(data_file, epochs=1)[0].network.layers[0].weight for _ in range(2)]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_validation_holds_out_whole_episodes(data_file):
    module = BehaviourCloning("lean", "h1-stand", CARD)
    data = DemonstrationData([data_file], validation_share=0.2)
    data.prepare(module.spec)
    assert (len(data.train), len(data.validation)) == (320, 80)  # 8 and 2 of 10 episodes of 40 steps
    assert next(iter(data.train_dataloader()))[keys.FEATURES].shape == (256, 50)


def test_data_without_the_command_are_refused(data_file):
    module = BehaviourCloning("r", "h1-reach", CARD, command="hand_target", default_command=[0.3, 0.2, 0.1])
    with pytest.raises(SpecMismatch, match="holds no commands"):
        DemonstrationData([data_file]).prepare(module.spec)


def test_bad_settings_are_refused():
    with pytest.raises(BadInput, match="files is empty"):
        DemonstrationData([])
    with pytest.raises(BadInput, match="validation_share"):
        DemonstrationData(["x"], validation_share=1.0)
    with pytest.raises(BadInput, match="card"):
        BehaviourCloning("x", "h1-stand", {"name": "x"})
