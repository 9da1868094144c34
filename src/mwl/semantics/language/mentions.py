"""What asks for words or works instead of a movement, whatever skill it mentions: "sing about walking", "who walks".

A sentence encoder puts such a sentence beside the skill it mentions. Its first words tell: a verb of saying, thinking
or making something, or a question.
"""

import re
from collections.abc import Iterable

_SAYING = (
    "sing|serenade|hum|whistle|chant|recite|talk|speak|chat|explain|describe|discuss|define|pronounce|spell|translate"
    "|apologi[sz]e|pray|joke|laugh|shout|yell|whisper|mention|argue|complain|praise|scold"
    r"|(?:tell|ask)(?!.*\bto\b)"  # but "tell the robot to walk"
)
_MAKING = (
    r"write|rewrite|compose|draft|summari[sz]e|email|tweet|paint|sketch|film|photograph|animate|knit|sew|cook|bake"
    r"|buy|sell|rent|draw(?=\s+(?:me\s+)?(?:an?|some)\b)"  # but "draw near"
)
_THINKING = "think|imagine|dream|believe|wonder|read|learn|teach|study|calculate|compute|compare|prove|recommend"
_OPENING = (
    r"(?:(?:please|kindly|robot|hey|okay|ok|now|just|then)\b[\s,]*|(?:can|could|will|would)\s+you\s+"
    r"|i\s+(?:want|need|would\s+like)\s+you\s+to\s+|let's\s+|try\s+to\s+)*"
)
_QUESTION = (
    r"who\b|(?:is|are|was|were|does|did)\b"
    r"|(?:what|when|where|which|why|how)\s+(?:is|are|was|were|do|does|did|has|had|happens|many|much|far|long|wide|to)\b"
)
_WORDY = re.compile(rf"{_OPENING}(?:(?P<verb>{_SAYING}|{_MAKING}|{_THINKING})\b|{_QUESTION})", re.IGNORECASE)


def asks_for_words(text: str, phrases: Iterable[str] = ()) -> bool:
    """Whether an instruction asks for words, thoughts or works instead of a movement.

    Args:
        text: the instruction.
        phrases: of the cards; a verb that one of them begins with is a skill of this library after all.
    """
    found = _WORDY.match(text.strip())
    if found is None:
        return False
    verb = found["verb"]
    return verb is None or not any(phrase.lower().split()[:1] == [verb.lower()] for phrase in phrases)
