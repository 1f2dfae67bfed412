"""From one format to another, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ptychopinn.data.experiment import Propagation, check_named, check_number
from ptychopinn.errors import InputError
from ptychopinn.io import (
    cxi,
    find_format,
    fold_slice,
    native,
    npz,
    ptychodus_product,
    ptychodus_scan,
    ptychodus_training,
    save_scan,
    scan_of,
)
from ptychopinn.io.atomic import refuse_existing
from ptychopinn.io.base import ReadOptions, Units, is_hdf5
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.pairing import parse_frames
from ptychopinn.io.probes import read_probe
from ptychopinn.io.record import Product, Record, lost, pixel_known
from ptychopinn.io.record_checks import usable
from ptychopinn.io.record_scan import (
    consecutive,
    record_of_fields,
    scan_fields,
    scan_keeps,
    with_object,
)
from ptychopinn.io.scans import (
    checked_scan,
    needs_scan,
    read_fields,
    report_findings,
    with_probe,
)
from ptychopinn.physics.scaling import SCALED

Target = Literal["native", "npz", "ptychodus", "ptychodus-training", "product", "cxi", "fold_slice"]
TARGETS: tuple[str, ...] = get_args(Target)

# Formats that say whether the patterns are those of the far field.
TELL_THE_FIELD = ("native", "ptychodus", "product", "cxi")

# The group of a reconstruction.h5 that a product does not have, see ptychopinn.io.reconstructions.
GROUP = "ptychopinn"

# Formats whose files are read whole, as a record.
_RECORDS: Mapping[str, Any] = {
    module.NAME: module
    for module in (ptychodus_scan, ptychodus_training, ptychodus_product, cxi, fold_slice)
}


@dataclass(frozen=True)
class Conversion:
    """What was written, in which format, and a phrase for everything that is not in it."""

    source_format: str
    target_format: str
    files: tuple[Path, ...]
    losses: tuple[str, ...]


def target_format(source: Path, target: Path, *, patterns: bool) -> Target:
    """The format that the name of the target asks for, given whether there are patterns.

    Raises
    ------
    InputError
        When the name does not tell.
    """
    name, suffix = target.name.lower(), target.suffix.lower()
    if suffix == ".cxi":
        return "cxi"
    if target.stem.lower().endswith(("_dp", "_para")):
        return "fold_slice"
    if not suffix or target.is_dir() or name == ptychodus_scan.DIFFRACTION:
        return "ptychodus"
    if suffix not in (".npz", *native.SUFFIXES):
        raise InputError(
            "the name of the target must end in .h5, .hdf5, .npz, .cxi, _dp.hdf5, or name a "
            f"folder, received '{target}' for '{source}'; rename it, or say the format with "
            "the option to."
        )
    if not patterns or target.stem.lower() == "product":
        return "product"
    return "npz" if suffix == ".npz" else "native"


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: Target | None = None,
    force: bool = False,
    probe: str | None = None,
    modes: int | None = None,
    units: Units | None = None,
    photons: float | None = None,
    pixel_size_m: float | None = None,
    energy_eV: float | None = None,
    distance_m: float | None = None,
    propagation: Propagation | None = None,
    focus_distance_m: float | None = None,
    frames: slice | str | None = None,
    clip_negative: bool = False,
) -> Conversion:
    """Write ``source`` in another format.

    Between the exchange formats everything is kept that the target can hold, in the scale of the
    source; the native format gets a probe in sqrt(counts), as :func:`ptychopinn.io.load_scan` does.

    Parameters
    ----------
    to : the target's format; taken from its name when not given
    force : overwrite existing files
    probe, modes, units, photons, frames, clip_negative : see :func:`ptychopinn.io.load_scan`
    pixel_size_m, energy_eV, distance_m, propagation, focus_distance_m : take the place of what the
        source says; of a CXI file the pixel of the object follows from them and the detector's

    Raises
    ------
    InputError
        When the source cannot be read, the target exists or cannot hold the source.
    """
    start, end = Path(source), Path(target)
    from ptychopinn.io.reconstructions import RESULT_FILE

    if (start / RESULT_FILE).is_file():
        # The folder of a result, as the other commands take it.
        start = start / RESULT_FILE
    known = find_format(start)
    way = ReadOptions(
        propagation=propagation, distance_m=distance_m, focus_distance_m=focus_distance_m
    ).way
    if propagation is not None:
        check_named(propagation)
    said = {"pixel_size_m": pixel_size_m, "energy_eV": energy_eV, **way}
    given: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    for name in given.keys() - {"propagation"}:
        check_number(name, given[name])
    if known.NAME in _RECORDS:
        if photons is not None:
            raise InputError(
                f"option photons is meant for NPZ scans, received '{start}' in the format "
                f"{known.NAME}, which stores photon counts; leave it out."
            )
        if known is cxi:
            record = cxi.read_record(start, said=way)
        else:
            record = _RECORDS[known.NAME].read_record(start)
        chosen = ReadOptions(units, frames=parse_frames(frames), clip_negative=clip_negative)
        says = record.says_field or propagation is not None
        changed = replace(record, product=_changed(record.product, given), says_field=says)
        record = usable(changed, chosen, start)
        if probe is not None or modes is not None:
            record = _with_probe(record, start, probe, modes)
        fields = None
    else:
        fields = read_fields(
            start,
            probe=probe,
            units=units,
            photons=photons,
            frames=frames,
            clip_negative=clip_negative,
        )[1]
        fields = with_probe(replace(fields, **given), start, probe, modes)
        checked_scan(fields, start)
        record = record_of_fields(fields)
    to_format = to or target_format(start, end, patterns=record.patterns is not None)
    _check_name(to_format, end)
    if record.patterns is None and to_format not in ("product", "cxi"):
        raise InputError(
            f"a scan with patterns was expected for the format {to_format}, received the product "
            f"'{start}', which has none; convert it to product.h5, product.npz or .cxi."
        )
    if not record.product.metadata["far_field"] and to_format not in TELL_THE_FIELD:
        raise InputError(
            f"a scan of the far field was expected for the format {to_format}, received the near "
            f"field in '{start}', which would be read as one of the far field; convert it to "
            f"{' or '.join(TELL_THE_FIELD)}."
        )
    if to_format == "ptychodus" and end.name.lower() == ptychodus_scan.DIFFRACTION:
        end = end.parent
    outputs = _outputs(to_format, end)
    sources = {file.resolve() for file in _inputs(known.NAME, start)}
    for file in outputs:
        if file.resolve() in sources:
            raise InputError(
                f"the target must be another file, received '{file}', which is the source; choose "
                "another name."
            )
        refuse_existing(file.parent, [file.name], force)
    losses = _unlisted(start)
    in_metres = to_format not in ("native", "npz")
    if in_metres and record.product.object_pixel_m is not None and not pixel_known(record.product):
        losses.append(
            "that the pixel size is unknown (other programs will read 1 m; give it with "
            "pixel_size_m)"
        )
    if to_format == "native":
        if fields is None:
            fields = scan_fields(record, ReadOptions(), start)
        losses += lost(record, scan_keeps(record))
        scan = scan_of(fields, start)
        power = scan.provenance.get(SCALED)
        if not fields.probe_in_counts and power is not None:
            losses.append(f"the scale of the probe (it was multiplied by {power['factor']:.6g})")
        save_scan(scan, end, force=force)
    else:
        report_findings(record.findings, start.name)
        if to_format in ("ptychodus", "ptychodus-training", "product"):
            record = replace(record, product=with_object(record))
        writer = _WRITERS[to_format]
        losses += lost(record, npz.kept(record) if writer is npz else writer.KEEPS)
        if writer is cxi and not record.product.metadata["far_field"]:
            losses.append("the near field for other programs, which take a CXI file for a far one")
        if to_format not in ("ptychodus", "product"):
            record, unpaired = consecutive(record)
            losses += unpaired
        writer.write_record(record, end, force=force)
    return Conversion(known.NAME, to_format, outputs, tuple(losses))


# Endings of the file of a format.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "native": native.SUFFIXES,
    "npz": (".npz",),
    "ptychodus-training": (".h5", ".hdf5"),
    "product": (".h5", ".hdf5", ".npz"),
    "cxi": (".cxi", ".h5", ".hdf5"),
    "fold_slice": (".hdf5", ".h5"),
}
_ANY_ENDING = frozenset(ending for each in ENDINGS.values() for ending in each)


def _check_name(chosen: str, path: Path) -> None:
    """Raise InputError when the name of the target says another kind than it would be."""
    suffix = path.suffix.lower()
    if chosen == "ptychodus":
        if suffix in _ANY_ENDING and path.name.lower() != ptychodus_scan.DIFFRACTION:
            raise InputError(
                f"the target of the format ptychodus must name a folder or "
                f"{ptychodus_scan.DIFFRACTION}, received '{path}'; rename it, or choose another "
                "format with the option to."
            )
    elif suffix not in ENDINGS[chosen]:
        raise InputError(
            f"the target of the format {chosen} must end in {' or '.join(ENDINGS[chosen])}, "
            f"received '{path}'; rename it, or choose another format with the option to."
        )
    elif path.is_dir():
        raise InputError(f"a file was expected as target, received the folder '{path}'; rename it.")


_WRITERS: Mapping[str, Any] = {**_RECORDS, npz.NAME: npz}


def _outputs(chosen: str, path: Path) -> tuple[Path, ...]:
    """The files that a conversion to ``path`` writes."""
    module = _WRITERS.get(chosen)
    return module.outputs(path) if module in (ptychodus_scan, fold_slice) else (path,)


def _inputs(known: str, path: Path) -> tuple[Path, ...]:
    """The files that a scan named ``path`` is read from."""
    module = _RECORDS.get(known)
    return module.files(path) if module in (ptychodus_scan, fold_slice) else (path,)


def _with_probe(record: Record, path: Path, probe: str | None, modes: int | None) -> Record:
    """The record with the probe that the user says in place of the one in the file."""
    given = None if probe is None or needs_scan(probe) else read_probe(probe)
    if given is None or modes is not None:
        fields = scan_fields(record, ReadOptions(probe=given), path)
        given = with_probe(fields, path, probe, modes).probe
    assert given is not None
    product = replace(record.product, probe=given.astype(np.complex64)[None], opr_weights=None)
    return replace(record, product=product)


def _changed(product: Product, given: Mapping[str, Any]) -> Product:
    """The product with what the user says in place of what the file says."""
    metadata = dict(product.metadata)
    for key, name in (
        ("energy_eV", "photon_energy_eV"),
        ("distance_m", "detector_object_distance_m"),
        ("focus_distance_m", "focus_object_distance_m"),
    ):
        if key in given:
            metadata[name] = given[key]
    if "propagation" in given:
        metadata["far_field"] = given["propagation"] == "far-field"
    product = replace(product, metadata=metadata)
    if "pixel_size_m" in given:
        pixel = given["pixel_size_m"]
        product = replace(product, object_pixel_m=(pixel, pixel), probe_pixel_m=(pixel, pixel))
    return product


def _unlisted(source: Path) -> list[str]:
    """What a result of this program holds beyond a product."""
    if source.is_dir() or not is_hdf5(source):
        return []
    with reading(source) as file:
        return ["the weight map and the provenance of the result"] if GROUP in file else []
