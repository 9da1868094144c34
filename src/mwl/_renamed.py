"""Names that have changed in files: configurations, manifests and checkpoints with the former ones still load.

What a file holds is translated once, where it is read; behind that nothing knows a former name. Former names of
modules, classes and functions are in `mwl._moved`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

KEYS = {
    "data.trials": "rollouts",
    "guidance.tuning": "correction",
    "hyper_parameters.spread": "trust_radius",
    "hyper_parameters.use": "switches",
    "init_args.trials": "rollouts",
    "kick_interval": "push_interval",
    "kick_return_mean": "push_return_mean",
    "kick_std": "push_std",
    "kick_survival": "push_survival",
    "kicked_share": "pushed_share",
    "metrics.spread": "trust_radius",
    "metrics.tuning": "action_correction",
    "metrics.worth": "return",
    "metrics.worth_best": "return_best",
    "posture.pays": "reward_range",
    "posture.trials": "rollouts",
    "practised_from": "fine_tuned_from",
    "predecessors": "hand_over_from",
    "state_dict.centre": "mean_action",
    "state_dict.numbers": "coefficients",
    "takeover_share": "hand_over_share",
    "trial_steps": "rollout_steps",
    "tuning.setting_off": "start_phase",
    "turn_kick_std": "turn_push_std",
}
"""Present names of entries by their former ones, behind the former name of what they lie in where that decides."""

_SEARCH = "experts are tuned by a stage of its own: fit conf/adaptation.yaml, whose folder guidance.experts takes"
_NO_GAIN = "it earned nothing (docs/log/2026-11-measured.md); leave it out"
GONE = {
    **dict.fromkeys(("search_alone", "search_mirrored", "search_step_size", "search_steps", "search_window"), _SEARCH),
    **dict.fromkeys(("race_steps", "start_phase", "start_search_step_size", "start_search_steps"), _SEARCH),
    **dict.fromkeys(("jerk_weight", "tune_alone", "tune_mirrored", "tune_setting_off", "tune_smoothness"), _SEARCH),
    **dict.fromkeys(("tune_setting_off_step_size", "tune_setting_off_steps", "tune_step_size", "tune_steps"), _SEARCH),
    "tune_window": _SEARCH,
    **dict.fromkeys(
        ("expert_rollout", "gate_lr", "gate_entropy_floor", "policy_constraint", "policy_constraint_weight"), _NO_GAIN
    ),
    **dict.fromkeys(
        ("consistency_weight", "reward_weight", "value_weight", "termination_weight", "rho"),
        "it is TD-MPC2's, a constant of mwl.world_model.learning.losses; leave it out",
    ),
    "optimism": "exploration is by held actions (learning.held_share); leave it out",
    **dict.fromkeys(("interleaving", "turns"), "who acts for how long is fixed; leave it out"),
    "limbs": "experts are weighed for the whole body; leave it out",
}
"""Settings that are none any more, and what to do instead."""

FORMER_ARTIFACT = "handoff"
"""Path of an artifact within an MLflow run, and the method of a module that gives one, by its former name."""


def present_keys(value: Any) -> Any:
    """The same nesting of mappings, lists and values, its keys by their present names.

    A former name beside its present one stays, and is refused later as a key that nobody knows.
    """
    return _translated(value, "")


def _translated(value: Any, within: str) -> Any:
    if isinstance(value, Mapping):
        entries = {}
        for key, entry in value.items():
            new = _present(key, within)
            entries[key if new in value else new] = _translated(entry, key)
        return entries
    if isinstance(value, list):
        return [_translated(entry, within) for entry in value]
    return value


def _present(key: Any, within: str) -> Any:
    """The present name of a key that lies in an entry with a former or present name."""
    return KEYS.get(f"{within}.{key}", KEYS.get(key, key)) if isinstance(key, str) else key


def present_option(argument: str) -> str:
    """A command line argument such as `--data.kick_std=0.1`, its key by the present names."""
    if not argument.startswith("--"):
        return argument
    key, equals, value = argument.partition("=")
    parts = key.split(".")
    return ".".join(map(_present, parts, ["", *parts])) + equals + value


def names_of(key: str) -> list[str]:
    """The key and its former names, by which a file may spell it."""
    return [key, *(old.rpartition(".")[2] for old, new in KEYS.items() if new == key)]


@cache
def parser_mode() -> str:
    """Mode for a jsonargparse parser, in which YAML files and values may have former names."""
    import yaml
    from jsonargparse import get_loader, set_loader

    load = get_loader("yaml")
    set_loader("mwl", lambda text: present_keys(load(text)), (yaml.YAMLError,))
    return "mwl"
