"""How a stage is configured: files, parts and command line become model, data and trainer, by LightningCLI."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mwl._renamed import parser_mode, present_keys, present_option
from mwl.core import files as disk
from mwl.core.errors import ConfigError, MwlError
from mwl.core.files import read_text, shown
from mwl.core.ranges import Count, NonNegative
from mwl.experiments import tracking
from mwl.training.callbacks import (
    RUN_ID,
    LastFigures,
    PeriodicCheckpoint,
    ProgressFile,
    RandomState,
    SaveConfig,
    WriteArtifact,
)
from mwl.training.config_errors import explain, locate
from mwl.training.constants import without_constants_of_classes
from mwl.training.resume import MoreRounds, OptimiserSettings, WholeFiles, has_checkpoint
from mwl.training.schedule import read_part, split
from mwl.training.stage_files import check_sections, default_file

WORK = "_work"
Arguments = Sequence[str] | dict[str, Any]
_NONE = re.compile(r"(?P<key>--[\w.]+=)None")
_MLFLOW_LOGGERS = ("mwl.experiments.logger.StageLogger", "lightning.pytorch.loggers.MLFlowLogger")


def work_folder(output: Path | str) -> Path:
    """Where a stage keeps checkpoints, log and configuration while it makes the result folder `output`."""
    output = Path(output)
    return output.parent / WORK / output.name


class StageParser(LightningArgumentParser):
    """Lets `null` on the command line reach settings inside a group of settings of a class.

    jsonargparse 4.53 reads the value of `--model.init_args.guidance.gate null` and hands it on to the parser of the
    class as the text `--guidance.gate=None`, which is read again: there, None is a word like any other.
    """

    def parse_args(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:  # type: ignore[override]
        """Parse, `--key=None` meaning `--key=null`, and former names of keys the present ones."""
        if args is not None:
            args = [f"{found['key']}null" if (found := _NONE.fullmatch(arg)) else present_option(arg) for arg in args]
        return super().parse_args(args, *others, **options)


class StageCLI(LightningCLI):
    """LightningCLI for one stage: any LightningModule with any LightningDataModule, and its artifact at the end."""

    def __init__(self, args: Arguments, *, instantiate: bool = True, files: Sequence[Path] = ()) -> None:
        self.instantiate = instantiate
        default = None
        if isinstance(args, dict):
            self.files = list(files)
            self.addresses = [str(file) for file in self.files]
        else:
            self.addresses = addresses_of(args)
            self.files = [split(address)[0] for address in self.addresses]
            default = default_file(self.files[0]) if self.files else None
            args = _opened(args, self.addresses)
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # its private hparams would keep modules from rebuilding themselves
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            parser_kwargs={
                "prog": "mwl fit",
                "exit_on_error": False,
                "parser_mode": parser_mode(),
                "default_config_files": [str(default)] if default else [],
            },
            parser_class=StageParser,
            run=False,
            args=args if isinstance(args, dict) else list(args),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what belongs to the stage rather than to model, data or trainer."""
        parser.add_argument("--env", type=str | None, default=None, help="short for --data.init_args.task")
        parser.add_argument("--steps", type=Count | None, default=None, help="short for --data.init_args.env_steps")
        parser.add_argument("--output", type=str, default=None, help="result folder; default runs/<config name>")
        parser.add_argument("--experiment", type=str, default=tracking.DEFAULT_EXPERIMENT, help="MLflow experiment")
        parser.add_argument("--parent_run", type=str | None, default=None, help="MLflow run this one is shown below")
        parser.add_argument("--checkpoint_every_s", type=NonNegative, default=30.0, help="seconds between checkpoints")
        parser.add_argument("--progress_file", type=str | None, default=None, help="report progress to this file")
        parser.add_argument("--threads", type=Count | None, default=None, help="CPU threads for torch")
        parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
        parser.add_argument("--force", action="store_true", help="replace what is there")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a mistake becomes one line.

        Raises:
            ConfigError: unknown key, bad value, unknown class, missing file or malformed YAML.
        """
        where = str(self.files[-1]) if self.files else "command line"
        if isinstance(args, dict):
            check_sections(args, where)
        else:
            for address in self.addresses:
                check_sections(read_part(address), address)
        try:
            if isinstance(args, dict):
                self.config = parser.parse_object(without_constants_of_classes(present_keys(args), where))
            else:
                self.config = parser.parse_args(args)
        except (ArgumentError, argparse.ArgumentError) as error:
            known = [key for action in parser._actions if (key := action.dest)]
            raise ConfigError(explain(str(error), self.files, known)) from error
        except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:  # what the parser trips over
            raise ConfigError(f"{where}: can't be read as a configuration ({type(error).__name__}: {error})") from error
        seed = self.config.seed_everything
        if seed is not None and not 0 <= int(seed) < 2**32:
            raise ConfigError(
                f"{locate('seed_everything', self.files)}: bad value for 'seed_everything': should be a "
                f"whole number from 0 to {2**32 - 1}. Got value: {shown(seed)}"
            )
        if self.config.model is None:
            raise ConfigError(f"{where}: no `model` with a class_path given")
        self._apply_short(where)
        if self.config.output is None:
            self.config.output = default_output(self.addresses)

    def _apply_short(self, where: str) -> None:
        """Put what was said shortly where it belongs.

        Raises:
            ConfigError: the stage collects no steps in an environment.
        """
        for short, key in (("env", "task"), ("steps", "env_steps")):
            if self.config[short] is None:
                continue
            settings = self.config.data.init_args if self.config.data is not None else {}
            if key not in settings:
                raise ConfigError(f"{where}: --{short} is of stages whose data have {key!r}, which this one lacks")
            settings[key], self.config[short] = self.config[short], None

    def _set_seed(self) -> None:
        if self.instantiate:
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Fill in what follows from the stage's folder: the logger's run and the configuration's second home."""
        self.save_config_kwargs = {"folder": str(work_folder(self.config.output))}
        logger = self.config.trainer.logger
        if not self.instantiate or getattr(logger, "class_path", None) not in _MLFLOW_LOGGERS:
            return
        if self.config.trainer.fast_dev_run:  # Lightning takes no logger for it, and this one would ask for its store
            self.config.trainer.logger = False
            return
        tracking.check()  # makes the store; the logger itself makes no more before the training begins
        name = Path(self.config.output).name
        tags = {tracking.STAGE_TAG: name, tracking.KIND_TAG: "fit"}
        if self.config.parent_run:
            tags[tracking.PARENT_TAG] = self.config.parent_run
        work = work_folder(self.config.output)
        finished = Path(self.config.output).exists() and not has_checkpoint(work)
        goes_on = self.config.resume and (work / RUN_ID).is_file() and not finished
        settings = {
            "tracking_uri": tracking.tracking_uri(),
            "experiment_name": self.config.experiment,
            "run_name": name,
            "tags": tags,
            "run_id": tracking.known_run(read_text(work / RUN_ID).strip()) if goes_on else None,
        }
        for key, value in settings.items():
            logger.init_args[key] = value

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, unless only the configuration was asked for.

        Raises:
            MwlError: a class refuses its settings; jsonargparse hides what it says among its own reasons.
        """
        if not self.instantiate:
            return
        try:
            super().instantiate_classes()
        except ValueError as error:
            raised: BaseException | None = error
            while raised is not None and not isinstance(raised, MwlError):
                raised = raised.__cause__ or raised.__context__
            raise raised or error from None

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add the callbacks that every stage has.

        Raises:
            ConfigError: the trainer refuses its settings, as a GPU where there is none.
        """
        output, config = self.config.output, self.config
        callbacks = [
            PeriodicCheckpoint(str(work_folder(output)), config.checkpoint_every_s),
            RandomState(None if config.seed_everything is None else int(config.seed_everything)),
            OptimiserSettings(),
            MoreRounds(),
            LastFigures(),
            WriteArtifact(output),
        ]
        if config.progress_file:
            callbacks.append(ProgressFile(config.progress_file))
        if config.progress_file or not sys.stdout.isatty():  # a bar in a log file is a thousand lines
            kwargs["enable_progress_bar"] = False
        elif config.trainer.enable_progress_bar is not False:
            callbacks.append(RichProgressBar())
        if config.trainer.default_root_dir is None:  # or a logger without a folder writes to wherever one happens to be
            kwargs["default_root_dir"] = str(work_folder(output))
        plugins = self.config_init.trainer.plugins or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), WholeFiles()]
        self.trainer_defaults = {"callbacks": callbacks}
        clip = self.config.trainer.gradient_clip_val
        if clip is not None and clip < 0:
            raise ConfigError(f"trainer.gradient_clip_val is {clip}; it can't be negative")
        try:
            trainer = super().instantiate_trainer(enable_checkpointing=True, **kwargs)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise ConfigError(f"trainer: {error}") from error
        if trainer.num_devices * trainer.num_nodes > 1:
            raise ConfigError(
                f"trainer.devices: a stage is fitted on one device, not on {trainer.num_devices * trainer.num_nodes}, "
                "each of which would do the same; for several seeds at once put `seeds: [0, 1]` into a pipeline"
            )
        return trainer


