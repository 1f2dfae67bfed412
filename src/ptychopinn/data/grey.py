"""An object that is being found as a picture; what was never seen is blue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas
from ptychopinn.data.levels import Levels, phase_levels, seen_box, value_levels

# What was never seen has a colour: no grey, which would be a value.
COLOUR = (176, 200, 230)
# The colours of amplitudes, viridis as matplotlib has it, at as many levels from the darkest to the
# brightest; in between they change evenly. matplotlib itself is imported where figures are drawn.
AMPLITUDES = (
    (68, 1, 84), (71, 24, 106), (71, 44, 123), (66, 64, 133), (58, 82, 139), (50, 98, 141),
    (44, 114, 142), (38, 129, 142), (32, 144, 140), (30, 159, 136), (40, 174, 127), (62, 188, 115),
    (94, 201, 97), (131, 211, 75), (173, 220, 48), (215, 226, 25), (253, 231, 36),
)  # fmt: skip


def grey_image(levels: Levels) -> Image.Image:
    """Levels (H, W) as an image with a palette."""
    return _coloured(levels, np.repeat(np.arange(1, 256)[:, None], 3, axis=1))


def amplitude_image(levels: Levels) -> Image.Image:
    """The same in the colours of amplitudes."""
    at = np.linspace(0, len(AMPLITUDES) - 1, 255)
    known = np.array(AMPLITUDES).T
    channels = [np.interp(at, np.arange(len(AMPLITUDES)), values) for values in known]
    return _coloured(levels, np.stack(channels, axis=1).round().astype(int))


def phase_picture(canvas: Canvas, longest_px: int) -> Image.Image:
    """The phase of what was seen, its longer side at most so many pixels."""
    seen = canvas.weight > 0
    box = seen_box(seen, longest_px)
    return grey_image(phase_levels(canvas.object[(..., *box)], seen[box])[0])


def amplitude_picture(canvas: Canvas, longest_px: int) -> Image.Image:
    """The same of the amplitude; of a thick sample that of all slices together."""
    seen = canvas.weight > 0
    box = seen_box(seen, longest_px)
    part = canvas.object[(..., *box)]
    whole = part.reshape(-1, *part.shape[-2:]).prod(axis=0)
    return amplitude_image(value_levels(np.abs(whole), seen[box]))


def _coloured(levels: Levels, colours: NDArray[np.integer]) -> Image.Image:
    """The levels from 1 in these colours (255, 3)."""
    image = Image.fromarray(levels)
    image.putpalette([*COLOUR, *(int(value) for value in colours.ravel())])
    return image
