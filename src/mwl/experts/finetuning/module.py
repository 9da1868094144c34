"""The stage that fine-tunes an expert: its own network goes on learning by PPO on the reward of its task.

Cloning repeats what was shown. What it lost of its teacher, and what the teacher got no reward for, comes back where
the expert itself acts and the benchmark's own reward says how well it did.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput
from mwl.core.ranges import Between0And1, Count, Seed, Whole
from mwl.experts.finetuning.env import FineTuningConfig, FineTuningEnv
from mwl.experts.hand_over import hand_over_states
from mwl.experts.library import Expert
from mwl.experts.measure import measure_expert
from mwl.experts.network import PolicyNetwork
from mwl.experts.spec import ExpertSpec
from mwl.robot.h1 import RADIANS_PER_ACTION
from mwl.simulation import Shift, get_task
from mwl.teachers.ppo import PPO, ActorCriticPolicy, PPOConfig
from mwl.training.host import HostModule

_EPISODES = FineTuningConfig()
_PPO = PPOConfig(
    rollout_steps=32,
    discount=0.995,
    entropy=0.0,
    learning_rate=5e-5,
    learning_rate_range=(5e-6, 5e-4),
    value_learning_rate=5e-4,
    kl_high=0.010,
    kl_low=0.004,
    hidden=(256, 256),
    start_std=0.06,
    std_range=(0.02, 0.1),
    value_iterations=50,
)


class FineTuningPolicy(ActorCriticPolicy):
    """An expert's network with a Gaussian about it, and a value network that sees the same features.

    Args:
        network: the expert's; it goes on learning.
        config: spreads are in rad of joint targets.
    """

    radians: Tensor

    def __init__(self, network: PolicyNetwork, config: PPOConfig) -> None:
        super().__init__()
        self.network = network
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((len(network.input_mean), *config.hidden)):
            layers += [nn.Linear(fan_in, fan_out), nn.SiLU()]
        self.critic = nn.Sequential(*layers, nn.Linear(config.hidden[-1], 1))
        self.log_std = nn.Parameter(torch.full((len(network.action_mean),), config.start_std).log())
        self._std_range = config.std_range
        self.register_buffer("radians", torch.as_tensor(RADIANS_PER_ACTION).float() * network.action_std)

    def policy(self, normalized: Tensor) -> torch.distributions.Normal:
        """Distribution over standardised actions `[B, A]` at features `[B, F]`."""
        spread = self.log_std.exp().clamp(*self._std_range) / self.radians
        return torch.distributions.Normal(self.network.standardised(normalized), spread, validate_args=False)

    def value(self, normalized: Tensor) -> Tensor:
        """Value `[B]` of features `[B, F]`."""
        value: Tensor = self.critic(self.network.normalised(normalized)).squeeze(-1)
        return value


class FineTuningData(pl.LightningDataModule):
    """Rounds of fine-tuning.

    Args:
        env_steps: environment steps of the whole fine-tuning, counted over all environments.
        num_envs: parallel environments N.
        seed: of starts and pushes.
        episodes: how they begin and end.
        num_threads: threads of the physics; None takes one per core.
        shift: what is changed in the world, as `mwl evaluate --shift` reads it; None for nothing.

    Raises:
        BadInput: no such shift.
    """

    def __init__(
        self,
        env_steps: Count = 4_000_000,
        num_envs: Count = 256,
        seed: Seed = 0,
        episodes: FineTuningConfig = _EPISODES,
        num_threads: Count | None = None,
        shift: str | None = None,
    ) -> None:
        super().__init__()
        self.shift = None if shift is None else Shift.parse(shift)
        self.env_steps, self.num_envs, self.seed = env_steps, num_envs, seed
        self.episodes, self.num_threads = episodes, num_threads
        self.rounds_done, self.rounds, self.frames_per_round = 0, 0, 0
        self.preparation_steps = 0
        self.env: FineTuningEnv | None = None

    def connect(self, expert: Expert, rollout_steps: int) -> FineTuningEnv:
        """Say which expert learns and how long a round is; returns where it does, at the beginning of episodes."""
        network, episodes, others = expert.network, self.episodes, None
        if episodes.hand_over_from:
            others = hand_over_states(episodes.hand_over_from, expert.spec.task, self.seed, self.num_threads)
            network.widen(expert.spec.featurise(others.observations, get_task(expert.spec.task).layout))
            self.preparation_steps = others.env_steps
        self.frames_per_round = self.num_envs * rollout_steps
        self.rounds = -(-self.env_steps // self.frames_per_round)
        self.env = FineTuningEnv(
            expert.spec,
            network.action_mean,
            network.action_std,
            self.episodes,
            self.num_envs,
            self.seed,
            self.num_threads,
            None if others is None else others.states,
            self.shift,
        )
        self.env.reset()
        return self.env

    def train_dataloader(self) -> DataLoader[int]:
        """Numbers of the rounds that are left."""
        return DataLoader(_Rounds(self), batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        """Where episodes and the states that they begin in stand."""
        if self.env is None:
            return {}
        return {"settings": self._settings(), "rounds": self.rounds_done, "env": self.env.state_dict()}

    def _settings(self) -> dict[str, Any]:
        return {"num_envs": self.num_envs, "seed": self.seed, "shift": "" if self.shift is None else str(self.shift)}

    @property
    def rounds_left(self) -> int:
        """Rounds not yet done."""
        return self.rounds - self.rounds_done

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            BadInput: it was taken of other environments.
        """
        if state_dict and self.env is not None:
            refuse_changed("data.", state_dict.get("settings", {}), self._settings())
            self.rounds_done = int(state_dict["rounds"])
            self.env.load_state_dict(state_dict["env"])