def resolved_config(args: Arguments, files: Sequence[Path] = ()) -> dict[str, Any]:
    """The complete configuration of a stage, defaults included, without building anything.

    Args:
        args: see `fit`.
        files: where a configuration given as a mapping came from, for messages.

    Raises:
        ConfigError: the configuration does not fit the classes it names.
    """
    cli = StageCLI(args, instantiate=False, files=files)
    config: dict[str, Any] = cli.config.as_dict()
    return config


def addresses_of(args: Sequence[str]) -> list[str]:
    """Files, or parts of files, given by `--config`, in order.

    Raises:
        MissingFile: one of them does not exist.
        ConfigError: one is no YAML within bounds, which the parser below would not notice, or has no such part.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    addresses: list[str] = parser.parse_known_args(list(args))[0].config
    for address in addresses:
        read_part(address)
    return addresses


def default_output(addresses: Sequence[str]) -> str:
    """Where a stage's result goes by default."""
    file, part = split(addresses[-1]) if addresses else (Path("stage"), "")
    return f"runs/{file.stem}.{part}" if part else f"runs/{file.stem}"


def _opened(args: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Arguments in which the content stands for the address of a file that the parser would not read as it is meant."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", default=default_output(addresses))
    output = parser.parse_known_args(list(args))[0].output
    opened = list(args)
    for address in addresses:
        file, part = split(address)
        content = read_part(address, output.removesuffix(f".{part}") if part else None)
        content = without_constants_of_classes(content, address)
        if part or str(file) != address or content != disk.read_yaml(file):
            text = yaml.safe_dump(content, sort_keys=False)
            opened = [text if arg == address else arg.replace(f"={address}", f"={text}") for arg in opened]
    return opened
