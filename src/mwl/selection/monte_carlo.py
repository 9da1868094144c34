"""What every expert would earn from the states that acting reaches: each is put there and left to act.

A recording shows whose turn it was, and nothing of what another would have made of it. An expert that is about to fall
knows no better; one that takes over in time may.
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
from mwl.experts.library import ExpertLibrary
from mwl.experts.takeover import check_starts, left_behind
from mwl.robot.h1 import CONTROL_DT
from mwl.selection.context import situation
from mwl.selection.guidance import Guidance
from mwl.selection.network import LoadedGate
from mwl.simulation import HumanoidEnv, get_task, make_env
from mwl.simulation.embedded import RESET_NOISE
from mwl.simulation.task import Task

_LEVELS = 20  # of what a state is worth, over which half of the trials are spread evenly
_TAIL = round(0.5 / CONTROL_DT)  # steps whose mean pay is taken to go on


@dataclass(frozen=True)
class TrialsConfig:
    """Who acts, and what is tried."""

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
    """From which every expert is tried, in every round."""
    trial_steps: int = 200
    horizon: int = 500
    """Steps over which a trial is judged: what its last half second paid is taken to go on."""
    stride: int = 8
    """Every so many steps a state is kept."""
    restart_share: float = 0.5
    """Share of a later round's episodes that begin close to states from which was tried in the round before: what goes
    wrong there, and what does not quite, is seen more often."""
    predecessors: list[str] | None = None
    """Folders of experts from which those of the task take over."""
    takeover_share: float = 0.0
    """Share of the episodes, of the first round too, that begin where one of them leaves the robot."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rounds, self.every_epochs, self.states, self.stride, self.trial_steps, self.episodes - 1) < 1:
            raise BadInput(
                "data.trials: rounds, every_epochs, states, stride and trial_steps are at least 1, episodes at least 2"
            )
        shares = {"restart_share": self.restart_share, "takeover_share": self.takeover_share}
        check_starts("data.trials", self.predecessors, **shares)
        if self.trial_steps > min(self.steps, self.horizon):
            raise BadInput(
                f"data.trials: trial_steps is {self.trial_steps}; it must be no more than steps ({self.steps}) and "
                f"horizon ({self.horizon})"
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


class Trials:
    """Acts by instruction and gate, and tries every expert from a part of the states.

    What the expert in charge earns is seen wherever it stays in charge; the others are tried from some states, half of
    them drawn evenly over what these were worth, so that rare failures are among them.

    Args:
        config: who acts, and what is tried.

    Attributes:
        rounds: how many were collected.
        env_steps: environment steps that they took.
        tried_from: qpos, qvel, goal and the experts' memory of the states of the last one from which was tried.
    """

    def __init__(self, config: TrialsConfig) -> None:
        self.config = config
        self.rounds = 0
        self.env_steps = 0
        self.tried_from: tuple[Tensor, ...] = ()
        self._left_behind: Tensor | None = None

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
            steps `[T]`, ordered by episode: FEATURES, EPISODE, and by expert `[T, K]` what it earns from there, WORTH,
            mean reward per step, where that is TRIED.

        Raises:
            BadInput: the task goes through stages, which no trial could begin in the middle of.
        """
        config = self.config
        seed = config.seed + 1 + self.rounds
        env = make_env(config.task, num_envs=config.episodes, seed=seed)
        if get_task(config.task).advance is not Task.advance:
            raise BadInput(f"data.trials: {config.task} goes through stages; trials need a task without")
        alpha = 1.0 if gate is None else config.alpha
        guidance = Guidance(library, gate, config.semantic_weights, alpha, "top1", env.task.layout, config.margin)
        generator = torch.Generator().manual_seed(seed)
        visited = self._act(env, guidance, generator)
        earned = self._earned(visited)
        rows = torch.nonzero(visited.alive[: len(earned)].T)
        episode, time = rows.T
        chosen, stayed = self._in_charge(visited)
        tried = F.one_hot(chosen[time, episode], library.num_experts).bool() & stayed[time, episode].unsqueeze(-1)
        worth = tried * earned[time, episode].unsqueeze(-1)
        drawn = self._drawn(earned[time, episode], generator)
        self.tried_from = tuple(part[time[drawn], episode[drawn]] for part in visited[:4])
        for row in drawn.split(env.num_envs):
            for expert in range(library.num_experts):
                left = row[~tried[row, expert]]
                if len(left):
                    reward = self._trial(env, library, visited, time[left], episode[left], expert)
                    worth[left, expert], tried[left, expert] = self._judged(reward), True
        steps = TensorDict(
            {
                keys.FEATURES: visited.features[time, episode],
                keys.EPISODE: episode + self.rounds * config.episodes,
                keys.WORTH: worth,
                keys.TRIED: tried,
            },
            batch_size=[len(rows)],
        )
        self.rounds += 1
        return steps[tried.any(dim=-1)]

    def _begin(self, env: HumanoidEnv, guidance: Guidance, generator: torch.Generator) -> TensorDict:
        """Begin episodes as the benchmark does, some where another expert leaves the robot; in later rounds also close
        to states from which was tried before."""
        step = env.reset()
        guidance.memory = guidance.library.initial_memory(env.num_envs)
        again = round(self.config.restart_share * env.num_envs) if self.tried_from else 0
        taken_over = round(self.config.takeover_share * env.num_envs)
        if again + taken_over == 0:
            return step
        (all_qpos, all_qvel), all_goal = env.state, torch.from_numpy(env.measurement.goal.copy())
        if again:
            rows = torch.randint(len(self.tried_from[0]), (again,), generator=generator)
            qpos, qvel, goal, memory = (part[rows] for part in self.tried_from)
            noise = RESET_NOISE * (2 * torch.rand(qpos.shape, generator=generator, dtype=torch.float64) - 1)
            all_qpos[:again], all_qvel[:again], all_goal[:again] = qpos + noise, qvel, goal
            guidance.memory[:again] = memory
        if taken_over:
            left = self._left()
            rows = torch.randint(len(left), (taken_over,), generator=generator)
            there = slice(again, again + taken_over)
            all_qpos[there], all_qvel[there] = left[rows].split([all_qpos.shape[-1], all_qvel.shape[-1]], dim=-1)
        return env.set_state(all_qpos, all_qvel, goal=all_goal)

    def _left(self) -> Tensor:
        """States `[S, W]` in which the predecessors leave the robot."""
        if self._left_behind is None:
            assert self.config.predecessors is not None
            self._left_behind, _, steps = left_behind(self.config.predecessors, self.config.task, self.config.seed)
            if self.rounds == 0:  # one that is resumed has counted them
                self.env_steps += steps
        return self._left_behind

    def _act(self, env: HumanoidEnv, guidance: Guidance, generator: torch.Generator) -> Visited:
        config = self.config
        alive = torch.ones(env.num_envs, dtype=torch.bool)
        states, reward, chosen = [], [], []
        step = self._begin(env, guidance, generator)
        for t in range(config.steps):
            observation = step[keys.OBSERVATION]
            if t % config.stride == 0:
                assert guidance.memory is not None
                memory, goal = guidance.memory, torch.from_numpy(env.measurement.goal.copy())
                seen = situation(observation, env.task.layout)
                states.append((*env.state, goal, memory.clone(), seen, alive))
            advice = guidance.reference(observation)
            action = advice[keys.REFERENCE_ACTION].clamp(-1, 1)
            after = env.step(step.set(keys.ACTION, action))[keys.NEXT]
            alive = alive & ~after[keys.TERMINATED].squeeze(-1)
            reward.append(after[keys.REWARD].squeeze(-1) * alive)
            chosen.append(advice[keys.FUSED_WEIGHTS].argmax(dim=-1))
            step = after.exclude(keys.REWARD)
        self.env_steps += config.steps * env.num_envs
        return Visited(*(torch.stack(part) for part in (*zip(*states, strict=True), reward, chosen)))  # type: ignore[arg-type]

    @property
    def _times(self) -> range:
        """Steps from which a whole trial's length was seen."""
        return range(0, self.config.steps - self.config.trial_steps + 1, self.config.stride)

    def _earned(self, visited: Visited) -> Tensor:
        """What acting went on to earn, judged as a trial is, `[T, N]`."""
        length = self.config.trial_steps
        return torch.stack([self._judged(visited.reward[t : t + length]) for t in self._times])

    def _in_charge(self, visited: Visited) -> tuple[Tensor, Tensor]:
        """The expert that was followed, and whether it was for a trial's length, `[T, N]` each."""
        length, chosen = self.config.trial_steps, visited.chosen
        stayed = torch.stack([(chosen[t : t + length] == chosen[t]).all(dim=0) for t in self._times])
        return chosen[list(self._times)], stayed

    def _drawn(self, earned: Tensor, generator: torch.Generator) -> Tensor:
        """Rows to try from, of states that earned `[R]`: half drawn from all alike, half evenly over the earnings."""
        level = (earned * _LEVELS).long().clamp(0, _LEVELS - 1)
        count = torch.bincount(level, minlength=_LEVELS)
        weight = 1 / len(earned) + 1 / (count[level] * (count > 0).sum())
        return torch.multinomial(weight, min(self.config.states, len(earned)), generator=generator)

    def _judged(self, reward: Tensor) -> Tensor:
        """Mean reward per step `[M]` over the horizon, of rewards `[trial_steps, M]`, zero after a fall."""
        rest = self.config.horizon - len(reward)
        return (reward.sum(dim=0) + rest * reward[-_TAIL:].mean(dim=0)) / self.config.horizon

    def _trial(
        self, env: HumanoidEnv, library: ExpertLibrary, visited: Visited, time: Tensor, episode: Tensor, expert: int
    ) -> Tensor:
        """Rewards `[trial_steps, M]` of one expert that acts from states at `[M]` times of `[M]` episodes."""
        count = len(time)
        fill = torch.arange(env.num_envs) % count  # the environments that are left over repeat some
        t, e = time[fill], episode[fill]
        step = env.set_state(visited.qpos[t, e], visited.qvel[t, e], goal=visited.goal[t, e])
        memory, alive = visited.memory[t, e], torch.ones(env.num_envs, dtype=torch.bool)
        rewards = []
        for _ in range(self.config.trial_steps):
            action, memory = library.step(step[keys.OBSERVATION], env.task.layout, memory=memory)
            after = env.step(step.set(keys.ACTION, action[:, expert].clamp(-1, 1)))[keys.NEXT]
            alive = alive & ~after[keys.TERMINATED].squeeze(-1)
            rewards.append((after[keys.REWARD].squeeze(-1) * alive)[:count])
            step = after.exclude(keys.REWARD)
        self.env_steps += self.config.trial_steps * count
        return torch.stack(rewards)


class TrialData(BatchedSteps):
    """Hands out batches of situations with what every expert earns from there; new ones come in while the gate learns.

    Args:
        trials: who acts, and what is tried.
        batch_size: states per batch.
        batches_per_epoch: an epoch is this many random batches.
        validation_share: share of every round's episodes, the last ones, kept for validation.
    """

    def __init__(
        self,
        trials: TrialsConfig,
        batch_size: Count = 256,
        batches_per_epoch: Count = 400,
        validation_share: Between0And1 = 0.1,
    ) -> None:
        super().__init__(batch_size, batches_per_epoch)
        if not 0 < validation_share < 1:
            raise BadInput(f"data.validation_share is {validation_share}; it must lie in (0, 1)")
        self.trials, self.validation_share = Trials(trials), validation_share

    def prepare(self, library: ExpertLibrary, gate: LoadedGate | None = None, epoch: int = 0) -> bool:
        """Collect a round if one is due before an epoch; says whether it was."""
        if not self.trials.due(epoch):
            return False
        fresh = self.trials.collect(library, gate)
        episodes = self.trials.config.episodes
        held_out = fresh[keys.EPISODE] % episodes >= episodes - max(1, round(self.validation_share * episodes))
        for name, part in (("train", fresh[~held_out]), ("validation", fresh[held_out])):
            before = getattr(self, name)
            setattr(self, name, part if before is None else torch.cat([before, part]))
        self.renew()
        return True

    @property
    def provenance(self) -> dict[str, Any]:
        """What it cost."""
        return {"task": self.trials.config.task, "rounds": self.trials.rounds, "env_steps": self.trials.env_steps}

    def state_dict(self) -> dict[str, Any]:
        """What was collected, as plain values and tensors."""
        parts = {"train": self.train, "validation": self.validation}
        steps = {
            name: {str(key): value.clone() for key, value in part.items()}
            for name, part in parts.items()
            if part is not None
        }
        trials = self.trials
        counts = {"rounds": trials.rounds, "env_steps": trials.env_steps}
        return {**counts, "tried_from": list(trials.tried_from), "steps": steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self.trials.rounds, self.trials.env_steps = int(state_dict["rounds"]), int(state_dict["env_steps"])
        self.trials.tried_from = tuple(state_dict["tried_from"])
        for name, part in state_dict["steps"].items():
            setattr(self, name, TensorDict(part, batch_size=[len(part[keys.FEATURES])]))
