"""The language-model planner against a local server that answers well, badly, slowly, and not at all."""

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mwl.core.errors import BadInput, NoSkillFits
from mwl.instructions.planner import choose_planner, who_planned
from mwl.semantics import SemanticHead
from mwl.semantics.plan.answer_cache import MAX_KEPT
from mwl.semantics.plan.chat import ChatConfig, ChatPlanner

GOOD = {"steps": [{"text": "stand", "weights": {"stand": 2}}, {"text": "walk", "weights": {"walk": 1, "stand": 1}}]}
STEP = {"text": "walk", "weights": {"walk": 1}}
KEY = "a-secret-key"
LIMIT = 0.5  # s, of what never ends by itself
Talk = Callable[[socket.socket], None]


class _Server:
    """Reads a request and lets the prepared talks answer in turn, the last one for ever."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.talks: list[Talk] = []
        self.requests: list[str] = []
        self.closing, self.hung_up_on = threading.Event(), threading.Event()
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def answers(self, *talks: Talk) -> None:
        self.talks, self.requests = list(talks), []

    def _serve(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    self.requests.append(_read(connection))
                    (self.talks.pop(0) if len(self.talks) > 1 else self.talks[0])(connection)
                except OSError:  # the planner has gone
                    self.hung_up_on.set()

    def close(self) -> None:
        self.closing.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


def _read(connection: socket.socket) -> str:
    """The request, headers and body."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()


def raw(content: bytes) -> Talk:
    return lambda connection: connection.sendall(content)


def body(content: bytes) -> Talk:
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)


def says(answer: Any) -> Talk:
    """A chat server's answer: a text as it is, anything else as JSON."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return body(json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def step(**changes: Any) -> Talk:
    return says({"steps": [{**STEP, **changes}]})


def status(code: int, *headers: str) -> Talk:
    lines = "".join(f"{header}\r\n" for header in headers)
    return raw(f"HTTP/1.1 {code} Word\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())


def drips(beginning: bytes, drop: bytes) -> Talk:
    """Bytes that keep coming, each well before a limit on a single read would strike."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(beginning)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            connection.sendall(drop)
            time.sleep(LIMIT / 10)
        connection.sendall(b"\r\n\r\n")

    return talk


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server()
    yield made
    made.close()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MWL_CHAT_KEY", KEY)
    return KEY


