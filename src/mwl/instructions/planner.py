"""Which planner splits an instruction: the semantic head, or a language model that the user names."""

import os

from mwl.core.errors import BadInput
from mwl.semantics import SemanticHead
from mwl.semantics.encoders.cache import cache_folder
from mwl.semantics.plan.director import LanguagePlanner

URL, MODEL = "MWL_CHAT_URL", "MWL_CHAT_MODEL"


def choose_planner(head: SemanticHead, name: str, url: str | None = None, model: str | None = None) -> LanguagePlanner:
    """The planner of that name.

    Args:
        head: the head itself, which also stands by where a language model fails.
        name: `clip` or `chat`.
        url, model: endpoint and model of `chat`; None takes `MWL_CHAT_URL` and `MWL_CHAT_MODEL`.

    Raises:
        BadInput: another name, or `chat` without endpoint or model.
    """
    if name == "clip":
        return head
    if name != "chat":
        raise BadInput(f"no planner {name!r}; there are clip and chat")
    from mwl.semantics.plan.chat import ChatConfig, ChatPlanner

    url, model = url or os.environ.get(URL), model or os.environ.get(MODEL)
    if not url or not model:
        raise BadInput(f"the planner chat needs --chat-url and --chat-model, or {URL} and {MODEL} in the environment")
    return ChatPlanner(head, ChatConfig(url, model, cache=str(cache_folder() / "chat")))


def who_planned(planner: LanguagePlanner) -> dict[str, str]:
    """`planner`, who made the latest plan (`clip` or `chat`), and `fallback`, why the head did instead of a model."""
    return {"planner": getattr(planner, "planned_by", "clip"), "fallback": getattr(planner, "fallback", "")}
