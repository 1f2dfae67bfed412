"""Optional records of a run for other programs; everything they write lies in its folder."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ptychopinn.errors import InputError, MissingDependencyError
from ptychopinn.ops.selector import installed

EXPERIMENT = "ptychopinn"
NEEDED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


class Log:
    """Takes the metrics of every epoch; this one keeps none.

    Nothing is opened before there is something to say: until then an earlier run that is about to
    be replaced may lie in the folder.
    """

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        """The metrics of an epoch, counted from 1."""

    def close(self, finished: bool) -> None:
        """Nothing more will come; the run is finished, or has failed. May be called again."""


def log_of(kind: str, directory: Path, config: Mapping[str, Any], resume: bool) -> Log:
    """The log of this kind: tensorboard, mlflow, or none for any other word.

    Raises
    ------
    MissingDependencyError
        When its package is not installed.
    InputError
        When the path of the folder cannot be part of the address of a database.
    """
    missing = [name for name in NEEDED.get(kind, ()) if not installed(name)]
    if missing:
        raise MissingDependencyError(
            f"the logger {kind} needs the package {missing[0]}, received an installation without "
            f"it; run: pip install 'ptychopinn[{kind}]'."
        )
    if kind == "mlflow" and "?" in str(directory.resolve()):
        raise InputError(
            "the logger mlflow needs an output folder without '?' in its path, received "
            f"'{directory}'; choose another folder or logger."
        )
    kinds: Mapping[str, type[_Opened]] = {"tensorboard": TensorBoardLog, "mlflow": MlflowLog}
    return kinds[kind](directory.resolve(), config, resume) if kind in kinds else Log()


class _Opened(Log, ABC):
    """A log with something to open first."""

    def __init__(self, directory: Path, config: Mapping[str, Any], resume: bool) -> None:
        self.directory, self.config, self.resume = directory, config, resume
        self.opened = False

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        if not self.opened:
            self.open()
            self.opened = True
        self.add(metrics, epoch)

    def close(self, finished: bool) -> None:
        if self.opened:
            self.end(finished)
            self.opened = False

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def add(self, metrics: Mapping[str, float], epoch: int) -> None: ...

    @abstractmethod
    def end(self, finished: bool) -> None: ...


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in sections as ``section/name: value``."""
    return {
        f"{section}/{name}": value
        for section, values in options.items()
        for name, value in values.items()
    }


class TensorBoardLog(_Opened):
    """Scalars, and the configuration as a text, as events in ``tensorboard/``."""

    def open(self) -> None:
        # With a module of this name TensorBoard leaves an installed TensorFlow alone. To load that
        # for a few numbers takes seconds, and makes a folder in the home of the user.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.directory / "tensorboard"))
        if not self.resume:
            lines = [f"| {name} | {value} |" for name, value in flat(self.config).items()]
            text = "\n".join(["| option | value |", "| --- | --- |", *lines])
            tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
            plugin = SummaryMetadata.PluginData(plugin_name="text")
            metadata = SummaryMetadata(plugin_data=plugin)
            value = Summary.Value(tag="config", tensor=tensor, metadata=metadata)
            self._add(Summary(value=[value]), 0)

    def _add(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def add(self, metrics: Mapping[str, float], epoch: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=value) for k, value in metrics.items()]
        self._add(Summary(value=values), epoch)
        self.writer.flush()

    def end(self, finished: bool) -> None:
        self.writer.close()


class MlflowLog(_Opened):
    """A run in the SQLite database ``mlflow.db``, which a resumed training continues."""

    def open(self) -> None:
        # MLflow reads them when it is imported. It would report its use to its makers and keep a
        # file for that in the home of the user.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(f"sqlite:///{self.directory / 'mlflow.db'}")
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            place = (self.directory / "mlruns").as_uri()
            experiment = self.client.create_experiment(EXPERIMENT, artifact_location=place)
        else:
            experiment = found.experiment_id
        runs = self.client.search_runs([experiment]) if self.resume else ()
        if runs:
            self.run = runs[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        self.run = self.client.create_run(experiment).info.run_id
        for name, value in flat(self.config).items():
            self.client.log_param(self.run, name, value)

    def add(self, metrics: Mapping[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.run, name, value, step=epoch)

    def end(self, finished: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if finished else "FAILED")
