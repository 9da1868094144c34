"""The robot of the playground: it lives on from one instruction to the next, whoever watches."""

import math
import threading
from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput, NoSkillFits, SpecMismatch
from mwl.evaluation.agents import NamedAgent, resolve
from mwl.evaluation.run import check_fits
from mwl.instructions.acting import InstructedAgent
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import assign, instructed, understand
from mwl.instructions.preconditions import DEFAULT_TASK, TRANSITIONS, heaviest, shipped_agents
from mwl.playground.guided import Imagination, Told, skills_of
from mwl.robot import CONTROL_HZ, frames
from mwl.robot.h1 import build_model
from mwl.rollouts import Agent
from mwl.rollouts.falls import AT_RISK
from mwl.semantics import Clause
from mwl.semantics.language.parameters import START
from mwl.simulation import HumanoidEnv, Shift, make_env
from mwl.simulation.task import Task
from mwl.simulation.tasks import TASKS
from mwl.simulation.world import valid_seed
from mwl.world_model.agent import WorldModelAgent

IDLE, IDLE_SKILL = "stop", "stand"
_IMAGINES = 25  # control steps between two questions of what is expected
_MOVING = 0.3  # m/s below which a robot stands
_LIES = 150  # control steps that a fallen robot is looked at before it begins anew


@dataclass(frozen=True)
class StepShown:
    """A step of the plan: its words, its skill, how it stands (`waits`, `at work`, or how it ended), and how far it
    has come or why it ended."""

    text: str
    skill: str
    state: str
    progress: str = ""


@dataclass(frozen=True)
class Status:
    """What the page shows of the robot after a control step.

    Args:
        task: whose world it is in.
        seconds: of simulated time since it began there.
        place: x and y, m.
        heading: degrees to the left of +x.
        speed: m/s.
        instruction: what was last accepted.
        plan: its steps.
        verdict: `done`, `not achieved` with the reason, or empty while it is at work.
        refused: why the last words were refused, or empty.
        nearest: skills that were nearest to refused words.
        weights: by skill, as the words give them now.
        gate: by skill of the guided agent at work, what its gate makes of the state; empty without one.
        fused: by skill, who acts: the weights of both together.
        why: what was last decided between the skills.
        fallen: whether it lies on the floor.
        expected: return by skill that the world model at work expects; empty without one.
        way: `[T, 2]` in m, where the model sees the robot go.
        event: what was last done to the robot.
    """

    task: str
    seconds: float
    place: tuple[float, float]
    heading: float
    speed: float
    instruction: str = ""
    plan: tuple[StepShown, ...] = ()
    verdict: str = ""
    refused: str = ""
    nearest: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    gate: dict[str, float] = field(default_factory=dict)
    fused: dict[str, float] = field(default_factory=dict)
    why: str = ""
    fallen: bool = False
    expected: dict[str, float] = field(default_factory=dict)
    way: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)), compare=False)
    event: str = ""


