"""Experience: a batched environment behind a TorchRL collector, the replay buffer, and where both stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from tensordict import TensorDictBase
from torch.utils.data import DataLoader, IterableDataset
from torchrl.collectors import Collector
from torchrl.envs import EnvBase

from mwl.core import keys
from mwl.core.changed_settings import refuse_changed
from mwl.core.checkpoints import load_checkpoint, save_checkpoint
from mwl.core.errors import BadInput, CorruptFile, MissingFile, NonFiniteLoss, PhysicsError
from mwl.core.ranges import Count, Seed
from mwl.experts.library import ExpertLibrary
from mwl.robot.h1 import RADIANS_PER_ACTION
from mwl.simulation import get_task, make_env
from mwl.skills import Bridge, SkillEnv, SkillSpace
from mwl.world_model.behaviour import Behaviour
from mwl.world_model.learning.replay import Replay

_BRIDGE_STEPS = 50  # control steps, 1 s
_FINITE = {
    "action": keys.ACTION,
    "observation": keys.OBSERVATION,
    "reward": (keys.NEXT, keys.REWARD),
    "observation that followed": (keys.NEXT, keys.OBSERVATION),
}


@dataclass(frozen=True)
class EnvSpec:
    """What the world model must know of its environment."""

    task: str
    observation_size: int
    action_size: int
    episode_steps: int
    layout: dict[str, int] | None
    """Names and sizes of the observation's parts, in order; None for a plain vector."""
    unit: tuple[float, ...]
    """Action per radian, by actuator."""
    position: bool = False
    """The scene is fixed, see `Observer`."""
    hold: int = 1
    """Control steps that one step of the world model takes."""
    skills: SkillSpace | None = None
    """What its actions say where they are decisions; None where they are those of joints."""


class Rounds(IterableDataset):
    """Numbers of the rounds that are left; an interrupted training goes on counting where it stopped."""

    def __init__(self, data: "WorldModelData") -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.total_rounds

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.data.rounds, self.data.total_rounds))


