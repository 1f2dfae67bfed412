"""From the exit wave to the detector.

A propagator is a NamedTuple of arrays with four methods; one of your own can be passed in its
place. Its fields are in an order of its own (:meth:`inward` brings patterns there, :meth:`outward`
back), and ``backward`` is the inverse of ``forward``; with the factor :meth:`power` the intensity
conserves the energy, so that the adjoint is ``backward`` too.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ptychopinn.ops.base import Array, Ops

AXES = (-2, -1)
# h c in eV m, from the constants that define the SI.
HC = 6.62607015e-34 * 299792458 / 1.602176634e-19
# m c^2 of an electron in eV (CODATA 2018).
ELECTRON_REST_EV = 510998.95


def wavelength_of(energy_eV: float, electrons: bool = False) -> float:
    """Wavelength in metres of photons of this energy, or of electrons accelerated by so many volts.

    h c / E, and h c / sqrt(E (E + 2 m c^2)).
    """
    if not electrons:
        return HC / energy_eV
    return float(HC / np.sqrt(energy_eV * (energy_eV + 2 * ELECTRON_REST_EV)))


class Propagator(Protocol):
    """What the forward model asks of a propagator.

    Attributes
    ----------
    measures_momentum : whether a shift of a pattern tells of a phase ramp of the object, as in the
        far field.
    """

    @property
    def measures_momentum(self) -> bool: ...

    def forward(self, xp: Ops, waves: Array, fraction: Array) -> Array:
        """Fields (M, P, N, N) at the detector of exit waves that were moved by the sub-pixel
        remainders ``fraction`` (M, 2) of their positions."""

    def backward(self, xp: Ops, fields: Array, fraction: Array) -> Array:
        """The inverse of :meth:`forward`."""

    def power(self, xp: Ops, n: Any) -> Any:
        """Factor of abs(field)^2 that conserves the energy; None for 1."""

    def inward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Patterns (..., N, N) of the contract in the order of the fields."""

    def outward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`inward`."""


class FarField(NamedTuple):
    """Fraunhofer diffraction: the unitary 2-D DFT, in FFT order.

    A common translation of the exit wave changes no intensity, so the remainders do not matter.
    """

    @property
    def measures_momentum(self) -> bool:
        return True

    def forward(self, xp: Ops, waves: Array, fraction: Array) -> Array:
        return xp.fft2(waves)

    def backward(self, xp: Ops, fields: Array, fraction: Array) -> Array:
        return xp.ifft2(fields)

    def power(self, xp: Ops, n: Any) -> Any:
        return xp.fft_power(n)

    def inward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return np.fft.ifftshift(patterns, axes=AXES)

    def outward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return np.fft.fftshift(patterns, axes=AXES)


class AngularSpectrum(NamedTuple):
    """Near field: free space over a distance, by the angular spectrum of plane waves.

    kernel : (N, N) complex, what each plane wave is multiplied with, FFT order; 0 for evanescent
        ones.  See Goodman, Introduction to Fourier Optics, section 3.10.

    The detector lies in the plane of the patch, so an exit wave that was moved by the remainder of
    its position is moved back on its way.
    """

    kernel: Array

    @property
    def measures_momentum(self) -> bool:
        return False

    def forward(self, xp: Ops, waves: Array, fraction: Array) -> Array:
        return xp.ifft2(xp.fft2(waves) * self._transfer(xp, waves, fraction))

    def backward(self, xp: Ops, fields: Array, fraction: Array) -> Array:
        return xp.ifft2(xp.fft2(fields) * xp.conj(self._transfer(xp, fields, fraction)))

    def across(self, xp: Ops, waves: Array) -> Array:
        """Waves (M, P, N, N) at the end of the way, where they are not moved."""
        return xp.ifft2(xp.fft2(waves) * self.kernel)

    def back_across(self, xp: Ops, waves: Array) -> Array:
        """The adjoint of :meth:`across`."""
        return xp.ifft2(xp.fft2(waves) * xp.conj(self.kernel))

    def power(self, xp: Ops, n: Any) -> Any:
        return None

    def inward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns

    def outward(self, patterns: NDArray[Any]) -> NDArray[Any]:
        return patterns

    def _transfer(self, xp: Ops, waves: Array, fraction: Array) -> Array:
        """The kernel (M, 1, N, N) that moves a wave by minus its remainder as well; (M, P, N, N)
        where each mode has its own."""
        back = ramp(xp, waves, -fraction)
        return self.kernel * (back[:, None] if len(xp.shape(fraction)) == 2 else back)


def placed(xp: Ops, propagator: Any) -> Propagator:
    """The propagator with its arrays on the device of the framework."""
    found: Propagator = type(propagator)(*(xp.asarray(array) for array in propagator))
    return found


def near_field(
    n: int, pixel_size_m: float, energy_eV: float, distance_m: float, precision: Any = np.complex64
) -> AngularSpectrum:
    """Free space over the effective ``distance_m`` for n x n pixels of ``pixel_size_m``.

    For a cone beam with the distances z1 (focus to object) and z2 (object to detector) the
    effective distance is z2 / M with the magnification M = (z1 + z2) / z1, and the pixels are those
    of the detector divided by M (Fresnel scaling theorem).
    """
    wavelength = wavelength_of(energy_eV)
    k = np.fft.fftfreq(n, pixel_size_m) * wavelength
    across = k[:, None] ** 2 + k[None, :] ** 2
    # sqrt(1 - across) - 1, written so that no digits cancel: without the phase of the plane wave
    # along the axis, which would swallow them all.
    root = np.sqrt(np.maximum(1 - across, 0))
    phase = -2 * np.pi * distance_m / wavelength * across / (root + 1)
    return AngularSpectrum(np.where(across < 1, np.exp(1j * phase), 0).astype(precision))


def focus(pupil: NDArray[Any]) -> NDArray[np.complex128]:
    """The field (..., N, N) in the focus of a lens with this pupil function; both are centred on
    [N/2, N/2]. The inverse unitary DFT."""
    field = np.fft.ifft2(np.fft.ifftshift(pupil, axes=AXES), norm="ortho")
    return np.asarray(np.fft.fftshift(field, axes=AXES), np.complex128)


def pupil_of(field: NDArray[Any]) -> NDArray[np.complex128]:
    """The inverse of :func:`focus`: the far field (..., N, N) of a field in the sample plane, both
    centred on [N/2, N/2]. The unitary DFT."""
    spectrum = np.fft.fft2(np.fft.ifftshift(field, axes=AXES), norm="ortho")
    return np.asarray(np.fft.fftshift(spectrum, axes=AXES), np.complex128)


def free_space(
    pupil: NDArray[Any], pixel_size_m: float, wavelength_m: float, distance_m: float
) -> NDArray[np.complex128]:
    """The spectrum (..., N, N), centred on [N/2, N/2], of a field ``distance_m`` further along the
    beam, by the angular spectrum; a negative distance goes back."""
    n = pupil.shape[-1]
    way = near_field(n, pixel_size_m, HC / wavelength_m, distance_m, np.complex128)
    return np.asarray(pupil * np.fft.fftshift(way.kernel), np.complex128)


def resampled(field: NDArray[Any], scale: float, n: int) -> NDArray[np.complex128]:
    """A field (..., N, N) on n x n pixels that are ``scale`` times as wide, the middle kept.

    Exact for a band-limited field; outside the old array it is 0, and frequencies that the new
    pixels cannot hold are left out. The power sum abs(field)^2 dx^2 is kept, so that of the numbers
    is divided by scale^2.
    """
    old = field.shape[-1]
    k = (np.arange(old) - old // 2) / old
    at = (np.arange(n) - n // 2) * scale
    inside = (at >= -(old // 2)) & (at <= (old - 1) // 2)
    fits = np.abs(k) * scale <= 0.5
    to = np.exp(2j * np.pi * at[:, None] * k[None, :]) * inside[:, None] * fits[None, :]
    return np.asarray(to @ pupil_of(field) @ to.T / old, np.complex128)


def ramp(xp: Ops, field: Array, shift_px: Array) -> Array:
    """Spectrum (..., N, N) of a translation by ``shift_px`` (..., 2) = (dy, dx), as ``field``."""
    n = xp.shape(field)[-1]
    k = -2 * np.pi * xp.fftfreq(n, field)
    shift = xp.astype(shift_px, field)
    along_y = xp.rotation(k[:, None] * shift[..., 0, None, None])
    along_x = xp.rotation(k[None, :] * shift[..., 1, None, None])
    return along_y * along_x


def fourier_shift(xp: Ops, field: Array, shift_px: Array) -> Array:
    """Translate complex ``field`` (..., N, N) by ``shift_px`` (..., 2) = (dy, dx): out(u) =
    field(u - shift). Periodic and unitary; exact for band-limited fields."""
    return xp.ifft2(xp.fft2(field) * ramp(xp, field, shift_px))
