"""Monte-Carlo roll-outs: the return of every expert from the states that acting reaches, by putting it there to act.

A recording shows whose turn it was, and nothing of what another would have made of it. An expert that is about to fall
knows no better; one that goes on from there in time may.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional as F

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.ranges import Between0And1, Count
from mwl.experts.cloning.batches import BatchedSteps
from mwl.experts.guidance_state import GuidanceState
from mwl.experts.hand_over import HandOverStarts, hand_over_states
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import CONTROL_DT
from mwl.selection.context import gate_context
from mwl.selection.guidance import Guidance
from mwl.selection.network import LoadedGate
from mwl.simulation import HumanoidEnv, get_task, make_env
from mwl.simulation.embedded import RESET_NOISE
from mwl.simulation.task import Task

_LEVELS = 20  # of the return from a state, over which half of the roll-outs are spread evenly
_TAIL = round(0.5 / CONTROL_DT)  # steps whose mean reward is taken to go on


@dataclass(frozen=True)
class MonteCarloConfig(HandOverStarts):
    """Who acts, and from where every expert is rolled out."""

    task: str
    semantic_weights: dict[str, float]
    """What the instruction asks for: followed in the first round, together with the gate later."""
    alpha: float = 0.3
    margin: float = 0.1
    """How later rounds follow instruction and gate; see `mwl.selection.Guidance`."""
    rounds: int = 4
    every_epochs: int = 5
    """A round before every so many epochs."""
    episodes: int = 800
    """Of a round, side by side."""
    steps: int = 600
    """Steps of an episode that are acted."""
    states: int = 800
    """From which every expert is rolled out, in every round."""
    rollout_steps: int = 200
    horizon: int = 500
    """Steps over which a roll-out counts: the reward of its last half second is taken to go on."""
    stride: int = 8
    """Every so many steps a state is kept."""
    restart_share: float = 0.5
    """Share of a later round's episodes that begin close to those of the roll-outs in the round before: what goes
    wrong there, and what does not quite, is seen more often."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rounds, self.every_epochs, self.states, self.stride, self.rollout_steps, self.episodes - 1) < 1:
            raise BadInput(
                "data.rollouts: rounds, every_epochs, states, stride and rollout_steps are at least 1, "
                "episodes at least 2"
            )
        self.check_starts("data.rollouts", restart_share=self.restart_share)
        if self.rollout_steps > min(self.steps, self.horizon):
            raise BadInput(
                f"data.rollouts: rollout_steps is {self.rollout_steps}; it must be no more than steps ({self.steps}) "
                f"and horizon ({self.horizon})"
            )


class Visited(NamedTuple):
    """What acting reached; time-major, every `stride` steps but for reward and choice.

    `qpos [T, N, nq]`, `qvel [T, N, nv]`, `goal [T, N, G]`, `memory [T, N, M]`, `features [T, N, F]`; where an episode
    had not ended `alive [T, N]`; `reward` and expert followed `chosen [T * stride, N]`.
    """

    qpos: Tensor
    qvel: Tensor
    goal: Tensor
    memory: Tensor
    features: Tensor
    alive: Tensor
    reward: Tensor
    chosen: Tensor


