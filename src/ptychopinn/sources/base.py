"""What a source of raw data hands to ``prepare``, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation
from ptychopinn.data.findings import Finding
from ptychopinn.io.base import Units
from ptychopinn.sources.frames import Frames


@dataclass(frozen=True)
class ScanPoints:
    """Positions as a source states them: (y, x) of each pattern, (K, 2), in ``unit``."""

    values: NDArray[np.float64]
    unit: str | None
    where: str


# A number of the experiment, None where it is not there, and what it was read from.
Found = tuple[str, float | None, str]


@dataclass(frozen=True)
class Source:
    """Raw data, before anything is done with them.

    Attributes
    ----------
    patterns : (M, H, W) where they lie.
    points : positions, where the file has them.
    without_points : names of sources without any, where others of the same scan have them.
    grid : rows and columns of a raster scan, where the file is cut into them.
    step_m : step of that grid along (y, x) in metres.
    probe : (P, N, N) or (N, N), any scale.
    mask : (H, W), True at good pixels, of whatever size the file has it.  mask_from : where it is.
    centre : zero frequency (y, x) in pixels of the detector.
    found : energy_eV, distance_m, focus_distance_m, detector_pixel_m, pixel_size_m with what they
        were read from; of several of one name the first that is there counts.
    sampling_1_m : pixel of the detector in reciprocal space (1/m), of an electron microscope.
    angle_rad : the same as an angle.
    electrons : whether ``energy_eV`` is that of electrons; None where it could be.
    units : what the stored numbers are, where the kind of file says it.
    propagation : how waves reach the detector, as far as the kind of file says it.
    saturation : counts from which a reading is a lower bound only, where the file says it.
    findings : what was noticed while it was opened.
    gaps : how many patterns come before each one that is missing, as ``numbered`` by names of files
        or in a file.
    odd : names of files that are not like those of the others, where these are many.
    notes : plain JSON data for the provenance.
    """

    kind: str
    path: Path
    patterns: Frames
    points: ScanPoints | None = None
    without_points: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    step_m: tuple[float, float] | None = None
    probe: NDArray[Any] | None = None
    mask: NDArray[np.bool_] | None = None
    mask_from: str = ""
    centre: tuple[float, float] | None = None
    found: Sequence[Found] = ()
    sampling_1_m: float | None = None
    angle_rad: float | None = None
    electrons: bool | None = False
    units: Units | None = None
    propagation: Propagation = "far-field"
    saturation: float | None = None
    findings: tuple[Finding, ...] = ()
    gaps: tuple[int, ...] = ()
    numbered: str = "in the names of the files"
    odd: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """What is known of the experiment."""
        return {name: value for name, value, _ in reversed(self.found) if value is not None}

    @property
    def where(self) -> dict[str, str]:
        """What each of ``numbers`` was read from."""
        return {name: where for name, value, where in reversed(self.found) if value is not None}


class Kind(Protocol):
    """A kind of source: one module of this package."""

    NAME: str
    DESCRIPTION: str

    def matches(self, path: Path) -> bool:
        """Whether the content of the file or folder is of this kind; cheap."""

    def open_source(self, path: Path, patterns: str | None) -> Source:
        """Look at the file; ``patterns`` is the key that the user gave.

        Raises
        ------
        InputError
            When it breaks the rules of its kind.
        """
