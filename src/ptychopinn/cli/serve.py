"""``ptychopinn serve``: pages in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from ptychopinn.cli import console
from ptychopinn.cli.options import ANY_PATH


@click.command()
@click.argument("folder", metavar="[DIR]", type=ANY_PATH, default=Path())
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="Port to listen at; 0 takes a free one.",
)  # fmt: skip
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Address to listen at; by default this machine alone reaches it.",
)  # fmt: skip
@click.option(
    "--open-to-others", is_flag=True, help="Allow a --host where other machines reach it."
)
@click.option(
    "--jobs-at-once", type=click.IntRange(1, 64), default=1, show_default=True, metavar="K",
    help="Jobs that run at a time; the others wait.",
)  # fmt: skip
@click.option(
    "--upload-mib", type=click.IntRange(1, 1 << 24), default=4096, show_default=True,
    metavar="MIB", help="Size of an upload, at most.",
)  # fmt: skip
def command(
    folder: Path, port: int, host: str, open_to_others: bool, jobs_at_once: int, upload_mib: int
) -> None:
    """Look at scans and results in the browser, and start, watch and stop jobs.

    The page shows what is in DIR, the current folder unless another is given, and nothing else. It
    opens with the address that is printed, whose last part is a secret. Jobs go on when the browser
    or this command is closed, and are there again when it is started anew.
    """
    from ptychopinn.serving.web_server import serve

    with console.logging_to(console.stderr()):
        serve(
            folder, host, port, open_to_others=open_to_others, jobs_at_once=jobs_at_once,
            upload_mib=upload_mib,
            ready=lambda address: click.echo(f"open {address}\nCtrl-C ends the server; jobs go on"),
        )  # fmt: skip
