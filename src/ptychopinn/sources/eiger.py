"""Master files of Eiger and other Dectris detectors, as beamlines write them.

``/entry/data`` holds ``data_000001``, ``data_000002``, ... (n, H, W), mostly links to files beside
the master, or one virtual dataset ``data``. What the detector says of itself lies in
``/entry/instrument``: metres, electron volts, and a ``pixel_mask`` with 0 at good pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.units import ELECTRON_VOLTS, METRES
from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources.base import Source
from ptychopinn.sources.experiment_numbers import number_at
from ptychopinn.sources.frames import frames_in, joined

NAME = "eiger"
DESCRIPTION = "Eiger or Dectris master file (*_master.h5)"

DATA, DETECTOR = "entry/data", "entry/instrument/detector"
NUMBERED = re.compile(r"data_\d+$")
SPECIFIC = f"{DETECTOR}/detectorSpecific"
BEAM = "entry/instrument/beam"


def matches(path: Path) -> bool:
    """Whether this is HDF5 with numbered data in ``/entry/data``, or a detector beside it."""
    if not path.is_file() or not is_hdf5(path):
        return False
    with reading(path) as file:
        return bool(_keys(file))


def _keys(file: Reader) -> list[str]:
    """The data, in their order."""
    group = file.item(DATA)
    if not isinstance(group, h5py.Group):
        return []
    numbered = sorted(key for key in group if NUMBERED.match(key))
    if numbered:
        return [f"{DATA}/{key}" for key in numbered]
    described = isinstance(file.item(DETECTOR), h5py.Group)
    return [f"{DATA}/data"] if "data" in group and described else []


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at a master file; ``patterns`` takes one of its datasets only."""
    with reading(path) as file:
        keys = [patterns] if patterns else _keys(file)
        frames = joined([frames_in(file, key) for key in keys], keys)
        size = (frames.shape[1], frames.shape[2])
        found = [(name, *_first(file, keys, units)) for name, keys, units in NUMBERS]
        energy = next(value for name, value, _ in found if name == "energy_eV")
        if energy is None:
            wavelength, where = _first(file, WAVELENGTHS, METRES, "angstrom")
            if wavelength is not None:
                # E = hc / lambda: the wavelength of 1 eV over this one.
                found.append(("energy_eV", wavelength_of(1.0) / wavelength, where))
        y_pixel = _number(file, f"{DETECTOR}/y_pixel_size", METRES, "m")
        x_pixel = _number(file, f"{DETECTOR}/x_pixel_size", METRES, "m")
        if y_pixel and x_pixel and abs(y_pixel / x_pixel - 1) > 1e-3:
            raise InputError(
                f"the pixels of the detector must be square, received {x_pixel:.6g} m by "
                f"{y_pixel:.6g} m in '{path}'; bin them to squares first."
            )
        mask, mask_from = _mask(file)
        return Source(
            kind=NAME,
            path=path,
            patterns=frames,
            mask=mask,
            mask_from=mask_from,
            centre=_centre(file, size),
            notes={"patterns": listed(keys)},
            found=(found),
        )


WAVELENGTHS = [f"{BEAM}/incident_wavelength", "entry/sample/beam/incident_wavelength"]
NUMBERS = (
    (
        "energy_eV",
        [
            f"{BEAM}/incident_energy",
            f"{BEAM}/energy",
            "entry/sample/beam/incident_energy",
            f"{SPECIFIC}/photon_energy",
            f"{DETECTOR}/photon_energy",
        ],
        ELECTRON_VOLTS,
    ),
    (
        "distance_m",
        [f"{DETECTOR}/detector_distance", f"{DETECTOR}/distance"],
        METRES,
    ),
    ("detector_pixel_m", [f"{DETECTOR}/x_pixel_size", f"{DETECTOR}/y_pixel_size"], METRES),
)


def _number(file: Reader, key: str, units: Mapping[str, float], default: str) -> float | None:
    return number_at(file, key, units, default)


def _first(
    file: Reader, keys: list[str], units: Mapping[str, float], default: str | None = None
) -> tuple[float | None, str]:
    """The first of several numbers that is there, and where."""
    word = default or ("eV" if units is ELECTRON_VOLTS else "m")
    for key in keys:
        value = _number(file, key, units, word)
        if value is not None:
            return value, f"'{key}' in '{file.path}'"
    return None, ""


def _mask(file: Reader) -> tuple[NDArray[np.bool_] | None, str]:
    """The mask (H, W), and where it is."""
    for key in (f"{SPECIFIC}/pixel_mask", f"{DETECTOR}/pixel_mask"):
        if file.shape(key) is not None:
            codes = np.atleast_2d(np.squeeze(file.array(key, "biu")))
            return np.asarray(codes == 0), f"'{key}' in '{file.path}'"
    return None, ""


def _centre(file: Reader, size: tuple[int, int]) -> tuple[float, float] | None:
    """Where the direct beam meets the detector; 0 stands for not known."""
    found = []
    for axis, length in zip("yx", size, strict=True):
        key = f"{DETECTOR}/beam_center_{axis}"
        if file.shape(key) is None:
            return None
        value = float(file.array(key).reshape(-1)[0])
        if not 0 < value < length:
            return None
        found.append(value)
    return found[0], found[1]
