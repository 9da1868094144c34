"""Where an expert is fine-tuned: N robots on a task of the embedded suite, written for PPO alone.

Episodes begin as the benchmark's do, or in a state that was reached before, drawn evenly over its reward: so that
what comes late in an episode is learned as much as its start. Some may begin shortly before a fall, so that what
rarely goes wrong is seen often enough to be learned, and some in hand-over states, where another expert leaves a robot,
so that going on from there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mwl.core.errors import BadInput
from mwl.experts.hand_over import HandOverStarts
from mwl.experts.spec import ExpertSpec
from mwl.robot import frames
from mwl.robot.h1 import QPOS0, RADIANS_PER_ACTION, action_to_ctrl
from mwl.rollouts.falls import AT_WORK
from mwl.rollouts.pushes import push_at_random
from mwl.rollouts.reset_states import ReachedStates, StatesBeforeFalls
from mwl.simulation import Shift, Simulation, build_model, get_task
from mwl.simulation.embedded import RESET_NOISE
from mwl.simulation.shift import LateObservations
from mwl.simulation.task import Measurement, SensorIndex, Task
from mwl.teachers.base_env import BaseTrainingEnv
from mwl.teachers.door.geometry import DoorGeometry
from mwl.teachers.door.rewards import DoorRewardConfig, door_reward, door_states
from mwl.teachers.teacher import FAST_FRAME_SKIP, FAST_TIMESTEP

DOOR_UNIT = 0.15  # brings the reward of the door's teachers into [0, 1]
KEPT_SHARE = 0.02  # of the states that are reached


@dataclass(frozen=True)
class FineTuningConfig(HandOverStarts):
    """How episodes begin and end, and what is charged besides the task's reward."""

    episode_steps: int = 500
    start_share: float = 0.4
    """Share of the episodes that begin as the benchmark's do; the others in states reached before."""
    fall_share: float = 0.0
    """Share that begins in states shortly before a fall."""
    push_std: float = 0.1  # m/s in x and y
    push_interval: float = 4.0  # s
    lowest_root: ClassVar[float] = AT_WORK.lowest_root  # m; lower is a fall
    fall_cost: float = 2.0
    """In units of the highest reward of one step."""
    action_rate: float = 0.5
    """Charge per rad^2 of the joint targets' mean square change from step to step."""

    door: DoorRewardConfig | None = None
    """Weights of the reward that the door's teachers learned by, instead of the task's: that has an optimum in
    leaning on the shut door. Its charges for falls and actions are left out for those above."""

    def __post_init__(self) -> None:
        if self.episode_steps < 1 or not 0 < self.start_share <= 1:
            raise BadInput(
                f"fine-tuning: episode_steps is {self.episode_steps}, start_share {self.start_share}; needed are at "
                "least 1 step, and a share in (0, 1]"
            )
        self.check_starts("fine-tuning", start_share=self.start_share, fall_share=self.fall_share)


def fine_tunable_task(name: str) -> Task:
    """The task of that name.

    Raises:
        BadInput: it draws goals or goes through stages, which this environment can't do.
    """
    task = get_task(name)
    if task.goal_size or task.advance is not Task.advance:
        raise BadInput(f"{name} can't be fine-tuned on: it has goals or stages; name a task of one skill")
    return task


