"""``ptychopinn pretrain``: train the canvas network on simulated scans of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ptychopinn.cli.options import config_options, given
from ptychopinn.config import Config, LossConfig, ModelConfig, TrainingConfig, validated
from ptychopinn.ops.options import TorchExecution

WRITTEN = ("wts.h5.zip", "loss.png", "run.json", "log.txt")
MODEL = ("iterations", "updates", "width", "levels", "momentum")
TRAINING = ("batch_size", "learning_rate", "warmup_steps", "gradient_clip_val", "seed")
EXECUTION = ("accelerator", "threads", "num_workers")


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the model bundle wts.h5.zip and the log.",
)
@click.option(
    "--scans",
    "steps",
    type=click.IntRange(min=1),
    default=4000,
    help="Number of simulated scans, each seen once.  [default: 4000]",
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
@config_options(TorchExecution, prefix="torch_", only=EXECUTION)
def command(
    output: Path, steps: int, start: str | None, force: bool, quiet: bool, **flags: Any
) -> int:
    """Train the unrolled network on simulated scans and write DIR/wts.h5.zip.

    Objects, probes, doses, overlaps and faults are drawn at random for every scan; the network
    learns from the true objects beside the patterns. It needs PyTorch. Ctrl-C saves what is there.
    """
    from ptychopinn.cli.console import ProgressBar, command_line, logging_to, stderr
    from ptychopinn.io.atomic import atomic_path, refuse_existing, write_json
    from ptychopinn.workflows.verbs import config_of, open_model, package_versions, pretrain

    model = given(flags, ModelConfig)
    if start is not None:
        earlier = config_of(open_model(start)).model
        model = {**earlier.model_dump(include=set(MODEL)), **model}
    training = {"batch_size": 2, "warmup_steps": 30, **given(flags, TrainingConfig)}
    config = validated(
        Config, {"model": model, "loss": given(flags, LossConfig), "training": training}
    )
    execution = validated(TorchExecution, given(flags, TorchExecution, prefix="torch_"))
    refuse_existing(output, WRITTEN, force)
    console = stderr()
    with logging_to(console, quiet) as log_file:

        def begin() -> None:
            for name in WRITTEN:
                (output / name).unlink(missing_ok=True)
            log_file.open(output / "log.txt")

        with ProgressBar(console, -(-steps // 100), quiet, begin) as bar:
            trained = pretrain(config, steps, start=start, execution=execution, progress=bar)
        trained.save(output / "wts.h5.zip", force=True)
        if trained.history["train_loss"]:
            from ptychopinn.report.figures import save_loss_curve

            with atomic_path(output / "loss.png") as temporary:
                save_loss_curve(dict(trained.history), temporary)
        write_json(
            output / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                "config": config.model_dump(mode="json"),
                "execution": execution.model_dump(mode="json"),
                "seconds": trained.seconds,
                "history": {name: list(points) for name, points in trained.history.items()},
                "stopped_by_signal": trained.stopped_by,
            },
        )
    if not quiet:
        click.echo(f"model: {output / 'wts.h5.zip'} ({trained.seconds:.0f} s of training)")
    return 128 + trained.stopped_by if trained.stopped_by else 0
