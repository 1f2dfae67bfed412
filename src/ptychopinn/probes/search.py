"""A probe from the patterns alone: the pupil from their mean, defocus and low aberrations by trial.

With the pupil A(q) known, what is left of a probe is the phase of its wavefront, in wavelengths at
the rim rho = 1 of the pupil

    W = w rho^2 + a_0 rho^2 cos 2 theta + a_45 rho^2 sin 2 theta
        + (3 rho^3 - 2 rho) (c_0 cos theta + c_90 sin theta)

(defocus, astigmatism, coma; Born and Wolf, Principles of Optics, section 9.2). Some neighbouring
patterns are reconstructed for a few passes with candidates of W, and the one with the smallest
misfit is taken: in w the misfit has one sharp minimum of a width of about one wavelength, so that w
is scanned in half wavelengths over all spots that fit into the array, of either sign. Without the
other terms that minimum may be none of the deepest: they are looked for at several. What is
left, higher aberrations and the pupil itself, free iterations of object and probe find.

A translation of the probe against that of the object, and a phase ramp on one against that on the
other, change no pattern and remain open, as in every reconstruction with a free probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.checks.trial_fits import FEWEST, neighbours
from ptychopinn.data.normalization import PreparedScan, mean_pattern, prepare
from ptychopinn.data.orientation import AS_GIVEN, Orientation
from ptychopinn.data.scan import N_MIN, Scan
from ptychopinn.ops.base import Ops
from ptychopinn.ops.side_by_side import side_by_side
from ptychopinn.physics.propagators import focus
from ptychopinn.probes.pupils import Pupil, find_pupil
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

LIMIT_BYTES = 512 << 20
# Passes of a trial, and step of the scan in wavelengths of defocus.
PASSES, STEP = 3, 0.5
# The largest spot that is tried, as a fraction of the width of the array, and how many at most.
LARGEST_SPOT, MOST = 0.9, 41
# Defocuses at which the other aberrations are looked for, those that leave least by themselves, and
# steps of the search around them: a second round brings those with coma ahead of others.
STARTS, ROUNDS = 4, (0.25, 0.25)
# Whatever leaves so many times what the best one does after a round will not be the best; the
# right one left 1.06 and 1.22 times as much where it was behind.
HOPELESS = 1.3
# Those that differ by no more than this, in wavelengths, are on their way to the same one.
SAME = 0.2
# So many of what the rounds found go on, and the step around these.
BEST, FINE = 2, 0.125
# Coma, astigmatism, defocus.
ORDER = (3, 4, 1, 2, 0)
# What the positions are turned by, those apart that a conjugate probe makes up for, and the share
# of the residual that must be left for another one to be believed.
TURNS = (AS_GIVEN, Orientation(flip_y=True), Orientation(True), Orientation(True, flip_y=True))
BELIEVED = 0.87
# Photons that all patterns of the trials hold together: where the usual number holds fewer, more
# are tried, and these at most, for so many passes. Noise is slow to tell candidates apart: 64
# patterns of 300 photons move the minimum by a third of a wavelength, and three passes may leave
# another one.
ENOUGH_PHOTONS, MOST_PATTERNS, MORE_PASSES = 80_000, 400, 6
# The part of the detector that trials look at, in radii of the pupil from its middle.
SEEN = 1.3
# Defocus, astigmatism (twice) and coma (twice).
Waves = tuple[float, float, float, float, float]


@dataclass(frozen=True, eq=False)
class Found:
    """probe : (N, N) complex, in any scale.  waves : defocus, the two terms of astigmatism, and
    those of coma, in wavelengths at the rim.  spot_px : diameter of the defocused spot.
    residual : what the trial with it left.  flat : what the worst left.  tried : how many.
    turn : how the positions are turned for it.  turns : (words, residual) of the best of each, of
    fewer candidates."""

    probe: NDArray[np.complex128]
    waves: Waves
    spot_px: float
    pupil: Pupil
    residual: float
    flat: float
    tried: int
    turn: Orientation = AS_GIVEN
    turns: tuple[tuple[str, float], ...] = ()


def find_probe(xp: Ops, scan: Scan) -> Found:
    """The probe of a scan whose own is only a placeholder, and how its positions must be turned.

    Positions that are turned against the patterns, or mirrored, leave more at any defocus. A turn
    by half a circle can not be told: with it the conjugate of the probe gives the same patterns.

    Parameters
    ----------
    xp : the operations of a framework.
    """
    pupil = find_pupil(mean_pattern(scan), scan.good_pixels)
    most = LARGEST_SPOT * scan.N / 2 * pupil.radius / scan.N / 2
    count = min(MOST // 2, int(most / STEP))
    scanned = [(k * STEP, 0.0, 0.0, 0.0, 0.0) for k in range(-count, count + 1)]
    numbers, passes = _tried(scan)
    part = _middle(scan, numbers, _width(scan.N, pupil), pupil)
    trials, left = {}, {}
    for turn in TURNS if scan.M >= FEWEST else TURNS[:1]:
        places = turn.of_positions(part.positions_px)
        trials[turn] = _Trials(xp, replace(part, positions_px=places), pupil, passes)
        # Every other one tells the turns apart.
        left[turn] = min(trials[turn].of(scanned[count % 2 :: 2]))
    near = [turn for turn in left if BELIEVED * left[turn] <= min(left.values())]
    if len(near) > 1:
        # They come apart once the other aberrations are known.
        for turn in near:
            best = min(trials[turn].known, key=trials[turn])
            left[turn] = trials[turn](*_around(trials[turn], [best], ROUNDS[0]))
    turn = min(left, key=left.__getitem__)
    if left[turn] > BELIEVED * left[AS_GIVEN]:
        turn = AS_GIVEN
    found = trials[turn]
    points = _searched(found, scanned)[:BEST]
    waves = min(_around(found, points, FINE), key=found)
    return Found(
        probe=pupil_probe(pupil, waves),
        waves=waves,
        spot_px=4 * abs(waves[0]) * scan.N / pupil.radius,
        pupil=pupil,
        residual=found(waves),
        flat=max(map(found, scanned)),
        tried=sum(len(trial.known) for trial in trials.values()),
        turn=turn,
        turns=tuple((str(t), residual) for t, residual in left.items()),
    )


def pupil_probe(pupil: Pupil, waves: Sequence[float]) -> NDArray[np.complex128]:
    """The probe (N, N) of a pupil with these aberrations in wavelengths at its rim; its intensity
    is that of the mean pattern."""
    n = pupil.amplitude.shape[-1]
    q = np.arange(n) - n // 2
    y, x = (q - pupil.centre[0]) / pupil.radius, (q - pupil.centre[1]) / pupil.radius
    squares, difference = y[:, None] ** 2 + x**2, x**2 - y[:, None] ** 2
    defocus, straight, oblique, right, down = waves
    wavefront = defocus * squares + straight * difference + oblique * 2 * y[:, None] * x
    wavefront += (3 * squares - 2) * (right * x + down * y[:, None])
    return focus(pupil.amplitude * np.exp(2j * np.pi * wavefront))


def _searched(trials: _Trials, scanned: Sequence[Waves]) -> list[Waves]:
    """What is found from the best of these, the best one first."""
    trials.of(scanned)
    points = sorted(scanned, key=trials)[:STARTS]
    for step in ROUNDS:
        found = sorted(_around(trials, points, step), key=trials)
        points = []
        for point in found:
            apart = all(np.abs(np.subtract(point, one)).max() > SAME for one in points)
            if apart and trials(point) <= HOPELESS * trials(found[0]):
                points.append(point)
    return points


def _around(trials: _Trials, points: Sequence[Waves], step: float) -> list[Waves]:
    """The best that is found from each point by steps along all axes."""
    best = list(points)
    for axis in ORDER:
        steps = [_Steps(point, axis, step) for point in best]
        trials.of([point for each in steps for point in each.sides])
        trials.of([point for each in steps for point in each.vertex(trials)])
        best = [min([*each.sides, *each.vertex(trials)], key=trials) for each in steps]
    return best


@dataclass(frozen=True)
class _Steps:
    """Steps from a point along an axis, one to either side."""

    point: Waves
    axis: int
    step: float

    def _moved(self, by: float) -> Waves:
        point = np.array(self.point)
        point[self.axis] += by
        defocus, straight, oblique, right, down = point.tolist()
        return defocus, straight, oblique, right, down

    @property
    def sides(self) -> list[Waves]:
        """The point between its neighbours."""
        return [self._moved(-self.step), self.point, self._moved(self.step)]

    def vertex(self, trials: _Trials) -> list[Waves]:
        """That of the parabola through the three, if it is a valley."""
        low, middle, high = map(trials, self.sides)
        bend = low - 2 * middle + high
        if bend <= 0:
            return []
        return [self._moved(float(np.clip(0.5 * (low - high) / bend, -1.5, 1.5)) * self.step)]


class _Trials:
    """Misfit of candidates on some neighbouring patterns, on the middle of the detector."""

    def __init__(self, xp: Ops, part: Scan, pupil: Pupil, passes: int) -> None:
        self.xp, self.config = xp, PhysicsConfig(passes=passes, stagnation=0.0)
        self.pupil, self.n = pupil, part.N
        self.prepared: PreparedScan = prepare(part)
        self.power = float(np.linalg.norm(self.prepared.probe))
        self.known: dict[Waves, float] = {}

    def __call__(self, waves: Waves) -> float:
        return self.of([waves])[0]

    def of(self, several: Sequence[Waves]) -> list[float]:
        """Of several candidates, those that are new side by side."""
        new = [waves for waves in dict.fromkeys(several) if waves not in self.known]
        self.known.update(zip(new, side_by_side(self.xp, self._left, new), strict=True))
        return [self.known[waves] for waves in several]

    def _left(self, xp: Ops, waves: Waves) -> float:
        probe = _candidate(self.pupil, self.n, waves)
        probe *= self.power / np.linalg.norm(probe)
        tried = replace(self.prepared, probe=probe[None].astype(np.complex64))
        solver = PhysicsSolver(xp, self.config, LIMIT_BYTES)
        return float(solver.solve(tried).canvas.losses[-1])


def _candidate(pupil: Pupil, n: int, waves: Sequence[float]) -> NDArray[np.complex128]:
    """The probe of a pupil on the middle n x n pixels of the detector."""
    return pupil_probe(replace(pupil, amplitude=_cut(pupil.amplitude, n)), waves)


def _width(n: int, pupil: Pupil) -> int:
    """How many pixels of the detector show the pupil: even, with small prime factors."""
    reach = pupil.radius * SEEN + max(map(abs, pupil.centre))
    least = max(N_MIN, 2 * int(np.ceil(reach)))
    return min(n, next(w for w in range(least, 2 * least + 2) if w % 8 == 0))


def _cut(pattern: NDArray[Any], n: int) -> NDArray[Any]:
    start = pattern.shape[-1] // 2 - n // 2
    return pattern[..., start : start + n, start : start + n]


def _tried(scan: Scan) -> tuple[NDArray[np.int64], int]:
    """The numbers of the patterns that are tried, and for how many passes."""
    numbers = neighbours(scan)
    usual = prepare(scan.select(numbers))
    needed = int(np.ceil(ENOUGH_PHOTONS * usual.noise.photon / usual.counts))
    if needed <= len(numbers):
        return numbers, PASSES
    return neighbours(scan, min(needed, MOST_PATTERNS)), MORE_PASSES


def _middle(scan: Scan, numbers: NDArray[np.int64], n: int, pupil: Pupil) -> Scan:
    """The patterns that are tried, cut down to n x n pixels: the object pixels grow, the width of
    the probe's array stays. The probe is in focus: all candidates light up the same pixels."""
    chosen = scan.select(numbers)
    patterns = np.asarray(chosen.diffraction)
    return replace(
        chosen,
        diffraction=np.ascontiguousarray(_cut(patterns, n)),
        positions_px=chosen.positions_px * (n / scan.N),
        probe=_candidate(pupil, n, (0.0,) * 5)[None].astype(np.complex64),
        object=None,
        mask=None if scan.mask is None else _cut(scan.mask, n),
        pixel_size_m=None,
    )