class FineTuningEnv(BaseTrainingEnv):
    """N robots on which an expert goes on learning its task.

    An action is a joint target in standard deviations about the mean, both of the expert's training data, as its
    network puts it out before it is scaled.

    Args:
        spec: of the expert, whose features are observed.
        action_mean, action_std: `[A]` of its network.
        config: how episodes begin and end.
        num_envs: N.
        seed: of starts and pushes.
        num_threads: of the physics; None takes one per core.
        hand_over_states: `[S, W]` states in which other experts leave a robot; None for none.
        shift: what is changed in the world; None for nothing.
    """

    def __init__(
        self,
        spec: ExpertSpec,
        action_mean: Tensor,
        action_std: Tensor,
        config: FineTuningConfig,
        num_envs: int,
        seed: int = 0,
        num_threads: int | None = None,
        hand_over_states: Tensor | None = None,
        shift: Shift | None = None,
    ) -> None:
        shift = Shift() if shift is None else shift
        self.config, self.action_size = config, spec.action_size
        self._spec, self._task = spec, fine_tunable_task(spec.task)
        if config.door is not None and "door_qpos" not in self._task.layout.slices:
            raise BadInput(
                f"fine-tuning: {spec.task} shows no door, so it has no reward like that of the door's teachers"
            )
        model = shift.applied(build_model(self._task, "full", FAST_TIMESTEP), self._task.robot)
        super().__init__(Simulation(model, num_envs, FAST_FRAME_SKIP, num_threads), config.episode_steps, seed)
        self._geometry = DoorGeometry(model)
        self._index = SensorIndex(model)
        late = np.full(num_envs, shift.delay_steps)
        self._late = LateObservations(late, self._task.layout.size) if late.any() else None
        self._action_mean, self._action_std = action_mean.clone(), action_std.clone()
        self._radians = torch.as_tensor(RADIANS_PER_ACTION).float()
        self._previous = torch.zeros(num_envs, self.action_size)
        self._from_start = torch.ones(num_envs, dtype=torch.bool)
        self._from_hand_over = torch.zeros(num_envs, dtype=torch.bool)
        self._hand_over_states = hand_over_states
        self._return = torch.zeros(num_envs)
        self.reached_states = ReachedStates(model.nq + model.nv, self._generator)
        self.states_before_falls = StatesBeforeFalls(num_envs, model.nq + model.nv, self._generator)
        self._metrics = {"return": 0.0, "fallen": 0.0}
        if hand_over_states is not None:
            self._metrics["fallen_after_hand_over"] = 0.0

    def observe(self) -> Tensor:
        """Features `[N, F]` of the present state, or of an earlier one where observations come late."""
        shown = self._task.observation(self._measured()) if self._late is None else self._late.shown()
        observation = torch.from_numpy(shown)
        return self._spec.featurise(observation, self._task.layout)

    def reward(self) -> Tensor:
        """The task's reward of the present states `[N]`."""
        return torch.from_numpy(self._task.reward(self._measured())).float()

    def starts(self, count: int) -> Tensor:
        """States `[count, W]` in which the benchmark's episodes begin."""
        model = self._simulation.model
        standing = torch.from_numpy(np.concatenate([QPOS0, self._task.object_qpos0]))
        qpos = standing + RESET_NOISE * (2 * self._uniform(0, 1, count, model.nq).double() - 1)
        return torch.cat([qpos, torch.zeros(count, model.nv, dtype=torch.float64)], dim=-1)

    def begin_in(self, states: Tensor) -> Tensor:
        """Begin every episode in one of the states `[N, W]`; returns the features `[N, F]`."""
        everywhere = torch.ones(self.num_envs, dtype=torch.bool)
        self._begin_in(everywhere, states)
        return self.observe()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advance one control step of 20 ms with actions `[N, A]`; begin anew where an episode ended.

        Returns:
            features of the reached states `[N, F]` (before any new beginning), reward `[N]`, terminated and truncated
            `[N]`, both bool.
        """
        config = self.config
        target = (self._action_mean + self._action_std * action).clamp(-1, 1)
        change = torch.where((self._age == 0).unsqueeze(-1), 0.0, self._radians * (target - self._previous))
        self._previous = target
        self._simulation.step(action_to_ctrl(target.numpy()))
        self._age += 1
        measured = self._measured()
        task_reward = torch.from_numpy(self._task.reward(measured)).float()
        root = torch.from_numpy(measured.qpos[:, :7]).float()
        upright = frames.rotation_matrix(root[:, 3:7])[:, 2, 2]
        terminated = (root[:, 2] < config.lowest_root) | (upright < AT_WORK.least_upright)
        terminated = terminated | torch.from_numpy(self._task.terminated(measured) | self._simulation.unstable)
        truncated = self._truncated(terminated)
        shaped = task_reward if config.door is None else self._door_reward(measured)
        reward = shaped - config.fall_cost * terminated.float()
        reward = reward - config.action_rate * change.square().mean(dim=-1)
        self._return += task_reward
        states = torch.from_numpy(np.concatenate([measured.qpos, measured.qvel], axis=-1))
        self._keep(states, shaped, fit=~terminated & (upright > 0.9))
        self.states_before_falls.follow(states, terminated)
        push_at_random(self._simulation, self.config.push_std, self.config.push_interval, self._generator)
        if self._late is not None:
            self._late.see(self._task.observation(self._measured()))
        features = self.observe()
        self._report(terminated | truncated, terminated)
        self._begin(terminated | truncated)
        return features, reward, terminated, truncated

    def end_iteration(self, iteration: int, mean_length: float) -> dict[str, float]:
        """Return and falls, running means over episodes that began as the benchmark's do; falls after hand-overs."""
        return dict(self._metrics)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the fine-tuning goes on, as plain values and tensors."""
        return {
            "simulation": {name: torch.from_numpy(value) for name, value in self._simulation.snapshot().items()},
            "reached_states": (self.reached_states.states, self.reached_states.filled),
            "states_before_falls": self.states_before_falls.state_dict(),
            "episodes": (self._previous, self._age, self._from_start, self._from_hand_over, self._return),
            "generator": self._generator.get_state(),
            "metrics": dict(self._metrics),
            "late": None if self._late is None else torch.from_numpy(self._late.history.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._simulation.restore({name: value.numpy() for name, value in state["simulation"].items()})
        self.reached_states.states, self.reached_states.filled = (part.clone() for part in state["reached_states"])
        self.states_before_falls.load_state_dict(state["states_before_falls"])
        episodes = (part.clone() for part in state["episodes"])
        self._previous, self._age, self._from_start, self._from_hand_over, self._return = episodes
        self._generator.set_state(state["generator"])
        self._metrics = dict(state["metrics"])
        if self._late is not None:
            self._late.history[:] = state["late"].numpy()

    def _measured(self) -> Measurement:
        physics, count = self._simulation, self.num_envs
        nowhere, beginning = np.zeros((count, 0)), np.zeros(count, dtype=np.int64)
        return Measurement(physics.qpos, physics.qvel, physics.sensordata, nowhere, beginning, self._index)

    def _door_reward(self, measured: Measurement) -> Tensor:
        """The teachers' reward `[N]`, less the charges that only concern them."""
        assert self.config.door is not None
        qpos, qvel = torch.from_numpy(measured.qpos).float(), torch.from_numpy(measured.qvel).float()
        free, on_its_feet = torch.zeros(self.num_envs, 1), torch.zeros(self.num_envs, dtype=torch.bool)
        states = door_states(self._geometry.measure(qpos), qpos, qvel, on_its_feet, free, free)
        return DOOR_UNIT * door_reward(states, self.config.door)

    def _keep(self, states: Tensor, shaped: Tensor, fit: Tensor) -> None:
        """Put a few of the present states `[N, W]` aside, where they are `fit` `[N]`."""
        chosen = torch.nonzero(fit & (self._uniform(0, 1, self.num_envs) < KEPT_SHARE)).squeeze(-1)
        if len(chosen):
            self.reached_states.add(states[chosen], shaped[chosen])

    def _begin(self, mask: Tensor) -> None:
        """Start new episodes where `mask` `[N]` holds."""
        if not mask.any():
            return
        config, states = self.config, self.starts(self.num_envs)
        drawn = self._uniform(0, 1, self.num_envs)
        first, from_hand_over = torch.ones_like(mask), torch.zeros_like(mask)
        reached = self.reached_states.draw(self.num_envs)
        if reached is not None:
            first = drawn < config.start_share
            states = torch.where(first.unsqueeze(-1), states, reached)
        fallen = self.states_before_falls.draw(self.num_envs) if config.fall_share else None
        if fallen is not None:
            chosen = drawn >= 1 - config.fall_share
            first, states = first & ~chosen, torch.where(chosen.unsqueeze(-1), fallen, states)
        if self._hand_over_states is not None:
            rest = 1 - config.fall_share
            from_hand_over = (drawn >= rest - config.hand_over_share) & (drawn < rest)
            drawn_from = torch.randint(len(self._hand_over_states), (self.num_envs,), generator=self._generator)
            first = first & ~from_hand_over
            states = torch.where(from_hand_over.unsqueeze(-1), self._hand_over_states[drawn_from], states)
        self._begin_in(mask, states)
        self._from_start = torch.where(mask, first, self._from_start)
        self._from_hand_over = torch.where(mask, from_hand_over, self._from_hand_over)

    def _begin_in(self, mask: Tensor, states: Tensor) -> None:
        qpos, qvel = states.split([self._simulation.model.nq, self._simulation.model.nv], dim=-1)
        self._simulation.reset(mask.numpy(), qpos.numpy(), qvel.numpy())
        if self._late is not None:
            self._late.begin(mask.numpy(), self._task.observation(self._measured()))
        self.states_before_falls.begin(mask, states)
        self._age = torch.where(mask, 0, self._age)
        self._from_start, self._from_hand_over = self._from_start & ~mask, self._from_hand_over & ~mask
        self._return = torch.where(mask, 0.0, self._return)

    def _report(self, ended: Tensor, fallen: Tensor) -> None:
        from_start, from_hand_over = ended & self._from_start, ended & self._from_hand_over
        for name, values in (
            ("return", self._return[from_start]),
            ("fallen", fallen[from_start]),
            ("fallen_after_hand_over", fallen[from_hand_over]),
        ):
            for value in values.tolist():
                self._metrics[name] += 0.02 * (value - self._metrics[name])
