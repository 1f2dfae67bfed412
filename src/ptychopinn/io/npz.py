"""NPZ scans in the dialects of earlier programs.

===================  ==========================================  =================================
dialect              patterns                                    remarks
===================  ==========================================  =================================
amplitude            ``diff3d`` or ``diffraction`` (M, N, N)     sqrt(counts), or normalised with
                     float                                       ``nphotons`` counts per pattern
intensity            ``diffraction`` (N, N, M) integers          counts
ptychodus export     ``diff3d`` (M, N, N) integers               counts, ``bad_pixels`` True = bad
===================  ==========================================  =================================

All have ``xcoords`` (columns) and ``ycoords`` (rows), (M,), in object pixels, where patch pixel
[N/2, N/2] sits, and ``probeGuess`` (N, N) or (P, N, N) of unknown scale. Optional are
``objectGuess`` (H, W) and the numbers ``photon_energy_eV``, ``detector_distance_m`` and
``detector_pixel_size_m``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import check_field
from ptychopinn.errors import InputError, listed
from ptychopinn.io.atomic import atomic_path
from ptychopinn.io.base import ReadOptions, ScanFields, refuse_metres
from ptychopinn.io.counts import to_counts
from ptychopinn.io.detector import clean
from ptychopinn.io.hdf5 import finite
from ptychopinn.io.layout import as_patterns, check_frame, counts_last, probe_modes
from ptychopinn.io.npz_members import Archive, is_archive
from ptychopinn.io.npz_units import units_of_object
from ptychopinn.io.pairing import chosen, cut_short, unequal
from ptychopinn.io.quantities import Kind, check_plausible
from ptychopinn.io.reading import parse_json
from ptychopinn.io.record import SCAN_ITEMS, Record, conjugate_pixel_m
from ptychopinn.io.record_scan import thin_object, to_pixels
from ptychopinn.io.rescaled import ways_to_undo

NAME = "npz"
DESCRIPTION = "NPZ with diff3d"

GEOMETRY = ("photon_energy_eV", "detector_object_distance_m")
KEEPS = SCAN_ITEMS.union(GEOMETRY)
# What others call a mask of the detector.
OTHER_MASKS = ("mask", "pixel_mask", "detector_mask", "good_pixels", "valid_pixels", "badpixels")
EXPERIMENT = ("photon_energy_eV", "detector_distance_m", "detector_pixel_size_m")
KINDS: tuple[tuple[str, Kind], ...] = (
    ("eV", "energy"),
    ("m", "distance"),
    ("m", "detector pixel"),
)

_log = logging.getLogger("ptychopinn.io")


def matches(path: Path) -> bool:
    """Whether the file is a ZIP of arrays; missing keys are reported by :func:`read`."""
    return is_archive(path)


def read(path: Path, options: ReadOptions) -> ScanFields:
    """Read a scan of any dialect; see the table above."""
    with Archive(path) as archive:
        positions = _positions(archive)
        key = _pattern_key(archive)
        # Shapes are checked on the headers, before anything large is read.
        transposed = _is_transposed(archive, key, len(positions), options.frames)
        where = f"'{key}' in '{path}'"
        stored = archive.numbers(key)
        stored = (
            np.moveaxis(stored, -1, 0) if transposed else as_patterns(stored, len(positions), where)
        )
        check_frame(stored.shape, where, path)
        _warn_of_masks(archive, stored.shape[1:])
        rows, places = chosen(
            len(stored), len(positions), options.frames, where,
            read=stored.__getitem__, values=positions,
        )  # fmt: skip
        cut = cut_short(options.frames, max(len(stored), len(positions)))
        stored, positions = stored[rows], positions[places]
        n = stored.shape[-1]
        file_photons = _scalar(archive, "nphotons")
        undo = ways_to_undo(options.units, options.photons or file_photons)
        cleaned = clean(
            stored, where, _mask(archive), clip_negative=options.clip_negative, undo=undo
        )
        stored, mask = cleaned.patterns, cleaned.good
        units, obj = options.units, _object(archive)
        if cleaned.clipped and not options.clip_negative and stored.dtype.kind == "f":
            # Noise about zero: amplitudes are never negative.
            units = units or "counts"
        units = "counts" if cleaned.undone else units
        probe = options.probe_or(lambda: _probe(archive, n))
        patterns, conversion = to_counts(
            stored,
            where,
            units=units,
            photons=options.photons,
            file_photons=file_photons or options.fallback_photons,
            mask=mask if mask is not None and mask.shape == stored.shape[1:] else None,
            judge=lambda: units_of_object(stored, positions, probe, obj),
        )
        provenance: dict[str, Any] = {
            "patterns": f"'{key}', {conversion}" + (", axes (N, N, M)" if transposed else "")
        }
        metadata = _metadata(archive)
        if metadata is not None:
            provenance["metadata"] = metadata
        energy, distance, detector = _experiment(archive)
        pixel = None
        if energy and distance and detector:
            geometry = {"photon_energy_eV": energy, "detector_object_distance_m": distance}
            conjugate = conjugate_pixel_m((detector, detector), patterns.shape[-1], geometry)
            pixel = None if conjugate is None else conjugate[1]
        return ScanFields(
            diffraction=patterns,
            positions_px=positions,
            probe=probe,
            probe_in_counts=False,
            name=path.stem,
            object=obj,
            mask=mask,
            pixel_size_m=pixel,
            energy_eV=energy,
            distance_m=distance,
            provenance=provenance,
            findings=(*cut, *cleaned.findings),
        )


def kept(record: Record) -> frozenset[str]:
    """What the format keeps of this record: a pixel size needs the whole geometry."""
    return KEEPS if _detector_pixel(record) else KEEPS - {"object_pixel"}


def _detector_pixel(record: Record) -> float | None:
    patterns, product = record.patterns, record.product
    if patterns is None or product.object_pixel_m is None:
        return None
    n = patterns.counts.shape[-1]
    pixel = conjugate_pixel_m(product.object_pixel_m, n, product.metadata)
    return None if pixel is None else pixel[1]


def write_record(record: Record, path: Path, *, force: bool = True) -> None:
    """Write the dialect of the ptychodus export; rows must pair patterns and positions already.

    ``xcoords`` and ``ycoords`` are where patch pixel [N/2, N/2] sits on ``objectGuess``.
    """
    patterns, product = record.patterns, record.product
    assert patterns is not None
    if product.probe is None:
        raise InputError(
            "an NPZ scan needs a probe, received a scan without; give it with the option probe."
        )
    obj = thin_object(product)
    shape = (0, 0) if product.object is None else product.object.shape[-2:]
    y, x = to_pixels(product.positions_m, product, shape).T
    content: dict[str, Any] = {
        "diff3d": patterns.counts,
        "bad_pixels": patterns.bad_pixels,
        "xcoords": x,
        "ycoords": y,
        "xcoords_start": x,
        "ycoords_start": y,
        "probeGuess": product.probe[0],
        "scan_index": np.zeros(len(x), np.int64),
    }
    if obj is not None:
        content["objectGuess"] = obj
    known = (*(product.metadata[key] for key in GEOMETRY), _detector_pixel(record))
    content |= {key: value for key, value in zip(EXPERIMENT, known, strict=True) if value}
    with atomic_path(path, force) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **content)


def _pattern_key(archive: Archive) -> str:
    for key in ("diff3d", "diffraction"):
        if key in archive:
            return key
    raise InputError(
        f"patterns were expected under 'diff3d' or 'diffraction' in '{archive.path}', received "
        f"{listed(archive.keys())}; rename the key of the patterns."
    )


def _positions(archive: Archive) -> NDArray[np.float64]:
    """Positions (M, 2) as (y, x); refused when they look like metres."""
    columns = {}
    for key in ("ycoords", "xcoords"):
        values = archive.numbers(key)
        if values.ndim > 1:
            values = values.reshape(-1)  # of a grid, row by row
        if values.dtype.kind == "c" or values.ndim != 1:
            raise InputError(
                f"'{key}' in '{archive.path}' must be real with shape (M,), received "
                f"{values.dtype} of shape {values.shape}; store one number per pattern."
            )
        columns[key] = values.astype(np.float64)
    y, x = columns["ycoords"], columns["xcoords"]
    if len(y) != len(x):
        raise InputError(
            f"'ycoords' and 'xcoords' in '{archive.path}' must have the same length, received "
            f"{len(y)} and {len(x)}; store one position per pattern."
        )
    positions = np.stack([y, x], axis=1)
    refuse_metres(positions, f"positions in '{archive.path}'")
    return positions


def _is_transposed(archive: Archive, key: str, m: int, frames: slice | None) -> bool:
    """Whether the axes are (N, N, M), decided by the number of positions ``m``."""
    shape, dtype = archive.shapes[key], archive.dtypes[key]
    where = f"'{key}' in '{archive.path}'"
    if len(shape) < 3:
        raise InputError(
            f"{where} must have shape (M, N, N) or (N, N, M), received {shape}; "
            "store one pattern per position."
        )
    if len(shape) > 3:
        return False
    upright, transposed = shape[0] == m, shape[2] == m
    if upright and transposed and shape[0] == shape[1]:
        # M = N: the numbers tell it, and else the dialects, of which only that of intensities,
        # integers under this name, puts the patterns last.
        stored = archive.numbers(key)
        last, first = counts_last(stored), counts_last(stored.transpose(2, 1, 0))
        return last or (not first and key == "diffraction" and dtype.kind in "iu")
    if upright and (shape[1] == shape[2] or not transposed):
        return False
    if transposed or (frames is not None and shape[0] == shape[1] != shape[2]):
        return True
    if shape[0] == shape[1] != shape[2] and abs(shape[2] - m) < abs(shape[0] - m):
        raise InputError(unequal(shape[2], m, frames, where))
    return False


def _probe(archive: Archive, n: int) -> NDArray[Any] | None:
    if "probeGuess" not in archive:
        return None
    return probe_modes(archive.numbers("probeGuess"), f"'probeGuess' in '{archive.path}'", n)


def _mask(archive: Archive) -> NDArray[np.bool_] | None:
    """Good pixels; the file marks the bad ones."""
    if "bad_pixels" not in archive:
        return None
    bad = archive.numbers("bad_pixels").astype(bool)
    return ~bad if bad.any() else None


def _warn_of_masks(archive: Archive, frame: tuple[int, ...]) -> None:
    """A mask under another name is not used: programs differ in whether it marks good pixels."""
    for name in OTHER_MASKS:
        if name in archive and archive.shapes[name] == frame:
            _log.warning(
                "the array '%s' in '%s' is not used: nothing says whether it marks good pixels or "
                "bad ones; store a mask of the detector as bad_pixels, true at bad pixels",
                name, archive.path,
            )  # fmt: skip


def _object(archive: Archive) -> NDArray[Any] | None:
    if "objectGuess" not in archive:
        return None
    obj = archive.numbers("objectGuess")
    check_field(obj, f"'objectGuess' in '{archive.path}'")
    if obj.ndim == 3 and obj.shape[0] == 1:
        obj = obj[0]
    if obj.size <= 1 or not obj.any():
        _log.info(
            "%s: objectGuess of shape %s is a placeholder and is ignored", archive.path, obj.shape
        )
        return None
    return obj


def _experiment(archive: Archive) -> list[float | None]:
    """Energy in eV, distance and pixel of the detector in metres, where they are there."""
    found = [_scalar(archive, key) for key in EXPERIMENT]
    for key, value, (unit, kind) in zip(EXPERIMENT, found, KINDS, strict=True):
        check_plausible(value or 0.0, unit, kind, f"'{key}' in '{archive.path}'", attribute="")
    return found


def _scalar(archive: Archive, key: str) -> float | None:
    if key not in archive:
        return None
    value = archive.numbers(key)
    if value.size != 1 or value.dtype.kind == "c":
        raise InputError(
            f"'{key}' in '{archive.path}' must be one real number, received shape {value.shape}; "
            "store a single number."
        )
    return finite(value.reshape(()), f"'{key}' in '{archive.path}'")


def _metadata(archive: Archive) -> Any:
    """``_metadata`` as plain data: a JSON string is parsed, any other string is kept."""
    if "_metadata" not in archive or archive.dtypes["_metadata"].kind not in "US":
        return None
    value = archive.read("_metadata").reshape(-1)
    if not len(value):
        return None
    text = value[0].decode("utf-8", errors="replace") if value.dtype.kind == "S" else str(value[0])
    try:
        return parse_json(text.encode("utf-8", errors="replace"))
    except ValueError:
        return text.encode("utf-8", errors="replace").decode()
