"""Counts that were stored as their logarithm, or divided by a number, and show it themselves.

Counts are whole numbers. Where all numbers of patterns are whole once a logarithm is undone, or
once they are divided by the smallest of them, those whole numbers are the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.physics.readout import beyond_counting

STORED_SCALE = "stored-scale"
# How counts may be stored: as logarithms, times one factor or times one for each pattern, and as
# square roots times such factors.
LOGARITHMS = ("log10", "ln", "log2")
FACTORS = ("factor", "factors")
ROOTS = ("root-factor", "root-factors")
ALL = (*LOGARITHMS, *FACTORS, *ROOTS)

_LOGARITHMS: Mapping[str, tuple[str, str, float]] = MappingProxyType(
    {
        "log10": ("log10(counts + 1)", "10**x - 1", float(np.log(10))),
        "ln": ("log(counts + 1)", "exp(x) - 1", 1.0),
        "log2": ("log2(counts + 1)", "2**x - 1", float(np.log(2))),
    }
)
# Readings of a pattern that are looked at, patterns at first, and readings above 0 that are needed.
READINGS, FIRST, ENOUGH = 1 << 13, 4, 100
# So many different counts must be there, and this share of them be that small: numbers that were
# rounded to a few digits are multiples of a number, too, but mostly of many times that.
DIFFERENT, SMALL, SMALL_SHARE = 4, 3, 0.02
# The error of a number that was computed and stored with seven digits.
DIGITS = 2.5e-7
# A count whose error is larger than this cannot be told from a fraction.
TOLERANCE, WHOLE = 0.1, 1e-3
# Few counts that are read as one less than they are vary by so much more than photons do, as a
# share, and counts that are not by so much less; so often a number stands for 0.
ONE_LESS, SURE, FLOORED = 0.2, 0.1, 0.01
# Of larger ones nothing is said: they are no logarithms of counts.
LARGEST_EXPONENT = 60.0


@dataclass(frozen=True)
class Stored:
    """How counts were stored; called with patterns (m, H, W), it gives counts.

    ``step`` is what one count was stored as, of ``kind`` "factor" and "root-factor". Of logarithms
    0 may be that of a single count, too: ``beyond`` is then how much more counts would vary than
    photons do if 0 was that of no count only. It is ``unsure`` where the noise does not tell.
    """

    kind: str
    step: float = 1.0
    beyond: float | None = None
    unsure: bool = False

    def __call__(
        self, patterns: NDArray[Any], bad: NDArray[np.bool_] | None, numbers: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Counts; numbers that are whole but for rounding are made whole.

        Raises
        ------
        InputError
            For a pattern without the factor that the others have.
        """
        counts, error = _undone(self.kind, patterns.astype(np.float64), digits_of(patterns.dtype))
        if self.kind in ("factors", "root-factors"):
            good = np.ones(counts.shape[1:], bool) if bad is None else ~bad
            for k, number in enumerate(numbers):
                step = _step(counts[k][good], error[k][good])
                if step is None and counts[k][good].any():
                    raise InputError(
                        "patterns must be whole multiples of a number of their own, as most are, "
                        f"received pattern {int(number)}, which is not; leave it out with the "
                        "option frames, or store counts."
                    )
                counts[k] /= step or 1.0
                error[k] /= step or 1.0
        else:
            counts, error = counts / self.step, error / self.step
        if self.beyond is not None:
            counts = np.where(counts > 0.5, counts + 1, 0)
        whole = np.rint(counts)
        near = np.abs(counts - whole) <= np.maximum(error, WHOLE)
        if bad is not None:
            # Whatever they hold.
            near |= bad
        return np.where(near, whole, counts)

    def finding(self, largest: float) -> Finding:
        """What is said about it; ``largest`` of the counts."""
        details: dict[str, Any] = {"kind": self.kind, "largest": largest}
        if self.kind in _LOGARITHMS:
            name, undo, _ = _LOGARITHMS[self.kind]
            words = f"the numbers are {name}, since {undo} is whole for all of them"
            if self.unsure:
                words += " (those of max(counts, 1) would be whole too, and all counts 1 more)"
            if self.beyond is not None:
                details["beyond"] = self.beyond
                words = (
                    f"the numbers are {name.replace('counts + 1', 'max(counts, 1)')}, since "
                    f"{undo.removesuffix(' - 1')} is whole for all of them, and with 1 less few "
                    f"counts would vary by {self.beyond:.0%} more than photons do; 0 and 1 became "
                    "the same number, which is read as 0"
                )
        elif self.kind == "factor":
            details["step"] = self.step
            words = (
                "the numbers are counts times a factor, since all of them are whole multiples of "
                f"{self.step:.6g}"
            )
        elif self.kind == "root-factor":
            details["step"] = self.step
            words = (
                "the numbers are sqrt(counts) times a factor, since all their squares are whole "
                f"multiples of {self.step:.6g}"
            )
        else:
            what = "their squares" if self.kind == "root-factors" else "all numbers"
            stored = "sqrt(counts)" if self.kind == "root-factors" else "counts"
            words = (
                f"the numbers are {stored} times a factor of each pattern, since {what} in it are "
                "whole multiples of one of them"
            )
        return Finding(
            STORED_SCALE, "mended", f"{words}: read as counts up to {largest:.6g}", details
        )


def ways_to_undo(units: str | None, photons: float | None = None) -> tuple[str, ...]:
    """The ways in which counts may be stored where this is said of the units of patterns.

    Amplitudes of a known number of ``photons`` are squared and scaled to it.
    """
    if units == "amplitude":
        return ()
    return ALL if units is None and photons is None else (*LOGARITHMS, *FACTORS)


