"""``ptychopinn init``: a recipe and a notebook to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from ptychopinn.cli.options import ANY_PATH, force_option, output_option


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=ANY_PATH)
@output_option("Folder for recipe.yaml and first_steps.ipynb.")
@click.option(
    "--architecture",
    default="unrolled",
    help="Whose options the recipe holds.  [default: unrolled]",
)
@force_option("these files in DIR")
def command(files: tuple[Path, ...], output: Path, architecture: str, force: bool) -> None:
    """Write a recipe with all options of a training, and a notebook for FILEs, scans or raw data.

    Without a FILE the notebook works on a simulated scan.
    """
    from ptychopinn.workflows.beginning import begin

    recipe, notebook = begin(files, output, architecture=architecture, force=force)
    click.echo(f"{recipe}: options for ptychopinn train SCAN -o MODEL --config {recipe}")
    click.echo(f"{notebook}: open it with jupyter lab, or in an editor that shows notebooks")
