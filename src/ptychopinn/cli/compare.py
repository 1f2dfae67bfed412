"""``ptychopinn compare``: several models and physics iterations on one scan, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    chosen_backend,
    force_option,
    output_option,
    quiet_option,
    scan_argument,
)
from ptychopinn.cli.results import drawn_option
from ptychopinn.cli.scans import Reading, open_scan, scan_options
from ptychopinn.report.figure_names import DRAWN

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName

WRITTEN = ("comparison.json", "log.txt", *(f"comparison.{kind}" for kind in DRAWN))
DEFAULT = ("pretrained", "pretrained+refine", "refine")


@click.command()
@scan_argument
@output_option("Folder for comparison.json and comparison.png.")
@click.option(
    "--with",
    "methods",
    metavar="METHOD",
    multiple=True,
    default=DEFAULT,
    help="A model bundle or the word pretrained; refine for physics iterations from an empty "
    "object, with "
    "--refine-probe as refine-probe; ptychi for those of pty-chi, when it is installed; or a model "
    "followed by +refine, +refine-probe or +ptychi. May be repeated.  [default: pretrained, "
    "pretrained+refine, refine]",
)
@click.option(
    "--truth",
    type=ANY_PATH,
    default=None,
    help="Scan file that holds the true object.  [default: SCAN, if it was simulated]",
)
@force_option("an earlier comparison in DIR")
@quiet_option
@drawn_option
@scan_options
@backend_options(training=False)
def command(
    scan: Path,
    output: Path,
    methods: tuple[str, ...],
    truth: Path | None,
    force: bool,
    quiet: bool,
    figures: tuple[str, ...],
    backend: BackendName | None,
    reading: Reading,
    **flags: Any,
) -> None:
    """Reconstruct SCAN with every METHOD and write a table and a picture.

    Where the true object is known, the scores against it are part of the table. The object in the
    file of a measured scan is shown and not taken for the truth, unless --truth says so.
    """
    from ptychopinn.cli.console import command_line, logging_to, stderr
    from ptychopinn.io.atomic import claimed, replacing, write_json
    from ptychopinn.report.matplotlib_import import load_matplotlib
    from ptychopinn.workflows.compare import compare, parse_method, pictures

    load_matplotlib()
    from ptychopinn.report.drawing import write
    from ptychopinn.report.pictures import comparison_figure
    from ptychopinn.workflows.verbs import package_versions

    backend, execution = chosen_backend(backend, flags, training=False)
    parsed = [parse_method(method) for method in methods]
    click.get_current_context().with_resource(claimed(output, WRITTEN, force))
    with logging_to(stderr(), quiet) as log_file:
        data = open_scan(scan, reading)
        known = data if truth == scan else None
        if truth not in (None, scan):
            known = open_scan(truth, probe_needed=False)
        rows = compare(data, parsed, backend=backend, execution=execution, truth=known)
        shown = pictures(data, rows, known)
        with replacing(output, WRITTEN) as new:
            log_file.open(new / WRITTEN[1])
            figure = comparison_figure(shown)
            for kind in dict.fromkeys(("png", *figures)):
                write(figure, new / f"comparison.{kind}")
            write_json(
                new / WRITTEN[0],
                {
                    "command": command_line(),
                    "versions": package_versions(),
                    "scan": str(scan.absolute()),
                    "truth": None if truth is None else str(truth.absolute()),
                    "backend": backend,
                    "rows": [{"method": row.method.name, **row.numbers} for row in rows],
                },
            )
    if not quiet:
        _show(rows)


def _show(rows: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    titles = {
        "seconds": ("seconds", ".2f"),
        "residual": ("residual", ".4f"),
        "residual_expected": ("photon noise", ".4f"),
        "nrmse": ("NRMSE", ".4f"),
        "amplitude_psnr_db": ("amplitude dB", ".1f"),
        "phase_psnr_db": ("phase dB", ".1f"),
        "phase_ssim": ("phase SSIM", ".3f"),
    }
    shown = [key for key in titles if key in rows[0].numbers]
    table = Table("method", *(titles[key][0] for key in shown))
    for row in rows:
        table.add_row(row.method.name, *(format(row.numbers[key], titles[key][1]) for key in shown))
    # A table in a file or a pipe is not cut to the width of a terminal.
    console = Console()
    Console(width=console.width if console.is_terminal else 120).print(table)
