"""Stages that are carried out once per seed: `seeds: [0, 1]` in a pipeline becomes one stage for each."""

from collections.abc import Mapping
from typing import Any

from mwl.core.errors import ConfigError

SEED = "${seed}"


def spread_seeds(stages: Mapping[str, Any]) -> dict[str, Any]:
    """The stages, those with `seeds` as `<name>_s<seed>` for each seed.

    Within such a stage `${seed}` stands for the seed, and a reference to another stage with `seeds` for that stage's
    result with the same seed. Elsewhere a reference to it is a list item and stands for the results of all its seeds.

    Raises:
        ConfigError: seeds that are no list of whole numbers, a reference to a seed that another stage lacks, or one to
            all seeds where a single result is needed.
    """
    seeds = {name: _seeds(name, spec) for name, spec in stages.items() if isinstance(spec, Mapping) and "seeds" in spec}
    spread: dict[str, Any] = {}
    for name, spec in stages.items():
        if name not in seeds:
            spread[name] = _filled(spec, name, seeds, None)
            continue
        once = {key: value for key, value in spec.items() if key != "seeds"}
        for seed in seeds[name]:
            spread[f"{name}_s{seed}"] = _filled(once, name, seeds, seed)
    return spread


def _seeds(name: str, spec: Mapping[str, Any]) -> list[int]:
    given = spec["seeds"]
    whole = isinstance(given, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in given)
    if not whole or not given or len(set(given)) < len(given):
        raise ConfigError(f"stage {name!r}: seeds must be a list of different whole numbers, as [0, 1], not {given!r}")
    return list(given)


def _filled(value: Any, stage: str, seeds: Mapping[str, list[int]], seed: int | None) -> Any:
    """A value with its seed and its references to stages with seeds filled in; `seed` is None in a stage without."""
    if isinstance(value, Mapping):
        return {key: _filled(item, stage, seeds, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [filled for item in value for filled in _items(item, stage, seeds, seed)]
    if not isinstance(value, str):
        return value
    if seed is not None:
        if value == SEED:
            return seed
        value = value.replace(SEED, str(seed))
    for name, known in seeds.items():
        reference = f"${{{name}}}"
        if reference not in value:
            continue
        if seed is None:
            raise ConfigError(f"stage {stage!r}: {reference} has several seeds; name one, as ${{{name}_s{known[0]}}}")
        if seed not in known:
            raise ConfigError(f"stage {stage!r} has seed {seed}, which {name!r} lacks: its seeds are {known}")
        value = value.replace(reference, f"${{{name}_s{seed}}}")
    return value


def _items(item: Any, stage: str, seeds: Mapping[str, list[int]], seed: int | None) -> list[Any]:
    """What stands for an item of a list: outside stages with seeds, a reference to one is all its results."""
    if seed is None and isinstance(item, str):
        for name, known in seeds.items():
            if item == f"${{{name}}}":
                return [f"${{{name}_s{each}}}" for each in known]
    return [_filled(item, stage, seeds, seed)]
