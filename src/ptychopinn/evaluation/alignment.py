"""Removing what ptychography cannot know, before a reconstruction is compared with the truth.

The patterns are unchanged by a complex scale of the object, and, when the probe is free too, by a
common shift and by a linear phase ramp. The result is therefore modelled as

    rec(u) = scale * exp(i ramp.(u - middle)) * truth(u - shift)

and scored after these have been undone; all of them are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.geometry import position_box

Complex = NDArray[np.complex128]
Box = tuple[slice, slice]

# Pixels around the box that are cut along, so that a sub-pixel shift has no edge inside the box.
MARGIN = 16
_MIN_SIDE = 8


@dataclass(frozen=True, eq=False)
class Aligned:
    """A reconstruction moved onto the truth, both cut to the box.

    Attributes
    ----------
    reconstruction, truth : (h, w) complex128
        The reconstruction with scale, ramp and shift undone, and the truth.
    seen : (h, w) bool
        False where the reconstruction holds nothing; such pixels are 0 in ``reconstruction``.
    scale : complex
        Mean factor of the reconstruction relative to the truth.
    ramp_rad_per_px : (float, float)
        Phase ramp (y, x) of the reconstruction relative to the truth.
    shift_px : (float, float)
        Displacement (y, x) of the reconstruction relative to the truth.
    """

    reconstruction: Complex
    truth: Complex
    seen: NDArray[np.bool_]
    scale: complex
    ramp_rad_per_px: tuple[float, float]
    shift_px: tuple[float, float]


def scan_box(positions_px: NDArray[np.float64]) -> Box:
    """The pixels (rows, columns) between the smallest and the largest scan position.

    Raises
    ------
    InputError
        When the box is smaller than 8 x 8 pixels.
    """
    low, high = position_box(positions_px)
    if (high - low < _MIN_SIDE).any():
        raise InputError(
            f"the scan positions must span at least {_MIN_SIDE} x {_MIN_SIDE} pixels, received "
            f"{' x '.join(str(max(v, 0)) for v in high - low)}; evaluate a larger scan."
        )
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def cut(
    array: NDArray[Any], box: Box, origin_px: tuple[int, int] = (0, 0), margin: int = 0
) -> NDArray[Any]:
    """``array`` inside the box (scan coordinates) grown by ``margin``; zero outside ``array``."""
    shape = [b.stop - b.start + 2 * margin for b in box]
    out = np.zeros(shape, dtype=array.dtype)
    source, target = [], []
    for b, origin, size, full in zip(box, origin_px, array.shape, shape, strict=True):
        start = b.start - margin - int(origin)
        first, last = max(start, 0), min(start + full, size)
        if last <= first:
            return out
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    out[tuple(target)] = array[tuple(source)]
    return out


def estimate_ramp(reconstruction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Phase ramp (y, x) in rad/px of the reconstruction relative to the truth, of any size.

    The peak of the spectrum of conj(truth)*rec, first on the grid of the FFT, then by evaluating
    the Fourier sum around it 16 times finer.
    """
    import scipy.fft

    product = np.conj(truth) * reconstruction
    h, w = product.shape
    product = product * np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[None, 1:-1]
    power = np.abs(scipy.fft.fft2(product))
    ky, kx = (int(k) for k in np.unravel_index(np.argmax(power), power.shape))
    fine = np.arange(-16, 17) / 16
    frequency_y = (scipy.fft.fftfreq(h)[ky] + fine / h)[:, None]
    frequency_x = (scipy.fft.fftfreq(w)[kx] + fine / w)[:, None]
    left = np.exp(-2j * np.pi * frequency_y * np.arange(h))
    right = np.exp(-2j * np.pi * frequency_x * np.arange(w))
    local = np.abs(left @ product @ right.T)
    iy, ix = np.unravel_index(np.argmax(local), local.shape)
    return 2 * np.pi * np.array([frequency_y[iy, 0], frequency_x[ix, 0]])


