"""``ptychopinn pretrain``: train a network on simulated scans of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    backend_options,
    check_live,
    chosen_backend,
    config_options,
    force_option,
    given,
    live_option,
    output_option,
    quiet_option,
    resume_option,
    start_option,
)
from ptychopinn.cli.runs import earlier_options, run_folder, run_in, written_run
from ptychopinn.config import (
    Config,
    LossConfig,
    ModelConfig,
    Section,
    TrainingConfig,
    merged,
    validated,
)

if TYPE_CHECKING:
    from ptychopinn.contracts import Progress
    from ptychopinn.ops.selector import BackendName
    from ptychopinn.workflows.model import Model

# The canvas network always learns from known objects, a patch network from the patterns.
MODEL = {option for kind in ModelConfig.kinds.values() for option in kind.model_fields} - {"mode"}
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
# Other defaults than those of the training on measured scans.
DEFAULTS = {"batch_size": 2, "warmup_steps": 30}
# Scans that count as an epoch.
PER_EPOCH = 100


@click.command()
@output_option("Folder for the model bundle wts.h5.zip, the log and the checkpoints.")
@click.option(
    "--scans",
    type=click.IntRange(min=1),
    default=4000,
    help="Number of simulated scans, each seen once.  [default: 4000]",
)
@click.option(
    "--photographs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures that objects are cut from, beside those of the package.",
)
@resume_option
@start_option
@force_option("an earlier run in DIR")
@quiet_option
@live_option
@config_options(ModelConfig, only=MODEL)
@config_options(LossConfig, only=("iterate_decay",))
@config_options(TrainingConfig, only=TRAINING, defaults=DEFAULTS)
@backend_options(training=True)
def command(
    output: Path,
    scans: int,
    photographs: Path | None,
    resume: bool,
    start: str | None,
    force: bool,
    quiet: bool,
    live: Path | None,
    backend: BackendName | None,
    **flags: Any,
) -> int:
    """Train a network on simulated scans and write DIR/wts.h5.zip.

    Objects, probes, doses, overlaps and detector faults are drawn at random for every scan; the
    unrolled network learns from the true objects together with the patterns. A patch network needs
    --probe-input channels and --N; it learns from the patterns. A hundred scans count as an
    epoch: then the loss is reported, schedule and early stopping look at it, and a checkpoint is
    written. Ctrl-C saves what is there; --resume goes on from the last finished epoch with the
    options of the run.
    """
    from ptychopinn.workflows.model import open_model
    from ptychopinn.workflows.train import pretrain

    layers: list[dict[str, Any]] = [{"training": DEFAULTS}]
    if resume:
        layers.append(earlier_options(output, force))
    elif start is not None:
        earlier = open_model(start).config.model
        layers.append({"model": earlier.model_dump(include=MODEL)})
    sections: dict[str, type[Section]] = {
        "model": ModelConfig,
        "loss": LossConfig,
        "training": TrainingConfig,
    }
    layers.append({section: given(flags, schema) for section, schema in sections.items()})
    config = validated(Config, merged(*layers))
    if resume and backend is None:
        from ptychopinn.training.run import backend_of_run

        backend = backend_of_run(run_folder(output))
    backend, execution = chosen_backend(backend, flags, training=True)
    check_live(live, force or resume)
    with run_in(output, force=force, resume=resume, quiet=quiet) as run:

        def work(progress: Progress) -> Model:
            return pretrain(
                config,
                scans,
                backend=backend,
                directory=run.folder,
                execution=execution,
                resume=resume,
                start=None if resume else start,
                photographs=photographs,
                progress=progress,
            )

        record = {
            "from": start,
            "photographs": None if photographs is None else str(photographs),
            "backend": backend,
            "execution": execution.model_dump(mode="json"),
        }
        epochs = -(-scans // PER_EPOCH)
        return written_run(run, config, epochs, work, record, live=live)
