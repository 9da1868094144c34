"""DreamerV3 on TorchRL's modules and losses: a recurrent world model, in whose imagination actor and critic learn."""

from typing import Any, ClassVar

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.nn import TensorDictSequential as Sequence
from torch import Tensor, nn
from torchrl.modules import (
    DreamerV3MLP,
    IndependentNormal,
    RSSMPosteriorV3,
    RSSMPriorV3,
    RSSMRolloutV3,
    RSSMStateEstimatorV3,
    SymExpTwoHot,
    symlog,
)
from torchrl.objectives import (
    DreamerV3ActorLoss,
    DreamerV3Loss,
    DreamerV3ModelLoss,
    DreamerV3ValueLoss,
    LossModule,
    ValueEstimators,
)
from torchrl.trainers.algorithms import DreamerV3Optimizer

from mwl.baselines.agent import BaselineAgent
from mwl.baselines.config import DreamerConfig
from mwl.baselines.module import BaselineModule
from mwl.core import keys
from mwl.world_model.observation import Observer

_DREAMER = DreamerConfig()
_CATEGORICALS, _UNIMIX, _HORIZON, _BINS = 32, 0.01, 333, 255
_STD = (0.1, 1.0)  # bounds of the actions' standard deviation
_FEATURES = ["state", "belief"]


