"""`mwl evaluate`: one agent on one task, measured over whole episodes, recorded in MLflow."""

import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwl.core.artifact import MODEL, atomic_folder, update_manifest
from mwl.core.errors import BadInput, MwlError, SpecMismatch, WriteFailed
from mwl.core.files import new_file, write_text, writing
from mwl.core.terminal import tell
from mwl.evaluation.agents import NamedAgent, resolve
from mwl.evaluation.config import EvaluationConfig
from mwl.evaluation.record import FILE, Record
from mwl.evaluation.video import Recorder
from mwl.experiments import tracking
from mwl.rollouts.episodes import Episodes, run_episodes
from mwl.rollouts.external import ExternalEnv, is_external
from mwl.simulation import HumanoidEnv, Shift, make_env
from mwl.simulation.rendering.scene import SceneRecorder, can_record

Report = Callable[[float, str], None]
VIDEO, SCENE = "episode.mp4", "episode.html"
ASIDE = Path("runs/evaluations")  # for records that MLflow can't take
FILM: dict[str, Any] = {"max_steps": 500}  # ten seconds, which take about as long to draw on one core


def evaluate(
    config: EvaluationConfig,
    video: Path | None = None,
    report: Report | None = None,
    ready: Callable[[], None] | None = None,
    film_failed: Callable[[WriteFailed], None] | None = None,
    scene: Path | None = None,
) -> Record:
    """Run the episodes and measure; the same seed gives the same numbers.

    Args:
        config: what to evaluate.
        video: file for a film of the first episode.
        report: called with (fraction done, text).
        ready: called when all that was named has been found to exist and to fit, before the first episode.
        film_failed: called where the film can't be written; the episodes go on. None lets the error end them.
        scene: file for the first episode as a page, see `mwl.simulation.rendering.scene`.

    Raises:
        BadInput: fewer than one episode, an unknown suite, or a shift that there is not.
        UnknownTask, UnknownAgent, MissingFile, CorruptFile, SpecMismatch: what was named does not exist or fit.
    """
    if config.episodes < 1:
        raise BadInput(f"--episodes {config.episodes}: at least one episode is needed")
    shift = None if config.shift is None else Shift.parse(config.shift)
    env = _make_env(config, shift)
    task = env.task
    for flag, file in (("video", video), ("scene", scene)):
        if file is not None and isinstance(env, ExternalEnv):
            raise BadInput(f"--{flag} {file}: films are of the robot; leave it out in {config.task}")
    if scene is not None and config.suite != "embedded":
        raise BadInput(f"--scene {scene}: scenes are of the embedded suite; leave it out for {config.suite}")
    named = resolve(config.agent, config.name, config.instruction, config.act, config.without)
    check_fits(named, config.task, task.layout.size)
    if ready is not None:
        ready()
    with ExitStack() as stack:
        stack.callback(env.close)
        caption = [f"{named.name} on {config.task}", f"“{config.instruction or task.instruction}”"]
        recorders: list[Recorder | SceneRecorder] = []
        if video is not None:
            recorders.append(Recorder(video, caption, experts=named.expert_names, failed=film_failed, **FILM))
        if scene is not None:
            recorders.append(SceneRecorder(scene, ": ".join(caption), failed=film_failed))
        for recorder in recorders:
            stack.enter_context(recorder)

        def record(step: int, env: Any, agent: Any) -> None:
            for recorder in recorders:
                recorder(step, env, agent)

        episodes = run_episodes(env, named.agent, config.seed, record if recorders else None, report)
    return _summarise(config, named, episodes, task.success_bar)


def _make_env(config: EvaluationConfig, shift: Shift | None) -> HumanoidEnv | ExternalEnv:
    """The episodes of an evaluation, one in each environment."""
    if not is_external(config.task):
        return make_env(config.task, config.episodes, config.suite, config.seed, config.num_threads, shift)  # type: ignore[arg-type]
    if shift is not None or config.suite != "embedded" or config.num_threads is not None:
        raise BadInput(f"{config.task}: shifts, suites and threads of the physics are of the robot's tasks alone")
    return ExternalEnv(config.task, config.episodes, config.seed)


def check_fits(named: NamedAgent, task: str, observed: int) -> None:
    """Refuse a policy that reads another observation than the task shows, or was made for another environment.

    Raises:
        SpecMismatch: the sizes differ, or one of both is not the robot's and they are not the same.
    """
    home = named.manifest.task
    if named.manifest and home != task and (is_external(home) or is_external(task)):
        raise SpecMismatch(f"{named.address}: made for {home}, so it can't act in {task}; fit one there")
    size = named.manifest.observation.size
    if (
        (named.manifest.stage == "world_model" or "teacher" in named.manifest.stage)
        and size is not None
        and size != observed
    ):
        raise SpecMismatch(f"{named.address}: made for {home} ({size} observations), but {task} shows {observed}")


