"""The typed configuration of an instruction that is carried out."""

from dataclasses import dataclass, field

from mwl.core.ranges import Count, Seed, Whole


@dataclass(frozen=True)
class FollowStage:
    """Carry out an instruction in one episode, each step of its plan by the agents of its skills; film it."""

    instruction: str
    semantic: str = "embedded"
    """Artifact of the semantic head, or `embedded`."""
    agents: dict[str, str] = field(default_factory=dict)
    """Skill name -> agent that carries it out; none: the shipped experts that the words need."""
    task: str = ""
    """Whose world; empty: the one that shows what the words need."""
    steps_per_clause: Count = 250
    """Control steps after which a step of the plan is left, done or not."""
    look_every: Whole = 100
    """Control steps between two looks at the scene; 0: only one, at the beginning."""
    planner: str = "clip"
    """`clip`, or `chat` for a language model at `chat_url`, behind which clip stands by."""
    chat_url: str | None = None
    chat_model: str | None = None
    encoder: str | None = None
    """The CLIP that the semantic head was fitted on, if not the built-in one; an artifact can't choose it."""
    pretrained: str | None = None
    """Its weights, a tag or a file."""
    seed: Seed = 1000
    suite: str = "embedded"
