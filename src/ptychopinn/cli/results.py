"""Writing a reconstruction with its pictures and its record, the same for every command."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ptychopinn.cli.options import check_live
from ptychopinn.machine.ranks import started
from ptychopinn.report.figure_names import DRAWN, formats_of
from ptychopinn.workflows.result_folder import OUTDATED, REPORT, WRITTEN, Look

if TYPE_CHECKING:
    from ptychopinn.cli.scans import Reading
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation.misfit import Misfit
    from ptychopinn.io.log_file import LogFile
    from ptychopinn.workflows.listening import Stages

F = TypeVar("F", bound=Callable[..., Any])

TERMS_WRITTEN = (
    "beam-current, background, probe, opr:K, slices:K, fly:PIXELS[:y|x], modes:K, "
    "point-spread[:PIXELS], pattern-shift"
)
# What helps against the causes of ptychopinn.evaluation.causes, as it is typed.
TO_TYPE = {
    "alone": "ptychopinn inspect SCAN shows how many patterns there are and how far apart",
    "pixels": "mark them as bad in the scan, and do not leave out the check hot-pixels",
    "detector-gain": "ptychopinn prepare with --flat FILE:KEY, or ptychopinn refine SCAN "
    "--refine-probe, which takes most of it up",
    "common-mode": "subtract from each pattern the median of the dark pixels of each readout block",
    "displaced-part": "put the modules of the raw frames where they are and mask what lies between "
    "them, then ptychopinn prepare",
    "dead-time": "correct the counts n of the raw frames to n / (1 - n t), t being the dead time "
    "of the detector over the exposure, then ptychopinn prepare",
    "patterns": "ptychopinn inspect --check SCAN names those that can be told at once",
    "beam-current": "ptychopinn refine RESULT",
    "background": "ptychopinn refine RESULT",
    "geometry": "ptychopinn inspect --check SCAN, or leave orientation out of --no-mend",
    "probe": "ptychopinn refine SCAN --refine-probe, or a better one with --probe FILE:KEY",
    "changing-probe": "ptychopinn refine SCAN --refine-probe --eigenprobes 4 --passes 100",
    "frame-order": "put the positions in the order of the frames, then ptychopinn prepare",
    "frame-slip": "ptychopinn prepare with the frames and the positions that belong together, or "
    "leave frame-slip out of --no-mend",
    "moving-exposure": "ptychopinn refine RESULT --exposure-px LENGTH, with --exposure-along y or "
    "x where it is not along the scan",
    "washed-out": "ptychopinn refine SCAN, or with --model auto",
    "thick-sample": "ptychopinn refine SCAN --slices 2 --passes 100, or ptychopinn refine RESULT "
    "--model auto",
    "afterglow": "record the frames apart, or subtract from each its part of the one before",
    "clipped-counts": "store the counts as they were measured, then ptychopinn refine SCAN, which "
    "fits a background",
    "part-of-scan": "ptychopinn reconstruct SCAN --frames :NUMBER, then with --frames NUMBER:",
    "point-spread": "ptychopinn refine RESULT --point-spread",
    "pattern-shift": "ptychopinn refine SCAN --pattern-shift --passes 100",
    "modes": "ptychopinn refine RESULT --modes auto",
    "axis-unit": "write the positions again with that axis corrected",
    "positions": "ptychopinn refine SCAN --refine-positions",
    "unfinished": "ptychopinn refine RESULT",
    "geometry-or-probe": "look at the positions with ptychopinn inspect --check SCAN, then give a "
    "better probe with --probe FILE:KEY or ptychopinn refine SCAN --refine-probe",
    "unknown": "ptychopinn refine RESULT --model auto tries what beam, sample and detector may do; "
    "ptychopinn evaluate RESULT --data SCAN shows where the residual is",
}
uncertainty_option = click.option(
    "--uncertainty",
    is_flag=True,
    help="State how far the object may be off, from two halves of the patterns; takes about twice "
    "the time.",
)


def claim(output: Path, force: bool, live: Path | None = None) -> None:
    """Keep ``output`` for the result of this command, until it ends, and see that the picture
    ``live`` may be written. Of processes that share its work the first one writes."""
    from ptychopinn.io.atomic import claimed

    if started().first:
        check_live(live, force)
        names = (*WRITTEN, *OUTDATED)
        click.get_current_context().with_resource(claimed(output, names, force))


def report_option(name: str) -> Callable[[F], F]:
    """Decorator: ``--no-report`` to do without the file ``name``."""
    return click.option(
        "--no-report",
        is_flag=True,
        help=f"Leave out {name}, the page to look at the result in a browser.",
    )


# Of a command that draws one figure: the formats beside PNG.
drawn_option = click.option(
    "--figures",
    metavar="FORMATS",
    default="png",
    callback=lambda context, parameter, text: formats_of(text, DRAWN),
    help=f"Draw the figure in these formats too: {' or '.join(DRAWN)}, with commas between.",
)


def look_options(function: F) -> F:
    """Add ``--figures`` and ``--no-report``; the command gets them as ``look``."""

    @wraps(function)
    def command(*arguments: Any, figures: str | None, no_report: bool, **options: Any) -> Any:
        formats = () if figures is None else formats_of(figures)
        return function(*arguments, look=Look(formats, not no_report), **options)

    draw = click.option(
        "--figures",
        metavar="FORMATS",
        default=None,
        help="Also draw every figure of the result into DIR/figures: "
        f"{', '.join(DRAWN)} or tiff (32-bit numbers), with commas between.",
    )
    return cast(F, draw(report_option("report.html")(command)))


def model_option(name: str) -> Callable[[F], F]:
    """Add ``--model``, which the command gets under this name."""
    return click.option(
        "--model",
        name,
        metavar="auto|TERMS",
        default=None,
        help="Which effects of beam, sample and detector are followed: auto keeps those that "
        "patterns which were left out gain from; terms joined by + set them, beginning with "
        f"far-field or near-field: {TERMS_WRITTEN}.",
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
    look: Look,
    live: Path | None = None,
    probe_needed: bool = True,
) -> int:
    """Read the scan, let ``make`` reconstruct it, write the result; the exit code of the command.

    ``make`` takes the scan and the arguments ``progress`` and ``stop``; ``reading`` is what the
    options say about the scan file, ``probe_needed`` as in :func:`ptychopinn.cli.scans.open_scan`;
    ``live`` is where the phase is shown as it is found; the others, ``look`` among them, are those
    of :func:`write_result`.

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

    console, stop, first = stderr(), StopFlag(gentle=False), started().first
    quiet = quiet or not first
    with logging_to(console, quiet) as log_file, stop.installed():
        data = open_scan(scan, reading, probe_needed=probe_needed)
        seconds = {"load": time.perf_counter() - begun}
        progress: Stages = passes_shown(console, quiet)
        if live is not None and first:
            from ptychopinn.report.live_picture import LivePicture, followed

            progress = followed(progress, LivePicture(live))
        result = make(data, progress=progress, stop=stop)
        seconds.update(result.seconds)
        said = {**record, "scan": str(scan.absolute()), "stopped_by_signal": stop.signal}
        if not first:
            return 0
        return saved(
            stop,
            lambda: write_result(result, data, output, log_file, said, seconds, begun, quiet, look),
        )


