"""Numbers with a unit in HDF5: the attribute ``units`` is obeyed, and what no experiment has is
refused with the unit that it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import PLAUSIBLE
from ptychopinn.data.units import ELECTRON_VOLTS, METRES
from ptychopinn.errors import InputError, shown
from ptychopinn.io.hdf5 import Reader, finite
from ptychopinn.io.layout import as_points
from ptychopinn.io.record import UNKNOWN_PIXEL_M
from ptychopinn.physics.propagators import wavelength_of

Kind = Literal[
    "energy", "distance", "pixel", "detector pixel", "shadow pixel", "wavelength", "length"
]

SAME = 0.01
# Along the beam a sample moves less than this share of its way across.
Z_MOVES = 0.1
# No photon that scatters has more, and none has fewer eV than this.
LARGEST_JOULE = 1e-10
# Where CXI and NeXus put a wavelength, in metres unless they say another unit.
WAVELENGTHS = ("beam_1/incident_wavelength", "beam_1/wavelength", "source_1/wavelength")
# What a kind is called, its limits, and where it usually lies, by which its unit is guessed.
_KINDS: Mapping[Kind, tuple[str, tuple[float, float], tuple[float, float]]] = MappingProxyType(
    {
        "energy": ("a photon energy", PLAUSIBLE["energy_eV"], (10.0, 3e5)),
        "distance": ("a distance", PLAUSIBLE["distance_m"], (1e-3, 50.0)),
        "pixel": ("the size of an object pixel", PLAUSIBLE["pixel_size_m"], (1e-11, 1e-5)),
        "detector pixel": ("the size of a detector pixel", (1e-7, 1e-2), (1e-6, 1e-3)),
        # In the near field lenses behind a scintillator may make it as small as that of the object.
        "shadow pixel": ("the size of a detector pixel", (1e-12, 1e-2), (1e-8, 1e-3)),
        "wavelength": ("a wavelength", (1e-13, 2e-6), (1e-12, 5e-9)),
        "length": ("a length", (-np.inf, np.inf), (-np.inf, np.inf)),
    }
)


def unit_of(file: Reader, name: str, default: str, kind: Kind) -> tuple[str, float]:
    """The unit that the attribute ``units`` of a dataset states, and its size in metres or eV.

    Raises
    ------
    InputError
        When it is none of this kind.
    """
    known = ELECTRON_VOLTS if kind == "energy" else METRES
    stated = file.units(name)
    if not stated:
        return default, known[default]
    _check_units(file, name, stated, known)
    if len(stated) > 1:
        raise InputError(
            f"the attribute units of '{name}' in '{file.path}' must be one unit, received "
            f"{', '.join(stated)}; convert the numbers to one, and state that."
        )
    return stated[0], known[stated[0]]


def _check_units(
    file: Reader, name: str, stated: tuple[str, ...], known: Mapping[str, float]
) -> None:
    for unit in stated:
        if unit not in known:
            raise InputError(
                f"the attribute units of '{name}' in '{file.path}' must be one of "
                f"{', '.join(known)}, received {shown(unit)}; correct it."
            )


def quantity(file: Reader, name: str, kind: Kind, unit: str = "m") -> float:
    """One number in metres or eV, 0 when it is missing or not known; ``unit`` where none is stated.

    Many numbers that are the same up to 1 %, as one for each pattern, are their mean.

    Raises
    ------
    InputError
        When it is no finite number, or one that no experiment has.
    """
    if name not in file:
        return 0.0
    values = file.array(name)
    if values.size > 1 and np.ptp(values) <= SAME * abs(float(values.mean())):
        values = values.astype(np.float64).mean()[None]
    if values.size != 1:
        raise InputError(
            f"'{name}' in '{file.path}' must be one number, received shape {values.shape}; "
            "store a single number."
        )
    stored = finite(values.reshape(()), f"'{name}' in '{file.path}'")
    stated, factor = unit_of(file, name, unit, kind)
    check_plausible(stored, stated, kind, f"'{name}' in '{file.path}'")
    return stored * factor


def object_pixel(file: Reader, name: str) -> float:
    """The size of an object pixel in metres; ``UNKNOWN_PIXEL_M`` is one that is not known."""
    if name in file and file.array(name).size == 1 and file.number(name) == UNKNOWN_PIXEL_M:
        return UNKNOWN_PIXEL_M
    return quantity(file, name, "pixel")


def lengths(file: Reader, name: str) -> NDArray[np.float64]:
    """An array of lengths in metres."""
    return file.array(name).astype(np.float64) * unit_of(file, name, "m", "length")[1]


def coordinates(
    file: Reader, name: str, patterns: int | None, axes: tuple[int, ...], meaning: str
) -> NDArray[np.float64]:
    """Coordinates (n, k) in metres; units may be stated for each of the k axes.

    ``patterns``, ``axes`` and ``meaning`` as in :func:`ptychopinn.io.layout.as_points`.
    """
    where = f"'{name}' in '{file.path}'"
    points = as_points(file.array(name).astype(np.float64), patterns, axes, where, meaning)
    stated = file.units(name) or ("m",)
    _check_units(file, name, stated, METRES)
    check_axis_units(stated, points.shape[1], where)
    _check_order(points, where, meaning)
    return points * np.array([METRES[unit] for unit in stated])


def _check_order(points: NDArray[np.float64], where: str, meaning: str) -> None:
    """Raise InputError where x or y stands still and z moves, as in another order of axes."""
    if points.shape[1] != 3 or len(points) < 2:
        return
    moves = np.ptp(points, axis=0)
    if moves[:2].min() == 0 < moves[2] and moves[2] > Z_MOVES * moves[:2].max():
        still = "xy"[int(moves[:2].argmin())]
        raise InputError(
            f"{where} must be {meaning}, received {still} that is the same everywhere and z that "
            f"spans {moves[2]:.4g}, as if the axes came in another order; store them as (x, y, z)."
        )


def check_axis_units(stated: tuple[str, ...], axes: int, where: str) -> None:
    """Raise InputError unless there is one unit, or one for each of so many axes."""
    if len(stated) not in (1, axes):
        raise InputError(
            f"{where} must state one unit, or one for each of its {axes} axes, received "
            f"{', '.join(stated)}; correct its attribute units."
        )


def check_plausible(
    stored: float, unit: str, kind: Kind, what: str, attribute: str = "its attribute units"
) -> None:
    """Raise InputError for a number that no experiment has; 0 stands for one that is not known.

    ``attribute`` is where its unit may be stated, nothing where a format has no place for it.
    """
    known = ELECTRON_VOLTS if kind == "energy" else METRES
    base = "eV" if kind == "energy" else "m"
    words, (low, high), usual = _KINDS[kind]
    size = abs(stored)
    if not size or low <= size * known[unit] <= high:
        return
    looks = likely_unit(size, known, usual, 2 if kind in ("wavelength", "pixel") else 1)
    remedy = "correct it, or store 0 when it is not known"
    if looks is not None:
        stating = f"state that in {attribute}, or convert it" if attribute else "convert it"
        remedy = f"it looks like {looks}: {stating}"
    raise InputError(
        f"{what} must be {words} between {low:g} and {high:g} {base}, received {stored:g} {unit}"
        f"{'' if unit == base else f' = {stored * known[unit]:.4g} {base}'}; {remedy}."
    )


def likely_unit(
    size: float, known: Mapping[str, float], usual: tuple[float, float], most: int
) -> str | None:
    """The first units with which a number lies where such numbers usually lie, in words."""
    common = [u for u in ("eV", "keV", "mm", "um", "nm", "angstrom", "cm") if u in known]
    order = [*common, *(unit for unit in known if unit not in common)]
    fitting = [unit for unit in order if usual[0] <= size * known[unit] <= usual[1]]
    return " or ".join(fitting[:most]) or None


def photon_energy(file: Reader, instrument: str) -> float:
    """Photon energy in eV, 0 when it is not known, of the beam or else of the source.

    A wavelength of the beam tells it too. NeXus calls the energy of the electrons in the ring that
    of the source, so the beam's counts where both are there, and that of the source need not be an
    energy of photons then.

    Raises
    ------
    InputError
        When both could be photon energies and differ.
    """
    beam, source = f"{instrument}/beam_1/energy", f"{instrument}/source_1/energy"
    if beam not in file:
        beam = f"{instrument}/beam_1/incident_energy"
    # NeXus writes eV there, and some write joule, as CXI has it of the source.
    stored = np.abs(file.array(beam)) if beam in file else np.zeros(0)
    joule = stored.size > 0 and 0 < float(stored.max()) < LARGEST_JOULE
    known = quantity(file, beam, "energy", "J" if joule else "eV")
    for name in () if known else WAVELENGTHS:
        beam = f"{instrument}/{name}"
        wave = quantity(file, beam, "wavelength")
        if wave > 0:
            known = wavelength_of(1.0) / wave
            break
    if not known:
        return quantity(file, source, "energy", "J")
    if source in file:
        other = finite(file.array(source).reshape(-1)[:1], f"'{source}' in '{file.path}'")
        other *= unit_of(file, source, "J", "energy")[1]
        low, high = PLAUSIBLE["energy_eV"]
        if low <= other <= high and not np.isclose(known, other, rtol=0.01):
            raise InputError(
                f"'{beam}' and '{source}' in '{file.path}' must be the same photon energy, "
                f"received {known:.6g} eV and {other:.6g} eV; correct or remove one of them."
            )
    return known


def detector_kind(metadata: Mapping[str, Any]) -> Kind:
    """The kind of number that the pixel of the detector is."""
    return "detector pixel" if metadata["far_field"] else "shadow pixel"


def check_numbers(metadata: Mapping[str, Any], pixel_m: tuple[float, float] | None,
                  detector_pixel_m: tuple[float, float] | None, where: str) -> None:  # fmt: skip
    """Raise InputError for numbers of a record that no experiment has."""
    check_plausible(float(metadata["photon_energy_eV"]), "eV", "energy",
                    f"photon_energy_eV in {where}")  # fmt: skip
    check_plausible(float(metadata["detector_object_distance_m"]), "m", "distance",
                    f"detector_object_distance_m in {where}")  # fmt: skip
    for size in pixel_m or ():
        check_plausible(float(size), "m", "pixel", f"the pixel size of the object in {where}")
    for size in detector_pixel_m or ():
        check_plausible(float(size), "m", detector_kind(metadata),
                        f"the size of a detector pixel in {where}")  # fmt: skip
