"""Acting with the world model: observe, ask the experts, plan, act."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.core.artifact import checkpoint_of, read_checkpoint, read_manifest
from mwl.core.checkpoints import load_module
from mwl.core.errors import BadInput, CorruptFile, UnknownAgent
from mwl.core.files import shown
from mwl.core.plain import from_plain
from mwl.experts.guidance_state import GuidanceState, restarted
from mwl.robot.h1 import ROBOT
from mwl.rollouts.external import is_external
from mwl.selection import ExpertAgent, Guidance, retold
from mwl.selection.config import TUNED, load_tuned
from mwl.skills import Route, SkillAgent, SkillSpace
from mwl.teachers.acting.agent import STAGES as TEACHER_STAGES
from mwl.teachers.acting.agent import TaughtAgent
from mwl.teachers.acting.base import ActingTeacher
from mwl.teachers.acting.board import STAGE as BOARD_STAGE
from mwl.teachers.acting.board import BoardTeacher
from mwl.teachers.acting.seat import STAGE as SEAT_STAGE
from mwl.teachers.acting.seat import SeatTeacher
from mwl.training.constants import without_constants
from mwl.world_model.config import GuidanceConfig, PlannerConfig
from mwl.world_model.network import WorldModel
from mwl.world_model.observation import Observer
from mwl.world_model.planner import GuidanceSwitches, Imagined, MPPIPlan, MPPIPlanner, ReferenceActions, shifted

STAGE = "world_model"
_MOST_STEPS, _MOST_ITERATIONS, _WIDEST = 10**6, 10**4, 10**5  # far beyond what is fitted; a file may not ask for more
ACTING = ("mean", "best", "sample", "policy")  # of the plan's elites, or the policy prior without planning
PARTS = ("plan", "gate", "tuning", "residual")  # "tuning" is the action correction


class WorldModelAgent:
    """Plans at every step, or every so many, for N environments at once.

    Observations, experts, actions and what is remembered from step to step stay on the CPU, beside the simulation. The
    plan is made where the model is, which may be a GPU.

    Args:
        model: the world model.
        planner: the planner over it.
        observer: observation to features.
        guidance: experts and gate; None acts as TD-MPC2 does.
        trust_radius: the planner's first standard deviation.
        pick: what is executed, see `PlannerConfig.evaluation`.
        explore: add the plan's final standard deviation.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: MPPIPlanner,
        observer: Observer,
        guidance: Guidance | Route | None = None,
        trust_radius: float = 2.0,
        pick: str = "mean",
        explore: bool = False,
    ) -> None:
        self.model, self.planner, self.observer, self.guidance = model, planner, observer, guidance
        self.trust_radius, self.pick, self.explore = trust_radius, pick, explore
        self.plans = True
        self.state: GuidanceState | None = None
        self.last: TensorDict | None = None
        self._deviation: Tensor | None = None
        self._std: Tensor | None = None
        self._age = 0

    def __repr__(self) -> str:
        plans = f"plans by {self.pick}" if self.plans and self.pick != "policy" else "does not plan"
        return f"WorldModelAgent({plans}, guidance={self.guidance!r})"

    def act_by(self, way: str) -> None:
        """Choose actions another way than it was fitted to.

        Raises:
            BadInput: not one of `ACTING`.
        """
        if way not in ACTING:
            raise BadInput(f"{way!r} is no way of choosing actions; choose from {', '.join(ACTING)}")
        self.pick = way

    def leave_out(self, part: str) -> None:
        """Go on without one of `PARTS`, to see what it is worth.

        Without a plan the experts' reference is carried out, and without experts the policy prior.

        Raises:
            BadInput: it has no such part, or nothing could act without it.
        """
        if part not in PARTS:
            raise BadInput(f"{part!r} is no part of an agent; choose from {', '.join(PARTS)}")
        if part == "plan" and self.guidance is None:
            self.pick = "policy"
        elif part == "plan":
            self.plans = False
        elif isinstance(self.guidance, Guidance):
            self.guidance = self.guidance.without(part)
        else:
            raise BadInput(f"this agent has no {part} to leave out")

    def reset(self, done: Tensor | None = None) -> None:
        """Begin new episodes where `done` `[N]` holds; None: everywhere."""
        if done is None or self._deviation is None or len(done) != self._deviation.shape[1]:
            self._deviation, self._age = None, 0
        elif done.any():
            self._deviation = self._deviation.masked_fill(done[:, None], 0.0)
            self._age = 0
        if self.guidance is not None:
            self.state = restarted(self.state, done, self.guidance.begin)

    def set_weights(self, weights: Mapping[str, float] | Tensor | None) -> None:
        """Follow another instruction from the next step on, also in the middle of an episode.

        The last plan's deviation is kept: it is a correction to the reference, whichever expert that comes from.

        Args:
            weights: by expert name, `[K]`, or `[N, K]`; None follows the gate alone.

        Raises:
            BadInput: the agent has no experts, or see `Guidance.with_weights`.
        """
        if self.guidance is None:
            raise BadInput("this agent was trained without experts; it can't follow weights over them")
        if isinstance(self.guidance, Route):
            raise BadInput("this agent follows a route between its skills; it can't follow weights over them")
        self.guidance, self.state = retold(self.guidance, self.state, weights)

    def ask_experts(self, observation: Tensor) -> TensorDict:
        """Reference actions at observations `[N, O]`, one step on; nothing where it has no experts."""
        if self.guidance is None:
            self.last = TensorDict({}, batch_size=[len(observation)])
        else:
            self.last, self.state = self.guidance.step(observation, self.state)
        return self.last

    @torch.no_grad()
    def act(self, observation: Tensor, step: int | None = None) -> Tensor:
        """Action `[N, A]` in [-1, 1] at observations `[N, O]`; without batch dimension likewise."""
        if observation.ndim == 1:
            return self.act(observation.unsqueeze(0), step).squeeze(0)
        self.model.eval()
        guide, reference = self.ask_experts(observation), None
        if self.guidance is not None:
            reference = ReferenceActions(
                guide[keys.REFERENCE_ACTION], guide[keys.EXPERT_ACTION], guide[keys.FUSED_WEIGHTS]
            )
        if not self.plans:
            assert reference is not None
            guide[keys.ACTION] = reference.reference.clamp(-1, 1)
            return reference.reference.clamp(-1, 1)
        with self.model.autocast():
            act = self.by_policy if self.pick == "policy" else self._planned
            action = act(observation, reference)
        guide[keys.ACTION] = action
        return action

    @torch.no_grad()
    def imagine(self, observation: Tensor, steps: int) -> Imagined:
        """What the model expects from observations `[N, O]` on, by what the experts last said there."""
        assert self.last is not None
        guide = None
        if self.guidance is not None:
            said = (self.last[key] for key in (keys.REFERENCE_ACTION, keys.EXPERT_ACTION, keys.FUSED_WEIGHTS))
            guide = ReferenceActions(*said).to(self.model.device)
        with self.model.autocast():
            latents = [self._encoded(observation)]
            _, sequences = self.planner.expert_sequences(latents[0], guide)
            value = self.planner.value(latents[0], sequences, self.model.draw(), guide)
            action = self.last[keys.ACTION].to(self.model.device)
            for _ in range(steps):
                latents.append(self.model.next(latents[-1], action))
                base = self.planner.imagined_reference(latents[-1], guide)
                action = self.model.policy(latents[-1], base).mean
                action = action if base is None else self.planner.trusted(action, base, self.trust_radius)
        return Imagined(value.float().cpu(), torch.stack(latents).float().cpu())

    def by_policy(self, observation: Tensor, guide: ReferenceActions | None) -> Tensor:
        """Action `[N, A]` of the policy prior at observations `[N, O]`, within the trust region of what experts do."""
        base = guide.reference if guide is not None and self.planner.switches.policy_base else None
        sample = self.model.policy(self._encoded(observation), None if base is None else base.to(self.model.device))
        action = (sample.action if self.explore else sample.mean).to(observation.device)
        return action if base is None else self.planner.trusted(action, base, self.trust_radius)

    def plan(self, observation: Tensor, guide: ReferenceActions | None, deviation: Tensor) -> MPPIPlan:
        """Plan at observations `[N, O]`, beginning at the last plan's deviation `[H, N, A]` from what experts do."""
        latent, device = self._encoded(observation), self.model.device
        there = None if guide is None else guide.to(device)
        plan = self.planner.plan(latent, deviation.to(device), there, self.trust_radius, self.pick, self.explore)
        return plan.to(observation.device)

    def _encoded(self, observation: Tensor) -> Tensor:
        """Latents `[N, D]` on the model's device."""
        return self.model.encode(self.observer(observation).to(self.model.device))

    def _planned(self, observation: Tensor, guide: ReferenceActions | None) -> Tensor:
        deviation, fresh = self._deviation, self._deviation is None
        if deviation is None or deviation.shape[1] != len(observation):
            shape = (self.planner.horizon, len(observation), self.model.action_size)
            deviation, fresh = observation.new_zeros(shape), True
        if fresh or self._age % self.planner.config.interval == 0:
            plan = self.plan(observation, guide, deviation)
            action, deviation, self._std = plan.action, plan.mean - plan.base, plan.std
        else:
            base = guide.reference if guide is not None and self.planner.switches.base else 0.0
            action = base + deviation[0]
            if self.explore and self._std is not None:
                action = action + self._std[0] * torch.randn_like(action)
            action = action.clamp(-1, 1)
        assert self.last is not None
        assert self._std is not None
        self.last[keys.PLAN_STD] = self._std[0]
        self._deviation, self._age = shifted(deviation), self._age + 1
        return action

    def state_dict(self) -> dict[str, Any]:
        """What the agent remembers from one step to the next, as plain values and tensors."""
        state = None if self.state is None else self.state._asdict()
        return {"deviation": self._deviation, "std": self._std, "age": self._age, "experts": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._deviation, self._std, self._age = state["deviation"], state["std"], int(state["age"])
        if self._deviation is not None and len(self._deviation) != self.planner.horizon:
            self._deviation, self._std, self._age = None, None, 0  # a plan of another length: it is made anew
        self.state = None if state.get("experts") is None else GuidanceState(**state["experts"])


def switches_of(config: GuidanceConfig) -> GuidanceSwitches:
    """The planner's part of the guidance settings."""
    return GuidanceSwitches(
        candidates=config.planner_candidates,
        base=config.planner_base,
        policy_base=config.policy_base,
    )


def describe_agent(
    agent: WorldModelAgent,
    network: dict[str, Any],
    sizes: dict[str, int] | None,
    skills: SkillSpace | None = None,
    hold: int = 1,
) -> dict[str, Any]:
    """Everything acting needs, as plain values and tensors, to be read back by `agent_from_plain`.

    Args:
        agent: the agent.
        network: arguments of `WorldModel`.
        sizes: arguments of `Observer`.
        skills: what its actions say where they are decisions.
        hold: control steps for which one holds.
    """
    return {
        "hyper_parameters": {
            "network": dict(network),
            "sizes": None if sizes is None else dict(sizes),
            "position": agent.observer.position,
            "joints": agent.observer.joints,
            "planner": {**asdict(agent.planner.config), "compile": "off"},
            "horizon": agent.planner.horizon,
            "discount": agent.planner.discount,
            "unit": agent.planner.unit.tolist(),
            "switches": agent.planner.switches._asdict(),
            "trust_radius": float(agent.trust_radius),
            "pick": agent.planner.config.evaluation,
            "hold": hold,
        },
        "state_dict": {name: value.cpu() for name, value in agent.model.state_dict().items()},
        "guidance": None if agent.guidance is None else agent.guidance.to_plain(),
        "candidates": agent.planner.candidates,
        "skills": None if skills is None else skills.to_plain(),
    }


@dataclass(frozen=True)
class _Settings:
    """Those of `describe_agent`, for their types."""

    network: dict[str, Any]
    sizes: dict[str, int] | None
    planner: PlannerConfig
    horizon: int
    discount: float
    unit: list[float]
    switches: dict[str, bool]
    trust_radius: float
    pick: str
    position: bool = False  # the first agents did not say, and did not see it on a fixed scene
    joints: bool = True
    hold: int = 1

    def __post_init__(self) -> None:
        if self.horizon < 1 or not 0 < self.discount <= 1 or self.trust_radius <= 0:
            raise CorruptFile("world model: its horizon, discount or trust radius is out of range")
        if self.planner.samples * self.horizon > _MOST_STEPS or self.planner.iterations > _MOST_ITERATIONS:
            raise CorruptFile(
                f"world model: its plans have more than {_MOST_STEPS} steps or {_MOST_ITERATIONS} iterations"
            )
        if self.pick not in ACTING:
            raise CorruptFile(f"world model: acts by {shown(self.pick)}; there are {', '.join(ACTING)}")
        check_sizes(self.sizes)


def agent_from_plain(checkpoint: dict[str, Any]) -> WorldModelAgent | SkillAgent:
    """The agent that `describe_agent` described.

    Raises:
        CorruptFile, SpecMismatch: entries are missing or of another type, or weights do not fit.
    """
    entries = dict(checkpoint["hyper_parameters"])
    entries["planner"] = without_constants(PlannerConfig, entries.get("planner"), "hyper_parameters")
    settings = from_plain(_Settings, entries, "hyper_parameters")
    model = load_module(lambda: WorldModel(**settings.network), checkpoint["state_dict"], "world model")
    if len(settings.unit) != model.action_size or min(settings.unit) <= 0:
        raise CorruptFile(f"world model: its unit {shown(settings.unit)} is not one number above 0 per action")
    observer = Observer(settings.sizes, settings.position, settings.joints)
    unit, told = torch.tensor(settings.unit), dict(settings.switches)
    if not told.pop("head", True):
        raise CorruptFile("world model: holds its experts' actions along a plan, as earlier versions did; fit it again")
    switches = GuidanceSwitches(**told)
    candidates = checkpoint.get("candidates")
    planner = MPPIPlanner(model, settings.planner, settings.horizon, settings.discount, unit, switches, candidates)
    check_reads(observer, settings.network["feature_size"])
    guidance: Guidance | Route | None = None
    skills = checkpoint.get("skills")
    space = None if skills is None else SkillSpace.from_plain(skills)
    if space is not None:
        _check_decides(space, model, observer, settings.hold)
    if space is not None and checkpoint["guidance"] is not None:
        guidance = Route.from_plain(checkpoint["guidance"], space, observer.layout)  # type: ignore[arg-type]
    elif checkpoint["guidance"] is not None:
        guidance = Guidance.from_plain(checkpoint["guidance"], observer.layout)
        if model.num_experts != guidance.num_experts:
            raise CorruptFile(f"world model: predicts {model.num_experts} experts and has {guidance.num_experts}")
    agent = WorldModelAgent(model.eval(), planner, observer, guidance, settings.trust_radius, settings.pick)
    if space is None:
        return agent
    return SkillAgent(agent, space, observer.layout, settings.hold)  # type: ignore[arg-type]


def _check_decides(space: SkillSpace, model: WorldModel, observer: Observer, hold: int) -> None:
    """Refuse a model whose actions are no decisions between its skills."""
    if space.size != model.action_size or observer.layout is None or hold < 1:
        raise CorruptFile(
            f"world model: its actions have {model.action_size} numbers, decisions between its skills {space.size}"
        )


def check_sizes(sizes: Mapping[str, int] | None) -> None:
    """Refuse parts of an observation that can't be: none, empty ones, or far more than any task shows."""
    if sizes is not None and (not sizes or min(sizes.values()) < 1 or sum(sizes.values()) > _WIDEST):
        raise CorruptFile(f"its agent observes {shown(sizes)}")


def check_reads(observer: Observer, size: int) -> None:
    """Refuse a model that takes another number of features than its observer gives."""
    if observer.layout is None:
        return
    given = observer(torch.zeros(1, observer.layout.size)).shape[-1]
    if given != size:
        raise CorruptFile(f"its agent takes {size} features, but its observations give {given}")


def load_agent(folder: Path | str) -> WorldModelAgent | SkillAgent | ExpertAgent | ActingTeacher:
    """The agent in an artifact: a world model, experts that were tuned, a single expert, or a teacher that acts itself.

    Raises:
        MissingFile, CorruptFile: the folder is incomplete or differs from its manifest.
        SpecMismatch: made for another robot or by another version.
        UnknownAgent: the folder holds something that can't act.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if not is_external(manifest.task):
        manifest = read_manifest(path, robot=ROBOT)
    if manifest.stage == "expert":
        from mwl.experts.library import ExpertLibrary

        return ExpertAgent(Guidance(ExpertLibrary.load(folder), semantic_weights={manifest.name: 1.0}))
    if manifest.stage == TUNED:
        return ExpertAgent(load_tuned(path, manifest).guidance)
    if manifest.stage == SEAT_STAGE:
        return SeatTeacher.load(path)
    if manifest.stage == BOARD_STAGE:
        return BoardTeacher.load(path)
    if manifest.stage in TEACHER_STAGES:
        return TaughtAgent.load(path)
    if manifest.stage != STAGE:
        raise UnknownAgent(f"{folder}: holds a {manifest.stage}, which can't act; name a world model or an expert")
    with checkpoint_of("a world model", path):
        return agent_from_plain(read_checkpoint(path))
