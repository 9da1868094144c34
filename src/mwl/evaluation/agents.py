"""How an agent is named on the command line, and the small protocol through which evaluation sees it."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mwl._extensions import import_class
from mwl._places import find_each, places
from mwl.core.artifact import MANIFEST, is_scratch, read_manifest
from mwl.core.errors import BadInput, NoSkillFits, UnknownAgent, did_you_mean
from mwl.core.files import shown
from mwl.core.manifest import Manifest
from mwl.evaluation.config import name_without
from mwl.evaluation.record import Record
from mwl.experiments import tracking

if TYPE_CHECKING:
    from mwl.experts.library import ExpertLibrary
    from mwl.rollouts.episodes import Agent
    from mwl.rollouts.policy import AgentPolicy

_log = logging.getLogger(__name__)
EXPERT_FOLDERS = ("data/experts", "data/transitions", "data/robust", "runs")
AGENT_FOLDER = "data/agents"
RESULTS_FOLDER = "data/results"
_CLOSE = 0.5  # share of the best skill's weight from which one of the agent's own means the same


@dataclass
class NamedAgent:
    """An agent with what tables and records say about it."""

    agent: "Agent"
    name: str
    address: str
    env_steps: int = 0
    expert_steps: int = 0
    expert_names: list[str] = field(default_factory=list)
    run_id: str | None = None
    manifest: Manifest = field(default_factory=Manifest)


def resolve(
    address: str,
    name: str | None = None,
    instruction: str | None = None,
    act: str | None = None,
    without: str | None = None,
) -> NamedAgent:
    """Load the agent that an address names.

    Args:
        address: an artifact, `expert:<name>`, `agent:<task>` (of those in `data/agents`), or `run:<MLflow id>`
            of a fitted stage, or `class:<path>`, an agent of one's own that is made without arguments.
        name: what tables call it; default from its manifest.
        instruction: what a guided agent is told; default what it was fitted with.
        act: how a world model chooses actions; default as it was fitted.
        without: the part of an agent to leave out, see `mwl.world_model.agent.PARTS`.

    Raises:
        BadInput: an agent without experts is told something, or one without a world model how to act.
        NoSkillFits: none of its experts fits what it is told.
        UnknownAgent: no expert or agent of that name, or an artifact of another kind of stage.
        MissingFile: no such folder or run.
        CorruptFile, SpecMismatch: the folder is damaged or was made for another robot.
    """
    if address.startswith("class:"):
        if instruction is not None or act is not None:
            raise BadInput(f"{address}: an agent of your own takes neither an instruction nor a way of acting")
        made = import_class(address.removeprefix("class:"))
        return NamedAgent(made(), name or made.__name__, address)
    if address.startswith("expert:"):
        return _load(find_expert(address.removeprefix("expert:")), address, name, instruction, act, without)
    if address.startswith("agent:"):
        return _load(find_agent(address.removeprefix("agent:")), address, name, instruction, act, without)
    if address.startswith("run:"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = tracking.download_artifact(address.removeprefix("run:"), Path(scratch))
            return _load(folder, address, name, instruction, act, without)
    return _load(Path(address), address, name, instruction, act, without)


def load_agent(
    address: str | Path, instruction: str | None = None, act: str | None = None, without: str | None = None
) -> "Agent":
    """The agent that an address names, as `agent:walk`, `expert:walk` or a folder; all else is as of `resolve`."""
    return resolve(str(address), None, instruction, act, without).agent


def load_policy(address: str | Path, instruction: str | None = None) -> "AgentPolicy":
    """As `load_agent`, as a TensorDictModule: `policy=` of TorchRL's collectors and of `env.rollout`."""
    from mwl.rollouts.policy import AgentPolicy

    return AgentPolicy(load_agent(address, instruction))


def find_expert(name: str, *, say: bool = True) -> Path:
    """Folder of the expert of that name: of the working folder (`data/`, then `runs/`), of the user, or shipped.

    A folder that is damaged, half-written or of another program is passed over; which, and which others have the name
    as well, is logged as a warning, unless one is found and `say` is false.

    Raises:
        UnknownAgent: there is none; the message lists the names that exist.
    """
    found: dict[str, list[Path]] = {}
    unsound: list[str] = []
    for folder in _artifacts():
        try:
            manifest = read_manifest(folder, files=False)
        except BadInput as error:
            unsound.append(str(error))
            continue
        if manifest.stage == "expert":
            found.setdefault(manifest.name, []).append(folder)
    sound = []
    for folder in found.get(name, []):
        try:
            read_manifest(folder, stage="expert")
            sound.append(folder)
        except BadInput as error:
            unsound.append(str(error))
    if unsound and (say or not sound):
        more = f" (and {len(unsound) - 1} more)" if len(unsound) > 1 else ""
        _log.warning("expert:%s: passed over %s%s", shown(Path(name)), unsound[0], more)
    if not sound:
        hint = did_you_mean(name, found) or f"; known experts: {', '.join(sorted(found))}"
        raise UnknownAgent(f"no expert named {shown(name)} in {', '.join(EXPERT_FOLDERS)}{hint}")
    if len(sound) > 1 and say:
        others = ", ".join(map(str, sound[1:4])) + (", ..." if len(sound) > 4 else "")
        _log.warning("expert:%s is %s; of the same name: %s (name a folder to choose)", name, sound[0], others)
    return sound[0]


