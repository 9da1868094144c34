"""`mwl fit`: one stage, or the parts of a schedule, trained and handed over, resumable from the last checkpoint."""

import argparse
import logging
import os
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
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from mwl.core.artifact import MANIFEST
from mwl.core.errors import BadInput, ConfigError
from mwl.core.files import output_folder
from mwl.training.callbacks import CONFIG
from mwl.training.lock import held
from mwl.training.resume import LAST, has_checkpoint, usable_checkpoint
from mwl.training.schedule import BEFORE, links, parts, split
from mwl.training.stage_cli import Arguments, StageCLI, addresses_of, default_output, resolved_config, work_folder
from mwl.training.stage_files import read_yaml


class Interrupted(KeyboardInterrupt):
    """The stage was asked to stop and left a checkpoint from which it can go on."""


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
    parser.add_argument("--output", default=default_output([address]))
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


def _schedule(args: Sequence[str]) -> str | None:
    """The file of several parts among those given by `--config`; None where there is none, or a part is named.

    Raises:
        ConfigError: there are several.
    """
    found = [name for name in addresses_of(args) if "#" not in name and parts(read_yaml(split(name)[0]), name)]
    if len(found) > 1:
        raise ConfigError(
            f"--config: {' and '.join(found)} have a schedule each; name a part of one, as {found[0]}#PART"
        )
    return found[0] if found else None


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
