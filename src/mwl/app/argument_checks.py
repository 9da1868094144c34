"""Bad input is refused at once: what a command names is looked for before torch is loaded, which takes seconds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mwl import _gymnasium
from mwl._places import find, find_each
from mwl.core.errors import BadInput, MissingFile, UnknownAgent, did_you_mean
from mwl.core.files import shown

SKILLS = ("data/experts", "data/transitions")  # a folder for each skill that ships
EXPERTS = (*SKILLS, "data/robust")  # with those that can take the place of another one


def check_task(name: str, suite: str = "embedded") -> None:
    """Refuse a task that the embedded suite has not.

    Raises:
        UnknownTask: it is none of this package, and no environment of another one (`gym:`, `dmc:`, `class:`).
    """
    if suite == "embedded" and ":" not in name and name not in _gymnasium.TASK_NAMES:
        raise _gymnasium.unknown_task(name)


def check_agents(addresses: Iterable[str]) -> None:
    """Refuse agents behind whose address nothing is.

    Raises:
        UnknownAgent: no expert, agent or folder of that name.
    """
    from mwl.evaluation.agents import find_agent, find_expert

    for address in addresses:
        kind, colon, name = address.partition(":")
        if colon and kind == "expert":
            find_expert(name, say=False)
        elif colon and kind == "agent":
            find_agent(name)
        elif not colon and not (find(address)).exists():
            known = [f"expert:{file.parent.name}" for file in find_each("data/experts", "*/manifest.json").values()]
            known += [f"agent:{file.parent.name}" for file in find_each("data/agents", "*/manifest.json").values()]
            hint = did_you_mean(address, known)
            raise UnknownAgent(f"{shown(Path(address))}: no such folder{hint}; `mwl list` shows what there is")


def check_skills(agents: Mapping[str, str]) -> None:
    """Refuse skills that no words ask for, of agents that bring none themselves: those of another name that ship.

    Raises:
        BadInput: the shipped skills are others; the message names the nearest ones.
    """
    known = {str(file.parent) for folder in SKILLS for file in find_each(folder, "*/manifest.json")}
    for skill, address in agents.items():
        kind, _, name = address.partition(":")
        if kind in ("expert", "agent") and skill not in {*known, name}:
            hint = did_you_mean(skill, known)
            raise BadInput(f"{shown(skill)}={shown(address)}: no such skill; skills: {', '.join(sorted(known))}{hint}")


def check_file(address: str, folder: str) -> None:
    """Refuse a configuration that there is not.

    Args:
        address: file, or part of it (`FILE#PART`).
        folder: where the shipped ones of its kind lie.

    Raises:
        MissingFile: no such file; the message names those that are spelt alike.
    """
    name = address.partition("#")[0]
    if not find(name).exists():
        known = [f"{folder}/{file}" for file in find_each(folder, "**/*.yaml")]
        raise MissingFile(f"{shown(Path(name))}: no such file{did_you_mean(name.replace('conf:', 'conf/'), known)}")
