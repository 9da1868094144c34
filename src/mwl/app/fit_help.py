"""`mwl fit --help`: the flags of a stage, and of the model and the data that its configuration names."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mwl._places import find_each
from mwl.semantics.encoders.cache import cache_folder
from mwl.semantics.plan.answer_cache import KeptAnswers, states

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_USAGE = "mwl fit --config FILE [--output FOLDER] [--resume] [--force] [--model.x.y=VALUE] [--trainer.x=VALUE] ..."
_FLAGS = """\
  --config FILE             the stage; several are merged. FILE#PART is a part or a variant of it
  --output FOLDER           where the result goes (default: runs/<name of the file>)
  --resume                  go on from the last checkpoint
  --force                   replace what is there
  --env ENV, --steps N      short for --data.init_args.task and --data.init_args.env_steps
  --seed_everything N       of all that is drawn
  --experiment NAME         MLflow experiment
  --threads N               CPU threads for torch
  --checkpoint_every_s N    seconds between checkpoints
  --trainer.KEY=VALUE       of Lightning's Trainer, as --trainer.max_epochs=3
  --help-all                all flags, with those
  --print_config            the whole configuration, without fitting"""


def fit_help(configs: Sequence[str]) -> str:
    """The help, with what the model and the data of these configurations take; without any, those that ship.

    Raises:
        MissingFile, ConfigError, BadInput: a configuration that there is not, or that names no class.
    """
    text = f"usage: {_USAGE}\n\nfit one stage\n\n{_FLAGS}\n"
    if not configs:
        names = [
            f"conf:{name}" for name in find_each("conf", "**/*.yaml") if name.parts[0] not in ("pipelines", "teachers")
        ]
        stages = [
            name
            for name in names
            if not name.endswith(("default.yaml", "results.yaml")) and "demonstrators" not in name
        ]
        return f"{text}\nwith --config, the flags of its model and data as well; there are:\n  " + "\n  ".join(stages)
    parsers = [_parser(section, content) for section, content in _sections(configs).items()]
    return text + "".join(f"\n{parser.format_help()}" for parser in parsers)


def fit_flags(configs: Sequence[str]) -> list[str]:
    """The flags that the model and the data of these configurations take, for the shell.

    Raises:
        MissingFile, ConfigError, BadInput: see `fit_help`.
    """
    sections = _sections(configs)
    kept, asked = KeptAnswers(cache_folder() / "flags"), repr((sections, states())).encode()
    if (answer := kept.read(asked)) is None:  # what names a class of the model loads torch
        actions = [action for section, content in sections.items() for action in _parser(section, content)._actions]
        answer = {"flags": [flag for action in actions for flag in action.option_strings]}
        kept.write(asked, answer)
    return [str(flag) for flag in answer["flags"]]


def _sections(configs: Sequence[str]) -> dict[str, Any]:
    from mwl.training.schedule import read_part
    from mwl.training.stage_files import merge

    content: dict[str, Any] = {}
    for config in configs:
        content = merge(content, read_part(config))
    return {name: content[name] for name in ("model", "data") if isinstance(content.get(name), dict)}


def _parser(section: str, content: dict[str, Any]) -> "ArgumentParser":
    """A parser of the flags of a class, with what the configuration sets."""
    from jsonargparse import ArgumentParser

    from mwl._extensions import import_class

    found = import_class(str(content.get("class_path", "")))
    parser = ArgumentParser(prog="mwl fit", add_help=False, usage=argparse.SUPPRESS)
    parser.add_class_arguments(found, f"{section}.init_args")
    parser.set_defaults(
        {f"{section}.init_args.{key}": value for key, value in (content.get("init_args") or {}).items()}
    )
    return parser
