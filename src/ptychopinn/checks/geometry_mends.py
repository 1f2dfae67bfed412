"""What the findings of a geometry that was looked for do to a scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptychopinn.checks.base import Mend
from ptychopinn.checks.closed_gaps import mend_of_gaps
from ptychopinn.checks.frame_order import EXCHANGED, MOST_FRAMES, exchanged, partners_in
from ptychopinn.checks.near_distance import WITHIN, at_distance
from ptychopinn.checks.numbering import partners
from ptychopinn.checks.probe_plane import mend_of_plane
from ptychopinn.checks.slips import mend_of_slip, moved_to
from ptychopinn.checks.trial_fits import scaled
from ptychopinn.data.findings import Finding
from ptychopinn.data.orientation import Orientation, Turn
from ptychopinn.data.scan import Scan


def in_details(orientation: Orientation) -> dict[str, Any]:
    """An orientation as details of a finding."""
    return {
        "transpose": orientation.transpose,
        "flip_y": orientation.flip_y,
        "flip_x": orientation.flip_x,
        "about_centre": True,
    }


def mend_of(found: Finding, scan: Scan) -> Mend:
    """What such a finding does to a scan; nothing for a doubt."""
    return mend_in(found.details, scan) if found.level == "mended" else Mend()


def turn_of(details: Any) -> Orientation:
    """The orientation in the details of a finding."""
    return Orientation(*(bool(details[k]) for k in ("transpose", "flip_y", "flip_x")))


def mend_in(details: Any, scan: Scan) -> Mend:
    """What the details of a finding do to a scan."""
    if "probe" in details:
        return mend_of_plane(details, scan)
    if "distance_factor" in details:
        factor = float(np.clip(details["distance_factor"], *WITHIN))
        return Mend(distance_m=at_distance(scan, factor).distance_m)
    if "gaps" in details:
        return mend_of_gaps(details, scan)
    if "slipped" in details:
        return mend_of_slip(details, scan)
    if details.get("order") == EXCHANGED:
        return Mend(positions_px=exchanged(scan))
    if "order" in details:
        return moved_to(scan, partners_in(scan, str(details["order"])))
    if "frames" in details:
        frames = int(np.clip(details["frames"], -MOST_FRAMES, MOST_FRAMES))
        return moved_to(scan, partners(scan, frames))
    if "scale" in details:
        return Mend(positions_px=scaled(scan.positions_px, float(details["scale"])))
    orientation = turn_of(details)
    if details["turned"] == "positions":
        return Mend(positions_px=orientation.of_positions(scan.positions_px))
    return Mend(turned=Turn(orientation, bool(details["about_centre"])))
