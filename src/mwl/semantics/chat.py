"""An optional planner: a language model behind any OpenAI-compatible endpoint splits instructions; CLIP stands by."""

import hashlib
import json
import logging
import math
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mwl.errors import BadInput, MwlError, NoSkillFits
from mwl.semantics.head import Clause, SemanticHead
from mwl.semantics.progress import PREDICATES

_log = logging.getLogger(__name__)
MAX_ANSWER = 1 << 20  # bytes
MAX_STEPS = 20


class BadAnswer(MwlError):
    """The language model's answer is not a plan over the known skills."""


@dataclass(frozen=True)
class ChatConfig:
    """Where the language model is, and how long to wait for it.

    Args:
        endpoint: base address, for example `http://localhost:11434/v1`.
        model: its name there.
        key_variable: environment variable that holds the key; the key itself is neither stored nor logged.
        timeout: s per request.
        retries: further requests after one that failed or gave no valid plan.
        cache: folder for valid answers; None keeps none.
    """

    endpoint: str
    model: str
    key_variable: str = "MWL_CHAT_KEY"
    timeout: float = 20.0
    retries: int = 2
    cache: str | None = None

    def __post_init__(self) -> None:
        if urlparse(self.endpoint).scheme not in ("http", "https"):
            raise BadInput(f"planner endpoint {self.endpoint!r}: needs to begin with http:// or https://")


class ChatPlanner:
    """Plans with a language model; what it may answer is a list of steps over the skills of the head.

    Args:
        head: its cards are the skills; it plans itself where the language model does not.
        config: where the language model is.
    """

    def __init__(self, head: SemanticHead, config: ChatConfig) -> None:
        self.head, self.config = head, config

    def plan(self, text: str, frame: Any = None) -> list[Clause]:
        """The steps of an instruction in order, each with its weights; "go on" and a picture are the head's to answer.

        Raises:
            NoSkillFits: no step of it fits a skill.
        """
        if frame is not None and self.head.is_deictic(text):
            return self.head.plan(text, frame)
        request = self._request(text)
        if (kept := self._kept(request)) is not None:
            return self._clauses(text, kept)
        for attempt in range(self.config.retries + 1):
            try:
                answer = self._ask(request)
                clauses = self._clauses(text, answer)
            except (OSError, ValueError, BadAnswer) as error:
                _log.warning("planner, try %d: %s", attempt + 1, type(error).__name__)
                continue
            self._keep(request, answer)
            return clauses
        _log.warning("the planner gave no valid plan; CLIP plans instead")
        return self.head.plan(text, frame)

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

    def _ask(self, request: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.config.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        address = self.config.endpoint.rstrip("/") + "/chat/completions"
        asked = urllib.request.Request(address, data=request, headers=headers)
        with urllib.request.urlopen(asked, timeout=self.config.timeout) as response:
            content = response.read(MAX_ANSWER)
        try:
            answer = json.loads(json.loads(content)["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise BadAnswer("no message in the answer") from error
        if not isinstance(answer, dict):
            raise BadAnswer("not a JSON object")
        return answer

    def _clauses(self, text: str, answer: dict[str, Any]) -> list[Clause]:
        """The answer as a plan, checked.

        Raises:
            BadAnswer: it is none.
            NoSkillFits: the language model says that no skill fits.
        """
        steps = answer.get("steps")
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise BadAnswer("steps is not a list of at most 20")
        if not steps:
            nearest = [name for _, name, _ in self.head.nearest(text)]
            raise NoSkillFits(f"no skill fits {text[:80]!r}, says the planner", list(dict.fromkeys(nearest)))
        return [self._clause(step) for step in steps]

    def _clause(self, step: Any) -> Clause:
        if not isinstance(step, dict) or set(step) - {"until"} != {"text", "weights"}:
            raise BadAnswer("a step is not an object with text and weights, and perhaps until")
        text, until = step["text"], step.get("until", "never")
        if not isinstance(text, str) or not isinstance(until, str) or until not in PREDICATES:
            raise BadAnswer("text is no text, or until is no condition that is known")
        weights = step["weights"]
        if not isinstance(weights, dict) or not set(weights) <= set(self.head.names):
            raise BadAnswer("weights name skills that do not exist")
        values = list(weights.values())
        if not all(type(value) in (int, float) and math.isfinite(value) and value >= 0 for value in values):
            raise BadAnswer("weights are not numbers of at least 0")
        if (total := sum(values)) <= 0:
            raise BadAnswer("weights are all 0")
        return Clause(text, {name: weights.get(name, 0) / total for name in self.head.names}, until)

    def _file(self, request: bytes) -> Path | None:
        if self.config.cache is None:
            return None
        digest = hashlib.sha256(self.config.endpoint.encode() + b"\0" + request).hexdigest()
        return Path(self.config.cache) / f"{digest}.json"

    def _kept(self, request: bytes) -> dict[str, Any] | None:
        file = self._file(request)
        if file is None or not file.is_file():
            return None
        try:
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            self._clauses("", kept)
        except NoSkillFits:
            return kept
        except (OSError, ValueError, AttributeError, BadAnswer):
            return None
        return kept

    def _keep(self, request: bytes, answer: dict[str, Any]) -> None:
        file = self._file(request)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            scratch = file.with_suffix(f".{os.getpid()}.tmp")
            scratch.write_text(json.dumps(answer), encoding="utf-8")
            os.replace(scratch, file)
