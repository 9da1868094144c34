"""TensorDict key names, in the order in which the one TensorDict of a control step gains them.

No other module spells a key as a string literal, so that a key can be found, renamed and documented in one place.
Shapes: N environments, O observation size, K experts, A actions.
"""

OBSERVATION = "observation"  # [N, O] float32, what the task shows the agent
SEMANTIC_WEIGHTS = "semantic_weights"  # [N, K] weights of the instruction over the experts (eq. 2)
GATE_PROBS = "gate_probs"  # [N, K] p(i|s) (eq. 3)
FUSED_WEIGHTS = "fused_weights"  # [N, K] alpha * semantic + (1 - alpha) * gate
EXPERT_ACTION = "expert_action"  # [N, K, A] in [-1, 1]
REFERENCE_ACTION = "reference_action"  # [N, A] the composed action that guides the planner
PLAN_STD = "plan_std"  # [N, A] its standard deviation
ACTION = "action"  # [N, A] the executed action, in [-1, 1]

NEXT = "next"
REWARD = "reward"  # [N, 1]
DONE = "done"  # [N, 1] bool, terminated or truncated
TERMINATED = "terminated"  # [N, 1] bool, a true end (a fall): never bootstrapped through
TRUNCATED = "truncated"  # [N, 1] bool, the time limit: bootstrapped
STEP_COUNT = "step_count"  # [N, 1] int64, steps since the episode began
EPISODE = "episode"  # [N] int64, a number unique to the episode, the trajectory key of the replay buffer
IS_INIT = "is_init"  # [N, 1] bool, first step of an episode
EXPERT_ID = "expert_id"  # [T] int64, which demonstrator a recorded step came from
EXPERT_RETURN = "expert_return"  # [T, K] mean reward per step of each expert from there on, where EVALUATED
EVALUATED = "evaluated"  # [T, K] bool
FEATURES = "features"  # [N, F] what an expert sees of an observation, under its command
MEMORY = "memory"  # [N, M] what stateful experts remember when they act; under NEXT, what they remember afterwards
