"""``ptychopinn batch``: many scans on many workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ptychopinn.cli.border import typed
from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    chosen_backend,
    config_options,
    force_option,
    given,
    output_option,
    quiet_option,
)
from ptychopinn.cli.results import look_options, typed_advice, uncertainty_option
from ptychopinn.cli.scans import ModesOrAuto, Reading, mend_option, scan_options_but_modes
from ptychopinn.config import RefineConfig, validated
from ptychopinn.workflows.result_folder import Look

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName
    from ptychopinn.workflows.batch import Batch

# The exit code where a scan has no result, or one that does not explain its patterns.
NOT_ALL = 3


@click.command()
@click.argument("scans", type=ANY_PATH, nargs=-1)
@output_option("Folder for one folder per scan, batch.csv and batch.html.")
@click.option(
    "--verb",
    type=click.Choice(["reconstruct", "refine", "infer"]),
    default="reconstruct",
    help="What is done with every scan.  [default: reconstruct]",
)
@click.option(
    "--model",
    metavar="MODEL|auto|TERMS",
    default=None,
    help="With --verb infer the network, a bundle; with the others as of these commands, which "
    "effects of beam, sample and detector are followed.",
)
@click.option(
    "--refine",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="As of the command reconstruct.  [default: auto]",
)
@click.option(
    "--recipe",
    metavar="FILE",
    type=ANY_PATH,
    default=None,
    help="SCANS are raw data: make a scan of each as prepare --recipe does, scan.h5 in its folder.",
)
@click.option(
    "--share",
    type=click.Choice(["nothing", "probe", "positions"]),
    default="nothing",
    help="Start all scans with the probe of the first that fits well; positions: with the scan "
    "axes that --refine-positions found there too.  [default: nothing]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes of this machine, or jobs of Slurm.  [default: as many as cores; one job]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    help="CPU threads of each worker.  [default: the cores, shared out]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    default=None,
    help="Use the workers of this scheduler of Dask, as tcp://host:8786; they see the same files.",
)
@click.option(
    "--slurm",
    is_flag=True,
    help="Start workers as jobs of Slurm, as dask-jobqueue is configured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@force_option("earlier results; without it those of the same scan and options are kept")
@quiet_option
@uncertainty_option
@look_options
@click.option(
    "--modes",
    "number_of_modes",
    metavar="auto|K",
    type=ModesOrAuto(),
    default=None,
    help="Incoherent modes of the probe; auto with --verb refine.",
)
@scan_options_but_modes
@mend_option
@config_options(RefineConfig)
@backend_options(training=False)
def command(
    scans: tuple[Path, ...],
    output: Path,
    verb: Literal["reconstruct", "refine", "infer"],
    model: str | None,
    refine: Literal["auto", "always", "never"],
    recipe: Path | None,
    share: Literal["nothing", "probe", "positions"],
    workers: int | None,
    threads: int | None,
    scheduler: str | None,
    slurm: bool,
    as_json: bool,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    backend: BackendName | None,
    reading: Reading,
    look: Look,
    no_mend: tuple[str, ...],
    number_of_modes: int | Literal["auto"] | None,
    **flags: Any,
) -> int:
    """Reconstruct all SCANS on many workers, each into a folder of its own in DIR.

    DIR/NAME holds what the command of the verb writes. A scan that fails has its sentence in the
    table and stops no other; the exit code is 3 then, and where a result does not explain its
    patterns. Started again, the command computes only what is missing. Ctrl-C ends the workers and
    keeps what is finished.
    """
    from ptychopinn.machine.cluster import Where, require

    require(Where(scheduler, slurm, workers, threads))
    from ptychopinn.cli.console import command_line, logging_to, stderr
    from ptychopinn.errors import InputError
    from ptychopinn.machine.interruption import StopFlag
    from ptychopinn.report.bars import ScansBar
    from ptychopinn.workflows.batch import Voice, reconstruct_many

    backend, execution = chosen_backend(backend, flags, training=False)
    asked = given(flags, RefineConfig)
    if asked and verb != "refine":
        flag = f"--{next(iter(asked)).replace('_', '-')}"
        raise InputError(
            f"{flag} is an option of --verb refine, received it with {verb}; leave it out."
        )
    if number_of_modes == "auto" and verb != "refine":
        raise InputError(
            f"--modes auto belongs to --verb refine, received it with {verb}; give a number."
        )
    told = reading._asdict()
    if verb != "refine":
        told["modes"] = number_of_modes
    line, named = command_line(), [str(scan) for scan in scans]

    def arguments(scan: str) -> Sequence[str]:
        """The command as it would have been with this scan alone."""
        others = {text for text in named if str(Path(text).absolute()) != scan}
        return [word for word in line if word not in others]

    console, stop = stderr(), StopFlag()
    with logging_to(console, quiet), stop.installed():
        batch = reconstruct_many(
            scans,
            output,
            verb=verb,
            model=model,
            refine=refine,
            config=validated(RefineConfig, asked) if asked else None,
            modes=number_of_modes if verb == "refine" else None,
            backend=backend,
            execution=execution,
            uncertainty=uncertainty,
            no_mend=no_mend,
            figures=look.figures,
            report=look.report,
            reading=told,
            recipe=recipe,
            share=share,
            scheduler=scheduler,
            slurm=slurm,
            workers=workers,
            threads=threads,
            force=force,
            progress=ScansBar(console, len(scans), quiet),
            stop=stop,
            voice=Voice(typed_advice, _sentence, arguments),
        )
    if as_json:
        _print(batch)
    elif not quiet:
        _show(batch)
    if stop.signal is not None:
        return 128 + stop.signal
    bad = any(row["verdict"] in ("poor", "failed") for row in batch.rows)
    return NOT_ALL if bad else 0


def _sentence(text: str) -> str:
    """A sentence of the package, for this command."""
    return typed(text, command.params)


def _print(batch: Batch) -> None:
    from ptychopinn.cli.printing import print_json

    rows = [{k: v for k, v in row.items() if k != "thumbnail"} for row in batch.rows]
    print_json({"output": str(batch.output), "summary": batch.summary(), "scans": rows})


def _show(batch: Batch) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("scan", "verdict", "residual", "photon noise", "seconds", "remark")
    for row in batch.rows:
        numbers = (
            "" if value is None else format(value, form)
            for value, form in (
                (row["residual"], ".4f"), (row["expected"], ".4f"), (row["seconds"], ".1f"),
            )
        )  # fmt: skip
        remark = row["error"] or row["remark"] or ""
        table.add_row(Text(row["name"]), row["verdict"], *numbers, Text(remark))
    # A table in a file or a pipe is not cut to the width of a terminal.
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)
    console.print(Text(f"{batch.summary()}; {batch.output / 'batch.html'}"), soft_wrap=True)