class _Rounds(IterableDataset[int]):
    def __init__(self, data: FineTuningData) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.rounds

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.data.rounds_done, self.data.rounds))


class FineTuningStage(HostModule, pl.LightningModule):
    """A stage in which an expert learns on from its own acting, and is measured when done.

    It computes on the CPU whatever the accelerator: the small network is asked at every step of the simulation.

    Args:
        expert: artifact of the expert; it needs to be one without memory, of a task without goals.
        name: what it is called afterwards; None keeps its name.
        card: by which instructions find it afterwards; None keeps its card.
        rollout_steps: steps of every environment in a round.
        evaluation_episodes: episodes of the measurement that goes into the manifest; 0 skips it.
    """

    kind: str  # what the steps are called in the manifest

    def __init__(
        self, expert: str, name: str | None, card: dict[str, Any] | None, rollout_steps: int, evaluation_episodes: int
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"expert": expert, "name": name})
        self.automatic_optimization = False
        self.folder, self.name, self.card = expert, name, card
        self.rollout_steps, self.evaluation_episodes = rollout_steps, evaluation_episodes
        self.expert: Expert | None = None

    def setup(self, stage: str) -> None:
        """Load the expert, and let it and its environment meet.

        Raises:
            MissingFile, CorruptFile, SpecMismatch: the folder holds no expert that this version can load.
            BadInput: the expert has a memory, or its task can't be fine-tuned on.
        """
        if self.expert is not None:
            return
        self.expert = Expert.load(self.folder)
        if self.expert.spec.memory:
            raise BadInput(f"{self.folder}: an expert with a memory can't be fine-tuned; only stateless ones do")
        self.meet(self.expert.network.train(), self.data().connect(self.expert, self.rollout_steps))

    def on_train_start(self) -> None:
        """Bring the optimiser's state to its parameters: Lightning resumes it on the accelerator."""
        for optimizer in self.trainer.optimizers:
            optimizer.load_state_dict(optimizer.state_dict())

    def meet(self, network: PolicyNetwork, env: FineTuningEnv) -> None:
        """Get ready to learn: the expert's network, and where it acts."""
        raise NotImplementedError

    def data(self) -> "FineTuningData":
        """The data module.

        Raises:
            BadInput: it is another one.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FineTuningData):
            raise BadInput("fine-tuning needs data.class_path: mwl.experts.finetuning.module.FineTuningData")
        return data

    @property
    def result(self) -> PolicyNetwork:
        """The network that is handed over."""
        assert self.expert is not None
        return self.expert.network

    @property
    def steps_done(self) -> int:
        """Environment steps that it took so far."""
        return self.data().rounds_done * self.data().frames_per_round

    def artifact(self) -> dict[str, Any]:
        """Measure the expert and give what its artifact holds."""
        assert self.expert is not None
        network, manifest = self.result.eval(), self.expert.manifest
        name, card = self.name or self.expert.spec.name, self.card or manifest["card"]
        spec = ExpertSpec.from_plain({**self.expert.spec.to_plain(), "name": name})
        before, steps = manifest["provenance"], self.steps_done + self.data().preparation_steps
        return {
            "stage": "expert",
            "name": name,
            "checkpoint": {"hyper_parameters": spec.to_plain(), "state_dict": network.state_dict()},
            **spec.to_manifest(),
            "command_range": manifest.get("command_range"),
            "card": {**card, "name": name},
            "metrics": measure_expert(spec, network, self.evaluation_episodes),
            "provenance": {
                **before,
                "env_steps": before["env_steps"] + steps,
                "training_env_steps": _added(before["training_env_steps"], f"{self.kind}_{name}", steps),
                "fine_tuned_from": manifest.files["model.ckpt"],
            },
        }


def _added(counts: dict[str, int], name: str, steps: int) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + steps}


class FineTuning(FineTuningStage):
    """Fine-tunes an expert on its task by PPO, and measures it when done.

    Args:
        expert: artifact of the expert; it needs to be one without memory, of a task without goals.
        name: what it is called afterwards; None keeps its name.
        card: by which instructions find it afterwards; None keeps its card.
        ppo: hyperparameters; spreads are in rad of joint targets. `num_envs` is the data's.
        ema_decay: of an exponential moving average of the network, updated once a round, which is handed over
            in its place: rare failures come and go from round to round, and fewer are left in the mean. None
            hands over what the last round left.
        evaluation_episodes: episodes of the measurement that goes into the manifest; 0 skips it.
    """

    kind = "fine_tuning"

    def __init__(
        self,
        expert: str,
        name: str | None = None,
        card: dict[str, Any] | None = None,
        ppo: PPOConfig = _PPO,
        ema_decay: Between0And1 | None = None,
        evaluation_episodes: Whole = 20,
    ) -> None:
        super().__init__(expert, name, card, ppo.rollout_steps, evaluation_episodes)
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise BadInput(
                f"fine-tuning: ema_decay is {ema_decay}; needed is a share in (0, 1), or null for no average"
            )
        self.config, self.ema_decay = ppo, ema_decay
        self.average: AveragedModel | None = None
        self.learner: PPO | None = None

    def meet(self, network: PolicyNetwork, env: FineTuningEnv) -> None:
        """Put a Gaussian about the expert's actions, values beside it, and an average behind it."""
        self.policy = FineTuningPolicy(network, self.config)
        if self.ema_decay is not None:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.ema_decay))
        self.learner = PPO(env, self.policy, self.config)

    @property
    def result(self) -> PolicyNetwork:
        """The average over rounds, where there is one."""
        if self.average is None:
            return super().result
        assert isinstance(self.average.module, PolicyNetwork)
        return self.average.module

    @property
    def steps_done(self) -> int:
        """Environment steps that it took so far, whatever its settings were meanwhile."""
        assert self.learner is not None
        return self.learner.env_steps

    def configure_optimizers(self) -> Any:
        """PPO's own."""
        assert self.learner is not None
        return self.learner.optimizer

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One round: a rollout, then a few epochs over it."""
        learner = self.learner
        assert learner is not None
        learner.optimizer = self.optimizers()  # else Lightning would not know that there is progress to keep
        metrics = learner.learn(learner.collect())
        if self.average is not None:
            self.average.update_parameters(self.policy.network)
        self.data().rounds_done = learner.iteration
        self.log_dict({f"fine_tuning/{name}": value for name, value in metrics.items()})
        self.log("env_steps", float(learner.env_steps))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the learner counts."""
        if self.learner is not None:
            checkpoint["learner"] = self.learner.counts()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        assert self.learner is not None
        self.learner.recount(checkpoint["learner"])
