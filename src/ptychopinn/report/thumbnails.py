"""Small pictures without axes, for tables of many results."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.report.colours import UNSEEN, phases
from ptychopinn.report.pictures import scanned, view

LONGEST_PX = 128


def phase_thumbnail(result: Reconstruction) -> bytes:
    """A PNG of the phase around the scanned box, its longer side ``LONGEST_PX`` pixels, in the
    colours of the large picture."""
    picture, extent = view(result)
    phase = phases(picture, scanned(result, extent))
    return thumbnail((phase.values - phase.low) / (phase.high - phase.low), phase.colours)


def thumbnail(levels: NDArray[Any], colours: str) -> bytes:
    """A PNG of levels (h, w) from 0 to 1, NaN or masked where nothing is known, in a colour map."""
    shown_in = colormaps[colours].with_extremes(bad=UNSEEN)
    pixels = shown_in(np.ma.masked_invalid(levels), bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = LONGEST_PX / max(image.size)
    width, height = (max(1, round(factor * side)) for side in image.size)
    shown = image.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    shown.save(file, "PNG", optimize=True)
    return file.getvalue()
