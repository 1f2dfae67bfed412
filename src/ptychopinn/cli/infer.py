"""``ptychopinn infer``: reconstruct a scan with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import backend_options, chosen_backend
from ptychopinn.cli.scans import open_scan, scan_options

if TYPE_CHECKING:
    from ptychopinn.backends.selector import BackendName

WRITTEN = (
    "reconstruction.h5",
    "reconstructed_amplitude.png",
    "reconstructed_phase.png",
    "run.json",
    "log.txt",
)
# Written by the command evaluate, about the reconstruction that is replaced.
OUTDATED = ("evaluation.json", "evaluation.png")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the reconstruction and its pictures.",
)
@click.option("--force", is_flag=True, help="Overwrite earlier results in DIR.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
@scan_options
@backend_options(training=False)
def command(
    model: Path,
    scan: Path,
    output: Path,
    force: bool,
    quiet: bool,
    backend: BackendName | None,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> None:
    """Reconstruct every pattern of SCAN with the bundle MODEL and write the result to DIR.

    When the result does not explain the measured patterns, the files are written and marked, and
    the exit code is 3.
    """
    import time
    from math import isnan

    from ptychopinn.cli.console import command_line, logging_to, stderr
    from ptychopinn.errors import PoorFitError
    from ptychopinn.files import refuse_existing, write_json

    start = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    refuse_existing(output, (*WRITTEN, *OUTDATED), force)
    from ptychopinn.bundle import load_bundle
    from ptychopinn.report.figures import save_amplitude, save_phase
    from ptychopinn.workflows import package_versions, reconstruct_with_report

    bundle = load_bundle(model)
    with logging_to(stderr(), quiet) as log_file:
        data = open_scan(scan, probe, units, photons)
        seconds = {"load": time.perf_counter() - start}
        report = reconstruct_with_report(
            bundle, data, backend=backend, execution=execution, keep_probe=probe is not None
        )
        result, fit = report.result, report.misfit
        seconds.update(report.seconds)
        stage = time.perf_counter()
        for name in (*WRITTEN, *OUTDATED):
            (output / name).unlink(missing_ok=True)
        log_file.open(output / "log.txt")
        numbers = f"residual {fit.residual:.3f}, photon noise alone gives {fit.expected:.3f}"
        if not isnan(fit.explained):
            numbers += f", share of the structure explained {fit.explained:.2f}"
        note = f"POOR FIT: {numbers}" if fit.verdict == "poor" else None
        result.save(output / "reconstruction.h5", force=True)
        save_amplitude(result, output / "reconstructed_amplitude.png", note=note)
        save_phase(result, output / "reconstructed_phase.png", note=note)
        seconds["write"] = time.perf_counter() - stage
        seconds["total"] = time.perf_counter() - start
        write_json(
            output / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                "model": str(model),
                "scan": str(scan),
                "backend": backend,
                "execution": execution.model_dump(mode="json"),
                "patterns": data.M,
                "seconds": seconds,
                "patterns_per_s_network": data.M / report.seconds["network"],
                "patterns_per_s_total": data.M / seconds["total"],
                "global_scale": fit.scale,
                "fit": fit.summary(),
            },
        )
        if not quiet:
            click.echo(
                f"reconstruction: {output / 'reconstruction.h5'} ({data.M} patterns, "
                f"{seconds['total']:.1f} s; residual {fit.residual:.4f}, photon noise "
                f"{fit.expected:.4f})"
            )
        if fit.verdict == "poor":
            raise PoorFitError(
                "the reconstruction must explain the measured patterns, received a poor fit "
                f"({numbers}): the probe does not fit the data or the model was not trained for "
                "such scans; the files are marked, give a better probe with --probe FILE:KEY or "
                "train on this scan."
            )
