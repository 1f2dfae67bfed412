"""What the exchange formats hold, whole and in their own terms: patterns, and a product.

ptychodus calls *product* what belongs to a reconstruction: positions, probe, object and the numbers
of the experiment. A :class:`Record` keeps it as it is stored, in metres and with everything a
:class:`~ptychopinn.data.scan.Scan` has no place for, so that a conversion loses only what the
target cannot hold. :mod:`ptychopinn.io.record_scan` turns a record into a scan and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import magnification
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import PatternArray
from ptychopinn.physics.propagators import wavelength_of

# The numbers and words of the experiment, by the names of product.h5, and what each is when nothing
# is known about it.
METADATA: Mapping[str, float | str | bool] = MappingProxyType(
    {
        "name": "",
        "comments": "",
        "detector_object_distance_m": 0.0,
        "photon_energy_eV": 0.0,
        "probe_photon_count": 0.0,
        "exposure_time_s": 0.0,
        "mass_attenuation_m2_per_kg": 0.0,
        "tomography_angle_deg": 0.0,
        "focus_object_distance_m": 0.0,
        "tilt_angle_deg": 0.0,
        "polarization": "",
        "far_field": True,
    }
)


# Formats that demand a pixel size get one of this many metres where it is unknown, so that metres
# are pixels; no experiment has such pixels, and reading it means that the size is unknown.
UNKNOWN_PIXEL_M = 1.0
UNKNOWN_PIXEL = "The pixel size is unknown: all lengths in metres are object pixels."


@dataclass(frozen=True, eq=False)
class Patterns:
    """Diffraction patterns as stored.

    Attributes
    ----------
    counts : (n, H, W) photon counts, zero frequency at [H/2, W/2]; to read a scan, large ones may
        stay in their file
    indexes : (n,) int64, the numbers that pair patterns with positions
    bad_pixels : (H, W) bool, True = bad
    detector_pixel_m : (height, width) of a detector pixel, or None
    photon_counts : (n,) counts of the incident beam per pattern, or None
    """

    counts: PatternArray
    indexes: NDArray[np.int64]
    bad_pixels: NDArray[np.bool_]
    detector_pixel_m: tuple[float, float] | None = None
    photon_counts: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """Positions, probe, object and metadata as stored; lengths in metres, axes (y, x).

    Attributes
    ----------
    indexes : (n,) int64
    positions_m : (n, 2) float64, (y, x)
    probe : (R, P, N, N) complex, R sets of P incoherent modes of which the first is the mean, or
        None where the format has no probe
    object : (L, H, W) complex, L layers, or None
    center_m : (y, x) of the middle of the object, or None where the format does not tell
    object_pixel_m, probe_pixel_m : (height, width), or None
    layer_spacing_m : (L-1,)
    opr_weights : (n, R) weights of the sets at each position, or None
    photon_counts : (n,) counts of the incident beam at each position, or None
    loss_epochs, loss_values : (E,)
    metadata : by the names of ``METADATA``
    """

    indexes: NDArray[np.int64]
    positions_m: NDArray[np.float64]
    probe: NDArray[Any] | None = None
    object: NDArray[Any] | None = None
    center_m: tuple[float, float] | None = None
    object_pixel_m: tuple[float, float] | None = None
    probe_pixel_m: tuple[float, float] | None = None
    layer_spacing_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    opr_weights: NDArray[np.float64] | None = None
    photon_counts: NDArray[np.float64] | None = None
    loss_epochs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    loss_values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    metadata: Mapping[str, float | str | bool] = field(default_factory=lambda: dict(METADATA))


@dataclass(frozen=True, eq=False)
class Record:
    """The content of one exchange file, or of one pair of files.

    Attributes
    ----------
    patterns, product : as stored; no patterns in the file of a product
    in_order : row k of the patterns belongs to position k; otherwise their indexes pair them
    mask_meaning : how the file means its mask, a key of ``detector.MEANINGS``
    findings : what reading it mended or doubts
    says_field : whether a near field is stated as here, so that its patterns can be read; otherwise
        what the pixels and distances mean is open
    """

    patterns: Patterns | None
    product: Product
    in_order: bool = False
    mask_meaning: str = "bad"
    findings: tuple[Finding, ...] = ()
    says_field: bool = False


# What a record can hold beyond positions, as a sentence about its loss.
_ITEMS: Mapping[str, str] = MappingProxyType(
    {
        "patterns": "the diffraction patterns",
        "indexes": "the numbers of the patterns (they are counted from 0 again)",
        "bad_pixels": "the mask of bad pixels",
        "detector_pixel": "the size of a detector pixel",
        "pattern_photon_counts": "the incident photons of each pattern",
        "probe": "the probe",
        "probe_modes": "all but the first of the incoherent probe modes",
        "probe_pixel": "the pixel size of the probe (that of the object is taken)",
        "opr": "the variations of the probe along the scan",
        "object": "the object",
        "layers": "the layers of the object (their product is kept)",
        "center": "the absolute origin of the positions",
        "object_pixel": "the pixel size of the object",
        "position_photon_counts": "the incident photons at each position",
        "losses": "the losses",
    }
)
ALL = frozenset(_ITEMS) | frozenset(METADATA)
# What a scan and all formats for scans keep.
SCAN_ITEMS = frozenset(
    ("patterns", "bad_pixels", "probe", "probe_modes", "object", "object_pixel", "far_field")
)


def contents(record: Record) -> set[str]:
    """The items of ``ALL`` that the record really holds."""
    held: set[str] = set()
    patterns, product = record.patterns, record.product
    if patterns is not None:
        held.add("patterns")
        if patterns.bad_pixels.any():
            held.add("bad_pixels")
        if patterns.detector_pixel_m is not None and not _follows(record):
            held.add("detector_pixel")
        if patterns.photon_counts is not None:
            held.add("pattern_photon_counts")
        if (patterns.indexes != np.arange(len(patterns.indexes))).any():
            held.add("indexes")
    if (product.indexes != np.arange(len(product.indexes))).any():
        held.add("indexes")
    if product.probe is not None:
        held.add("probe")
        if product.probe.shape[1] > 1:
            held.add("probe_modes")
        if product.probe.shape[0] > 1 or product.opr_weights is not None:
            held.add("opr")
        if product.probe_pixel_m is not None and not _close(
            product.probe_pixel_m, product.object_pixel_m
        ):
            held.add("probe_pixel")
    if product.object is not None:
        held.add("object")
        if len(product.object) > 1:
            held.add("layers")
    if product.center_m is not None and any(product.center_m):
        held.add("center")
    if pixel_known(product):
        held.add("object_pixel")
    if product.photon_counts is not None:
        held.add("position_photon_counts")
    if len(product.loss_values):
        held.add("losses")
    words = {k for k, unknown in METADATA.items() if product.metadata[k] != unknown}
    if product.metadata["comments"] == UNKNOWN_PIXEL:
        words.remove("comments")
    return held | words


def pixel_known(product: Product) -> bool:
    """Whether the object's pixel size is known; see ``UNKNOWN_PIXEL_M``."""
    pixel = product.object_pixel_m
    return pixel is not None and tuple(pixel) != (UNKNOWN_PIXEL_M, UNKNOWN_PIXEL_M)


