"""What every scan format offers, and what its reader hands to ``load_scan``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import PatternArray
from ptychopinn.errors import InputError, shown
from ptychopinn.io.reading import guarded
from ptychopinn.physics.propagators import Propagator

Units = Literal["counts", "amplitude"]

ZIP_SIGNATURE = b"PK\x03\x04"
BZIP2_SIGNATURE = b"BZh"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_SIGNATURE = b"MATLAB "
# Other programs, MATLAB among them, write something of their own before HDF5 begins.
USER_BLOCKS = tuple(512 << k for k in range(12))

BATCH_BYTES = 32 * 2**20
# Options about the way from the sample to the detector.
WAY = ("propagation", "distance_m", "focus_distance_m")
# Positions in metres are at most centimetres; in pixels a scan extends over several.
METRES_BELOW = 1e-2


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a file that the file itself may not say.

    ``units`` of the stored patterns, ``photons`` as mean counts per pattern, ``fallback_photons``
    that are used only where nothing else tells them, a ``probe`` (P, N, N) that takes the place
    of the one in the file, ``frames`` to use (see :mod:`ptychopinn.io.pairing`), and whether to set
    negative counts to zero. ``with_probe`` is False where the probe in the file is not read,
    because another one is made. ``propagation``, ``distance_m`` and ``focus_distance_m`` take the
    place of what the file says of the way to the detector.
    """

    units: Units | None = None
    photons: float | None = None
    probe: NDArray[Any] | None = None
    fallback_photons: float | None = None
    frames: slice | None = None
    clip_negative: bool = False
    with_probe: bool = True
    propagation: Propagation | None = None
    distance_m: float | None = None
    focus_distance_m: float | None = None

    def __post_init__(self) -> None:
        if self.units not in (None, *get_args(Units)):
            raise InputError(
                f"the option units must be counts or amplitude, received {shown(self.units)}; "
                "correct it, or leave it out where the file tells."
            )
        for name in ("photons", "fallback_photons"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < np.inf):
                raise InputError(
                    f"the option {name.removeprefix('fallback_')} must be the mean counts of a "
                    f"pattern, a positive number, received {shown(value)}; correct it."
                )

    @property
    def way(self) -> dict[str, Any]:
        """What is said of the way to the detector, by name."""
        said = {name: getattr(self, name) for name in WAY}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def reads_lazily(self) -> bool:
        """Whether large patterns may stay in their file: amplitudes are looked at as a whole."""
        return self.units != "amplitude"

    def probe_or(self, stored: Callable[[], NDArray[Any] | None]) -> NDArray[Any] | None:
        """The given probe, else the one that is ``stored`` in the file; None when there is none."""
        if self.probe is not None or not self.with_probe:
            return self.probe
        return stored()


@dataclass(frozen=True)
class ScanFields:
    """The fields of a :class:`~ptychopinn.data.scan.Scan` in the package's axes and in counts.

    Only the scale of the probe may still be the file's own: ``probe_in_counts`` tells. It is None
    where the file has none.
    """

    diffraction: PatternArray
    positions_px: NDArray[np.float64]
    probe: NDArray[Any] | None
    probe_in_counts: bool
    name: str
    object: NDArray[Any] | None = None
    mask: NDArray[np.bool_] | None = None
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    distance_m: float | None = None
    propagation: Propagation | Propagator = "far-field"
    focus_distance_m: float | None = None
    saturation: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    # What the reader mended or doubts; load_scan logs it and keeps it with the scan.
    findings: tuple[Finding, ...] = ()


class Format(Protocol):
    """A scan format: one module of this package."""

    NAME: str
    DESCRIPTION: str

    def matches(self, path: Path) -> bool:
        """Whether the file's content is of this format; cheap."""

    def read(self, path: Path, options: ReadOptions) -> ScanFields:
        """Read the file; InputError when it breaks the format."""


class UnknownFormatError(InputError):
    """The file is readable, but no scan format recognises it."""


def signature(path: Path) -> bytes:
    """The first eight bytes of a file.

    Raises
    ------
    InputError
        When the path is not a readable regular file, or the file is empty.
    """
    with guarded(path), path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise InputError(f"a file with content was expected, received '{path}' which is empty.")
    return head


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, with or without a block of another program before it.

    Raises
    ------
    InputError
        See :func:`signature`.
    """
    head = signature(path)
    if head == HDF5_SIGNATURE:
        return True
    if head.startswith((ZIP_SIGNATURE, BZIP2_SIGNATURE)):
        return False
    with guarded(path), path.open("rb") as file:
        for start in USER_BLOCKS:
            file.seek(start)
            if file.read(8) == HDF5_SIGNATURE:
                return True
    return False


def is_matlab(path: Path) -> bool:
    """Whether a file says that MATLAB wrote it."""
    return signature(path).startswith(MATLAB_SIGNATURE)


def batches(patterns: PatternArray, itemsize: int | None = None) -> Iterator[slice]:
    """Slices of the first axis that hold about ``BATCH_BYTES`` each."""
    m, n = int(patterns.shape[0]), int(patterns.shape[1])
    size = max(
        1, BATCH_BYTES // (n * int(patterns.shape[2]) * (itemsize or patterns.dtype.itemsize))
    )
    for start in range(0, m, size):
        yield slice(start, min(start + size, m))


def sample_indices(m: int, size: int) -> NDArray[np.int64]:
    """At most ``size`` indices spread evenly over ``range(m)``."""
    return np.unique(np.linspace(0, m - 1, min(m, size)).round().astype(np.int64))


def refuse_metres(positions: NDArray[np.float64], where: str) -> None:
    """Raise InputError for positions (M, 2) that are said to be pixels and look like metres."""
    largest = float(np.abs(positions).max(initial=0))
    # Positions that are all 0 are in no unit.
    if len(positions) > 1 and 0 < largest < METRES_BELOW:
        raise InputError(
            f"{where} must be in object pixels, received numbers up to {largest:.3g} only, which "
            "look like metres, or another large unit; divide them by the pixel size of the object "
            "in this unit."
        )
