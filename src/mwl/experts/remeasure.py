"""What `mwl experts measure` does, as a plain function."""

import json
import os
from pathlib import Path
from typing import Any

from mwl.errors import BadInput
from mwl.experts.library import Expert
from mwl.experts.measure import measure_expert
from mwl.handoff import MANIFEST


def measure(folder: Path | str, episodes: int = 20) -> dict[str, Any]:
    """Measure an expert again with this version, and renew the metrics in its manifest; its weights stay as they are.

    Args:
        folder: hand-over folder of the expert.
        episodes: whole episodes, plain and kicked.

    Returns:
        the new metrics.

    Raises:
        MissingFile, CorruptFile, SpecMismatch: the folder holds no expert that this version can load.
        BadInput: less than two episodes.
    """
    if episodes < 2:
        raise BadInput("--episodes must be at least 2: one episode has no spread")
    expert = Expert.load(folder)
    metrics = measure_expert(expert.spec, expert.network, episodes)
    manifest = {**expert.manifest, "metrics": metrics}
    path = Path(folder) / MANIFEST
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
    return metrics