class WorldModelData(pl.LightningDataModule):
    """Collects one round of experience at a time.

    Args:
        task: benchmark task.
        env_steps: environment steps of the whole training, seed steps included, counted over all environments.
        num_envs: parallel environments N.
        steps_per_round: steps k of every environment in a round.
        capacity: transitions kept in the replay buffer.
        seed: of the environments.
        sidecar: folder for the replay buffer beside the checkpoints, for buffers of more than some 100 MB; None
            keeps it within the checkpoint.
        suite: see `mwl.make_env`.
        level: what an action is: targets of `joints` at every control step, or a decision between `skills`.
        skills: expert folders, at level `skills`.
        bridges: folder of the expert that acts for the first second of a change of skill, by `FROM TO`.
        hold: control steps for which a decision holds. Replay, horizon and planner count decisions; environment steps,
            here and in the learning settings, are control steps at either level.
        num_threads: threads of the physics; None takes one per core.
    """

    def __init__(
        self,
        task: str = "h1-walk",
        env_steps: Count = 20_000,
        num_envs: Count = 8,
        steps_per_round: Count = 1,
        capacity: Count = 1_000_000,
        seed: Seed = 0,
        sidecar: str | None = None,
        suite: Literal["embedded", "humanoid_bench"] = "embedded",
        level: Literal["joints", "skills"] = "joints",
        skills: list[str] | None = None,
        bridges: dict[str, str] | None = None,
        hold: Count = 10,
        num_threads: Count | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value in (("env_steps", env_steps), ("num_envs", num_envs), ("steps_per_round", steps_per_round)):
            if value < 1:
                raise BadInput(f"data.{name} is {value}; it must be at least 1")
        self.task, self.num_envs, self.steps_per_round = task, num_envs, steps_per_round
        if (level == "skills") != bool(skills):
            raise BadInput(
                f"data.level is {level}: data.skills must name expert folders at level skills, and only there"
            )
        self.level, self.skills, self.hold = level, skills, hold if level == "skills" else 1
        self.bridges = bridges or {}
        self.capacity, self.seed = min(capacity, -(-env_steps // self.hold)), seed
        self.suite, self.num_threads = suite, num_threads
        self.sidecar = None if sidecar is None else Path(sidecar)
        self.frames_per_round = num_envs * steps_per_round
        self.total_rounds = -(-env_steps // (self.frames_per_round * self.hold))
        self.rounds = 0
        self.env: EnvBase | None = None
        self.replay: Replay | None = None
        self.behaviour: Behaviour | None = None
        self._owner: Collector | None = None
        self._collector: Iterator[TensorDictBase] | None = None

    @property
    def env_steps(self) -> int:
        """Control steps collected so far, those included that a fall spared the rest of a decision."""
        return self.rounds * self.frames_per_round * self.hold

    @property
    def rounds_left(self) -> int:
        """Rounds not yet collected."""
        return self.total_rounds - self.rounds

    def make_env(self) -> tuple[EnvBase, EnvSpec]:
        """The environment and its description; to be replaced for an environment outside the suites."""
        task = get_task(self.task)
        env = make_env(self.task, self.num_envs, self.suite, self.seed, self.num_threads)
        spec = EnvSpec(
            task=task.name,
            observation_size=task.layout.size,
            action_size=env.action_spec.shape[-1],
            episode_steps=task.max_episode_steps,
            layout=dict(task.layout.sizes),
            unit=tuple(float(unit) for unit in 1 / RADIANS_PER_ACTION),
            position=task.fixed_scene,
        )
        if self.skills is None:
            return env, spec
        space = self._space(self.skills)
        decided = SkillEnv(env, space, self.hold)
        units = (1.0,) * space.size
        steps = decided.max_decisions
        return decided, replace(
            spec, action_size=space.size, episode_steps=steps, unit=units, hold=self.hold, skills=space
        )

    def _space(self, skills: list[str]) -> SkillSpace:
        """Skills and what acts between them.

        Raises:
            BadInput: a bridge that does not name two of the skills.
        """
        between = list(dict.fromkeys(self.bridges.values()))
        library = ExpertLibrary.load([*skills, *between])
        names = dict(zip(between, library.names[len(library.names) - len(between) :], strict=True))
        bridges = {}
        for change, folder in self.bridges.items():
            pair = tuple(change.split())
            if len(pair) != 2:
                raise BadInput(
                    f"data.bridges: {change!r} is no change of skill; write two skills, such as `walk stand`"
                )
            bridges[pair[0], pair[1]] = Bridge(names[folder], _BRIDGE_STEPS)
        return SkillSpace(library, bridges=bridges)

    def setup(self, stage: str) -> None:
        """Make the environment."""
        if self.env is None:
            self.env, self.spec = self.make_env()

    def connect(self, behaviour: Behaviour, horizon: int, batch_size: int) -> Replay:
        """Say what acts, and how the replay buffer is sampled; returns that buffer.

        Raises:
            BadInput: it never holds as many steps of an episode as are drawn at once.
        """
        kept, longest = max(self.capacity // self.num_envs, 1), self.spec.episode_steps
        if min(kept, longest) < horizon:
            raise BadInput(
                f"learning.horizon is {horizon}, but of each of {self.num_envs} environments {kept} steps are kept "
                f"(data.capacity and data.env_steps over data.num_envs), and an episode has {longest}: nothing could "
                "be learned"
            )
        self.behaviour = behaviour
        self.replay = Replay(self.capacity, self.num_envs, horizon, batch_size)
        return self.replay

    def start(self) -> None:
        """Make the collector, whose reset begins the episodes or, after a resume, goes on with the restored ones."""
        assert self.behaviour is not None
        memory = self.behaviour.memory()
        with torch.random.fork_rng(devices=[]):  # the collector tries the policy once to learn what it writes
            collector = Collector(
                self.env,
                self.behaviour,
                frames_per_batch=self.frames_per_round,
                total_frames=-1,
                auto_register_policy_transforms=False,
            )
        self.behaviour.recall(memory)
        self._owner, self._collector = collector, iter(collector)

    def restart(self, draws: Sequence[int] | None = None) -> None:
        """Begin new episodes everywhere.

        Args:
            draws: the environment that each draws its starts like, where they can be told (`draw_like`), until
                `draw_apart`.
        """
        assert self._owner is not None, "start before restarting"
        draw_like = getattr(self.env, "draw_like", None)
        if draws is not None and draw_like is not None:
            draw_like(draws)
        self._owner.shutdown(close_env=False)  # else it closes the environment once it is forgotten
        self.start()

    def draw_apart(self) -> None:
        """Let environments that drew alike draw their starts independently from now on."""
        draw_apart = getattr(self.env, "draw_apart", None)
        if draw_apart is not None:
            draw_apart()

    def collect(self) -> TensorDictBase:
        """One round: transitions `[N, k]`, not yet in the replay buffer.

        Raises:
            PhysicsError: a reward or an observation is not finite.
            NonFiniteLoss: an action isn't, as the networks that chose it are broken.
        """
        assert self._collector is not None, "start before collecting"
        frames = next(self._collector)
        self._check(frames)
        self.rounds += 1
        return frames

    def _check(self, frames: TensorDictBase) -> None:
        """Refuse what would spoil the replay buffer, and with it every checkpoint from now on."""
        for what, key in _FINITE.items():
            finite = torch.isfinite(frames[key]).flatten(2).all(dim=-1)
            if not finite.all():
                environment, t = torch.nonzero(~finite)[0].tolist()
                step = int(frames[keys.STEP_COUNT][environment, t])
                error = NonFiniteLoss if key == keys.ACTION else PhysicsError
                raise error(
                    f"{self.spec.task}: the {what} of environment {environment} is not finite at step {step} of its "
                    f"episode, after {self.env_steps} environment steps; nothing of it was kept: --resume goes on from "
                    "the last checkpoint"
                )

    def train_dataloader(self) -> DataLoader:
        """The rounds that are left."""
        return DataLoader(Rounds(self), batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        """Environment, replay buffer and behaviour, as plain values and tensors."""
        if self.behaviour is None or self.replay is None:
            return {}
        snapshot = getattr(self.env, "snapshot", None)
        return {
            "settings": self._settings(),
            "rounds": self.rounds,
            "replay": self.replay.state_dict() if self.sidecar is None else self._write_sidecar(self.sidecar),
            "behaviour": self.behaviour.memory(),
            "environment": None if snapshot is None else snapshot(),
        }

    def check_resumable(self, state_dict: Mapping[str, Any]) -> None:
        """Refuse to go on from a state of another training.

        Raises:
            BadInput: it was taken of other environments, or more steps are done than are asked for.
        """
        refuse_changed("data.", state_dict.get("settings", {}), self._settings())
        if state_dict["rounds"] > self.total_rounds:
            raise BadInput(
                f"--resume: data.env_steps is {self.total_rounds * self.frames_per_round}, but the checkpoint has "
                f"{state_dict['rounds'] * self.frames_per_round} behind it; ask for more, or fit without --resume"
            )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; environments that can't be restored begin new episodes."""
        if not state_dict:
            return
        self.check_resumable(state_dict)
        assert self.behaviour is not None
        assert self.replay is not None
        self.rounds = int(state_dict["rounds"])
        replay = state_dict["replay"]
        self.replay.load_state_dict(_read_sidecar(replay) if isinstance(replay, str) else replay)
        self.behaviour.recall(state_dict["behaviour"])
        if state_dict["environment"] is not None:
            self.env.restore(state_dict["environment"])  # type: ignore[union-attr, operator]

    def _settings(self) -> dict[str, Any]:
        """What the environments and all that is counted in rounds depend on."""
        return {
            "task": self.task,
            "suite": self.suite,
            "num_envs": self.num_envs,
            "steps_per_round": self.steps_per_round,
            "seed": self.seed,
            "level": self.level,
            "skills": self.skills,
            "bridges": self.bridges,
            "hold": self.hold,
        }

    def _write_sidecar(self, folder: Path) -> str:
        """Write the replay buffer to a new file and return its path.

        The file before it stays until the next time: a checkpoint that names this one is not on disk yet.
        """
        assert self.replay is not None
        folder.mkdir(parents=True, exist_ok=True)
        older = sorted(folder.glob("replay-*.pt"))
        path = folder / f"replay-{self.rounds:09d}.pt"
        save_checkpoint(path, self.replay.state_dict())
        for file in [file for file in older if file != path][:-1]:
            file.unlink()
        return str(path)

    def teardown(self, stage: str) -> None:
        """Close the environment."""
        if stage == "fit" and self.env is not None:
            self._owner = self._collector = None
            self.env.close()


def _read_sidecar(path: str) -> dict[str, Any]:
    """The replay buffer's state in a file.

    Raises:
        MissingFile: it is gone.
        CorruptFile: it can't be read.
    """
    if not Path(path).is_file():
        raise MissingFile(f"{path}: the replay buffer of the checkpoint to resume from is gone; fit without --resume")
    try:
        state: dict[str, Any] = load_checkpoint(path)
    except CorruptFile as error:
        raise CorruptFile(f"{error}; fit without --resume") from error
    return state
