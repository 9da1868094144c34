"""The trainer of teachers: what holds after a resume, and what is refused before it spoils a checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mwl.core.errors import BadInput, PhysicsError
from mwl.teachers.ppo import PPOConfig, PPOTrainer

TINY = PPOConfig(num_envs=8, rollout_steps=4, epochs=1, hidden=(8, 8))


class Aiming:
    """Pays for actions near 1; breaks in the step that it is told."""

    num_envs, action_size, preferred_speed = 8, 2, 0.0

    def __init__(self, breaks_at: int = 0, value: float = float("inf")) -> None:
        self.breaks_at, self.value, self.steps = breaks_at, value, 0

    def reset(self) -> Tensor:
        return torch.ones(self.num_envs, 3)

    observe = reset

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.steps += 1
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        reward = -(action - 1).square().mean(dim=-1)
        if self.steps == self.breaks_at:
            reward[5] = self.value
        return self.reset(), reward, never, never

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        return {}


def trained(path: Path, config: PPOConfig = TINY, iterations: int = 3) -> PPOTrainer:
    trainer = PPOTrainer(Aiming(), config, path, {}, seed=0)
    trainer.resume()
    trainer.fit(iterations, lambda metrics: None)
    return trainer


def test_a_rate_that_is_configured_anew_holds_after_a_resume(tmp_path: Path) -> None:
    config = replace(TINY, value_learning_rate=1e-3, kl_low=0.0)  # the rate is not adapted
    trained(tmp_path / "c.ckpt", config)
    again = trained(tmp_path / "c.ckpt", replace(config, learning_rate=2e-4, value_learning_rate=2e-3), iterations=4)
    assert [group["lr"] for group in again.optimizer.param_groups] == [2e-4, 2e-3]


def test_a_rate_that_was_adapted_stays_so(tmp_path: Path) -> None:
    adapting = replace(TINY, kl_low=0.02)  # such small steps: the rate rises
    adapted = trained(tmp_path / "c.ckpt", adapting).optimizer.param_groups[0]["lr"]
    assert adapted > TINY.learning_rate
    again = PPOTrainer(Aiming(), adapting, tmp_path / "c.ckpt", {}, seed=0)
    assert again.resume()
    assert again.optimizer.param_groups[0]["lr"] == adapted


def test_networks_of_another_size_are_named(tmp_path: Path) -> None:
    trained(tmp_path / "c.ckpt")
    with pytest.raises(BadInput, match=r"ppo\.hidden is \(16, 16\), but the checkpoint was made with \(8, 8\)"):
        trained(tmp_path / "c.ckpt", replace(TINY, hidden=(16, 16)))


def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.ckpt"
    weights = trained(path).agent.state_dict()
    path.write_bytes(path.read_bytes()[:200])
    again = trained(path).agent.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert "set aside as c.ckpt.damaged" in capsys.readouterr().err
    assert path.is_file()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_reward_that_is_not_finite_spoils_no_checkpoint(tmp_path: Path, value: float) -> None:
    whole = trained(tmp_path / "whole.ckpt", iterations=4)
    broken = PPOTrainer(Aiming(breaks_at=11, value=value), TINY, tmp_path / "c.ckpt", {}, seed=0)
    with pytest.raises(PhysicsError, match="environment 5 is not finite in iteration 2"):
        broken.fit(4, lambda metrics: None, save_every=1)
    again = trained(tmp_path / "c.ckpt", iterations=4)
    for name, weight in whole.agent.state_dict().items():
        assert torch.equal(weight, again.agent.state_dict()[name]), name