def test_a_valid_answer_becomes_the_plan_and_the_key_stays_out_of_the_log(
    head: SemanticHead, server: _Server, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers(status(500), says(GOOD))
    planner = ChatPlanner(head, ChatConfig(server.address, "any"))
    with caplog.at_level(logging.DEBUG):
        plan = planner.plan("stand up, then off you go")
    assert [clause.text for clause in plan] == ["stand", "walk"]
    assert plan[1].weights["walk"] == pytest.approx(0.5)
    assert sum(plan[0].weights.values()) == pytest.approx(1.0)
    assert [f"Authorization: Bearer {key}" in request for request in server.requests] == [True, True]
    assert key not in caplog.text
    assert who_planned(planner) == {"planner": "chat", "fallback": ""}


DEEP = "[" * 100_000
PLAN = json.dumps({"steps": [STEP]})
BAD: dict[str, tuple[Talk, str]] = {  # what the server does, and what is said of it
    "no_json": (body(b"not json"), "not that of a chat server"),
    "not_utf8": (body(b"\xff\xfe\x00"), "not that of a chat server"),
    "empty": (body(b""), "not that of a chat server"),
    "no_choices": (body(b"{}"), "not that of a chat server"),
    "choices_empty": (body(b'{"choices": []}'), "not that of a chat server"),
    "choices_number": (body(b'{"choices": 3}'), "not that of a chat server"),
    "content_null": (body(b'{"choices": [{"message": {"content": null}}]}'), "no text"),
    "content_parts": (body(b'{"choices": [{"message": {"content": [{"text": "{}"}]}}]}'), "no text"),
    "nested_body": (body(DEEP.encode()), "not that of a chat server"),
    "event_stream": (body(b'data: {"choices": [{"delta": {"content": "{"}}]}\n\n'), "not that of a chat server"),
    "tool_calls": (body(b'{"choices": [{"message": {"content": null, "tool_calls": [{"id": "1"}]}}]}'), "no text"),
    "gzip": (raw(b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(bytes(9**7))), "not that of a chat server"),
    "byte_order_mark": (body(b"\xff\xfe" + "{}".encode("utf-16-le")), "not that of a chat server"),
    "huge_steps": (says({"steps": [STEP] * 10_000}), "not a list of at most 20"),
    "html": (body(b"<html><body>Bad gateway</body></html>"), "not that of a chat server"),
    "too_large": (body(b" " * (1 << 20) + b"{}"), "larger than 1 MiB"),
    "prose": (says("no json here"), "no JSON object"),
    "list": (says([1, 2]), "no JSON object"),
    "nested_answer": (says(DEEP), "no JSON object"),
    "nested_object": (says('{"steps":' * 90 + "1" + "}" * 90), "no JSON object"),
    "cut_short": (says(PLAN[:-3]), "no JSON object"),
    "nan": (says('{"steps": [{"text": "x", "weights": {"walk": NaN}}]}'), "no JSON object"),
    "infinite": (says('{"steps": [{"text": "x", "weights": {"walk": 1e999}}]}'), "no JSON object"),
    "int_400_digits": (step(weights={"walk": 10**400}), "no JSON object"),
    "int_9999_digits": (says('{"steps": [{"text": "x", "weights": {"walk": 1' + "0" * 9999 + "}}]}"), "no JSON object"),
    "half_a_character": (says(PLAN.replace("text", "\\ud800")), "no JSON object"),
    "no_steps": (says({}), "not a list of at most 20"),
    "steps_text": (says({"steps": "walk"}), "not a list of at most 20"),
    "many_steps": (says({"steps": [STEP] * 21}), "not a list of at most 20"),
    "step_text": (says({"steps": ["walk"]}), "not a mapping"),
    "step_null": (says({"steps": [None]}), "not a mapping"),
    "entry_more": (step(code="rm"), "may not have"),
    "entry_less": (says({"steps": [{"text": "walk"}]}), "lacks weights"),
    "unknown_skill": (step(weights={"fly": 1}), "may not have"),
    "weights_list": (step(weights=[1]), "not a mapping"),
    "negative": (step(weights={"walk": -1}), "not numbers from 0"),
    "bool": (step(weights={"walk": True}), "not numbers from 0"),
    "word": (step(weights={"walk": "much"}), "not numbers from 0"),
    "sum_infinite": (step(weights={"walk": 1e308, "stand": 1e308}), "not numbers from 0"),
    "all_zero": (step(weights={"walk": 0}), "all 0"),
    "no_weights": (step(weights={}), "all 0"),
    "until_unknown": (step(until="dawn"), "no condition"),
    "until_list": (step(until=[]), "no condition"),
    "until_mapping": (step(until={}), "no condition"),
    "text_number": (step(text=3), "not a text"),
    "text_empty": (step(text=" "), "not a text"),
    "text_long": (step(text="x" * 401), "longer than 400"),
    "control_characters": (step(text="x\x1b[31m\x00\n"), "can't be printed"),
    "repeats_the_key": (step(text=f"walk {KEY}"), "repeats the key"),
    "no_http": (raw(b"hello\r\n\r\n"), "does not speak HTTP"),
    "closes": (raw(b""), "does not speak HTTP"),
    "incomplete": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nxx"), "not that of a chat server"),
    "bad_chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx"), "does not speak HTTP"),
    "negative_chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nxx"), ""),
    "long_header": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"), "does not speak HTTP"),
    "many_headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n"), "does not speak HTTP"),
    "redirect_to_nowhere": (status(302, "Location: http://[::1"), "another address (302)"),
    "redirect_to_a_file": (status(302, "Location: file:///etc/passwd"), "another address (302)"),
    "redirect_to_itself": (status(302, "Location: /v1/chat/completions"), "another address (302)"),
    "redirect_without": (status(307), "another address (307)"),
    "bad_request": (status(400), "(400)"),
    "key_refused": (status(401), "refuses the key (401)"),
    "forbidden": (status(403), "no right to this model"),
    "unknown_address": (status(404), "no such model, or no chat"),
    "too_many": (status(429), "too many requests (429)"),
    "too_many_for_long": (status(429, "Retry-After: 3600"), "asks to wait 3600 s"),
    # 5,000,500,000 s from now: the hours that may pass until the test runs don't change the first four digits
    "too_many_until": (status(429, f"Retry-After: {formatdate(time.time() + 5_000_500_000)}"), "asks to wait 5000"),
    "too_many_nonsense": (status(429, "Retry-After: soon"), "too many requests (429)"),
    "server_error": (status(500), "the server failed (500)"),
    "unavailable": (status(503, "Retry-After: 3600"), "the server failed (503)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_whatever_the_server_answers_clip_plans_and_says_why(
    head: SemanticHead, server: _Server, kind: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk, why = BAD[kind]
    server.answers(talk)
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=0, timeout=10))
    assert planner.plan("stand, then walk forward") == head.plan("stand, then walk forward")
    said = who_planned(planner)
    assert said["planner"] == "clip"
    assert why in said["fallback"]
    assert said["fallback"] in caplog.text
    assert len(said["fallback"]) < 300
    assert key not in caplog.text


