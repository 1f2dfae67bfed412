"""Writing a reconstruction with its pictures and its record, the same for every command."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ptychopinn.cli.console import LogFile
    from ptychopinn.cli.scans import Reading
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.evaluation.misfit import Misfit

log = logging.getLogger(__name__)

WRITTEN = (
    "reconstruction.h5",
    "reconstructed_amplitude.png",
    "reconstructed_phase.png",
    "uncertainty.png",
    "run.json",
    "log.txt",
)
# What helps against the causes of ptychopinn.evaluation.causes, as it is typed.
TO_TYPE = {
    "pixels": "mark them as bad in the scan, and do not leave out the check hot-pixels",
    "patterns": "ptychopinn inspect --check SCAN names those that can be told at once",
    "beam-current": "ptychopinn refine RESULT",
    "background": "ptychopinn refine RESULT",
    "geometry": "ptychopinn inspect --check SCAN, or leave orientation out of --no-mend",
    "probe": "ptychopinn refine SCAN --refine-probe, or a better one with --probe FILE:KEY",
    "moving-exposure": "ptychopinn refine RESULT --exposure-px LENGTH, with --exposure-along y or "
    "x where it is not along the scan",
    "point-spread": "ptychopinn refine RESULT --point-spread",
    "modes": "ptychopinn refine RESULT --modes auto",
    "positions": "ptychopinn refine SCAN --refine-positions",
    "unfinished": "ptychopinn refine RESULT",
    "geometry-or-probe": "look at the positions with ptychopinn inspect --check SCAN, then give a "
    "better probe with --probe FILE:KEY or ptychopinn refine SCAN --refine-probe",
    "unknown": "ptychopinn refine RESULT goes on; ptychopinn evaluate RESULT --data SCAN shows "
    "where the residual is",
}
# Written by the command evaluate, about the reconstruction that is replaced.
OUTDATED = ("evaluation.json", "evaluation.png")

uncertainty_option = click.option(
    "--uncertainty",
    is_flag=True,
    help="State how far the object may be off, from two halves of the patterns; takes about twice "
    "the time.",
)


def made_result(
    make: Callable[..., Reconstruction],
    scan: Path,
    reading: Reading,
    output: Path,
    record: Mapping[str, Any],
    begun: float,
    quiet: bool,
    *,
    probe_needed: bool = True,
) -> int:
    """Read the scan, let ``make`` reconstruct it, write the result; the exit code of the command.

    ``make`` takes the scan and the arguments ``progress`` and ``stop``; ``reading`` is what the
    options say about the scan file, ``probe_needed`` as in :func:`ptychopinn.cli.scans.open_scan`;
    the others are those of :func:`write_result`.

    Raises
    ------
    PoorFitError
        When the result does not explain the patterns; the files are written and marked.
    """
    from ptychopinn.cli.console import logging_to, stderr
    from ptychopinn.cli.scans import open_scan
    from ptychopinn.cli.stopping import saved
    from ptychopinn.machine.interruption import StopFlag
    from ptychopinn.report.bars import passes_shown

    console, stop = stderr(), StopFlag(gentle=False)
    with logging_to(console, quiet) as log_file, stop.installed():
        data = open_scan(scan, reading, probe_needed=probe_needed)
        seconds = {"load": time.perf_counter() - begun}
        result = make(data, progress=passes_shown(console, quiet), stop=stop)
        seconds.update(result.seconds)
        said = {**record, "scan": str(scan.absolute()), "stopped_by_signal": stop.signal}
        if "network" in result.seconds:
            said["patterns_per_s_network"] = data.M / result.seconds["network"]
        return saved(
            stop, lambda: write_result(result, output, log_file, said, seconds, begun, quiet)
        )


def write_result(
    result: Reconstruction,
    output: Path,
    log_file: LogFile,
    record: Mapping[str, Any],
    seconds: dict[str, float],
    begun: float,
    quiet: bool,
) -> None:
    """Replace what is in ``output``, which the command has claimed, by this result.

    ``record`` goes into run.json beside the numbers; ``begun`` is when the command started.

    Raises
    ------
    PoorFitError
        When the result does not explain the patterns; the files are written and marked.
    """
    from math import isnan

    from ptychopinn.cli.console import command_line
    from ptychopinn.errors import PoorFitError
    from ptychopinn.io.atomic import replacing, write_json
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    from ptychopinn.report.pictures import save_amplitude, save_phase, save_uncertainty
    from ptychopinn.workflows.verbs import package_versions

    fit = result.fit
    assert fit is not None  # every verb states it
    stage = time.perf_counter()
    numbers = f"residual {fit.residual:.3f}, photon noise alone gives {fit.expected:.3f}"
    if not isnan(fit.explained):
        numbers += f", share of the structure explained {fit.explained:.2f}"
    note = None if fit.verdict == "good" else f"{fit.verdict.upper()} FIT: {numbers}"
    if fit.verdict == "doubtful":
        log.warning("DOUBTFUL FIT (%s): %s", numbers, advised(fit))
    patterns = len(result.positions_px)
    with replacing(output, (*WRITTEN, *OUTDATED)) as new:
        log_file.open(new / "log.txt")
        _note_work(log_file, result, seconds)
        if len(result.probe) > 1:
            shares = ", ".join(f"{share:.1%}" for share in result.probe_mode_powers)
            log_file.note(logging.INFO, f"modes of the probe: {shares}")
        log_file.note(logging.INFO, f"{fit.verdict} fit: {numbers}")
        result.save(new / "reconstruction.h5")
        save_amplitude(result, new / "reconstructed_amplitude.png", note=note)
        save_phase(result, new / "reconstructed_phase.png", note=note)
        if result.uncertainty is not None:
            save_uncertainty(result, new / "uncertainty.png", note=note)
        seconds["write"] = time.perf_counter() - stage
        seconds["total"] = time.perf_counter() - begun
        write_json(
            new / "run.json",
            {
                "command": command_line(),
                "versions": package_versions(),
                **record,
                "scan_fingerprint": result.provenance["scan"]["fingerprint"],
                "backend": result.backend,
                "patterns": patterns,
                "stages": result.provenance["stages"],
                "seconds": seconds,
                "patterns_per_s_total": patterns / seconds["total"],
                "global_scale": fit.scale,
                "fit": fit.summary(),
                "findings": [found.as_json() for found in result.findings],
            },
        )
    if not quiet:
        click.echo(
            f"reconstruction: {output / 'reconstruction.h5'} ({patterns} patterns, "
            f"{seconds['total']:.1f} s; residual {fit.residual:.4f}, photon noise "
            f"{fit.expected:.4f})"
        )
    if fit.verdict == "poor":
        raise PoorFitError(
            "the reconstruction must explain the measured patterns, received a poor fit "
            f"({numbers}); the files are marked, and likely {advised(fit)}"
        )


def advised(fit: Misfit) -> str:
    """Why a fit is not good, and what to type."""
    if fit.cause is None or fit.likely is None:
        return "nothing is wrong."
    typed = TO_TYPE[fit.likely]
    # What it ends in is for Python.
    return f"{fit.cause.rpartition(';')[0]}; {typed}." if typed else fit.cause


def _note_work(log_file: LogFile, result: Reconstruction, seconds: Mapping[str, float]) -> None:
    """Write into the log what was done, with what, and how long it took."""
    from ptychopinn.cli.console import command_line

    provenance = result.provenance
    log_file.note(logging.INFO, f"ptychopinn {shlex.join(command_line())}")
    source = provenance["scan"]
    log_file.note(
        logging.INFO,
        f"scan: {source.get('file') or source['name']}, {source['patterns']} patterns, "
        f"N = {source['N']}, fingerprint {source['fingerprint']}",
    )
    for made in provenance["stages"]:
        details = ", ".join(f"{key} {value}" for key, value in made.items() if key != "stage")
        log_file.note(logging.INFO, f"{made['stage']}: {details}")
    for name, spent in seconds.items():
        log_file.note(logging.INFO, f"{name}: {spent:.2f} s")