def _summarise(config: EvaluationConfig, named: NamedAgent, episodes: Episodes, success_bar: float) -> Record:
    return Record(
        task=config.task,
        suite=config.suite,
        agent=named.name,
        instruction=config.instruction,
        episodes=config.episodes,
        seed=config.seed,
        **episodes.figures(success_bar),
        returns=episodes.returns.tolist(),
        lengths=episodes.lengths.tolist(),
        env_steps_per_s=episodes.env_steps_per_s,
        address=config.agent,
        act=config.act,
        shift=None if config.shift is None else str(Shift.parse(config.shift)) or None,
        env_steps=named.env_steps,
        expert_steps=named.expert_steps,
        agent_run_id=named.run_id,
        agent_sha256=named.manifest.files.get(MODEL),
    )


def track(
    record: Record,
    experiment: str,
    *,
    parent: str | None = None,
    film: Path | None = None,
    stage: str | None = None,
    scene: Path | None = None,
) -> Record:
    """Record an evaluation in MLflow: the numbers, the record, film and scene; returns it with the run's id.

    Raises:
        MwlError: the store did not take it.
    """
    tags = {
        tracking.KIND_TAG: "evaluation",
        tracking.STAGE_TAG: stage or f"evaluate {record.agent}",
        "mwl.task": record.task,
        "mwl.agent": record.agent,
    }
    tracked = record

    def log(run_id: str) -> None:
        nonlocal tracked
        tracked = replace(record, run_id=run_id)
        named = ("task", "agent", "suite", "episodes", "seed", "instruction", "shift", "address")
        tracking.log_parameters(run_id, {name: getattr(record, name) for name in named})
        figures = {name: value for name, value in record.printed().items() if isinstance(value, float)}
        tracking.log_figures(run_id, [(name, value, record.env_steps) for name, value in figures.items()])
        tracking.log_figures(run_id, [("episode_return", value, i) for i, value in enumerate(record.returns)])
        tracking.client().log_text(run_id, tracked.to_json(), FILE)
        for folder, file in (("videos", film), ("scenes", scene)):
            if file is not None and file.is_file():
                tracking.client().log_artifact(run_id, str(file), folder)
        if record.agent_run_id is not None:
            tracking.link(record.agent_run_id, run_id, _told(record))

    tracking.record(experiment, stage or f"{record.agent} on {record.task}", log, parent=parent, tags=tags)
    return tracked


def _told(record: Record) -> str:
    """An evaluation in one line."""
    ends = "" if record.return_ci95 is None else " ({:.1f} to {:.1f})".format(*record.return_ci95)
    return f"{record.row.label} on {record.task}, return {record.return_mean:.1f}{ends}, {record.episodes} episodes"


def evaluate_to_folder(
    config: EvaluationConfig,
    output: Path,
    experiment: str,
    parent: str | None,
    video: bool,
    report: Report | None = None,
) -> Record:
    """As `evaluate`, leaving `evaluation.json`, film and scene in MLflow and a folder that appears when complete."""
    with atomic_folder(output) as folder:
        film = folder / VIDEO if video and not is_external(config.task) else None
        scene = folder / SCENE if film is not None and can_record() and config.suite == "embedded" else None
        record = evaluate(config, film, report, film_failed=lambda error: tell(str(error)), scene=scene)
        try:
            record = track(record, experiment, parent=parent, film=film, stage=output.name, scene=scene)
        except MwlError as error:
            tell(f"{error}; the evaluation is not in MLflow, it lies in {output}")
        write_text(folder / FILE, record.to_json())
    return record


def keep(record: Record, folder: Path) -> None:
    """Write an evaluation into the manifest of the agent's folder, as `evaluation`; all but how fast it ran."""
    figures = {name: value for name, value in record.printed().items() if name != "env_steps_per_s"}
    update_manifest(folder, evaluation=figures)


def evaluate_with_film(
    config: EvaluationConfig,
    experiment: str,
    video: Path | None,
    report: Report,
    film_failed: Callable[[WriteFailed], None],
    scene: Path | None = None,
) -> Record:
    """As `evaluate`, recorded in MLflow with a film; without a file for the film it is made for MLflow alone.

    The record is worth more than film and store: where the store can't take it, which is tried before the episodes, a
    file does.
    """

    def try_store() -> None:
        if why := tracking.trouble():
            tell(f"{why}; the evaluation goes on without MLflow")

    with tempfile.TemporaryDirectory() as scratch:
        film = video if is_external(config.task) else video or Path(scratch) / VIDEO
        record = evaluate(config, film, report, try_store, film_failed, scene)
        try:
            return track(record, experiment, film=film, scene=scene)
        except MwlError as error:
            _put_aside(record, None if video else film, str(error))
    return record


def _put_aside(record: Record, film: Path | None, why: str) -> None:
    """Write what the store did not take beside the other runs, under names that are free, and say where."""
    try:
        name = re.sub(r"[^\w.\-]+", "_", f"{record.task}_{record.agent}")[:50]  # an agent is named freely
        file = new_file(ASIDE / f"{name}.json")
        write_text(file, record.to_json())
        if film is not None and film.is_file():
            with writing(file.with_name(f"{file.name.removesuffix('.json')}{film.suffix}")) as scratch:
                shutil.copyfile(film, scratch)
    except (MwlError, OSError) as error:
        tell(f"{why}; and no file could be written ({error}): the evaluation is in what is printed alone")
    else:
        tell(f"{why}; the evaluation is not in MLflow, it lies in {file}")