def write_result(
    result: Reconstruction,
    scan: Scan,
    output: Path,
    log_file: LogFile,
    record: Mapping[str, Any],
    seconds: dict[str, float],
    begun: float,
    quiet: bool,
    look: Look,
) -> None:
    """Replace what is in ``output``, which the command has claimed, by this result of
    ``scan``.

    ``record`` goes into run.json beside the numbers; ``begun`` is when the command started,
    ``look`` what is drawn.

    Raises
    ------
    PoorFitError
        When the result does not explain the patterns; the files are written and marked.
    """
    from ptychopinn.cli.console import command_line
    from ptychopinn.errors import PoorFitError
    from ptychopinn.workflows.result_folder import in_numbers, write_folder

    fit = result.fit
    assert fit is not None  # every verb states it
    write_folder(
        result, scan, output, log_file, record, seconds, begun, command_line(), advised, look
    )
    if not quiet:
        click.echo(
            f"reconstruction: {output / 'reconstruction.h5'} ({len(result.positions_px)} patterns, "
            f"{seconds['total']:.1f} s; residual {fit.residual:.4f}, photon noise "
            f"{fit.expected:.4f})"
        )
        if look.report:
            click.echo(f"to look at: {output / REPORT}")
    if fit.verdict == "poor":
        raise PoorFitError(
            "the reconstruction must explain the measured patterns, received a poor fit "
            f"({in_numbers(fit)}); the files are marked, and likely {advised(fit)}"
        )


def advised(fit: Misfit) -> str:
    """Why a fit is not good, and what to type."""
    return typed_advice(fit.likely, fit.cause)


def typed_advice(likely: str | None, cause: str | None) -> str:
    """The same of the likeliest cause and its sentence, whose end is for Python."""
    if cause is None or likely is None:
        return "nothing is wrong."
    typed = TO_TYPE[likely]
    return f"{cause.rpartition(';')[0]}; {typed}." if typed else cause
