"""Optional loggers; everything they write lies in the folder of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from ptychopinn.errors import InputError, MissingDependencyError
from ptychopinn.ops.selector import installed
from ptychopinn.training.history import History

EXPERIMENT = "ptychopinn"
NEEDED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


class EpochLog(Callback):
    """Passes the metrics of every epoch, and the configuration once, to TensorBoard or MLflow.

    TensorBoard has its events in ``tensorboard/``, MLflow a run in the SQLite database
    ``mlflow.db``, which a resumed training continues. Either is opened only when there is something
    to say: Lightning would open it before the first epoch begins, when an earlier run that is about
    to be replaced still lies in the folder.

    Raises
    ------
    MissingDependencyError
        When the package is not installed.
    InputError
        When the path of the folder cannot be part of the address of a database.
    """

    def __init__(
        self,
        kind: str,
        directory: Path,
        config: Mapping[str, Any],
        history: History,
        resume: bool,
    ) -> None:
        missing = [name for name in NEEDED[kind] if not installed(name)]
        if missing:
            raise MissingDependencyError(
                f"--torch-logger {kind} needs the package {missing[0]}, received an installation "
                f"without it; run: pip install 'ptychopinn[{kind}]'."
            )
        self.directory, self.config = directory.resolve(), config
        self.history, self.resume = history, resume
        if kind == "mlflow" and "?" in str(self.directory):
            raise InputError(
                "--torch-logger mlflow needs an output folder without '?' in its path, received "
                f"'{directory}'; choose another folder or logger."
            )
        self._open: Callable[[], Logger] = self._mlflow if kind == "mlflow" else self._tensorboard
        self._logger: Logger | None = None

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._logger is None:
            self._logger = self._open()
            # What MLflow knows of a run cannot be changed when the run goes on.
            if not self.resume:
                self._logger.log_hyperparams(dict(self.config))
        metrics = {name: points[-1][1] for name, points in self.history.items()}
        self._logger.log_metrics(metrics, step=trainer.current_epoch + 1)
        self._logger.save()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._close("success")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._close("failed")

    def _close(self, status: str) -> None:
        if self._logger is not None:
            self._logger.finalize(status)
            self._logger = None

    def _tensorboard(self) -> Logger:
        # With a module of this name TensorBoard leaves an installed TensorFlow alone. To load that
        # for a few numbers takes seconds, and makes a folder in the home of the user.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        return TensorBoardLogger(
            self.directory, name="", version="tensorboard", default_hp_metric=False
        )

    def _mlflow(self) -> Logger:
        # MLflow reads them when it is imported. It would report its use to its makers and keep a
        # file for that in the home of the user.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        from mlflow.tracking import MlflowClient

        address = f"sqlite:///{self.directory / 'mlflow.db'}"
        run = None
        if self.resume:
            client = MlflowClient(address)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            runs = client.search_runs([experiment.experiment_id]) if experiment else ()
            run = runs[0].info.run_id if runs else None
        return MLFlowLogger(
            EXPERIMENT,
            tracking_uri=address,
            artifact_location=(self.directory / "mlruns").as_uri(),
            run_id=run,
        )
