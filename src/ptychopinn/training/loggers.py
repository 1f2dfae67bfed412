"""Optional records of a run for other programs; everything they write lies in its folder."""

from __future__ import annotations

import io
import logging
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ptychopinn.errors import InputError, MissingDependencyError, PtychoPINNError, brief
from ptychopinn.io.atomic import CannotWrite
from ptychopinn.ops.selector import installed

if TYPE_CHECKING:
    from PIL.Image import Image

EXPERIMENT = "ptychopinn"
# The folder of MLflow's pictures.
PICTURES = "mlruns"
NEEDED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}

log = logging.getLogger(__name__)


class Log:
    """Takes the metrics of every epoch, and pictures of what was found; this one keeps none.

    pictures_every : epochs from picture to picture; 0 for a log that takes none.
    """

    pictures_every = 0

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        """The metrics of an epoch, counted from 1."""

    def show(self, pictures: Mapping[str, Image], epoch: int) -> None:
        """Pictures after an epoch, counted from 1."""

    def close(self, finished: bool) -> None:
        """Nothing more will come; the run is finished, or has failed."""


def require_log(kind: str, directory: Path) -> None:
    """Raise what :func:`log_of` does where there can be no log of this kind in this folder."""
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


def log_of(
    kind: str,
    directory: Path,
    config: Mapping[str, Any],
    resume: bool,
    pictures_every: int = 1,
) -> Log:
    """The log of this kind: tensorboard, mlflow, or none for any other word.

    Raises MissingDependencyError when its package is not installed; InputError when the path of the
    folder cannot be part of the address of a database."""
    require_log(kind, directory)
    kinds: Mapping[str, type[_InFolder]] = {"tensorboard": TensorBoardLog, "mlflow": MlflowLog}
    if kind not in kinds:
        return Log()
    return kinds[kind](directory.resolve(), config, resume, pictures_every)


