"""Small pictures without axes, for tables of many results."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.report.drawing import UNSEEN, phase_colours, without_mean_phase
from ptychopinn.report.pictures import view

LONGEST_PX = 128


def phase_thumbnail(result: Reconstruction) -> bytes:
    """A PNG of the phase around the scanned box, its longer side ``LONGEST_PX`` pixels, in the
    colours of the large picture."""
    picture, _ = view(result)
    phase = np.ma.masked_invalid(np.angle(without_mean_phase(picture)))
    colours, bound = phase_colours(phase)
    colours = colours.with_extremes(bad=UNSEEN)
    pixels = colours((phase + bound) / (2 * bound), bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = LONGEST_PX / max(image.size)
    width, height = (max(1, round(factor * side)) for side in image.size)
    shown = image.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    shown.save(file, "PNG", optimize=True)
    return file.getvalue()
