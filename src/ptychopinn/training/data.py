"""The patterns of a step, read when it is their turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError
from ptychopinn.networks.registry import family
from ptychopinn.physics.forward import canvas_for, extract_patches, fourier_shift, split_positions
from ptychopinn.training.plan import Work


@dataclass(frozen=True)
class Batch:
    """Groups of one scan, as arrays of NumPy or of a framework.

    amplitudes : (B, C, N, N) network input, zero frequency at [N/2, N/2]. positions_px : (B, C, 2)
    float64.  scan : number of the scan. truth : known object in network units: patches (B, C, N,
    N), or canvases (B, H, W); None if unknown.
    """

    amplitudes: Any
    positions_px: Any
    scan: int
    truth: Any = None

    @property
    def patterns(self) -> int:
        """Number of patterns, B * C."""
        return int(self.amplitudes.shape[0] * self.amplitudes.shape[1])


def read_batch(scans: Sequence[PreparedScan], work: Work, config: Config) -> Batch:
    """Read the patterns of a step, with the known object when the loss asks for it."""
    prepared = scans[work.scan]
    positions = np.array(prepared.scan.positions_px[work.groups])
    return Batch(
        amplitudes=prepared.amplitudes(work.groups),
        positions_px=positions,
        scan=work.scan,
        truth=truth(config, prepared, positions) if needs_truth(config) else None,
    )


def needs_truth(config: Config) -> bool:
    """Whether the loss compares with known objects."""
    return config.loss.realspace_mae_weight > 0


def truth(
    config: Config, scan: PreparedScan, positions_px: NDArray[np.float64]
) -> NDArray[np.complex64]:
    """The known object where the network predicts it, for positions (B, C, 2), network units."""
    known = patch_truth if family(config.model) == "patch" else canvas_truth
    return np.ascontiguousarray(known(scan, positions_px))


def patch_truth(scan: PreparedScan, positions_px: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Patches (B, C, N, N) at the positions, fractions of a pixel included."""
    n = scan.scan.N
    obj = known_object(scan)
    corner, fraction = split_positions(positions_px.reshape(-1, 2), n)
    patches = fourier_shift(extract_patches(obj, corner, n), -fraction)
    return patches.reshape(*positions_px.shape[:-1], n, n).astype(np.complex64)


def canvas_truth(scan: PreparedScan, positions_px: NDArray[np.float64]) -> NDArray[np.complex64]:
    """The canvas (1, H, W) that holds the patches of the only sub-scan, positions (1, C, 2)."""
    obj = known_object(scan)
    (height, width), (top, left) = canvas_for(positions_px[0], scan.scan.N)
    return obj[None, top : top + height, left : left + width].astype(np.complex64)


def known_object(scan: PreparedScan) -> NDArray[Any]:
    """The object of the scan in network units; InputError when it is not known."""
    if scan.scan.object is None:
        raise InputError(
            f"supervised learning needs scans with a known object, received '{scan.scan.name}' "
            "without one; use simulated scans, or --mode pinn with realspace_mae_weight 0."
        )
    return scan.scan.object / np.complex64(scan.object_scale)
