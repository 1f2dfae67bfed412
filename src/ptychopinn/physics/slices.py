"""A thick sample: K slices O_k with free space between them, from the upstream one on.

    psi_1 = P O_1,   psi_k = H(psi_{k-1}) O_k,   I = sum_p abs(D psi_K)^2

H is the way from slice to slice by the angular spectrum of plane waves (multislice; Cowley and
Moodie, Acta Cryst. 10, 609, 1957; in ptychography Maiden, Humphry and Rodenburg, J. Opt. Soc. Am. A
29, 1606, 2012, and with X-rays Tsai et al., Opt. Express 24, 29089, 2016). The slices lie on one
canvas (K, H, W). Their product is the object that a thin sample would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Effect, Inward, Seen, Values, effect
from ptychopinn.physics.propagators import HC, AngularSpectrum, near_field

if TYPE_CHECKING:
    from ptychopinn.ops.base import Ops
    from ptychopinn.physics.forward import PatternBatch

MOST = 8
# Pixels that a slice must blur the next one by for their distance to show exactly.
SURE_BLUR = 3.0


@effect
@dataclass(frozen=True, eq=False)
class Slices(Effect):
    """values : (4,) K, and in metres the distance from slice to slice, the pixel of the object and
    the wavelength; () of shape (0,) for a thin sample."""

    name: ClassVar[str] = "slices"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> Slices:
        return cls(np.zeros(0))

    @classmethod
    def of(cls, count: int, spacing_m: float, pixel_size_m: float, wavelength_m: float) -> Slices:
        return cls(np.array([count, spacing_m, pixel_size_m, wavelength_m], np.float64))

    def check(self, patterns: int, n: int) -> None:
        values = self.values
        known = values.shape == (4,) and np.isfinite(values).all() and (values > 0).all()
        if values.shape != (0,) and not (known and values[0] in range(2, MOST + 1)):
            raise InputError(
                f"slices must be their number from 2 to {MOST}, spacing, pixel size and wavelength "
                f"in metres, received {values.tolist()}; write the result again."
            )

    @property
    def slices(self) -> int:
        return int(self.values[0]) if len(self.values) else 1

    @property
    def changes(self) -> bool:
        return len(self.values) > 0

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        count, spacing, pixel, wavelength = self.values
        n = int(xp.shape(batch.amplitudes)[-1])
        way = near_field(n, pixel, HC / wavelength, spacing, np.complex128).kernel
        parts = [
            xp.astype(xp.asarray(np.ascontiguousarray(part)), batch.amplitudes)
            for part in (way.real, way.imag)
        ]
        space = AngularSpectrum(xp.complex(*parts))
        return batch._replace(between=(space,) * (int(count) - 1))

    def advanced(self, seen: Seen, outward: Inward) -> Slices:
        return self

    def scaled(self, factor: float) -> Slices:
        return self

    def in_words(self, seen_counts: float) -> str | None:
        if not self.changes:
            return None
        count, spacing, pixel, wavelength = self.values
        blur = np.sqrt(spacing * wavelength) / pixel
        unsure = (
            "; so near to each other their distance is up to a third too large where it had to be "
            "found from the patterns"
        )
        return (
            f"the sample was taken as {count:.0f} slices that are {spacing:.3g} m apart, a way on "
            f"which a detail of {blur:.1f} px spreads to twice its size; object is their product"
            f"{unsure if blur < SURE_BLUR else ''}"
        )
