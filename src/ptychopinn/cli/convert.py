"""``ptychopinn convert``: from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ptychopinn.cli.options import ANY_PATH, OutputPath, force_option, quiet_option
from ptychopinn.cli.scans import Reading, scan_options

TARGETS = ("native", "npz", "ptychodus", "ptychodus-training", "product", "cxi", "fold_slice")


@click.command()
@click.argument("source", metavar="IN", type=ANY_PATH)
@click.argument("target", metavar="OUT", type=OutputPath())
@click.option(
    "--to",
    "to",
    type=click.Choice(TARGETS),
    default=None,
    help="Format of OUT; without it the name of OUT tells.",
)
@force_option("existing files")
@quiet_option
@click.option("--pixel-size-m", type=click.FloatRange(min=0, min_open=True), default=None,
              help="Object pixel in metres, where IN does not tell.")  # fmt: skip
@click.option("--energy-ev", "energy_eV", type=click.FloatRange(min=0, min_open=True), default=None,
              help="Photon energy in electron volts, where IN does not tell.")  # fmt: skip
@scan_options
def command(
    source: Path,
    target: Path,
    to: Any,
    force: bool,
    quiet: bool,
    pixel_size_m: float | None,
    energy_eV: float | None,
    reading: Reading,
) -> None:
    """Write the scan or result IN as OUT, and say what the new format cannot hold.

    OUT is a folder or diffraction.h5 (ptychodus), NAME_dp.hdf5 (fold_slice, PtychoFM), NAME.cxi,
    NAME.npz, NAME.h5 (native), product.h5 or product.npz; --to chooses where the name does not
    tell.
    """
    from ptychopinn.cli.console import show_warnings
    from ptychopinn.io.convert import convert

    show_warnings()
    done = convert(
        source,
        target,
        to=to,
        force=force,
        **reading._asdict(),
        pixel_size_m=pixel_size_m,
        energy_eV=energy_eV,
    )
    if quiet:
        return
    for file in done.files:
        click.echo(f"{done.source_format} -> {done.target_format}: {file}")
    if not done.losses:
        click.echo("nothing was lost")
    for loss in done.losses:
        click.echo(f"not kept: {loss}")
