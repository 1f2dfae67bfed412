"""An object that is being found as a picture in grey; what was never seen is blue."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ptychopinn.contracts import Canvas
from ptychopinn.data.levels import Levels, phase_levels, seen_box, value_levels

# What was never seen has a colour: no grey, which would be a value.
COLOUR = (176, 200, 230)


def grey_image(levels: Levels) -> Image.Image:
    """Levels (H, W) as an image with a palette."""
    image = Image.fromarray(levels)
    image.putpalette([*COLOUR, *(level for level in range(1, 256) for _ in range(3))])
    return image


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
    return grey_image(value_levels(np.abs(whole), seen[box]))
