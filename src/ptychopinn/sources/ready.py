"""Scans that the other commands read as they are, to be cut, binned, masked or turned.

Their positions are object pixels (y, x) of their own patterns, their patterns counts with the zero
frequency at [N/2, N/2]. A known object is not taken along: its pixels are those of before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import magnification
from ptychopinn.data.scan import PatternArray
from ptychopinn.io import fold_slice, native, ptychodus_scan
from ptychopinn.io.base import Format, ReadOptions, ScanFields
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources import by_keys
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.frames import Window
from ptychopinn.sources.frames import native as in_order

NAME = "scan"
DESCRIPTION = "a scan of this program, of ptychodus or of fold_slice"

# The other formats of scans are kinds of their own here: CXI, and NPZ by keys.
FORMATS: tuple[Format, ...] = (native, ptychodus_scan, fold_slice)


@dataclass(frozen=True)
class ScanFrames:
    """The patterns (M, N, N) of a scan, in memory or on disk."""

    patterns: PatternArray

    @property
    def shape(self) -> tuple[int, int, int]:
        count, height, width = self.patterns.shape
        return count, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.patterns.dtype

    def read(self, indices: NDArray[np.int64], window: Window) -> NDArray[Any]:
        """See :class:`ptychopinn.sources.frames.Frames`."""
        return in_order(self.patterns[indices][:, window[0], window[1]])


def matches(path: Path) -> bool:
    """Whether a format of scans knows the file, or the folder."""
    return _format(path) is not None


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the scan; with a key of other patterns it is a file as any other."""
    format_ = _format(path)
    if patterns is not None or format_ is None:
        return by_keys.open_source(path, patterns)
    scan = format_.read(path, ReadOptions())
    return Source(
        kind=NAME,
        path=path,
        patterns=ScanFrames(scan.diffraction),
        points=ScanPoints(scan.positions_px, "px", f"'{path}'"),
        probe=scan.probe,
        mask=scan.mask,
        mask_from=f"the mask of '{path}'",
        found=[(name, value, f"'{path}'") for name, value in _numbers(scan)],
        units="counts",
        propagation="near-field" if scan.propagation == "near-field" else "far-field",
        saturation=scan.saturation,
        findings=scan.findings,
        notes={"patterns": format_.NAME, "made_from": scan.provenance},
    )


def _format(path: Path) -> Format | None:
    if path.is_dir():
        return ptychodus_scan if ptychodus_scan.matches(path) else None
    return next((candidate for candidate in FORMATS if candidate.matches(path)), None)


def _numbers(scan: ScanFields) -> list[tuple[str, float | None]]:
    """What is known of the experiment, and the pixel of the detector that follows from it."""
    pixel, energy, distance = scan.pixel_size_m, scan.energy_eV, scan.distance_m
    detector = None
    if pixel is not None and distance is not None:
        if scan.propagation == "near-field":
            detector = pixel * magnification(distance, scan.focus_distance_m)
        elif energy is not None:
            detector = wavelength_of(energy) * distance / (scan.diffraction.shape[-1] * pixel)
    return [
        ("energy_eV", energy),
        ("distance_m", distance),
        ("focus_distance_m", scan.focus_distance_m),
        ("detector_pixel_m", detector),
        ("pixel_size_m", pixel),
    ]
