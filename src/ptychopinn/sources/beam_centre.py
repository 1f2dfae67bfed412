"""Where the zero frequency is on stored frames: stated, given, found, or the middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.corner import rolls
from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.sources.base import Source
from ptychopinn.sources.conditioning import Look
from ptychopinn.sources.cutting import find_centre
from ptychopinn.sources.recipe import Recipe, centre_of, crop_of

# How far the centre of mass may be from the taken centre, in pixels and of the frame.
MIDDLE = "the middle of the detector"
OFF_CENTRE, OFF_SHARE = 3.0, 0.05


def centre_of_frames(
    recipe: Recipe,
    source: Source,
    look: Look,
    bad: NDArray[np.bool_],
    dark: NDArray[np.float64] | None,
    size: tuple[int, int],
) -> tuple[tuple[float, float] | None, str]:
    """The zero frequency on the stored frames, and how it is known."""
    if recipe.centre is None:
        if source.centre is not None:
            return source.centre, "stated by the file"
        return None, MIDDLE
    given = centre_of(recipe.centre)
    if given is not None:
        return given, "given"
    mean = look.mean if dark is None else np.maximum(look.mean - dark, 0)
    return find_centre(np.maximum(mean, 0), ~bad), "the centre of mass of the patterns"


def rolls_of(recipe: Recipe, source: Source, mean: NDArray[np.float64]) -> tuple[int, int]:
    """By how many pixels (y, x) patterns are rolled whose zero frequency is in the corner."""
    stated = None if recipe.centre is None else centre_of(recipe.centre)
    cropped = None if recipe.crop is None else crop_of(recipe.crop)[1]
    if stated is not None or cropped is not None or source.centre is not None:
        return 0, 0
    # No single pixel decides.
    return rolls(np.minimum(mean, np.percentile(mean, 99.5)))


def rolled_finding(by: tuple[int, int]) -> Finding:
    message = (
        f"the patterns have their zero frequency {'in the corner' if all(by) else 'at the border'}:"
        f" rolled by {by[0]} and {by[1]} pixels (y, x), so that it is in the middle."
    )
    return Finding("patterns-in-corner", "mended", message, {"rolled": list(by)})


def doubt_middle(look: Look, bad: NDArray[np.bool_], size: tuple[int, int]) -> tuple[Finding, ...]:
    """What to say when the beam is not where it is taken to be."""
    try:
        y, x = find_centre(np.maximum(look.mean, 0), ~bad)
    except InputError:
        return ()
    away = float(np.hypot(y - size[0] // 2, x - size[1] // 2))
    if away <= max(OFF_CENTRE, OFF_SHARE * min(size)):
        return ()
    message = (
        f"the middle of the detector is taken as the centre, but the centre of mass of the "
        f"patterns, ({y:.1f}, {x:.1f}) (y, x), is {away:.1f} px away from it; centre=auto takes it."
    )
    return (Finding("beam-off-centre", "doubt", message, {"centre_yx": [y, x], "away_px": away}),)
