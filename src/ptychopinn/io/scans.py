"""Reading and writing scans.

Every format is one module that says whether a file is its own (``matches``) and reads it
(``read``); ``FORMATS`` lists them. Whatever the file stores, a
:class:`~ptychopinn.data.scan.Scan` comes out: photon counts, positions (y, x) in object pixels, a
probe in sqrt(counts).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptychopinn.data.experiment import Propagation, check_named, check_number
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, PatternShapeError
from ptychopinn.io import (
    cxi,
    fold_slice,
    native,
    npz,
    ptychodus_product,
    ptychodus_scan,
    ptychodus_training,
    tike,
)
from ptychopinn.io.base import (
    Format,
    ReadOptions,
    ScanFields,
    Units,
    UnknownFormatError,
    signature,
)
from ptychopinn.io.far_positions import without_far_positions
from ptychopinn.io.guess import prepare_line, with_line
from ptychopinn.io.lazy import LazyPatterns
from ptychopinn.io.pairing import parse_frames, text_of
from ptychopinn.io.probe_scale import in_counts
from ptychopinn.io.probes import read_probe
from ptychopinn.io.reading import kind_of, parsing

__all__ = [
    "FORMATS",
    "LazyPatterns",
    "find_format",
    "identify",
    "load_scan",
    "read_probe",
    "save_scan",
    "scan_of",
]

# In the order in which they are asked: the narrower before the wider.
FORMATS: tuple[Format, ...] = (
    native,
    ptychodus_training,
    ptychodus_scan,
    cxi,
    fold_slice,
    ptychodus_product,
    tike,
    npz,
)

# Where the provenance of a scan keeps what the user said about its file.
READ_WITH = "read_with"
_log = logging.getLogger("ptychopinn")


def identify(path: str | Path) -> str:
    """The name of the format of a scan file, found from its content.

    Raises
    ------
    InputError
        When the file is missing, damaged or of no known format.
    """
    return find_format(Path(path)).NAME


def find_format(path: Path) -> Format:
    """The module of the format; see :func:`identify`. A folder can be a scan of ptychodus."""
    if kind_of(path) == "folder":
        if ptychodus_scan.matches(path):
            return ptychodus_scan
        line = prepare_line(path)
        if line is not None:
            raise UnknownFormatError(
                f"a scan was expected, received the folder '{path}' with raw data; type: {line}."
            )
    signature(path)
    for candidate in FORMATS:
        with parsing(path):
            if candidate.matches(path):
                return candidate
    reason = f"a scan was expected ({descriptions()}), received '{path}' which is none of them"
    raise UnknownFormatError(with_line(reason, path, "convert it first"))


def descriptions() -> str:
    """All formats by their short names."""
    return ", ".join(candidate.DESCRIPTION for candidate in FORMATS)


def load_scan(
    path: str | Path,
    *,
    probe: str | None = None,
    modes: int | None = None,
    units: Units | None = None,
    photons: float | None = None,
    fallback_photons: float | None = None,
    frames: slice | str | None = None,
    clip_negative: bool = False,
    propagation: Propagation | None = None,
    distance_m: float | None = None,
    focus_distance_m: float | None = None,
    probe_needed: bool = True,
) -> Scan:
    """Read a scan of any supported format.

    Parameters
    ----------
    path : the scan file, or a folder with ``diffraction.h5`` and ``product.h5``; the format is
        found from the content
    probe : the probe that takes the place of the one in the file: ``FILE:KEY`` or ``FILE``, the
        folder or file of an earlier result, ``auto`` to find it from the patterns, or the optics,
        as in ``fzp:diameter=180um,zone=50nm,defocus=0.5mm`` (see
        :mod:`ptychopinn.probes.optics`)
    modes : how many incoherent modes the probe gets in all, see
        :func:`ptychopinn.probes.modes.with_modes`
    units : "counts" or "amplitude", to state the units of patterns that do not state them
    photons : mean counts per pattern, needed for normalised amplitudes
    fallback_photons : the same, but ignored where the patterns or the file tell them
    frames : the patterns to use, a slice or "A:B"; where there are more patterns than positions
        "1:" drops a first pattern that has none, and where there are more positions it chooses them
    clip_negative : set negative counts to 0, whatever they look like
    propagation, distance_m, focus_distance_m : of a CXI file, which does not say whether it is one
        of the far or of the near field: how waves reach the detector, and in metres how far it is
        from the sample, and in a cone beam the sample from the focus. The pixel of the object then
        follows from that of the detector
    probe_needed : without it a scan that has no probe gets a placeholder, and its provenance says
        ``"probe": "none"``: to look at it, or where the probe of a result takes its place

    Returns
    -------
    The scan. Native files are read lazily. What was masked, clipped or left out is logged as a
    warning and stands in ``provenance["findings"]``. A probe whose units the file does not state is
    scaled so that its counts through vacuum equal the mean measured counts, and an object in the
    same file so that probe times object gives the measured counts; both factors are logged and
    stored in ``provenance``.

    Raises
    ------
    InputError
        For a file that is missing, damaged, unknown or contradicts itself; the sentence names the
        remedy.
    """
    source = Path(path)
    fields = read_fields(
        source,
        probe=probe,
        units=units,
        photons=photons,
        fallback_photons=fallback_photons,
        frames=frames,
        clip_negative=clip_negative,
        propagation=propagation,
        distance_m=distance_m,
        focus_distance_m=focus_distance_m,
    )[1]
    return scan_of(fields, source, probe, modes, probe_needed=probe_needed)


def scan_of(
    fields: ScanFields,
    source: Path | None,
    probe: str | None = None,
    modes: int | None = None,
    *,
    probe_needed: bool = True,
) -> Scan:
    """The scan of these fields, its probe in sqrt(counts); see :func:`load_scan`.

    Errors name the file ``source``, where there is one. What its reader noticed is logged.
    """
    fields = without_far_positions(fields)
    try:
        fields = with_probe(fields, source, probe, modes, needed=probe_needed)
    except InputError as error:
        raise _named(error, source) from error
    report_findings(fields.findings, fields.name)
    fields = replace(fields, provenance=with_findings(fields.provenance, fields.findings))
    scan = checked_scan(fields, source)
    try:
        return in_counts(scan, stated=fields.probe_in_counts)
    except InputError as error:
        raise _named(error, source) from error


def report_findings(findings: tuple[Finding, ...], name: str) -> None:
    """Log what a reader noticed about the scan ``name``."""
    for finding in findings:
        _log.warning("%s: %s", name, finding.message)


def read_fields(
    source: Path,
    *,
    probe: str | None,
    units: Units | None,
    photons: float | None,
    fallback_photons: float | None = None,
    frames: slice | str | None = None,
    clip_negative: bool = False,
    **way: Any,
) -> tuple[Format, ScanFields]:
    """The format of a scan, and its content before anything is scaled; see :func:`load_scan`."""
    chosen = parse_frames(frames)
    made = needs_scan(probe)
    given = None if probe is None or made else read_probe(probe)
    format_ = find_format(source)
    options = ReadOptions(
        units, photons, given, fallback_photons, chosen, clip_negative, not made, **way
    )
    _check_way(options.way, format_, source)
    try:
        with parsing(source):
            fields = format_.read(source, options)
    except InputError as error:
        raise _named(error, source) from error
    provenance: dict[str, Any] = {
        **fields.provenance,
        # Whoever reads it may work in another folder.
        "file": str(source.absolute()),
        "format": format_.NAME,
    }
    if probe is not None:
        provenance["probe_source"] = probe
    if chosen is not None:
        provenance["frames"] = text_of(chosen)
    # Of this file, not of one that it was made from; refining a result says it again.
    said = {
        "units": units,
        "photons": photons,
        "frames": None if chosen is None else text_of(chosen),
        "clip_negative": clip_negative or None,
        **options.way,
    }
    provenance[READ_WITH] = {name: value for name, value in said.items() if value is not None}
    if not provenance[READ_WITH]:
        del provenance[READ_WITH]
    # The name of a file may be no text, and it is the name of the scan where no other is given.
    name = fields.name.encode("utf-8", "backslashreplace").decode()
    return format_, replace(fields, name=name, provenance=provenance)


def _check_way(way: Mapping[str, Any], format_: Format, source: Path) -> None:
    """Raise InputError for what is said of the way to the detector and cannot be, or of a file that
    says it itself, or not what is needed for it."""
    if way and format_ is not cxi:
        raise InputError(
            f"only of a CXI file can the options {', '.join(way)} be said, received '{source}' in "
            f"the format {format_.NAME}; leave it out, and write the file anew with convert where "
            "it does not say what it is."
        )
    for name, value in way.items():
        if name == "propagation":
            check_named(value)
        else:
            check_number(name, value)


def needs_scan(probe: str | None) -> bool:
    """Whether a text describes a probe that is made for a scan, and does not name a file of one."""
    if probe is None:
        return False
    from ptychopinn.probes import makes_probe

    return makes_probe(probe)


def with_probe(
    fields: ScanFields,
    source: Path | None,
    probe: str | None,
    modes: int | None,
    *,
    needed: bool = True,
) -> ScanFields:
    """The fields with the probe that was asked for; see :func:`load_scan`."""
    if fields.probe is None and probe is None:
        if not needed:
            # Probes are made by solvers, a floor above files.
            from ptychopinn.probes import placeholder

            provenance = {**fields.provenance, "probe": "none"}
            bare = placeholder(fields)
            return replace(fields, probe=bare, probe_in_counts=False, provenance=provenance)
        received = "none" if source is None else f"'{source}' without one"
        raise InputError(
            f"a scan needs a probe, received {received}; give probe='auto' to find it from the "
            "patterns, describe its lens as in probe='fzp:diameter=180um,zone=50nm,defocus=0.5mm', "
            "or name a file as FILE:KEY."
        )
    if not needs_scan(probe) and modes is None:
        return fields
    from ptychopinn.probes import with_start_probe

    return with_start_probe(fields, probe, modes)


def _named(error: InputError, source: Path | None) -> InputError:
    """The error with the name of the file in it, and what to type when the patterns must be cut."""
    if isinstance(error, PatternShapeError) and source is not None:
        line = prepare_line(source, frame=error.frame)
        if line is not None:
            reason = str(error).rsplit(";", 1)[0]
            error = PatternShapeError(f"{reason}; type: {line}.")
    if source is None or str(source) in str(error):
        return error
    return type(error)(f"in '{source}', {error}")


def checked_scan(fields: ScanFields, source: Path | None) -> Scan:
    """The scan of these fields, the probe still in the scale of the file.

    Raises
    ------
    InputError
        When a field breaks the contract of a scan.
    """
    assert fields.probe is not None  # found by scan_of
    try:
        return Scan(
            diffraction=fields.diffraction,
            positions_px=fields.positions_px,
            probe=fields.probe,
            object=fields.object,
            mask=fields.mask,
            pixel_size_m=fields.pixel_size_m,
            energy_eV=fields.energy_eV,
            distance_m=fields.distance_m,
            propagation=fields.propagation,
            focus_distance_m=fields.focus_distance_m,
            saturation=fields.saturation,
            name=fields.name,
            provenance=fields.provenance,
        )
    except InputError as error:
        raise _named(error, source) from error


def save_scan(scan: Scan, path: str | Path, *, force: bool = False) -> Path:
    """Write a scan in the native HDF5 format (``.h5``), pattern by pattern, and return its path.

    A lazy scan is streamed and never has to fit in memory. Whole counts are compressed, without
    loss.

    Raises
    ------
    InputError
        When the file exists and ``force`` is False, has another suffix or cannot be written.
    """
    target = Path(path)
    native.save(scan, target, force=force)
    return target
