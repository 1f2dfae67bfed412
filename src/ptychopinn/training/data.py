"""The patterns of a step, and the probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config import Config
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.errors import InputError
from ptychopinn.ops.base import Array, Ops, Variable
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.geometry import canvas_for, places
from ptychopinn.physics.propagators import fourier_shift
from ptychopinn.training.plan import Work


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups of one scan.

    amplitudes : (B, C, N, N) network input, zero frequency at [N/2, N/2].  positions_px : (B, C, 2)
    float64.  scan : number of the scan.  truth : known object in network units: patches (B, C, N,
    N), or the canvas (H, W); None if unknown.
    """

    amplitudes: NDArray[np.float32]
    positions_px: NDArray[np.float64]
    scan: int
    truth: NDArray[np.complex64] | None = None

    @property
    def patterns(self) -> int:
        """Number of patterns, B * C."""
        return int(self.amplitudes.shape[0] * self.amplitudes.shape[1])


def read_batch(scans: Sequence[PreparedScan], work: Work, config: Config) -> Batch:
    """Read the patterns of a step, with the known object when the loss asks for it."""
    prepared = scans[work.scan]
    positions = np.array(prepared.scan.positions_px[work.groups])
    truth = None
    if needs_truth(config):
        known = patch_truth if config.model.family == "patch" else canvas_truth
        truth = np.ascontiguousarray(known(prepared, positions))
    return Batch(prepared.amplitudes(work.groups), positions, work.scan, truth)


class Illumination(NamedTuple):
    """A probe as training sees it.

    parts : (P, N, N, 2) real and imaginary part relative to ``scale``, a Variable where the probe
    is trained.  scale : root mean square of the probe, so that one learning rate suits every probe.
    """

    parts: Any
    scale: float

    def field(self, xp: Ops) -> Array:
        """(P, N, N) complex, network units."""
        parts = self.parts * self.scale
        return xp.complex(parts[..., 0], parts[..., 1])


def illumination_of(probe: NDArray[np.complex64]) -> Illumination:
    """Of a ``probe`` (P, N, N) in network units."""
    scale = float(np.sqrt(np.mean(np.abs(probe) ** 2)))
    parts = np.stack([probe.real, probe.imag], axis=-1) / np.float32(scale)
    return Illumination(parts.astype(np.float32), scale)


class Probes:
    """The probes of the training scans, which training may refine.

    variables : ``probe.K`` of scan K; empty when they stay as they are.
    """

    def __init__(self, xp: Ops, scans: Sequence[PreparedScan], trainable: bool) -> None:
        self.xp = xp
        self.given = [illumination_of(scan.probe) for scan in scans]
        self.variables: dict[str, Array] = {}
        if trainable:
            self.variables = {
                f"probe.{k}": xp.variable(given.parts) for k, given in enumerate(self.given)
            }

    def __getitem__(self, scan: int) -> Illumination:
        name, given = f"probe.{scan}", self.given[scan]
        if name not in self.variables:
            return given
        return given._replace(parts=Variable(name, self.variables[name]))

    def field(self, scan: int) -> NDArray[np.complex64]:
        """(P, N, N) in network units, as it is now."""
        name, given = f"probe.{scan}", self.given[scan]
        if name in self.variables:
            given = given._replace(parts=self.xp.to_numpy(self.variables[name]))
        return np.asarray(given.field(NumpyOps()), np.complex64)


def needs_truth(config: Config) -> bool:
    """Whether the loss compares with known objects."""
    return config.loss.realspace_mae_weight > 0


def patch_truth(scan: PreparedScan, positions_px: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Patches (B, C, N, N) at the positions, fractions of a pixel included."""
    n, xp, obj = scan.scan.N, NumpyOps(), known_object(scan)
    shape = (int(obj.shape[0]), int(obj.shape[1]))
    where = places(positions_px.reshape(-1, 2), n, shape, (0, 0))
    patches = xp.gather(obj, xp.places(where.corner, n, shape[1]), n)
    moved = fourier_shift(xp, patches, -where.fraction)
    return np.asarray(moved.reshape(*positions_px.shape[:-1], n, n), np.complex64)


def canvas_truth(scan: PreparedScan, positions_px: NDArray[np.float64]) -> NDArray[np.complex64]:
    """The canvas (H, W) that holds the patches of the only sub-scan, positions (1, C, 2)."""
    obj = known_object(scan)
    (height, width), (top, left) = canvas_for(positions_px[0], scan.scan.N)
    return obj[top : top + height, left : left + width].astype(np.complex64)


def known_object(scan: PreparedScan) -> NDArray[Any]:
    """The object of the scan in network units; InputError when it is not known."""
    if scan.scan.object is None:
        raise InputError(
            f"supervised learning needs scans with a known object, received '{scan.scan.name}' "
            "without one; use simulated scans, or mode pinn with realspace_mae_weight 0."
        )
    return scan.scan.object / np.complex64(scan.object_scale)
