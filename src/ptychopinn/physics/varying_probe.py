"""The probe changes during the scan: P_j = P + |P| sum_k c_jk E_k, with few eigenprobes E_k.

The eigenprobes have the norm 1 and are orthogonal to each other and to P, the coefficients c are
real with the mean 0. Both follow from what each pattern asks of its probe, w_j = conj(O_j) chi_j,
moved back to whole pixels (after Odstrcil et al., Opt. Express 24, 8360, 2016). A beam changes
slowly: its changes D_b are known at knots along the order of the scan and interpolated with weights
h_jb, so that

    D_b <- D_b + s sum_j h_jb w_j / (sum_j h_jb abs(O_j)^2 + rim)      + momentum

collects many patterns, and needs no memory for each of them. A slow phase of the object and probes
that tilt, shear and defocus along with it give nearly the same patterns. What tells them apart is
the pupil: its phase changes, its modulus stays, so that abs(F(P + D_b)) is replaced by its mean
over the knots. The strongest parts of D in the sense of its singular values are kept, less what the
strongest one that is left out has: that is noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Effect, Inward, Seen, Values, effect
from ptychopinn.physics.propagators import fourier_shift

if TYPE_CHECKING:
    from ptychopinn.ops.base import Array, Ops
    from ptychopinn.physics.forward import PatternBatch

# Patterns from knot to knot at least, and knots at most.
APART, MOST = 6, 64
# Step s, the share of the strongest illumination that is added to the weight, and the momentum.
STEP, RIM, MOMENTUM = 1.0, 0.05, 0.8
# Passes with one probe alone: what an object that is still being found asks for would stay in the
# eigenprobes, because a slow phase hardly tells itself from them.
ALONE = 12
# It is spoken of from this share of the power on.
SAID = 1e-3


@effect
@dataclass(frozen=True, eq=False)
class VaryingProbe(Effect):
    """values : (K, N + R, N, 2) real and imaginary parts of each eigenprobe (N, N), and of its M
    coefficients in R rows, filled up with zeros.  wanted : how many eigenprobes are followed, none
    with 0.  patterns : M, where they are.  passes : that were seen.
    before : (B, N N) the changes at the knots that the last pass began with."""

    wanted: int = 0
    patterns: int = 0
    passes: int = 0
    before: NDArray[Any] | None = None

    name: ClassVar[str] = "varying-probe"
    turn: ClassVar[int] = 0

    @classmethod
    def none(cls, positions_px: Values, n: int) -> VaryingProbe:
        return cls(_packed(np.zeros((len(positions_px), 0)), np.zeros((0, n, n))))

    @classmethod
    def of(cls, coefficients: NDArray[Any], eigenprobes: NDArray[Any]) -> VaryingProbe:
        """Of coefficients (M, K) and eigenprobes (K, N, N)."""
        return cls(_packed(coefficients, eigenprobes))

    def check(self, patterns: int, n: int) -> None:
        values, rows = self.values, n - (-patterns // n)
        if values.shape[1:] != (rows, n, 2) or not np.isfinite(values).all():
            raise InputError(
                f"eigenprobes and their coefficients must be finite, of shape (K, {rows}, {n}, 2), "
                f"received an array {values.shape}; write the result again."
            )

    @property
    def eigenprobes(self) -> NDArray[np.complex128]:
        """(K, N, N)."""
        n = self.values.shape[2]
        return np.asarray(self.values[:, :n, :, 0] + 1j * self.values[:, :n, :, 1])

    @property
    def coefficients(self) -> NDArray[np.complex128]:
        """(M or a few more, K); those after the last pattern are zero."""
        count, _, n, _ = self.values.shape
        rows = self.values[:, n:].reshape(count, (self.values.shape[1] - n) * n, 2)
        return np.asarray((rows[..., 0] + 1j * rows[..., 1]).T)

    @property
    def changes(self) -> bool:
        return bool(self.coefficients.any())

    @property
    def looks(self) -> bool:
        return self.wanted > 0

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        like = batch.amplitudes
        if self.looks:
            parts = knots(self.patterns)[numbers]
            batch = batch._replace(parts=xp.astype(xp.asarray(parts), like))
        if not self.changes:
            return batch
        rows, fields = self.coefficients[numbers], self.eigenprobes
        given = [
            xp.astype(xp.asarray(np.ascontiguousarray(part)), like)
            for part in (rows.real, rows.imag, fields.real, fields.imag)
        ]
        return batch._replace(probes=xp.call(varied, batch.probes, batch.fraction, *given))

    def advanced(self, seen: Seen, outward: Inward) -> VaryingProbe:
        if not self.looks or isinstance(seen.asked, tuple):
            return self
        assert not isinstance(seen.light, tuple)
        assert not isinstance(seen.probe, tuple)
        passed = self.passes + 1
        if not self.changes and passed <= ALONE:
            return replace(self, passes=passed)
        weights, n = knots(self.patterns), self.values.shape[2]
        probe = np.asarray(seen.probe[0], np.complex128).ravel()
        strength = np.linalg.norm(probe)
        now = self.coefficients[: self.patterns] @ self.eigenprobes.reshape(-1, n * n)
        at_knots = np.linalg.lstsq(weights, now, rcond=None)[0]
        light = np.asarray(seen.light, np.float64).reshape(len(seen.light), -1)
        asked = np.asarray(seen.asked).reshape(light.shape) / strength
        step = STEP * asked / (light + RIM * light.max(axis=1, keepdims=True))
        rolling = 0.0 if self.before is None else MOMENTUM * (at_knots - self.before)
        found = of_one_pupil(probe / strength, at_knots + step + rolling, weights.mean(axis=0))
        shares, sizes, fields = np.linalg.svd(halves(found), full_matrices=False)
        kept, noise = sizes[: self.wanted], sizes[self.wanted : self.wanted + 1].sum()
        kept = np.sqrt(np.maximum(kept**2 - noise**2, 0.0))
        coefficients = weights @ (shares[:, : len(kept)] * kept)
        waves = fields[: len(kept), : n * n] + 1j * fields[: len(kept), n * n :]
        packed = _packed(coefficients, waves.reshape(-1, n, n))
        return replace(self, values=packed, passes=passed, before=at_knots)

    def tilted(self, ramp: NDArray[np.complex128]) -> VaryingProbe:
        fields, coefficients = self.eigenprobes * ramp, self.coefficients
        n = fields.shape[-1]
        return replace(self, values=_packed(coefficients, fields.reshape(-1, n, n)))

    def scaled(self, factor: float) -> VaryingProbe:
        return self

    def chosen(self, numbers: NDArray[np.int64]) -> VaryingProbe:
        return VaryingProbe.of(self.coefficients[numbers], self.eigenprobes)

    def elsewhere(self, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> VaryingProbe:
        rows = self.coefficients[: len(known)].T
        between = [
            [np.interp(numbers, known, row) for row in part] for part in (rows.real, rows.imag)
        ]
        real, imaginary = np.reshape(between, (2, len(rows), len(numbers)))
        coefficients = (real + 1j * imaginary).T
        return VaryingProbe.of(coefficients, self.eigenprobes)

    def in_words(self, seen_counts: float) -> str | None:
        powers = (np.abs(self.coefficients) ** 2).mean(axis=0)
        if powers.sum() < SAID:
            return None
        return (
            f"the probe changed during the scan, by {powers.sum():.1%} of its power on average: "
            f"{len(powers)} eigenprobes fitted"
        )


def _packed(coefficients: NDArray[Any], eigenprobes: NDArray[Any]) -> Values:
    """The values of coefficients (M, K) and eigenprobes (K, N, N)."""
    count, n = len(eigenprobes), eigenprobes.shape[-1]
    more = -len(coefficients) % n
    rows = np.pad(coefficients.T, ((0, 0), (0, more)))
    height = (len(coefficients) + more) // n
    both = np.concatenate([eigenprobes, rows.reshape(count, height, n)], axis=1)
    return np.stack([both.real, both.imag], axis=-1).astype(np.float64)


def of_one_pupil(
    probe: NDArray[np.complex128], changes: NDArray[np.complex128], shares: Values
) -> NDArray[np.complex128]:
    """Changes (B, N N) of a ``probe`` (N N) of norm 1 that have the mean 0 for these ``shares``
    (B,), are orthogonal to the probe and its phase, and leave the modulus of its pupil."""
    n = int(np.sqrt(len(probe)))
    pupils = np.fft.fft2((probe + changes).reshape(-1, n, n))
    modulus = np.sqrt(np.tensordot(shares, np.abs(pupils) ** 2, 1))
    turned = np.fft.ifft2(modulus * np.exp(1j * np.angle(pupils))).reshape(changes.shape)
    # The phase of a whole wave shows in no pattern.
    turned *= np.exp(-1j * np.angle(turned @ probe.conj()))[:, None]
    turned -= shares @ turned
    return np.asarray(turned - np.outer(turned @ probe.conj(), probe))


def halves(fields: NDArray[np.complex128]) -> Values:
    """(B, 2 N N) real and imaginary parts of (B, N N)."""
    return np.concatenate([fields.real, fields.imag], axis=1)


def knots(patterns: int) -> Values:
    """(M, B) weights that interpolate linearly between B knots in the order of the scan."""
    count = int(np.clip(patterns // APART, 2, MOST))
    at = np.linspace(0, count - 1, patterns)
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - np.arange(count)), 0.0))


def varied(
    xp: Ops, probes: Array, fraction: Array, rows: Array, rows_i: Array, fields: Array, f_i: Array
) -> Array:
    """Probes (M, P, N, N) at remainders ``fraction``, of which the first mode takes its part of the
    eigenprobes, given real and imaginary parts of (M, K) and (K, N, N)."""
    count, n, _ = xp.shape(fields)
    flat, flat_i = xp.reshape(fields, (count, n * n)), xp.reshape(f_i, (count, n * n))
    change = xp.complex(
        xp.matmul(rows, flat) - xp.matmul(rows_i, flat_i),
        xp.matmul(rows, flat_i) + xp.matmul(rows_i, flat),
    )
    m, first = xp.shape(probes)[0], probes[:, :1]
    moved = fourier_shift(xp, xp.reshape(change, (m, 1, n, n)), fraction[:, None, :])
    strength = xp.sqrt(xp.sum(xp.abs2(first), axis=(1, 2, 3)))
    first = first + xp.scaled(moved, strength[:, None, None, None])
    return xp.concat([first, probes[:, 1:]], axis=1)
