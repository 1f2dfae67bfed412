"""``ptychopinn reconstruct``: a scan that no network was trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    chosen_backend,
    force_option,
    live_option,
    output_option,
    quiet_option,
    scan_argument,
)
from ptychopinn.cli.results import (
    claim,
    look_options,
    made_result,
    model_option,
    uncertainty_option,
)
from ptychopinn.cli.scans import Reading, mend_option, scan_options
from ptychopinn.workflows.result_folder import Look

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName
    from ptychopinn.workflows.verbs import Further


@click.command()
@scan_argument
@output_option("Folder for the reconstruction and its pictures.")
@click.option(
    "--refine",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Physics iterations after the network: auto refines object and probe when the probe of "
    "the scan does not fit the data.  [default: auto]",
)
@click.option(
    "--network",
    metavar="BUNDLE",
    type=ANY_PATH,
    default=None,
    help="The network: a wts.h5.zip or the folder that holds it.  [default: the one that comes "
    "with the program]",
)
@model_option("refine_model")
@force_option("earlier results in DIR")
@quiet_option
@uncertainty_option
@look_options
@live_option
@scan_options
@mend_option
@backend_options(training=False)
def command(
    scan: Path,
    output: Path,
    refine: Further,
    network: Path | None,
    refine_model: str | None,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    live: Path | None,
    backend: BackendName | None,
    reading: Reading,
    look: Look,
    no_mend: tuple[str, ...],
    **flags: Any,
) -> int:
    """Reconstruct SCAN with the network that comes with the program and write the result to DIR.

    No training and no options are needed; --network takes one of your own. When the result does not
    explain the measured patterns, the files are written and marked, and the exit code is 3. Ctrl-C
    saves what is finished by then, once the network has found a first object.
    """
    import time
    from functools import partial

    from ptychopinn.errors import InputError

    begun = time.perf_counter()
    effects = refine_model is None or refine_model == "auto" or "-field" in refine_model
    # False, too, for what cannot be a path.
    if not effects and os.path.exists(refine_model or ""):  # noqa: PTH110
        raise InputError(
            "--model says which effects are followed, auto or terms like far-field+background, "
            f"received the path '{refine_model}'; give a network with --network '{refine_model}'."
        )
    backend, execution = chosen_backend(backend, flags, training=False)
    claim(output, force, live)
    from ptychopinn.workflows.verbs import PRETRAINED, open_model, reconstruct

    used = PRETRAINED if network is None else open_model(network)
    make = partial(
        reconstruct,
        model=used,
        backend=backend,
        execution=execution,
        uncertainty=uncertainty,
        no_mend=no_mend,
        refine=refine,
        refine_model=refine_model,
    )
    record = {
        "model": PRETRAINED if network is None else str(network),
        **({} if refine_model is None else {"refine_model": refine_model}),
        "execution": execution.model_dump(mode="json"),
    }
    return made_result(make, scan, reading, output, record, begun, quiet, look=look, live=live)
