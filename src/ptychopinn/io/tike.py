"""The test scans of tike: NPZ, or NPZ compressed as a whole with bzip2.

``data`` (1, M, N, N) counts with the zero frequency at [0, 0]; ``probe`` (1, 1, 1, P, N, N) of
unknown scale; ``scan`` (1, M, 2) with [:, 0] the row. tike places a patch by its *minimum corner*,
here a position is where patch pixel [N/2, N/2] sits: ``r = scan + N/2``. Its far field is, as here,
the plain FFT of probe times patch, so that real space needs neither shift nor flip.
"""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import (
    BZIP2_SIGNATURE,
    ZIP_SIGNATURE,
    ReadOptions,
    ScanFields,
    signature,
)
from ptychopinn.io.counts import to_counts
from ptychopinn.io.detector import Cleaned, clean
from ptychopinn.io.layout import as_points, check_frame, probe_modes
from ptychopinn.io.npz_members import Archive, is_archive
from ptychopinn.io.pairing import chosen, cut_short
from ptychopinn.io.reading import guarded
from ptychopinn.io.rescaled import ways_to_undo

NAME = "tike"
DESCRIPTION = "tike"


def matches(path: Path) -> bool:
    """Whether the file is an NPZ with ``data`` and ``scan``, or a bzip2 file that holds a ZIP."""
    if signature(path).startswith(BZIP2_SIGNATURE):
        with guarded(path), bz2.open(path) as file:
            return file.read(len(ZIP_SIGNATURE)) == ZIP_SIGNATURE
    if not is_archive(path):
        return False
    with Archive(path) as archive:
        return "data" in archive and "scan" in archive


def _probe(archive: Archive, n: int) -> NDArray[Any] | None:
    if "probe" not in archive:
        return None
    return probe_modes(archive.numbers("probe"), f"'probe' in '{archive.path}'", n)


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read the one view (angle) of the file."""
    if options.units == "amplitude":
        raise InputError(
            f"'{path}' is in the tike format, which stores counts, received units='amplitude'; "
            "leave that out."
        )
    with Archive(path) as archive:
        data = archive.numbers("data")
        scan = archive.numbers("scan")
        where = f"'data' in '{path}'"
        if data.ndim == 4 and data.shape[0] == 1:
            data = data[0]
        if scan.ndim == 3 and scan.shape[0] == 1:
            scan = scan[0]
        if data.ndim != 3:
            raise InputError(
                f"{where} must have shape (1, M, N, N), received {archive.shapes['data']}; "
                "store one view with square patterns."
            )
        check_frame(data.shape, where, path)
        if scan.ndim == 2 and scan.dtype.kind != "c":
            scan = as_points(scan, len(data), (2,), f"'scan' in '{path}'", "(1, M, 2)")
        if scan.ndim != 2 or scan.dtype.kind == "c":
            raise InputError(
                f"'scan' in '{path}' must be real with shape (1, {len(data)}, 2), received "
                f"{archive.shapes['scan']} of {scan.dtype}; store one (row, column) per pattern."
            )
        rows, places = chosen(
            len(data), len(scan), options.frames, f"'data' and 'scan' in '{path}'",
            read=data.__getitem__, values=scan,
        )  # fmt: skip
        cut = cut_short(options.frames, max(len(data), len(scan)))
        cleaned = clean(
            data[rows],
            where,
            None,
            clip_negative=options.clip_negative,
            undo=ways_to_undo(options.units),
        )
        patterns, conversion = _counts(cleaned, where, options)
        del data
        n = patterns.shape[-1]
        probe = options.probe_or(lambda: _probe(archive, n))
        good = cleaned.good
        return ScanFields(
            diffraction=np.fft.fftshift(patterns, axes=(1, 2)),
            positions_px=scan[places].astype(np.float64) + patterns.shape[-1] / 2,
            probe=probe,
            probe_in_counts=False,
            mask=None if good is None else np.fft.fftshift(good),
            findings=(*cut, *cleaned.findings),
            name=path.name.removesuffix(".bz2").removesuffix(".npz"),
            provenance={
                "patterns": f"'data', {conversion}, zero frequency moved from [0, 0] to [N/2, N/2]",
                "positions": "N/2 added: minimum corner to patch pixel [N/2, N/2]",
            },
        )


def _counts(cleaned: Cleaned, where: str, options: ReadOptions) -> tuple[NDArray[np.generic], str]:
    """The counts; fractional ones where the user says so, or noise about zero shows it."""
    stored = cleaned.patterns
    stated = options.units == "counts" or cleaned.clipped or cleaned.undone
    if stored.dtype.kind == "f" and not stated and (stored != np.rint(stored)).any():
        raise InputError(
            f"{where} must hold whole counts, received fractional numbers up to "
            f"{float(stored.max()):.4g}; if they are counts that were corrected, pass "
            "units='counts'."
        )
    return to_counts(stored, where, units="counts", photons=options.photons)
