"""What may be wrong with a fit, in words: stable names, what it means, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Likely = Literal[
    "alone",
    "pixels",
    "detector-gain",
    "common-mode",
    "displaced-part",
    "dead-time",
    "patterns",
    "part-of-scan",
    "beam-current",
    "background",
    "geometry",
    "frame-order",
    "frame-slip",
    "probe",
    "changing-probe",
    "modes",
    "point-spread",
    "pattern-shift",
    "moving-exposure",
    "washed-out",
    "clipped-counts",
    "afterglow",
    "thick-sample",
    "positions",
    "axis-unit",
    "unfinished",
    "geometry-or-probe",
    "unknown",
]


# How it shows, where that has several forms.
ELSEWHERE = "are likelier at the positions of others"
EMPTY = "have hardly any counts, where the model has many"
QUIET = "vary by far less than photons do, as where a number is stuck"
REFINED = (
    "with {words} some patterns around the middle leave a residual of {better:.4f}, as it is "
    "{given:.4f}"
)
PHASELESS = (
    "it has the same phase everywhere, and its far field is like the mean pattern by {:.0%} only, "
    "so that its phase was dropped"
)
GUESSED = (
    "it was found from the patterns alone, and leaves {:.0%} of their structure, where the right "
    "one leaves hardly any"
)
TOO_WIDE = (
    "its far field is {:.1f} times as wide as the mean pattern, which no object makes narrower, as "
    "where its pixels are those of another detector or distance"
)
GROWING = "the factors fitted for it would still grow, and the object holds the rest of the change"
LIKELIER = (
    "with that fitted some patterns around the middle are as much likelier as if their residual "
    "fell from {given:.4g} to {better:.4g}"
)
FITTED = (
    "with that fitted some patterns around the middle leave a residual of {better:.4g}, without "
    "{given:.4g}"
)


@dataclass(frozen=True)
class Cause:
    """words : what is wrong, with fields in braces for the numbers.  remedy : what helps, in the
    words of Python."""

    words: str
    remedy: str


CAUSES: dict[Likely, Cause] = {
    "alone": Cause(
        "no pattern shows a part of the object that another one shows from another place, so that "
        "nothing verifies the picture: many objects explain such patterns",
        "measure patterns that overlap, or check which patterns are taken (option frames) and the "
        "unit of their positions",
    ),
    "pixels": Cause(
        "some detector pixels do not measure: {pixels} (y, x) {how}",
        "mask them (option mask)",
    ),
    "detector-gain": Cause(
        "a part of the detector counts more than the rest: {how}, along the whole of that border",
        "divide the patterns by a flat field (option flat), or refine the probe "
        "(refine_probe=True), which takes most of it up",
    ),
    "common-mode": Cause(
        "pixels of the detector read more, or less, together, and otherwise in each pattern: where "
        "few photons fall, those of a row or column have {share:.0%} of their variance in common",
        "subtract from each pattern the median of the dark pixels of each readout block",
    ),
    "displaced-part": Cause(
        "a part of the detector is not where the rest of it puts it, as a module that is mounted "
        "askew, or a gap between modules of another width: with {words}, put back some patterns "
        "around the middle leave a residual of {better:.4g}, as given {given:.4g}",
        "put the modules of the raw frames where they are, and mask what lies between them",
    ),
    "dead-time": Cause(
        "the detector loses photons where they are many, as one that is dead for a while after "
        "each does: at least {words} of the brightest readings; with counts corrected for that "
        "some patterns around the middle leave a residual of {better:.4g}, as they are {given:.4g}",
        "correct the counts n of the raw frames to n / (1 - n t), t being the dead time that the "
        "maker of the detector states over the exposure, before they are prepared",
    ),
    "patterns": Cause(
        "some patterns do not belong to the others: {patterns} {how}",
        "leave them out, or check that they belong to their positions",
    ),
    "part-of-scan": Cause(
        "something changed during the scan, at about pattern {number}: of the structure before it "
        "{before:.0%} is not explained, from it on {after:.0%}",
        "check what was changed there (orientation, detector, focus, sample), and reconstruct both "
        "parts alone (option frames)",
    ),
    "beam-current": Cause(
        "the intensity of the beam changed: {how}",
        "refine the result, which fits a factor for each pattern",
    ),
    "background": Cause(
        "the patterns have a background: {how}",
        "refine the result, which fits a background",
    ),
    "geometry": Cause(
        "the geometry is another one: with {words} some patterns around the middle leave a "
        "residual of {better:.4g}, as given {given:.4g}",
        "turn the patterns or the positions",
    ),
    "frame-order": Cause(
        "frames and positions are in different orders: frames that follow each other in the scan "
        "are alike (a correlation of {given:.2f}), those at neighbouring positions are not "
        "({better:.2f})",
        "put the positions in the order of the frames",
    ),
    "frame-slip": Cause(
        "a frame was lost, or came twice: with {words} some patterns leave a residual of "
        "{better:.4g}, as given {given:.4g}",
        "put patterns and positions together again",
    ),
    "probe": Cause(
        "the probe does not fit the data: {how}",
        "refine the probe (refine_probe=True), or give a better one (option probe)",
    ),
    "changing-probe": Cause(
        "the probe changes during the scan: its aberrations follow the order of the patterns (the "
        "defocus by {words}), and with those of each pattern the residual would be {better:.4g} in "
        "place of {given:.4g}",
        "refine the scan with a probe that changes (refine_probe=True, eigenprobes=4, passes=100)",
    ),
    "modes": Cause(
        "the beam or the scan is less coherent than the probe says: "
        "with two more modes of the probe some patterns around the middle leave a residual of "
        "{better:.4g}, as it is {given:.4g}",
        "let modes of the probe be added while patterns gain (refine with option modes 'auto')",
    ),
    "point-spread": Cause(
        "points of the patterns spread over neighbouring pixels: with such a spread fitted some "
        "patterns around the middle leave a residual of {better:.4g}, without {given:.4g}",
        "refine with it (point_spread=True)",
    ),
    "pattern-shift": Cause(
        "the patterns move on the detector during the scan, as where the beam drifts: with a shift "
        "of each fitted some patterns around the middle leave a residual of {better:.4g}, without "
        "{given:.4g}",
        "refine the scan with it (pattern_shift=True, passes=100)",
    ),
    "moving-exposure": Cause(
        "the sample moved while a pattern was recorded: with a way of {words} some patterns around "
        "the middle leave a residual of {better:.4g}, without {given:.4g}",
        "refine with that way (exposure_px, exposure_along)",
    ),
    "washed-out": Cause(
        "the patterns are washed out {words}, as by a sample that moved or a beam that is not "
        "coherent: patterns drawn from the result leave a network a residual of {better:.4g}, "
        "those that were measured {given:.4g}",
        "refine the scan from the start, which can tell what it is",
    ),
    "clipped-counts": Cause(
        "counts are missing where there are few, as where a background was subtracted and what "
        "became negative set to 0: pixels with few counts vary by {share:.0%} more than photons do",
        "store the counts as they were measured; a background is fitted by the refinement",
    ),
    "afterglow": Cause(
        "patterns are not independent: each has {share:.0%} of its noise in common with the next "
        "one, as where a detector glows on or frames were averaged",
        "record the frames apart, or subtract from each its part of the one before",
    ),
    "thick-sample": Cause(
        "the sample is thick: as two slices {words} apart, patterns that were left out of a trial "
        "have a residual of {better:.4g}, as a thin one {given:.4g}",
        "refine with two slices (slices=2, passes=100)",
    ),
    "positions": Cause(
        "the positions are not exact: {how} some patterns around the middle leave a residual of "
        "{better:.4g}, as they are {given:.4g}",
        "refine the positions (refine_positions=True)",
    ),
    "axis-unit": Cause(
        "the positions along y and x are in different units, or steps of different motors: with "
        "{words} some patterns around the middle leave a residual of {better:.4g}, as given "
        "{given:.4g}",
        "write the positions again with that axis corrected",
    ),
    "unfinished": Cause(
        "the object is not finished: after more passes some patterns around the middle leave a "
        "residual of {better:.4f}",
        "refine the result",
    ),
    "geometry-or-probe": Cause(
        "{how}, so that the geometry (order, sign and unit of the positions, orientation of the "
        "patterns) or the probe must be wrong",
        "check the geometry first, then the probe",
    ),
    "unknown": Cause(
        "{missing:.0%} of the structure in the patterns is not explained, for a reason that the "
        "residual does not tell",
        "check positions, probe and the single patterns",
    ),
}


def listed(items: Sequence[Any], most: int = 8) -> str:
    words = ", ".join(str(item) for item in items[:most])
    more = len(items) - most
    return words + (f" and {more} more" if more > 0 else "")
