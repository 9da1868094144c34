"""The actions of `mwl motion` and `mwl experts`: their flags, and what carries them out."""

import argparse
from collections.abc import Callable
from pathlib import Path

from mwl.app import argument_checks
from mwl.app.answers import in_lines, say, wrote
from mwl.app.parser import Parser, add_force
from mwl.core.errors import BadInput
from mwl.core.files import output_file, output_folder, with_ending

_DATA_SETS = ("minari", "lerobot")


def add_motion(motion: argparse.ArgumentParser) -> None:
    actions = motion.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)

    def action(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = action("import", _motion_import, "bring a clip to the robot, check and preview it; or a data set in")
    sub.add_argument("clip", type=Path)
    sub.add_argument("--format", required=True, choices=("amass", "bvh", "amc", "h1", *_DATA_SETS))
    sub.add_argument("--out", type=Path, required=True, metavar="FILE")
    sub.add_argument("--task", help="whose observations a data set holds, where it does not say")
    sub.add_argument("--reorder", action="store_true", help="sort rows and named columns of a data set")
    sub.add_argument("--fps", type=float, metavar="N", help="frames per second; overrides what the file says")
    sub.add_argument("--up", choices=("y", "z"), help="axis that points up, where the motion does not tell")
    sub.add_argument("--unit", choices=("m", "cm", "mm", "in", "cmu"), help="of lengths, where the file does not say")
    sub.add_argument("--quaternion", choices=("wxyz", "xyzw"), help="order in an h1 file that leaves it open")
    sub.add_argument("--joint-map", type=Path, metavar="FILE", help="YAML, 'left_hip: JOINT' a line, for other names")
    sub.add_argument("--film", action="store_true", help="write a film (.mp4) as well")
    sub.add_argument("--force", action="store_true", help="replace what is there")
    sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    sub = action("check", _motion_check, "say whether a motion file is well-formed and plausible, with a preview")
    sub.add_argument("file", type=Path)
    sub.add_argument("--film", action="store_true", help="write a film (.mp4) as well")
    sub.add_argument("--out", type=Path, metavar="FOLDER", help="where preview and film go (default runs/motion)")
    sub.add_argument("--force", action="store_true", help="replace what is there")
    sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    sub = action("export", _motion_export, "write a recording as a data set of another format")
    sub.add_argument("file", type=Path, help="recording (.npz)")
    sub.add_argument("--format", required=True, choices=_DATA_SETS)
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_force(sub)
    sub = action("train", _motion_train, "train a tracking teacher: conf/teachers/<name>.yaml")
    sub.add_argument("config")
    sub.add_argument("--out", required=True, metavar="FOLDER")
    add_force(sub)
    sub = action("demonstrate", _motion_demonstrate, "record demonstrations: conf/demonstrators/<name>.yaml")
    sub.add_argument("config")
    sub.add_argument("--out", required=True, metavar="FILE")
    add_force(sub)


def add_experts(experts: argparse.ArgumentParser) -> None:
    actions = experts.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    text = "write an expert or a guided agent as ONNX, with joints, gains, scaling and the scene as metadata"
    sub = actions.add_parser("export", help=text, description=text)
    sub.set_defaults(run=_experts_export)
    sub.add_argument("folder", type=Path, help="artifact of the expert or agent")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="for example policy.onnx")
    add_force(sub)
    text = "measure an expert again: return, falls, pushes, motion quality; renews its manifest"
    sub = actions.add_parser("measure", help=text, description=text)
    sub.set_defaults(run=_experts_measure)
    sub.add_argument("folder", type=Path, help="artifact of the expert")
    sub.add_argument("--episodes", type=int, default=20)
    sub.add_argument("--shifts", action="store_true", help="under a load, weak motors, slopes, late senses instead")
    sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _motion_import(options: argparse.Namespace) -> int:
    from mwl.app.commands.motion import import_clip, import_data
    from mwl.mocap.readers.conventions import Conventions
    from mwl.mocap.readers.joint_names import read_joint_map

    told = Conventions(
        fps=options.fps,
        up=options.up,
        unit=options.unit,
        quaternion=options.quaternion,
        joint_map=read_joint_map(options.joint_map) if options.joint_map else {},
    )
    if options.format in _DATA_SETS:
        told.only(options.format)
        if options.film:
            raise BadInput(f"--film means nothing for --format {options.format}")
        how = {"reorder": options.reorder, "force": options.force}
        return wrote(import_data(options.clip, options.format, options.out, options.task, **how))
    for flag in ("task", "reorder"):
        if getattr(options, flag):
            raise BadInput(f"--{flag} means nothing for --format {options.format}")
    report = import_clip(options.clip, options.format, options.out, film=options.film, told=told, force=options.force)
    say(options.json, report, lambda: in_lines(report))
    return wrote(Path(report["clip"]))


def _motion_check(options: argparse.Namespace) -> int:
    from mwl.app.commands.motion import check

    report = check(options.file, options.film, options.out, force=options.force)
    say(options.json, report, lambda: in_lines(report))
    return 0


def _motion_export(options: argparse.Namespace) -> int:
    from mwl.app.commands.motion import export_data

    return wrote(export_data(options.file, options.format, options.out, force=options.force))


def _motion_train(options: argparse.Namespace) -> int:
    going_on = Path(f"{Path(options.out)}.training.ckpt").is_file()
    output_folder(options.out, force=options.force or going_on)
    argument_checks.check_file(options.config, "conf/teachers")
    from mwl.teachers.train import train

    return wrote(train(options.config, options.out, force=options.force))


def _motion_demonstrate(options: argparse.Namespace) -> int:
    target = output_file(with_ending(options.out, ".npz"), force=options.force)
    output_file(target.with_suffix(".json"), force=options.force)
    argument_checks.check_file(options.config, "conf/demonstrators")
    from mwl.demonstrators.demonstrate import demonstrate

    return wrote(demonstrate(options.config, options.out, force=options.force))


def _experts_export(options: argparse.Namespace) -> int:
    from mwl.export.agent import export_agent

    return wrote(export_agent(options.folder, options.out, force=options.force))


def _experts_measure(options: argparse.Namespace) -> int:
    from mwl.experts.remeasure import measure, measure_under_shifts

    metrics = (measure_under_shifts if options.shifts else measure)(options.folder, options.episodes)
    say(options.json, metrics, lambda: in_lines(metrics))
    return 0
