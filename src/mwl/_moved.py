"""Names that have changed in Python: the former ones still import, so that users' scripts and configurations work on.

Former names of entries in files are in `mwl._renamed`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

MOVED = {
    "rollouts.definitions": "rollouts.metrics",
    "teachers.gait": "teachers.gait_observation",
    "semantics.plan.kept": "semantics.plan.answer_cache",
    "semantics.stored": "semantics.head_checkpoint",
    "playground.shown": "playground.panels",
    "app.early": "app.argument_checks",
    "app.motion_commands": "app.commands.motion",
    "demonstrators.record": "demonstrators.demonstrate",
    "instructions.arranged": "instructions.preconditions",
    "instructions.told": "instructions.velocity_commands",
    "instructions.way": "instructions.trajectory",
    "instructions.steering": "instructions.plan_steering",
    "instructions.views": "instructions.turned_observations",
    "teachers.ground": "teachers.ground_heights",
    "rollouts.aggregates": "rollouts.across_tasks",
    "robot.symmetry": "robot.joint_mirror",
    "checkpoints": "core.checkpoints",
    "cli": "app.cli",
    "core.changed_settings": "core.checkpoints",
    "core.host": "training.host",
    "core.resuming": "core.checkpoints",
    "errors": "core.errors",
    "evaluation.paper": "evaluation.published",
    "evaluation.episodes": "rollouts.episodes",
    "evaluation.statistics": "evaluation.curves",
    "experts.batches": "experts.cloning.batches",
    "experts.dagger": "experts.cloning.dagger",
    "experts.data": "experts.cloning.data",
    "experts.finetuning.cmaes": "training.cmaes",
    "experts.export": "export.expert",
    "experts.evolution": "training.cmaes",
    "experts.mirror": "experts.cloning.mirror",
    "experts.module": "experts.cloning.module",
    "experts.posture": "experts.finetuning.posture",
    "experts.practice": "experts.finetuning.module",
    "experts.practice_env": "experts.finetuning.env",
    "experts.rehearsal": "experts.cloning.interleaved",
    "experts.takeover": "experts.hand_over",
    "files": "core.files",
    "films": "simulation.rendering.films",
    "gating.agent": "selection.agent",
    "gating.data": "selection.data",
    "gating.fusion": "selection.fusion",
    "gating.guidance": "selection.guidance",
    "gating.module": "selection.module",
    "gating.network": "selection.network",
    "gating.situation": "selection.context",
    "gating.trials": "selection.monte_carlo",
    "gating.tuning": "selection.action_correction",
    "handoff": "core.artifact",
    "host": "training.host",
    "keys": "core.keys",
    "machine": "core.machine",
    "motion.acclaim": "mocap.readers.acclaim",
    "motion.amass": "mocap.readers.amass",
    "motion.approach": "demonstrators.approach",
    "motion.archive": "rollouts.reset_states",
    "training.seeds": "pipeline.seeds",
    "teachers.reset_states": "rollouts.reset_states",
    "teachers.seat": "teachers.acting.seat",
    "motion.bending": "demonstrators.squat",
    "motion.bvh": "mocap.readers.bvh",
    "motion.clips": "mocap.clips",
    "motion.commands": "app.motion_commands",
    "motion.conventions": "mocap.readers.conventions",
    "motion.cycle": "mocap.gait_cycle",
    "motion.cycle_from_clip": "mocap.cycle_from_clip",
    "motion.demonstrations": "datasets.demonstrations",
    "motion.demonstrators": "demonstrators.registry",
    "motion.door": "teachers.door.geometry",
    "motion.door_controller": "teachers.door.controller",
    "motion.door_env": "teachers.door.env",
    "motion.door_reward": "teachers.door.rewards",
    "motion.door_teacher": "teachers.door.teacher",
    "motion.exchange": "datasets.exchange",
    "motion.footing": "mocap.contact_cleanup",
    "motion.frames": "robot.frames",
    "motion.gait": "teachers.gait",
    "motion.joint_names": "mocap.readers.joint_names",
    "motion.kinematics": "robot.kinematics",
    "motion.landmarks": "mocap.readers.landmarks",
    "motion.lerobot_data": "datasets.lerobot",
    "motion.lqr": "demonstrators.lqr",
    "motion.minari_data": "datasets.minari",
    "motion.pickles": "mocap.readers.pickles",
    "motion.plausibility": "mocap.plausibility",
    "motion.ppo": "teachers.ppo",
    "motion.preview": "mocap.preview",
    "motion.reach": "demonstrators.reach",
    "motion.readers": "mocap.readers.read",
    "motion.retarget": "mocap.retarget",
    "motion.robot_clips": "mocap.robot_clips",
    "motion.robot_root": "mocap.readers.robot_root",
    "motion.robot_table": "mocap.readers.robot_table",
    "motion.slowing": "demonstrators.slow_down",
    "motion.standoff": "robot.standoff",
    "motion.stepping": "demonstrators.capture_steps",
    "motion.symmetry": "robot.joint_mirror",
    "motion.teacher": "teachers.teacher",
    "motion.touch": "demonstrators.touch",
    "motion.tracking": "teachers.env",
    "motion.tracking_reward": "teachers.rewards",
    "motion.user_policy": "demonstrators.external",
    "motion.whole_body": "demonstrators.whole_body",
    "pipeline.config_errors": "training.config_errors",
    "pipeline.callbacks": "training.callbacks",
    "pipeline.fit": "training.fit",
    "pipeline.follow": "instructions.follow",
    "pipeline.instruct": "instructions.preview",
    "pipeline.instruct_view": "instructions.view",
    "pipeline.lock": "training.lock",
    "pipeline.logger": "experiments.logger",
    "pipeline.planner": "instructions.planner",
    "pipeline.report": "app.report",
    "pipeline.resume": "training.resume",
    "plain": "core.plain",
    "ranges": "core.ranges",
    "resuming": "core.checkpoints",
    "semantics.cache": "semantics.encoders.cache",
    "semantics.chat": "semantics.plan.chat",
    "semantics.chat_request": "semantics.plan.chat_request",
    "semantics.clauses": "semantics.language.clauses",
    "semantics.director": "semantics.plan.director",
    "semantics.encoder": "semantics.encoders.towers",
    "semantics.mentions": "semantics.language.mentions",
    "semantics.negation": "semantics.language.negation",
    "semantics.progress": "semantics.plan.progress",
    "semantics.recipes": "semantics.language.recipes",
    "semantics.sequencer": "semantics.plan.sequencer",
    "semantics.language.transitions": "semantics.language.connectors",
    "semantics.transitions": "semantics.language.connectors",
    "semantics.vision": "semantics.encoders.vision",
    "simulation.raycast": "simulation.rendering.raycast",
    "simulation.robot": "robot.h1",
    "simulation.tasks.stand": "simulation.tasks.locomotion",
    "simulation.viewer": "simulation.rendering.viewer",
    "store": "experiments.store",
    "terminal": "core.terminal",
    "tracking": "experiments.tracking",
    "world_model.compiling": "world_model.learning.compiling",
    "world_model.demonstrations": "world_model.learning.demonstrations",
    "world_model.learner": "world_model.learning.learner",
    "world_model.losses": "world_model.learning.losses",
    "world_model.race": "adaptation.race",
    "world_model.replay": "world_model.learning.replay",
    "world_model.roughness": "adaptation.jerk",
    "world_model.trust": "world_model.learning.trust_region",
    "world_model.adaptation.jerk": "adaptation.jerk",
    "world_model.adaptation.race": "adaptation.race",
    "world_model.adaptation.search": "adaptation.search",
    "world_model.adaptation.trust_region": "world_model.learning.trust_region",
    "world_model.adaptation.tuner": "adaptation.search",
    "world_model.tuner": "adaptation.search",
}
"""New names by old ones, both below `mwl`."""
RENAMED: dict[str, dict[str, str]] = {
    "core.artifact": {"write_handoff": "write_artifact"},
    "experiments.tracking": {
        "HANDOFF_ARTIFACT": "ARTIFACT",
        "check_handoff": "check_artifact",
        "download_handoff": "download_artifact",
    },
    "experts.finetuning.env": {
        "PracticeConfig": "FineTuningConfig",
        "PracticeEnv": "FineTuningEnv",
        "task_to_practise": "fine_tunable_task",
    },
    "experts.finetuning.module": {
        "LearningOn": "FineTuningStage",
        "Practice": "FineTuning",
        "PracticeData": "FineTuningData",
        "PractisingPolicy": "FineTuningPolicy",
    },
    "core.keys": {"TRIED": "EVALUATED", "WORTH": "EXPERT_RETURN"},
    "datasets.demonstrations": {
        "BehaviourPolicy": "datasets.recording.BehaviourPolicy",
        "Pilot": "datasets.recording.BehaviourPolicy",
        "RecordingConfig": "datasets.recording.RecordingConfig",
        "record_demonstrations": "datasets.recording.record_demonstrations",
        "recording_env": "datasets.recording.recording_env",
    },
    "demonstrators.squat": {"Bending": "Squat"},
    "experts.cloning.batches": {"Lanes": "Streams", "in_lanes": "as_streams"},
    "experts.cloning.interleaved": {
        "Turns": "InterleavedPolicy",
        "rehearse": "record_interleaved",
    },
    "experts.hand_over": {"LeftBehind": "HandOverStates", "left_behind": "hand_over_states"},
    "selection": {"Tuning": "ActionCorrection"},
    "selection.action_correction": {"Tuning": "ActionCorrection"},
    "selection.context": {"SITUATION_SIZE": "CONTEXT_SIZE", "situation": "gate_context"},
    "selection.module": {"worth_loss": "return_loss"},
    "selection.monte_carlo": {
        "TrialData": "MonteCarloData",
        "Trials": "MonteCarlo",
        "TrialsConfig": "MonteCarloConfig",
    },
    "rollouts.reset_states": {"Archive": "ReachedStates", "BeforeFalls": "StatesBeforeFalls"},
    "adaptation.jerk": {"Roughness": "JerkCost"},
    "adaptation.search": {"Tuner": "CorrectionSearch", "make_tuner": "make_search"},
    "pipeline.runner": {"Plan": "ScheduledStage"},
    "semantics.language.connectors": {"Transition": "Connector", "load_transitions": "load_connectors"},
    "semantics.plan.director": {"Planner": "LanguagePlanner"},
    "semantics.shipped": {"shipped_transitions": "shipped_connectors"},
    "teachers.ppo": {"Agent": "ActorCriticPolicy"},
    "world_model": {"Planner": "MPPIPlanner"},
    "world_model.agent": {"use_of": "switches_of"},
    "world_model.learning.demonstrations": {"advised": "with_reference_actions"},
    "world_model.planner": {
        "Advice": "ReferenceActions",
        "Plan": "MPPIPlan",
        "Planner": "MPPIPlanner",
        "Use": "GuidanceSwitches",
    },
    "world_model.data": {"EnvSpec": "DecisionSpec"},
    "training.callbacks": {"HandOff": "WriteArtifact"},
    "instructions.preconditions": {"Arranged": "PreconditionPlanner"},
    "instructions.trajectory": {"Way": "Trajectory"},
    "instructions.velocity_commands": {"Told": "VelocityCommand", "told": "asked_velocity"},
    "rollouts.falls": {"TAKEN_OVER": "HAND_OVER"},
}
"""For a module below `mwl` the present names of its classes and functions by their former ones, with a module
before it where it lies in another one now."""
_EMPTIED = {f"mwl.{room}" for room in ("motion", "gating", "world_model.adaptation")}


def present(name: str) -> str:
    """The name of a module, or of something in it, as it is now; a name that has not moved is given back."""
    parts = name.removeprefix("mwl.").split(".")
    for end in range(len(parts), 0, -1):
        if (old := ".".join(parts[:end])) in MOVED:
            return ".".join(("mwl", MOVED[old], *parts[end:]))
    return name


class _Moved(MetaPathFinder, Loader):
    """Gives the module itself under its old name, the same object, so that there is one of each class."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of an old name; None for every other."""
        if fullname in _EMPTIED:
            return ModuleSpec(fullname, self, is_package=True)
        if fullname.removeprefix("mwl.") in MOVED and fullname.startswith("mwl."):
            return ModuleSpec(fullname, self)
        if fullname.removeprefix("mwl.") in RENAMED and fullname.startswith("mwl."):
            spec = PathFinder.find_spec(fullname, path, target)  # type: ignore[arg-type]
            if spec is not None and spec.origin is not None:
                spec.loader = _WithFormerNames(fullname, spec.origin)
            return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module of the new name."""
        if spec.name in _EMPTIED:
            return None
        module = import_module(f"mwl.{MOVED[spec.name.removeprefix('mwl.')]}")
        self._own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to execute; what the import system wrote over is put back."""
        if module.__name__ == "mwl.gating":
            module.__dict__.update(vars(import_module("mwl.selection")), __name__="mwl.gating")
        elif module.__name__ not in _EMPTIED:
            module.__spec__, module.__loader__ = self._own


class _WithFormerNames(SourceFileLoader):
    """Loads a module and lets the former names of what is in it stand beside the present ones."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute, then add them; those from other modules once they are asked for, as these may import this one."""
        super().exec_module(module)
        names = RENAMED[module.__name__.removeprefix("mwl.")]
        elsewhere = {former: name.rpartition(".") for former, name in names.items() if "." in name}
        for former in names.keys() - elsewhere.keys():
            setattr(module, former, getattr(module, names[former]))

        def moved(name: str) -> Any:
            if name not in elsewhere:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            home, _, present_name = elsewhere[name]
            return getattr(import_module(f"mwl.{home}"), present_name)

        if elsewhere:
            module.__dict__["__getattr__"] = moved


if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Moved())
