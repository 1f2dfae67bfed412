"""Probes from what the instrument's drawing says.

All lenses are a pupil A(k) in the back focal plane, k in cycles per metre, focused and carried on
over the defocus d, the distance from the focus to the sample along the beam:

    P(x) = F^-1 [ A(k) exp(-i pi lambda d k^2 - i chi(k)) ]

positive where the sample lies behind the focus (diverging beam), negative before it; microscopists
call the latter underfocus. The exact form of the first term is the angular spectrum
(:func:`ptychopinn.physics.propagators.free_space`). A numerical aperture NA means abs(k) <= NA /
lambda.

==========  =======================================================================================
fzp         Fresnel zone plate of ``diameter`` D with outermost ``zone`` width dr: NA = lambda /
            (2 dr), first-order focal length D dr / lambda; a central ``stop`` of that diameter
            darkens stop / D of the pupil (Attwood, Soft X-Rays and Extreme Ultraviolet Radiation,
            ch. 9)
kb          crossed mirrors (Kirkpatrick and Baez, J. Opt. Soc. Am. 38, 766, 1948): a rectangular
            pupil with ``na_y``, ``na_x`` (``na`` for both), or aperture / (2 focal); ``defocus_y``
            and ``defocus_x`` where the two foci lie apart
gaussian    exp(-2 ln 2 r^2 / fwhm^2): the intensity has this full width at half maximum
disc        a pinhole of this ``diameter``
electron    aperture of half-angle ``alpha`` (Kirkland, Advanced Computing in Electron Microscopy,
            ch. 2): k <= alpha / lambda, chi = pi/2 cs lambda^3 k^4, relativistic wavelength
==========  =======================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.propagators import focus, free_space, pupil_of, wavelength_of
from ptychopinn.probes.pupils import find_pupil
from ptychopinn.probes.recipes import Recipe

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Setting:
    """What is known of the scan: mean pattern (N, N) in counts, object pixel and photon energy.

    ``good`` (N, N) are the pixels of the detector that count.
    """

    pattern: NDArray[np.float64]
    pixel_size_m: float | None = None
    energy_eV: float | None = None
    good: NDArray[np.bool_] | None = None

    @property
    def n(self) -> int:
        return int(self.pattern.shape[-1])


def analytic_probe(recipe: Recipe, setting: Setting) -> tuple[Complex, dict[str, Any]]:
    """The probe (N, N) of a recipe other than auto, in any scale, and its numbers in metres.

    Raises
    ------
    InputError
        When a number that it needs is known to nobody, or the spot is larger than its array.
    """
    return _Bench(recipe, setting).probe()


class _Bench:
    """The optics of one recipe."""

    def __init__(self, recipe: Recipe, setting: Setting) -> None:
        self.recipe, self.setting, self.n = recipe, setting, setting.n
        self.details: dict[str, Any] = {}

    def probe(self) -> tuple[Complex, dict[str, Any]]:
        found: Complex = getattr(self, f"_{self.recipe.kind}")()
        return found * self._towards_beam(), self.details

    def _towards_beam(self) -> Complex:
        """The phase ramp that turns the beam to where the mean pattern has it: the middle of the
        detector is rarely hit to the pixel."""
        y, x = find_pupil(self.setting.pattern, self.setting.good).centre
        u = np.arange(self.n) - self.n // 2
        ramp = np.exp(2j * np.pi / self.n * (y * u[:, None] + x * u[None, :]))
        return np.asarray(ramp, np.complex128)

    def _fzp(self) -> Complex:
        wavelength = self._wavelength()
        zone, diameter = self.recipe.number("zone"), self.recipe.number("diameter")
        stop = self.recipe.number("stop")
        if stop >= diameter:
            raise InputError(
                f"the stop of the probe fzp must be smaller than its diameter, received {stop:.4g} "
                f"m and {diameter:.4g} m; correct them."
            )
        edge = 0.5 / zone
        self.details["focal_length_m"] = diameter * zone / wavelength
        radius = self._radius(edge)
        pupil = _inside(edge, radius, self.step)
        if stop:
            pupil = pupil * (1 - _inside(edge * stop / diameter, radius, self.step))
        return self._focused(pupil, edge, wavelength)

    def _kb(self) -> Complex:
        wavelength = self._wavelength()
        edge_y, edge_x = (self._aperture(axis) / wavelength for axis in "yx")
        pixel = self._pixel(max(edge_y, edge_x))
        k = self._frequencies(pixel)
        pupil = _inside(edge_y, np.abs(k), self.step)[:, None] * _inside(
            edge_x, np.abs(k), self.step
        )
        common = self.recipe.number("defocus")
        ways = [self.recipe.number(f"defocus_{axis}", common) for axis in "yx"]
        for way, edge in zip(ways, (edge_y, edge_x), strict=True):
            self._check_spot(way, edge, wavelength)
        self.details["defocus_m"] = ways
        phase = np.pi * wavelength * (ways[0] * k[:, None] ** 2 + ways[1] * k[None, :] ** 2)
        return focus(pupil * np.exp(-1j * phase))

    def _aperture(self, axis: str) -> float:
        given = self.recipe.get(f"na_{axis}", self.recipe.get("na"))
        if given is not None:
            return given
        width, length = self.recipe.get(f"aperture_{axis}"), self.recipe.get(f"focal_{axis}")
        if width is None or length is None:
            raise InputError(
                f"a probe kb needs na, na_{axis}, or aperture_{axis} and focal_{axis}, received "
                f"'{self.recipe.text}'; add one of them."
            )
        return width / (2 * length)

    def _gaussian(self) -> Complex:
        width = self._in_pixels("fwhm")
        field = np.exp(-2 * np.log(2) * (self._distance() / width) ** 2)
        return self._moved(field.astype(np.complex128))

    def _disc(self) -> Complex:
        field = _inside(self._in_pixels("diameter") / 2, self._distance(), 1.0)
        return self._moved(field.astype(np.complex128))

    def _electron(self) -> Complex:
        wavelength = wavelength_of(1e3 * self.recipe.number("kv"), electrons=True)
        self.details["wavelength_m"] = wavelength
        edge = self.recipe.number("alpha") / wavelength
        radius = self._radius(edge)
        chi = 0.5 * np.pi * self.recipe.number("cs") * wavelength**3 * radius**4
        pupil = _inside(edge, radius, self.step) * np.exp(-1j * chi)
        return self._focused(pupil, edge, wavelength)

    def _focused(self, pupil: NDArray[Any], edge: float, wavelength: float) -> Complex:
        """In the plane of the sample."""
        way = self.recipe.number("defocus")
        self._check_spot(way, edge, wavelength)
        self.details["defocus_m"] = way
        return focus(free_space(pupil, self.details["pixel_size_m"], wavelength, way))

    def _moved(self, field: Complex) -> Complex:
        """A field that is given in its waist, further along the beam."""
        way = self.recipe.number("defocus")
        if not way:
            return field
        wavelength = self._wavelength()
        self.details["defocus_m"] = way
        return focus(free_space(pupil_of(field), self._pixel(None), wavelength, way))

    def _check_spot(self, way: float, edge: float, wavelength: float) -> None:
        spot = 2 * abs(way) * edge * wavelength
        width = self.n * self.details["pixel_size_m"]
        if spot > width:
            raise InputError(
                f"the probe '{self.recipe.text}' must fit into its array of {width:.3g} m, "
                f"received a spot of {spot:.3g} m; lower the defocus, or correct the pixel size."
            )

    def _wavelength(self) -> float:
        energy = self.recipe.get("energy", self.setting.energy_eV)
        if energy is None:
            raise InputError(
                f"the probe {self.recipe.kind} needs the photon energy, received a scan that does "
                "not tell it; add energy=...keV to the probe."
            )
        wavelength = self.details["wavelength_m"] = wavelength_of(energy)
        return wavelength

    def _pixel(self, edge: float | None) -> float:
        """The object pixel in metres. Where nobody knows it, a pupil with this ``edge`` in cycles
        per metre is as large as that of the mean pattern."""
        pixel = self.recipe.get("pixel", self.setting.pixel_size_m)
        if pixel is None and edge is not None:
            pixel = find_pupil(self.setting.pattern, self.setting.good).radius / (self.n * edge)
            self.details["pixel_size_from"] = "the pupil in the mean pattern"
        if pixel is None:
            raise InputError(
                f"the probe '{self.recipe.text}' needs the size of an object pixel, received a "
                "scan that does not tell it; add pixel=...nm to the probe, or give sizes in px."
            )
        if edge is not None and not edge * pixel <= 0.5:
            raise InputError(
                f"the pupil of the probe '{self.recipe.text}' must fit on the detector, received "
                f"one of {2 * edge * pixel:.3g} times its width; correct the pixel size or the "
                "numbers of the lens."
            )
        self.details["pixel_size_m"] = pixel
        return pixel

    def _in_pixels(self, key: str) -> float:
        size = self.recipe.values[key]
        pixels = size.value if size.in_pixels else size.value / self._pixel(None)
        if not 1 <= pixels <= self.n:
            raise InputError(
                f"{key} of the probe {self.recipe.kind} must be between 1 and {self.n} px, "
                f"received {pixels:.4g} px; numbers without unit are metres, write 20px or 1um."
            )
        self.details[f"{key}_px"] = pixels
        return pixels

    def _distance(self) -> Real:
        u = np.arange(self.n) - self.n // 2
        return np.asarray(np.hypot(u[:, None], u[None, :]), np.float64)

    def _frequencies(self, pixel: float) -> NDArray[np.float64]:
        # A pixel of the detector, in cycles per metre: over so much an edge goes from 0 to 1.
        self.step = 1 / (self.n * pixel)
        return np.asarray((np.arange(self.n) - self.n // 2) * self.step, np.float64)

    def _radius(self, edge: float) -> NDArray[np.float64]:
        k = self._frequencies(self._pixel(edge))
        return np.asarray(np.hypot(k[:, None], k[None, :]), np.float64)


def _inside(edge: float, distance: NDArray[Any], step: float) -> NDArray[np.float64]:
    """1 inside of an edge, 0 outside, and between on the pixel that it runs through."""
    return np.asarray(np.clip((edge - distance) / step + 0.5, 0.0, 1.0), np.float64)
