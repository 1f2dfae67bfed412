"""``ptychopinn train``: learn a model from scans, without ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    check_live,
    chosen_backend,
    config_file_option,
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
from ptychopinn.cli.scans import Reading, mend_option, open_scan, scan_options
from ptychopinn.config import SECTIONS, Config, merged, validated
from ptychopinn.io.config_file import blaming, read_config_file

if TYPE_CHECKING:
    from ptychopinn.contracts import Progress
    from ptychopinn.data.scan import Scan
    from ptychopinn.ops.options import Execution
    from ptychopinn.ops.selector import BackendName
    from ptychopinn.workflows.model import Model


@click.command()
@click.argument("scans", metavar="SCAN...", nargs=-1, required=True, type=ANY_PATH)
@output_option("Folder for the model bundle wts.h5.zip, the log and the checkpoints.")
@config_file_option
@resume_option
@start_option
@force_option("an earlier run in DIR")
@quiet_option
@live_option
@click.option(
    "--probe-check/--no-probe-check",
    default=True,
    help="Refuse a probe that does not fit the data.  [default: yes]",
)
@scan_options
@mend_option
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
    live: Path | None,
    probe_check: bool,
    backend: BackendName | None,
    reading: Reading,
    no_mend: tuple[str, ...],
    **flags: Any,
) -> int:
    """Train a network on one or more scans and write DIR/wts.h5.zip.

    The network learns from the diffraction patterns alone. Ctrl-C stops after the current step and
    saves the best model so far; --resume goes on from the last finished epoch with the options of
    the run. Only --epochs, --early-stopping and --collapse-patience may be changed then.
    """

    layers = []
    if resume:
        layers.append(earlier_options(output, force))
    elif start is not None:
        from ptychopinn.workflows.verbs import open_model

        layers.append({"model": open_model(start).config.model.model_dump(exclude={"mode"})})
    of_file = {} if config_file is None else read_config_file(config_file)
    typed = [{section: given(flags, schema)} for section, schema in SECTIONS.items()]
    with blaming(config_file, lambda: validated(Config, merged(*layers, *typed))):
        config = validated(Config, merged(*layers, of_file, *typed))
    if resume and backend is None:
        from ptychopinn.training.run import backend_of_run

        backend = backend_of_run(run_folder(output))
    backend, execution = chosen_backend(backend, flags, training=True)
    return run_training(
        scans,
        lambda path: open_scan(path, reading),
        config,
        backend,
        execution,
        output,
        force=force,
        resume=resume,
        start=None if resume else start,
        quiet=quiet,
        probe_check=probe_check,
        no_mend=no_mend,
        live=live,
    )


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
    force: bool = False,
    start: str | None = None,
    notes: tuple[str, ...] = (),
    no_mend: tuple[str, ...] = (),
    live: Path | None = None,
) -> int:
    """Train and write all files of a run; ``notes`` are logged first, ``live`` is where the phase
    is shown as it is found. Returns the exit code."""
    from ptychopinn.workflows.train import complete, train

    check_live(live, force or resume)
    with run_in(output, force=force, resume=resume, quiet=quiet) as run:
        scans = [read(path) for path in paths]
        config = complete(config, scans)

        def work(progress: Progress) -> Model:
            return train(
                scans,
                config,
                backend=backend,
                directory=run.folder,
                execution=execution,
                resume=resume,
                start=start,
                probe_check=probe_check,
                no_mend=no_mend,
                progress=progress,
            )

        record = {
            "scans": [str(path.absolute()) for path in paths],
            "from": start,
            "backend": backend,
            "execution": execution.model_dump(mode="json"),
        }
        return written_run(run, config, config.training.epochs, work, record, notes, live)
