"""What is said to people: text as it is, in one line, and no secret of the environment in it."""

import pytest

from mwl.core.terminal import printable, redacted, tell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 走 🚶\n\tas it is [red]", "plain ü 走 🚶\n\tas it is [red]"),
        ("\x1b[2J\x07\r\x7f", r"\x1b[2J\x07\r\x7f"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_acts_on_a_terminal_is_spelled(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_secrets_of_the_environment_are_in_no_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MWL_CHAT_KEY", "sk-1234")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "tracked")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pass%20word@server/x")
    text = "sk-1234, tracked, https://me:pass%20word@server/x, pass word; server"
    assert redacted(text) == "***, ***, https://***@server/x, ***; server"
    tell(text)
    assert not {"sk-1234", "tracked", "pass"} & set(capsys.readouterr().err.replace(",", " ").split())


def test_without_secrets_nothing_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MWL_CHAT_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MWL_CHAT_URL", "")
    assert redacted("sqlite:///mlflow/mlflow.db") == "sqlite:///mlflow/mlflow.db"
