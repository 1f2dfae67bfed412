"""One ptychographic scan, in the units and axes used everywhere in the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation, check_experiment, propagator_of
from ptychopinn.data.far_away import (
    LARGEST_POSITION,
    first_of,
    lonely_positions,
    position_text,
    why_outside,
)
from ptychopinn.errors import InputError, PatternShapeError
from ptychopinn.machine.memory import check_memory
from ptychopinn.physics.propagators import Propagator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Unit = Literal["px", "m", "mm", "um", "nm"]

N_MIN, N_MAX = 32, 512
# Beyond, float64 cannot tell two neighbouring counts apart, and a file no longer holds the sum.
LARGEST_COUNTS = 2**53
# Beyond, the intensities of a field are no longer finite in single precision.
LARGEST_FIELD = 1e15
# What stitching holds of each canvas pixel: two complex sums and the weights, in float64.
CANVAS_BYTES = 32
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
        if patterns.size and float(patterns.max()) > LARGEST_COUNTS / patterns[0].size:
            sums = patterns.sum(axis=(1, 2), dtype=np.float64)
            if sums.max() > LARGEST_COUNTS:
                raise InputError(
                    f"{where} must hold at most 2^53 counts per pattern, received "
                    f"{sums.max():.4g} in pattern {int(sums.argmax())}; such numbers are no photon "
                    "counts, correct their unit or mark bad pixels and store 0 there."
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
    saturation : float, optional
        Counts from which a reading is a lower bound only: a saturated pixel.
    pixel_size_m, energy_eV, distance_m : float, optional
        Object pixel in metres, photon energy in electron volts, sample-detector distance in metres.
    propagation : "far-field" or "near-field", or a propagator of your own
        How the exit wave reaches the detector. The near field needs all three numbers above. Your
        own is a :class:`ptychopinn.physics.propagators.Propagator`; no file can hold it.
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
    propagation: Propagation | Propagator = "far-field"
    focus_distance_m: float | None = None
    name: str = "scan"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    saturation: float | None = None

    def __repr__(self) -> str:
        known = "" if self.object is None else f", object {' x '.join(map(str, self.object.shape))}"
        return (
            f"Scan({self.name!r}: {self.M} patterns of {self.N} x {self.N}, "
            f"{self.diffraction.dtype}, probe {' x '.join(map(str, self.probe.shape))}{known})"
        )

    def _repr_html_(self) -> str:
        from ptychopinn.report.notebook import scan_card

        return scan_card(self)

    def __post_init__(self) -> None:
        shape = tuple(self.diffraction.shape)
        if len(shape) != 3 or shape[1] != shape[2]:
            raise PatternShapeError(
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
            raise PatternShapeError(
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
        check_canvas(positions, n)
        check_field(np.asarray(self.probe), "probe")
        probe = np.array(self.probe, dtype=np.complex64)
        if probe.ndim == 2:
            probe = probe[None]
        if probe.ndim != 3 or probe.shape[1:] != (n, n) or probe.shape[0] == 0:
            raise InputError(
                f"probe must have shape (P, {n}, {n}) to match the patterns, received "
                f"{np.shape(self.probe)}; cut or pad it about its middle where its pixels are "
                "those of the object, resample it where they are not, or let probe='auto' find one."
            )
        if not np.any(probe):
            raise InputError(
                "probe must not be zero everywhere, received one that is; give another probe."
            )
        obj = None
        if self.object is not None:
            check_field(np.asarray(self.object), "object")
            obj = np.array(self.object, dtype=np.complex64)
            if obj.ndim != 2:
                raise InputError(
                    f"object must have shape (H, W), received {obj.shape}; give one 2-D layer."
                )
            check_inside(positions, n, obj.shape, ", or leave the object out")
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
        if self.saturation is not None and not self.saturation > 0:
            raise InputError(
                f"saturation must be a positive number of counts, received {self.saturation}; "
                "leave it out when no pixel saturates."
            )
        check_experiment(self)
        for array in (positions, probe, obj, mask):
            if array is not None:
                array.flags.writeable = False
        object.__setattr__(self, "positions_px", positions)
        object.__setattr__(self, "probe", probe)
        object.__setattr__(self, "object", obj)
        object.__setattr__(self, "mask", mask)

    @classmethod
    def from_arrays(
        cls,
        counts: Any,
        positions: Any,
        probe: Any = None,
        *,
        modes: int | None = None,
        unit: Unit = "px",
        pixel_size_m: float | None = None,
        scale_probe: bool = True,
        order: Literal["yx", "xy"] = "yx",
        object: Any = None,
        mask: Any = None,
        energy_eV: float | None = None,
        distance_m: float | None = None,
        propagation: Propagation | Propagator = "far-field",
        focus_distance_m: float | None = None,
        name: str = "scan",
        clip_negative: bool = False,
    ) -> Scan:
        """A scan of arrays in any units, treated as :func:`ptychopinn.load_scan` treats a file.

        Parameters
        ----------
        counts : (M, N, N) photon counts of any real type, zero frequency at pixel [N/2, N/2]; the
            scan may have several axes.
        positions : (M, 2) where patch pixel [N/2, N/2] sits, in ``unit``, columns in ``order``.
        probe : (N, N) or incoherent modes (P, N, N), complex; or a text for
            :func:`ptychopinn.load_scan`, such as "auto".
        modes : how many incoherent modes the probe gets in all.
        unit : "px" for object pixels, else "m", "mm", "um" or "nm", which need ``pixel_size_m``.
            Any origin will do, unless an ``object`` is given: then it is its pixel [0, 0].
        scale_probe : scale the probe so that its counts through vacuum are the mean counts of the
            patterns, and the object so that both give the measured counts. Without it the probe is
            in sqrt(counts) already, and it is checked that it does not contradict the patterns.
        order : "yx" for rows before columns, "xy" for the other order.
        object, mask, energy_eV, distance_m, propagation, focus_distance_m, name : as the attributes
            of the scan; the mask is True at good pixels.
        clip_negative : set negative counts to 0, whatever they look like.

        Raises
        ------
        InputError
            When there is no probe, an array is of another shape or unit, or they contradict each
            other.
        """
        # Units are converted in one place, a floor above values.
        from ptychopinn.io.in_memory import scan_from_arrays

        return scan_from_arrays(
            counts,
            positions,
            probe,
            modes,
            unit=unit,
            order=order,
            scale_probe=scale_probe,
            pixel_size_m=pixel_size_m,
            object=object,
            mask=mask,
            energy_eV=energy_eV,
            distance_m=distance_m,
            propagation=propagation,
            focus_distance_m=focus_distance_m,
            name=name,
            clip_negative=clip_negative,
        )

    def plot(self) -> Figure:
        """Mean pattern, counts at every position and probe, as a figure of matplotlib that no
        window belongs to."""
        # Pictures are floors above values.
        from ptychopinn.report.plots import scan_overview

        return scan_overview(self)

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


def check_field(field: NDArray[Any], what: str) -> None:
    """Raise InputError unless a probe or an object is finite and of a size whose squares are."""
    with np.errstate(all="ignore"):
        size = float(np.abs(field).max(initial=0)) if field.dtype.kind in "fc" else 0.0
    if not size <= LARGEST_FIELD:
        raise InputError(
            f"{what} must be finite and below {LARGEST_FIELD:g}, received "
            f"{'one up to ' + format(size, '.4g') if np.isfinite(size) else 'NaN or infinity'}; "
            "repair it or give another one."
        )


def check_canvas(positions: NDArray[np.float64], n: int) -> None:
    """Raise InputError unless an object array that holds every patch can be made.

    ``positions`` (M, 2) are (y, x) in object pixels, ``n`` is the size of a patch. They must be
    finite, none may lie far away from all others, and the canvas must fit into the memory. The
    message names the position that does not.
    """
    size = np.abs(positions).max(axis=1)
    finite = size <= LARGEST_POSITION
    if not finite.all():
        raise InputError(
            "positions_px must be finite numbers of pixels, received "
            f"{first_of(positions, ~finite)}; correct or remove what is wrong."
        )
    distance = np.abs(positions - np.median(positions, axis=0)).max(axis=1)
    farthest = int(distance.argmax())
    lonely = lonely_positions(positions, n)
    if lonely[farthest]:
        others = "" if lonely.sum() == 1 else f", and so are {int(lonely.sum()) - 1} more"
        raise InputError(
            "the positions must belong to one scan, received "
            f"{position_text(positions, farthest)}, which is {distance[farthest]:.4g} px away from "
            f"the others{others}; correct its unit or remove it."
        )
    height, width = positions.max(axis=0) - positions.min(axis=0) + n + 2
    check_memory(
        int(height) * int(width) * CANVAS_BYTES,
        f"the object array of {height:.0f} x {width:.0f} pixels that holds all positions, the "
        f"farthest being {position_text(positions, farthest)},",
        "correct the unit of the positions, or use a part of the scan",
    )


def check_inside(
    positions: NDArray[np.float64], n: int, shape: tuple[int, ...], or_else: str = ""
) -> None:
    """Raise InputError unless every patch of size n lies on an object of the given shape;
    ``or_else`` is what may be done beside correcting the positions."""
    # In floating point: a position of any size is outside, it must not wrap around.
    corner = np.floor(positions + 0.5) - n // 2
    outside = ((corner < 0) | (corner + n > np.asarray(shape))).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        y, x = positions[first]
        raise InputError(
            f"every patch must lie on the object of shape {tuple(shape)}, received "
            f"{int(outside.sum())} position(s) outside, the first being number {first} at (y, x) = "
            f"({y:.4g}, {x:.4g}) px with N = {n}; "
            f"{why_outside(positions, n, shape)}{or_else}."
        )
