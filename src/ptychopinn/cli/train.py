"""``ptychopinn train``: learn a model from scans, without ground truth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend, config_options, given
from ptychopinn.cli.scans import open_scan, scan_options
from ptychopinn.config import SECTIONS, Config, merged, read_config_file, validated

if TYPE_CHECKING:
    from ptychopinn.data.scan import Scan
    from ptychopinn.ops.options import Execution
    from ptychopinn.ops.selector import BackendName

CONFIG = "config.json"
LOG = "log.txt"
RESULTS = ("wts.h5.zip", "loss.png", "run.json")
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
# Of the optional loggers; TensorBoard adds events with names of its own.
LOGGED = ("mlflow.db",)
WRITTEN = (*RESULTS, LOG, CONFIG, "metrics.csv", *CHECKPOINTS, *LOGGED)


@click.command()
@click.argument(
    "scans", metavar="SCAN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the model bundle wts.h5.zip, the log and the checkpoints.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=None,
    help="YAML or JSON file with any of the options below; flags take precedence.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the run in DIR from its last finished epoch."
)
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    default=None,
    help="Train this model further: a bundle, or the word pretrained.",
)
@click.option("--force", is_flag=True, help="Overwrite an earlier run in DIR.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@click.option(
    "--probe-check/--no-probe-check",
    default=True,
    help="Refuse a probe that does not fit the data.  [default: yes]",
)
@scan_options
@config_options(*SECTIONS.values())
@backend_options(training=True)
def command(
    scans: tuple[Path, ...],
    output: Path,
    config_file: Path | None,
    resume: bool,
    start: str | None,
    force: bool,
    quiet: bool,
    probe_check: bool,
    backend: BackendName | None,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> int:
    """Train a network on one or more scans and write DIR/wts.h5.zip.

    The network learns from the diffraction patterns alone. Ctrl-C stops after the current step and
    saves the best model so far; --resume goes on from the last finished epoch with the options of
    the run. Only --epochs, --early-stopping and --collapse-patience may be changed then.
    """
    from ptychopinn.errors import InputError
    from ptychopinn.io.atomic import refuse_existing

    layers = []
    if resume:
        if force:
            raise InputError(
                "a run is either continued or replaced, received both --resume and --force; "
                "leave one out."
            )
        if not (output / CONFIG).exists():
            raise InputError(
                f"--resume needs the folder of an earlier run, received '{output}' without "
                f"{CONFIG}; start without --resume."
            )
        layers.append(read_config_file(output / CONFIG))
    elif start is not None:
        from ptychopinn.workflows.verbs import config_of, open_model

        layers.append({"model": config_of(open_model(start)).model.model_dump(exclude={"mode"})})
    if config_file is not None:
        layers.append(read_config_file(config_file))
    layers += [{section: given(flags, schema)} for section, schema in SECTIONS.items()]
    config = validated(Config, merged(*layers))
    if resume and backend is None:
        from ptychopinn.training.run import backend_of_run

        backend = backend_of_run(output)
    backend, execution = chosen_backend(backend, flags, training=True)
    if not resume:
        refuse_existing(output, WRITTEN, force)
    return run_training(
        scans,
        lambda path: open_scan(path, probe, units, photons),
        config,
        backend,
        execution,
        output,
        resume=resume,
        start=None if resume else start,
        quiet=quiet,
        probe_check=probe_check,
    )


def clear(output: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for name in WRITTEN:
        (output / name).unlink(missing_ok=True)
    for event in (output / "tensorboard").glob("events.out.tfevents.*"):
        event.unlink()
    for folder in (output / "checkpoints", output / "tensorboard"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def run_training(
    paths: tuple[Path, ...],
    read: Callable[[Path], Scan],
    config: Config,
    backend: BackendName,
    execution: Execution,
    output: Path,
    *,
    resume: bool,
    quiet: bool,
    probe_check: bool,
    start: str | None = None,
    notes: tuple[str, ...] = (),
) -> int:
    """Train and write all files of a run; ``notes`` are logged first. Returns the exit code."""
    from ptychopinn.cli.console import ProgressBar, command_line, logging_to, stderr
    from ptychopinn.errors import TrainingError
    from ptychopinn.io.atomic import atomic_path, write_json
    from ptychopinn.report.figures import save_loss_curve
    from ptychopinn.workflows.verbs import complete, package_versions, train

    console = stderr()
    with logging_to(console, quiet) as log_file:
        for note in notes:
            logging.getLogger(__name__).info("%s", note)
        scans = [read(path) for path in paths]
        config = complete(config, scans)

        def first_epoch() -> None:
            # Not earlier: a run that is refused neither leaves traces nor destroys an earlier one.
            if not resume:
                clear(output)
            log_file.open(output / LOG, append=resume)
            write_json(output / CONFIG, config.model_dump(mode="json"))

        with ProgressBar(console, config.training.epochs, quiet, first_epoch) as bar:
            try:
                model = train(
                    scans,
                    config,
                    backend=backend,
                    directory=output,
                    execution=execution,
                    resume=resume,
                    start=start,
                    probe_check=probe_check,
                    progress=bar,
                )
            except TrainingError:
                for name in RESULTS:
                    (output / name).unlink(missing_ok=True)
                raise
            # A finished run that is resumed has no further epoch.
            bar.begin()
        model.save(output / "wts.h5.zip", force=True)
        losses = {k: v for k, v in model.history.items() if k in ("train_loss", "val_loss")}
        if any(losses.values()):
            with atomic_path(output / "loss.png") as temporary:
                save_loss_curve(losses, temporary)
        write_json(
            output / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                "scans": [str(path) for path in paths],
                "from": start,
                "config": config.model_dump(mode="json"),
                "backend": backend,
                "execution": execution.model_dump(mode="json"),
                "seconds": model.seconds,
                "epochs": len(model.history.get("val_loss", ())),
                "statistics": model.bundle.manifest.statistics,
                "metrics": model.bundle.manifest.metrics,
                "stopped_by_signal": model.stopped_by,
            },
        )
    if not quiet:
        done = "stopped early, best model so far" if model.stopped_by else "model"
        click.echo(f"{done}: {output / 'wts.h5.zip'} ({model.seconds:.0f} s of training)")
    return 128 + model.stopped_by if model.stopped_by else 0
