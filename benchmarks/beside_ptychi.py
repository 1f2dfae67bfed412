"""Effects of beam, sample and positions, followed by this program and by pty-chi, in one run.

    python benchmarks/beside_ptychi.py [--patterns 225] [--photons 1e6] [--passes 60]
        [--ptychi-passes 300] [--ptychi-batch 16] [--only NAME]

The scans of departures.py for which pty-chi (2.2, package ``ptychi``) has an option, and wrong
positions. Both programs get the same patterns and probe. pty-chi runs LSQML with the settings of
``refine --engine ptychi``, but in small batches and with more passes, so that it comes to an end as
well, and is told the distance of the slices. *plain* is either without the option. Times are CPU
seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptychopinn as pp
from departures import DEPARTURES, NOTHING, SPACE
from model_choice import drawn, misplaced
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.evaluation import evaluate
from ptychopinn.ops.options import TorchExecution
from ptychopinn.ops.torch import TorchOps
from ptychopinn.physics.geometry import canvas_for, illumination
from ptychopinn.physics.propagators import HC
from ptychopinn.probes import with_modes
from ptychopinn.solvers import ptychi as handover
from ptychopinn.solvers.configs import PtychiConfig
from ptychopinn.solvers.physics import fixed_gauge
from ptychopinn.solvers.problem import canvas_of

EIGENPROBES, MODES = 4, 3
# What each program is asked for: options of the refinement here, and a name below for pty-chi.
ASKED: Mapping[str, tuple[dict[str, Any], str]] = {
    "none": (NOTHING, ""),
    "beam current": ({"beam_current": True, "background": False}, "intensities"),
    "3 incoherent modes, one given": ({"modes": MODES}, "modes"),
    "probe changes its defocus, coma and intensity": (
        {"refine_probe": True, "eigenprobes": EIGENPROBES}, "opr",
    ),
    "two slices": ({"slices": 2, "slice_spacing_m": SPACE["slice_spacing_m"]}, "slices"),
    "positions": ({**NOTHING, "refine_positions": True}, "positions"),
}  # fmt: skip


def here(scan: pp.Scan, options: dict[str, Any], passes: int) -> pp.Reconstruction:
    modes = options.get("modes")
    known = {name: value for name, value in options.items() if name != "modes"}
    config = pp.RefineConfig(**{"passes": passes, "stagnation": 0.0, **known})
    return pp.refine(scan, None, config, backend="pytorch", modes=modes, no_mend="all")


def there(scan: pp.Scan, asked: str, passes: int, batch: int) -> pp.Reconstruction:
    """By pty-chi, as :mod:`ptychopinn.solvers.ptychi` hands scans over, with further options."""
    from ptychi import api
    from ptychi.api.task import PtychographyTask
    from ptychi.utils import (
        add_additional_opr_probe_modes_to_probe,
        generate_initial_opr_mode_weights,
    )

    import torch  # isort: skip

    if asked == "modes":
        scan = replace(scan, probe=with_modes(scan.probe, MODES))
    prepared: PreparedScan = prepare(scan)
    free = asked in ("modes", "opr")
    config = PtychiConfig(
        passes=passes, batch_size=batch, refine_probe=free, refine_positions=asked == "positions"
    )
    positions, n, slices = scan.positions_px, scan.N, 2 if asked == "slices" else 1
    shape, corner = canvas_for(positions, n, 8)
    middle = corner + np.array(shape) // 2
    given = (positions - middle).astype(np.float32)
    to_fields = np.float32(1 / (prepared.input_scale * n))
    options = handover.task_options(config, torch.device("cpu"), tuple(middle - corner))
    probe = prepared.probe[None] * to_fields
    weights = np.ones((scan.M, 1), np.float32)
    varied = options.opr_mode_weight_options
    if asked == "opr":
        more = add_additional_opr_probe_modes_to_probe(torch.tensor(probe), EIGENPROBES)
        some = generate_initial_opr_mode_weights(scan.M, len(more), 0.1, probe=more)
        probe, weights = more.numpy(), some.numpy()
    varied.optimizable = asked in ("opr", "intensities")
    if varied.optimizable:
        varied.optimize_intensity_variation = True
        varied.optimize_eigenmode_weights = asked == "opr"
    if slices > 1:
        options.object_options.slice_spacings_m = np.array([SPACE["slice_spacing_m"]])
        options.object_options.pixel_size_m = SPACE["pixel_size_m"]
        options.data_options.wavelength_m = HC / SPACE["energy_eV"]
    with (
        TorchOps(TorchExecution()).threaded(),
        handover.process_kept(),
        PtychographyTask(
            options,
            diffraction_data=np.asarray(scan.diffraction[:]).astype(np.float32),
            valid_pixel_mask=scan.good_pixels.copy(),
            object_data=np.ones((slices, *shape), np.complex64),
            probe_data=probe,
            probe_position_y_px=given[:, 0].copy(),
            probe_position_x_px=given[:, 1].copy(),
            opr_mode_weights_data=weights,
        ) as task,
    ):
        assert api.Reconstructors  # the package is whole
        task.run(passes)
        obj = task.get_data_to_cpu("object", as_numpy=True).prod(axis=0)
        found = task.get_data_to_cpu("probe", as_numpy=True)[0] / to_fields
        moved = positions + task.get_data_to_cpu("probe_positions", as_numpy=True) - given
    light = illumination(moved, found, shape, corner)
    if free:
        obj, found = fixed_gauge(obj, light, found, float((np.abs(prepared.probe) ** 2).sum()))
    canvas = canvas_of(obj.astype(np.complex64), light.astype(np.float32), corner, [0.0])
    return pp.Reconstruction(
        object=canvas.object * np.complex64(prepared.object_scale),
        origin_px=canvas.origin_px,
        weight=canvas.weight,
        probe=scan.probe,
        positions_px=moved,
    )


def scored(
    make: Callable[..., pp.Reconstruction], scan: pp.Scan, truth: pp.Scan, asked: Any, passes: int
) -> str:
    begun = time.process_time()
    result = make(scan, asked, passes)
    seconds = time.process_time() - begun
    found = evaluate(replace(result, provenance={}), truth=truth).to_json()["metrics"]
    words = f"{found['phase_psnr_db']:.1f} / {found['amplitude_psnr_db']:.1f}, {seconds:.0f} s"
    if np.array_equal(scan.positions_px, truth.positions_px):
        return words
    left = result.positions_px - truth.positions_px
    return f"{words}, {rms(left):.3f} px left"


def rms(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(((errors - errors.mean(axis=0)) ** 2).sum(axis=1).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patterns", type=int, default=225)
    parser.add_argument("--photons", type=float, default=1e6)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--ptychi-passes", type=int, default=300)
    parser.add_argument("--ptychi-batch", type=int, default=16, help="patterns of a batch of it")
    parser.add_argument("--only", nargs="*", help="departures of these names")
    o = parser.parse_args()
    print("| departure | here: plain | with | pty-chi: plain | with |")
    print("| --- | --- | --- | --- | --- |")
    peer = partial(there, batch=o.ptychi_batch)
    known = {departure.name: departure for departure in DEPARTURES}
    for name, (ours, theirs) in ASKED.items():
        if o.only is not None and name not in o.only:
            continue
        size = (o.patterns, o.photons)
        scan, truth = misplaced(*size) if name == "positions" else drawn(known[name], *size)
        plain = {"refine_probe": True} if theirs in ("modes", "opr") else NOTHING
        cells = [
            scored(here, scan, truth, plain, o.passes),
            scored(here, scan, truth, ours, o.passes) if theirs else "",
            scored(peer, scan, truth, "", o.ptychi_passes),
            scored(peer, scan, truth, theirs, o.ptychi_passes) if theirs else "",
        ]
        print(f"| {' | '.join((name, *cells))} |", flush=True)


if __name__ == "__main__":
    main()
