"""The MLflow logger of stages, which may be resumed with other settings."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import MLFlowLogger

from mwl.experiments import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient


class StageLogger(MLFlowLogger):
    """Lightning's logger, except that its run begins with the training, and keeps the parameters that it began with.

    Lightning opens the run before the stage is set up, so that one that is refused, as for data that are missing,
    leaves a run that failed. And MLflow does not let a parameter be changed, and refuses all that come with one that
    was, as when a stage is resumed to go on for longer. What holds now is in the run's `config.yaml`.
    """

    _begun = False

    def begin(self) -> None:
        """Open the run, or go on with the one that is resumed."""
        if not self._begun:
            self._begun = True
            tracking.experiment_id(self._experiment_name)

    @property
    def experiment(self) -> "MlflowClient":
        """MLflow's client; the run is opened by the first use after `begin`."""
        client: MlflowClient = super().experiment if self._begun else self._mlflow_client
        return client

    def log_hyperparams(self, params: Any) -> None:
        """Log parameters that the run does not have yet; groups of them lie within each other."""
        self.begin()
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
