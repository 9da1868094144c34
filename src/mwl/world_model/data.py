"""The world model's experience: what acts, and the replay buffer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from torchrl.envs import EnvBase

from mwl.core.errors import BadInput
from mwl.core.ranges import Count, Seed
from mwl.experts.library import ExpertLibrary
from mwl.rollouts.experience import EnvSpec, Experience
from mwl.skills import Bridge, SkillEnv, SkillSpace
from mwl.world_model.behaviour import Behaviour
from mwl.world_model.learning.replay import Replay

_BRIDGE_STEPS = 50  # control steps, 1 s


@dataclass(frozen=True)
class DecisionSpec(EnvSpec):
    """Of an environment whose steps may be decisions."""

    hold: int = 1
    """Control steps that one step of the world model takes."""
    skills: SkillSpace | None = None
    """What its actions say where they are decisions; None where they are those of joints."""

    @property
    def shown(self) -> dict[str, Any]:
        """Size and layout of the observation that the task shows, without what who decides remembers."""
        if self.skills is None or self.layout is None:
            return {"size": self.observation_size, "layout": self.layout}
        layout = self.skills.shown(self.layout)
        return {"size": sum(layout.values()), "layout": layout}


class WorldModelData(Experience):
    """Collects one round of experience at a time.

    Args:
        task: benchmark task, or an environment of another package, see `mwl.rollouts.external`.
        env_steps: environment steps of the whole training, seed steps included, counted over all environments.
        num_envs: parallel environments N.
        steps_per_round: steps k of every environment in a round.
        capacity: transitions kept in the replay buffer.
        seed: of the environments.
        suite: see `mwl.make_env`.
        level: what an action is: targets of `joints` at every control step, or a decision between `skills`.
        skills: expert folders, at level `skills`.
        bridges: folder of the expert that acts for the first second of a change of skill, by `FROM TO`.
        steered: the walker (`SkillSpace.walker`) is told a velocity in the world, to which it turns, instead of rates.
        hold: control steps for which a decision holds. Replay, horizon and planner count decisions; environment steps,
            here and in the learning settings, are control steps at either level.
        num_threads: threads of the physics; None takes one per core.
    """

    spec: DecisionSpec
    sidecar: ClassVar[None] = None  # a folder for replay buffers; files that name it still load

    def __init__(
        self,
        task: str = "h1-walk",
        env_steps: Count = 20_000,
        num_envs: Count = 8,
        steps_per_round: Count = 1,
        capacity: Count = 1_000_000,
        seed: Seed = 0,
        suite: Literal["embedded", "humanoid_bench"] = "embedded",
        level: Literal["joints", "skills"] = "joints",
        skills: list[str] | None = None,
        bridges: dict[str, str] | None = None,
        steered: bool = False,
        hold: Count = 10,
        num_threads: Count | None = None,
    ) -> None:
        if (level == "skills") != bool(skills):
            raise BadInput(
                f"data.level is {level}: data.skills must name expert folders at level skills, and only there"
            )
        self.hold = hold if level == "skills" else 1
        super().__init__(task, env_steps, num_envs, steps_per_round, seed, suite, num_threads)
        self.save_hyperparameters()
        self.level, self.skills, self.bridges, self.steered = level, skills, bridges or {}, steered
        self.capacity = min(capacity, -(-env_steps // self.hold))
        self.replay: Replay | None = None
        self.behaviour: Behaviour | None = None

    def make_env(self) -> tuple[EnvBase, DecisionSpec]:
        """The environment and its description; to be replaced for an environment outside the suites."""
        env, of_joints = super().make_env()
        told = asdict(of_joints)
        if self.skills is None:
            return env, DecisionSpec(**told)
        if of_joints.robot is None:
            raise BadInput(f"data.skills are the robot's; in {self.task} the level is joints")
        space = self._space(self.skills)
        decided = SkillEnv(env, space, self.hold)
        told |= {"action_size": space.size, "episode_steps": decided.max_decisions, "unit": (1.0,) * space.size}
        told |= {"observation_size": decided.layout.size, "layout": dict(decided.layout.sizes)}
        return decided, DecisionSpec(**told, hold=self.hold, skills=space)

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
        return SkillSpace(library, bridges=bridges, steered=self.steered)

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
        self.behaviour = self.policy = behaviour
        self.replay = Replay(self.capacity, self.num_envs, horizon, batch_size)
        return self.replay

    def state_dict(self) -> dict[str, Any]:
        """Environment, replay buffer and behaviour, as plain values and tensors."""
        if self.replay is None:
            return {}
        return {**super().state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; environments that can't be restored begin new episodes."""
        if not state_dict:
            return
        self.check_resumable(state_dict)
        assert self.replay is not None
        self.replay.load_state_dict(state_dict["replay"])
        super().load_state_dict(state_dict)

    def settings(self) -> dict[str, Any]:
        """What the environments and all that is counted in rounds depend on."""
        level = {"level": self.level, "skills": self.skills, "bridges": self.bridges, "hold": self.hold}
        return {**super().settings(), **level, "steered": self.steered}
