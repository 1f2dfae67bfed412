"""An object that is being found as a picture; what was never seen is blue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.contracts import Canvas
from ptychopinn.data.levels import Levels, phase_levels, seen_box

# What was never seen has a colour: no grey, which would be a value.
COLOUR = (176, 200, 230)


def grey_image(levels: Levels) -> Image.Image:
    """Levels (H, W) as an image with a palette."""
    return coloured_image(levels, np.repeat(np.arange(1, 256)[:, None], 3, axis=1))


def coloured_image(levels: Levels, colours: NDArray[np.integer]) -> Image.Image:
    """The same in other colours (255, 3) of the levels from 1, from 0 to 255."""
    image = Image.fromarray(levels)
    image.putpalette([*COLOUR, *(int(value) for value in colours.ravel())])
    return image


def phase_picture(canvas: Canvas, longest_px: int) -> Image.Image:
    """The phase of what was seen, its longer side at most so many pixels."""
    seen = canvas.weight > 0
    box = seen_box(seen, longest_px)
    return grey_image(phase_levels(canvas.object[(..., *box)], seen[box])[0])
