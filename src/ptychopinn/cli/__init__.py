"""The command line. One module per command, imported only when that command runs."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from difflib import get_close_matches
from typing import Any

import click

from ptychopinn.cli import border
from ptychopinn.errors import PtychoPINNError, brief
from ptychopinn.machine.interruption import Interrupted, Signals
from ptychopinn.machine.memory import few_heaps

COMMANDS = {
    "simulate": "Simulate a scan with a known object and save it.",
    "prepare": "Make a scan of raw data: any HDF5 by keys, detector files, images, 4D-STEM.",
    "train": "Train a network on scans, without ground truth, and save the model bundle.",
    "reconstruct": "Reconstruct a scan at once, with the network that comes with the program.",
    "infer": "Reconstruct a scan with a trained model.",
    "batch": "Reconstruct many scans on all cores, or on a cluster.",
    "refine": "Improve a result, or start from an empty object, by physics alone.",
    "pretrain": "Train a network on simulated scans of every kind.",
    "evaluate": "Score a reconstruction against the truth or against the measured patterns.",
    "compare": "Run several models and physics iterations on one scan, side by side.",
    "convert": "Convert a scan or a result into another format.",
    "export": "Write the network of a model as an ONNX file, for other programs.",
    "inspect": "Show what a scan, a model bundle or a result contains.",
    "init": "Write a commented recipe and a notebook for your files.",
    "serve": "Look at scans and results in the browser, and start, watch and stop jobs.",
    "mcp": "Serve tools for agents: check, reconstruct, refine, evaluate, compare, list.",
    "doctor": "Check the installation and the devices.",
}


class _LazyGroup(click.Group):
    """Lists every command without importing it, so that --help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = get_close_matches(name.lower(), COMMANDS, n=1)
            guess = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command '{brief(name, 60)}'.{guess}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"ptychopinn.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ptychopinn")
def app() -> None:
    """Ptychographic reconstruction with physics-informed neural networks."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command line; a known error is one sentence on stderr and its exit code."""
    wait_shortly()
    few_heaps()
    sys.exit(run(arguments))


def wait_shortly() -> None:
    """Let idle threads of GNU OpenMP spin shortly, then sleep, unless the user decided otherwise.

    Sleeping at once costs nearly half the speed on a free machine; spinning on, as is its default,
    slows the threads of a busy machine down ten times. To be called before a numerical library is
    loaded (see docs/performance.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run(
    arguments: list[str] | None = None,
    command: click.Command = app,
    program: str = "ptychopinn",
    successor: str | None = None,
) -> int:
    """Like :func:`main`, but return the exit code; also for commands with a name of their own.

    Of those ``successor`` is the command of ``ptychopinn`` that does the same: an error that asks
    for an option which only that one has names both.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    border.show_any_letter()
    try:
        border.check_working_folder()
        with Signals().installed():
            # The arguments travel in the context, for the record that a command keeps of itself.
            result: Any = command.main(
                args=list(given), prog_name=program, standalone_mode=False, obj=given
            )
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except (click.Abort, Interrupted) as stop:
        number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
        by = "the user" if number == signal.SIGINT else signal.Signals(number).name
        click.echo(f"{program}: stopped by {by}.", err=True)
        return 128 + number
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PtychoPINNError as error:
        # What a library says may be part of it, on several lines.
        own = _parameters(command, given)
        text = border.as_flags(" ".join(str(error).split()), own)
        if successor is not None:
            theirs = _parameters(app, [successor])
            text = border.as_flags(text, border.beside(theirs, own), f"ptychopinn {successor}")
        click.echo(f"{program}: {text}", err=True)
        border.let_go(error)
        return border.flushed(program, error.exit_code)
    # The border: what nobody foresaw becomes a sentence here.
    except Exception as error:  # noqa: BLE001
        return border.ended(program, error)
    return border.flushed(program, int(result) if isinstance(result, int) else 0)


def _parameters(command: click.Command, given: list[str]) -> list[click.Parameter]:
    """The parameters of the command that these arguments run."""
    if isinstance(command, _LazyGroup):
        name = next((word for word in given if word in COMMANDS), "")
        found = command.get_command(click.Context(command), name)
        return [] if found is None else found.params
    return command.params
