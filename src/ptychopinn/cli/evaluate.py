"""``ptychopinn evaluate``: score a result against the truth or against the measured patterns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptychopinn.cli.options import ANY_PATH, force_option, output_option
from ptychopinn.cli.printing import plain, print_json
from ptychopinn.cli.results import advised, drawn_option, report_option
from ptychopinn.cli.scans import Reading, open_scan, said_again, scan_options
from ptychopinn.workflows.result_folder import OUTDATED

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.data.scan import Scan
    from ptychopinn.evaluation import Evaluation

STYLES = {"good": "green", "doubtful": "bold yellow", "poor": "bold red"}
OUTPUTS = OUTDATED


@click.command(
    "evaluate", short_help="Score a reconstruction against the truth or the measured patterns."
)
@click.argument("result", type=ANY_PATH)
@click.option(
    "--truth",
    type=ANY_PATH,
    help="Scan file that holds the true object: gives NRMSE, PSNR, SSIM and resolution.",
)
@click.option(
    "--data",
    type=ANY_PATH,
    help="Scan file with the measured patterns: tells whether the result explains them.",
)
@output_option(
    "Folder for evaluation.json, .png and .html.  [default: the folder of the result]",
    required=False,
)
@force_option("an earlier evaluation")
@drawn_option
@report_option("evaluation.html")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@scan_options
def command(
    result: Path,
    truth: Path | None,
    data: Path | None,
    output: Path | None,
    force: bool,
    figures: tuple[str, ...],
    no_report: bool,
    as_json: bool,
    reading: Reading,
) -> None:
    """Score RESULT, a reconstruction.h5 or the folder that holds it.

    With --truth it is compared with the known object, after removing what the patterns leave
    undetermined: a complex scale, a phase ramp and a shift. With --data the patterns it predicts
    are compared with the measured ones, with the probe of the result or that of --probe. Give one
    of them or both; they may be the same file.
    """
    from ptychopinn.errors import InputError
    from ptychopinn.io.atomic import claimed, replacing, write_json

    if truth is None and data is None:
        raise InputError(
            "evaluate needs something to compare with, received neither --truth nor --data; "
            "add --truth SCAN (a scan with the known object) or --data SCAN (measured patterns)."
        )
    from ptychopinn.cli.console import show_warnings
    from ptychopinn.data.fingerprint import recorded
    from ptychopinn.evaluation import evaluate
    from ptychopinn.io.reconstructions import load_reconstruction

    show_warnings()
    reconstruction = load_reconstruction(result)
    folder = output or (result if result.is_dir() else result.parent)
    click.get_current_context().with_resource(claimed(folder, OUTPUTS, force))
    # The scan options speak of the measured patterns, or of the truth when there are none.
    scans = {}
    if truth is not None and data not in (None, truth):
        scans[truth] = open_scan(truth, probe_needed=False)
    main = truth if data is None else data
    assert main is not None
    if str(main.absolute()) == recorded(reconstruction.provenance)[1]:
        reading = said_again(reading, reconstruction)
    scans[main] = open_scan(main, reading, probe_needed=False)
    if data is not None and reading.probe is not None:
        reconstruction = replace(reconstruction, probe=scans[data].probe)
    evaluation = evaluate(
        reconstruction,
        truth=None if truth is None else scans[truth],
        data=None if data is None else scans[data],
    )
    from ptychopinn.report.matplotlib_import import load_matplotlib

    load_matplotlib()
    from ptychopinn.report.drawing import write
    from ptychopinn.report.page import evaluation_figure
    from ptychopinn.report.web_page import write_page

    content = plain(evaluation.to_json()) | {
        "result": str(result.absolute()),
        "truth": None if truth is None else str(truth.absolute()),
        "data": None if data is None else str(data.absolute()),
    }
    with replacing(folder, OUTPUTS) as new:
        write_json(new / OUTPUTS[0], content)
        figure = evaluation_figure(evaluation)
        for kind in dict.fromkeys(("png", *figures)):
            write(figure, new / f"evaluation.{kind}")
        if not no_report:
            known = (None if path is None else scans[path] for path in (truth, data))
            page = _page(reconstruction, evaluation, *known)
            write_page(page, new / "evaluation.html")
        written = [name for name in OUTPUTS if (new / name).exists()]
    if as_json:
        print_json(content)
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Evaluation of {reconstruction.name}")
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for words, value in evaluation.rows():
        table.add_row(Text(words), Text(value))
    if evaluation.verdict is not None:
        style = STYLES[evaluation.verdict]
        table.add_row("fit of the patterns", Text(evaluation.verdict, style=style))
    console = Console()
    console.print(table)
    if evaluation.misfit is not None and evaluation.misfit.cause is not None:
        console.print(f"Likely: {advised(evaluation.misfit)}", markup=False)
    for note in evaluation.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(f"Written to {folder}: {', '.join(written)}", markup=False, soft_wrap=True)


def _page(
    result: Reconstruction, evaluation: Evaluation, truth: Scan | None, data: Scan | None
) -> str:
    """The page of the result with its scores; a truth stands behind its slider."""
    from ptychopinn.cli.console import command_line
    from ptychopinn.evaluation.beside import Compared
    from ptychopinn.report.report_data import truth_beside
    from ptychopinn.report.web_page import result_page

    fit = evaluation.misfit
    return result_page(
        result,
        None if data is None else Compared.of(result, data),
        command_line(),
        advice=None if fit is None or fit.cause is None else advised(fit),
        evaluation=evaluation,
        other=None if truth is None else truth_beside(result, evaluation, truth),
    )