def lost(record: Record, kept: frozenset[str]) -> list[str]:
    """What a format that keeps ``kept`` loses of the record, one phrase each."""
    return [
        _ITEMS.get(item, f"the {item.rsplit('_', 1)[0].replace('_', ' ')} ({item})")
        for item in [*_ITEMS, *METADATA]
        if item in contents(record) - kept
    ]


def _close(first: tuple[float, float] | None, second: tuple[float, float] | None) -> bool:
    return (
        first is not None
        and second is not None
        and bool(np.allclose(first, second, rtol=1e-9, atol=0))
    )


def conjugate_pixel_m(
    pixel_m: tuple[float, float], n: int, metadata: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Pixel of the other end of the far field, ``lambda z / (N pixel)``; None when unknown."""
    energy, distance = metadata["photon_energy_eV"], metadata["detector_object_distance_m"]
    if not (energy > 0 and distance and min(pixel_m) > 0):
        return None
    reach = wavelength_of(float(energy)) * abs(float(distance)) / n
    return reach / pixel_m[0], reach / pixel_m[1]


def object_pixel_of(
    pixel_m: tuple[float, float], n: int, metadata: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Pixel of the object that detector pixels of ``pixel_m`` give n x n patterns: in the far field
    the conjugate one, in the near field theirs over the magnification; None when unknown."""
    if metadata["far_field"]:
        return conjugate_pixel_m(pixel_m, n, metadata)
    times = _magnification(metadata)
    return pixel_m[0] / times, pixel_m[1] / times


def detector_pixel_of(
    pixel_m: tuple[float, float], n: int, metadata: Mapping[str, Any]
) -> tuple[float, float] | None:
    """The other way round: the pixel of the detector for an object pixel of ``pixel_m``."""
    if metadata["far_field"]:
        return conjugate_pixel_m(pixel_m, n, metadata)
    times = _magnification(metadata)
    return pixel_m[0] * times, pixel_m[1] * times


def _magnification(metadata: Mapping[str, Any]) -> float:
    focus = abs(float(metadata["focus_object_distance_m"])) or None
    return magnification(abs(float(metadata["detector_object_distance_m"])), focus)


def _follows(record: Record) -> bool:
    """Whether the detector pixel follows from the object pixel, energy and distance."""
    patterns, product = record.patterns, record.product
    assert patterns is not None
    if product.object_pixel_m is None:
        return False
    n = patterns.counts.shape[-1]
    derived = detector_pixel_of(product.object_pixel_m, n, product.metadata)
    return _close(patterns.detector_pixel_m, derived)
