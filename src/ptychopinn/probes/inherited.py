"""The probe of an earlier result, on the pixels and in the plane of another scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.io.base import HDF5_SIGNATURE, signature
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.reading import kind_of
from ptychopinn.io.reconstructions import GROUP, RESULT_FILE, load_reconstruction
from ptychopinn.physics.propagators import focus, free_space, pupil_of, resampled, wavelength_of

# Numbers that differ by less are the same.
SAME = 1e-4
# Where the sample was moved, most of the light stays in the array.
KEPT = 0.9


def result_in(text: str) -> Path | None:
    """The file or folder of a result that a text names; None for anything else."""
    path = Path(text)
    kind = kind_of(path)
    if kind == "folder":
        return path if kind_of(path / RESULT_FILE) == "file" else None
    if kind != "file" or signature(path) != HDF5_SIGNATURE:
        return None
    with reading(path) as file:
        return path if GROUP in file else None


def inherited_probe(
    path: Path,
    n: int,
    pixel_size_m: float | None,
    energy_eV: float | None,
    distance_m: float | None,
    focus_distance_m: float | None = None,
) -> tuple[NDArray[np.complex128], dict[str, Any]]:
    """The modes (P, n, n) of the result at ``path``, in any scale, and what was done to them.

    They are resampled to object pixels of ``pixel_size_m``. Where the distance from the focus to
    the sample is recorded on both sides and differs, they are carried on by the difference; else
    where the distance from the sample to the detector differs by so little that the beam stays in
    its array: then the sample was moved along the beam, by more the detector was.

    Raises
    ------
    InputError
        When the pixel sizes that this needs are not known, or the photon energy is another one.
    """
    result = load_reconstruction(path)
    probe: NDArray[Any] = result.probe.astype(np.complex128)
    details: dict[str, Any] = {"result": str(path.absolute())}
    if energy_eV and result.energy_eV and abs(energy_eV / result.energy_eV - 1) > 0.05:
        raise InputError(
            f"the probe of a result must be of the same photon energy as the scan, received "
            f"{result.energy_eV:.6g} eV in '{path}' and {energy_eV:.6g} eV; describe the lens, as "
            "in probe='fzp:...', or use probe='auto'."
        )
    probe, moved = _carried_on(probe, result, energy_eV, distance_m, focus_distance_m)
    if moved:
        details["moved_m"] = moved
    old = result.pixel_size_m
    if pixel_size_m and old:
        scale = pixel_size_m / old
    elif n == result.N:
        scale = 1.0
    else:
        raise InputError(
            f"the probe of a result with N = {result.N} needs the object pixel of both scans to "
            f"serve one with N = {n}, received {'one' if pixel_size_m or old else 'none'} of them; "
            "add it to the scan and reconstruct again."
        )
    if n != result.N or abs(scale - 1) > SAME:
        probe = resampled(probe, scale, n)
        details["resampled"] = {"pixel_size_factor": scale, "N": [result.N, n]}
    return probe, details


def _carried_on(
    probe: NDArray[Any],
    result: Reconstruction,
    energy_eV: float | None,
    distance_m: float | None,
    focus_distance_m: float | None,
) -> tuple[NDArray[Any], float]:
    """The modes in the plane of the sample, and how far that lies behind the earlier one."""
    pixel, energy = result.pixel_size_m, result.energy_eV or energy_eV
    if pixel is None or energy is None:
        return probe, 0.0
    certain = bool(focus_distance_m and result.focus_distance_m)
    if focus_distance_m and result.focus_distance_m:
        way, whole = focus_distance_m - result.focus_distance_m, focus_distance_m
    elif distance_m and result.distance_m:
        way, whole = result.distance_m - distance_m, distance_m
    else:
        return probe, 0.0
    if abs(way) <= SAME * whole:
        return probe, 0.0
    spectrum = pupil_of(probe)
    wavelength = wavelength_of(energy)
    if not (certain or _stays(spectrum, pixel, wavelength, way)):
        return probe, 0.0
    return focus(free_space(spectrum, pixel, wavelength, way)), way


def _stays(spectrum: NDArray[Any], pixel: float, wavelength: float, way: float) -> bool:
    """Whether the light that this spectrum (P, N, N) sends aside stays in its array."""
    n = spectrum.shape[-1]
    power = (np.abs(spectrum) ** 2).sum(axis=0)
    k = (np.arange(n) - n // 2) / (n * pixel)
    aside = np.abs(way) * wavelength * np.hypot(k[:, None], k[None, :])
    return bool(power[aside < n * pixel / 2].sum() >= KEPT * power.sum())
