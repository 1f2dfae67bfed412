"""A look at some patterns while a solver works: what is measured beside what is modelled by now."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Glance, Looked
from ptychopinn.data.normalization import PreparedScan
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.effects import applied
from ptychopinn.physics.forward import PatternBatch, missing, modelled, pattern_batch
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.problem import RIM


class Glances:
    """Makes a :class:`ptychopinn.contracts.Glance` of the present state of a descent.

    light : (H, W) illumination, of about now: it moves too little to be asked each time.
    """

    def __init__(self) -> None:
        self.light: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._seen = np.zeros((0, 0), bool)
        self._lit: Descent | None = None

    def of(
        self,
        state: Descent,
        scan: PreparedScan,
        origin_px: NDArray[np.int64],
        canvas: Array | None = None,
    ) -> Glance:
        """The state as it is, or with another ``canvas``; ``origin_px`` is that of its canvas."""
        xp, canvas = state.xp, state.canvas if canvas is None else canvas

        def look(numbers: NDArray[np.int64]) -> Looked:
            with xp.running():
                return looked(state, scan, origin_px, numbers, canvas)

        with xp.running():
            if self._lit is not state:
                light = xp.to_numpy(state.total_illumination())
                self.light = light.reshape(-1, *light.shape[-2:]).mean(axis=0)
                self._seen = self.light > RIM / 10 * self.light.max()
                self._lit = state
            obj, probe = xp.to_numpy(canvas), xp.to_numpy(state.probe)
            return Glance(obj, self._seen, probe, scan.scan.M, look)


def looked(
    state: Descent,
    scan: PreparedScan,
    origin_px: NDArray[np.int64],
    numbers: NDArray[np.int64],
    canvas: Array,
) -> Looked:
    """The patterns ``numbers`` (K,) of ``scan`` beside those that the state gives with ``canvas``.

    The misfit of each is sum (sqrt(I_hat) - sqrt(I))^2 / sum I over its good pixels.
    """
    xp, problem, propagator = state.xp, state.problem, scan.propagator
    counts, weight = scan.counts_of(numbers), xp.asarray(propagator.inward(scan.weight))
    amplitudes = xp.amplitudes(counts, weight, propagator.inward)
    places = scan.scan.positions_px[numbers]
    batch = pattern_batch(xp, amplitudes, places, problem.shape, origin_px, state.probe)
    bounds = scan.bounds(counts)
    if bounds is not None:
        batch = batch._replace(bounds=xp.asarray(propagator.inward(bounds)))
    batch = applied(xp, state.effects, batch, numbers, propagator.inward)
    model, apart = xp.call(_beside, problem.propagator, canvas, batch, problem.good)
    measured = propagator.outward(xp.to_numpy(amplitudes)) ** 2
    square = (xp.to_numpy(apart).astype(np.float64) ** 2).sum(axis=(1, 2))
    power = measured.sum(axis=(1, 2), dtype=np.float64)
    misfit = np.divide(square, power, out=np.full(len(numbers), np.nan), where=power > 0)
    photon = np.float32(scan.photon_scale**2)
    expected = propagator.outward(xp.to_numpy(model)) * scan.scan.good_pixels
    return Looked(_photons(measured, photon), _photons(expected, photon), misfit)


def _photons(values: NDArray[Any], photon: np.float32) -> NDArray[np.float32]:
    return np.divide(values, photon, dtype=np.float32)


def _beside(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch, good: Array
) -> tuple[Array, Array]:
    """Modelled intensities and what is missing of the amplitudes, (K, N, N) each."""
    model = modelled(xp, propagator, canvas, batch)[2]
    return model, missing(xp, batch, batch.amplitudes, xp.sqrt(model), good)