def how_stored(
    few: NDArray[Any], bad: NDArray[np.bool_] | None, kinds: tuple[str, ...]
) -> Stored | None:
    """How the counts in some patterns (m, H, W) of a scan were stored, of these ``kinds``.

    ``bad`` (H, W) pixels do not count. None where they are whole as they are, or nothing tells.
    """
    if few.dtype.kind != "f" or not kinds or not len(few):
        return None
    digits = digits_of(few.dtype)
    flat = few.reshape(len(few), -1)
    if bad is not None and bad.any():
        flat = flat[:, ~bad.reshape(-1)]
    flat = flat[:, :: max(1, flat.shape[1] // READINGS)].astype(np.float64)
    if not np.isfinite(flat).all() or flat.min(initial=0.0) < 0 or _plain(flat, digits):
        return None
    found = next((one for kind in kinds if (one := _tried(kind, flat, digits)) is not None), None)
    if found is not None and found.kind in _LOGARITHMS:
        good = np.ones(few.shape[1:], bool) if bad is None else ~bad
        beyond = beyond_counting(np.rint(_undone(found.kind, few.astype(float), digits)[0]), good)
        if beyond is not None and beyond > ONE_LESS:
            return replace(found, beyond=beyond)
        return replace(found, unsure=beyond is None or beyond > SURE)
    return found


def refuse_floored(few: NDArray[Any], where: str) -> None:
    """Raise InputError for logarithms of counts (m, H, W) in which a negative number stands for 0:
    that of a number put in its place, or added to all."""
    if few.dtype.kind != "f" or not few.size:
        return
    values = few.reshape(len(few), -1).astype(np.float64)
    floor = float(np.min(values, where=np.isfinite(values), initial=0.0))
    if not floor < 0 or (values == floor).mean() < FLOORED:
        return
    above = (values > floor) & np.isfinite(values)
    if _plain(np.where(above, values, 0), digits_of(few.dtype)):
        # Counts as they are, beside a number that stands for none.
        return
    others = np.where(above, values, -np.inf)
    for factor in (10.0, np.e, 2.0):
        exponent = np.minimum(others * np.log(factor), LARGEST_EXPONENT)
        for added in (0.0, factor**floor):
            counts = np.exp(exponent) - added * np.isfinite(others)
            error = digits_of(few.dtype) * (counts + 1) * np.maximum(np.abs(exponent), 1)
            if counts.min() > -WHOLE and _whole(counts, np.where(np.isfinite(error), error, 0)):
                base = {10.0: "10**x", 2.0: "2**x"}.get(factor, "exp(x)")
                raise InputError(
                    f"{where} must hold photon counts, received their logarithms: {base} is whole "
                    f"for all numbers but the smallest, {floor:.6g}, which stands for 0; store "
                    f"counts, as {base} gives them, and 0 there."
                )


def digits_of(dtype: np.dtype[Any]) -> float:
    """The error of a number of this type that was computed before it was stored, as a share."""
    return max(DIGITS, 1.2 * float(np.finfo(dtype).eps))


def _plain(values: NDArray[np.float64], digits: float) -> bool:
    """Whether numbers, or their squares, are whole as they are."""
    some = values[:FIRST]
    return _all_whole(some, digits * some) or _all_whole(some**2, 2 * digits * some**2)


def _tried(kind: str, values: NDArray[np.float64], digits: float) -> Stored | None:
    counts, error = _undone(kind, values, digits)
    if kind in _LOGARITHMS:
        fits = _whole(counts[:FIRST], error[:FIRST]) and _whole(counts, error)
        return Stored(kind) if fits else None
    if kind in ("factor", "root-factor"):
        step = _step(counts[:FIRST], error[:FIRST])
        if step is None or not _whole(counts / step, error / step):
            return None
        return Stored(kind, step)
    # A pattern without any light fits everything.
    lit = [k for k in range(len(counts)) if counts[k].any()]
    fits = all(_step(counts[k], error[k]) is not None for k in lit)
    return Stored(kind) if lit and fits else None


def _undone(
    kind: str, values: NDArray[np.float64], digits: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numbers whose multiples are counts, and the error that each may have."""
    if kind in _LOGARITHMS:
        exponent = np.minimum(values * _LOGARITHMS[kind][2], LARGEST_EXPONENT)
        counts = np.expm1(exponent)
        return counts, digits * (counts + 1) * np.maximum(exponent, 1)
    if kind in ROOTS:
        return values**2, 2 * digits * values**2
    return values, digits * values


def _step(values: NDArray[np.float64], error: NDArray[np.float64]) -> float | None:
    """What one count is in these numbers; None where they are no multiples of it."""
    lit = values[values > 0]
    if not lit.size:
        return None
    smallest = float(lit.min())
    # Where no pixel has a single count the smallest is two or three of them.
    for counts in (1, 2, 3):
        step = smallest / counts
        # The step is as inexact as the number that it was taken from.
        if _whole(values / step, 2 * error / step):
            return step
    return None


def _whole(counts: NDArray[np.float64], error: NDArray[np.float64]) -> bool:
    """Whether all numbers that are exact enough are whole, and look like counts of photons."""
    if not _all_whole(counts, error):
        return False
    near = np.rint(counts[(error < TOLERANCE) & (counts > WHOLE)])
    return bool(
        near.size >= ENOUGH
        and np.count_nonzero(near <= SMALL) >= SMALL_SHARE * np.count_nonzero(counts)
        and len(np.unique(near[:READINGS])) >= DIFFERENT
    )


def _all_whole(numbers: NDArray[np.float64], error: NDArray[np.float64]) -> bool:
    exact = error < TOLERANCE
    off = np.abs(numbers - np.rint(numbers))
    return bool((off <= np.maximum(error, WHOLE))[exact].all())
