"""An instruction carried out from Python: `mwl.play`, and what it gives back."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mwl.core.files import FILM_ENDINGS, output_file, unused
from mwl.instructions.config import FollowStage

FILM = Path("runs/play.mp4")


@dataclass(frozen=True)
class Played:
    """What became of an instruction; a notebook shows its film and its steps.

    Args:
        instruction: what was asked.
        achieved: whether every step of its plan was done.
        film: where the film is.
        summary: task, return, steps, plan with the state of each step, and decisions, see `mwl.instructions.follow`.
    """

    instruction: str
    achieved: bool
    film: Path
    summary: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self._console().export_text().rstrip()

    def _repr_html_(self) -> str:
        """The film, playable in place, above the steps."""
        film = base64.b64encode(self.film.read_bytes()).decode()
        steps = self._console().export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        return f'<video controls autoplay loop muted src="data:video/mp4;base64,{film}"></video>\n{steps}'

    def _console(self) -> Any:
        from rich.console import Console

        from mwl.instructions.view import decisions

        console = Console(record=True, file=io.StringIO(), width=110)
        console.print(decisions(self.summary, self.film))
        return console


def play(
    instruction: str,
    agents: Mapping[str, str] | None = None,
    task: str = "",
    film: Path | str | None = None,
    seed: int = 0,
    **settings: Any,
) -> Played:
    """Carry out an instruction in one episode and film it, as `mwl play` does.

    Args:
        instruction: for example "walk forward, then stop".
        agents: skill to agent (`expert:walk`, `agent:walk`, a folder); None takes what ships.
        task: whose world; empty takes the one that the words need.
        film: file to write; None takes `runs/play.mp4`, or the next name that is free.
        seed: of the episode.
        settings: others of `mwl.instructions.config.FollowStage`, as `steps_per_clause`.

    Raises:
        NoSkillFits: a step fits no skill, or asks of a skill what it can't do.
        BadInput: an agent, a task or a file that there is not, or that is in the way.
    """
    from mwl.instructions.follow import follow

    stage = FollowStage(instruction=instruction, agents=dict(agents or {}), task=task, seed=seed, **settings)
    target = output_file(film or unused(FILM), endings=FILM_ENDINGS)
    summary = follow(stage, target)
    return Played(instruction, bool(summary["achieved"]), target, summary)