class MonteCarlo:
    """Acts by instruction and gate, and rolls every expert out from a part of the states.

    The return of the expert that acts is seen wherever it goes on acting; the others are rolled out from some states,
    half of them drawn evenly over that return, so that rare failures are among them.

    Args:
        config: who acts, and from where every expert is rolled out.

    Attributes:
        rounds: how many were collected.
        env_steps: environment steps that they took.
        rollout_starts: qpos, qvel, goal and the experts' memory in the states of the last one where roll-outs began.
    """

    def __init__(self, config: MonteCarloConfig) -> None:
        self.config = config
        self.rounds = 0
        self.env_steps = 0
        self.rollout_starts: tuple[Tensor, ...] = ()
        self._hand_over_states: Tensor | None = None

    def due(self, epoch: int) -> bool:
        """Whether a round is to be collected before an epoch; true once for each, also after a resume."""
        return self.rounds < min(self.config.rounds, 1 + epoch // self.config.every_epochs)

    @torch.no_grad()
    def collect(self, library: ExpertLibrary, gate: LoadedGate | None) -> TensorDict:
        """One round.

        Args:
            library: K experts.
            gate: as it stands; None follows the instruction alone.

        Returns:
            steps `[T]`, ordered by episode: FEATURES, EPISODE, and by expert `[T, K]` its return from there,
            EXPERT_RETURN, mean reward per step, where that is EVALUATED.

        Raises:
            BadInput: the task goes through stages, which no roll-out could begin in the middle of.
        """
        config = self.config
        seed = config.seed + 1 + self.rounds
        env = make_env(config.task, num_envs=config.episodes, seed=seed)
        if get_task(config.task).advance is not Task.advance:
            raise BadInput(f"data.rollouts: {config.task} goes through stages; roll-outs need a task without")
        alpha = 1.0 if gate is None else config.alpha
        guidance = Guidance(library, gate, config.semantic_weights, alpha, "top1", env.task.layout, config.margin)
        generator = torch.Generator().manual_seed(seed)
        visited = self._act(env, guidance, generator)
        earned = self._acted_return(visited)
        rows = torch.nonzero(visited.alive[: len(earned)].T)
        episode, time = rows.T
        chosen, stayed = self._followed(visited)
        evaluated = F.one_hot(chosen[time, episode], library.num_experts).bool() & stayed[time, episode].unsqueeze(-1)
        returns = evaluated * earned[time, episode].unsqueeze(-1)
        drawn = self._drawn(earned[time, episode], generator)
        self.rollout_starts = tuple(part[time[drawn], episode[drawn]] for part in visited[:4])
        for row in drawn.split(env.num_envs):
            for expert in range(library.num_experts):
                left = row[~evaluated[row, expert]]
                if len(left):
                    reward = self._rollout(env, library, visited, time[left], episode[left], expert)
                    returns[left, expert], evaluated[left, expert] = self._estimate(reward), True
        steps = TensorDict(
            {
                keys.FEATURES: visited.features[time, episode],
                keys.EPISODE: episode + self.rounds * config.episodes,
                keys.EXPERT_RETURN: returns,
                keys.EVALUATED: evaluated,
            },
            batch_size=[len(rows)],
        )
        self.rounds += 1
        return steps[evaluated.any(dim=-1)]

    def _begin(
        self, env: HumanoidEnv, guidance: Guidance, generator: torch.Generator
    ) -> tuple[TensorDict, GuidanceState]:
        """Begin episodes as the benchmark does, some where another expert leaves the robot; in later rounds also close
        to where roll-outs began before."""
        step = env.reset()
        state = guidance.begin(env.num_envs)
        again = round(self.config.restart_share * env.num_envs) if self.rollout_starts else 0
        handed_over = round(self.config.hand_over_share * env.num_envs)
        if again + handed_over == 0:
            return step, state
        (all_qpos, all_qvel), all_goal = env.state, torch.from_numpy(env.measurement.goal.copy())
        if again:
            rows = torch.randint(len(self.rollout_starts[0]), (again,), generator=generator)
            qpos, qvel, goal, memory = (part[rows] for part in self.rollout_starts)
            noise = RESET_NOISE * (2 * torch.rand(qpos.shape, generator=generator, dtype=torch.float64) - 1)
            all_qpos[:again], all_qvel[:again], all_goal[:again] = qpos + noise, qvel, goal
            state.memory[:again] = memory
        if handed_over:
            left = self._left()
            rows = torch.randint(len(left), (handed_over,), generator=generator)
            there = slice(again, again + handed_over)
            all_qpos[there], all_qvel[there] = left[rows].split([all_qpos.shape[-1], all_qvel.shape[-1]], dim=-1)
        return env.set_state(all_qpos, all_qvel, goal=all_goal), state

    def _left(self) -> Tensor:
        """States `[S, W]` in which the experts of `hand_over_from` leave the robot."""
        if self._hand_over_states is None:
            assert self.config.hand_over_from is not None
            self._hand_over_states, _, steps = hand_over_states(
                self.config.hand_over_from, self.config.task, self.config.seed
            )
            if self.rounds == 0:  # one that is resumed has counted them
                self.env_steps += steps
        return self._hand_over_states

    def _act(self, env: HumanoidEnv, guidance: Guidance, generator: torch.Generator) -> Visited:
        config = self.config
        alive = torch.ones(env.num_envs, dtype=torch.bool)
        states, reward, chosen = [], [], []
        step, state = self._begin(env, guidance, generator)
        for t in range(config.steps):
            observation = step[keys.OBSERVATION]
            if t % config.stride == 0:
                goal, seen = torch.from_numpy(env.measurement.goal.copy()), gate_context(observation, env.task.layout)
                states.append((*env.state, goal, state.memory.clone(), seen, alive))
            guide, state = guidance.step(observation, state)
            action = guide[keys.REFERENCE_ACTION].clamp(-1, 1)
            after = env.step(step.set(keys.ACTION, action))[keys.NEXT]
            alive = alive & ~after[keys.TERMINATED].squeeze(-1)
            reward.append(after[keys.REWARD].squeeze(-1) * alive)
            chosen.append(guide[keys.FUSED_WEIGHTS].argmax(dim=-1))
            step = after.exclude(keys.REWARD)
        self.env_steps += config.steps * env.num_envs
        return Visited(*(torch.stack(part) for part in (*zip(*states, strict=True), reward, chosen)))  # type: ignore[arg-type]

    @property
    def _times(self) -> range:
        """Steps from which a whole roll-out's length was seen."""
        return range(0, self.config.steps - self.config.rollout_steps + 1, self.config.stride)

    def _acted_return(self, visited: Visited) -> Tensor:
        """Return of acting on, estimated as that of a roll-out, `[T, N]`."""
        length = self.config.rollout_steps
        return torch.stack([self._estimate(visited.reward[t : t + length]) for t in self._times])

    def _followed(self, visited: Visited) -> tuple[Tensor, Tensor]:
        """The expert that was followed, and whether it was for a roll-out's length, `[T, N]` each."""
        length, chosen = self.config.rollout_steps, visited.chosen
        stayed = torch.stack([(chosen[t : t + length] == chosen[t]).all(dim=0) for t in self._times])
        return chosen[list(self._times)], stayed

    def _drawn(self, earned: Tensor, generator: torch.Generator) -> Tensor:
        """Rows to roll out from, of states with returns `[R]`: half drawn from all alike, half evenly over these."""
        level = (earned * _LEVELS).long().clamp(0, _LEVELS - 1)
        count = torch.bincount(level, minlength=_LEVELS)
        weight = 1 / len(earned) + 1 / (count[level] * (count > 0).sum())
        return torch.multinomial(weight, min(self.config.states, len(earned)), generator=generator)

    def _estimate(self, reward: Tensor) -> Tensor:
        """Mean reward per step `[M]` over the horizon, of rewards `[rollout_steps, M]`, zero after a fall."""
        rest = self.config.horizon - len(reward)
        return (reward.sum(dim=0) + rest * reward[-_TAIL:].mean(dim=0)) / self.config.horizon

    def _rollout(
        self, env: HumanoidEnv, library: ExpertLibrary, visited: Visited, time: Tensor, episode: Tensor, expert: int
    ) -> Tensor:
        """Rewards `[rollout_steps, M]` of one expert that acts from states at `[M]` times of `[M]` episodes."""
        count = len(time)
        fill = torch.arange(env.num_envs) % count  # the environments that are left over repeat some
        t, e = time[fill], episode[fill]
        step = env.set_state(visited.qpos[t, e], visited.qvel[t, e], goal=visited.goal[t, e])
        memory, alive = visited.memory[t, e], torch.ones(env.num_envs, dtype=torch.bool)
        rewards = []
        for _ in range(self.config.rollout_steps):
            action, memory = library.step(step[keys.OBSERVATION], env.task.layout, memory=memory)
            after = env.step(step.set(keys.ACTION, action[:, expert].clamp(-1, 1)))[keys.NEXT]
            alive = alive & ~after[keys.TERMINATED].squeeze(-1)
            rewards.append((after[keys.REWARD].squeeze(-1) * alive)[:count])
            step = after.exclude(keys.REWARD)
        self.env_steps += self.config.rollout_steps * count
        return torch.stack(rewards)


class MonteCarloData(BatchedSteps):
    """Hands out batches of contexts with every expert's return from there; new ones come in while the gate learns.

    Args:
        rollouts: who acts, and from where every expert is rolled out.
        batch_size: states per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of every round's episodes, the last ones, kept for validation.
    """

    def __init__(
        self,
        rollouts: MonteCarloConfig,
        batch_size: Count = 256,
        batches_per_epoch: Count = 400,
        validation_share: Between0And1 = 0.1,
    ) -> None:
        super().__init__(batch_size, batches_per_epoch)
        self.rollouts, self.validation_share = MonteCarlo(rollouts), validation_share

    def prepare(self, library: ExpertLibrary, gate: LoadedGate | None = None, epoch: int = 0) -> bool:
        """Collect a round if one is due before an epoch; says whether it was."""
        if not self.rollouts.due(epoch):
            return False
        fresh = self.rollouts.collect(library, gate)
        episodes = self.rollouts.config.episodes
        held_out = fresh[keys.EPISODE] % episodes >= episodes - max(1, round(self.validation_share * episodes))
        for name, part in (("train", fresh[~held_out]), ("validation", fresh[held_out])):
            before = getattr(self, name)
            setattr(self, name, part if before is None else torch.cat([before, part]))
        self.renew()
        return True

    @property
    def provenance(self) -> dict[str, Any]:
        """What it cost."""
        return {"task": self.rollouts.config.task, "rounds": self.rollouts.rounds, "env_steps": self.rollouts.env_steps}

    def state_dict(self) -> dict[str, Any]:
        """What was collected, as plain values and tensors."""
        parts = {"train": self.train, "validation": self.validation}
        steps = {
            name: {str(key): value.clone() for key, value in part.items()}
            for name, part in parts.items()
            if part is not None
        }
        rollouts = self.rollouts
        counts = {"rounds": rollouts.rounds, "env_steps": rollouts.env_steps}
        return {**counts, "rollout_starts": list(rollouts.rollout_starts), "steps": steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self.rollouts.rounds, self.rollouts.env_steps = int(state_dict["rounds"]), int(state_dict["env_steps"])
        self.rollouts.rollout_starts = tuple(state_dict["rollout_starts"])
        for name, part in state_dict["steps"].items():
            setattr(self, name, TensorDict(part, batch_size=[len(part[keys.FEATURES])]))
