"""The detector: photon counting, background, dead pixels and the beam stop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

BATCH = 64


def detector_mask(
    n: int, dead_pixels: float, beam_stop_px: float, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Good pixels (N, N), or None when all are good.

    ``dead_pixels`` is a fraction when below 1, else a number. The beam stop covers the pixels
    closer than ``beam_stop_px`` to the zero frequency.

    Raises
    ------
    InputError
        When no pixel would be left.
    """
    dead = round(dead_pixels * n * n) if dead_pixels < 1 else int(dead_pixels)
    if dead == 0 and beam_stop_px == 0:
        return None
    if dead < n * n:
        good = np.ones(n * n, dtype=bool)
        good[rng.choice(n * n, size=dead, replace=False)] = False
        q = np.arange(n) - n // 2
        mask = good.reshape(n, n) & (np.hypot(q[:, None], q[None, :]) >= beam_stop_px)
        if mask.any():
            return mask
    raise InputError(
        f"the detector of {n} x {n} pixels must keep a good pixel, received {dead} dead pixels and "
        f"a beam stop of radius {beam_stop_px:g}; lower them."
    )


def measure(
    expected: NDArray[np.float32],
    scale: float,
    background: float,
    mask: NDArray[np.bool_] | None,
    rng: np.random.Generator | None,
) -> NDArray[Any]:
    """Counts (M, N, N) for the mean ``scale * expected + background``; 0 outside ``mask``.

    Poisson counts as uint16, or uint32 where needed; without ``rng`` the mean itself, float32.

    Raises
    ------
    InputError
        When a pixel would count more than 32 bits can hold.
    """
    good = np.ones(expected.shape[1:], dtype=bool) if mask is None else mask
    if rng is None:
        mean: NDArray[np.float32] = (scale * expected.astype(np.float64) + background).astype(
            np.float32
        )
        mean[:, ~good] = 0
        return mean
    limit = np.iinfo(np.uint32).max
    brightest = float(expected.max()) * scale + background
    if brightest + 10 * np.sqrt(brightest) > limit:
        raise InputError(
            f"a pixel must count less than {limit} photons, received a mean of {brightest:.3g} at "
            "the brightest; lower photons or background, or raise N."
        )
    counts = np.empty(expected.shape, dtype=np.uint32)
    for start in range(0, len(expected), BATCH):
        part = slice(start, start + BATCH)
        # Drawn for every pixel, so that the mask does not change the noise elsewhere.
        counts[part] = rng.poisson(scale * expected[part].astype(np.float64) + background)
    counts[:, ~good] = 0
    return counts.astype(np.uint16) if counts.max() <= np.iinfo(np.uint16).max else counts
