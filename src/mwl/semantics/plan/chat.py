"""An optional planner: a language model behind any OpenAI-compatible endpoint splits instructions; CLIP stands by."""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mwl.core.errors import BadInput, MwlError, NoSkillFits
from mwl.semantics import entries
from mwl.semantics.head import Clause, SemanticHead
from mwl.semantics.plan.answer_cache import KeptAnswers
from mwl.semantics.plan.chat_request import MAX_ANSWER, Unanswered, ask, checked_address, parsed
from mwl.semantics.plan.progress import PREDICATES

_log = logging.getLogger(__name__)
MAX_STEPS = 20
MAX_INSTRUCTION = 2000  # characters
MAX_WEIGHT = 1e6
SHORTEST_SECRET = 8  # characters; servers without keys take words such as "none"
BY_MODEL, BY_HEAD = "chat", "clip"


@dataclass(frozen=True)
class ChatConfig:
    """Where the language model is, and how long to wait for it.

    Args:
        endpoint: base address, for example `http://localhost:11434/v1`.
        model: its name there.
        key_variable: environment variable that holds the key; the key itself is neither stored nor logged.
        timeout: s for an answer, all tries together.
        retries: further requests after one that failed or gave no valid plan.
        cache: folder for valid answers; None keeps none.
    """

    endpoint: str
    model: str
    key_variable: str = "MWL_CHAT_KEY"
    timeout: float = 30.0
    retries: int = 2
    cache: str | None = None

    def __post_init__(self) -> None:
        checked_address(self.endpoint)
        if not 0 < self.timeout <= 3600 or not 0 <= self.retries <= 100:
            raise BadInput("planner: the time limit lies above 0 and up to 3600 s, retries from 0 to 100")


class ChatPlanner:
    """Plans with a language model; what it may answer is a list of steps over the skills of the head.

    Args:
        head: its cards are the skills; it plans itself where the language model does not.
        config: where the language model is.

    Attributes:
        planned_by: who made the latest plan, `chat` or `clip` (the head).
        fallback: why it was not the language model, in one line; empty where it was.
    """

    def __init__(self, head: SemanticHead, config: ChatConfig) -> None:
        self.head, self.config = head, config
        self.planned_by, self.fallback = BY_MODEL, ""
        self._kept = KeptAnswers(config.cache, MAX_ANSWER)

    def plan(self, text: str, frame: Any = None, before: Sequence[Clause] = ()) -> list[Clause]:
        """The steps of an instruction in order, each with its weights; "go on" and a picture are the head's to answer.

        Raises:
            NoSkillFits: no step of it fits a skill.
            BadInput: the key is no text that can be sent.
        """
        self.planned_by, self.fallback = BY_HEAD, ""
        if frame is not None and self.head.is_deictic(text):
            self.fallback = "the instruction leaves it to the picture, which the head sees"
            return self.head.plan(text, frame, before)
        try:
            clauses = self._planned(text)
        except Unanswered as error:
            self.fallback = str(error)
            _log.warning("the language model gave no plan: %s; the head (clip) plans instead", self.fallback)
            return self.head.plan(text, frame, before)
        except NoSkillFits:
            self.planned_by = BY_MODEL
            raise
        self.planned_by = BY_MODEL
        return clauses

    def _planned(self, text: str) -> list[Clause]:
        """The model's plan, from the cache or asked for.

        Raises:
            Unanswered: it gave none, after all tries.
            NoSkillFits: it says that no skill fits.
        """
        if len(text) > MAX_INSTRUCTION:
            raise Unanswered(f"the instruction is longer than {MAX_INSTRUCTION} characters")
        request = self._request(text)
        asked = self.config.endpoint.encode() + b"\0" + request
        with suppress(MwlError):  # damaged, or of another library of skills
            if (kept := self._kept.read(asked)) is not None:
                return self._clauses(text, kept)
        key, deadline = self._key(), time.monotonic() + self.config.timeout
        for tries_left in range(self.config.retries, -1, -1):
            try:
                answer = self._ask(request, key, deadline)
                clauses = self._clauses(text, answer)
            except Unanswered as error:
                left = deadline - time.monotonic()
                if not tries_left or not error.again or error.wait >= left:
                    raise
                time.sleep(error.wait)
                continue
            self._kept.write(asked, answer)
            return clauses
        raise AssertionError("the last try raises or returns")

    def _key(self) -> str:
        """The key.

        Raises:
            BadInput: it could not be sent; the message does not show it.
        """
        key = os.environ.get(self.config.key_variable, "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise BadInput(f"{self.config.key_variable}: holds a space or what is no letter, digit or sign of ASCII")
        return key

    def _request(self, text: str) -> bytes:
        skills = [{"name": card.name, "description": card.description} for card in self.head.cards]
        task = (
            "Split the instruction to a humanoid robot into ordered steps, each for one or more of the skills given. "
            'Answer with JSON alone: {"steps": [{"text": "...", "weights": {"<skill>": 0..1}, "until": "..."}]}; '
            f"until may be left out, else it is one of {', '.join(PREDICATES)}; "
            'an instruction that no skill fits gets {"steps": []}.'
        )
        body = {
            "model": self.config.model,
            "temperature": 0,
            "response_format": {"type": "json_object"},
            "messages": [
                {"role": "system", "content": f"{task} Skills: {json.dumps(skills)}"},
                {"role": "user", "content": text},
            ],
        }
        return json.dumps(body, sort_keys=True).encode()

    def _ask(self, request: bytes, key: str, deadline: float) -> dict[str, Any]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unanswered(f"the server gave no plan within {self.config.timeout:g} s", again=False)
        answer = parsed(ask(f"{checked_address(self.config.endpoint)}/chat/completions", request, key, left))
        if len(key) >= SHORTEST_SECRET and key in json.dumps(answer):  # or it would be shown and kept
            raise Unanswered("the answer repeats the key", again=False)
        return answer

    def _clauses(self, text: str, answer: dict[str, Any]) -> list[Clause]:
        """The answer as a plan, checked.

        Raises:
            Unanswered: it is none.
            NoSkillFits: the language model says that no skill fits.
        """
        steps = answer.get("steps")
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise Unanswered(f"steps is not a list of at most {MAX_STEPS}")
        if not steps:
            nearest = [name for _, name, _ in self.head.nearest(text)]
            raise NoSkillFits(f"no skill fits {text[:80]!r}, says the planner", list(dict.fromkeys(nearest)))
        try:
            return [self._clause(step) for step in steps]
        except ValueError as error:
            raise Unanswered(f"the answer is no plan: {error}") from error

    def _clause(self, content: Any) -> Clause:
        step = entries.mapping(content, "a step", ("text", "weights"), ("until",))
        text = entries.text(step["text"], "the text of a step")
        until = step.get("until", "never")
        if not isinstance(until, str) or until not in PREDICATES:
            raise ValueError("until is no condition that is known")
        weights = entries.mapping(step["weights"], "weights", (), self.head.names)
        values = list(weights.values())
        if not all(type(value) in (int, float) and 0 <= value <= MAX_WEIGHT for value in values):
            raise ValueError(f"weights are not numbers from 0 to {MAX_WEIGHT:g}")
        total = math.fsum(values)
        if total <= 0:
            raise ValueError("weights are all 0")
        return Clause(text, {name: weights.get(name, 0) / total for name in self.head.names}, until)