def estimate_shift(reconstruction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Displacement (y, x) of the reconstruction relative to the truth, to 1/20 px.

    Phase ramps must be gone already: they would wipe out the correlation.
    """
    from skimage.registration import phase_cross_correlation

    h, w = truth.shape
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[None, 1:-1]
    # Without their mean and faded at the border, the fields correlate by what is in them and not by
    # the box they are cut from.
    first, second = ((field - field.mean()) * window for field in (truth, reconstruction))
    if not (np.any(first) and np.any(second)):
        return np.zeros(2)
    back, _, _ = phase_cross_correlation(first, second, upsample_factor=20, normalization=None)
    return -np.asarray(back, dtype=np.float64)


def align(
    reconstruction: NDArray[Any],
    weight: NDArray[Any],
    origin_px: Any,
    truth: NDArray[Any],
    box: Box,
    *,
    register: bool = True,
) -> Aligned:
    """Move a reconstruction onto the truth by scale, phase ramp and (``register``) sub-pixel shift.

    Parameters
    ----------
    reconstruction : (H, W) complex
        Canvas whose pixel [0, 0] is at scan position ``origin_px``.
    weight : (H, W) float
        0 where the canvas was never seen.
    truth : (H', W') complex
        The true object; scan positions index it.
    box : pair of slices
        The region that is compared, in scan coordinates (:func:`scan_box`).

    Returns
    -------
    Aligned

    Notes
    -----
    Ramp and shift are first estimated from the peaks of two Fourier transforms, so that they may be
    large (many turns of phase, many pixels), then scale, ramp and shift together are refined by
    damped Gauss-Newton steps on ``sum(abs(truth - aligned)^2)`` over the box. A shift is only
    applied where it makes this sum smaller.

    Raises
    ------
    InputError
        When the box leaves the truth, or the reconstruction is empty inside it.
    """
    for b, size in zip(box, truth.shape, strict=True):
        if b.start < 0 or b.stop > size:
            raise InputError(
                f"the truth of shape {truth.shape} must hold the whole box of scan positions, "
                f"received rows {box[0].start}..{box[0].stop - 1} and columns {box[1].start}.."
                f"{box[1].stop - 1}; give the truth that belongs to this scan."
            )
    origin = np.asarray(origin_px, dtype=int)
    goal = np.asarray(cut(truth, box), dtype=np.complex128)

    def work(moved: NDArray[np.int64]) -> tuple[Complex, NDArray[np.bool_]]:
        """Box plus margin of the reconstruction, read ``moved`` pixels further down and right."""
        at = (int(origin[0] - moved[0]), int(origin[1] - moved[1]))
        lit = cut(weight > 0, box, at, MARGIN)
        values = cut(reconstruction, box, at, MARGIN).astype(np.complex128)
        return np.where(lit, values, 0), lit

    whole = np.zeros(2, dtype=np.int64)
    field, lit = work(whole)
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    if not np.any(field[inner]):
        raise InputError(
            "the reconstruction must hold something inside the box of scan positions, received "
            "zeros only; check that result and truth belong to the same scan."
        )
    y, x = (np.arange(n) - (n - 1) / 2 for n in goal.shape)
    ramp, shift = estimate_ramp(field[inner], goal), np.zeros(2)
    if register:
        # A shift moves the ramp's estimate and a ramp hides the shift: take turns.
        for _ in range(3):
            flat = field[inner] * np.exp(-1j * (ramp[0] * y[:, None] + ramp[1] * x[None, :]))
            found = estimate_shift(flat, goal)
            shift = whole + found
            step = np.round(shift).astype(np.int64)
            if (step == whole).all():
                break
            if (np.abs(step) > np.array(goal.shape) // 4).any():
                # Beyond that the two hardly overlap: the peak is not a match.
                shift, whole = np.zeros(2), np.zeros(2, dtype=np.int64)
                field, lit = work(whole)
                break
            whole = step
            field, lit = work(whole)
            ramp = estimate_ramp(field[inner], goal)
    candidates = [(whole, shift - whole)]
    if register and np.any(whole):
        candidates.append((np.zeros(2, dtype=np.int64), np.zeros(2)))
    best: tuple[float, Aligned] | None = None
    for start, rest in candidates:
        field, lit = work(start)
        if not np.any(field[inner]):
            continue
        error, aligned = _refine(
            field, lit, goal, estimate_ramp(field[inner], goal), rest, start, register
        )
        if best is None or error < best[0]:
            best = error, aligned
    assert best is not None
    return best[1]


def _refine(
    field: Complex,
    lit: NDArray[np.bool_],
    goal: Complex,
    ramp: NDArray[np.float64],
    rest: NDArray[np.float64],
    whole: NDArray[np.int64],
    register: bool,
) -> tuple[float, Aligned]:
    """Least squares for scale, ramp and shift: the squared error and the aligned pair.

    The model of the truth is m(u) = exp(g + i(a y + b x)) * field(u + rest) with g complex, so six
    real parameters.
    """
    import scipy.fft

    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    seen = lit[inner]
    y, x = (np.arange(n) - (n - 1) / 2 for n in goal.shape)
    smooth = _faded(field, lit)
    spectrum = scipy.fft.fft2(smooth)
    fy = 2j * np.pi * scipy.fft.fftfreq(field.shape[0])[:, None]
    fx = 2j * np.pi * scipy.fft.fftfreq(field.shape[1])[None, :]

    def moved(by: NDArray[np.float64]) -> Complex:
        if not np.any(by):
            return np.asarray(field[inner])
        return np.asarray(scipy.fft.ifft2(spectrum * np.exp(fy * by[0] + fx * by[1]))[inner])

    def turned(by: NDArray[np.float64], tilt: NDArray[np.float64]) -> Complex:
        turn = np.exp(1j * tilt[0] * y)[:, None] * np.exp(1j * tilt[1] * x)[None, :]
        return np.asarray(np.where(seen, moved(by) * turn, 0))

    def fit(model: Complex) -> tuple[complex, float]:
        """The best complex factor of the model, and the squared error that it leaves."""
        factor = np.vdot(model, goal) / np.vdot(model, model).real
        return complex(factor), float((np.abs(goal - factor * model) ** 2).sum())

    tilt = -ramp
    model = turned(rest, tilt)
    factor, error = fit(model)
    unmoved = turned(np.zeros(2), tilt)
    if fit(unmoved)[1] <= error:
        rest, model = np.zeros(2), unmoved
        factor, error = fit(model)
    for _ in range(25):
        current = factor * model
        columns = [current, 1j * current, 1j * y[:, None] * current, 1j * x[None, :] * current]
        if register:
            shifted = spectrum * np.exp(fy * rest[0] + fx * rest[1])
            turn = factor * np.exp(1j * tilt[0] * y)[:, None] * np.exp(1j * tilt[1] * x)[None, :]
            columns += [
                np.where(seen, scipy.fft.ifft2(shifted * f)[inner] * turn, 0) for f in (fy, fx)
            ]
        jacobian = np.stack([np.broadcast_to(c, goal.shape)[seen] for c in columns])
        missing = (goal - current)[seen]
        normal = (jacobian.conj() @ jacobian.T).real
        gradient = (jacobian.conj() @ missing).real
        # The smallest-norm solution: for a flat picture a shift changes nothing and stays as it is.
        step = np.linalg.lstsq(normal, gradient, rcond=1e-10)[0]
        tilt_step, rest_step = step[2:4], step[4:] if register else np.zeros(2)
        rest_step = np.clip(rest_step, -1, 1)
        for damping in (1.0, 0.5, 0.25, 0.125):
            new_tilt, new_rest = tilt + damping * tilt_step, rest + damping * rest_step
            new_model = turned(new_rest, new_tilt)
            new_factor, new_error = fit(new_model)
            if new_error < error:
                break
        else:
            break
        done = new_error > error * (1 - 1e-7)
        tilt, rest, model, factor, error = new_tilt, new_rest, new_model, new_factor, new_error
        if done:
            break
    dy, dx = (float(v) for v in whole + rest)
    aligned = Aligned(
        reconstruction=factor * model,
        truth=goal,
        seen=seen,
        scale=1 / factor if factor else 0j,
        ramp_rad_per_px=(float(-tilt[0]), float(-tilt[1])),
        shift_px=(dy, dx),
    )
    return error, aligned


def _faded(field: Complex, lit: NDArray[np.bool_]) -> Complex:
    """Fade unseen pixels and the margin to the mean: a Fourier shift then meets no edge."""
    mean = field[lit].mean()
    filled = np.where(lit, field, mean)
    up = 0.5 - 0.5 * np.cos(np.pi * (np.arange(MARGIN) + 0.5) / MARGIN)
    h, w = field.shape
    fade_y = np.concatenate([up, np.ones(h - 2 * MARGIN), up[::-1]])
    fade_x = np.concatenate([up, np.ones(w - 2 * MARGIN), up[::-1]])
    return np.asarray(mean + (filled - mean) * fade_y[:, None] * fade_x[None, :])
