"""The probe and the object of a file in the units of the counts."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from ptychopinn.data.cumulative import GOES_ON, never_less
from ptychopinn.data.normalization import batch_length, slices
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io.base import sample_indices
from ptychopinn.io.counts import mean_counts
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.physics.scaling import (
    SCALED,
    check_probe_power,
    global_scale,
    probe_power,
    reconcile_probe,
    scaled_by,
)

# Patterns read to compare a stated probe with the counts, and to scale an object.
POWER_SAMPLE = 64
OBJECT_SAMPLE = 16
# A mask that came later takes some of the power of a probe, not as much as this factor.
SAME_POWER = 2.0
# Pairs of frames that are looked at, at least so many, of which most hold more than the one before;
# or most of the counts are in every reading.
PAIRS, FEWEST, MOSTLY = 16, 3, 0.5

_log = logging.getLogger("ptychopinn")


def in_counts(scan: Scan, *, stated: bool) -> Scan:
    """The scan with a probe in sqrt(counts); ``stated`` says that it is already, to be checked.

    One that still has the power it was scaled to, flooded patterns and hot pixels included, is not
    checked: the look at the scan scales it again when it has left those out.

    Raises
    ------
    InputError
        When the probe contradicts the counts, or one of both is empty; running sums, and an
        offset of the detector, are named as what they are.
    """
    if not stated:
        return _reconciled(scan)
    if _as_scaled(scan):
        return scan
    # Single patterns may be flooded, or without beam.
    sample, good = sample_indices(scan.M, POWER_SAMPLE), scan.good_pixels
    sums = np.concatenate(
        [
            scan.diffraction[sample[part]][:, good].sum(axis=1, dtype=np.float64)
            for part in slices(len(sample), batch_length(scan.N, 8))
        ]
    )
    counts = float(np.median(sums)) or float(np.mean(sums))
    try:
        check_probe_power(scan.probe, counts, scan.mask, scan.propagator)
    except InputError as error:
        raise _not_the_probe(scan) or error from error
    return scan


def _not_the_probe(scan: Scan) -> InputError | None:
    """The error of patterns that hold more than their own counts, whatever the probe; None where
    they do not show it."""
    good, patterns = scan.good_pixels, scan.diffraction
    first = sample_indices(max(scan.M - 1, 0), PAIRS)
    sums = np.array(
        [[np.asarray(patterns[int(j)])[good].sum(dtype=float) for j in (k, k + 1)] for k in first]
    ).reshape(-1, 2)
    # A detector that goes on counting is reset now and then, if at all.
    growing = first[sums[:, 1] > sums[:, 0]]
    if len(growing) > max(FEWEST, MOSTLY * len(first)) and never_less(patterns, growing, good):
        return InputError(f"{GOES_ON.format(reset='')}.")
    some = sample_indices(scan.M, PAIRS)
    least = min(float(np.asarray(patterns[int(k)])[good].min()) for k in some)
    share = least * float(good.sum()) / max(float(np.median(sums)), 1e-30) if sums.size else 0.0
    if share > MOSTLY:
        return InputError(
            f"the patterns must hold counts of photons, received {least:.6g} or more in each "
            f"reading, {share:.0%} of all counts, which no probe explains: an offset of the "
            "detector; subtract it."
        )
    return None


def _as_scaled(scan: Scan) -> bool:
    """Whether the probe has the power that its scan remembers to have scaled it to."""
    scaled = scan.provenance.get(SCALED)
    counts = scaled.get("counts") if isinstance(scaled, dict) else None
    if not isinstance(counts, float) or not counts > 0:
        return False
    power = probe_power(scan.probe, scan.mask, scan.propagator)
    return 1 / SAME_POWER < power / counts < SAME_POWER


def _reconciled(scan: Scan) -> Scan:
    """The scan with its probe scaled to the measured counts, and its object to probe and counts."""
    counts = mean_counts(scan.diffraction, scan.mask)
    power = probe_power(scan.probe, scan.mask, scan.propagator)
    probe, factor = reconcile_probe(scan.probe, counts, scan.mask, scan.propagator)
    _log.info(
        "%s: probe scaled from %.6g to %.6g counts per pattern (amplitude factor %.6g)",
        scan.name,
        power,
        counts,
        factor,
    )
    provenance = {
        **scan.provenance,
        SCALED: scaled_by(power, counts, factor),
    }
    obj = scan.object
    if obj is not None:
        scale = _object_scale(replace(scan, probe=probe))
        _log.info(
            "%s: object scaled by %.6g to agree with the probe and the counts", scan.name, scale
        )
        obj = obj * np.float32(scale)
        provenance["object_scale"] = scale
    return replace(scan, probe=probe, object=obj, provenance=provenance)


def _object_scale(scan: Scan) -> float:
    """The factor that makes probe times object give the counts measured at sampled positions."""
    assert scan.object is not None
    good = scan.good_pixels
    measured = modelled = 0.0
    for i in sample_indices(scan.M, OBJECT_SAMPLE):
        position = scan.positions_px[i : i + 1]
        measured += float(scan.diffraction[int(i)][good].sum(dtype=np.float64))
        (height, width), (y, x) = canvas_for(position, scan.N)
        window = scan.object[y : y + height, x : x + width]
        modelled += float(intensities(window, scan.probe, position, (y, x))[0][good].sum())
    return global_scale(measured, modelled)
