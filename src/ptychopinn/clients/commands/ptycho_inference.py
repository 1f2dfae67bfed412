"""``ptycho_inference``: the inference command of the earlier program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ptychopinn.cli import wait_shortly
from ptychopinn.cli.scans import Reading, open_scan
from ptychopinn.clients.commands import earlier
from ptychopinn.clients.settings import (
    ACCELERATORS,
    EVERY_PATTERN,
    Rule,
    backend_name,
    only_effects,
)
from ptychopinn.ops.selector import KINDS, choose

RULES = {
    "n_groups": Rule(effect=EVERY_PATTERN),
    "n_images": Rule(effect=EVERY_PATTERN),
    "n_subsample": Rule(effect=EVERY_PATTERN),
    "subsample_seed": Rule(effect=EVERY_PATTERN),
    "neighbor_count": Rule(effect="the model keeps the groups it was trained with"),
    "debug": Rule(effect="all messages are in log.txt", neutral=False),
    "debug_dump": Rule(effect="reconstruction.h5 holds everything in full precision"),
    "gridsize": Rule(effect="the model keeps the groups it was trained with"),
    "N": Rule(effect="the patterns tell their size"),
    "torch_num_workers": Rule(effect="patterns are read in the main process"),
    "torch_inference_batch_size": Rule(
        effect="as many patterns are held at once as fit into a fixed amount of memory"
    ),
    "verbose": Rule(effect="all messages are shown, and kept in log.txt", neutral=False),
}
SWITCHES = earlier.switches(RULES) | {"comparison_plot", "quiet"}
PLACES = (
    "model_path",
    "test_data",
    "test_data_file",
    "output_dir",
    "backend",
    "comparison_plot",
    "phase_vmin",
    "phase_vmax",
    "torch_accelerator",
    "quiet",
    "console_level",
)
KNOWN = (*PLACES, *RULES, *earlier.ABOUT_SCANS)
DEFAULT_OUTPUT = "inference_outputs"
COMPARISON = "comparison_plot.png"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model_path", help="Folder with wts.h5.zip, or that file.")
@click.option("--test_data", help="Scan to reconstruct.")
@click.option("--test_data_file", help="The same as --test_data.")
@click.option("--output_dir", help=f"Folder of the results.  [default: {DEFAULT_OUTPUT}]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--backend", help="tensorflow or pytorch.  [default: the installed one]")
@click.option(
    "--comparison_plot",
    is_flag=False,
    flag_value="true",
    metavar="[true|false]",
    help=f"Draw {COMPARISON} against the object in the scan.",
)
@click.option("--phase_vmin", help="Lower limit of the phase picture, in radians.")
@click.option("--phase_vmax", help="Upper limit of the phase picture, in radians.")
@click.option("--torch_accelerator", help="auto, cpu, cuda or gpu.")
@click.option(
    "--quiet",
    is_flag=False,
    flag_value="true",
    metavar="[true|false]",
    help="Show only warnings and errors.",
)
@click.option("--console_level", help="WARNING and above is the same as --quiet.")
@earlier.rule_options(RULES)
@earlier.about_scans
def command(config_file: Path | None, about: dict[str, Any], **flags: Any) -> int:
    """Reconstruct a scan with a trained model, as the command of this name always did.

    Underscores and hyphens in names are the same. Every pattern is used. See docs/migrating.md.
    """
    from ptychopinn.cli import infer
    from ptychopinn.errors import InputError

    found = earlier.settings(config_file, {**flags, **about}, KNOWN)
    reading, no_mend = earlier.said_of_scans(found)
    model = Path(earlier.need(found, "model_path"))
    source = Path(earlier.need(found, "test_data", "test_data_file"))
    output = Path(found.pop("output_dir", DEFAULT_OUTPUT))
    backend, _ = choose(backend_name(found.pop("backend", None)))
    quiet = earlier.is_quiet(found.pop("quiet", False), found.pop("console_level", None))
    compare = found.pop("comparison_plot", False)
    limits = found.pop("phase_vmin", None), found.pop("phase_vmax", None)
    for limit in limits:
        if limit is not None and not isinstance(limit, int | float):
            raise InputError(
                f"--phase_vmin and --phase_vmax must be numbers, received {limit!r}; give radians."
            )
    try:
        accelerator = ACCELERATORS(found.pop("torch_accelerator", "auto"))
    except ValueError as error:
        raise InputError(f"--torch_accelerator cannot be that: {error}; change it.") from error
    notes = only_effects(found, RULES, earlier.flag)
    if not quiet:
        for note in notes:
            click.echo(f"no effect: {note}", err=True)
    code = 0
    with earlier.saying_poor_fits():
        code = click.get_current_context().invoke(
            infer.command,
            model=model,
            scan=source,
            output=output,
            force=True,
            quiet=quiet,
            backend=backend,
            no_mend=no_mend,
            **reading._asdict(),
            **{f"{KINDS[backend].prefix}_accelerator": accelerator},
        )
    if code:
        return code
    if limits != (None, None):
        from ptychopinn.io.reconstructions import load_reconstruction
        from ptychopinn.report.pictures import save_phase

        result = load_reconstruction(output)
        verdict = result.provenance["fit"]["verdict"]
        picture = output / "reconstructed_phase.png"
        save_phase(
            result,
            picture,
            note=None if verdict == "good" else f"{verdict.upper()} FIT",
            limits=limits,
        )
    if compare:
        _compare(output, source, reading)
    return 0


def _compare(output: Path, source: Path, reading: Reading) -> None:
    """Draw the result beside the object in the scan; say so when there is none."""
    from ptychopinn.evaluation import evaluate
    from ptychopinn.io.reconstructions import load_reconstruction
    from ptychopinn.report.page import save_evaluation

    # Its probe plays no part.
    scan = open_scan(source, reading._replace(probe=None, modes=None), probe_needed=False)
    if scan.object is None:
        click.echo(
            f"no {COMPARISON}: the scan '{source}' holds no object to compare with", err=True
        )
        return
    save_evaluation(evaluate(load_reconstruction(output), truth=scan), output / COMPARISON)


def run(arguments: list[str] | None = None) -> int:
    """Run with these arguments, in either spelling, and return the exit code."""
    return earlier.run(arguments, SWITCHES, command, "ptycho_inference", "infer")


def main() -> None:
    """The entry point."""
    wait_shortly()
    sys.exit(run())
