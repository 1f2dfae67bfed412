"""What a source of raw data hands to ``prepare``, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.io.base import Units
from ptychopinn.sources.frames import Frames


@dataclass(frozen=True)
class ScanPoints:
    """Positions as a source states them: (y, x) of each pattern, (K, 2), in ``unit``."""

    values: NDArray[np.float64]
    unit: str | None
    where: str


@dataclass(frozen=True)
class Source:
    """Raw data, before anything is done with them.

    Attributes
    ----------
    patterns : (M, H, W) where they lie.
    points : positions, where the file has them.
    grid : rows and columns of a raster scan, where the file is cut into them.
    step_m : step of that grid along (y, x) in metres.
    probe : (P, N, N) or (N, N), any scale.
    mask : (H, W), True at good pixels.
    centre : zero frequency (y, x) in pixels of the detector.
    numbers : energy_eV, distance_m, detector_pixel_m, pixel_size_m, as far as they are known.
    where : for each of ``numbers``, what it was read from.
    sampling_1_m : pixel of the detector in reciprocal space (1/m), of an electron microscope.
    angle_rad : the same as an angle.
    electrons : whether ``energy_eV`` is that of electrons.
    units : what the stored numbers are, where the kind of file says it.
    notes : plain JSON data for the provenance.
    """

    kind: str
    path: Path
    patterns: Frames
    points: ScanPoints | None = None
    grid: tuple[int, int] | None = None
    step_m: tuple[float, float] | None = None
    probe: NDArray[Any] | None = None
    mask: NDArray[np.bool_] | None = None
    centre: tuple[float, float] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    sampling_1_m: float | None = None
    angle_rad: float | None = None
    electrons: bool = False
    units: Units | None = None
    notes: dict[str, Any] = field(default_factory=dict)


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


def numbers_of(found: Sequence[tuple[str, float | None, str]]) -> dict[str, dict[str, Any]]:
    """``numbers`` and ``where`` of a source, of triples (name, value, where it was read)."""
    known = [(name, value, where) for name, value, where in found if value is not None]
    return {
        "numbers": {name: value for name, value, _ in reversed(known)},
        "where": {name: where for name, _, where in reversed(known)},
    }
