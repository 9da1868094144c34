"""The `mwl` command: its flags, its exit codes, and which room carries out what.

Exit codes: 0 done, 1 a run failed, 2 bad input (nothing was started), 3 an instruction refused or not achieved, 130
stopped by Ctrl-C. Every error is one line
on stderr; `MWL_DEBUG=1` adds the traceback. Rooms are imported by the command that needs them, so that help and
mistyped flags are answered at once.
"""

import argparse
import errno
import json
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mwl import __version__
from mwl._extensions import import_files
from mwl.app import argument_checks
from mwl.app.actions import add_experts, add_motion
from mwl.app.answers import one_line, say, wrote
from mwl.app.commands import evaluations, instructions
from mwl.app.parser import Parser, add_force
from mwl.app.play import FILM
from mwl.core.errors import BadInput, MwlError
from mwl.core.files import FILM_ENDINGS, shown
from mwl.core.terminal import redacted
from mwl.experiments import tracking

_INTERRUPTED = 130
_GOING_ON = {  # what to do after a Ctrl-C, for commands that leave a checkpoint
    "fit": "the same command with --resume goes on from the last checkpoint",
    "run": "the same command goes on from the last checkpoint",
    "motion train": "the same command goes on from the last checkpoint",
}
_IMPORT = "--import FILE.py, with any command, first runs a Python file of yours, which adds tasks and classes"
_DESCRIPTION = "A humanoid that carries out instructions: experts, a gate and a guided world model."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, TextIOWrapper):  # a name that is no text in the terminal's encoding is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        own, arguments = _own_files(arguments)
        import_files(own)
        completing = "_ARGCOMPLETE" in os.environ
        if arguments[:1] == ["fit"] and not completing:  # LightningCLI parses its flags
            return _fit(arguments[1:])
        parser = build_parser()
        if completing:
            from mwl.app.completion import complete

            complete(parser)
        options = parser.parse_args(arguments)
        code: int = options.run(options)
        return code
    except MwlError as error:
        return _fail(error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        said = " ".join(arguments)
        known = [hint for command, hint in _GOING_ON.items() if f"{said} ".startswith(f"{command} ")]
        return _fail(error, "; ".join(["stopped", *known]), _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # no file of that name can be there
            return _fail(error, f"{shown(Path(str(error.filename)))}: the name is too long", BadInput.exit_code)
        if _is_memory(error):
            return _fail(error, "out of memory; ask for less at once, as with fewer episodes", 1)
        what = " ".join(str(error).split())[:300]
        return _fail(error, f"{type(error).__name__}: {what} (MWL_DEBUG=1 shows where)", 1)


def _own_files(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The files named by `--import`, and the other arguments."""
    own, others = [], []
    following = iter(arguments)
    for argument in following:
        if argument == "--import" and (file := next(following, None)) is None:
            raise BadInput("--import needs a Python file, as my_tasks.py")
        if argument == "--import":
            own.append(str(file))
        elif argument.startswith("--import="):
            own.append(argument.removeprefix("--import="))
        else:
            others.append(argument)
    return own, others


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get("MWL_DEBUG"):
        print(redacted("".join(traceback.format_exception(error))), file=sys.stderr)
    print(f"mwl: {one_line(message)}", file=sys.stderr)
    return code


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out; torch says so in a `RuntimeError`."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `fit` is listed, but parses its own flags."""
    parser = Parser(prog="mwl", description=_DESCRIPTION, epilog=_IMPORT)
    parser.add_argument("--version", action="version", version=f"mwl {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, *, as_json: bool = True) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if as_json:
            sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        return sub

    sub = command("fit", _unreachable, "fit one stage: --config conf/<stage>.yaml [--resume]", as_json=False)
    for flag in ("--config", "--output", "--resume", "--force", "--help-all"):  # for the shell; see `fit_help`
        sub.add_argument(flag)

    for name, run, text in (
        ("run", _run, "carry out a pipeline, skipping what did not change"),
        ("report", _report, "write the page of a pipeline again, from what its stages left so far"),
    ):
        sub = command(name, run, text, as_json=False)
        sub.add_argument("pipeline", type=Path, help="conf/pipelines/<name>.yaml")
        text = "override a value"
        sub.add_argument("--set", dest="assignments", action="append", default=[], metavar="A.B=C", help=text)
        if run is _run:
            sub.add_argument(
                "--dry-run", action="store_true", help="show stages and what they will take; start nothing"
            )
            text = "these stages and what they need, as 'look_ppo_*'"
            sub.add_argument("--only", action="append", default=[], metavar="STAGE", help=text)

    sub = command("stage", _stage, "carry out one stage of a pipeline, as an engine does", as_json=False)
    sub.add_argument("job", type=Path, help="runs/<pipeline>/_work/<stage>/job.json")
    sub.add_argument("--attached", action="store_true", help="end at once when stdin closes")

    sub = command("evaluate", evaluations.evaluate, "run whole episodes of an agent and measure")
    text = "for example h1-walk; or gym:ID, dmc:DOMAIN-TASK, class:MODULE.CLASS of a TorchRL environment"
    sub.add_argument("--task", "--env", required=True, help=text)
    sub.add_argument(
        "--agent",
        help="artifact (folder) | expert:<name> | agent:<task> | run:<MLflow id> | class:<path>; default: the best "
        "that ships for the task",
    )
    sub.add_argument("--instruction", help="what a guided agent is told; default: what it was fitted with")
    sub.add_argument("--act", choices=("mean", "best", "sample", "policy"), help="how a world model chooses actions")
    sub.add_argument(
        "--without", choices=("plan", "gate", "tuning", "residual"), help="leave a part out, to see what it is worth"
    )
    sub.add_argument(
        "--shift", metavar="NAME=N,...", help="payload (kg), motors (share), friction, slope (degrees), delay (s)"
    )
    sub.add_argument("--suite", default="embedded", choices=("embedded", "humanoid_bench"))
    sub.add_argument("--episodes", type=int, default=10)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--video", type=Path, metavar="FILE", help=f"film the first episode ({', '.join(FILM_ENDINGS)})")
    sub.add_argument("--scene", type=Path, metavar="FILE", help="write it as a page to move about in (.html), too")
    add_force(sub)
    sub.add_argument("--keep", action="store_true", help="write the figures into the manifest of the agent's folder")
    sub.add_argument("--experiment", default=tracking.DEFAULT_EXPERIMENT, help="MLflow experiment")

    sub = command(
        "compare", evaluations.compare, "tasks x agents with confidence intervals, the paper's figures beside"
    )
    sub.add_argument("folder", type=Path, nargs="?", help="of a pipeline: what is measured of it by now, cells not run")
    sub.add_argument("--experiment", help="MLflow experiment; default: the newest that holds evaluations")
    sub.add_argument("--against", metavar="AGENT", help="differences to this agent from the same starts, as shown here")
    sub.add_argument("--format", default="table", choices=("table", "markdown", "latex", "csv"))
    sub.add_argument("--wide", action="store_true", help="a column an agent; with --against, the paper's ablation")
    sub.add_argument(
        "--reach",
        nargs="?",
        type=float,
        const=math.nan,
        metavar="RETURN",
        help="after how many steps of training each agent reached it; without a number what is a success on the task",
    )
    sub.add_argument("--html", type=Path, metavar="FILE", help="write a page with tables and curves to look into, too")
    sub.add_argument("--output", type=Path, metavar="FOLDER", help="write tables, plots and JSON there, too")
    add_force(sub)

    sub = command(
        "instruct", instructions.instruct, "weights of an instruction over the experts, or the sequence of them"
    )
    sub.add_argument("instruction", help='for example "stand, then walk forward"; `mwl list skills` has words for each')
    sub.add_argument("--frame", type=Path, metavar="IMG", help="picture of the scene")
    sub.add_argument("--plan", action="store_true", help="show the steps and what ends them")
    _add_understanding(sub)

    sub = command("play", instructions.play, "carry out an instruction in one episode and film it")
    sub.add_argument("instruction", help='for example "crawl"; `mwl list skills` has words for each')
    sub.add_argument(
        "--agents",
        default=[],
        nargs="+",
        metavar="SKILL=AGENT",
        help="who carries out which skill; default: what ships",
    )
    _add_understanding(sub)
    sub.add_argument("--task", default="", help="whose world and reward; default: the one that the words need")
    sub.add_argument("--steps-per-clause", type=int, default=250, help="a step is left after so many, done or not")
    sub.add_argument("--look-every", type=int, default=100, metavar="STEPS", help="between two looks at the scene")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--video", type=Path, metavar="FILE", help=f"default: {FILM}, or the next name that is free")
    add_force(sub)

    sub = command(
        "playground", instructions.playground, "a page in the browser: tell the robot what to do", as_json=False
    )
    sub.add_argument("--task", help="whose world it begins in; default: h1-walk, or that of the agent")
    sub.add_argument("--agent", help="a guided agent for all of its skills, as agent:reach")
    sub.add_argument("--agents", default=[], nargs="+", metavar="SKILL=AGENT", help="default: all experts that ship")
    sub.add_argument("--host", default="127.0.0.1", help="address to listen at")
    sub.add_argument("--port", type=int, help="default: the first free one from 8080 on")
    sub.add_argument(
        "--token",
        action="store_true",
        help="ask visitors for a secret: MWL_PLAYGROUND_TOKEN, or one that is made up; without, none from elsewhere",
    )
    sub.add_argument("--robots", type=int, default=0, metavar="N", help="visitors with one of their own; default: none")
    sub.add_argument("--seed", type=int, default=0)

    add_motion(command("motion", _unreachable, "make, import and check motion data", as_json=False))
    add_experts(command("experts", _unreachable, "export an expert, or measure it again", as_json=False))
    sub = command("ui", _ui, "all runs in the browser, with a link to that of the newest pipeline", as_json=False)
    sub.add_argument("--port", type=int, default=5000)
    sub = command("list", _list, "tasks, skills with words for them, experts, agents or pipelines")
    sub.add_argument("what", choices=("tasks", "skills", "experts", "agents", "pipelines"))
    command("doctor", _doctor, "what is installed, what works, what to do about the rest")
    return parser


def _add_understanding(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--head", default="embedded", help="artifact of a semantic head; default: the shipped one")
    text = "CLIP that such a folder was fitted on, not the built-in sentence encoder with an image tower for scenes"
    sub.add_argument("--encoder", metavar="CLIP", help=f"{text}; default: MWL_ENCODER")
    sub.add_argument("--pretrained", metavar="TAG|FILE", help="its weights; default: MWL_ENCODER_WEIGHTS")
    sub.add_argument(
        "--planner", default="clip", choices=("clip", "chat"), help="chat: a language model; clip stands by"
    )
    sub.add_argument("--chat-url", metavar="URL", help="OpenAI-compatible endpoint; default: MWL_CHAT_URL")
    sub.add_argument("--chat-model", metavar="NAME", help="default: MWL_CHAT_MODEL; the key is read from MWL_CHAT_KEY")


def _unreachable(options: argparse.Namespace) -> int:
    raise BadInput("see `mwl fit --help`")


def _fit(arguments: Sequence[str]) -> int:
    if not arguments:
        raise BadInput("fit needs --config conf/<stage>.yaml (see `mwl fit --help`)")
    asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    asked.add_argument("-c", "--config", action="append", default=[])
    configs: list[str] = asked.parse_known_args(list(arguments))[0].config
    for config in configs:
        argument_checks.check_file(config, "conf")
    if "-h" in arguments or "--help" in arguments:
        from mwl.app.fit_help import fit_help

        print(fit_help(configs))
        return 0
    from mwl.training.fit import fit

    arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
    folder = fit(arguments)
    done = "tried out; nothing was kept" if folder is None else f"finished; artifact in {folder}"
    print(f"mwl: {done}", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace) -> int:
    argument_checks.check_file(str(options.pipeline), "conf/pipelines")
    if options.dry_run:
        from mwl.app.report import print_estimate

        print_estimate(options.pipeline, options.assignments, options.only)
        return 0
    from mwl.app.report import print_report, run_and_report

    print_report(run_and_report(options.pipeline, options.assignments, options.only))
    return 0


def _report(options: argparse.Namespace) -> int:
    argument_checks.check_file(str(options.pipeline), "conf/pipelines")
    from mwl.reports.pipeline import write_report

    return wrote(write_report(options.pipeline, options.assignments))


def _stage(options: argparse.Namespace) -> int:
    from mwl.pipeline.worker import run_file

    run_file(options.job, attached=options.attached)
    return 0


def _ui(options: argparse.Namespace) -> int:
    if not 0 < options.port < 2**16:
        raise BadInput(f"--port {options.port}: it must be from 1 to {2**16 - 1}")
    tracking.check()
    if run := tracking.newest_pipeline():
        print(f"mwl: the newest pipeline: {tracking.run_link(run, options.port)}", file=sys.stderr, flush=True)
    uri = tracking.tracking_uri()
    if uri.startswith("http"):  # a server shows its runs itself
        return 0
    serve = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(options.port)]
    return subprocess.run([sys.executable, *serve], check=False).returncode


def _list(options: argparse.Namespace) -> int:
    from mwl.app.listing import columns, listed

    entries = listed(options.what)
    print(json.dumps({options.what: entries}) if options.json else columns(entries))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mwl.doctor import diagnose
    from mwl.evaluation.table import diagnosis_table

    findings = diagnose()
    say(options.json, {"findings": [finding.to_dict() for finding in findings]}, lambda: diagnosis_table(findings))
    return 0 if all(finding.ok for finding in findings) else 1
