"""Which scan is it? A short text that two files of one scan share, and two scans do not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptychopinn.data.scan import Scan

# Pixels that are hashed at most; of a larger scan patterns at even distances are taken.
PIXELS = 1 << 24
LEAST_PATTERNS = 16
# Patterns that are read at once.
BATCH_BYTES = 32 << 20
# Positions are compared on a grid of this width in pixels. It is irrational, so that no raster of
# positions falls between two of its points, where the last bit would decide.
GRID = math.pi / 200


# Where the provenance of a mended scan keeps the fingerprint of the scan as it was given.
GIVEN = "mended_from"


def fingerprint(scan: Scan) -> str:
    """Digest of the counts, a hyphen, digest of the positions.

    Neither the format of the file, the type of its numbers, the origin of its positions, counts on
    bad pixels, probe nor object matter. Every pattern counts in scans of up to ``PIXELS`` pixels in
    all; of larger ones as many patterns as fit into that, at least ``LEAST_PATTERNS``, from the
    first to the last at even distances.
    """
    m, n = scan.M, scan.N
    taken = min(m, max(LEAST_PATTERNS, PIXELS // n**2))
    chosen = np.unique(np.linspace(0, m - 1, taken).astype(np.int64))
    length = max(1, BATCH_BYTES // (4 * n**2))
    size = f"{m} {n}".encode()
    counts = hashlib.blake2b(size, digest_size=12)
    bad = ~scan.good_pixels
    for start in range(0, len(chosen), length):
        part = chosen[start : start + length]
        # A run of them is not copied.
        run = slice(part[0], part[-1] + 1) if part[-1] - part[0] == len(part) - 1 else part
        block = np.array(scan.diffraction[run], "<f4", order="C")
        # This turns the -0 of floats into 0.
        block += 0
        if bad.any():
            block[:, bad] = 0
        counts.update(block.data)
    places = np.rint((scan.positions_px - scan.positions_px[0]) / GRID)
    positions = hashlib.blake2b(size, digest_size=8)
    positions.update((places.astype("<f8") + 0).tobytes())
    return f"{counts.hexdigest()}-{positions.hexdigest()}"


def identity_of(scan: Scan) -> str:
    """The fingerprint of a scan as it was given, before it was mended."""
    known = scan.provenance.get(GIVEN)
    return known if isinstance(known, str) else fingerprint(scan)


def difference(one: str, other: str) -> str | None:
    """Where two fingerprints differ: counts, positions or both, in words; None when they agree."""
    if one == other:
        return None
    pairs = zip(("counts", "positions"), one.split("-"), other.split("-"), strict=False)
    # What is no fingerprint, in a file that somebody changed, agrees with none.
    return " and ".join(name for name, a, b in pairs if a != b) or "counts and positions"


def recorded(provenance: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The fingerprint and the file of the scan that a result was made from, where they are known.

    Results of earlier versions and of other programs have none.
    """
    scan = provenance.get("scan")
    if not isinstance(scan, Mapping):
        return None, None
    found = [scan.get(key) for key in ("fingerprint", "file")]
    known, file = (value if isinstance(value, str) and value else None for value in found)
    return known, file
