"""An evaluation as it is written down, which tests change as they need it."""

from mwl.evaluation.record import Record

RECORD = Record(
    task="h1-walk",
    suite="embedded",
    agent="guided",
    instruction=None,
    episodes=2,
    seed=0,
    return_mean=850.0,
    return_std=10.0,
    return_ci95=[840.0, 860.0],
    returns=[840.0, 860.0],
    lengths=[1000] * 2,
    length_mean=1000.0,
    success_rate=1.0,
    fall_rate=0.0,
    action_rate=0.02,
    jerk=300.0,
    energy=100.0,
    env_steps_per_s=500.0,
    address="runs/a",
    env_steps=20_000,
    expert_steps=5_000_000,
)