class DreamerNetwork(nn.Module):
    """What acting needs of DreamerV3: encoder, recurrent state and actor.

    Args:
        feature_size: F.
        action_size: A.
        units: width of the layers; the belief is eight times as wide, and a sixteenth of it are classes.
    """

    def __init__(self, feature_size: int, action_size: int, units: int) -> None:
        super().__init__()
        self.feature_size, self.action_size, self.units = feature_size, action_size, units
        self.belief_size, self.state_size = 8 * units, _CATEGORICALS * (units // 16)
        latent = {"num_categoricals": _CATEGORICALS, "num_classes": units // 16, "unimix": _UNIMIX}
        size = {"hidden_dim": units, "rnn_hidden_dim": self.belief_size, **latent}
        self.encoder = DreamerV3MLP(feature_size, None, depth=3, num_cells=units)
        self.prior = RSSMPriorV3(
            action_shape=(action_size,), action_dim=action_size, recurrent_model="block_gru", **size
        )
        self.posterior = RSSMPosteriorV3(obs_embed_dim=units, use_rms_norm=True, **size)
        self.head = self.mlp(2 * action_size, depth=3, outscale=0.01)

    def mlp(self, outputs: int, depth: int, outscale: float = 1.0) -> DreamerV3MLP:
        """A network of the latent's two parts."""
        return DreamerV3MLP(self.state_size + self.belief_size, outputs, depth, self.units, outscale)

    def seen(self, features: Tensor, before: TensorDictBase | None = None, begins: Tensor | None = None) -> TensorDict:
        """State and belief once features `[N, F]` are seen.

        Args:
            features: of N environments.
            before: state, belief and the action since then; None begins everywhere.
            begins: `[N]` where an episode begins.
        """
        count = len(features)
        if before is None:
            sizes = {"state": self.state_size, "belief": self.belief_size, "previous_action": self.action_size}
            before = TensorDict({name: features.new_zeros(count, size) for name, size in sizes.items()}, [count])
        now = before.clone(recurse=False)
        now["encoded_latents"] = self.encoder(symlog(features))
        now["is_init"] = torch.zeros(count, dtype=torch.bool, device=features.device) if begins is None else begins
        return RSSMStateEstimatorV3(self.prior, self.posterior)(now).select(*_FEATURES)

    def distribution(self, state: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `[..., A]` of actions: a normal distribution, as bounded as the authors'."""
        mean, spread = self.head(state, belief).chunk(2, dim=-1)
        return torch.tanh(mean), _STD[0] + (_STD[1] - _STD[0]) * torch.sigmoid(spread + 2)


class Imagination(nn.Module):
    """What the actor's loss asks of an environment; nothing has a gradient there, as the loss scores what was drawn.

    TorchRL's own `DreamerEnv` checks and copies every step, which took most of an update's time on a CPU.

    Args:
        network: what acts, and what follows.
        reward: of features `[..., S + B]`.
    """

    def __init__(self, network: DreamerNetwork, reward: nn.Module) -> None:
        super().__init__()
        self.network, self.reward = network, reward

    def reset(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Begin where it is told to."""
        return tensordict

    @torch.no_grad()
    def rollout(self, max_steps: int, tensordict: TensorDictBase, **_: Any) -> TensorDict:
        """Latents, actions and rewards `[N, H]` from N latents on."""
        states, beliefs, actions = [tensordict["state"]], [tensordict["belief"]], []
        for _step in range(max_steps):
            mean, std = self.network.distribution(states[-1], beliefs[-1])
            actions.append(mean + std * torch.randn_like(mean))
            _logits, state, belief = self.network.prior(states[-1], beliefs[-1], actions[-1])
            states.append(state)
            beliefs.append(belief)
        state, belief = torch.stack(states, 1), torch.stack(beliefs, 1)
        size = [len(state), max_steps]
        after = TensorDict({"state": state[:, 1:], "belief": belief[:, 1:]}, size)
        after[keys.REWARD] = self.reward(torch.cat([state[:, 1:], belief[:, 1:]], -1))
        seen = {"state": state[:, :-1], "belief": belief[:, :-1], keys.ACTION: torch.stack(actions, 1)}
        return TensorDict({**seen, keys.NEXT: after}, size)


class DreamerAgent(BaselineAgent):
    """Acts by what it remembers of the episode.

    Args:
        network: what acting needs.
        observer: observation to features.
        explore: draw actions instead of taking the middle of their distribution.
    """

    kind = "dreamer"
    network: ClassVar[type[nn.Module]] = DreamerNetwork
    actor: DreamerNetwork  # type: ignore[assignment]

    def __init__(self, network: DreamerNetwork, observer: Observer, explore: bool = False) -> None:
        super().__init__(network, observer, explore)  # type: ignore[arg-type]
        self._memory: TensorDict | None = None
        self._begins: Tensor | None = None

    def reset(self, done: Tensor | None = None) -> None:
        """Forget the past of environments that begin a new episode, `done` `[N]` bool; None = all."""
        if done is None:
            self._memory = None
        elif self._memory is not None and len(done) == len(self._memory):
            self._begins = done.to(self._memory["state"].device)

    @torch.no_grad()
    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Actions `[N, A]` in [-1, 1] at observations `[N, O]`; without batch dimension likewise."""
        if observation.ndim == 1:
            return self.act(observation.unsqueeze(0), step).squeeze(0)
        features = self.observer(observation).to(next(self.actor.parameters()).device)
        if self._memory is not None and len(self._memory) != len(features):
            self._memory = self._begins = None
        self._memory = self.actor.seen(features, self._memory, self._begins)
        self._begins = None
        mean, std = self.actor.distribution(self._memory["state"], self._memory["belief"])
        action = (mean + std * torch.randn_like(mean) if self.explore else mean).clamp(-1, 1)
        self._memory["previous_action"] = action
        return action.to(observation.device)

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered from one step to the next."""
        return {} if self._memory is None else {str(name): value.cpu() for name, value in self._memory.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where `state_dict` was taken."""
        self._begins = self._memory = None
        if state:
            there = next(self.actor.parameters()).device
            self._memory = TensorDict({name: value.to(there) for name, value in state.items()}, [len(state["state"])])


class DreamerModule(BaselineModule):
    """DreamerV3; a sequence begins in the latent that its first observation alone gives, as an episode does.

    Args:
        learning: size, batches and how often they are drawn.
    """

    def __init__(self, learning: DreamerConfig = _DREAMER) -> None:
        super().__init__("dreamer_v3", units=learning.units)
        self.learning, self.seed_steps = learning, learning.learning_starts

    def setup(self, stage: str) -> None:
        """Have what is collected kept, too."""
        super().setup(stage)
        if self.data().replay is None:
            self.data().keep(self.learning.length, self.learning.batch_size)

    def build(self, feature_size: int, action_size: int) -> tuple[BaselineAgent, LossModule]:
        """TorchRL's losses around one network and the heads that only learning needs."""
        self.actor_arguments = {"feature_size": feature_size, "action_size": action_size, "units": self.learning.units}
        net = self.network = DreamerNetwork(**self.actor_arguments).to(self.place)
        decoder, ends = (net.mlp(size, depth).to(self.place) for size, depth in ((feature_size, 3), (1, 1)))
        reward, value = (net.mlp(_BINS, depth, outscale=0.0).to(self.place) for depth in (1, 3))
        scalar = SymExpTwoHot(_BINS).to(self.place)
        after = [(keys.NEXT, name) for name in _FEATURES]
        inputs = [*_FEATURES, keys.ACTION]

        def to(module: Any, in_keys: Any, *out_keys: Any) -> TensorDictModule:
            return TensorDictModule(module, in_keys=in_keys, out_keys=list(out_keys))

        world = Sequence(
            to(symlog, [(keys.NEXT, keys.OBSERVATION)], (keys.NEXT, "squashed")),
            to(net.encoder, [(keys.NEXT, "squashed")], (keys.NEXT, "encoded_latents")),
            RSSMRolloutV3(
                to(net.prior, inputs, (keys.NEXT, "prior_logits"), *after),
                to(
                    net.posterior, [after[1], (keys.NEXT, "encoded_latents")], (keys.NEXT, "posterior_logits"), after[0]
                ),
            ),
            to(decoder, after, (keys.NEXT, "decoded")),
            to(reward, after, (keys.NEXT, "reward_logits")),
            to(scalar, [(keys.NEXT, "reward_logits")], (keys.NEXT, keys.REWARD)),
            to(ends, after, (keys.NEXT, "continue_pred")),
        )
        model_loss = DreamerV3ModelLoss(
            world,
            lambda_continue=1.0,
            continue_target_scale=1 - 1 / _HORIZON,
            kl_mode="separate",
            unimix=_UNIMIX,
            num_reward_bins=_BINS,
            reco_symlog=False,  # the decoder says what is squashed already; TorchRL's would squash its answer, too
            detach_output=False,
        )
        model_loss.set_keys(pixels="squashed", reco_pixels="decoded")
        imagined = Imagination(net, nn.Sequential(reward, scalar)).to(self.place)
        actor = ProbabilisticTensorDictSequential(
            to(net.distribution, _FEATURES, "loc", "scale"),
            ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"],
                out_keys=[keys.ACTION],
                distribution_class=IndependentNormal,
                return_log_prob=True,
            ),
        )
        critic = Sequence(to(value, _FEATURES, "state_value_logits"), to(scalar, ["state_value_logits"], "state_value"))
        goes_on = Sequence(to(ends, _FEATURES, "logit"), to(torch.sigmoid, ["logit"], "continuation"))
        actor_loss = DreamerV3ActorLoss(actor, critic, imagined, continuation_model=goes_on, use_reinforce=True)
        actor_loss.make_value_estimator(ValueEstimators.TDLambda, gamma=1.0, lmbda=0.95)  # the model of ends discounts
        value_loss = DreamerV3ValueLoss(
            critic, "two_hot", num_value_bins=_BINS, actor_loss=actor_loss, slow_critic_regularization=1.0
        )
        loss = DreamerV3Loss(model_loss, actor_loss, value_loss, continuation_horizon=_HORIZON).to(self.place)
        return DreamerAgent(net, self.observer, explore=True), loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The authors' own."""
        assert self.loss is not None
        return DreamerV3Optimizer(self.loss.parameters(), lr=self.learning.lr, warmup_steps=self.learning.warmup)

    def see(self, features: Tensor) -> None:
        """Nothing: features are squashed, not standardised."""

    def standardised(self, features: Tensor) -> Tensor:
        """Features as they are."""
        return features

    def learn(self, frames: TensorDictBase) -> dict[str, float]:
        """As many updates as the train ratio calls for, once there is a sequence to draw."""
        data, learning = self.data(), self.learning
        assert data.replay is not None
        assert self.loss is not None
        data.replay.extend(frames)
        if data.env_steps < learning.learning_starts or not data.replay.ready():
            return {}
        updates = self.owed(frames.numel() * learning.train_ratio / (learning.batch_size * learning.length))
        total = TensorDict()
        for i in range(updates):
            losses = self.loss(self._sequences(data.replay.sample())).exclude("replay_context")
            parts = [value.sum() for name, value in losses.items() if str(name).startswith("loss_")]
            self.step(torch.stack(parts).sum(), i == updates - 1)
            self.follow(self.loss.value_loss, "value_model", 0.02)
            total = losses.detach() if i == 0 else total + losses.detach()
        return {str(name): float(value) / updates for name, value in total.items()}

    def _sequences(self, rows: TensorDictBase) -> TensorDict:
        """Rows `[H, B]` as the losses take them, `[B, H]`: what was acted, and what was seen after it."""
        seen = self.as_seen(rows.transpose(0, 1))
        begun = self.network.seen(seen[keys.OBSERVATION][:, 0])
        for name in _FEATURES:
            seen[name] = begun[name].unsqueeze(1).expand(-1, seen.shape[1], -1)
        seen["is_init"] = torch.zeros(*seen.shape, 1, dtype=torch.bool, device=self.device)
        return seen.exclude(keys.OBSERVATION)
