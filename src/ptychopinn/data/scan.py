"""The central noun: one ptychographic scan, in the units and axes used everywhere in the
package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation, check_propagation, propagator_of
from ptychopinn.errors import InputError
from ptychopinn.physics.propagators import Propagator

N_MIN, N_MAX = 32, 512
COUNT_DTYPES = (np.dtype("uint16"), np.dtype("uint32"), np.dtype("float32"))


@runtime_checkable
class PatternArray(Protocol):
    """What ``Scan.diffraction`` must offer: a NumPy array, or a lazy array read from disk.

    Indexing with a slice or an integer array (any order, repeats allowed) along the first axis
    returns a NumPy array.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> NDArray[Any]: ...


def check_counts(patterns: NDArray[Any], where: str = "diffraction") -> None:
    """Raise InputError unless every value is finite and not negative."""
    if patterns.dtype.kind == "f":
        if not np.isfinite(patterns).all():
            raise InputError(
                f"{where} must hold finite photon counts, received NaN or infinity; "
                "mark bad pixels in `mask` and store 0 there."
            )
        if patterns.size and patterns.min() < 0:
            raise InputError(
                f"{where} must hold photon counts >= 0, received {patterns.min():.4g}; "
                "subtract the detector offset and clip at zero before loading."
            )


