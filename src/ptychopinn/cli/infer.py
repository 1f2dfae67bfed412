"""``ptychopinn infer``: reconstruct a scan with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    chosen_backend,
    force_option,
    output_option,
    quiet_option,
    scan_argument,
)
from ptychopinn.cli.results import claim, look_options, made_result, uncertainty_option
from ptychopinn.cli.scans import Reading, mend_option, scan_options
from ptychopinn.workflows.result_folder import Look

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName


@click.command()
@click.argument("model", type=ANY_PATH)
@scan_argument
@output_option("Folder for the reconstruction and its pictures.")
@force_option("earlier results in DIR")
@quiet_option
@uncertainty_option
@look_options
@scan_options
@mend_option
@backend_options(training=False)
def command(
    model: Path,
    scan: Path,
    output: Path,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    backend: BackendName | None,
    reading: Reading,
    look: Look,
    no_mend: tuple[str, ...],
    **flags: Any,
) -> int:
    """Reconstruct every pattern of SCAN with the bundle MODEL and write the result to DIR.

    MODEL is a wts.h5.zip, the folder that holds it, or the word pretrained. When the result does
    not explain the measured patterns, the files are written and marked, and the exit code is 3.
    """
    import time
    from functools import partial

    from ptychopinn.cli.kinds import is_kind
    from ptychopinn.errors import InputError

    begun = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    claim(output, force)
    from ptychopinn.workflows.verbs import open_model, reconstruct

    try:
        opened = open_model(model)
    except InputError as error:
        if is_kind(scan, "bundle") and is_kind(model, "scan"):
            raise InputError(
                f"the model comes first and the scan second, received the scan '{model}' and the "
                f"model '{scan}'; swap them."
            ) from error
        raise
    make = partial(
        reconstruct,
        model=opened,
        backend=backend,
        execution=execution,
        keep_probe=reading.probe is not None,
        uncertainty=uncertainty,
        no_mend=no_mend,
        refine="never",
    )
    record = {"model": str(model), "execution": execution.model_dump(mode="json")}
    return made_result(make, scan, reading, output, record, begun, quiet, look=look)
