"""``ptychopinn refine``: iterations on a result, or from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend, config_options, given
from ptychopinn.cli.results import OUTDATED, WRITTEN, uncertainty_option
from ptychopinn.cli.scans import open_scan, scan_options
from ptychopinn.config import RefineConfig, validated

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the refined reconstruction and its pictures.",
)
@click.option(
    "--scan",
    metavar="SCAN",
    type=click.Path(path_type=Path),
    default=None,
    help="The scan of the result.  [default: the one that its run.json names]",
)
@click.option("--force", is_flag=True, help="Overwrite earlier results in DIR.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@uncertainty_option
@scan_options
@config_options(RefineConfig)
@backend_options(training=False)
def command(
    source: Path,
    output: Path,
    scan: Path | None,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    backend: BackendName | None,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> None:
    """Refine SOURCE, the folder of a result, or start from nothing when SOURCE is a scan.

    Object and, with --refine-probe and --refine-positions, probe modes and scan positions are
    moved by physics alone, with more and more patterns at a time, until nothing improves. With
    --engine ptychi the package pty-chi does it, when it is installed.
    """
    import time

    from ptychopinn.cli.console import ProgressBar, logging_to, stderr
    from ptychopinn.cli.results import write_result
    from ptychopinn.io.atomic import refuse_existing

    begun = time.perf_counter()
    config = validated(RefineConfig, given(flags, RefineConfig))
    if config.engine == "ptychi":
        from ptychopinn.solvers import ptychi

        ptychi.execution_for(backend, None, uncertainty)
        ptychi.require()
        backend, execution = chosen_backend("pytorch", flags, training=False)
        ptychi.execution_for(backend, execution)
    else:
        backend, execution = chosen_backend(backend, flags, training=False)
    refuse_existing(output, (*WRITTEN, *OUTDATED), force)
    from ptychopinn.data.reconstruction import RESULT_FILE, load_reconstruction
    from ptychopinn.workflows.verbs import refine

    result = None
    if source.is_dir() or source.name == RESULT_FILE:
        result = load_reconstruction(source)
        scan = scan_of(source if source.is_dir() else source.parent) if scan is None else scan
    console = stderr()
    with logging_to(console, quiet) as log_file:
        data = open_scan(source if scan is None else scan, probe, units, photons)
        seconds = {"load": time.perf_counter() - begun}
        with ProgressBar(console, config.passes, quiet) as bar:
            report = refine(
                data,
                result,
                config,
                backend=backend,
                execution=execution,
                uncertainty=uncertainty,
                progress=bar,
            )
        seconds.update(report.seconds)
        record = {
            "source": str(source),
            "scan": str(source if scan is None else scan),
            "config": config.record(),
            "execution": execution.model_dump(mode="json"),
        }
        write_result(report, output, log_file, record, seconds, begun, quiet)


def scan_of(folder: Path) -> Path:
    """The scan that the record of a result names.

    Raises
    ------
    InputError
        When the record is missing or its scan is gone.
    """
    import json

    from ptychopinn.errors import InputError

    record = folder / "run.json"
    remedy = "give the scan with --scan SCAN."
    try:
        named = json.loads(record.read_text())["scan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the folder of a result must hold a run.json that names its scan, received "
            f"'{folder}' without one; {remedy}"
        ) from error
    path = Path(named)
    if not path.exists():
        raise InputError(
            f"the scan of a result must still be there, received '{path}', which is not; {remedy}"
        )
    return path
