"""Stored numbers to photon counts: the one place where pattern units are converted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.byte_order import absurd_as_stored
from ptychopinn.data.normalization import total_pattern
from ptychopinn.data.scan import PatternArray
from ptychopinn.errors import InputError
from ptychopinn.io.base import Units, batches

# Amplitudes below this whose squares are not whole numbers are taken as normalised.
NORMALISED_BELOW = 10.0
# How exactly patterns have the number of photons that their file states.
STATED_PHOTONS = 0.05


def mean_counts(patterns: PatternArray, mask: NDArray[np.bool_] | None = None) -> float:
    """Mean over the patterns of their counts on the good pixels; read in batches."""
    total = total_pattern(patterns)
    return float((total if mask is None else total[mask]).sum()) / len(patterns)


def smallest_dtype(largest: float, where: str) -> np.dtype[Any]:
    """uint16 or uint32, whichever holds ``largest``."""
    if largest <= np.iinfo(np.uint16).max:
        return np.dtype(np.uint16)
    if largest <= np.iinfo(np.uint32).max:
        return np.dtype(np.uint32)
    raise InputError(
        f"{where} must hold counts below 2^32, received {largest:.4g}; "
        "set saturated or dead pixels to 0 and mark them as bad."
    )


def counts_from_integers(stored: NDArray[Any], where: str) -> NDArray[Any]:
    """Whole numbers (M, N, N) of any integer type as uint16 or uint32."""
    if not stored.size:
        return stored.astype(np.uint16)
    target = counts_dtype(float(stored.min()), float(stored.max()), where)
    return np.ascontiguousarray(stored, dtype=target)


def counts_dtype(low: float, high: float, where: str) -> np.dtype[Any]:
    """The type of counts for whole numbers from ``low`` to ``high``."""
    if low < 0:
        raise InputError(
            f"{where} must hold photon counts >= 0, received {low:.0f}; "
            "set such pixels to 0 and mark them as bad."
        )
    return smallest_dtype(high, where)


def counts_from_array(
    stored: NDArray[Any], where: str, units: Units | None = None, remedy: str = "square them"
) -> NDArray[Any]:
    """Photon counts (M, N, N) in any real type as uint16, uint32 or, where they are fractional,
    float32; with ``units`` "amplitude" the numbers are sqrt(counts).

    Raises
    ------
    InputError
        When they are not counts; squares that all are whole numbers show amplitudes, and
        ``remedy`` says what to do then.
    """
    if units == "amplitude" and stored.size:
        return to_counts(stored, where, units=units, photons=None)[0]
    if stored.dtype.kind in "iu" or not stored.size:
        return counts_from_integers(stored, where)
    if stored.dtype.kind != "f":
        raise InputError(
            f"{where} must hold real numbers, received {stored.dtype}; give photon counts."
        )
    return stored.astype(float_counts_dtype(_look(stored, where), where, remedy))


def float_counts_dtype(look: FloatLook, where: str, remedy: str) -> np.dtype[Any]:
    """The type of counts for floats that are looked through; see :func:`counts_from_array`."""
    if look.whole:
        return smallest_dtype(look.largest, where)
    if look.squares_whole:
        raise InputError(
            f"{where} must hold photon counts, received numbers up to {look.largest:.4g} whose "
            f"squares are whole, so that they look like sqrt(counts); {remedy}."
        )
    return np.dtype(np.float32)


def to_counts(
    stored: NDArray[Any],
    where: str,
    *,
    units: Units | None,
    photons: float | None,
    file_photons: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    judge: Callable[[], Units | None] | None = None,
) -> tuple[NDArray[Any], str]:
    """Patterns of the NPZ dialects as photon counts.

    Integers are counts. Floats are amplitudes where their squares are counts, whole numbers
    (rounded, as unsigned integers), and where they are normalised, the largest below 10; those are
    scaled to ``photons`` or ``file_photons`` counts per pattern on average. Of other fractional
    numbers ``units`` tells whether they are counts or noise-free amplitudes (float32), or else
    ``file_photons``, where they agree with one of both, or else ``judge``, which may know it.

    Returns
    -------
    The counts (M, N, N) and a sentence for the provenance.

    Raises
    ------
    InputError
        When the numbers contradict the units, nothing tells the units, or the photon scale is not
        known.
    """
    if stored.dtype.kind not in "iuf":
        raise InputError(
            f"{where} must hold real numbers, received {stored.dtype}; "
            "store counts as integers or amplitudes as floats."
        )
    if stored.dtype.kind in "iu" and units != "amplitude":
        _refuse_photons(photons, where)
        return counts_from_integers(stored, where), "stored as counts"
    if not stored.size:
        return np.zeros(stored.shape, np.uint16), "empty"
    look = _look(stored, where)
    # sqrt(2), sqrt(3), sqrt(5) ... are not whole: amplitudes that all are whole are counts.
    if units is None and look.whole and look.largest >= 2:
        raise InputError(
            f"{where} must hold amplitudes = sqrt(counts), received whole numbers up to "
            f"{look.largest:.6g}, which look like counts; if they are, pass "
            "units='counts'."
        )
    if units == "counts":
        return _stated_counts(stored, look, photons, where)
    if look.squares_whole:
        _refuse_photons(photons, where)
        target = smallest_dtype(look.largest**2, where)
        return _squares(stored, target), "amplitudes squared to whole counts"
    if look.largest >= NORMALISED_BELOW:
        _refuse_photons(photons, where)
        if units is None:
            units = _told_by(stored, mask, file_photons) or (judge() if judge else None)
            if units is None:
                raise _ask(stored, mask, where)
        if units == "counts":
            return stored.astype(np.float32), "fractional counts"
        return _squares(stored, np.dtype(np.float32)), "noise-free amplitudes squared to counts"
    if units is None and photons is None and _told_by(stored, mask, file_photons) == "counts":
        return stored.astype(np.float32), "fractional counts"
    scale = photons if photons is not None else file_photons
    if scale is None:
        raise InputError(
            f"{where} must hold counts or sqrt(counts), received numbers up to "
            f"{look.largest:.4g} only, of which neither they nor their squares are whole; if they "
            "are normalised amplitudes, sqrt(counts) times a factor, give the mean counts per "
            "pattern with photons=... or as the key 'nphotons'; if they are counts times a factor, "
            "pass units='counts'; if they are logarithms, undo those first, as in "
            "np.expm1(patterns)."
        )
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(
            f"the mean counts per pattern must be positive, received {scale:.4g}; "
            "give them with photons=...."
        )
    squares = _squares(stored, np.dtype(np.float32))
    mean = mean_counts(squares, mask)
    if mean == 0:
        raise InputError(f"{where} must hold some signal, received zeros only; check the file.")
    for part in batches(squares):
        squares[part] *= np.float32(scale / mean)
    return squares, f"normalised amplitudes squared and scaled to {scale:.6g} counts per pattern"


def _stated_counts(
    stored: NDArray[Any], look: FloatLook, photons: float | None, where: str
) -> tuple[NDArray[Any], str]:
    """Floats that are said to be counts."""
    if look.squares_whole and not look.whole:
        raise InputError(
            f"{where} must hold counts when its units are counts, received fractional numbers up "
            f"to {look.largest:.4g} whose squares are whole, so that they look like sqrt(counts); "
            "pass units='amplitude'."
        )
    _refuse_photons(photons, where)
    if look.whole:
        return stored.astype(smallest_dtype(look.largest, where)), "stored as counts in floats"
    return stored.astype(np.float32), "fractional counts"


def _means(stored: NDArray[Any], mask: NDArray[np.bool_] | None) -> tuple[float, float]:
    """Mean counts per pattern if the numbers are counts, and if they are amplitudes."""
    counts = mean_counts(stored, mask)
    squares = 0.0
    for part in batches(stored, 8):
        block = stored[part] if mask is None else stored[part][:, mask]
        squares += float((block.astype(np.float64) ** 2).sum())
    return counts, squares / len(stored)


def _told_by(
    stored: NDArray[Any], mask: NDArray[np.bool_] | None, photons: float | None
) -> Units | None:
    """The units with which the patterns have the number of photons that the file states."""
    if photons is None or not photons > 0:
        return None
    counts, squares = (abs(mean / photons - 1) <= STATED_PHOTONS for mean in _means(stored, mask))
    return None if counts == squares else "counts" if counts else "amplitude"


def _ask(stored: NDArray[Any], mask: NDArray[np.bool_] | None, where: str) -> InputError:
    counts, squares = _means(stored, mask)
    return InputError(
        f"the units of {where} must be known, received fractional numbers up to "
        f"{float(stored.max()):.4g} whose squares are fractional too; pass units='counts' if they "
        f"are counts that were corrected (then {counts:.4g} per pattern), or units='amplitude' if "
        f"they are noise-free sqrt(counts) (then {squares:.4g} per pattern)."
    )


def _refuse_photons(photons: float | None, where: str) -> None:
    if photons is not None:
        raise InputError(
            f"photons=... is meant for normalised amplitudes, received {photons:.6g} "
            f"for {where} which states its counts itself; leave it out."
        )


class FloatLook:
    """Facts about float patterns, seen block by block: how large, and whether whole numbers.

    Attributes
    ----------
    largest : of all numbers.
    whole, squares_whole : whether all numbers, or their squares, are whole.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.largest = 0.0
        self.whole, self._squares, self._some = True, True, False

    @property
    def squares_whole(self) -> bool:
        return self._squares and (self._some or self.largest == 0)

    def add(self, patterns: NDArray[Any]) -> None:
        """Look at patterns (m, N, N) more.

        Raises
        ------
        InputError
            When they are negative or no numbers.
        """
        # A stored amplitude carries a rounding error of its type, float32 at best in practice: its
        # square can be told from a fraction only where that error is small against 1.
        eps = max(
            float(np.finfo(patterns.dtype).eps) if patterns.dtype.kind == "f" else 0.0,
            float(np.finfo(np.float32).eps),
        )
        absurd = absurd_as_stored(patterns)
        if absurd is not None:
            raise InputError(
                f"{self._where} must hold readings of a detector, received others: {absurd}; write "
                "them anew in the order that the file states (little or big endian)."
            )
        block = patterns.astype(np.float64)
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{self._where} must hold finite numbers, received NaN or infinity; "
                "mark such pixels as bad and store 0 there."
            )
        if low < 0:
            raise InputError(
                f"{self._where} must hold numbers >= 0, received {low:.4g}; "
                "subtract the detector offset and clip at zero."
            )
        self.largest = max(self.largest, high)
        self.whole = self.whole and bool((block == np.rint(block)).all())
        if self._squares:
            squares = block**2
            tolerance = 1e-4 + 2 * eps * squares
            testable = tolerance < 0.1
            # Smaller ones are near to 0 whatever they are.
            self._some = self._some or bool((testable & (squares > 0.5)).any())
            distance = np.abs(squares - np.rint(squares))
            self._squares = bool((distance[testable] <= tolerance[testable]).all())


def _look(stored: NDArray[Any], where: str) -> FloatLook:
    found = FloatLook(where)
    for part in batches(stored, 8):
        found.add(stored[part])
    return found


def _squares(stored: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    out = np.empty(stored.shape, dtype=target)
    for part in batches(stored, 8):
        squares = stored[part].astype(np.float64) ** 2
        out[part] = np.rint(squares) if target.kind == "u" else squares
    return out
