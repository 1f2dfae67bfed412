"""``ptychopinn pretrain``: train the canvas network on simulated scans of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend, config_options, given
from ptychopinn.cli.train import CONFIG, LOG, WRITTEN, clear
from ptychopinn.config import (
    Config,
    LossConfig,
    ModelConfig,
    Section,
    TrainingConfig,
    merged,
    read_config_file,
    validated,
)

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName

MODEL = ("iterations", "updates", "width", "levels", "momentum")
TRAINING = (
    "batch_size",
    "learning_rate",
    "scheduler",
    "warmup_steps",
    "plateau_factor",
    "plateau_patience",
    "early_stopping",
    "gradient_clip_val",
    "seed",
)
# Where they differ from those of a training on measured scans.
DEFAULTS = {"batch_size": 2, "warmup_steps": 30}


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the model bundle wts.h5.zip, the log and the checkpoints.",
)
@click.option(
    "--scans",
    type=click.IntRange(min=1),
    default=4000,
    help="Number of simulated scans, each seen once.  [default: 4000]",
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
@config_options(ModelConfig, only=MODEL)
@config_options(LossConfig, only=("iterate_decay",))
@config_options(TrainingConfig, only=TRAINING)
@backend_options(training=True)
def command(
    output: Path,
    scans: int,
    resume: bool,
    start: str | None,
    force: bool,
    quiet: bool,
    backend: BackendName | None,
    **flags: Any,
) -> int:
    """Train the unrolled network on simulated scans and write DIR/wts.h5.zip.

    Objects, probes, doses, overlaps and faults are drawn at random for every scan; the network
    learns from the true objects beside the patterns. A hundred scans count as an epoch: then the
    loss is reported, schedule and early stopping look at it, and a checkpoint is written. Ctrl-C
    saves what is there; --resume goes on from the last finished epoch with the options of the run.
    """
    from ptychopinn.cli.console import ProgressBar, command_line, logging_to, stderr
    from ptychopinn.errors import InputError
    from ptychopinn.io.atomic import atomic_path, refuse_existing, write_json
    from ptychopinn.workflows.verbs import config_of, open_model, package_versions, pretrain

    layers: list[dict[str, Any]] = [{"training": DEFAULTS}]
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
        earlier = config_of(open_model(start)).model
        layers.append({"model": earlier.model_dump(include=set(MODEL))})
    sections: dict[str, type[Section]] = {
        "model": ModelConfig,
        "loss": LossConfig,
        "training": TrainingConfig,
    }
    layers.append({section: given(flags, schema) for section, schema in sections.items()})
    config = validated(Config, merged(*layers))
    if resume and backend is None:
        from ptychopinn.training.run import backend_of_run

        backend = backend_of_run(output)
    backend, execution = chosen_backend(backend, flags, training=True)
    if not resume:
        refuse_existing(output, WRITTEN, force)
    console = stderr()
    with logging_to(console, quiet) as log_file:

        def begin() -> None:
            if not resume:
                clear(output)
            log_file.open(output / LOG, append=resume)
            write_json(output / CONFIG, config.model_dump(mode="json"))

        with ProgressBar(console, -(-scans // 100), quiet, begin) as bar:
            trained = pretrain(
                config,
                scans,
                backend=backend,
                directory=output,
                execution=execution,
                resume=resume,
                start=start,
                progress=bar,
            )
            # A finished run that is resumed has no further epoch.
            bar.begin()
        trained.save(output / "wts.h5.zip", force=True)
        losses = {k: list(v) for k, v in trained.history.items() if k == "train_loss"}
        if any(losses.values()):
            from ptychopinn.report.figures import save_loss_curve

            with atomic_path(output / "loss.png") as temporary:
                save_loss_curve(losses, temporary)
        write_json(
            output / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                "from": start,
                "config": config.model_dump(mode="json"),
                "backend": backend,
                "execution": execution.model_dump(mode="json"),
                "seconds": trained.seconds,
                "statistics": trained.bundle.manifest.statistics,
                "history": {name: list(points) for name, points in trained.history.items()},
                "stopped_by_signal": trained.stopped_by,
            },
        )
    if not quiet:
        click.echo(f"model: {output / 'wts.h5.zip'} ({trained.seconds:.0f} s of training)")
    return 128 + trained.stopped_by if trained.stopped_by else 0
