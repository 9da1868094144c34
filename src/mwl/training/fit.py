"""`mwl fit`: one stage, configured and run by LightningCLI, resumable from its last checkpoint."""

import argparse
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from mwl._renamed import parser_mode, present_keys, present_option
from mwl.core import files as disk
from mwl.core.artifact import MANIFEST
from mwl.core.errors import BadInput, ConfigError, MwlError
from mwl.core.files import output_folder, read_text, shown
from mwl.core.ranges import Count, NonNegative
from mwl.experiments import tracking
from mwl.training.callbacks import (
    CONFIG,
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
from mwl.training.lock import held
from mwl.training.resume import LAST, MoreRounds, OptimiserSettings, WholeFiles, has_checkpoint, usable_checkpoint
from mwl.training.schedule import BEFORE, links, parts, read_part, split
from mwl.training.stage_files import check_sections, default_file, read_yaml

WORK = "_work"
Arguments = Sequence[str] | dict[str, Any]
_NONE = re.compile(r"(?P<key>--[\w.]+=)None")
_MLFLOW_LOGGERS = ("mwl.experiments.logger.StageLogger", "lightning.pytorch.loggers.MLFlowLogger")


class Interrupted(KeyboardInterrupt):
    """The stage was asked to stop and left a checkpoint from which it can go on."""


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
            self.addresses = _addresses(args)
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
            self.config.output = _output(self.addresses)

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


def fit(args: Arguments) -> Path | None:
    """Fit one stage and return its artifact; None after a trial run (`fast_dev_run`), which leaves nothing.

    Args:
        args: `--config FILE`, `--resume`, `--force`, `--output FOLDER`, and any `--model.x`, `--data.x`,
            `--trainer.x`; or the same as a nested mapping.

    Raises:
        ConfigError: the configuration does not fit the classes it names.
        BadInput: the result exists already, or another process is at work on it.
        WriteFailed: the disk is full; the last checkpoint is as it was.
        Interrupted: SIGINT or SIGTERM arrived; the checkpoint is saved.
    """
    quieten()
    if not isinstance(args, dict) and (schedule := _schedule(args)):
        return _fit_parts(args, schedule)
    config = resolved_config(args)
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    if config["trainer"]["fast_dev_run"]:
        _try_out(args, config)
        return None
    output = Path(config["output"])
    work = work_folder(output)
    output_folder(output, force=config["force"] or (config["resume"] and work.is_dir()))
    with held(work.with_name(f"{work.name}.lock"), output), prepared(work, resume=config["resume"]):
        checkpoint, notices = usable_checkpoint(work) if config["resume"] else (None, [])
        if config["resume"] and checkpoint is None and not notices and not config["progress_file"]:
            notices = [f"no checkpoint in {work}, so the stage begins anew"]
        for notice in notices:
            print(f"mwl: {notice}", file=sys.stderr)
        _run(StageCLI(args), checkpoint)
    return output


def _fit_parts(args: Sequence[str], address: str) -> Path | None:
    """Fit the parts of a schedule one after the other; the folder of the last one is the result.

    Those of the others lie beside it, as `<output>.<part>`; `--resume` passes over those that are finished.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", default=_output([address]))
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_known_args(list(args))[0]
    options.output = str(Path(options.output))
    folder: Path | None = None
    schedule = parts(read_yaml(split(address)[0]), address)
    last = list(schedule)[-1]
    for name, part in schedule.items():
        output = options.output if name == last else f"{options.output}.{name}"
        if options.resume and name != last and _finished(Path(output)):
            continue
        told = [arg.replace(address, f"{address}#{name}") if arg.endswith(address) else arg for arg in args]
        before = f"{options.output}.{part.before}"  # what the user names holds for the part that goes on from none
        own = [f"--{key}={value.replace(BEFORE, before)}" for key, value in links(part.content)]
        folder = fit([*told, *own, "--output", output])
    return folder


def _finished(output: Path) -> bool:
    """Whether a result is there that no later checkpoint goes on from."""
    made, last = output / MANIFEST, work_folder(output) / LAST
    return made.is_file() and not (last.is_file() and last.stat().st_mtime_ns > made.stat().st_mtime_ns)


def _try_out(args: Arguments, config: dict[str, Any]) -> None:
    """Carry out a stage's first steps in a folder that vanishes.

    Raises:
        ConfigError: it is to be resumed as well.
    """
    if config["resume"]:
        raise ConfigError("--resume: trainer.fast_dev_run only tries a configuration out; leave one of them out")
    with tempfile.TemporaryDirectory() as scratch:
        output = str(Path(scratch) / Path(config["output"]).name)
        _run(StageCLI({**args, "output": output} if isinstance(args, dict) else [*args, "--output", output]), None)


def _run(cli: StageCLI, checkpoint: Path | None) -> None:
    """Train, from a checkpoint where there is one, and hand over.

    Raises:
        ConfigError: the trainer refuses its settings.
        Interrupted: SIGINT or SIGTERM arrived; the checkpoint is saved.
    """
    received = _stop_between_rounds()
    try:
        path = None if checkpoint is None else str(checkpoint)
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=path, weights_only=True)
    except SIGTERMException as error:
        raise Interrupted(received[0] if received else signal.SIGTERM) from error
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except (RuntimeError, ValueError) as error:
        if checkpoint is not None and "state" in str(error) and "dict" in str(error) and "load" in str(error):
            first = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
            raise BadInput(
                f"--resume: {checkpoint} is of networks or optimisers of another size ({' '.join(first)}); put the "
                "settings back, or fit without --resume"
            ) from error
        raise
    if cli.trainer.state.status != TrainerStatus.FINISHED:
        raise Interrupted(signal.SIGTERM)


@contextmanager
def prepared(work: Path, *, resume: bool) -> Iterator[Path]:
    """Make the work folder; a new start sets the checkpoints of an earlier one aside instead of deleting them.

    A stage that is refused before its first checkpoint leaves all as it was.
    """
    previous = work.with_name(work.name + ".previous")
    sets_aside = work.exists() and not resume
    if sets_aside:
        shutil.rmtree(previous, ignore_errors=True)
        work.rename(previous)
    work.mkdir(parents=True, exist_ok=True)
    described = (work / CONFIG).read_bytes() if (work / CONFIG).is_file() else None
    try:
        yield work
    except BaseException as error:
        if isinstance(error, BadInput) and resume and described is not None:
            (work / CONFIG).write_bytes(described)  # the checkpoint's, not that of what was refused
        refused = isinstance(error, BadInput) and not resume and not has_checkpoint(work)
        if refused or not any(work.iterdir()):
            shutil.rmtree(work)
            if sets_aside:
                previous.rename(work)
            elif not any(work.parent.iterdir()):
                work.parent.rmdir()
        raise


def quieten() -> None:
    """Keep tips, hardware notices and warnings about what is meant so out of the log; all other warnings stay."""
    os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")  # torchrl sets its logger's level when it is imported
    for name in ("lightning.pytorch", "lightning.fabric", "torchrl"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "The .*dataloader.* does not have many workers",
        "Your `IterableDataset` has `__len__` defined",
        "You're resuming from a checkpoint that ended before the epoch ended",  # the draws go on where they stopped
        "You are using `torch.load` with `weights_only=False`",
        "LightningCLI's args parameter",
        "Checkpoint directory .* exists and is not empty",
        "The number of training batches",
        "No target network updater has been associated",  # it is no reason to have one: two lines do it
        "Starting from v1.9.0, `tensorboardX`",
        "`isinstance.treespec, LeafSpec.` is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def _addresses(args: Sequence[str]) -> list[str]:
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


def _schedule(args: Sequence[str]) -> str | None:
    """The file of several parts among those given by `--config`; None where there is none, or a part is named.

    Raises:
        ConfigError: there are several.
    """
    found = [name for name in _addresses(args) if "#" not in name and parts(read_yaml(split(name)[0]), name)]
    if len(found) > 1:
        raise ConfigError(
            f"--config: {' and '.join(found)} have a schedule each; name a part of one, as {found[0]}#PART"
        )
    return found[0] if found else None


def _output(addresses: Sequence[str]) -> str:
    """Where a stage's result goes by default."""
    file, part = split(addresses[-1]) if addresses else (Path("stage"), "")
    return f"runs/{file.stem}.{part}" if part else f"runs/{file.stem}"


def _opened(args: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Arguments in which the content stands for the address of a file that the parser would not read as it is meant."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", default=_output(addresses))
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


def _stop_between_rounds() -> list[int]:
    """Let the first Ctrl-C end the round and save, the second stop at once; returns the list of signals received."""
    received: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("mwl: finishing this round, then saving (Ctrl-C again stops at once)", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)  # Lightning raises SIGTERMException at the end of the round

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)
    return received