def _artifacts() -> Iterator[Path]:
    """Folders with a manifest, in order; none that is hidden or being worked on, nor what ships where it is again."""
    seen: set[Path] = set()
    for place in places():
        for name in EXPERT_FOLDERS if place == Path() else EXPERT_FOLDERS[:-1]:
            for path in sorted((place / name).glob(f"**/{MANIFEST}")):
                inside = path.relative_to(place)
                if "_work" not in inside.parts and not is_scratch(inside) and inside not in seen:
                    seen.add(inside)
                    yield path.parent


def find_agent(task: str) -> Path:
    """Folder of the shipped agent for a task, named with or without its robot: `h1-walk` or `walk`.

    Raises:
        UnknownAgent: there is none; the message lists those that exist.
    """
    known = {name.parent.name: file.parent for name, file in find_each(AGENT_FOLDER, f"*/{MANIFEST}").items()}
    if (name := task.removeprefix("h1-")) not in known:
        hint = did_you_mean(name, known) or f"; known: {', '.join(known) or 'none'}"
        raise UnknownAgent(f"no agent for {shown(task)} in {AGENT_FOLDER}{hint}")
    return known[name]


def best_shipped(task: str) -> str:
    """Address of the best that ships for a task: its agent, else what returned most in `data/results`.

    Raises:
        UnknownAgent: nothing that ships was measured there.
    """
    with suppress(UnknownAgent):
        find_agent(task)
        return f"agent:{task.removeprefix('h1-')}"
    if (best := _most_returned(task, "")) is None:
        raise UnknownAgent(f"nothing that ships was measured on {shown(task)}; name an agent with --agent")
    return best


def best_expert(task: str) -> str:
    """Address of the shipped expert that returned most on a task in `data/results`.

    Raises:
        UnknownAgent: none was measured there.
    """
    if (best := _most_returned(task, "expert:")) is None:
        raise UnknownAgent(f"no expert that ships was measured on {shown(task)}")
    return best


def _most_returned(task: str, kind: str) -> str | None:
    records = [Record.read(file) for file in find_each(RESULTS_FOLDER, "*.json").values()]
    of_task = [record for record in records if record.task == task and record.address.startswith(kind)]
    usual = [record for record in of_task if record.row.order[2:] == ("embedded", "", "", "")]
    return max(usual, key=lambda record: record.return_mean).address if usual else None


def _load(
    folder: Path, address: str, name: str | None, instruction: str | None, act: str | None, without: str | None
) -> NamedAgent:
    from mwl.baselines import load_agent
    from mwl.skills import SkillAgent

    agent: Any = load_agent(folder)
    manifest = read_manifest(folder)
    guidance = getattr(agent, "guidance", None)
    if instruction is not None:
        if guidance is None:
            raise BadInput(f"{address}: an agent without experts cannot be told {shown(instruction)}")
        agent.set_weights(weights_told(guidance.library, instruction, address))
    guided = "guided" if manifest.provenance.guided else "tdmpc2"
    names = {"expert": f"expert:{manifest.name}", "adaptation": "tuned", "world_model": guided}
    default = names.get(manifest.stage, manifest.name)
    kind = "a teacher" if "teacher" in manifest.stage else {"baseline": "a baseline"}.get(manifest.stage, "an expert")
    if act is not None:
        if manifest.stage != "world_model":
            raise BadInput(f"{address}: {kind} has one way of acting; only a world model can be told to act by {act!r}")
        agent.act_by(act)
        default = f"{default} ({act})"
    if without is not None:
        if manifest.stage not in ("world_model", "adaptation"):
            raise BadInput(
                f"{address}: {kind} has no {without} to leave out; name the agent of a world model or of an adaptation"
            )
        agent.leave_out(without)
        default = name_without(name or default, without)
        name = None
    chosen_from = agent.space if isinstance(agent, SkillAgent) else guidance  # also by one that is told nothing
    library = None if chosen_from is None else chosen_from.library
    return NamedAgent(
        agent=agent,
        name=name or default,
        address=address,
        env_steps=manifest.provenance.env_steps or manifest.metrics.env_steps or 0,
        expert_steps=0 if library is None or manifest.stage == "expert" else library.env_steps,
        expert_names=list(guidance.library.names) if guidance is not None else [],
        run_id=manifest.mlflow_run_id,
        manifest=manifest,
    )


def weights_told(library: "ExpertLibrary", instruction: str, address: str) -> Mapping[str, float]:
    """Weights of an instruction over an agent's own experts.

    Held against the cards of the shipped skills as well: of an agent that can only stand, "walk forward" asks for what
    another can do, and standing would be no answer to it.

    Args:
        library: the agent's experts.
        instruction: what it is told.
        address: names the agent in messages.

    Raises:
        NoSkillFits: another skill fits clearly better than any of its own, or none does.
    """
    from mwl.semantics import SemanticHead

    own = library.cards
    head = SemanticHead.load("embedded")
    others = [card for card in head.cards if card.name not in library.names]
    head.set_cards([*own, *others])
    weights = head.weights(instruction)
    best = max(weights, key=weights.__getitem__)
    if best not in library.names and max(weights[name] for name in library.names) < _CLOSE * weights[best]:
        skills = ", ".join(library.names)
        raise NoSkillFits(f"{address}: its skills are {skills}; {shown(instruction)} asks for {best}", library.names)
    head.set_cards(own)
    return head.weights(instruction)
