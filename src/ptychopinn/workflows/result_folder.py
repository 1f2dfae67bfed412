"""The folder of a result: the reconstruction with its pictures, its record and its log."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ptychopinn.report.figure_names import DRAWN, NAMES

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation.misfit import Misfit
    from ptychopinn.io.log_file import LogFile

log = logging.getLogger(__name__)

RECORD, LOG = "run.json", "log.txt"
PHASE, REPORT = "reconstructed_phase.png", "report.html"
WRITTEN = (
    "reconstruction.h5",
    "reconstructed_amplitude.png",
    PHASE,
    "uncertainty.png",
    REPORT,
    RECORD,
    LOG,
    *NAMES,
)
# Written by the command evaluate, about the reconstruction that is replaced.
OUTDATED = ("evaluation.json", "evaluation.html", *(f"evaluation.{kind}" for kind in DRAWN))


class Look(NamedTuple):
    """What is there to look at beside a result.

    figures : formats in which every figure is written.  report : whether report.html is.
    """

    figures: tuple[str, ...] = ()
    report: bool = True


_LOOK = Look()


def in_numbers(fit: Misfit) -> str:
    """What a fit leaves, what photon noise alone would leave, and what it explains."""
    from math import isnan

    numbers = f"residual {fit.residual:.3f}, photon noise alone gives {fit.expected:.3f}"
    if not isnan(fit.explained):
        numbers += f", share of the structure explained {fit.explained:.2f}"
    return numbers


def write_folder(
    result: Reconstruction,
    scan: Scan,
    output: Path,
    log_file: LogFile,
    record: Mapping[str, Any],
    seconds: dict[str, float],
    begun: float,
    arguments: Sequence[str],
    advised: Callable[[Misfit], str],
    look: Look = _LOOK,
) -> None:
    """Replace what is in ``output``, which the caller has claimed, by this result of ``scan``.

    ``record`` goes into run.json beside the numbers; ``seconds`` are those of the stages so far and
    get those of writing; ``begun`` is when the work started, ``arguments`` those of the command,
    ``advised`` says why a fit is not good, and what helps, and ``look`` what is drawn.

    Raises
    ------
    InputError
        When the disk is full or the folder cannot be written to.
    """
    from ptychopinn.data.trials import RECORD as MODEL
    from ptychopinn.io.atomic import replacing, write_json
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    from ptychopinn.evaluation.beside import Compared
    from ptychopinn.report import plots
    from ptychopinn.report.pictures import save_amplitude, save_phase, save_uncertainty
    from ptychopinn.report.web_page import result_page, write_page
    from ptychopinn.report.written_figures import save_figures
    from ptychopinn.workflows.model import package_versions

    fit, provenance = result.fit, result.provenance
    assert fit is not None  # every verb states it
    stage = time.perf_counter()
    numbers = in_numbers(fit)
    note = None if fit.verdict == "good" else f"{fit.verdict.upper()} FIT: {numbers}"
    if fit.verdict == "doubtful":
        log.warning("DOUBTFUL FIT (%s): %s", numbers, advised(fit))
    patterns = len(result.positions_px)
    with replacing(output, (*WRITTEN, *OUTDATED)) as new:
        log_file.open(new / LOG)
        _note_work(log_file, result, seconds, arguments)
        if len(result.probe) > 1:
            shares = ", ".join(f"{share:.1%}" for share in result.probe_mode_powers)
            log_file.note(logging.INFO, f"modes of the probe: {shares}")
        log_file.note(logging.INFO, f"{fit.verdict} fit: {numbers}")
        tried = result.effects_tried
        for trial in tried:
            log_file.note(logging.INFO, f"tried {trial.effect}: {trial.in_words}")
        result.save(new / WRITTEN[0])
        save_amplitude(result, new / "reconstructed_amplitude.png", note=note)
        save_phase(result, new / PHASE, note=note)
        if result.uncertainty is not None:
            save_uncertainty(result, new / "uncertainty.png", note=note)
        seconds["write"] = time.perf_counter() - stage
        seconds["total"] = time.perf_counter() - begun
        speed = {}
        if "network" in result.seconds:
            speed["patterns_per_s_network"] = patterns / result.seconds["network"]
        write_json(
            new / RECORD,
            {
                "command": list(arguments),
                "versions": package_versions(),
                **record,
                **({} if MODEL not in provenance else {MODEL: provenance[MODEL]}),
                **speed,
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
    # The result is there by now: nothing that is drawn of it can lose it.
    compared = Compared.of(result, scan) if look.report or look.figures else None
    if look.figures:
        save_figures(plots.Look(result, compared, note), output, look.figures)
    if look.report:
        why = None if fit.verdict == "good" else advised(fit)
        page = result_page(result, compared, arguments, seconds, why)
        write_page(page, output / REPORT)


def _note_work(
    log_file: LogFile,
    result: Reconstruction,
    seconds: Mapping[str, float],
    arguments: Sequence[str],
) -> None:
    """Write into the log what was done, with what, and how long it took."""
    provenance = result.provenance
    log_file.note(logging.INFO, f"ptychopinn {shlex.join(arguments)}")
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
