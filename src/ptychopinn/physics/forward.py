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
from ptychopinn.physics.propagators import (
    AngularSpectrum,
    FarField,
    Propagator,
    fourier_shift,
    placed,
    ramp,
)

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
    transfer : (N, N // 2 + 1) what the detector makes of the spatial frequencies of a pattern; ()
        where points stay points.
    parts : (M, B) shares that patterns have in parts of the scan, where an effect looks at what
        each part asks of its probe; () where none does.
    between : from each slice of a thick sample to the next one; () where the sample is thin.
    """

    amplitudes: Array
    fraction: Array
    places: Array
    centre: Array
    probes: Array | None = None
    bounds: Array | tuple[()] = ()
    path: Array | tuple[()] = ()
    background: Array | tuple[()] = ()
    transfer: Array | tuple[()] = ()
    parts: Array | tuple[()] = ()
    between: tuple[AngularSpectrum, ...] = ()


class Passage(NamedTuple):
    """The way of the waves of M patterns through the K slices of a sample, one where it is thin.

    patches : of each slice (M, N, N).  waves : that enter each slice, (M, P, N, N).
    """

    patches: tuple[Array, ...]
    waves: tuple[Array, ...]


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


def passage(xp: Ops, canvas: Array, batch: PatternBatch) -> tuple[Passage, Array]:
    """The way through a ``canvas`` (H, W), or (K, H, W) of slices, and exit waves (M, P, N, N)."""
    patches = patches_of(xp, canvas, batch)
    waves = [batch.probes]
    for space, patch in zip(batch.between, patches[:-1], strict=True):
        waves.append(space.across(xp, exit_waves(xp, waves[-1], patch)))
    return Passage(patches, tuple(waves)), exit_waves(xp, waves[-1], patches[-1])


def patches_of(xp: Ops, canvas: Array, batch: PatternBatch) -> tuple[Array, ...]:
    """Patches (M, N, N) of each slice of a ``canvas`` (H, W), or (K, H, W) of slices."""
    n = xp.shape(batch.amplitudes)[-1]
    slices = [canvas[k] for k in range(len(batch.between) + 1)] if batch.between else [canvas]
    return tuple(xp.gather(one, batch.places, n) for one in slices)


def changed_waves(xp: Ops, batch: PatternBatch, way: Passage, changes: Sequence[Array]) -> Array:
    """How exit waves (M, P, N, N) change with the patches of all slices, by these small ``changes``
    (M, N, N) of each: what a slice changes goes through those behind it."""
    found = way.waves[0] * changes[0][:, None]
    for k, space in enumerate(batch.between, 1):
        through = space.across(xp, found) * way.patches[k][:, None]
        found = through + way.waves[k] * changes[k][:, None]
    return found


def modelled(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch
) -> tuple[Passage, Array, Array]:
    """The way through the sample, fields (M, P, N, N) and intensities (M, N, N) of a batch with its
    probes, in the order of the fields."""
    way, waves = passage(xp, canvas, batch)
    fields = propagator.forward(xp, waves, _moved_by(xp, batch))
    model = intensity(xp, propagator, fields)
    if not isinstance(batch.transfer, tuple):
        # Rounding must not make dark pixels negative.
        model = xp.maximum(spread_out(xp, model, batch), 0.0)
    if not isinstance(batch.background, tuple):
        model = model + batch.background
    return way, fields, model


def slope(
    xp: Ops, propagator: Propagator, fields: Array, waves: Array, batch: PatternBatch
) -> Array:
    """How intensities (M, N, N) of ``fields`` (M, P, N, N) change with their exit waves, by small
    changes ``waves`` (M, P, N, N): twice the real part of conj(D psi) D waves, added up."""
    return slopes(xp, propagator, fields, waves, batch)[0]


def slopes(
    xp: Ops, propagator: Propagator, fields: Array, waves: Array, batch: PatternBatch
) -> tuple[Array, Array]:
    """The same, and how they change by small changes i times ``waves``."""
    change = propagator.forward(xp, waves, _moved_by(xp, batch))
    y, x, down, right = xp.real(fields), xp.imag(fields), xp.real(change), xp.imag(change)
    power = propagator.power(xp, xp.shape(fields)[-1])

    def of(products: Array) -> Array:
        total = 2.0 * xp.sum_modes(products)
        total = total if power is None else total * xp.astype(power, total)
        return spread_out(xp, total, batch)

    return of(y * down + x * right), of(x * down - y * right)


def spread_out(xp: Ops, pixels: Array, batch: PatternBatch) -> Array:
    """Real ``pixels`` (M, N, N) at the detector, in any order that is a cyclic shift of the usual
    one, convolved with its point spread; its own adjoint."""
    if isinstance(batch.transfer, tuple):
        return pixels
    n = xp.shape(pixels)[-1]
    return xp.irfft2(xp.scaled(xp.rfft2(pixels), batch.transfer), (n, n))


def backward(
    xp: Ops,
    propagator: Propagator,
    fields: Array,
    batch: PatternBatch,
    way: Passage | None = None,
) -> tuple[Array, Array]:
    """What fields mean for the sample, the adjoint of the slope of :func:`modelled` up to the power
    of D: waves (M, P, N, N) behind the first slice, D^-1 fields of a thin one, and
    sum_p conj(P_p) times waves behind each slice, (K M, N, N) with slice after slice. Only a thick
    sample needs the ``way`` through it."""
    waves = exits_of(xp, propagator, fields, batch)
    return into_slices(xp, waves, batch, way)


def exits_of(xp: Ops, propagator: Propagator, fields: Array, batch: PatternBatch) -> Array:
    """The exit waves (M, P, N, N) of fields at the detector, D^-1 fields."""
    return propagator.backward(xp, fields, _moved_by(xp, batch))


def into_slices(
    xp: Ops, waves: Array, batch: PatternBatch, way: Passage | None
) -> tuple[Array, Array]:
    """What exit waves (M, P, N, N) mean for the sample, as :func:`backward` says."""
    if way is None or not batch.between:
        return waves, xp.sum_modes(xp.conj(batch.probes) * waves)
    back = [xp.sum_modes(xp.conj(way.waves[-1]) * waves)]
    for k in range(len(batch.between) - 1, -1, -1):
        waves = xp.conj(way.patches[k + 1])[:, None] * waves
        waves = batch.between[k].back_across(xp, waves)
        back.append(xp.sum_modes(xp.conj(way.waves[k]) * waves))
    return waves, xp.concat(back[::-1])


def laid(xp: Ops, patches: Array, batch: PatternBatch, size: Any) -> Any:
    """Patches (K M, N, N) of the slices, slice after slice, laid on the ``size`` pixels of all of
    them (:meth:`ptychopinn.ops.base.Ops.spread`)."""
    places, count = batch.places, len(batch.between) + 1
    if count > 1:
        places = xp.concat([places + k * (size // count) for k in range(count)])
    return xp.spread(patches, places, size)


def light_of(xp: Ops, canvas: Array, batch: PatternBatch) -> Array:
    """Intensity (K M, N, N) of the waves of a batch that enter each slice of a ``canvas``."""
    if not batch.between:
        return xp.sum_modes(xp.abs2(batch.probes))
    waves = passage(xp, canvas, batch)[0].waves
    return xp.concat([xp.sum_modes(xp.abs2(wave)) for wave in waves])


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
    the probe: the spectra (M, P, N, N) of each moved back, as sums of them take one transform."""
    if isinstance(batch.path, tuple):
        return xp.fft2(waves) * ramp(xp, waves, -batch.fraction[:, None, :])
    m, every, n, _ = xp.shape(waves)
    count = xp.shape(batch.path)[1]
    apart = xp.reshape(waves, (m, every // count, count, n, n))
    back = ramp(xp, apart, -(batch.fraction[:, None, None, :] + batch.path[:, None]))
    return xp.scaled(xp.sum(xp.fft2(apart) * back, axis=2), _share(xp, batch.path))


def added_up(xp: Ops, each: Array) -> Array:
    """The sum (P, N, N) over the patterns of a batch of waves with the spectra (M, P, N, N)."""
    return xp.ifft2(xp.sum(each, axis=0))


def in_parts(xp: Ops, batch: PatternBatch, each: Array, light: Array) -> tuple[Array, ...]:
    """Sums (B, N, N) over the patterns of each part of the scan of the waves of spectra
    (M, 1, N, N) and of their weights (M, N, N); nothing where no effect looks at parts."""
    if isinstance(batch.parts, tuple):
        return ()
    m, n, _ = xp.shape(light)
    count, across = xp.shape(batch.parts)[1], xp.permute_dims(batch.parts, (1, 0))

    def summed(x: Array) -> Array:
        return xp.reshape(xp.matmul(across, xp.reshape(x, (m, n * n))), (count, n, n))

    return xp.ifft2(xp.complex(summed(xp.real(each)), summed(xp.imag(each)))), summed(light)


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
    """Expected intensities of a canvas (H, W), or (K, H, W) of slices, under ``probe`` (P, N, N),
    batch by batch.

    Yields which patterns, and (b, N, N) with the zero frequency at [N/2, N/2], in the precision of
    the canvas.
    """
    n, count = probe.shape[-1], len(positions_px)
    shape = (int(canvas.shape[-2]), int(canvas.shape[-1]))
    held, light = xp.asarray(canvas), xp.asarray(probe.astype(canvas.dtype))
    length = count if batch_length is None else batch_length
    like, there = np.zeros(0, canvas.dtype).real, placed(xp, propagator)
    for start in range(0, count, length):
        part = slice(start, min(start + length, count))
        positions = np.asarray(positions_px[part], np.float64)
        nothing = xp.asarray(np.zeros((len(positions), n, n), like.dtype))
        batch = pattern_batch(xp, nothing, positions, shape, origin_px, light)
        numbers = np.arange(part.start, part.stop)
        batch = applied(xp, effects, batch, numbers, propagator.inward)
        found = xp.call(_intensities, there, held, batch)
        yield part, propagator.outward(xp.to_numpy(found))


def _intensities(xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch) -> Array:
    return modelled(xp, propagator, canvas, batch)[2]


def intensities(
    canvas: NDArray[Any],
    probe: NDArray[Any],
    positions_px: NDArray[Any],
    origin_px: Any = (0, 0),
    propagator: Propagator = FAR_FIELD,
    effects: Sequence[Effect] = (),
) -> NDArray[np.float64]:
    """Expected counts (M, N, N) by NumPy in double precision (see :func:`predict`)."""
    from ptychopinn.ops.numpy import NumpyOps

    xp = NumpyOps()
    full = np.asarray(canvas, np.complex128)
    ((_, found),) = predict(xp, full, probe, positions_px, origin_px, propagator, effects=effects)
    return found


def vacuum_pattern(probe: NDArray[Any], propagator: Propagator = FAR_FIELD) -> NDArray[Any]:
    """Pattern (N, N) of the bare ``probe`` (P, N, N), zero frequency at [N/2, N/2]."""
    from ptychopinn.ops.numpy import NumpyOps

    n = probe.shape[-1]
    ones = np.ones((n, n), probe.dtype)
    middle = np.array([[n // 2, n // 2]], np.float64)
    ((_, found),) = predict(NumpyOps(), ones, probe, middle, (0, 0), propagator)
    return np.asarray(found[0])
