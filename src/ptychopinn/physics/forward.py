"""The forward model: illumination, exit waves, propagator, detector; and back.

    psi_p(u) = P_p(u - f) O(u - N/2 + round(r)),   I(q) = sum_p abs(D psi_p)^2 + b(q)

Sub-pixel positions move the *probe*, never the object: a position r is split into the nearest whole
pixel and a remainder f in [-0.5, 0.5); the patch is cut out at the whole pixel and the probe is
moved by f with a Fourier shift. The probe fades towards the border of its array, so the periodic
wrap-around of a Fourier shift is harmless to it; the object has no such border. D is the propagator
to the detector (:mod:`ptychopinn.physics.propagators`), which knows that the exit wave was moved.
Incoherent modes add as intensities, and so does a background b. What beam and detector do beyond
this are effects (:mod:`ptychopinn.physics.effects`), which change the batch that is modelled.

The model is written over the operations of a framework (:mod:`ptychopinn.ops`). Training, solvers,
simulation, misfit and the checks of probe and geometry all use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.effects import Effect, applied
from ptychopinn.physics.geometry import places
from ptychopinn.physics.propagators import FarField, Propagator, fourier_shift

FAR_FIELD = FarField()


class PatternBatch(NamedTuple):
    """Some patterns of a scan, ready for the physics.

    amplitudes : (M, N, N) square root of the counts in network units, in the order of the fields.
    fraction : (M, 2) sub-pixel remainders of the positions.
    places : where the patches lie on the canvas (:meth:`ptychopinn.ops.base.Ops.places`).
    centre : (M,) flat canvas pixel of each patch's pixel [N/2, N/2].
    probes : (M, P, N, N) the probe at these remainders where it is kept, else None.
    bounds : (M, N, N) 1 where an amplitude is only a lower bound (saturated), 0 elsewhere; () where
        all are measurements.
    path : (M, K, 2) displacements of the K copies of each probe mode, which follow each other in
        ``probes``; () where there is a single one.
    background : (N, N) intensity that is added to each pattern; () where none is.
    parts : (M, B) shares that patterns have in parts of the scan, where an effect looks at what
        each part asks of its probe; () where none does.
    """

    amplitudes: Array
    fraction: Array
    places: Array
    centre: Array
    probes: Array | None = None
    bounds: Array | tuple[()] = ()
    path: Array | tuple[()] = ()
    background: Array | tuple[()] = ()
    parts: Array | tuple[()] = ()


def pattern_batch(
    xp: Ops,
    amplitudes: Array,
    positions_px: NDArray[np.float64],
    shape: tuple[int, int],
    origin_px: Any,
    probe: Array | None = None,
) -> PatternBatch:
    """Place patterns (M, N, N) on a canvas (H, W); a given ``probe`` (P, N, N) is shifted once."""
    n = int(amplitudes.shape[-1])
    where = places(positions_px, n, shape, origin_px)
    fraction = xp.astype(xp.asarray(where.fraction), amplitudes)
    return PatternBatch(
        amplitudes=amplitudes,
        fraction=fraction,
        places=xp.call(_places, xp.asarray(where.corner), n, shape[1]),
        centre=xp.asarray(where.centre),
        probes=None if probe is None else xp.call(illumination, probe, fraction),
    )


def _places(xp: Ops, corner: Array, n: Any, width: Any) -> Array:
    return xp.places(corner, n, width)


def illumination(xp: Ops, probe: Array, fraction: Array) -> Array:
    """The ``probe`` (P, N, N) moved to the remainders ``fraction`` (M, 2), (M, P, N, N)."""
    return fourier_shift(xp, probe, fraction[:, None, :])


def exit_waves(xp: Ops, probes: Array, patches: Array) -> Array:
    """(M, P, N, N) of ``probes`` (M, P, N, N) on ``patches`` (M, N, N)."""
    return probes * patches[:, None]


def intensity(xp: Ops, propagator: Propagator, fields: Array) -> Array:
    """Expected intensity (M, N, N) of fields (M, P, N, N) at the detector."""
    total = xp.sum_modes(xp.abs2(fields))
    power = propagator.power(xp, xp.shape(fields)[-1])
    return total if power is None else total * xp.astype(power, total)


def modelled(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch
) -> tuple[Array, Array, Array]:
    """Patches (M, N, N), fields (M, P, N, N) and intensities (M, N, N) of a batch with its probes,
    in the order of the fields."""
    patches = xp.gather(canvas, batch.places, xp.shape(batch.amplitudes)[-1])
    waves = exit_waves(xp, batch.probes, patches)
    fields = propagator.forward(xp, waves, _moved_by(xp, batch))
    model = intensity(xp, propagator, fields)
    if not isinstance(batch.background, tuple):
        model = model + batch.background
    return patches, fields, model


def backward(
    xp: Ops, propagator: Propagator, fields: Array, batch: PatternBatch
) -> tuple[Array, Array]:
    """Waves D^-1 fields (M, P, N, N), and sum_p conj(P_p) D^-1 fields (M, N, N): what fields mean
    for exit waves and patches, the adjoint of :func:`modelled` up to the power of D."""
    waves = propagator.backward(xp, fields, _moved_by(xp, batch))
    return waves, xp.sum_modes(xp.conj(batch.probes) * waves)


def _moved_by(xp: Ops, batch: PatternBatch) -> Array:
    """How far the exit waves of a batch were moved, (M, 2), or (M, P K, 2) with copies."""
    if isinstance(batch.path, tuple):
        return batch.fraction
    m, every = xp.shape(batch.probes)[:2]
    count = xp.shape(batch.path)[1]
    places = batch.fraction[:, None, None, :] + batch.path[:, None]
    return xp.reshape(xp.broadcast_to(places, (m, every // count, count, 2)), (m, every, 2))


def copied(xp: Ops, probes: Array, path: Array) -> Array:
    """Probes (M, P, N, N) at the places ``path`` (M, K, 2), (M, P K, N, N), with the same power."""
    m, modes, n, _ = xp.shape(probes)
    moved = fourier_shift(xp, probes[:, :, None], path[:, None])
    return xp.reshape(xp.scaled(moved, _share(xp, path)), (m, modes * xp.shape(path)[1], n, n))


def brought_back(xp: Ops, batch: PatternBatch, waves: Array) -> Array:
    """What the waves of the probes of a batch, (M, P, N, N) or (M, P K, N, N) of copies, mean for
    the probe, (M, P, N, N): each is moved back."""
    if isinstance(batch.path, tuple):
        return fourier_shift(xp, waves, -batch.fraction[:, None, :])
    m, every, n, _ = xp.shape(waves)
    count = xp.shape(batch.path)[1]
    apart = xp.reshape(waves, (m, every // count, count, n, n))
    back = -(batch.fraction[:, None, None, :] + batch.path[:, None])
    return xp.scaled(xp.sum(fourier_shift(xp, apart, back), axis=2), _share(xp, batch.path))


def in_parts(xp: Ops, batch: PatternBatch, each: Array, light: Array) -> tuple[Array, ...]:
    """Sums (B, N, N) over the patterns of each part of the scan of waves (M, 1, N, N) and of their
    weights (M, N, N); nothing where no effect looks at parts."""
    if isinstance(batch.parts, tuple):
        return ()
    m, n, _ = xp.shape(light)
    count, across = xp.shape(batch.parts)[1], xp.permute_dims(batch.parts, (1, 0))

    def summed(x: Array) -> Array:
        return xp.reshape(xp.matmul(across, xp.reshape(x, (m, n * n))), (count, n, n))

    return xp.complex(summed(xp.real(each)), summed(xp.imag(each))), summed(light)


def _share(xp: Ops, path: Array) -> Array:
    """1 / sqrt(K) of a path (M, K, 2)."""
    return 1.0 / xp.sqrt(xp.sum(xp.ones_like(path[0, :, 0])))


def missing(xp: Ops, batch: PatternBatch, measured: Array, amplitude: Array, good: Array) -> Array:
    """Measured minus modelled amplitudes (M, N, N) on good pixels; 0 where a saturated pixel is
    modelled above its bound."""
    difference = good * (measured - amplitude)
    if isinstance(batch.bounds, tuple):
        return difference
    return difference + batch.bounds * xp.maximum(-difference, 0.0)


def with_probes(xp: Ops, batch: PatternBatch, probe: Array) -> PatternBatch:
    """The batch with ``probe`` (P, N, N) at its remainders, unless it keeps one."""
    if batch.probes is not None:
        return batch
    return batch._replace(probes=xp.call(illumination, probe, batch.fraction))


def predict(
    xp: Ops,
    canvas: NDArray[Any],
    probe: NDArray[Any],
    positions_px: NDArray[Any],
    origin_px: Any = (0, 0),
    propagator: Propagator = FAR_FIELD,
    batch_length: int | None = None,
    effects: Sequence[Effect] = (),
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Expected intensities of a canvas (H, W) under ``probe`` (P, N, N), batch by batch.

    Yields which patterns, and (b, N, N) with the zero frequency at [N/2, N/2], in the precision of
    the canvas.
    """
    n, count = probe.shape[-1], len(positions_px)
    shape = (int(canvas.shape[0]), int(canvas.shape[1]))
    held, light = xp.asarray(canvas), xp.asarray(probe.astype(canvas.dtype))
    length = count if batch_length is None else batch_length
    like = np.zeros(0, canvas.dtype).real
    for start in range(0, count, length):
        part = slice(start, min(start + length, count))
        positions = np.asarray(positions_px[part], np.float64)
        nothing = xp.asarray(np.zeros((len(positions), n, n), like.dtype))
        batch = pattern_batch(xp, nothing, positions, shape, origin_px, light)
        numbers = np.arange(part.start, part.stop)
        batch = applied(xp, effects, batch, numbers, propagator.inward)
        found = xp.call(_intensities, propagator, held, batch)
        yield part, propagator.outward(xp.to_numpy(found))


def _intensities(xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch) -> Array:
    return modelled(xp, propagator, canvas, batch)[2]


def intensities(
    canvas: NDArray[Any],
    probe: NDArray[Any],
    positions_px: NDArray[Any],
    origin_px: Any = (0, 0),
    propagator: Propagator = FAR_FIELD,
) -> NDArray[np.float64]:
    """Expected counts (M, N, N) by NumPy in double precision (see :func:`predict`)."""
    from ptychopinn.ops.numpy import NumpyOps

    xp = NumpyOps()
    ((_, found),) = predict(
        xp, np.asarray(canvas, np.complex128), probe, positions_px, origin_px, propagator
    )
    return found


def vacuum_pattern(probe: NDArray[Any], propagator: Propagator = FAR_FIELD) -> NDArray[Any]:
    """Pattern (N, N) of the bare ``probe`` (P, N, N), zero frequency at [N/2, N/2]."""
    from ptychopinn.ops.numpy import NumpyOps

    n = probe.shape[-1]
    ones = np.ones((n, n), probe.dtype)
    middle = np.array([[n // 2, n // 2]], np.float64)
    ((_, found),) = predict(NumpyOps(), ones, probe, middle, (0, 0), propagator)
    return np.asarray(found[0])