class Session:
    """One robot, one world; methods may be called from any thread.

    Args:
        task: whose world; None takes that of the agent.
        agents: who carries out which skill; None takes all experts that ship.
        seed: of starts and targets.
        agent: one guided agent for all of its skills, instead of `agents`. Until it is told something, and where its
            skills can't stand, it acts as it was fitted to.

    Raises:
        UnknownTask: no such task.
        BadInput: an agent that isn't there, or that was made for another world.
    """

    def __init__(
        self,
        task: str | None = None,
        agents: dict[str, str] | None = None,
        seed: int = 0,
        agent: str | None = None,
    ) -> None:
        self._own: NamedAgent | None = None
        if agent is None:
            agents = agents or shipped_agents(None)
            named = {name: resolve(where) for name, where in agents.items()}
            assign(named)
        else:
            self._own = resolve(agent)
            task = task or self._own.manifest.task
            named = {}
            if skills := skills_of(self._own):
                together: Agent = Told(self._own.agent, lambda: self._words.weights if self._words else {})
                named = {name: replace(self._own, agent=together) for name in skills}
                self._fitted = self._own.agent.guidance.semantic_weights  # type: ignore[attr-defined]
        where = {name: found.address for name, found in named.items()}
        self._stage = FollowStage(instruction=IDLE, agents=where, task=task or DEFAULT_TASK, seed=valid_seed(seed))
        self._named: dict[str, NamedAgent] = named
        self._head = understand(self._stage, named)
        if self._own is not None:
            own = self._own.agent.guidance.library.cards if named else []  # type: ignore[attr-defined]
            cards = {card.name: card for card in own if card.name not in TRANSITIONS}
            cards |= {card.name: card for card in self._head.cards}  # which it was fitted with
            self._head.set_cards(list(cards.values()))
        self.lock = threading.RLock()
        self._generator = np.random.default_rng(seed)
        self.shift = Shift()
        self.enter(self._stage.task)

    def enter(self, task: str) -> None:
        """Go to another task's world, and stand there.

        Raises:
            UnknownTask: no such task.
            SpecMismatch: an agent was made for another world.
        """
        with self.lock:
            env = make_env(task, 1, seed=self._stage.seed, num_threads=1, shift=self.shift)
            for found in [*self._named.values(), *([self._own] if self._own else [])]:
                check_fits(found, task, env.task.layout.size)
            self._live(env)
            self._stage = replace(self._stage, task=task)
            self.reset()

    @property
    def tasks(self) -> list[str]:
        """Those whose world shows what its agents have to see."""
        return [task.name for task in TASKS.values() if self._fits(task)]

    def _fits(self, task: Task) -> bool:
        try:
            for found in [*self._named.values(), *([self._own] if self._own else [])]:
                check_fits(found, task.name, task.layout.size)
        except SpecMismatch:
            return False
        return True

    def _live(self, env: HumanoidEnv) -> None:
        assert isinstance(env.task, Task)
        self.env, self.world, self.layout = env, env.task, env.task.layout
        self.looks = build_model(self.world, visual=True)
        self._drawn, self._ghost = mujoco.MjData(self.looks), mujoco.MjData(self.looks)
        self._imagination = Imagination()

    def reset(self) -> None:
        """Begin anew, standing."""
        with self.lock, torch.random.fork_rng():
            self._state: TensorDictBase = self.env.reset()
            self._steps = self._lying = 0
            self._resting = True
            self._instruction = self._refused = self._verdict = self._event = ""
            self._nearest: tuple[str, ...] = ()
            self._expected: tuple[dict[str, float], NDArray[np.float64]] = {}, np.zeros((0, 2))
            self._imagination.forget()
            self._words: InstructedAgent | None = None
            if self._own is not None:
                self._own.agent.reset()
            self._rest()

    def tell(self, text: str) -> str:
        """Take up new words at once, also in the middle of others.

        Returns:
            why they are refused, in which case what was at work goes on; empty where they are followed.
        """
        words = " ".join(text.split())
        with self.lock, torch.random.fork_rng():
            try:
                self._follow(words)
            except BadInput as error:
                self._refused, self._nearest = str(error), tuple(getattr(error, "nearest", ()))
                return self._refused
            self._instruction, self._refused, self._verdict, self._nearest = words, "", "", ()
            return ""

    def _follow(self, words: str) -> None:
        """Do as told from the next step on; who stands still and was told nothing begins a plan of its own."""
        if not self._named:
            assert self._own is not None
            raise NoSkillFits(f"{self._own.address} acts by itself: it has no skills between which words could weigh")
        if self._words is None or self._steps == 0 or (self._resting and self._speed() < _MOVING):
            stage = replace(self._stage, instruction=words)
            self._words, self._from = instructed(stage, self._head, self.env, self._named), 0
        else:
            told = self._words.director.tell(words)
            self._from = len(self._words.director.plan) - len(told)
        self._resting = words == IDLE

    @property
    def alone(self) -> str:
        """What it does without an instruction; empty where it then stands."""
        return self.world.instruction if self._own is not None and IDLE_SKILL not in self._named else ""

    def _rest(self) -> None:
        """Stand; a guided agent that can't goes on as it was fitted to."""
        if self.alone:
            self._words = None
            if self._named:
                assert self._own is not None
                self._own.agent.set_weights(self._fitted)  # type: ignore[attr-defined]
        else:
            self._follow(IDLE)

    def step(self) -> Status:
        """One control step of 20 ms."""
        with self.lock, torch.no_grad():
            if self.fallen:
                self._lie()
            else:
                observation = self._state[keys.OBSERVATION]
                acting: Agent = self._words or self._own.agent  # type: ignore[assignment, union-attr]
                action = acting.act(observation)
                self._imagine(observation)
                self._state = self.env.step(self._state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
                self._steps += 1
                self._judge()
            return self.status()

    @property
    def _at_work(self) -> Agent:
        """Who acts: the agent of the skill at work, or the one that acts by itself."""
        if self._words is None or not self._words.weights:
            return self._own.agent if self._own else next(iter(self._named.values())).agent
        agent = self._words.agents[max(self._words.weights, key=self._words.weights.__getitem__)]
        return agent.agent if isinstance(agent, Told) else agent

    def _imagine(self, observation: Tensor) -> None:
        """Ask a world model at work what it expects, now and then."""
        agent = self._at_work
        if not isinstance(agent, WorldModelAgent):
            self._expected = {}, np.zeros((0, 2))
            return
        qpos = self.env.state[0]
        self._imagination.see(agent, observation, qpos)
        if self._steps % _IMAGINES == 0:
            self._expected = self._imagination.expects(agent, observation, qpos)

    def _lie(self) -> None:
        self._lying += 1
        if self._lying > _LIES:
            self.reset()

    def _judge(self) -> None:
        """Say how the plan ended, once it has, and stand from then on."""
        if self.fallen:
            self._verdict = "not achieved: fell" if self._instruction else "fell"
        if self.fallen or self._words is None or self._verdict:
            return
        director = self._words.director
        if director.finished:
            states = zip(director.plan, director.sequencer.states(), strict=True)
            ended = [(clause, *state) for clause, state in list(states)[self._from :]]
            failed = [f"{c.text}: {state}, {why}" for c, state, why in ended if state != "done" and not c.inserted]
            self._verdict = f"not achieved: {'; '.join(failed)}" if failed else "done"
            self._plan_shown = self._plan(self._words)
            self._rest()

    @property
    def fallen(self) -> bool:
        """Whether the robot lies on the floor."""
        return bool(AT_RISK.lost(self.env.state[0][:, :7].float())[0])

    def push(self, speed: float, towards: float | None = None) -> None:
        """Change the robot's velocity at once, as a push does.

        Args:
            speed: by so much, m/s.
            towards: degrees to the left of +x; None takes any direction.
        """
        angle = self._generator.uniform(0, 360) if towards is None else towards
        with self.lock:
            qpos, qvel = (part.numpy() for part in self.env.state)
            qvel[:, :2] += speed * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            simulation = self.env.simulation
            simulation.reset(np.ones(1, dtype=bool), qpos, qvel, simulation.warmstart.copy())
            self._event = f"pushed by {speed:g} m/s towards {round(angle) % 360}°"

    def change(self, shift: Shift) -> None:
        """Load the robot, or change the ground, from where it is now."""
        with self.lock:
            qpos, qvel = self.env.state
            goal, warmstart = self.goal, self.env.simulation.warmstart.copy()
            changed = make_env(self._stage.task, 1, seed=self._stage.seed, num_threads=1, shift=shift)
            self.env.world = changed.world  # the environment itself stays: who looks at the scene holds it
            self._state = self.env.reset()
            self._state = self.env.set_state(qpos, qvel, warmstart, None if goal is None else goal[None])
            self.shift = shift

    def drawn(self) -> mujoco.MjData:
        """Places of all bodies as they are now, to be drawn."""
        with self.lock:
            return self._placed(self._drawn, self.env.measurement.qpos[0])

    def ghost(self) -> mujoco.MjData:
        """Places of all bodies in the pose that the reference action asks of the servos, where the robot is."""
        with self.lock:
            last, qpos = getattr(self._at_work, "last", None), self.env.measurement.qpos[0].copy()
            if last is not None and keys.REFERENCE_ACTION in last:
                asked = self.world.robot.action_to_ctrl(last[keys.REFERENCE_ACTION][0].numpy())
                qpos[7 : 7 + len(asked)] = asked
            return self._placed(self._ghost, qpos)

    def _placed(self, data: mujoco.MjData, qpos: NDArray[np.float64]) -> mujoco.MjData:
        data.qpos[:] = qpos
        if self.looks.nmocap:
            data.mocap_pos[0] = self.env.measurement.goal[0]
        mujoco.mj_kinematics(self.looks, data)
        return data

    @property
    def goal(self) -> NDArray[np.float64] | None:
        """The target `[3]`, m, of a world that has one."""
        goal = self.env.measurement.goal
        return goal[0].copy() if goal.shape[1] else None

    def place_goal(self, x: float, y: float, z: float) -> None:
        """Move the target, within the bounds that the task draws it from.

        Raises:
            BadInput: this world has no target.
        """
        with self.lock:
            if self.goal is None:
                raise BadInput(f"{self._stage.task} has no target")
            qpos, qvel = self.env.state
            warmstart = self.env.simulation.warmstart.copy()
            asked = np.array([x, y, z])[: len(self.goal)]
            goal = np.clip(asked, np.array(self.world.goal_low), np.array(self.world.goal_high))
            self._state = self.env.set_state(qpos, qvel, warmstart, goal[None])

    def _speed(self) -> float:
        return float(np.linalg.norm(self.env.state[1][0, :2]))

    def _plan(self, acting: InstructedAgent) -> tuple[StepShown, ...]:
        director = acting.director
        at_work = (director.sequencer.place or [0])[0]
        shown = []
        for place, (clause, (state, why)) in enumerate(zip(director.plan, director.sequencer.states(), strict=True)):
            now = not state and place == at_work
            far = self._far(acting, clause) if now else why
            shown.append(StepShown(clause.text, heaviest(clause), state or ("at work" if now else "waits"), far))
        return tuple(shown[self._from :])

    def _far(self, acting: InstructedAgent, clause: Clause) -> str:
        """How far a step at work has come, in words."""
        sequencer, told = acting.director.sequencer, clause.parameters
        if not sequencer.place:
            return ""
        if sequencer.between:
            return f"{sequencer.between} goes before"
        measured = sequencer.odometer
        if told.angle is not None:
            turned = math.degrees(float(measured.turned[0]) * math.copysign(1, told.angle))
            return f"{turned:.0f} of {abs(math.degrees(told.angle)):.0f}°"
        if told.footsteps is not None:
            return f"{int(measured.footsteps[0])} of {told.footsteps} footsteps"
        if told.target == START:
            return f"{float(measured.from_home[0]):.1f} m from the start"
        gone = f"{float(measured.travelled[0]):.1f}"
        if told.distance is not None:
            return f"{gone} of {told.distance:g} m"
        return "" if gone == "0.0" else f"{gone} m gone"

    def _weighed(self) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Weights by skill: of the words, of the gate of the agent at work, and of both together."""
        words = dict(self._words.weights) if self._words else {}
        agent = self._at_work
        last, guidance = getattr(agent, "last", None), getattr(agent, "guidance", None)
        if last is None or guidance is None or keys.GATE_PROBS not in last:
            acting = max(words, key=words.__getitem__, default="")
            return words, {}, {name: float(name == acting) for name in words}
        names = guidance.library.names

        def by_name(key: str) -> dict[str, float]:
            return dict(zip(names, last[key][0].tolist(), strict=True)) if key in last else {}

        own = by_name(keys.SEMANTIC_WEIGHTS)
        return own or words, by_name(keys.GATE_PROBS), by_name(keys.FUSED_WEIGHTS)

    def status(self) -> Status:
        """How things are now."""
        with self.lock:
            qpos = self.env.state[0][:, :7].float()
            yaw = math.degrees(float(frames.heading(frames.rotation_matrix(qpos[:, 3:7]))[0]))
            over = bool(self._verdict) and not self.fallen
            weights, gate, fused = self._weighed()
            plan: tuple[StepShown, ...] = ()
            if self._instruction:
                plan = self._plan_shown if over else self._plan(self._words) if self._words else ()
            decisions = self._words.director.decisions if self._words else []
            return Status(
                task=self._stage.task,
                seconds=self._steps / CONTROL_HZ,
                place=(float(qpos[0, 0]), float(qpos[0, 1])),
                heading=yaw,
                speed=self._speed(),
                instruction=self._instruction,
                plan=plan,
                verdict=self._verdict,
                refused=self._refused,
                nearest=self._nearest,
                weights=weights,
                gate=gate,
                fused=fused,
                why=f"at {decisions[-1].step / CONTROL_HZ:.1f} s: {decisions[-1].reason}" if decisions else "",
                fallen=self.fallen,
                expected=self._expected[0],
                way=self._expected[1],
                event=self._event,
            )
