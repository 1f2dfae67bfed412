"""``ptychopinn simulate``: a scan with a known object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    OutputPath,
    config_file_option,
    config_options,
    force_option,
    given,
    quiet_option,
)
from ptychopinn.config import validated
from ptychopinn.io.config_file import blaming, read_config_file
from ptychopinn.simulation.config import SimulationConfig, check_followed

if TYPE_CHECKING:
    from ptychopinn.data.scan import Scan


@click.command()
@click.argument("output", metavar="OUT.h5", type=OutputPath())
@config_file_option
@force_option("existing files")
@quiet_option
@click.option(
    "--preview",
    metavar="PNG",
    type=OutputPath(),
    default=None,
    help="Also write a picture of object, probe and patterns.",
)
@config_options(SimulationConfig)
def command(
    output: Path,
    config_file: Path | None,
    force: bool,
    quiet: bool,
    preview: Path | None,
    **flags: Any,
) -> None:
    """Simulate a scan with a known object and save it as OUT.h5."""
    from ptychopinn.errors import InputError
    from ptychopinn.io import native
    from ptychopinn.io.atomic import atomic_paths, refuse_existing
    from ptychopinn.simulation import simulate
    from ptychopinn.simulation.preview import check_preview, draw_preview

    from_file = {} if config_file is None else read_config_file(config_file)
    typed = given(flags, SimulationConfig)
    with blaming(config_file, lambda: validated(SimulationConfig, typed)):
        config = validated(SimulationConfig, {**from_file, **typed})
    check_followed(config)
    # Refused before the work is done, not after.
    if output.suffix != ".h5":
        raise InputError(f"the scan must be written to a .h5 file, received '{output}'; rename it.")
    if output.exists() and not force:
        raise InputError(
            f"the scan must be a new file, received '{output}' which exists; "
            "choose another name or add --force to overwrite."
        )
    if preview is not None:
        check_preview(preview, force)
        refuse_existing(preview.parent, [preview.name], force)
    scan = simulate(config)
    targets = (output,) if preview is None else (output, preview)
    if preview is not None:
        from ptychopinn.report.matplotlib_import import load_matplotlib

        load_matplotlib()
    with atomic_paths(*targets, force=force) as (stored, *drawn):
        native.fill(scan, stored)
        for picture in drawn:
            draw_preview(scan, picture)
    if not quiet:
        _show(scan, output, preview)


def _show(scan: Scan, output: Path, preview: Path | None) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert scan.object is not None and isinstance(scan.diffraction, np.ndarray)
    good = scan.good_pixels
    mean = float(scan.diffraction.sum(dtype=np.float64)) / scan.M
    height, width = scan.object.shape
    rows = [
        ("patterns", f"{scan.M} of {scan.N} x {scan.N} pixels, {scan.diffraction.dtype}"),
        ("counts", f"{mean:.6g} per pattern, at most {scan.diffraction.max():.6g} in a pixel"),
        ("object", f"{height} x {width} pixels"),
        ("probe modes", str(len(scan.probe))),
    ]
    if not good.all():
        rows.append(("bad pixels", str(int((~good).sum()))))
    if preview is not None:
        rows.append(("preview", str(preview)))
    table = Table(title=f"simulated scan: {output}", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    Console().print(table)
