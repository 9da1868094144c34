"""The language-model planner against a local server that answers well, badly and not at all."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mwl.errors import BadInput, NoSkillFits
from mwl.semantics import SemanticHead
from mwl.semantics.chat import ChatConfig, ChatPlanner

GOOD = {"steps": [{"text": "stand", "weights": {"stand": 2}}, {"text": "walk", "weights": {"walk": 1, "stand": 1}}]}


class _Server(ThreadingHTTPServer):
    """Gives the prepared answers in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Any] = []
        self.headers_seen: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        self.server.headers_seen.append(self.headers.get("Authorization"))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, int):
            self.send_error(answer)
            return
        content = answer if isinstance(answer, bytes) else _message(answer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _message(answer: Any) -> bytes:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_valid_answer_becomes_the_plan_and_the_key_stays_out_of_the_log(
    head: SemanticHead, server: _Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MWL_CHAT_KEY", "a-secret-key")
    server.answers = [500, GOOD]
    with caplog.at_level(logging.DEBUG):
        plan = ChatPlanner(head, ChatConfig(server.address, "any")).plan("stand up, then off you go")
    assert [clause.text for clause in plan] == ["stand", "walk"]
    assert plan[1].weights["walk"] == pytest.approx(0.5)
    assert sum(plan[0].weights.values()) == pytest.approx(1.0)
    assert server.headers_seen == ["Bearer a-secret-key"] * 2
    assert "a-secret-key" not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        503,
        b"not json",
        b"{}",
        "no json here",
        [1, 2],
        {"steps": "walk"},
        {"steps": [{"text": "fly", "weights": {"fly": 1}}]},
        {"steps": [{"text": "walk", "weights": {"walk": -1}}]},
        {"steps": [{"text": "walk", "weights": {"walk": 0}}]},
        {"steps": [{"text": "walk", "weights": {"walk": "much"}}]},
        {"steps": [{"text": "walk", "weights": {"walk": 1}, "code": "rm"}]},
        {"steps": [{"text": "walk", "weights": {"walk": 1}}] * 21},
    ],
)
def test_after_invalid_answers_clip_plans(head: SemanticHead, server: _Server, answer: Any) -> None:
    server.answers = [answer]
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=1))
    assert planner.plan("stand, then walk forward") == head.plan("stand, then walk forward")
    assert len(server.headers_seen) == 2  # the request and one retry


def test_answers_are_kept_and_an_empty_plan_is_a_refusal(head: SemanticHead, server: _Server, tmp_path: Path) -> None:
    server.answers = [GOOD]
    planner = ChatPlanner(head, ChatConfig(server.address, "any", cache=str(tmp_path)))
    assert planner.plan("go") == planner.plan("go")
    assert len(server.headers_seen) == 1
    server.answers = [{"steps": []}]
    with pytest.raises(NoSkillFits):
        planner.plan("make me a coffee")


def test_nobody_at_the_endpoint(head: SemanticHead) -> None:
    planner = ChatPlanner(head, ChatConfig("http://127.0.0.1:9", "any", timeout=1.0, retries=0))
    assert planner.plan("walk forward") == head.plan("walk forward")
    with pytest.raises(BadInput):
        ChatConfig("file:///etc/passwd", "any")


def test_a_step_may_wait_for_a_condition_that_is_known_and_for_no_other(head: SemanticHead, server: _Server) -> None:
    step = {"text": "walk", "weights": {"walk": 1}, "until": "at_door"}
    server.answers = [{"steps": [step]}]
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=0))
    assert [clause.until for clause in planner.plan("go to the door")] == ["at_door"]
    server.answers = [{"steps": [{**step, "until": "dawn"}]}]
    assert planner.plan("walk forward") == head.plan("walk forward")
