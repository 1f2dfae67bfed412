"""Optional records of a run for other programs; everything they write lies in its folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from ptychopinn.errors import InputError, MissingDependencyError
from ptychopinn.ops.selector import installed

EXPERIMENT = "ptychopinn"
NEEDED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


class Log:
    """Takes the metrics of every epoch; this one keeps none."""

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        """The metrics of an epoch, counted from 1."""

    def close(self, finished: bool) -> None:
        """Nothing more will come; the run is finished, or has failed."""


def log_of(kind: str, directory: Path, config: Mapping[str, Any], resume: bool) -> Log:
    """The log of this kind: tensorboard, mlflow, or none for any other word.

    Raises MissingDependencyError when its package is not installed; InputError when the path of the
    folder cannot be part of the address of a database."""
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
    kinds: Mapping[str, type[_InFolder]] = {"tensorboard": TensorBoardLog, "mlflow": MlflowLog}
    return kinds[kind](directory.resolve(), config, resume) if kind in kinds else Log()


class _InFolder(Log):
    """Nothing is opened before there is something to say: until then an earlier run that is about
    to be replaced may lie in the folder."""

    def __init__(self, directory: Path, config: Mapping[str, Any], resume: bool) -> None:
        self.directory, self.config, self.resume = directory, config, resume


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in sections as ``section/name: value``."""
    return {
        f"{section}/{name}": value
        for section, values in options.items()
        for name, value in values.items()
    }


class TensorBoardLog(_InFolder):
    """Scalars, and the configuration as a text, as events in ``tensorboard/``."""

    @cached_property
    def writer(self) -> Any:
        # With a module of this name TensorBoard leaves an installed TensorFlow alone. To load that
        # for a few numbers takes seconds, and makes a folder in the home of the user.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(self.directory / "tensorboard"))
        if not self.resume:
            lines = [f"| {name} | {value} |" for name, value in flat(self.config).items()]
            text = "\n".join(["| option | value |", "| --- | --- |", *lines])
            tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
            plugin = SummaryMetadata.PluginData(plugin_name="text")
            metadata = SummaryMetadata(plugin_data=plugin)
            writer.add_event(
                _event([Summary.Value(tag="config", tensor=tensor, metadata=metadata)], 0)
            )
        return writer

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        # Imported after what the writer sets.
        writer = self.writer
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=value) for k, value in metrics.items()]
        writer.add_event(_event(values, epoch))
        writer.flush()

    def close(self, finished: bool) -> None:
        if "writer" in vars(self):
            self.writer.close()


def _event(values: Sequence[Any], step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(wall_time=time.time(), step=step, summary=Summary(value=values))


class MlflowLog(_InFolder):
    """A run in the SQLite database ``mlflow.db``, which a resumed training continues."""

    @cached_property
    def run(self) -> tuple[Any, str]:
        """The client and the number of the run."""
        # MLflow reads them when it is imported. It would report its use to its makers and keep a
        # file for that in the home of the user.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.directory / 'mlflow.db'}")
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            place = (self.directory / "mlruns").as_uri()
            experiment = client.create_experiment(EXPERIMENT, artifact_location=place)
        else:
            experiment = found.experiment_id
        runs = client.search_runs([experiment]) if self.resume else ()
        if runs:
            run = runs[0].info.run_id
            client.update_run(run, status="RUNNING")
            return client, run
        run = client.create_run(experiment).info.run_id
        for name, value in flat(self.config).items():
            client.log_param(run, name, value)
        return client, run

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        client, run = self.run
        for name, value in metrics.items():
            client.log_metric(run, name, value, step=epoch)

    def close(self, finished: bool) -> None:
        if "run" in vars(self):
            client, run = self.run
            client.set_terminated(run, "FINISHED" if finished else "FAILED")
