"""What `mwl experts measure` does, as a plain function."""

from pathlib import Path
from typing import Any

from mwl.core.artifact import update_manifest
from mwl.core.errors import BadInput
from mwl.experts.library import Expert
from mwl.experts.measure import measure_expert, measure_shifts


def measure(folder: Path | str, episodes: int = 20) -> dict[str, Any]:
    """Measure an expert again with this version, and renew the metrics in its manifest; its weights stay as they are.

    Args:
        folder: artifact of the expert.
        episodes: whole episodes, plain and pushed.

    Returns:
        the new metrics.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: the folder holds no expert that this version can load.
        BadInput: less than two episodes.
    """
    expert = _checked(folder, episodes)
    metrics = measure_expert(expert.spec, expert.network, episodes)
    update_manifest(folder, metrics=metrics)
    return metrics


def measure_under_shifts(folder: Path | str, episodes: int = 20) -> dict[str, Any]:
    """Measure an expert on its task under each shift of `mwl.experts.measure.SHIFTS`, for its manifest, as `shifts`.

    Args:
        folder: artifact of the expert.
        episodes: whole episodes for each shift.

    Returns:
        return, interval and falls by shift.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: the folder holds no expert that this version can load.
        BadInput: less than two episodes.
    """
    expert = _checked(folder, episodes)
    shifts = measure_shifts(expert, episodes)
    update_manifest(folder, shifts=shifts)
    return shifts


def _checked(folder: Path | str, episodes: int) -> Expert:
    if episodes < 2:
        raise BadInput("--episodes must be at least 2: one episode has no spread")
    return Expert.load(folder)
