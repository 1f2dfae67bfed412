"""The affine part of wrong scan axes, from the misfit.

Positions r_j that are wrong by an affine map are mended by r_j -> c + (1 + E)(r_j - c), c their
mean and E a 2 x 2 matrix. With chi_j the change of the exit wave that its pattern asks for, E and
a change d of the object together minimise

    sum_j sum_u |chi_j - P_j (d + grad O . E r_j)|^2.

For a given E the best d is known at every pixel u, with L = sum_j |P_j|^2:

    d = sum_j conj(P_j) chi_j / L - grad O . E <r>,      <f>(u) = sum_j |P_j(u)|^2 f_j / L(u),

so the object moves along with the patterns that see it, and a global shift has no effect. What is
left are 4 equations for the 4 numbers of E, in which a pattern counts by its distance from the
others that see the same pixel, and not by its distance from the middle of the scan:

    sum_u Re(conj(d_a O) d_c O) L (<r_b r_d> - <r_b><r_d>)  E_cd
        = Re sum_u conj(d_a O) sum_j conj(P_j) chi_j (r_jb - <r_b>).

They are the Gauss-Newton equations of the misfit as a function of E alone, the object being found
anew for each (variable projection; Golub and Pereyra, Inverse Problems 19, R1, 2003), for the exit
waves in place of the moduli.

The modulus projection is no good chi here: the mean of the square root of a Poisson number lies
below the root of the mean, and an object that follows it fits best on axes that are too long, by
0.3 per cent at 25 photons per pixel. The slope of the Poisson likelihood has no such error,

    chi = D^-1 (x^2 - 1)/2 Psi,      x^2 = (I + p) / (I_hat + p),

p being a photon. It is x - 1 near x = 1, and at most twice that is taken, so that a single bright
pixel counts as in the modulus projection.

Where the sample is thick, E moves all its K slices: their equations are added up, each with the
waves that enter it, what is asked of them, and 1/K of the way, because all slices answer to the
whole of what the patterns ask for.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import (
    PatternBatch,
    backward,
    laid,
    missing,
    modelled,
    spread_out,
)
from ptychopinn.physics.propagators import Propagator
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.problem import DARK

# Added to the diagonal of the equations, relative to their trace: what the data do not tell stays.
STIFFNESS = 1e-3
# Pixels with less light than this share of the largest are left out: they are hardly seen.
DIM = 0.01
# The largest factor of x - 1.
STEEPEST = 2.0
# Largest change of an element of E in one step.
LARGEST_STEP = 0.05
# The equations are not believed where noise makes this share of the slopes of the object.
NOISY = 0.3
# E is taken for zero unless it lowers the misfit by so many times the noise of a degree of freedom,
# and is shortened in between (James and Stein): exact axes stay exact.
SIGNIFICANT = 40.0


def poisson_change(
    xp: Ops, propagator: Propagator, canvas: Array, batch: PatternBatch, good: Array, photon: Any
) -> tuple[Array, Array]:
    """sum_p conj(P_p) chi_p (K M, N, N) of each slice, chi being the slope of the Poisson
    likelihood, and intensities (K M, N, N) of the waves that enter it; ``photon`` is the intensity
    of one."""
    way, fields, model = modelled(xp, propagator, canvas, batch)
    amplitude = xp.sqrt(model + photon)
    measured = xp.sqrt(xp.square(batch.amplitudes) + photon)
    change = missing(xp, batch, measured, amplitude, good) / amplitude
    # min(f, STEEPEST) is -max(-f, -STEEPEST).
    steep = -xp.maximum(-(1 + 0.5 * change), -STEEPEST)
    asked = spread_out(xp, change * steep, batch)
    back = backward(xp, propagator, xp.scaled(fields, asked[:, None]), batch, way)[1]
    return back, xp.concat([xp.sum_modes(xp.abs2(wave)) for wave in way.waves])


def distance_moments(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    photon: Any,
    pixels: Array,
    size: Any,
) -> tuple[Any, ...]:
    """What a batch contributes to sums on the canvas of ``size`` pixels; ``pixels`` (N,) are those
    of a patch along an axis, 0 being its position.

    With s = r_j - u, in pixels: |P|^2 times 1, s_y, s_x, s_y^2, s_y s_x, s_x^2, then conj(P) chi
    times 1, s_y, s_x.
    """
    back, light = poisson_change(xp, propagator, canvas, batch, good, photon)
    fraction = xp.concat([batch.fraction] * (len(batch.between) + 1))
    s_y = (fraction[:, :1] - pixels[None])[:, :, None]
    s_x = (fraction[:, 1:] - pixels[None])[:, None, :]
    parts = [light, light * s_y, light * s_x]
    parts += [parts[1] * s_y, parts[1] * s_x, parts[2] * s_x]
    parts += [back, xp.scaled(back, s_y), xp.scaled(back, s_x)]
    return tuple(laid(xp, part, batch, size) for part in parts)


def affine_equations(xp: Ops, canvas: Array, *sums: Array) -> tuple[Array, Array, Array]:
    """Matrix (4, 4) and right side (4,) for E_yy, E_yx, E_xy, E_xx from the sums of all batches,
    each (H, W), or (K, H, W) of slices; see :func:`distance_moments`. Then the trace of the matrix
    for slopes of white noise of variance 1 in the exit waves."""
    light, l_y, l_x, l_yy, l_yx, l_xx, back, b_y, b_x = sums
    lit = light > DIM * xp.max(light)
    none, ones = xp.zeros_like(light), xp.ones_like(light)
    weight = xp.where(lit, ones / xp.where(lit, light, ones), none)
    means = [l_y * weight, l_x * weight]
    kept = xp.where(lit, ones, none)
    yx = kept * (l_yx - l_y * means[1])
    spread = [[kept * (l_yy - l_y * means[0]), yx], [yx, kept * (l_xx - l_x * means[1])]]
    slopes = [
        xp.scaled(xp.roll(canvas, -1, axis) - xp.roll(canvas, 1, axis), 0.5 * kept)
        for axis in (-2, -1)
    ]
    moved = [b - xp.scaled(back, m) for m, b in zip(means, (b_y, b_x), strict=True)]

    def product(a: Array, b: Array) -> Array:
        return xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b)

    pairs = [(a, b) for a in (0, 1) for b in (0, 1)]
    right = [xp.sum(product(slopes[a], moved[b])) for a, b in pairs]
    energies = [[product(a, b) for b in slopes] for a in slopes]
    rows = [xp.sum(energies[a][c] * spread[b][d]) for a, b in pairs for c, d in pairs]
    # The central difference of white noise has half its variance, which is 1 / light; a = y, x.
    noise = xp.sum(weight * (spread[0][0] + spread[1][1]))
    return xp.reshape(xp.stack(rows), (4, 4)), xp.stack(right), noise


class Equations(NamedTuple):
    """The equations for E of a state: ``matrix`` (4, 4), ``right`` (4,), and ``noise``, the trace
    that noise of variance 1 gives the matrix."""

    matrix: NDArray[np.float64]
    right: NDArray[np.float64]
    noise: float


def equations_of(state: Descent) -> Equations:
    """The equations for E from all patterns of a state."""
    xp, problem = state.xp, state.problem
    photon = (2 * problem.noise) ** 2 + DARK
    n = xp.shape(problem.good)[-1]
    pixels = xp.asarray((np.arange(n) - n // 2).astype(np.float32))

    def work(batch: PatternBatch) -> Any:
        given = (problem.good, photon, pixels, state.size)
        return xp.call(distance_moments, problem.propagator, state.canvas, batch, *given)

    sums: list[Any] = [None] * 9
    found = (state.batches(work, subset) for subset in range(len(problem.subsets)))
    for _, _, parts in chain.from_iterable(found):
        sums = [xp.plus(a, b) for a, b in zip(sums, parts, strict=True)]
    shaped = [xp.reshape(total, state.shape) for total in xp.totals(sums)]
    matrix, right, noise = xp.call(affine_equations, state.canvas, *shaped)
    return Equations(
        np.asarray(xp.to_numpy(matrix), np.float64),
        np.asarray(xp.to_numpy(right), np.float64) / state.slices,
        float(xp.to_numpy(noise)),
    )


def likeliest_step(equations: Equations, variance: float) -> NDArray[np.float64] | None:
    """Half of the change of E (4,) that the data ask for; None where noise outweighs the slopes of
    the object.

    They are those of waves, whose phases are not measured: twice as stiff as the data, so that a
    whole step of theirs is half of the way and does not overshoot. ``variance`` is that of the
    moduli in the patterns.
    """
    matrix, right, noise = equations
    trace = float(np.trace(matrix))
    if not trace > 0 or noise * variance > NOISY * trace:
        return None
    step = np.linalg.solve(matrix + STIFFNESS * trace * np.eye(4), right)
    return np.clip(step, -LARGEST_STEP, LARGEST_STEP)


def affine_step(
    equations: Equations, total: NDArray[np.float64], variance: float
) -> NDArray[np.float64]:
    """The map B (2, 2) that leads from the present map ``total`` (2, 2) of the given positions to
    the next one, B @ total.

    ``variance`` is that of the moduli in the patterns. A total that does not differ from 1 by more
    than its noise goes back to 1.
    """
    step = likeliest_step(equations, variance)
    if step is None:
        return np.eye(2)
    present = (total - np.eye(2)).ravel()
    likeliest = present + 2 * step
    gain = float(likeliest @ equations.matrix @ likeliest) / (2 * variance)
    kept = max(0.0, 1 - SIGNIFICANT / max(gain, 1e-30))
    following = np.eye(2) + (kept * (present + step)).reshape(2, 2)
    return np.asarray(following @ np.linalg.inv(total), np.float64)


def warped(
    field: NDArray[np.complex64],
    origin_px: NDArray[np.int64],
    shape: tuple[int, int],
    new_origin_px: NDArray[np.int64],
    step: NDArray[np.float64],
    centre_px: NDArray[np.float64],
    outside: float,
) -> NDArray[np.complex64]:
    """A canvas ``field`` (H, W), or each of slices (K, H, W), moved by r -> c + B (r - c), B =
    ``step`` (2, 2), onto a canvas of another ``shape`` and origin, by cubic splines; ``outside`` of
    the first one."""
    from scipy.ndimage import affine_transform

    if field.ndim > 2:
        where = (origin_px, shape, new_origin_px, step, centre_px, outside)
        return np.stack([warped(one, *where) for one in field])
    inverse = np.linalg.inv(step)
    offset = centre_px - origin_px - inverse @ (centre_px - new_origin_px)

    def moved(part: NDArray[Any], beyond: float) -> NDArray[Any]:
        found: NDArray[Any] = affine_transform(
            part, inverse, offset, shape, order=3, mode="constant", cval=beyond
        )
        return found

    parts = moved(field.real, outside), moved(field.imag, 0.0)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)
