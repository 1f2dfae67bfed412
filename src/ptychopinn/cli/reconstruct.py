"""``ptychopinn reconstruct``: a scan that no network was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
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

    No training and no options are needed. When the result does not explain the measured patterns,
    the files are written and marked, and the exit code is 3. Ctrl-C saves what is finished by then,
    once the network has found a first object.
    """
    import time
    from functools import partial

    begun = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    claim(output, force)
    from ptychopinn.workflows.verbs import PRETRAINED, reconstruct

    make = partial(
        reconstruct,
        model=PRETRAINED,
        backend=backend,
        execution=execution,
        uncertainty=uncertainty,
        no_mend=no_mend,
        refine=refine,
        refine_model=refine_model,
    )
    record = {
        "model": PRETRAINED,
        **({} if refine_model is None else {"refine_model": refine_model}),
        "execution": execution.model_dump(mode="json"),
    }
    return made_result(make, scan, reading, output, record, begun, quiet, look=look, live=live)
