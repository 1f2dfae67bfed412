"""Small pictures as levels of one byte, for whoever draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Level of what was never seen.
UNSEEN = 0
# Limits of a phase follow what is found when they differ by more than this share of their span.
TOLERATED = 0.05
# Every so many-th pixel tells the limits, so that about this many do.
TELLING = 1 << 14
# Pixels that are worked on together: as many as a core has near it.
TOGETHER = 1 << 16

Limits = tuple[float, float]
Levels = NDArray[np.uint8]


def seen_box(seen: NDArray[np.bool_], longest: int) -> tuple[slice, slice]:
    """The box around what was seen (H, W), every second pixel, or third, where its longer side has
    more than ``longest``; of one pixel, where nothing was."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return slice(0, 1), slice(0, 1)
    high = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    every = -(-high // longest)
    return slice(rows[0], rows[-1] + 1, every), slice(columns[0], columns[-1] + 1, every)


def phase_levels(
    obj: NDArray[np.complex64], seen: NDArray[np.bool_], before: Limits | None = None
) -> tuple[Levels, Limits]:
    """The phase of what was seen (H, W) as 1 to 255, of a thick sample (K, H, W) that of all slices
    together, about its mean; and its limits, which most of it keeps.

    The limits of the picture ``before`` are kept where they do: a picture that hardly changes is
    then the same.
    """
    whole = obj if obj.ndim == 2 else obj.prod(axis=0)
    every = max(1, int(np.sqrt(seen.size / TELLING)))
    some = (slice(every // 2, None, every),) * 2 if every > 1 else (slice(None),) * 2
    known = seen[some]
    if not known.any():
        some, known = (slice(None), slice(None)), seen
    if not known.any():
        return np.full(seen.shape, UNSEEN, dtype=np.uint8), (-1.0, 1.0)
    told = whole[some][known]
    # The mean phase has no meaning; without it the phase rarely wraps.
    turn = np.conj(told.sum(dtype=np.complex128))
    turn = np.complex64(turn / abs(turn) if turn else 1.0)
    low, high = (float(v) for v in np.percentile(np.angle(told * turn), (0.5, 99.5)))
    high = max(high, low + 1e-3)
    if before is not None:
        room = TOLERATED * (before[1] - before[0])
        if abs(low - before[0]) <= room and abs(high - before[1]) <= room:
            low, high = before
    levels = np.empty(seen.shape, dtype=np.uint8)
    factor, first = np.float32(254 / (high - low)), np.float32(1 - 254 * low / (high - low))
    rows = max(1, TOGETHER // seen.shape[1])
    for at in range(0, len(levels), rows):
        block = slice(at, at + rows)
        phase = np.angle(whole[block] * turn)
        phase *= factor
        phase += first
        np.clip(phase, 1, 255, out=phase)
        np.multiply(phase, seen[block], out=phase)
        levels[block] = phase
    return levels, (low, high)


def value_levels(values: NDArray[np.floating], seen: NDArray[np.bool_]) -> Levels:
    """Values (H, W) of what was seen as 1 to 255, in the limits of most of it."""
    low, high = np.percentile(values[seen], (0.5, 99.5)) if seen.any() else (-1.0, 1.0)
    levels = 1 + 254 * np.clip((values - low) / max(high - low, 1e-3), 0, 1)
    return np.where(seen, levels, UNSEEN).astype(np.uint8)


def probe_levels(mode: NDArray[Any], longest: int = 128) -> Levels:
    """Amplitude and phase (2, n, n) of a mode (N, N) of a probe as 0 to 255, averaged over blocks
    of pixels to ``longest`` at most; the phase of a whole turn."""
    block = -(-mode.shape[-1] // longest)
    side = mode.shape[-1] // block
    part = mode[: side * block, : side * block].reshape(side, block, side, block)
    small = part.mean(axis=(1, 3))
    small = small * np.exp(-1j * np.angle((small * np.abs(small)).sum()))
    high = float(np.abs(small).max()) or 1.0
    turns = np.mod(np.angle(small) / 2 / np.pi, 1)
    return np.stack((np.abs(small) / high * 255, turns * 255)).round().astype(np.uint8)


def summed(frames: NDArray[Any], block: int) -> NDArray[Any]:
    """Sums over blocks of pixels of patterns (K, N, N); a rim that fills no block is left out."""
    if block == 1:
        return frames
    count, n = frames.shape[:2]
    # Around the zero frequency at [N/2, N/2], which begins a block.
    side = n // block // 2 * 2
    first = n // 2 - side // 2 * block
    part = frames[:, first : first + side * block, first : first + side * block]
    return part.reshape(count, side, block, side, block).sum(axis=(2, 4))


def pattern_levels(pairs: NDArray[Any], longest: int = 128) -> Levels:
    """Photons (K, 2, N, N) as 0 to 255 by their logarithm, each pair by its brightest pixel."""
    count, two, n, _ = pairs.shape
    small = summed(pairs.reshape(-1, n, n), -(-n // longest))
    logs = np.log1p(np.maximum(small, 0)).reshape(count, two, *small.shape[1:])
    high = np.maximum(logs.max(axis=(1, 2, 3), keepdims=True), 1e-6)
    return (logs / high * 255).round().astype(np.uint8)
