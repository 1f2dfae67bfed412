"""``ptychopinn reconstruct``: a good picture of a scan that nobody trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend
from ptychopinn.cli.results import OUTDATED, WRITTEN, uncertainty_option
from ptychopinn.cli.scans import open_scan, scan_options

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName

# Passes of the refinement that follows when the given probe does not fit: enough for a picture,
# the command refine goes on from there.
QUICK_PASSES = 14


@click.command()
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the reconstruction and its pictures.",
)
@click.option(
    "--refine",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Physics iterations after the network: auto refines object and probe when the probe of "
    "the scan does not fit the data.  [default: auto]",
)
@click.option("--force", is_flag=True, help="Overwrite earlier results in DIR.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@uncertainty_option
@scan_options
@backend_options(training=False)
def command(
    scan: Path,
    output: Path,
    refine: str,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    backend: BackendName | None,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> None:
    """Reconstruct SCAN with the network that comes with the program and write the result to DIR.

    No training and no options are needed. When the result does not explain the measured patterns,
    the files are written and marked, and the exit code is 3.
    """
    import logging
    import time
    from functools import partial

    from ptychopinn.cli.console import logging_to, stderr
    from ptychopinn.cli.results import write_result
    from ptychopinn.io.atomic import refuse_existing

    begun = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    refuse_existing(output, (*WRITTEN, *OUTDATED), force)
    from ptychopinn.config import RefineConfig
    from ptychopinn.workflows.verbs import PRETRAINED, open_model, reconstruct_with_report
    from ptychopinn.workflows.verbs import refine as refined

    with logging_to(stderr(), quiet) as log_file:
        data = open_scan(scan, probe, units, photons)
        seconds = {"load": time.perf_counter() - begun}
        first = reconstruct_with_report(
            open_model(PRETRAINED),
            data,
            backend=backend,
            execution=execution,
            uncertainty=uncertainty and refine != "always",
        )
        reports, fit = [first], first.misfit
        refining = partial(
            refined, data, backend=backend, execution=execution, uncertainty=uncertainty
        )
        if refine == "always":
            reports.append(refining(start=first.result))
        elif refine == "auto" and not fit.fits_probe:
            logging.getLogger(__name__).info(
                "the probe of the scan leaves a residual of %.4f where photon noise alone gives "
                "%.4f: refining object and probe from the start",
                fit.residual,
                fit.expected,
            )
            config = RefineConfig(passes=QUICK_PASSES, refine_probe=True)
            reports.append(refining(config=config))
        for report in reports:
            for stage, spent in report.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        record = {
            "model": PRETRAINED,
            "scan": str(scan),
            "execution": execution.model_dump(mode="json"),
            "patterns_per_s_network": data.M / first.seconds["network"],
        }
        write_result(reports[-1], output, log_file, record, seconds, begun, quiet)
