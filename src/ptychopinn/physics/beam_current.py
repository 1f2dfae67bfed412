"""The intensity of the beam changes from pattern to pattern: I_j = g_j sum_p abs(D psi_p)^2.

With measured and modelled intensities I and J, the Poisson likelihood of a pattern is greatest for

    g_j <- g_j sum I / sum J.

What all patterns share belongs to the object: the mean of g is 1. The photon noise of the counts
is taken out by shrinking: for g of variance t^2 about 1 and noise of variance s_j^2, the part
t^2 / (t^2 + s_j^2) of the deviation is kept (Robbins, Proc. 3rd Berkeley Symp. 1, 157, 1956).

J is what a pass saw, and the object, or a probe that is free, follows the counts within it as well,
subset by subset: both together go too far and turn back pass by pass. So g goes a share w of the
way r, with r' the way of the pass before,

    w <- w / (1 - c) for c = <r, r'> / <r', r'> < 0, else 1.2 w, at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.physics.effects import Effect, Inward, Seen, Values, effect

if TYPE_CHECKING:
    from ptychopinn.ops.base import Ops
    from ptychopinn.physics.forward import PatternBatch

# The counts of an object that is still being found scatter as well, but less and less, and together
# with their neighbours. The factors are followed once their scatter about the mean of so many
# neighbours exceeds this number, exceeds the photon noise by so many times its own, and has not
# fallen below this share of what it was so many passes ago, and after half of all passes. It is
# that of this share of the patterns, because a few may be spoiled.
NEIGHBOURS, FOLLOWED, SIGNIFICANT, AT_REST, PASSES, USUAL = 6, 0.004, 6.0, 0.8, 6, 0.95
# What an object has not found yet fades as one by the number of passes where it is found slowly, as
# the slices of a thick sample: over a fixed number of passes that looks more and more like a beam.
# Those that an object is given before it is looked at:
UNSEEN = 3
# What factors share with their neighbours, the object can explain nearly as well, and is found
# last: they stay once a pass asks for less than this multiple of their photon noise (rms).
SETTLED = 0.3
# A factor does not leave this range, whatever a single pattern asks for.
LEAST, MOST = 0.05, 20.0
# The share of its way that a factor goes is this at least, and rises by so much in a pass.
LEAST_SHARE, FASTER = 0.1, 1.2
# It is spoken of from this scatter on.
SAID = 0.02


@effect
@dataclass(frozen=True, eq=False)
class BeamCurrent(Effect):
    """values : (M,) the factors g, with the mean 1.  near : (M, K) the nearest patterns of each, or
    None.  scatters : about their mean after each pass so far, beyond noise.
    settled : whether a pass asked for less than noise.  fixed : whether they stay as they
    are in any case.  way, share : what the last pass asked for (M,), None before, and the share of
    it that they went."""

    near: NDArray[np.int64] | None = None
    scatters: tuple[float, ...] = ()
    settled: bool = False
    fixed: bool = False
    way: Values | None = None
    share: float = 1.0

    name: ClassVar[str] = "beam-current"

    @classmethod
    def none(cls, positions_px: Values, n: int) -> BeamCurrent:
        from scipy.spatial import cKDTree

        count = min(NEIGHBOURS + 1, len(positions_px))
        _, near = cKDTree(positions_px).query(positions_px, count)
        return cls(np.ones(len(positions_px)), np.reshape(near, (-1, count))[:, 1:])

    def check(self, patterns: int, n: int) -> None:
        values = self.values
        if values.shape != (patterns,) or not (np.isfinite(values) & (values > 0)).all():
            raise InputError(
                f"the factors of the beam current must be {patterns} positive numbers, one for "
                f"each pattern, received an array {values.shape}; write the result again."
            )

    def applied(
        self, xp: Ops, batch: PatternBatch, numbers: NDArray[np.int64], inward: Inward
    ) -> PatternBatch:
        root = xp.astype(xp.asarray(np.sqrt(self.values[numbers])), batch.amplitudes)
        return batch._replace(probes=xp.call(brightened, batch.probes, root))

    def advanced(self, seen: Seen, outward: Inward) -> BeamCurrent:
        if self.settled or self.fixed:
            return self
        lit = (seen.modelled > 0) & (seen.measured > 0)
        ratio = np.divide(seen.measured, seen.modelled, out=np.ones_like(self.values), where=lit)
        noise = np.divide(seen.photon, seen.modelled, out=np.zeros_like(ratio), where=lit)
        likeliest = _about_one(self.values * ratio)
        if not self.changes:
            waiting = self._after(likeliest, noise)
            if not waiting._shows_a_beam(noise):
                return waiting
        spread = max(float(((likeliest - 1) ** 2 - noise).mean()), 0.0)
        kept = np.divide(spread, spread + noise, out=np.zeros_like(noise), where=lit & (spread > 0))
        way = _about_one(1 + kept * (likeliest - 1)) - self.values
        asked, share = float((way**2).mean()), self._share_of(way)
        values = _about_one(self.values + share * way)
        settled = asked < SETTLED**2 * float(noise.mean())
        return replace(self, values=values, settled=settled, way=way, share=share)

    def _share_of(self, way: Values) -> float:
        """How much of this way the factors go."""
        before = 0.0 if self.way is None else float((self.way**2).sum())
        if self.way is None or not before > 0:
            return self.share
        along = float((way * self.way).sum()) / before
        if along < 0:
            return max(self.share / (1 - along), LEAST_SHARE)
        return min(self.share * FASTER, 1.0)

    def _after(self, likeliest: Values, noise: Values) -> BeamCurrent:
        """The same with one more scatter, of factors about the mean of their neighbours."""
        if self.near is None or self.near.size == 0:
            return self
        rough = likeliest - likeliest[self.near].mean(axis=1)
        variances = np.sort(rough**2 - noise * (1 + 1 / self.near.shape[1]))
        typical = variances[: int(np.ceil(USUAL * len(variances)))]
        scatter = float(np.sqrt(max(typical.mean(), 0.0)))
        return replace(self, scatters=(*self.scatters, scatter))

    def _shows_a_beam(self, noise: Values) -> bool:
        """Whether the scatters are those of the beam."""
        scatters = self.scatters
        back = max(PASSES, (len(scatters) + UNSEEN) // 2)
        if len(scatters) <= back or scatters[-1] < AT_REST * scatters[-1 - back]:
            return False
        chance = SIGNIFICANT * float(noise.mean()) * np.sqrt(2 / len(noise))
        return scatters[-1] ** 2 > max(FOLLOWED**2, chance)

    @property
    def changes(self) -> bool:
        return bool((self.values != 1).any())

    @property
    def makes_up(self) -> bool:
        return self.changes and not self.fixed

    def exchanged(self, amplitude: Values) -> BeamCurrent:
        return replace(self, values=_about_one(self.values * np.exp(-2 * amplitude)))

    def scaled(self, factor: float) -> BeamCurrent:
        return self

    def chosen(self, numbers: NDArray[np.int64]) -> BeamCurrent:
        return BeamCurrent(self.values[numbers])

    def elsewhere(self, known: NDArray[np.int64], numbers: NDArray[np.int64]) -> BeamCurrent:
        return BeamCurrent(np.ones(len(numbers)))

    def in_words(self, seen_counts: float) -> str | None:
        spread = float(self.values.std())
        if spread < SAID:
            return None
        low, high = self.values.min(), self.values.max()
        return (
            f"the intensity of the beam changed by {spread:.1%} (rms) from pattern to pattern, "
            f"between {low:.2f} and {high:.2f} of its mean: fitted"
        )


def _about_one(factors: Values) -> Values:
    limited = np.clip(factors, LEAST, MOST)
    return np.asarray(limited / limited.mean())


def brightened(xp: Ops, probes: Any, root: Any) -> Any:
    """Probes (M, P, N, N) times factors (M,)."""
    return xp.scaled(probes, root[:, None, None, None])
