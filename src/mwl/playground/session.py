"""The robot of the playground: it lives on from one instruction to the next, whoever watches."""

import math
import threading
from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.evaluation.agents import NamedAgent, resolve
from mwl.instructions.arranged import heaviest, shipped_agents
from mwl.instructions.config import FollowStage
from mwl.instructions.follow import assign, instructed, understand
from mwl.robot import CONTROL_HZ, frames
from mwl.robot.h1 import build_model
from mwl.rollouts.falls import AT_RISK
from mwl.simulation import HumanoidEnv, Shift, make_env
from mwl.simulation.task import Task

IDLE = "stop"
_MOVING = 0.3  # m/s below which a robot stands
_LIES = 150  # control steps that a fallen robot is looked at before it begins anew


@dataclass(frozen=True)
class StepShown:
    """A step of the plan: its words, its skill, and how it stands (`waits`, `at work`, or how it ended)."""

    text: str
    skill: str
    state: str


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
        weights: by skill, as they hold now.
        fallen: whether it lies on the floor.
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
    weights: dict[str, float] = field(default_factory=dict)
    fallen: bool = False


class Session:
    """One robot, one world; methods may be called from any thread.

    Args:
        task: whose world.
        agents: who carries out which skill; None takes all experts that ship.
        seed: of starts and targets.

    Raises:
        UnknownTask: no such task.
        BadInput: an agent that isn't there.
    """

    def __init__(self, task: str = "h1-walk", agents: dict[str, str] | None = None, seed: int = 0) -> None:
        self._stage = FollowStage(instruction=IDLE, agents=agents or shipped_agents(None), task=task, seed=seed)
        self._named: dict[str, NamedAgent] = {name: resolve(where) for name, where in self._stage.agents.items()}
        assign(self._named)
        self._head = understand(self._stage, self._named)
        self.lock = threading.RLock()
        self._generator = np.random.default_rng(seed)
        self.shift = Shift()
        self.enter(task)

    def enter(self, task: str) -> None:
        """Go to another task's world, and stand there.

        Raises:
            UnknownTask: no such task.
        """
        with self.lock:
            self._live(make_env(task, 1, seed=self._stage.seed, num_threads=1, shift=self.shift))
            self._stage = replace(self._stage, task=task)
            self.reset()

    def _live(self, env: HumanoidEnv) -> None:
        assert isinstance(env.task, Task)
        self.env, self.world, self.layout = env, env.task, env.task.layout
        self.looks = build_model(self.world, visual=True)
        self._drawn = mujoco.MjData(self.looks)

    def reset(self) -> None:
        """Begin anew, standing."""
        with self.lock, torch.random.fork_rng():
            self._state: TensorDictBase = self.env.reset()
            self._steps = self._lying = 0
            self._resting = True
            self._instruction = self._refused = self._verdict = ""
            self._follow(IDLE)

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
                self._refused = str(error)
                return self._refused
            self._instruction, self._refused, self._verdict = words, "", ""
            return ""

    def _follow(self, words: str) -> None:
        """Do as told from the next step on; who stands still and was told nothing begins a plan of its own."""
        if self._steps == 0 or (self._resting and self._speed() < _MOVING):
            stage = replace(self._stage, instruction=words)
            self._agent, self._from = instructed(stage, self._head, self.env, self._named), 0
        else:
            told = self._agent.director.tell(words)
            self._from = len(self._agent.director.plan) - len(told)
        self._resting = words == IDLE

    def step(self) -> Status:
        """One control step of 20 ms."""
        with self.lock, torch.no_grad():
            if self.fallen:
                self._lie()
            else:
                action = self._agent.act(self._state[keys.OBSERVATION])
                self._state = self.env.step(self._state.set(keys.ACTION, action))[keys.NEXT].exclude(keys.REWARD)
                self._steps += 1
                self._judge()
            return self.status()

    def _lie(self) -> None:
        self._lying += 1
        if self._lying > _LIES:
            self.reset()

    def _judge(self) -> None:
        """Say how the plan ended, once it has, and stand from then on."""
        director = self._agent.director
        if self.fallen:
            self._verdict = "not achieved: fell" if self._instruction else "fell"
        elif director.finished and not self._verdict:
            ended = [(clause, *state) for clause, state in zip(director.plan, director.sequencer.states(), strict=True)]
            failed = [f"{c.text}: {state}, {why}" for c, state, why in ended if state != "done" and not c.inserted]
            self._verdict = f"not achieved: {'; '.join(failed)}" if failed else "done"
            self._plan_shown = self._plan()
            self._follow(IDLE)

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
            data, measured = self._drawn, self.env.measurement
            data.qpos[:] = measured.qpos[0]
            if self.looks.nmocap:
                data.mocap_pos[0] = measured.goal[0]
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

    def _plan(self) -> tuple[StepShown, ...]:
        director = self._agent.director
        at_work = (director.sequencer.place or [0])[0]
        return tuple(
            StepShown(clause.text, heaviest(clause), state or ("at work" if place == at_work else "waits"))
            for place, (clause, (state, _)) in enumerate(zip(director.plan, director.sequencer.states(), strict=True))
        )

    def status(self) -> Status:
        """How things are now."""
        with self.lock:
            qpos = self.env.state[0][:, :7].float()
            yaw = math.degrees(float(frames.heading(frames.rotation_matrix(qpos[:, 3:7]))[0]))
            over = bool(self._verdict) and not self.fallen
            return Status(
                task=self._stage.task,
                seconds=self._steps / CONTROL_HZ,
                place=(float(qpos[0, 0]), float(qpos[0, 1])),
                heading=yaw,
                speed=self._speed(),
                instruction=self._instruction,
                plan=(self._plan_shown if over else self._plan()) if self._instruction else (),
                verdict=self._verdict,
                refused=self._refused,
                weights=dict(self._agent.weights),
                fallen=self.fallen,
            )