@pytest.mark.parametrize(
    ("beginning", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "header", "headers", "status", "chunks", "continue"],
)
def test_a_limit_holds_for_the_whole_of_an_answer_that_never_ends(
    head: SemanticHead, server: _Server, beginning: bytes, drop: bytes
) -> None:
    server.answers(drips(beginning, drop))  # a hundred times the limit
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=3, timeout=LIMIT))
    assert planner.plan("walk forward") == head.plan("walk forward")
    assert server.hung_up_on.wait(60), "the server had come to its end"
    assert "within" in planner.fallback or "HTTP" in planner.fallback


def test_a_server_that_says_nothing_is_left_at_the_limit(head: SemanticHead, server: _Server) -> None:
    server.answers(lambda connection: connection.recv(1) and None)  # for 10 s, twenty times the limit, then hangs up
    planner = ChatPlanner(head, ChatConfig(server.address, "any", timeout=LIMIT))
    assert planner.plan("walk forward") == head.plan("walk forward")
    assert "no whole answer within" in planner.fallback


def test_names_that_are_looked_up_slowly_count_into_the_limit(
    head: SemanticHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, looked_up = threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        looked_up.set()
        ended.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr("socket.getaddrinfo", slow)
    planner = ChatPlanner(head, ChatConfig("http://chat.invalid/v1", "any", timeout=LIMIT))
    try:
        assert planner.plan("walk forward") == head.plan("walk forward")
        assert looked_up.is_set()
        assert not ended.is_set(), "the head plans while the name is still looked up"
    finally:
        ended.set()
    assert "no whole answer within" in planner.fallback


def test_a_redirect_takes_neither_key_nor_question_to_another_address(
    head: SemanticHead, server: _Server, key: str
) -> None:
    other = _Server()
    try:
        other.answers(says(GOOD))
        for code in (301, 302, 303, 307, 308):
            server.answers(status(code, f"Location: {other.address}/chat/completions"))
            planner = ChatPlanner(head, ChatConfig(server.address, "any"))
            assert planner.plan("walk forward") == head.plan("walk forward")
            assert len(server.requests) == 1, "it would not go better at a second try"
        assert other.requests == []
    finally:
        other.close()


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n{PLAN}\n```",
        f"```\n{PLAN}\n```",
        f"Here is the plan: {PLAN}",
        f"Sure!\n\n```json\n{PLAN}\n```\nThe robot {{will}} walk.",
        f"<think>Perhaps {{walk}}?</think>\n{PLAN}",
        f"\ufeff{PLAN}"[1:] + "\n",
    ],
)
def test_an_object_within_a_fence_or_between_sentences_is_a_plan(
    head: SemanticHead, server: _Server, answer: str
) -> None:
    server.answers(says(answer))
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=0))
    assert [clause.weights["walk"] for clause in planner.plan("off you go")] == [1.0]


def test_too_many_requests_are_tried_again_when_the_server_says(head: SemanticHead, server: _Server) -> None:
    server.answers(status(429, "Retry-After: 0"), says(GOOD))
    planner = ChatPlanner(head, ChatConfig(server.address, "any"))
    assert len(planner.plan("off you go")) == 2
    assert len(server.requests) == 2


def test_a_server_that_wants_a_key_that_is_not_set(
    head: SemanticHead, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MWL_CHAT_KEY", raising=False)
    server.answers(status(401))
    planner = ChatPlanner(head, ChatConfig(server.address, "any"))
    planner.plan("walk forward")
    assert "wants a key (401)" in planner.fallback
    assert "Authorization" not in server.requests[0]


@pytest.mark.parametrize("bad", ["two words", "schlüssel", "a\nHost: elsewhere", "\x00"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(
    head: SemanticHead, server: _Server, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"MWL_CHAT_KEY": bad})
    with pytest.raises(BadInput, match="MWL_CHAT_KEY") as refusal:
        ChatPlanner(head, ChatConfig(server.address, "any")).plan("walk forward")
    assert bad not in str(refusal.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "file:///etc/passwd",
        "localhost:11434",
        "http://",
        "http://user:word@host/v1",
        "http://host:99999/v1",
        "http://host/v1?key=word",
        "http://ho st/v1",
        "http://[::1",
        "",
    ],
)
def test_an_endpoint_that_is_no_plain_address_is_refused(endpoint: str) -> None:
    with pytest.raises(BadInput, match="endpoint") as refusal:
        ChatConfig(endpoint, "any")
    assert "word" not in str(refusal.value).replace("password", "")


@pytest.mark.parametrize("numbers", [{"timeout": 0}, {"timeout": float("nan")}, {"timeout": 1e9}, {"retries": -1}])
def test_limits_are_sound(numbers: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        ChatConfig("http://localhost/v1", "any", **numbers)


def test_answers_are_kept_and_an_empty_plan_is_a_refusal(head: SemanticHead, server: _Server, tmp_path: Path) -> None:
    server.answers(says(GOOD))
    planner = ChatPlanner(head, ChatConfig(server.address, "any", cache=str(tmp_path)))
    assert planner.plan("go") == planner.plan("go")
    assert len(server.requests) == 1
    server.answers(says({"steps": []}))
    with pytest.raises(NoSkillFits):
        planner.plan("make me a coffee")
    assert who_planned(planner) == {"planner": "chat", "fallback": ""}


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", DEEP.encode(), b'{"steps": [3]}', b" " * (1 << 21)])
def test_a_damaged_answer_in_the_cache_is_asked_for_again(
    head: SemanticHead, server: _Server, tmp_path: Path, content: bytes
) -> None:
    server.answers(says(GOOD))
    planner = ChatPlanner(head, ChatConfig(server.address, "any", cache=str(tmp_path)))
    planner.plan("go")
    next(tmp_path.glob("*.json")).write_bytes(content)
    assert len(planner.plan("go")) == 2
    assert len(server.requests) == 2


def test_the_cache_has_an_end_and_is_no_condition(head: SemanticHead, server: _Server, tmp_path: Path) -> None:
    for number in range(MAX_KEPT + 5):
        (tmp_path / f"{number}.json").touch()
    server.answers(says(GOOD))
    ChatPlanner(head, ChatConfig(server.address, "any", cache=str(tmp_path))).plan("go")
    assert len(list(tmp_path.iterdir())) == MAX_KEPT
    (tmp_path / "file").touch()
    planner = ChatPlanner(head, ChatConfig(server.address, "any", cache=str(tmp_path / "file")))
    assert len(planner.plan("go")) == 2


def test_nobody_at_the_endpoint(head: SemanticHead) -> None:
    planner = ChatPlanner(head, ChatConfig("http://127.0.0.1:9", "any", retries=0))
    assert planner.plan("walk forward") == head.plan("walk forward")
    assert "can't be reached" in planner.fallback


def test_a_step_may_wait_for_a_condition_that_is_known(head: SemanticHead, server: _Server) -> None:
    server.answers(step(until="at_door"))
    planner = ChatPlanner(head, ChatConfig(server.address, "any", retries=0))
    assert [clause.until for clause in planner.plan("go to the door")] == ["at_door"]


def test_a_server_on_this_machine_is_asked_without_the_proxy(
    head: SemanticHead, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answers(says(GOOD))
    assert len(ChatPlanner(head, ChatConfig(server.address, "any", retries=0)).plan("go")) == 2


def test_the_head_says_of_itself_that_it_planned(head: SemanticHead) -> None:
    assert who_planned(choose_planner(head, "clip")) == {"planner": "clip", "fallback": ""}
