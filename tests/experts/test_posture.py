"""Posture: a shift with more reward is found, kept only if its gain is no chance, learned, and resumed."""

from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from fine_tuning import SaveAfter, run
from torch import Tensor

from mwl.core.artifact import write_artifact
from mwl.core.errors import BadInput
from mwl.experts.finetuning import env, posture
from mwl.experts.finetuning.env import FineTuningConfig
from mwl.experts.finetuning.module import FineTuningData
from mwl.experts.finetuning.posture import Posture, PostureConfig
from mwl.experts.library import Expert
from mwl.robot.h1 import RADIANS_PER_ACTION

ENVS, STEPS, JOINT = 24, 5, 3
SHIFT = 0.12  # rad of one joint with most reward


class ReachedStates:
    def draw(self, count: int, lowest: float, evenly: bool) -> Tensor:
        return torch.zeros(count, 1)


class Leaning:
    """Pays 1 where one joint is `SHIFT` beyond where the expert has it, and the others are not; or everywhere."""

    def __init__(self, expert: Expert, rewards: bool) -> None:
        self.num_envs, self.action_size, self.reached_states = ENVS, 19, ReachedStates()
        self.features = torch.zeros(ENVS, expert.spec.input_size)
        self.unit = torch.as_tensor(RADIANS_PER_ACTION).float() * expert.network.action_std
        with torch.no_grad():
            self.own = expert.network.standardised(self.features)
        self.rewards, self.generator = rewards, torch.Generator().manual_seed(0)

    def reset(self) -> Tensor:
        return self.features

    observe = reset

    def reward(self) -> Tensor:
        return torch.ones(ENVS)

    def starts(self, count: int) -> Tensor:
        return torch.zeros(count, 1)

    def begin_in(self, states: Tensor) -> Tensor:
        assert states.shape == (ENVS, 1)
        return self.features

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        off = (action - self.own) * self.unit
        off[:, JOINT] -= SHIFT
        never = torch.zeros(ENVS, dtype=torch.bool)
        reward = 1 - 20 * off.square().sum(dim=-1) if self.rewards else torch.ones(ENVS)
        return self.features, reward + 0.1 * torch.randn(ENVS, generator=self.generator), never, never


class LeaningData(FineTuningData):
    def __init__(self, rounds: int, rewards: bool) -> None:
        super().__init__(rounds * ENVS * STEPS, ENVS)
        self.rewards = rewards

    def connect(self, expert: Expert, rollout_steps: int) -> Leaning:  # type: ignore[override]
        self.frames_per_round, self.rounds = ENVS * rollout_steps, self.env_steps // (ENVS * rollout_steps)
        return Leaning(expert, self.rewards)


SMALL = PostureConfig(steps=STEPS, rollouts=2, learning_rounds=3)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, value in (("first_rounds", 1), ("batch_size", 16), ("learning_rate", 1e-3)):
        monkeypatch.setattr(PostureConfig, name, value)


def fit(folder, config: PostureConfig, data: FineTuningData, checkpoint=None, callbacks=()) -> Posture:
    pl.seed_everything(0)
    module = Posture(str(folder), posture=config, evaluation_episodes=0)
    run(module, data, checkpoint, callbacks)
    return module


def test_a_shift_with_reward_is_found_and_learned(data_folder, monkeypatch):
    monkeypatch.setattr(PostureConfig, "epochs", 20)
    module = fit(data_folder / "experts/stand", SMALL, LeaningData(55, rewards=True))
    assert module.gain[0] > 2 * module.gain[1] > 0
    assert module.shift[JOINT].item() == pytest.approx(SHIFT, abs=0.05)
    with torch.no_grad():
        moved = (module.network.standardised(module.env.features) - module.env.own) * module.unit
    torch.testing.assert_close(moved[0], module.shift, atol=0.02, rtol=0)


def test_a_shift_that_gains_nothing_leaves_the_expert_as_it_is(data_folder):
    folder = data_folder / "experts/stand"
    module = fit(folder, SMALL, LeaningData(12, rewards=False))
    assert not module.shift.any()
    expected = Expert.load(folder).network.standardised(module.env.features)
    torch.testing.assert_close(module.network.standardised(module.env.features), expected, atol=0, rtol=0)


def standing(rounds: int) -> FineTuningData:
    return FineTuningData(rounds * 64, num_envs=8, num_threads=1, episodes=FineTuningConfig(episode_steps=20))


@pytest.mark.parametrize("stopped_after", [2, 6])  # while searching, while learning
def test_posture_resumes_as_if_never_stopped(data_folder, tmp_path, monkeypatch, stopped_after):
    monkeypatch.setattr(env, "KEPT_SHARE", 1.0)
    monkeypatch.setattr(posture, "_CERTAINTY", -100.0)  # learn whatever was found
    folder, config = data_folder / "experts/stand", replace(SMALL, steps=8, reward_range=(0.1, 0.2))
    whole = fit(folder, config, standing(8), callbacks=[SaveAfter(stopped_after, tmp_path / "some.ckpt")])
    resumed = fit(folder, config, standing(8), checkpoint=tmp_path / "some.ckpt")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    untouched = Expert.load(folder).network.state_dict()
    assert not torch.equal(whole.network.state_dict()["layers.0.weight"], untouched["layers.0.weight"])
    write_artifact(tmp_path / "stand", **whole.artifact())
    provenance = Expert.load(tmp_path / "stand").manifest["provenance"]
    assert provenance["training_env_steps"]["posture_stand"] == 8 * 64
    assert len(provenance["posture"]["shift_rad"]) == 19


def test_where_nothing_pays_the_user_is_told(data_folder, monkeypatch):
    monkeypatch.setattr(env, "KEPT_SHARE", 1.0)
    with pytest.raises(BadInput, match=r"too few states with a reward of 3.0 .* lower model.posture.reward_range"):
        fit(data_folder / "experts/stand", replace(SMALL, steps=8, reward_range=(2.0, 3.0)), standing(8))


def test_settings_that_make_no_search_are_refused(data_folder):
    with pytest.raises(BadInput, match="lower reward before a higher"):
        PostureConfig(reward_range=(0.6, 0.5))
    with pytest.raises(BadInput, match=r"24 environments and 5 rounds .* at least 720"):
        fit(data_folder / "experts/stand", SMALL, LeaningData(5, rewards=True))