class _InFolder(Log):
    """Nothing is opened before there is something to say: until then an earlier run that is about
    to be replaced may lie in the folder.

    Raises
    ------
    InputError
        Where it cannot be written: :class:`~ptychopinn.io.atomic.CannotWrite`.
    """

    #: What is written, in the folder of the run.
    NAME = ""

    def __init__(
        self, directory: Path, config: Mapping[str, Any], resume: bool, pictures_every: int
    ) -> None:
        self.directory, self.config, self.resume = directory, config, resume
        self.pictures_every = pictures_every
        self._open = False

    def write(self, metrics: Mapping[str, float], epoch: int) -> None:
        with self._reported():
            self._open = True
            self._write(metrics, epoch)

    def show(self, pictures: Mapping[str, Image], epoch: int) -> None:
        with self._reported():
            self._open = True
            self._show(pictures, epoch)

    def close(self, finished: bool) -> None:
        if not self._open:
            return
        try:
            with self._reported():
                self._close(finished)
        except CannotWrite as error:
            if finished:
                raise
            # The run ends for a reason of its own.
            log.warning("%s", error)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Whatever the packages raise when they cannot write, each has classes of its own, becomes
        one sentence; what failed once is not tried again."""
        try:
            yield
        except PtychoPINNError:
            raise
        except Exception as error:
            self._open = False
            self._drop()
            raise CannotWrite(self.directory / self.NAME, _reason(error)) from error

    def _write(self, metrics: Mapping[str, float], epoch: int) -> None:
        raise NotImplementedError

    def _show(self, pictures: Mapping[str, Image], epoch: int) -> None:
        raise NotImplementedError

    def _close(self, finished: bool) -> None:
        raise NotImplementedError

    def _drop(self) -> None:
        """Let go of what is open."""


def lead_to_pictures(database: Path) -> None:
    """Let the database ``mlflow.db`` look for the pictures of its runs in its own folder, wherever
    that was moved to; it keeps whole paths."""
    place = (database.parent.resolve() / PICTURES).as_uri()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "update experiments set artifact_location = ? where name = ?", (place, EXPERIMENT)
        )
        connection.execute(
            "update runs set artifact_uri = ? || '/' || run_uuid || '/artifacts'", (place,)
        )


def _reason(error: BaseException) -> str:
    """What the system or the database said, at the bottom of what was made of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return brief(getattr(error, "strerror", None) or error) or type(error).__name__


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in sections as ``section/name: value``."""
    return {
        f"{section}/{name}": value
        for section, values in options.items()
        for name, value in values.items()
    }


class TensorBoardLog(_InFolder):
    """Scalars, pictures, and the configuration as a text, as events in ``tensorboard/``.

    The file is written here, at once: the writer of TensorBoard does it in a thread, whose errors
    are shown as tracebacks.
    """

    NAME = "tensorboard"

    @cached_property
    def _stream(self) -> Any:
        folder = self.directory / self.NAME
        folder.mkdir(parents=True, exist_ok=True)
        # As TensorBoard has it: they are read in the order of their names.
        stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        return (folder / f"{stem}.{len(list(folder.glob(f'{stem}.*')))}").open("xb")

    @cached_property
    def _records(self) -> Any:
        # With a module of this name TensorBoard leaves an installed TensorFlow alone. To load that
        # for a few numbers takes seconds, and makes a folder in the home of the user.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = RecordWriter(self._stream)
        begun = Event(wall_time=time.time(), file_version="brain.Event:2")
        records.write(begun.SerializeToString())
        if not self.resume:
            lines = [f"| {name} | {value} |" for name, value in flat(self.config).items()]
            text = "\n".join(["| option | value |", "| --- | --- |", *lines])
            tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
            plugin = SummaryMetadata.PluginData(plugin_name="text")
            metadata = SummaryMetadata(plugin_data=plugin)
            value = Summary.Value(tag="config", tensor=tensor, metadata=metadata)
            records.write(_event([value], 0))
        return records

    def _write(self, metrics: Mapping[str, float], epoch: int) -> None:
        # Imported after what they set.
        records = self._records
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=value) for k, value in metrics.items()]
        records.write(_event(values, epoch))
        self._stream.flush()

    def _show(self, pictures: Mapping[str, Image], epoch: int) -> None:
        records = self._records
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = []
        for name, picture in pictures.items():
            file = io.BytesIO()
            picture.save(file, "PNG", optimize=True)
            image = Summary.Image(
                height=picture.height,
                width=picture.width,
                colorspace=3,
                encoded_image_string=file.getvalue(),
            )
            values.append(Summary.Value(tag=name, image=image))
        records.write(_event(values, epoch))
        self._stream.flush()

    def _close(self, finished: bool) -> None:
        self._stream.close()

    def _drop(self) -> None:
        if "_stream" in vars(self):
            # It tries once more to write what it holds.
            with suppress(OSError):
                self._stream.close()


def _event(values: Sequence[Any], step: int) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
    content: bytes = event.SerializeToString()
    return content


class MlflowLog(_InFolder):
    """A run in the SQLite database ``mlflow.db``, which a resumed training continues; its pictures
    lie in ``mlruns/``."""

    NAME = "mlflow.db"

    @cached_property
    def run(self) -> tuple[Any, str]:
        """The client and the number of the run."""
        # MLflow reads them when it is imported. It would report its use to its makers and keep a
        # file for that in the home of the user, and show errors of the database as tracebacks.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
        # What cannot be opened, or is no database, MLflow would try for minutes.
        path = self.directory / self.NAME
        self.directory.mkdir(parents=True, exist_ok=True)
        with path.open("ab"), closing(sqlite3.connect(path)) as database:
            database.execute("pragma schema_version")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{path}")
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            place = (self.directory / PICTURES).as_uri()
            experiment = client.create_experiment(EXPERIMENT, artifact_location=place)
        else:
            experiment = found.experiment_id
        if self.resume:
            lead_to_pictures(path)
        runs = client.search_runs([experiment]) if self.resume else ()
        if runs:
            run = runs[0].info.run_id
            client.update_run(run, status="RUNNING")
            return client, run
        run = client.create_run(experiment).info.run_id
        for name, value in flat(self.config).items():
            client.log_param(run, name, value)
        return client, run

    def _write(self, metrics: Mapping[str, float], epoch: int) -> None:
        client, run = self.run
        for name, value in metrics.items():
            client.log_metric(run, name, value, step=epoch)

    def _show(self, pictures: Mapping[str, Image], epoch: int) -> None:
        client, run = self.run
        for name, picture in pictures.items():
            # A copy in a format without palettes is kept beside it.
            shown = picture.convert("RGB")
            client.log_image(run, shown, key=name, step=epoch, synchronous=True)

    def _close(self, finished: bool) -> None:
        client, run = self.run
        client.set_terminated(run, "FINISHED" if finished else "FAILED")
