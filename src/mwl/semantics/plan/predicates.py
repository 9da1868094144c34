"""Progress predicates by name: what they say in words; `mwl.semantics.plan.progress` measures them."""

_SAID = {
    "at_door": "the door is within reach",
    "behind_leaf": "the robot holds the leaf open from behind",
    "through_door": "the doorway lies behind",
    "hand_at_goal": "the hand is at the target",
    "at_goal": "the target is within reach",
    "handle_turned": "the handle is turned",
    "door_open": "the door is open",
    "seated": "it is seated on the chair",
}


def said(name: str) -> str:
    """A predicate, or `not` a predicate, in words."""
    words = _SAID[name.removeprefix("not ")]
    if name.startswith("not "):
        words = words.replace(" is ", " is not ").replace(" lies ", " does not lie ")
        words = words.replace(" holds ", " does not hold ")
    return words


def opposite(name: str) -> str:
    """The predicate that holds where this one does not."""
    return name.removeprefix("not ") if name.startswith("not ") else f"not {name}"
