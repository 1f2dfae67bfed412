"""``ptycho_train``: the training command of the earlier program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ptychopinn.cli import wait_shortly
from ptychopinn.clients.commands import earlier
from ptychopinn.clients.settings import (
    COMMAND_RULES,
    backend_name,
    environment,
    starting_model,
    translate,
)

SWITCHES = earlier.switches(COMMAND_RULES) | {"do_stitching", "quiet", "verbose"}
PLACES = (
    "train_data_file",
    "test_data_file",
    "output_dir",
    "backend",
    "do_stitching",
    "quiet",
    "verbose",
    "console_level",
)
KNOWN = (*PLACES, *COMMAND_RULES, *earlier.ABOUT_SCANS)
DEFAULT_OUTPUT = "training_outputs"


def _switch(name: str, text: str) -> Any:
    return click.option(
        f"--{name}", is_flag=False, flag_value="true", metavar="[true|false]", help=text
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--train_data_file", help="Training scan.")
@click.option("--test_data_file", help="Scan to reconstruct after the training.")
@click.option("--output_dir", help=f"Folder of the results.  [default: {DEFAULT_OUTPUT}]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--backend", help="tensorflow or pytorch.  [default: the installed one]")
@_switch("do_stitching", "Reconstruct the test scan after the training, and draw it.")
@_switch("quiet", "Show only warnings and errors.")
@_switch("verbose", "No effect: all messages are in log.txt.")
@click.option("--console_level", help="WARNING and above is the same as --quiet.")
@earlier.rule_options(COMMAND_RULES)
@earlier.about_scans
def command(config_file: Path | None, about: dict[str, Any], **flags: Any) -> int:
    """Train on a scan and write wts.h5.zip, as the command of this name always did.

    Underscores and hyphens in names are the same. The network is the published one unless
    --architecture or PTYCHOPINN_ARCHITECTURE says otherwise; `ptychopinn train` has a better
    default. See docs/migrating.md.
    """
    from ptychopinn.cli import infer
    from ptychopinn.cli.train import run_training
    from ptychopinn.io import load_scan

    found = earlier.settings(config_file, {**flags, **about}, KNOWN)
    reading, no_mend = earlier.said_of_scans(found)
    source = Path(earlier.need(found, "train_data_file"))
    test = found.pop("test_data_file", None)
    output = Path(found.pop("output_dir", DEFAULT_OUTPUT))
    backend = backend_name(found.pop("backend", None))
    quiet = earlier.is_quiet(found.pop("quiet", False), found.pop("console_level", None))
    stitching, verbose = found.pop("do_stitching", False), found.pop("verbose", False)
    photons = found.pop("nphotons", None)
    architecture, further = environment("cnn")
    translation = translate(
        found,
        COMMAND_RULES,
        architecture=architecture,
        backend=backend,
        names=earlier.flag,
        further=further,
    )
    notes = [f"no effect: {note}" for note in translation.notes]
    if verbose:
        notes.append("no effect: --verbose: all messages are shown, and kept in log.txt")
    code = run_training(
        (source,),
        lambda path: load_scan(path, fallback_photons=photons, **reading._asdict()),
        translation.config,
        translation.backend,
        translation.execution,
        output,
        force=True,
        resume=False,
        quiet=quiet,
        probe_check=True,
        start=starting_model(),
        notes=tuple(notes),
        no_mend=no_mend,
    )
    if code == 0 and stitching and test is not None:
        with earlier.saying_poor_fits():
            code = click.get_current_context().invoke(
                infer.command,
                model=output / "wts.h5.zip",
                scan=Path(test),
                output=output,
                force=True,
                quiet=quiet,
                backend=translation.backend,
                no_mend=no_mend,
                **reading._asdict(),
            )
    return code


def run(arguments: list[str] | None = None) -> int:
    """Run with these arguments, in either spelling, and return the exit code."""
    return earlier.run(arguments, SWITCHES, command, "ptycho_train", "train")


def main() -> None:
    """The entry point."""
    wait_shortly()
    sys.exit(run())
