"""Is a part of the detector not where the rest of it puts it, as a module that is mounted askew?

Object and probe make up for most of it, but not for all: in that part the patterns are where the
model has them but for a shift that the rest does not ask for. Patterns whose part is put back by
whole pixels then leave far less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.verdict import SEEN_EXCESS_OF_NOISE
from ptychopinn.ops.base import Ops
from ptychopinn.ops.selector import BackendName
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units
from ptychopinn.workflows.exposure import modelled_counts
from ptychopinn.workflows.results import reported

PASSES = 16
# A shift of a part against the rest that is worth trials: pixels, and standard deviations. Of true
# ones of 1 and 2 px 0.01 to 1 px are left.
ASKED_PX, SIGMA = 0.005, 10.0
# Along an axis a part moved too if that shift is this share of the other one.
BOTH = 0.5
# Pixels along an axis that are tried at most.
FARTHEST = 4
# It is believed when it leaves this share of the excess or less, 0.9 and more where nothing is
# displaced, and raises the likelihood (-2 log L) by so much.
BELIEVED, LIKELIER = 0.6, 40.0
# Others are tried where the first one, by a pixel, leaves this share: 0.94 at most of what is
# displaced by up to 4 px.
BEGUN = 0.97
# With a probe that a refined one began as the part is tried that asks for most, where that is this
# share of the excess: 0.15 to 0.6 of what is displaced, 0.01 to 0.5 of wrong probes.
CLEAR = 0.1
# Both halves ask alike where the second does for this share of the first.
ALIKE = 1 / 3

# Pixels along y and x.
Shift = tuple[int, int]


class DisplacedPart(NamedTuple):
    """words : which part, and by how much.  given, back : the residual of some patterns around the
    middle as they are, and with that part put back."""

    words: str
    given: float
    back: float


@dataclass(frozen=True)
class Part:
    """A half or a quarter of the detector.

    words : which one.  y, x : whether rows, or columns, from the middle on are in it and the others
    are not, the other way round (False), or all are (None).
    """

    words: str
    y: bool | None
    x: bool | None

    @property
    def half(self) -> bool:
        return self.y is None or self.x is None

    def inside(self, n: int) -> NDArray[np.bool_]:
        """Which pixels of the detector (n, n) are in it."""
        beyond = np.arange(n) >= n // 2
        rows, columns = (
            np.ones(n, bool) if side is None else beyond == side for side in (self.y, self.x)
        )
        return rows[:, None] & columns

    def put_back(self, scan: Scan, by: Shift) -> Scan:
        """The scan with that part moved by whole pixels (y, x). Pixels that it leaves are masked,
        and where it would cover the rest that stays."""
        inside = self.inside(scan.N)
        patterns = np.asarray(scan.diffraction)
        moved = np.where(inside, _moved(patterns, by), patterns)
        good = np.where(inside, _moved(inside & scan.good_pixels, by), scan.good_pixels)
        # Rows that it brings into the rest are none of the rest's.
        return replace(scan, diffraction=np.where(good, moved, 0), mask=good)


PARTS = (
    Part("the lower half", True, None),
    Part("the right half", None, True),
    Part("the upper left quarter", False, False),
    Part("the upper right quarter", False, True),
    Part("the lower left quarter", True, False),
    Part("the lower right quarter", True, True),
)


def displaced_part(
    xp: Ops, scan: Scan, result: Reconstruction, free_probe: bool
) -> DisplacedPart | None:
    """What patterns leave whose part is put back, where they ask for that and it explains them far
    better; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result whose residual is more than
        noise.
    free_probe : whether the probe was refined, and so has made up for a part of it.
    """
    if scan.M < FEWEST or not scan.propagator.measures_momentum or result.slices is not None:
        return None
    likely = asked_for(scan, result)
    return _put_back(xp, scan, result, likely, free_probe) if likely else None


def displaced_behind(xp: Ops, scan: Scan, result: Reconstruction) -> DisplacedPart | None:
    """The same asked with the probe that a refined one began as, held: what is displaced shows
    there whole, while the refined one may make up for so much that what is left asks for another
    part, or for none.

    Parameters
    ----------
    scan : the patterns, with the positions of the result and that probe.
    """
    if scan.M < FEWEST or not scan.propagator.measures_momentum or result.slices is not None:
        return None
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)
    config = PhysicsConfig(passes=PASSES, stagnation=0.0)
    solved = PhysicsSolver(xp, config, LIMIT_BYTES, effects=tuple(here.values())).solve(part)
    name = cast(BackendName, xp.name)
    made = reported(solved.canvas, part, chosen, {}, name, [], {}, "", solved.effects)
    fit = made.fit
    assert fit is not None  # it was just made
    asked = sorted(_asked(chosen, made), key=lambda one: -one.share)
    if not asked or fit.excess <= SEEN_EXCESS_OF_NOISE * fit.expected:
        return None
    if asked[0].share < CLEAR * fit.excess / fit.residual or _of_another_size(asked):
        return None
    return _put_back(xp, chosen, made, [asked[0][1:]], False, float(solved.canvas.losses[-1]))


def _put_back(
    xp: Ops,
    scan: Scan,
    result: Reconstruction,
    likely: Sequence[tuple[Part, Shift]],
    free_probe: bool,
    given: float | None = None,
) -> DisplacedPart | None:
    """What is left with the best of the likely parts put back, where that is believed; ``given`` is
    what is left as it is, where that is known."""
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)

    def left(xp: Ops, scan: Scan, free: bool = free_probe) -> float:
        part = prepare(scan)
        here = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)
        config = PhysicsConfig(passes=PASSES, stagnation=0.0, refine_probe=free)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=tuple(here.values()))
        return float(solver.solve(part).canvas.losses[-1])

    given = left(xp, chosen) if given is None else given
    moved = (part.put_back(chosen, _back(shift)) for part, shift in likely)
    residuals = side_by_side(xp, left, moved)
    least = min(residuals)
    part, shift = likely[residuals.index(least)]
    prepared = prepare(chosen)
    floor = prepared.expected_misfit
    if least - floor > BEGUN * (given - floor):
        return None
    known = {shift: least}
    while further := [one for one in _beside(shift) if one not in known]:
        known[further[0]] = left(xp, part.put_back(chosen, _back(further[0])))
        if known[further[0]] < least:
            shift, least = further[0], known[further[0]]
    if least - floor > BELIEVED * (given - floor):
        return None
    if given - least < LIKELIER * prepared.likelihood_unit:
        return None
    # Of a wrong probe a part that is elsewhere, or masked, may be less bad by chance.
    if not free_probe and left(xp, chosen, True) <= least:
        return None
    return DisplacedPart(_said(part, shift), given, least)


def asked_for(scan: Scan, result: Reconstruction) -> list[tuple[Part, Shift]]:
    """Both halves and the likeliest quarter, where they are displaced against the rest, and the
    signs (y, x) of their shift."""
    found = _asked(scan, result)
    halves = [one for one in found if one.part.half]
    # A half that is displaced along itself turns the patterns, which the rest makes up for.
    quarters = sorted((one for one in found if not one.part.half), key=lambda one: -one.share)[:1]
    return [one[1:] for one in (*halves, *quarters)]


class _Asked(NamedTuple):
    """share : of the square of what patterns leave, in units of its variance, that the shift of a
    part takes away.  part, signs : which one, and the signs (y, x) of its shift."""

    share: float
    part: Part
    signs: Shift


def _of_another_size(asked: Sequence[_Asked]) -> bool:
    """Whether both halves ask most, and alike, for a shift away from the middle or towards it:
    patterns of a probe that is wider or narrower than the one that is held."""
    halves = {one.part.y: one for one in asked[:2] if one.part.half}
    if len(halves) < 2:
        return False
    lower, right = halves[True], halves[None]
    along = lower.signs[1] == right.signs[0] == 0 and lower.signs[0] == right.signs[1]
    return along and asked[1].share >= ALIKE * asked[0].share


def _asked(scan: Scan, result: Reconstruction) -> list[_Asked]:
    """The parts that are displaced against the rest.

    Measured counts I of a pixel that is displaced by d differ from the model J by -d grad J. With
    the variance V of I, least squares of a shift of all pixels and one of a part more give the
    second, and how much it lowers -2 log L.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    numbers = neighbours(scan)
    measured = np.asarray(scan.diffraction[numbers], np.float64)
    model = modelled_counts(result, numbers)
    variance = fit.noise.variance(np.maximum(model, 0.25 * fit.noise.photon))
    variance = np.maximum(variance, 1e-12) * max(fit.residual / fit.expected, 1.0)
    read = np.broadcast_to(scan.good_pixels, measured.shape)
    if scan.saturation is not None:
        read = read & (measured < scan.saturation)
    slopes = np.stack([np.gradient(model, axis=axis) for axis in (1, 2)])
    weighed = np.where(read, slopes / variance, 0)
    right = -(weighed * (measured - model)).sum(axis=1)
    normal = np.einsum("amyx,bmyx->abyx", weighed, slopes)
    found = []
    for part in PARTS:
        inside = part.inside(scan.N)
        of_all, of_part = (normal[..., one].sum(axis=-1) for one in (inside | True, inside))
        both = right.sum(axis=(1, 2)), right[:, inside].sum(axis=1)
        # Without the shift of all.
        shared = of_part @ np.linalg.pinv(of_all)
        alone = of_part - shared @ of_part
        asked = np.linalg.pinv(alone) @ (both[1] - shared @ both[0])
        gain, most = float(asked @ alone @ asked), float(np.abs(asked).max())
        if gain >= SIGMA**2 and most >= ASKED_PX:
            signs = np.where(np.abs(asked) >= BOTH * most, np.sign(asked), 0)
            share = gain / max(float(read.sum()), 1.0)
            found.append(_Asked(share, part, (int(signs[0]), int(signs[1]))))
    return found


