"""Data set aggregation: the student acts, a live demonstrator says what it would have done there.

Ross, Gordon and Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning",
2011. It serves where noise-injected recordings leave states out that the student runs into.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.core.ranges import Count
from mwl.datasets.demonstrations import Demonstrations, Demonstrator, InterruptibleDemonstrator
from mwl.datasets.recording import BehaviourPolicy, RecordingConfig, record_demonstrations, recording_env
from mwl.demonstrators.registry import build_demonstrator, load_demonstration_config
from mwl.experts.cloning.interleaved import InterleavedPolicy, acting
from mwl.experts.cloning.mirror import with_mirror_images
from mwl.experts.library import ExpertLibrary
from mwl.experts.spec import ExpertSpec
from mwl.simulation import HumanoidEnv, get_task

Student = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DaggerConfig:
    """Who is asked, how often, and how long the student acts."""

    demonstrator: str | list[str]
    """YAML of the demonstrator, for example `conf/demonstrators/walk.yaml`; its `recording` is not used.
    Of several, each round takes the next."""
    rounds: Count = 4
    every_epochs: Count = 1
    """A round before every so many epochs, but not before the first: a student that knows nothing visits nothing."""
    demonstrator_share: ClassVar[float] = 0.5
    """Share of the robots that the demonstrator steers in the first round; it halves from round to round."""
    partners: list[str] | None = None
    """Folders of the experts that act beside the student, where a demonstrator of several skills steers no robot."""
    correct_share: ClassVar[float] = 0.8
    """Of their turns, see `InterleavedPolicy`."""
    recording: RecordingConfig = field(
        default_factory=lambda: RecordingConfig(episodes=8, steps=250, noise_levels=(0.0, 0.1), drop_before_fall=10)
    )

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.every_epochs < 1:
            raise BadInput("data.dagger: rounds and every_epochs are at least 1")
        if not self.demonstrator:
            raise BadInput("data.dagger.demonstrator is empty: name at least one YAML of a demonstrator")


class Dagger:
    """Collects the student's states with the demonstrator's labels, round by round.

    Args:
        config: who is asked, and how often.
        mirror: keep every step's mirror image as well.

    Attributes:
        steps: features and labels so far, `[T]`; None before the first round.
        manifests: what each round cost and where its labels come from.
    """

    def __init__(self, config: DaggerConfig, mirror: bool = False) -> None:
        self.config, self.mirror = config, mirror
        self.rounds = 0
        self.steps: TensorDict | None = None
        self.manifests: list[dict[str, Any]] = []

    def due(self, epoch: int) -> bool:
        """Whether a round is to be collected before an epoch; true once for each, also after a resume."""
        return self.rounds < min(self.config.rounds, epoch // self.config.every_epochs)

    @torch.no_grad()
    def collect(self, spec: ExpertSpec, student: Student) -> None:
        """One round: roll out the student and keep the demonstrator's answers.

        Args:
            spec: what the student reads.
            student: actions `[N, A]` of features `[N, F]`, from the beginning of an episode on.
        """
        seed = self.config.recording.seed + 1 + self.rounds
        recording = replace(self.config.recording, seed=seed)
        named = self.config.demonstrator
        path = named if isinstance(named, str) else named[self.rounds % len(named)]
        described = replace(load_demonstration_config(path), recording=recording)
        env = recording_env(described.task, recording)
        demonstrator = build_demonstrator(described, env)
        behaviour = self._behaviour_policy(demonstrator, spec, student, env)
        recorded = record_demonstrations(demonstrator, env, recording, behaviour)
        fresh = labelled(recorded.of(spec.name), spec)
        if self.mirror:
            fresh = with_mirror_images(fresh, spec)
        self.steps = fresh if self.steps is None else torch.cat([self.steps, fresh])
        self.manifests.append(recorded.manifest)
        self.rounds += 1

    def _behaviour_policy(
        self, demonstrator: Demonstrator, spec: ExpertSpec, student: Student, env: HumanoidEnv
    ) -> BehaviourPolicy:
        """The student on its own, or in turn with its partners."""
        layout, episodes = env.task.layout, self.config.recording.episodes
        if not isinstance(demonstrator, InterruptibleDemonstrator):
            share = self.config.demonstrator_share * 0.5**self.rounds
            steered = (torch.arange(episodes) < round(share * episodes)).unsqueeze(-1)

            def alone(observation: Tensor, command: Tensor | None, answer: Tensor) -> Tensor:
                return torch.where(steered, answer, student(spec.featurise(observation, layout, command)))

            return alone
        skills = demonstrator.skills
        if spec.name not in skills:
            raise BadInput(f"data.dagger: {demonstrator.name} shows {', '.join(skills)}, but not {spec.name}")
        library = ExpertLibrary.load(self.config.partners or [])
        others = {name: acting(library, name, layout) for name in skills if name != spec.name}
        acts = [others.get(name, lambda seen: student(spec.featurise(seen, layout))) for name in skills]
        seed = self.config.recording.seed + 1 + self.rounds
        return InterleavedPolicy(demonstrator, acts, seed, correct_share=self.config.correct_share)

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors, numbers and dicts."""
        steps = {} if self.steps is None else {str(key): value.clone() for key, value in self.steps.items()}
        return {"rounds": self.rounds, "steps": steps, "manifests": self.manifests}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.rounds, self.manifests = int(state["rounds"]), list(state["manifests"])
        if state["steps"]:
            self.steps = TensorDict(state["steps"], batch_size=[len(state["steps"][keys.ACTION])])


def labelled(demonstrations: Demonstrations, spec: ExpertSpec) -> TensorDict:
    """Features and clean labels of an expert, `[T]`; for one with memory also where episodes begin, as IS_INIT."""
    layout = get_task(demonstrations.manifest["task"]).layout
    features = spec.featurise(demonstrations.observation, layout, demonstrations.command)
    steps = TensorDict({keys.FEATURES: features, keys.ACTION: demonstrations.action}, batch_size=[len(features)])
    if spec.memory:
        episode = demonstrations.episode
        steps[keys.IS_INIT] = torch.cat([torch.ones(1, dtype=torch.bool), episode[1:] != episode[:-1]])
    return steps
