"""``ptychopinn refine``: iterations on a result, or from an empty object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ptychopinn.cli.options import (
    ANY_PATH,
    backend_options,
    chosen_backend,
    config_options,
    force_option,
    given,
    live_option,
    output_option,
    quiet_option,
)
from ptychopinn.cli.results import (
    claim,
    look_options,
    made_result,
    model_option,
    uncertainty_option,
)
from ptychopinn.cli.scans import (
    ModesOrAuto,
    Reading,
    mend_option,
    said_again,
    scan_options_but_modes,
)
from ptychopinn.config import RefineConfig, validated
from ptychopinn.workflows.result_folder import Look

if TYPE_CHECKING:
    from ptychopinn.data.reconstruction import Reconstruction
    from ptychopinn.ops.selector import BackendName


@click.command()
@click.argument("source", type=ANY_PATH)
@output_option("Folder for the refined reconstruction and its pictures.")
@click.option(
    "--scan",
    metavar="SCAN",
    type=ANY_PATH,
    default=None,
    help="The scan of the result.  [default: the one it was made from, which it remembers]",
)
@force_option("earlier results in DIR")
@quiet_option
@uncertainty_option
@look_options
@live_option
@click.option(
    "--modes",
    "number_of_modes",
    metavar="auto|K",
    type=ModesOrAuto(),
    default=None,
    help="Let the probe have K incoherent modes, or add them while patterns that were left out "
    "gain (auto); refines the probe.",
)
@model_option("model")
@scan_options_but_modes
@mend_option
@config_options(RefineConfig)
@backend_options(training=False)
def command(
    source: Path,
    output: Path,
    scan: Path | None,
    force: bool,
    quiet: bool,
    uncertainty: bool,
    live: Path | None,
    backend: BackendName | None,
    reading: Reading,
    look: Look,
    no_mend: tuple[str, ...],
    number_of_modes: int | Literal["auto"] | None,
    model: str | None,
    **flags: Any,
) -> int:
    """Refine SOURCE, the folder of a result, or, when SOURCE is a scan, start from an empty object.

    Object and, with --refine-probe and --refine-positions, probe modes and scan positions are
    updated by physics alone, with more and more patterns per update, until nothing improves. With
    --engine ptychi the package pty-chi does it, when it is installed. Ctrl-C stops after the
    present update and saves what the finished passes have found.
    """
    import time
    from functools import partial

    begun = time.perf_counter()
    config = validated(RefineConfig, given(flags, RefineConfig))
    if config.engine == "ptychi":
        from ptychopinn.solvers import ptychi

        ptychi.execution_for(backend, None, uncertainty)
        ptychi.require()
        backend, execution = chosen_backend("pytorch", flags, training=False)
        ptychi.execution_for(backend, execution)
    else:
        backend, execution = chosen_backend(backend, flags, training=False)
    claim(output, force, live)
    from ptychopinn.errors import InputError
    from ptychopinn.io.reconstructions import RESULT_FILE, load_reconstruction
    from ptychopinn.workflows.verbs import refine

    start: Reconstruction | None = None
    if source.is_dir() or source.name == RESULT_FILE or scan is not None:
        start = load_reconstruction(source)
        if reading.probe is not None:
            raise InputError(
                f"a result is refined with its own probe, received --probe {reading.probe}; leave "
                "it out, or refine the scan."
            )
        if scan is None:
            scan = scan_of(source if source.is_dir() else source.parent, start)
        reading = said_again(reading, start)
    make = partial(
        refine,
        start=start,
        config=config,
        backend=backend,
        execution=execution,
        modes=number_of_modes,
        model=model,
        uncertainty=uncertainty,
        no_mend=no_mend,
    )
    record = {
        "source": str(source.absolute()),
        "config": config.model_dump(mode="json"),
        "modes": number_of_modes,
        "model": model,
        "execution": execution.model_dump(mode="json"),
    }
    used = source if scan is None else scan
    return made_result(
        make,
        used,
        reading,
        output,
        record,
        begun,
        quiet,
        look=look,
        live=live,
        probe_needed=start is None,
    )


def scan_of(folder: Path, result: Reconstruction) -> Path:
    """The scan that a result was made from, by what the result itself or its record says.

    Where it was moved together with its scan, the scan may be beside it.

    Raises
    ------
    InputError
        When neither names a scan, or it is gone.
    """
    from ptychopinn.data.fingerprint import recorded
    from ptychopinn.errors import InputError, shown
    from ptychopinn.io.reading import kind_of, read_json

    remedy = "give the scan with --scan SCAN."
    known, named = recorded(result.provenance)
    # Results of earlier versions hold the path as it was typed; their record does too.
    if known is None or named is None:
        record = folder / "run.json"
        if kind_of(record) == "nothing":
            raise InputError(
                f"the folder of a result must hold a run.json that names its scan, received "
                f"'{folder}' without one; {remedy}"
            )
        named = read_json(record).get("scan")
        if not isinstance(named, str):
            raise InputError(
                f"run.json must name the scan of the result, received {shown(named)} in "
                f"'{record}'; {remedy}"
            )
    path = Path(named)
    places = [path]
    if known is not None:
        # The fingerprint tells whether it is the right one.
        places += [folder.absolute().parent / path.name, folder / path.name]
    for place in places:
        if kind_of(place) != "nothing":
            return place
    raise InputError(
        f"the scan of a result must still be there, received '{path}', which is not; {remedy}"
    )
