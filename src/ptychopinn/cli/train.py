"""``ptychopinn train``: learn a model from scans, without ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ptychopinn.backends.options import TorchExecution
from ptychopinn.cli.options import config_options, given
from ptychopinn.cli.scans import open_scan, scan_options
from ptychopinn.config import SECTIONS, Config, nested, read_config_file, validated

CONFIG = "config.json"
WRITTEN = ("wts.h5.zip", "loss.png", "run.json", "log.txt", CONFIG, "metrics.csv", "checkpoints")


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
@click.option("--resume", is_flag=True, help="Continue the run in DIR from its last epoch.")
@click.option("--force", is_flag=True, help="Overwrite an earlier run in DIR.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@click.option(
    "--probe-check/--no-probe-check",
    default=True,
    help="Refuse a probe that does not fit the data.  [default: yes]",
)
@scan_options
@config_options(*SECTIONS.values())
@config_options(TorchExecution, prefix="torch_")
def command(
    scans: tuple[Path, ...],
    output: Path,
    config_file: Path | None,
    resume: bool,
    force: bool,
    quiet: bool,
    probe_check: bool,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> int:
    """Train a network on one or more scans and write DIR/wts.h5.zip.

    The network learns from the diffraction patterns alone. Ctrl-C stops after the current step and
    saves the best model so far.
    """
    from ptychopinn.errors import InputError
    from ptychopinn.files import refuse_existing

    values = {} if config_file is None else read_config_file(config_file)
    if resume and config_file is None:
        if not (output / CONFIG).exists():
            raise InputError(
                f"--resume needs the folder of an earlier run, received '{output}' without {CONFIG}; "
                "start without --resume."
            )
        values = read_config_file(output / CONFIG)
    merged = nested(values)
    for section, schema in SECTIONS.items():
        chosen = given(flags, schema)
        if chosen:
            merged[section] = {**merged.get(section, {}), **chosen}
    config = validated(Config, merged)
    execution = validated(TorchExecution, given(flags, TorchExecution, prefix="torch_"))
    if not resume:
        refuse_existing(output, WRITTEN, force)
    return _run(
        [open_scan(path, probe, units, photons) for path in scans],
        config,
        execution,
        output,
        resume=resume,
        quiet=quiet,
        probe_check=probe_check,
    )


def _run(
    scans: list[Any],
    config: Config,
    execution: TorchExecution,
    output: Path,
    *,
    resume: bool,
    quiet: bool,
    probe_check: bool,
) -> int:
    import shutil
    import sys

    from ptychopinn.cli.console import ProgressBar, logging_to, stderr
    from ptychopinn.files import atomic_path, write_json
    from ptychopinn.report.figures import save_loss_curve
    from ptychopinn.workflows import package_versions, train

    if not resume and output.exists():
        for name in WRITTEN:
            earlier = output / name
            if earlier.is_dir():
                shutil.rmtree(earlier)
            else:
                earlier.unlink(missing_ok=True)
    console = stderr()
    with logging_to(output / "log.txt", console, quiet):
        write_json(output / CONFIG, config.model_dump(mode="json"))
        with ProgressBar(console, config.training.epochs) as bar:
            model = train(
                scans,
                config,
                directory=output,
                execution=execution,
                resume=resume,
                probe_check=probe_check,
                progress=bar,
            )
        model.save(output / "wts.h5.zip", force=True)
        losses = {k: v for k, v in model.history.items() if k in ("train_loss", "val_loss")}
        if any(losses.values()):
            with atomic_path(output / "loss.png") as temporary:
                save_loss_curve(losses, temporary)
        metrics = model.bundle.manifest.metrics
        write_json(
            output / "run.json",
            {
                "command": sys.argv[1:],
                "versions": package_versions(),
                "config": config.model_dump(mode="json"),
                "execution": execution.model_dump(mode="json"),
                "seconds": model.seconds,
                "statistics": model.bundle.manifest.statistics,
                "metrics": metrics,
                "stopped_by_signal": model.stopped_by,
            },
        )
    done = "stopped early, best model so far" if model.stopped_by else "model"
    click.echo(f"{done}: {output / 'wts.h5.zip'} ({model.seconds:.0f} s of training)")
    return 128 + model.stopped_by if model.stopped_by else 0
