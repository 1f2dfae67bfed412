"""Which colours a picture has and between which limits: one answer for figures, thumbnails, tables
of results and the page of a result.

Amplitudes and phases are drawn in maps whose lightness rises evenly, so that nothing is seen that
is not there. The map of phases is that of a circle only where they wrap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = np.ma.MaskedArray[Any, Any]

AMPLITUDE, PHASE, CIRCLE = "viridis", "gray", "twilight"
DOUBT, COUNTS, DIFFERENCE = "magma", "inferno", "RdBu_r"
# Pixels that nothing is known of: no colour of the maps.
UNSEEN = "#c6d3e3"

# Percent of the scanned pixels that may lie outside the limits, at each end.
TAIL = 0.2
# The circle of phases is divided into so many parts; where an arc of some of them holds less than
# this share of the pixels, the circle is cut there.
_PARTS, _ARC, _EMPTY = 64, 4, 0.002


class Phases(NamedTuple):
    """Phases as they are shown.

    values : (h, w) masked, radians.  low, high : limits.  cyclic : whether they wrap.
    """

    values: Image
    low: float
    high: float
    cyclic: bool

    @property
    def colours(self) -> str:
        """The name of the map."""
        return CIRCLE if self.cyclic else PHASE


def phases(picture: NDArray[Any], scanned: NDArray[np.bool_] | None = None) -> Phases:
    """The phases of a complex picture (h, w), NaN where unseen, without their mean.

    The circle is cut where it is empty, so that a picture that spans less does not wrap. The
    limits are those of the pixels ``scanned`` (h, w); of all without it.
    """
    angles = np.angle(without_mean_phase(picture))
    seen = np.isfinite(angles)
    inside = seen if scanned is None or not (seen & scanned).any() else seen & scanned
    known = angles[inside]
    cut = empty_phase(known)
    values = np.ma.masked_array(angles, ~seen)
    if cut is None:
        return Phases(values, -np.pi, np.pi, True)
    turned = np.mod(angles - cut, 2 * np.pi) + cut
    if known.size and np.median(turned[inside]) > np.pi:
        turned -= 2 * np.pi
    values = np.ma.masked_array(turned, ~seen)
    return Phases(values, *limits(values, inside), False)


def empty_phase(angles: NDArray[Any]) -> float | None:
    """The middle of the emptiest arc of the circle, the nearest to pi of several; None where no arc
    is empty: the phases wrap."""
    if not angles.size:
        return float(np.pi)
    edges = np.linspace(-np.pi, np.pi, _PARTS + 1)
    counts = np.histogram(angles, edges)[0]
    arcs = np.sum([np.roll(counts, -k) for k in range(_ARC)], axis=0)
    width = 2 * np.pi / _PARTS
    middles = edges[:-1] + _ARC / 2 * width
    away = np.abs(np.angle(np.exp(1j * (middles - np.pi))))
    empty = np.flatnonzero(arcs <= _EMPTY * angles.size)
    if not empty.size:
        return None
    # Of arcs that are as empty, that opposite to the mean phase.
    best = empty[np.lexsort((away[empty], arcs[empty]))[0]]
    return float(middles[best])


def limits(
    image: Image, scanned: NDArray[np.bool_] | None = None, tail: float = TAIL
) -> tuple[float, float]:
    """Limits of the scanned pixels without the outermost ``tail`` percent; never equal."""
    seen = ~np.ma.getmaskarray(image)
    values = image.data[seen]
    if scanned is not None and (seen & scanned).any():
        values = image.data[seen & scanned]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (tail, 100 - tail)))
    if high - low < 1e-6 * max(abs(high), 1e-12):
        spread = 0.5 * abs(high) or 0.5
        low, high = low - spread, high + spread
    return low, high


def without_mean_phase(picture: NDArray[Any]) -> NDArray[Any]:
    """The picture turned by its mean phase, which has no meaning, so that it rarely wraps."""
    mean = np.nansum(picture)
    return picture * np.conj(mean) / abs(mean) if mean else picture


def as_colours(picture: NDArray[Any], high: float) -> NDArray[np.float64]:
    """RGB (h, w, 3) of a complex picture: its phase is the hue, its amplitude up to ``high`` the
    brightness; NaN gets the colour of unseen pixels."""
    from matplotlib.colors import hsv_to_rgb, to_rgb

    seen = np.isfinite(picture)
    known = np.where(seen, picture, 0)
    hue = np.mod(np.angle(known) / (2 * np.pi), 1.0)
    value = np.clip(np.abs(known) / (high or 1.0), 0, 1)
    colours = hsv_to_rgb(np.stack((hue, np.ones_like(hue), value), axis=-1))
    colours[~seen] = to_rgb(UNSEEN)
    return np.asarray(colours, np.float64)