@dataclass(frozen=True, eq=False)
class Scan:
    """One scanning coherent-diffraction experiment. Immutable; ``dataclasses.replace`` makes
    variants.

    Attributes
    ----------
    diffraction : (M, N, N) uint16, uint32 or float32
        Photon counts, zero frequency at pixel [N/2, N/2]. NumPy array or lazy on-disk array.
    positions_px : (M, 2) float64
        (y, x) in object pixels: where pixel [N/2, N/2] of the patch sits on the object grid.
    probe : (P, N, N) complex64
        Incoherent probe modes in sqrt(counts): ``sum(abs(probe)**2)`` is the count per pattern
        through vacuum.
    object : (H, W) complex64, optional
        Known (simulated) or previously reconstructed object; ``positions_px`` index into it.
    mask : (N, N) bool, optional
        True at good detector pixels. None means that all are good.
    pixel_size_m, energy_eV, distance_m : float, optional
        Object pixel in metres, photon energy in electron volts, sample-detector distance in metres.
    propagation : "far-field" or "near-field"
        How the exit wave reaches the detector. The near field needs all three numbers above.
    focus_distance_m : float, optional
        Near field: distance from the focus of a cone beam to the sample; a parallel beam when
        left out.
    name : str
    provenance : mapping
        Plain JSON data: where the scan came from and what was done to it.

    Raises
    ------
    InputError
        When any field breaks the contract above.
    """

    diffraction: PatternArray
    positions_px: NDArray[np.float64]
    probe: NDArray[np.complex64]
    object: NDArray[np.complex64] | None = None
    mask: NDArray[np.bool_] | None = None
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    distance_m: float | None = None
    propagation: Propagation = "far-field"
    focus_distance_m: float | None = None
    name: str = "scan"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.diffraction.shape)
        if len(shape) != 3 or shape[1] != shape[2]:
            raise InputError(
                f"diffraction must have shape (M, N, N) with square patterns, received {shape}; "
                "crop or pad the patterns to a square."
            )
        m, n = shape[0], shape[1]
        if m == 0:
            raise InputError(
                "diffraction must hold at least one pattern, received an empty scan; "
                "check the file or the selection of patterns."
            )
        if n % 2 or not N_MIN <= n <= N_MAX:
            raise InputError(
                f"pattern size N must be even and between {N_MIN} and {N_MAX}, received {n}; "
                "crop, pad or bin the patterns."
            )
        if self.diffraction.dtype not in COUNT_DTYPES:
            raise InputError(
                "diffraction must be photon counts as uint16, uint32 or float32, received dtype "
                f"{self.diffraction.dtype}; convert it first."
            )
        if isinstance(self.diffraction, np.ndarray):
            check_counts(self.diffraction)
        positions = np.array(self.positions_px, dtype=np.float64)
        if positions.shape != (m, 2):
            raise InputError(
                f"positions_px must have shape ({m}, 2) as (y, x) for {m} patterns, received "
                f"{positions.shape}; give one position per pattern."
            )
        if not np.isfinite(positions).all():
            raise InputError(
                "positions_px must be finite, received NaN or infinity; remove those patterns."
            )
        probe = np.array(self.probe, dtype=np.complex64)
        if probe.ndim == 2:
            probe = probe[None]
        if probe.ndim != 3 or probe.shape[1:] != (n, n) or probe.shape[0] == 0:
            raise InputError(
                f"probe must have shape (P, {n}, {n}) to match the patterns, received "
                f"{np.shape(self.probe)}; crop, pad or resample the probe."
            )
        if not np.isfinite(probe).all() or not np.any(probe):
            raise InputError(
                "probe must be finite and not zero everywhere, received one that is not; "
                "give another probe."
            )
        obj = None
        if self.object is not None:
            obj = np.array(self.object, dtype=np.complex64)
            if obj.ndim != 2:
                raise InputError(
                    f"object must have shape (H, W), received {obj.shape}; give one 2-D layer."
                )
            if not np.isfinite(obj).all():
                raise InputError("object must be finite, received NaN or infinity; repair it.")
            check_inside(positions, n, obj.shape)
        mask = None
        if self.mask is not None:
            mask = np.array(self.mask, dtype=bool)
            if mask.shape != (n, n):
                raise InputError(
                    f"mask must have shape ({n}, {n}) with True at good pixels, received "
                    f"{mask.shape}; give one mask for all patterns."
                )
            if not mask.any():
                raise InputError(
                    "mask must leave at least one good pixel, received none; "
                    "True means good here: invert the mask if yours marks bad pixels."
                )
        for name in ("pixel_size_m", "energy_eV", "distance_m", "focus_distance_m"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(
                    f"{name} must be positive, received {value}; leave it out when unknown."
                )
        check_propagation(self)
        for array in (positions, probe, obj, mask):
            if array is not None:
                array.flags.writeable = False
        object.__setattr__(self, "positions_px", positions)
        object.__setattr__(self, "probe", probe)
        object.__setattr__(self, "object", obj)
        object.__setattr__(self, "mask", mask)

    @property
    def M(self) -> int:
        """Number of diffraction patterns."""
        return int(self.diffraction.shape[0])

    @property
    def N(self) -> int:
        """Pattern and patch size in pixels."""
        return int(self.diffraction.shape[1])

    @property
    def propagator(self) -> Propagator:
        """From the exit wave to the detector."""
        return propagator_of(self, self.N)

    @property
    def good_pixels(self) -> NDArray[np.bool_]:
        """(N, N) bool, True at good detector pixels; all True when there is no mask."""
        return np.ones((self.N, self.N), dtype=bool) if self.mask is None else self.mask

    def select(self, index: Any) -> Scan:
        """The scan restricted to the patterns ``index`` (slice, integer or boolean array).

        Only the chosen patterns are read when the scan is lazy.
        """
        chosen = np.arange(self.M)[index]
        return replace(
            self, diffraction=self.diffraction[chosen], positions_px=self.positions_px[chosen]
        )


def check_inside(positions: NDArray[np.float64], n: int, shape: tuple[int, ...]) -> None:
    """Raise InputError unless every patch of size n lies on an object of the given shape."""
    corner = np.floor(positions + 0.5).astype(np.int64) - n // 2
    outside = ((corner < 0) | (corner + n > np.asarray(shape))).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        y, x = positions[first]
        raise InputError(
            f"every patch must lie on the object of shape {tuple(shape)}, received "
            f"{int(outside.sum())} "
            f"position(s) outside, the first being number {first} at (y, x) = ({y:.4g}, {x:.4g}) "
            f"px "
            f"with N = {n}; check the order (y, x), the origin and the unit (pixels) of the "
            f"positions."
        )
