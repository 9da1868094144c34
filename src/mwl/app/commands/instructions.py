"""What `mwl instruct`, `mwl play` and `mwl playground` do."""

import argparse
from collections.abc import Sequence

from mwl.app import argument_checks
from mwl.app.answers import progress, say
from mwl.app.play import FILM
from mwl.core.errors import BadInput
from mwl.core.files import FILM_ENDINGS, output_file, shown, unused

NOT_ACHIEVED = 3
"""Exit code of an instruction that was refused or not achieved."""


def instruct(options: argparse.Namespace) -> int:
    """`mwl instruct`."""
    from mwl.instructions.preview import Question
    from mwl.instructions.preview import instruct as answered
    from mwl.instructions.view import view

    answer = answered(
        Question(
            text=options.instruction,
            head=options.head,
            encoder=options.encoder,
            pretrained=options.pretrained,
            frame=options.frame,
            planner=options.planner,
            chat_url=options.chat_url,
            chat_model=options.chat_model,
        )
    )
    say(options.json, answer, lambda: view(answer, steps=options.plan))
    return NOT_ACHIEVED if answer["refused"] else 0


def play(options: argparse.Namespace) -> int:
    """`mwl play`."""
    agents = _agents_of(options.agents)
    if options.head == "embedded":
        argument_checks.check_skills(agents)
    argument_checks.check_agents(agents.values())
    if options.task:
        argument_checks.check_task(options.task)
    from mwl.instructions.config import FollowStage
    from mwl.instructions.follow import follow
    from mwl.instructions.view import decisions

    if options.steps_per_clause < 1 or options.look_every < 0:
        raise BadInput("--steps-per-clause must be at least 1, --look-every at least 0 (a look at the beginning alone)")
    stage = FollowStage(
        instruction=options.instruction,
        semantic=options.head,
        encoder=options.encoder,
        pretrained=options.pretrained,
        agents=agents,
        task=options.task,
        steps_per_clause=options.steps_per_clause,
        look_every=options.look_every,
        planner=options.planner,
        chat_url=options.chat_url,
        chat_model=options.chat_model,
        seed=options.seed,
    )
    video = output_file(options.video or unused(FILM), force=options.force, endings=FILM_ENDINGS)
    with progress(options.instruction) as report:
        summary = follow(stage, video, report)
    say(options.json, {**summary, "film": str(video)}, lambda: decisions(summary, video))
    return 0 if summary["achieved"] else NOT_ACHIEVED


def _agents_of(pairs: Sequence[str]) -> dict[str, str]:
    """Agents by skill."""
    agents = {}
    for pair in pairs:
        skill, equals, address = pair.partition("=")
        if not equals:
            raise BadInput(f"--agents {shown(pair)}: expected SKILL=AGENT, for example walk=expert:walk")
        agents[skill] = address
    return agents


def playground(options: argparse.Namespace) -> int:
    """`mwl playground`."""
    from mwl.playground.serve import serve
    from mwl.playground.session import Session

    if options.agent and options.agents:
        raise BadInput("--agent and --agents: name the one, or who carries out which skill")
    agents = _agents_of(options.agents)
    argument_checks.check_skills(agents)
    serve(
        lambda: Session(options.task, agents, options.seed, options.agent),
        options.host,
        options.port,
        options.token,
        options.robots,
    )
    return 0
