"""An object that is being found as a picture in grey; what was never seen is blue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas

# Pixels of the longer side.
LONGEST_PX = 1024
# Level of what was never seen, and its colour: no grey, which would be a value.
UNSEEN, COLOUR = 0, (176, 200, 230)


def phase_picture(canvas: Canvas, longest_px: int = LONGEST_PX) -> Image.Image:
    """The phase as an image with a palette, its longer side at most so many pixels."""
    return _image(phase_levels(canvas, longest_px))


def amplitude_picture(canvas: Canvas, longest_px: int = LONGEST_PX) -> Image.Image:
    """The same of the amplitude."""
    part, seen = _seen(canvas, longest_px)
    return _image(_levels(np.abs(part), seen))


def phase_levels(canvas: Canvas, longest_px: int = LONGEST_PX) -> NDArray[np.uint8]:
    """The phase of what was seen as 1 to 255, in the limits of most of it; of a thick sample that
    of all slices together. Every second pixel, or third, where it is large."""
    part, seen = _seen(canvas, longest_px)
    # The mean phase has no meaning; without it the phase rarely wraps.
    return _levels(np.angle(part * np.conj(part[seen].sum())), seen)


def _seen(canvas: Canvas, longest_px: int) -> tuple[NDArray[np.complexfloating], NDArray[np.bool_]]:
    """The box of what was seen of the object (h, w), and what was; one pixel where nothing was."""
    seen = canvas.weight > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return np.ones((1, 1), np.complex64), np.zeros((1, 1), bool)
    longest = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    every = -(-longest // longest_px)
    box = (slice(rows[0], rows[-1] + 1, every), slice(columns[0], columns[-1] + 1, every))
    seen, part = seen[box], canvas.object[(..., *box)]
    return part.reshape(-1, *seen.shape).prod(axis=0), seen


def _levels(values: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    low, high = np.percentile(values[seen], (0.5, 99.5)) if seen.any() else (-1.0, 1.0)
    levels = 1 + 254 * np.clip((values - low) / max(high - low, 1e-3), 0, 1)
    return np.where(seen, levels, UNSEEN).astype(np.uint8)


def _image(levels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(levels)
    image.putpalette([*COLOUR, *(level for level in range(1, 256) for _ in range(3))])
    return image
