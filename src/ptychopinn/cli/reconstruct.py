"""``ptychopinn reconstruct``: a good picture of a scan that nobody trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend
from ptychopinn.cli.results import OUTDATED, WRITTEN, uncertainty_option
from ptychopinn.cli.scans import open_scan, scan_options

if TYPE_CHECKING:
    from ptychopinn.backends.selector import BackendName
    from ptychopinn.result import Reconstruction

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
) -> int:
    """Reconstruct SCAN with the network that comes with the program and write the result to DIR.

    No training and no options are needed. When the result does not explain the measured patterns,
    the files are written and marked, and the exit code is 3. Ctrl-C saves what is finished by then,
    once the network has found a first object.
    """
    import logging
    import time

    from ptychopinn.cli.console import ProgressBar, logging_to, stderr
    from ptychopinn.cli.results import write_result
    from ptychopinn.cli.stopping import saved
    from ptychopinn.files import refuse_existing

    begun = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    refuse_existing(output, (*WRITTEN, *OUTDATED), force)
    from ptychopinn.config import RefineConfig
    from ptychopinn.training.interruption import Interrupted, StopFlag
    from ptychopinn.workflows import (
        PRETRAINED,
        network_passes,
        open_model,
        reconstruct_with_report,
    )
    from ptychopinn.workflows import refine as refined

    console, stop = stderr(), StopFlag(gentle=False)
    with logging_to(console, quiet) as log_file, stop.installed():
        data = open_scan(scan, probe, units, photons)
        seconds = {"load": time.perf_counter() - begun}
        model = open_model(PRETRAINED)
        shown: dict[str, Any] = {"quiet": quiet, "unit": "pass", "loss": "misfit"}
        with ProgressBar(console, network_passes(model), **shown) as bar:
            first = reconstruct_with_report(
                model,
                data,
                backend=backend,
                execution=execution,
                uncertainty=uncertainty and refine != "always",
                progress=bar,
                stop=stop,
            )
        reports, fit = [first], first.misfit

        def refining(config: RefineConfig, start: Reconstruction | None = None) -> None:
            with ProgressBar(console, config.passes, **shown) as bar:
                try:
                    report = refined(
                        data,
                        start,
                        config,
                        backend=backend,
                        execution=execution,
                        uncertainty=uncertainty,
                        progress=bar,
                        stop=stop,
                    )
                except Interrupted:
                    # Before its first pass was finished.
                    if stop.signal is None:
                        raise
                    return
            # After a few passes only it may still be worse than what the network found.
            if stop.signal is None or report.misfit.residual < fit.residual:
                reports.append(report)

        if refine == "always" and stop.signal is None:
            refining(RefineConfig(), first.result)
        elif refine == "auto" and not fit.fits_probe and stop.signal is None:
            logging.getLogger(__name__).info(
                "the probe of the scan leaves a residual of %.4f where photon noise alone gives "
                "%.4f: refining object and probe from the start",
                fit.residual,
                fit.expected,
            )
            refining(RefineConfig(passes=QUICK_PASSES, refine_probe=True))
        for report in reports:
            for stage, spent in report.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        record = {
            "model": PRETRAINED,
            "scan": str(scan),
            "execution": execution.model_dump(mode="json"),
            "patterns_per_s_network": data.M / first.seconds["network"],
            "stopped_by_signal": stop.signal,
        }
        return saved(
            stop,
            lambda: write_result(reports[-1], output, log_file, record, seconds, begun, quiet),
        )
