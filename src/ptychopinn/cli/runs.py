"""The files of a training run: written, resumed, and put in the place of an earlier one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.errors import InputError
from ptychopinn.io.atomic import claimed, move_in, replacing, write_json
from ptychopinn.io.config_file import read_config_file
from ptychopinn.machine.ranks import started

if TYPE_CHECKING:
    from rich.console import Console

    from ptychopinn.config import Config
    from ptychopinn.contracts import Progress
    from ptychopinn.io.log_file import LogFile
    from ptychopinn.workflows.model import Model

CONFIG = "config.json"
LOG = "log.txt"
RESULTS = ("wts.h5.zip", "loss.png", "run.json")
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
# Of the optional loggers; TensorBoard adds events and MLflow pictures, with names of their own.
LOGGED = ("mlflow.db",)
NAMED = ("tensorboard/events.out.tfevents.*", "mlruns/**/*.*")
# What a run needs to be resumed comes last.
WRITTEN = (*RESULTS, LOG, "metrics.csv", *LOGGED, CONFIG, *CHECKPOINTS)
# Where a run lives that is to replace an earlier one, until its model is there.
UNFINISHED = ".ptychopinn-unfinished"


def earlier_options(output: Path, force: bool) -> dict[str, Any]:
    """The options of the run in ``output`` that is to be resumed.

    Raises
    ------
    InputError
        When there is none, or it is to be replaced as well.
    """
    if force:
        raise InputError(
            "a run is either continued or replaced, received both --resume and --force; "
            "leave one out."
        )
    run = run_folder(output)
    if not (run / CONFIG).exists():
        raise InputError(
            f"--resume needs the folder of an earlier run, received '{output}' without "
            f"{CONFIG}; start without --resume."
        )
    return read_config_file(run / CONFIG)


def run_folder(output: Path) -> Path:
    """Where the run in ``output`` is resumed: one that was to replace it comes first."""
    unfinished = output / UNFINISHED
    return unfinished if (unfinished / CHECKPOINTS[1]).exists() else output


@contextmanager
def _cleared_when_failing(run: Path, output: Path, resume: bool) -> Iterator[None]:
    """Remove what a new run has written when it fails before there is anything to go on from, or
    when it may never replace the earlier one."""
    from ptychopinn.errors import InputError, TrainingError

    try:
        yield
    except (InputError, TrainingError) as error:
        lost = not (run / CHECKPOINTS[1]).exists()
        if run != output and (lost or isinstance(error, TrainingError)):
            shutil.rmtree(run, ignore_errors=True)
        elif lost and not resume and isinstance(error, InputError):
            for name in (*WRITTEN, *_named(output)):
                (output / name).unlink(missing_ok=True)
            _remove_empty(output)
        raise


def _named(output: Path) -> list[str]:
    """Files of the optional loggers that are not always called the same."""
    found = (path for pattern in NAMED for path in output.glob(pattern) if path.is_file())
    return [path.relative_to(output).as_posix() for path in found]


def _remove_empty(output: Path) -> None:
    deepest_first = sorted((output / "mlruns").rglob("*"), reverse=True)
    for folder in (*deepest_first, *(output / n for n in ("mlruns", "checkpoints", "tensorboard"))):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _take_place(run: Path, output: Path) -> None:
    """Put the finished run where an earlier one was, of which nothing remains."""
    from ptychopinn.training.loggers import lead_to_pictures

    move_in(run, output, (*RESULTS, *_named(output), *WRITTEN[len(RESULTS) :]))
    if (output / LOGGED[0]).exists():
        lead_to_pictures(output / LOGGED[0])
    shutil.rmtree(run, ignore_errors=True)
    _remove_empty(output)


@dataclass(frozen=True)
class Run:
    """A run of training in ``folder``, which in the end lies in ``output``; ``log_file`` receives
    what is said since it began. Of several processes that train together the ``first`` writes."""

    folder: Path
    output: Path
    resume: bool
    quiet: bool
    console: Console
    log_file: LogFile
    first: bool


@contextmanager
def run_in(output: Path, *, force: bool, resume: bool, quiet: bool) -> Iterator[Run]:
    """Claim ``output`` inside the block and show what is logged there.

    A run that replaces an earlier one does so when its model is there, not before.
    """
    from ptychopinn.cli.console import logging_to, stderr
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    console, first = stderr(), started().first
    quiet = quiet or not first
    with (
        claimed(output, (*WRITTEN, UNFINISHED), force or resume) if first else nullcontext(),
        logging_to(console, quiet) as log_file,
    ):
        replaces = any((output / name).exists() for name in (*WRITTEN, UNFINISHED))
        fresh = output / UNFINISHED if replaces else output
        folder = run_folder(output) if resume else fresh
        yield Run(folder, output, resume, quiet, console, log_file, first)


def written_run(
    run: Run,
    config: Config,
    epochs: int,
    train: Callable[[Progress], Model],
    record: Mapping[str, Any],
    notes: tuple[str, ...] = (),
    live: Path | None = None,
) -> int:
    """Train and write all files of a run; ``notes`` are logged first. Returns the exit code.

    ``record`` goes into run.json beside the numbers; ``live`` is where the phase is shown as it is
    found.
    """
    from ptychopinn.cli.console import command_line
    from ptychopinn.report.bars import ProgressBar
    from ptychopinn.report.curves import save_loss_curve
    from ptychopinn.report.live_picture import Followed, LivePicture
    from ptychopinn.workflows.model import package_versions

    folder, output = run.folder, run.output
    if not run.first:
        with ProgressBar(run.console, epochs, quiet=True) as bar:
            train(bar)
        return 0
    for note in notes:
        logging.getLogger(__name__).info("%s", note)

    def first_epoch() -> None:
        # Not earlier: a run that is refused neither leaves traces nor destroys an earlier one.
        if not run.resume and folder != output:
            shutil.rmtree(folder, ignore_errors=True)
        run.log_file.open(folder / LOG, append=run.resume)
        write_json(folder / CONFIG, config.model_dump(mode="json"))

    with (
        _cleared_when_failing(folder, output, run.resume),
        ProgressBar(run.console, epochs, run.quiet, first_epoch) as bar,
    ):
        model = train(bar if live is None else Followed(bar, LivePicture(live), epochs, "epoch"))
        # A finished run that is resumed has no further epoch.
        bar.begin()
    with replacing(folder, RESULTS) as new:
        model.save(new / RESULTS[0])
        losses = {k: list(v) for k, v in model.history.items() if k.endswith("_loss")}
        if any(losses.values()):
            save_loss_curve(losses, new / "loss.png")
        write_json(
            new / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                **record,
                "config": config.model_dump(mode="json"),
                "seconds": model.seconds,
                "epochs": max(map(len, model.history.values()), default=0),
                "statistics": model.manifest.statistics,
                "metrics": model.manifest.metrics,
                "stopped_by_signal": model.stopped_by,
            },
        )
    if folder != output:
        _take_place(folder, output)
    if not run.quiet:
        done = "stopped early, best model so far" if model.stopped_by else "model"
        click.echo(f"{done}: {output / RESULTS[0]} ({model.seconds:.0f} s of training)")
    return 128 + model.stopped_by if model.stopped_by else 0
