"""Learning by a baseline: one training step is one round of acting and then learning."""

from typing import Any, Literal

import lightning.pytorch as pl
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import LossModule, SACLoss, TQCLoss

from mwl.baselines.agent import STAGE, BaselineAgent
from mwl.baselines.config import QUANTILES, OffPolicyConfig
from mwl.baselines.data import BaselineData, Behaviour
from mwl.baselines.network import Actor
from mwl.core import keys
from mwl.core.checkpoints import refuse_changed
from mwl.core.errors import BadInput, NonFiniteLoss
from mwl.world_model.observation import Observer

_OFF_POLICY = OffPolicyConfig()
_TARGET_RATE = 0.005  # by which target critics follow, as published
_LOSSES: dict[str, type[LossModule]] = {"sac": SACLoss, "tqc": TQCLoss}


class BaselineModule(pl.LightningModule):
    """What all baselines share: what they see, who acts, what is logged and what is handed over.

    Args:
        algorithm: its name in records and tables.
        settings: those of `learning` by which the networks are built, which can't change in the middle of a training.
    """

    seed_steps = 0  # environment steps acted at random at first

    def __init__(self, algorithm: str, **settings: Any) -> None:
        super().__init__()
        self.fixed = {"algorithm": algorithm, **{f"learning.{name}": value for name, value in settings.items()}}
        self.automatic_optimization = False
        self.algorithm = algorithm
        self.loss: LossModule | None = None
        self._owed_updates = 0.0
        self._returns: list[float] = []
        self._return_so_far: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Build everything that depends on the environment, and connect it to the data module."""
        if self.loss is not None:
            return
        data = self.data()
        spec = data.spec
        self.observer = Observer(spec.layout, spec.position)
        size = self.observer(torch.zeros(1, spec.observation_size)).shape[-1]
        self.agent, self.loss = self.build(size, spec.action_size)
        # made where it computes: it holds parameters in several places, which not every device can move
        self.loss._apply = lambda *_, **__: self.loss  # type: ignore[method-assign, assignment]
        data.connect(Behaviour(self.agent, data.num_envs, spec.action_size))

    def build(self, feature_size: int, action_size: int) -> tuple[BaselineAgent, LossModule]:
        """Who acts while it learns, and TorchRL's loss; their networks lie where they will compute."""
        self.actor_arguments = {"feature_size": feature_size, "action_size": action_size, **self.actor_settings()}
        self.actor = Actor(**self.actor_arguments).to(self.place)
        policy = ProbabilisticActor(
            TensorDictModule(self.actor.head, in_keys=[keys.OBSERVATION], out_keys=["loc", "scale"]),
            in_keys=["loc", "scale"],
            spec=Bounded(-1.0, 1.0, (action_size,)),
            distribution_class=TanhNormal,
            return_log_prob=True,
        )
        loss = self.make_loss(policy, feature_size, action_size)
        return BaselineAgent(self.actor, self.observer, explore=True), loss

    @property
    def place(self) -> torch.device:
        """Where the networks will compute; Lightning moves them there only once all is set up."""
        return self.trainer.strategy.root_device

    def actor_settings(self) -> dict[str, Any]:
        """Arguments of `Actor` besides sizes."""
        raise NotImplementedError

    def make_loss(self, policy: ProbabilisticActor, feature_size: int, action_size: int) -> LossModule:
        """TorchRL's loss, with critics of its own."""
        raise NotImplementedError

    def learn(self, frames: TensorDictBase) -> dict[str, float]:
        """Updates after a round `[N, k]`; returns means of what was measured."""
        raise NotImplementedError

    def data(self) -> BaselineData:
        """The data module.

        Raises:
            BadInput: it is another one.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, BaselineData):
            raise BadInput("a baseline needs data.class_path: mwl.baselines.data.BaselineData")
        return data

    def on_train_start(self) -> None:
        """Begin to collect, or go on."""
        self.data().start()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One round: collect N x k transitions, then make the updates they call for."""
        data = self.data()
        assert data.behaviour is not None
        data.behaviour.seeding = data.env_steps < self.seed_steps
        frames = data.collect()
        self._count_returns(frames)
        metrics = {f"train/{name}": value for name, value in self.learn(frames).items()}
        self.see(self.observer(frames[keys.OBSERVATION].flatten(0, 1)).to(self.device))
        metrics["train/reward"] = float(frames[keys.NEXT, keys.REWARD].mean())
        self.log_dict({**metrics, "step": float(data.env_steps)})
        if self._returns:
            self.log("train/return", sum(self._returns) / len(self._returns), prog_bar=True)
            self._returns.clear()

    def see(self, features: Tensor) -> None:
        """Take features `[N, F]` of a round into account once it has been learned from."""
        self.actor.norm.update(features)

    def _count_returns(self, frames: TensorDictBase) -> None:
        for t in range(frames.shape[1]):
            reward, done = (frames[:, t][keys.NEXT, key].squeeze(-1) for key in (keys.REWARD, keys.DONE))
            so_far = reward if self._return_so_far is None else self._return_so_far + reward
            self._returns += so_far[done].tolist()
            self._return_so_far = so_far.masked_fill(done, 0.0)

    def as_seen(self, rows: TensorDictBase) -> TensorDict:
        """Transitions as the losses take them, on the module's device: features for observations."""
        after = rows[keys.NEXT]
        seen = TensorDict({keys.ACTION: rows[keys.ACTION]}, rows.batch_size)
        seen[keys.NEXT] = after.select(keys.REWARD, keys.TERMINATED, keys.DONE, strict=False)
        if keys.DONE not in after:
            seen[keys.NEXT, keys.DONE] = after[keys.TERMINATED]  # what is kept is not drawn in order
        seen = seen.to(self.device)
        for place, part in ((seen, rows), (seen[keys.NEXT], after)):
            place[keys.OBSERVATION] = self.standardised(self.observer(part[keys.OBSERVATION]).to(self.device))
        return seen

    def standardised(self, features: Tensor) -> Tensor:
        """Features as the networks take them."""
        return self.actor.norm(features)

    @torch.no_grad()
    def follow(self, loss: LossModule, network: str, rate: float) -> None:
        """Let the target copy of a network follow it by a share."""
        own, targets = (getattr(loss, f"{name}{network}_params") for name in ("", "target_"))
        for value, target in zip(own.values(True, True), targets.values(True, True), strict=True):
            target.data.lerp_(value.data, rate)

    def owed(self, updates: float) -> int:
        """Whole updates that are due after more of them are called for; what is left is owed."""
        self._owed_updates += updates
        due, self._owed_updates = int(self._owed_updates), self._owed_updates % 1
        return due

    def step(self, loss: Tensor, last: bool) -> None:
        """Step along the gradient of a loss; Lightning counts the last of a round.

        Raises:
            NonFiniteLoss: the loss is NaN or infinite; no weight was changed by it.
        """
        if not torch.isfinite(loss):
            raise NonFiniteLoss(
                f"{self.algorithm}: the loss is {float(loss)} after {self.data().env_steps} environment steps. "
                "--resume goes on from the last checkpoint; a smaller learning.lr helps if it recurs"
            )
        optimizer: Any = self.optimizers() if last else self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        loss.backward()
        self.before_step()
        optimizer.step()

    def before_step(self) -> None:
        """What is done to gradients."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is neither weight nor data."""
        state = {"returns": list(self._returns), "return_so_far": self._return_so_far}
        checkpoint["round_state"] = {**state, "owed_updates": self._owed_updates, "fixed": self.fixed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was written.

        Raises:
            BadInput: a setting changed that the networks, the environments or what is counted in rounds depend on.
        """
        data = self.data()
        data.check_resumable(checkpoint[type(data).__qualname__])  # Lightning restores the data after the weights
        state = checkpoint["round_state"]
        refuse_changed("model.", state["fixed"], self.fixed)
        self._returns, self._return_so_far = list(state["returns"]), state["return_so_far"]
        self._owed_updates = float(state["owed_updates"])

    def artifact(self) -> dict[str, Any]:
        """What the artifact holds: everything acting needs (arguments of `mwl.core.artifact.write_artifact`)."""
        data = self.data()
        spec = data.spec
        return {
            "stage": STAGE,
            "name": self.algorithm,
            "checkpoint": self.agent.to_plain(self.actor_arguments),
            "robot": spec.robot,
            "task": spec.task,
            "observation": {"size": spec.observation_size, "layout": spec.layout},
            "action": {"size": spec.action_size, "low": -1.0, "high": 1.0},
            "metrics": {"env_steps": data.env_steps},
            "provenance": {"guided": False, "env_steps": data.env_steps, "seed": data.seed},
        }


class OffPolicyModule(BaselineModule):
    """SAC or TQC: a squashed Gaussian actor with learned entropy, critics, and a replay buffer.

    Args:
        algorithm: `sac` takes the lower of its critics' values, `tqc` all of their quantiles but the highest.
        learning: networks, losses and how often they are taken.
    """

    def __init__(self, algorithm: Literal["sac", "tqc"] = "sac", learning: OffPolicyConfig = _OFF_POLICY) -> None:
        super().__init__(algorithm, hidden=list(learning.hidden), critics=learning.critics)
        self.learning, self.seed_steps = learning, learning.learning_starts

    def setup(self, stage: str) -> None:
        """Have what is collected kept, too."""
        super().setup(stage)
        if self.data().replay is None:
            self.data().keep(1, self.learning.batch_size)

    def actor_settings(self) -> dict[str, Any]:
        """Of a standard deviation that depends on what is seen."""
        return {"hidden": list(self.learning.hidden)}

    def make_loss(self, policy: ProbabilisticActor, feature_size: int, action_size: int) -> LossModule:
        """TorchRL's, with a list of critics, so that each is drawn as its layers draw it."""
        learning, tqc = self.learning, self.algorithm == "tqc"
        critics = [
            ValueOperator(
                MLP(
                    feature_size + action_size,
                    QUANTILES if tqc else 1,
                    num_cells=list(learning.hidden),
                    activation_class=nn.ReLU,
                ),
                in_keys=[keys.OBSERVATION, keys.ACTION],
            ).to(self.place)
            for _ in range(learning.critics)
        ]
        own: dict[str, Any] = {"top_quantiles_to_drop_per_net": learning.dropped} if tqc else {"loss_function": "l2"}
        # a loop over few critics is as fast as vmap, which not every device knows
        loss = _LOSSES[self.algorithm](policy, critics, num_qvalue_nets=learning.critics, deactivate_vmap=True, **own)
        loss.make_value_estimator(gamma=learning.discount)
        _ = loss.target_entropy  # makes a buffer, which else a checkpoint would hold and a fresh loss not know
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One Adam for all: no loss has a gradient for the weights of another."""
        assert self.loss is not None
        return torch.optim.Adam(self.loss.parameters(), lr=self.learning.lr)

    def learn(self, frames: TensorDictBase) -> dict[str, float]:
        """As many updates as the steps call for, once there are enough of them."""
        data = self.data()
        assert data.replay is not None
        assert self.loss is not None
        data.replay.extend(frames)
        if data.env_steps < self.learning.learning_starts:
            return {}
        updates = self.owed(frames.numel() * self.learning.updates_per_step)
        total = TensorDict()
        for i in range(updates):
            losses = self.loss(self.as_seen(data.replay.sample()[0]))
            self.step(losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"], i == updates - 1)
            self.follow(self.loss, "qvalue_network", _TARGET_RATE)
            total = losses.detach() if i == 0 else total + losses.detach()
        return {str(name): float(value) / updates for name, value in total.items()}
