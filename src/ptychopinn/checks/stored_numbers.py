"""Counts that were spoilt when they were stored: bytes in the wrong order, counts beyond what the
numbers hold, their rounded square roots or logarithms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Mend, Noticed, check, finding
from ptychopinn.data.byte_order import absurd_as_stored, opposite_order
from ptychopinn.data.normalization import batch_length, slices
from ptychopinn.data.rounded_scale import rounded_scale, squared
from ptychopinn.data.wrapped import WrapTally, nearly_full
from ptychopinn.physics.readout import noise_of_roots

# Patterns that are looked at.
PATTERNS = 48
# A bit is no part of the counts from this number on, in this share of the readings, with so many
# different numbers below it.
FIRST_STATUS, STATUS_SHARE, BELOW = 2**8, 0.005, 8


@check("status-bit")
def status_bit(look: Look) -> Iterator[Noticed]:
    """A bit that is set in some readings and far above all counts."""
    top = int(look.largest[look.good].max(initial=0.0))
    if np.dtype(look.scan.diffraction.dtype).kind != "u" or top < FIRST_STATUS:
        return
    few = look.numbers[:: max(1, len(look.numbers) // PATTERNS)]
    readings = np.asarray(look.scan.diffraction[few])[:, look.good]
    bit = 1 << (top.bit_length() - 1)
    marked = readings >= bit
    share = float(marked.mean())
    # Counts fill the numbers below their largest one.
    if not STATUS_SHARE < share < 1 - STATUS_SHARE or 2 * int(readings[~marked].max()) >= bit:
        return
    low = np.unique(readings[marked] & (bit - 1))
    if len(low) < BELOW or 2 * int(low[-1]) >= bit:
        return
    yield (
        finding(
            "status-bit", "fault",
            f"the patterns must hold counts alone, received bit {bit.bit_length() - 1} ({bit}) set "
            f"in {share:.1%} of the readings, and none between {int(low[-1])} and it: a mark of "
            f"the detector, as for readings that are no good; clear it (counts & {bit - 1}), and "
            "mask those pixels if it says so.",
            bit=bit.bit_length() - 1, share=share,
        ),
        None,
    )  # fmt: skip


@check("swapped-bytes")
def swapped_bytes(look: Look) -> Iterator[Noticed]:
    """Numbers whose bytes are in the opposite order."""
    few = look.numbers[:: max(1, len(look.numbers) // PATTERNS)]
    if np.dtype(look.scan.diffraction.dtype).kind != "u":
        absurd = absurd_as_stored(np.asarray(look.scan.diffraction[few])[:, look.good])
        if absurd is not None:
            yield (
                finding(
                    "swapped-bytes", "fault",
                    f"the patterns must hold readings of a detector, received others: {absurd}; "
                    "write them anew in the order that the file states (little or big endian).",
                ),
                None,
            )  # fmt: skip
        return
    patterns = np.asarray(look.scan.diffraction[few])
    found = opposite_order(patterns, look.good, float(look.largest.max()))
    if found is not None:
        yield (
            finding("swapped-bytes", "mended", found.message, **found.details),
            Mend(swapped=found.width),
        )


@check("wrapped-counts")
def began_again(look: Look) -> Iterator[Noticed]:
    """Counts that began again at 0 where the numbers that store them end."""
    scan, top = look.scan, float(look.largest[look.good].max(initial=0.0))
    if np.dtype(scan.diffraction.dtype).kind != "u" or not nearly_full(top):
        return
    # A few patterns may be brighter than all others.
    tally = WrapTally((scan.N, scan.N))
    for part in slices(scan.M, batch_length(scan.N, 8)):
        tally.add(np.asarray(scan.diffraction[part]), look.good)
    found = tally.found(look.good)
    if found is not None:
        yield (
            finding(
                "wrapped-counts", "fault", found.message,
                end=found.end, readings=found.readings, places=found.places,
            ),
            None,
        )  # fmt: skip


@check("rounded-roots")
def rounded_roots(look: Look) -> Iterator[Noticed]:
    """Whole numbers that are square roots of counts, rounded."""
    if np.dtype(look.scan.diffraction.dtype).kind != "u":
        return
    found = noise_of_roots(look.sample, look.good)
    if found is not None:
        yield (
            finding(
                "rounded-roots", "fault",
                f"the patterns must hold counts, received whole numbers that scatter by "
                f"{found.scatter:.2g} where they are {found.bright:.3g} on average, and by as much "
                f"where they are less, as rounded square roots of counts do, while counts would by "
                f"{found.bright**0.5:.2g} there: read their file with units='amplitude', or store "
                "counts.",
                scatter=found.scatter, bright=found.bright,
            ),
            None,
        )  # fmt: skip


@check("rounded-scale")
def rounded_scales(look: Look) -> Iterator[Noticed]:
    """Whole numbers that are roots or logarithms of counts times a factor, rounded."""
    if np.dtype(look.scan.diffraction.dtype).kind != "u":
        return
    few = look.sample[:: max(1, len(look.sample) // PATTERNS)]
    readings = few[:, look.good]
    if squared(readings):
        yield (
            finding(
                "rounded-scale", "fault",
                "the patterns must hold counts, received whole numbers that all are squares of "
                "whole numbers (4, 9, 16, ... and none between them), as where counts were taken "
                "for amplitudes and squared; store counts, as np.rint(np.sqrt(x)) gives them.",
                scale="counts**2",
            ),
            None,
        )  # fmt: skip
        return
    found = rounded_scale(readings)
    if found is not None:
        numbers = ", ".join(map(str, found.numbers))
        yield (
            finding(
                "rounded-scale", "fault",
                f"the patterns must hold counts, received whole numbers of which only 0, {numbers} "
                f"... occur, as {found.name} times {found.factor:.4g} gives them once it is "
                f"rounded; store counts, as np.rint({found.undo}) gives them.",
                scale=found.name, factor=found.factor, numbers=list(found.numbers),
            ),
            None,
        )  # fmt: skip
