"""PPO on the reward of the environment: rounds of acting, then several passes over what was acted."""

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss, LossModule, ValueEstimators

from mwl.baselines.config import PPOConfig
from mwl.baselines.module import BaselineModule
from mwl.core import keys
from mwl.core.normaliser import RunningNormaliser

_PPO = PPOConfig()
_GRADIENT = 0.5  # largest norm of a gradient


class PPOModule(BaselineModule):
    """PPO with generalised advantages; a round is `data.num_envs` times `data.steps_per_round` steps.

    Rewards are divided by the running spread of their discounted sums, as in the authors' code: the critic then learns
    numbers of one size in every environment.

    Args:
        learning: networks, losses and how often they are taken.
    """

    def __init__(self, learning: PPOConfig = _PPO) -> None:
        super().__init__("ppo", hidden=list(learning.hidden))
        self.learning = learning
        self.spread = RunningNormaliser(1)
        self._sum: Tensor | None = None  # discounted, of every environment

    def actor_settings(self) -> dict[str, Any]:
        """Of a standard deviation that is the same whatever is seen."""
        return {"hidden": list(self.learning.hidden), "start_std": self.learning.start_std}

    def make_loss(self, policy: ProbabilisticActor, feature_size: int, action_size: int) -> LossModule:
        """TorchRL's, with a critic of the policy's size."""
        learning = self.learning
        net = MLP(feature_size, 1, num_cells=list(learning.hidden), activation_class=nn.Tanh).to(self.place)
        loss = ClipPPOLoss(
            policy,
            ValueOperator(net, in_keys=[keys.OBSERVATION]),
            clip_epsilon=learning.clip,
            entropy_bonus=learning.entropy_weight > 0,
            entropy_coeff=learning.entropy_weight,
            critic_coeff=0.5,
            loss_critic_type="l2",
            normalize_advantage=True,
        )
        how = {"gamma": learning.discount, "lmbda": learning.trace, "deactivate_vmap": True}
        loss.make_value_estimator(ValueEstimators.GAE, **how)
        self.policy = policy
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam for policy and critic."""
        assert self.loss is not None
        return torch.optim.Adam(self.loss.parameters(), lr=self.learning.lr, eps=1e-5)

    def learn(self, frames: TensorDictBase) -> dict[str, float]:
        """Several passes over the round in batches, each step in one batch of a pass."""
        assert self.loss is not None
        rows = self._judged(frames).flatten()
        batches = [
            batch
            for _ in range(self.learning.epochs)
            for batch in torch.randperm(len(rows)).split(self.learning.batch_size)
        ]
        total = TensorDict()
        for i, batch in enumerate(batches):
            losses = self.loss(rows[batch.to(self.device)])
            self.step(sum(value for name, value in losses.items() if name.startswith("loss_")), i == len(batches) - 1)
            total = losses.detach() if i == 0 else total + losses.detach()
        return {str(name): float(value) / len(batches) for name, value in total.items() if value.numel() == 1}

    @torch.no_grad()
    def _judged(self, frames: TensorDictBase) -> TensorDict:
        """The round with scaled rewards, log probabilities, advantages and targets of values."""
        assert self.loss is not None
        seen = self.as_seen(frames)
        seen[keys.NEXT, keys.REWARD] = seen[keys.NEXT, keys.REWARD] / self._spread(frames).to(self.device)
        distribution = self.policy.get_dist(seen)
        seen[self.loss.tensor_keys.sample_log_prob] = distribution.log_prob(seen[keys.ACTION])
        self.loss.value_estimator(seen)
        return seen

    def _spread(self, frames: TensorDictBase) -> Tensor:
        """Standard deviation of discounted sums of rewards, this round's included."""
        sums = []
        for t in range(frames.shape[1]):
            reward, done = (frames[:, t][keys.NEXT, key].squeeze(-1) for key in (keys.REWARD, keys.DONE))
            so_far = reward if self._sum is None else self.learning.discount * self._sum + reward
            sums.append(so_far)
            self._sum = so_far.masked_fill(done, 0.0)
        self.spread.update(torch.cat(sums).unsqueeze(-1).to(self.device))
        return self.spread.variance.sqrt().clamp(min=1e-4).cpu()

    def before_step(self) -> None:
        """Clip the gradient."""
        assert self.loss is not None
        nn.utils.clip_grad_norm_(self.loss.parameters(), _GRADIENT)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["round_state"]["sum"] = self._sum

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on summing."""
        super().on_load_checkpoint(checkpoint)
        self._sum = checkpoint["round_state"]["sum"]