def _back(shift: Shift) -> Shift:
    """Pixels by which a part that is displaced by a shift is put back."""
    return -shift[0], -shift[1]


def _beside(shift: Shift) -> list[Shift]:
    """The shifts that differ by a pixel, the farther ones first, but for none at all and those that
    are too far."""
    y, x = shift
    near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    near.sort(key=lambda one: -abs(one[0]) - abs(one[1]))
    return [one for one in near if any(one) and max(map(abs, one)) <= FARTHEST]


def _moved(values: NDArray[Any], by: Shift) -> NDArray[Any]:
    """The last two axes moved by whole pixels (y, x), zeros put in."""
    moved = np.zeros_like(values)
    pairs = [
        (slice(max(d, 0), n + min(d, 0)), slice(max(-d, 0), n - max(d, 0)))
        for d, n in zip(by, values.shape[-2:], strict=True)
    ]
    moved[..., pairs[0][0], pairs[1][0]] = values[..., pairs[0][1], pairs[1][1]]
    return moved


def _said(part: Part, shift: Shift) -> str:
    ways = [
        f"{abs(pixels)} px {way[pixels > 0]}"
        for pixels, way in zip(
            shift, (("up", "down"), ("to the left", "to the right")), strict=True
        )
        if pixels
    ]
    return f"{part.words}, {' and '.join(ways)}"
