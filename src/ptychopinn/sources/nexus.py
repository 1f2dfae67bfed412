"""CXI and NeXus NXcxi_ptycho files, with or without a probe.

The names are those of CXI 1.6, in ``/entry_1`` or in the entry that is defined as NXcxi_ptycho. A
number with an attribute ``units`` is in that unit, one without in the SI unit that CXI prescribes.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import h5py
import numpy as np

from ptychopinn.data.experiment import Propagation
from ptychopinn.data.units import ELECTRON_VOLTS, METRES
from ptychopinn.errors import InputError
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.io.layout import as_points, modes_first, own_edge
from ptychopinn.io.quantities import LARGEST_JOULE, check_axis_units
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources.base import Found, ScanPoints, Source
from ptychopinn.sources.experiment_numbers import number_at, unit_of, unit_of_axes
from ptychopinn.sources.frames import frames_in

NAME = "nexus"
DESCRIPTION = "CXI or NeXus NXcxi_ptycho"


def matches(path: Path) -> bool:
    """Whether the file has an entry of this kind."""
    if not path.is_file() or not is_hdf5(path):
        return False
    with reading(path) as file:
        return _entry(file) is not None


def _entry(file: Reader) -> str | None:
    for name in file.names():
        if "entry" not in name:
            continue
        if file.text(f"{name}/definition").lower() == "nxcxi_ptycho":
            return name
        instrument = file.item(f"{name}/instrument_1")
        if isinstance(instrument, h5py.Group):
            return name
    return None


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the file."""
    with reading(path) as file:
        entry = _entry(file) or "entry_1"
        instrument = f"{entry}/instrument_1"
        detector = f"{instrument}/detector_1"
        known = [patterns] if patterns else [f"{entry}/data_1/data", f"{detector}/data"]
        key = next((k for k in known if file.shape(k) is not None), None)
        if key is None:
            broken = next(filter(None, map(file.broken_link, known)), None)
            received = "none" if broken is None else f"a link to '{broken}', which does not exist"
            raise InputError(
                f"patterns were expected as '{known[0]}' in '{path}', received {received}; "
                "name them with the option patterns."
            )
        frames = frames_in(file, key)
        lead = frames.stored[:-2]
        mask = None
        if file.shape(f"{detector}/mask") is not None:
            codes = np.atleast_2d(np.squeeze(file.array(f"{detector}/mask", "biuf")))
            mask = np.asarray((codes.reshape(-1, *codes.shape[-2:]) == 0).all(axis=0))
        probe = None
        for name in (f"{entry}/image_1/data", f"{entry}/instrument_1/source_1/illumination"):
            if probe is None:
                probe = file.optional(name, "cf")
        if probe is not None:
            probe = modes_first(probe, own_edge(probe))
        return Source(
            kind=NAME,
            path=path,
            patterns=frames,
            points=_points(file, entry, prod(lead)),
            grid=(lead[0], lead[1]) if len(lead) == 2 else None,
            probe=probe[0] if probe is not None and probe.ndim == 4 else probe,
            mask=mask,
            mask_from=f"'{detector}/mask' in '{path}'",
            notes={"patterns": key},
            propagation=_propagation(file, entry),
            found=[
                *_beam(file, f"{instrument}/beam_1"),
                *(
                    (name, number_at(file, k, units, default), f"'{k}' in '{path}'")
                    for name, k, units, default in (
                        ("energy_eV", f"{instrument}/source_1/energy", ELECTRON_VOLTS, "J"),
                        ("energy_eV", f"{entry}/sample_1/beam_1/energy", ELECTRON_VOLTS, "J"),
                        ("distance_m", f"{detector}/distance", METRES, "m"),
                        ("focus_distance_m", f"{entry}/ptychopinn/focus_distance_m", METRES, "m"),
                        ("detector_pixel_m", f"{detector}/x_pixel_size", METRES, "m"),
                    )
                ),
            ],
        )


def _propagation(file: Reader, entry: str) -> Propagation:
    """As files of this program say it."""
    near = file.text(f"{entry}/ptychopinn/propagation") == "near-field"
    return "near-field" if near else "far-field"


def _beam(file: Reader, beam: str) -> list[Found]:
    """The energy of the beam: NeXus writes eV there, some write joule, and some a wavelength."""
    found: list[Found] = []
    for name in ("energy", "incident_energy"):
        key = f"{beam}/{name}"
        stored = np.abs(file.array(key)) if file.shape(key) is not None else np.zeros(0)
        joule = stored.size > 0 and float(stored.max()) < LARGEST_JOULE
        energy = number_at(file, key, ELECTRON_VOLTS, "J" if joule else "eV")
        found.append(("energy_eV", energy, f"'{key}' in '{file.path}'"))
    for name in ("incident_wavelength", "wavelength"):
        key = f"{beam}/{name}"
        length = number_at(file, key, METRES, "m")
        energy = None if length is None else wavelength_of(1.0) / length
        found.append(("energy_eV", energy, f"'{key}' in '{file.path}'"))
    return found


def _points(file: Reader, entry: str, count: int) -> ScanPoints | None:
    """Translations of the sample: (n, 3) as (x, y, z), also (3, n) and on a grid."""
    for name in (
        f"{entry}/sample_1/geometry_1/translation",
        f"{entry}/data_1/translation",
        f"{entry}/instrument_1/detector_1/translation",
    ):
        if file.shape(name) is None:
            continue
        values = file.array(name).astype(np.float64)
        where = f"'{name}' in '{file.path}'"
        if values.ndim > 1 and {2, 3} & {values.shape[0], values.shape[-1]}:
            points = as_points(values, count, (3, 2), where, "(n, 3) as (x, y, z)")
            units = file.units(name) or ("m",)
            if len(units) > 1:
                check_axis_units(units, points.shape[1], where)
                units = units[1::-1]
            return ScanPoints(points[:, 1::-1], unit_of_axes(units), where)
    # Motors, as NeXus has them beside the data.
    found = {}
    for axis in "yx":
        for key in (f"{entry}/data_1/{axis}", f"{entry}/sample_1/transformations/{axis}"):
            if axis not in found and file.shape(key) is not None:
                found[axis] = key
    if len(found) < 2:
        return None
    y, x = (file.array(found[axis]).ravel().astype(np.float64) for axis in "yx")
    if len(y) != len(x) and len(y) * len(x) == count:
        y, x = (v.ravel() for v in np.meshgrid(y, x, indexing="ij"))
    if len(y) != len(x):
        return None
    where = f"'{found['y']}' and '{found['x']}' in '{file.path}'"
    each = [unit_of(file, found[axis]) or "m" for axis in "yx"]
    return ScanPoints(np.stack([y, x], axis=1), unit_of_axes(each), where)
