"""``ptychopinn prepare``: from raw data to a scan."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ptychopinn.cli.options import OutputPath, config_options, force_option, given, quiet_option
from ptychopinn.data.experiment import Propagation
from ptychopinn.sources.recipe import Mended, Recipe

if TYPE_CHECKING:
    from ptychopinn.data.scan import Scan

# The flags of the other commands are in small letters, and --propagator is that of simulate.
ENERGY, PROPAGATION = "energy_eV", "propagation"
OWN = (ENERGY, PROPAGATION)


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, type=str)
@click.option(
    "-o",
    "--output",
    metavar="SCAN.h5",
    type=OutputPath(),
    default=None,
    help="The scan file to write.",
)
@click.option("--list", "show", is_flag=True, help="Show what SOURCE holds, and what to type.")
@click.option(
    "--recipe",
    "recipe",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=None,
    help="Repeat what was done before: a YAML file or a prepared scan; flags take precedence.",
)
@click.option(
    "--save-recipe",
    metavar="FILE",
    type=OutputPath(),
    default=None,
    help="Also write what was done as a YAML file.",
)
@force_option("existing files")
@quiet_option
@config_options(Recipe, only=[name for name in Recipe.model_fields if name not in OWN])
@click.option(
    "--no-mend",
    "no_mend",
    metavar="NAME",
    type=click.Choice(get_args(Mended)),
    multiple=True,
    callback=lambda context, parameter, names: names or None,
    help=Recipe.model_fields["no_mend"].description,
)
@click.option("--propagator", PROPAGATION, type=click.Choice(get_args(Propagation)), default=None,
              help=Recipe.model_fields[PROPAGATION].description)  # fmt: skip
@click.option("--energy-ev", "--energy-eV", ENERGY, type=float, default=None,
              help=Recipe.model_fields[ENERGY].description)  # fmt: skip
def command(
    sources: tuple[str, ...],
    output: Path | None,
    show: bool,
    recipe: Path | None,
    save_recipe: Path | None,
    force: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Make a scan of raw data: SOURCE is a file, a folder or several files of one scan.

    Read are any HDF5 or MATLAB file by keys, master files of Eiger detectors, NeXus and CXI files,
    files of ptypy, TIFF, NPY, NPZ and Zarr stacks, EMPAD and 4D-STEM data. Patterns are cut out,
    binned, padded and turned, positions brought to pixels of the object. What was done is kept in
    the scan as a recipe.
    """
    from ptychopinn.errors import InputError

    if show:
        _list(sources)
        return
    if output is None:
        raise InputError(
            "the name of the scan file must be given with -o, received none; add -o scan.h5, or "
            "use --list to see what a source holds."
        )
    from rich.console import Console

    from ptychopinn.cli.console import logging_to
    from ptychopinn.io.atomic import atomic_path, refuse_source
    from ptychopinn.report.bars import ProgressBar
    from ptychopinn.sources.recipe import recipe_text
    from ptychopinn.workflows.prepare import prepare, recorded_recipe

    console = Console(stderr=True)
    if save_recipe is not None:
        refuse_source(save_recipe, [output, *map(Path, sources)])
    if save_recipe is not None and save_recipe.exists() and not force:
        raise InputError(
            f"the recipe must be a new file, received '{save_recipe}' which exists; choose another "
            "name or add --force to overwrite."
        )
    # Opened before the scan is written: where one of them cannot be, there is neither.
    opened = nullcontext() if save_recipe is None else atomic_path(save_recipe, force)
    with logging_to(console, quiet), opened as saved:
        scan = prepare(
            sources,
            output,
            recipe,
            force=force,
            progress=lambda count: ProgressBar(console, count, quiet, unit="pass", loss=None),
            **given(flags, Recipe),
        )
        if saved is not None:
            saved.write_text(recipe_text(recorded_recipe(scan)), encoding="utf-8")
    if not quiet:
        _show(scan, output)


def _list(sources: tuple[str, ...]) -> None:
    """Keys, shapes, types, units and what the arrays probably are; then what to type."""
    import shlex

    from ptychopinn.errors import InputError, brief
    from ptychopinn.sources.assembly import expanded
    from ptychopinn.sources.overview import overview

    if not sources:
        raise InputError("a file to show was expected, received none; add its name.")
    for source in sources:
        first, *others = expanded([source])
        found = overview(first)
        of = f", the first of {len(others) + 1} files" if others else ""
        click.echo(f"{first}: {found.kind}{of}")
        rows = [
            (
                brief(item.key) or "(without a name)",
                " x ".join(map(str, item.shape)) or "one number",
                "complex (real, imag)" if item.dtype.names else str(item.dtype),
                brief(item.unit, 40),
                found.roles.get(item.key, ""),
            )
            for item in found.items
            if not item.note
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo(("  " + "  ".join(cells)).rstrip())
        for item in found.items:
            if item.note:
                click.echo(f"  {brief(item.key)}: {item.note}")
        for name, value in found.facts:
            click.echo(f"{name}: {value}")
        if found.line is not None:
            # On one line, to be copied.
            line = found.line.replace(shlex.quote(str(first)), shlex.quote(source), 1)
            click.echo(f"to type: {line}")


def _show(scan: Scan, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    done = scan.provenance["prepared"]
    m, height, width = done["stored"]
    low, high = scan.positions_px.min(axis=0), scan.positions_px.max(axis=0)
    span = high - low
    rows = [
        ("source", f"{scan.provenance['kind']}, {m} patterns of {height} x {width} pixels"),
        ("patterns", f"{scan.M} of {scan.N} x {scan.N} pixels, {scan.diffraction.dtype}"),
        ("centre", _centre(done)),
        ("positions", f"{done['positions']}; they span {span[0]:.4g} x {span[1]:.4g} px (y, x)"),
    ]
    if scan.pixel_size_m is not None:
        rows.append(("object pixel", f"{scan.pixel_size_m:.6g} m"))
    rows.append(("bad pixels", f"{done['bad_pixels']} of {scan.N**2}"))
    rows.append(("probe", f"{len(scan.probe)} mode(s), scaled to the counts"))
    table = Table(title=f"prepared scan: {output}", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    Console().print(table)


def _centre(done: dict[str, Any]) -> str:
    if done["centre_yx"] is None:
        return str(done["centre"])
    y, x = done["centre_yx"]
    return f"({y:.2f}, {x:.2f}) (y, x) on the detector, {done['centre']}"
