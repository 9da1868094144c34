"""What `mwl evaluate` and `mwl compare` do."""

import argparse
import math
import sys
from pathlib import Path

from mwl.app import argument_checks
from mwl.app.answers import progress, say, wrote
from mwl.core.errors import BadInput, WriteFailed
from mwl.core.files import FILM_ENDINGS, output_file, output_folder, write_text
from mwl.experiments import tracking


def evaluate(options: argparse.Namespace) -> int:
    """`mwl evaluate`."""
    from mwl.evaluation.agents import best_shipped

    argument_checks.check_task(options.task, options.suite)
    if options.agent is not None:
        argument_checks.check_agents([options.agent])
    from mwl.evaluation.run import EvaluationConfig, evaluate_with_film, keep
    from mwl.evaluation.table import record_table
    from mwl.rollouts.external import is_external
    from mwl.simulation import get_task

    if options.agent is None:
        if is_external(options.task):
            raise BadInput(f"--env {options.task} needs --agent: nothing ships for it")
        if options.suite == "embedded":
            get_task(options.task)  # a misspelt one is told first
        options.agent = best_shipped(options.task)
        print(f"mwl: {options.agent}, the best that ships for {options.task}", file=sys.stderr)
    if options.keep and not Path(options.agent).is_dir():
        raise BadInput(f"--keep: {options.agent} is no folder; name the agent by the folder of its artifact")
    if not options.experiment.strip():
        raise BadInput("--experiment is empty; name one")
    if options.keep and (options.act or options.without or options.shift):
        raise BadInput("--keep writes down how the agent acts as it was fitted; leave out --act, --without and --shift")
    asked = ("task", "agent", "episodes", "seed", "suite", "instruction", "act", "without", "shift")
    config = EvaluationConfig(**{name: getattr(options, name) for name in asked})
    video = None if options.video is None else output_file(options.video, force=options.force, endings=FILM_ENDINGS)
    scene = None if options.scene is None else output_file(options.scene, force=options.force, endings=(".html",))
    failures: list[WriteFailed] = []
    with progress(options.agent) as report:
        record = evaluate_with_film(config, options.experiment, video, report, failures.append, scene)
    say(options.json, record.printed(), lambda: record_table(record))
    if options.keep:
        keep(record, Path(options.agent))
    if failures:  # of the film; the figures are out by now
        raise failures[0]
    return 0


def compare(options: argparse.Namespace) -> int:
    """`mwl compare`."""
    if options.reach is not None and options.wide:
        raise BadInput("--reach and --wide are tables of their own: give one of them")
    folder = None if options.output is None else output_folder(options.output, force=options.force)
    page = None if options.html is None else output_file(options.html, force=options.force, endings=(".html",))
    from mwl.core.artifact import atomic_folder
    from mwl.evaluation.compare import (
        compare_experiment,
        compare_pipeline,
        newest_experiment,
        reaches,
        to_json,
        write_comparison,
    )
    from mwl.evaluation.table import comparison_texts

    tracking.check()
    if options.folder is not None and options.experiment is not None:
        raise BadInput(f"{options.folder} and --experiment {options.experiment}: name one of them")
    if options.folder is not None:
        experiment, comparison = str(options.folder), compare_pipeline(options.folder, options.against)
    else:
        experiment = options.experiment or newest_experiment()
        comparison = compare_experiment(experiment, options.against)
    reached = (
        None if options.reach is None else reaches(comparison, None if math.isnan(options.reach) else options.reach)
    )
    texts = comparison_texts(
        comparison.rows, comparison.agents, wide=options.wide, against=options.against, reaches=reached
    )
    if options.json or options.format == "table":
        say(options.json, to_json(comparison.rows, comparison.agents, reached), texts["table"])
    else:
        print(texts[options.format](), end="")
    if folder is not None:
        with atomic_folder(folder) as scratch:
            write_comparison(comparison, scratch)
        wrote(folder)
    if page is not None:
        from mwl.reports.page import comparison_page

        write_text(page, comparison_page(comparison, experiment))
        wrote(page)
    return 0
