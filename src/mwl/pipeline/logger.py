"""The MLflow logger of stages, which may be resumed with other settings."""

from collections.abc import Collection, Mapping
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger


class StageLogger(MLFlowLogger):
    """Lightning's logger, except that parameters which the run has stay as they were first logged.

    MLflow does not let a value be changed, and refuses all that come with one that was, as when a stage is resumed to
    go on for longer. What holds now is in the run's `config.yaml`.
    """

    def log_hyperparams(self, params: Any) -> None:
        """Log parameters that the run does not have yet; groups of them lie within each other."""
        if self.run_id is not None and isinstance(params, Mapping):
            params = _without(params, self.experiment.get_run(self.run_id).data.params)
        super().log_hyperparams(params)


def _without(params: Mapping[str, Any], known: Collection[str], within: str = "") -> dict[str, Any]:
    """Parameters but for the known ones, whose names say where they lie, as `network/size`."""
    left = {}
    for name, value in params.items():
        path = f"{within}{name}"
        if isinstance(value, Mapping) and value:
            left[name] = _without(value, known, f"{path}/")
        elif path not in known:
            left[name] = value
    return left
