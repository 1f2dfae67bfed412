"""``ptychopinn mcp``: tools for agents."""

from __future__ import annotations

from pathlib import Path

import click

from ptychopinn.cli.options import ANY_PATH


@click.command()
@click.argument("folder", metavar="[DIR]", type=ANY_PATH, default=Path())
def command(folder: Path) -> None:
    """Serve tools for agents (Model Context Protocol) on standard input and output.

    They look at scans, reconstruct, refine, score, compare and list, within DIR, the current folder
    unless another is given, and nowhere else. A client starts this command itself.
    """
    from ptychopinn.serving.agent_tools import server

    server(folder).run("stdio")
