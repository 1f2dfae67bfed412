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
from ptychopinn.cli.results import OUTDATED, WRITTEN, uncertainty_option
from ptychopinn.cli.scans import open_scan, scan_options

if TYPE_CHECKING:
    from ptychopinn.ops.selector import BackendName


@click.command()
@click.argument("model", type=ANY_PATH)
@scan_argument
@output_option("Folder for the reconstruction and its pictures.")
@force_option("earlier results in DIR")
@quiet_option
@uncertainty_option
@scan_options
@backend_options(training=False)
def command(
    model: Path,
    scan: Path,
    output: Path,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    backend: BackendName | None,
    probe: str | None,
    units: Any,
    photons: float | None,
    **flags: Any,
) -> int:
    """Reconstruct every pattern of SCAN with the bundle MODEL and write the result to DIR.

    MODEL is a wts.h5.zip, the folder that holds it, or the word pretrained. When the result does
    not explain the measured patterns, the files are written and marked, and the exit code is 3.
    """
    import time

    from ptychopinn.cli.console import logging_to, stderr
    from ptychopinn.cli.kinds import is_kind
    from ptychopinn.cli.results import write_result
    from ptychopinn.cli.stopping import saved
    from ptychopinn.errors import InputError
    from ptychopinn.io.atomic import claimed

    begun = time.perf_counter()
    backend, execution = chosen_backend(backend, flags, training=False)
    click.get_current_context().with_resource(claimed(output, (*WRITTEN, *OUTDATED), force))
    from ptychopinn.machine.interruption import StopFlag
    from ptychopinn.report.bars import passes_shown
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
    console, stop = stderr(), StopFlag(gentle=False)
    with logging_to(console, quiet) as log_file, stop.installed():
        data = open_scan(scan, probe, units, photons)
        seconds = {"load": time.perf_counter() - begun}
        result = reconstruct(
            data,
            opened,
            backend=backend,
            execution=execution,
            keep_probe=probe is not None,
            uncertainty=uncertainty,
            refine="never",
            progress=passes_shown(console, quiet),
            stop=stop,
        )
        seconds.update(result.seconds)
        record = {
            "model": str(model),
            "scan": str(scan.absolute()),
            "execution": execution.model_dump(mode="json"),
            "patterns_per_s_network": data.M / result.seconds["network"],
            "stopped_by_signal": stop.signal,
        }
        return saved(
            stop,
            lambda: write_result(result, output, log_file, record, seconds, begun, quiet),
        )
