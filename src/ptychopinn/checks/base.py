"""What a check is: it looks at a scan, says what it noticed, and how that is mended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.byte_order import Swapped
from ptychopinn.data.findings import Finding, Level, refused, with_findings
from ptychopinn.data.normalization import batch_length, slices
from ptychopinn.data.scan import Scan
from ptychopinn.data.views import Change, changed_patterns, chosen_patterns, rolled_patterns
from ptychopinn.errors import InputError, shown
from ptychopinn.physics.effects import EFFECTS
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.readout import noise_by_steps, noise_of_patterns
from ptychopinn.physics.scaling import SCALED, probe_power

# Values that the counts of one photon are read off, and photons per pattern where none are seen.
PHOTON_PIXELS, ASSUMED_DOSE = 1 << 18, 1e5
# Patterns that are kept at hand for checks of single pixels, and their size in bytes at most.
SAMPLE, SAMPLE_BYTES = 400, 256 << 20
# A pattern is known by this share of its rows, those in the middle.
MARKED_ROWS = 1 / 8

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Mend:
    """What makes a scan usable.

    masked : (N, N) pixels that are bad.  positions_px : (M, 2) in the place of those given.
    turned : turns the patterns, or moves their lines.  left_out : numbers of patterns, after all
    else.
    rolled, probe_rolled : (y, x) pixels by which patterns and probe are rolled.
    probe : (P, N, N) in the place of the one given.  probe_factor : (N, N).
    saturation : counts from which readings are lower bounds only.
    offset : counts that are subtracted from every pixel; nothing gets negative.
    photon : units of one photon, by which readings are divided and made whole.
    distance_m : of a parallel beam, in the place of what was given.
    swapped : so many of the low bytes of each count, which hold all of it, are put in the opposite
    order.
    """

    masked: NDArray[np.bool_] | None = None
    positions_px: NDArray[np.float64] | None = None
    turned: Change | None = None
    left_out: NDArray[np.int64] | None = None
    rolled: tuple[int, int] | None = None
    probe_rolled: tuple[int, int] | None = None
    probe: Array | None = None
    probe_factor: Array | None = None
    saturation: float | None = None
    offset: float | None = None
    photon: float | None = None
    distance_m: float | None = None
    swapped: int = 0

    def of(self, scan: Scan) -> Scan:
        """The mended scan. Its probe keeps its unit: it is scaled anew where it was before."""
        before = scan
        if self.swapped:
            patterns = changed_patterns(scan.diffraction, Swapped(self.swapped))
            scan = replace(scan, diffraction=patterns)
        if self.masked is not None:
            scan = replace(scan, mask=scan.good_pixels & ~self.masked)
        if self.positions_px is not None:
            # An object in the file is not where they are.
            scan = replace(scan, positions_px=self.positions_px, object=None)
        if self.turned is not None:
            mask = None if scan.mask is None else self.turned(scan.mask)
            patterns = changed_patterns(scan.diffraction, self.turned)
            scan = replace(scan, diffraction=patterns, mask=mask)
        if self.left_out is not None:
            kept = np.setdiff1d(np.arange(scan.M), self.left_out)
            scan = replace(
                scan,
                diffraction=chosen_patterns(scan.diffraction, kept),
                positions_px=scan.positions_px[kept],
            )
        if self.rolled is not None:
            mask = None if scan.mask is None else np.roll(scan.mask, self.rolled, (0, 1))
            patterns = rolled_patterns(scan.diffraction, self.rolled)
            scan = replace(scan, diffraction=patterns, mask=mask)
        if self.probe_rolled is not None:
            scan = replace(scan, probe=np.roll(scan.probe, self.probe_rolled, (1, 2)))
        if self.probe is not None:
            scan = replace(scan, probe=self.probe)
        if self.probe_factor is not None:
            scan = replace(scan, probe=scan.probe * self.probe_factor)
        if self.saturation is not None:
            scan = replace(scan, saturation=self.saturation)
        if self.offset is not None:
            patterns = changed_patterns(scan.diffraction, _Without(self.offset))
            top = None if scan.saturation is None else scan.saturation - self.offset
            scan = replace(scan, diffraction=patterns, saturation=top)
        if self.photon is not None:
            patterns = changed_patterns(scan.diffraction, _InPhotons(self.photon))
            # The probe was given in these units, too.
            probe = scan.probe / np.float32(np.sqrt(self.photon))
            scan = replace(scan, diffraction=patterns, probe=probe)
        if self.distance_m is not None:
            scan = replace(scan, distance_m=self.distance_m, focus_distance_m=None)
        return _scaled_again(scan, before)


@dataclass(frozen=True)
class _InPhotons:
    """Divides by the units of a photon, to whole numbers."""

    photon: float

    def __call__(self, patterns: Array) -> Array:
        return np.rint(patterns / self.photon).astype(patterns.dtype)


@dataclass(frozen=True)
class _Without:
    """Subtracts an offset; an object of a class, so that worker processes can have it."""

    offset: float

    def __call__(self, patterns: Array) -> Array:
        # Counts may be unsigned, which wrap around below 0.
        offset = patterns.dtype.type(self.offset)
        return np.maximum(patterns, offset) - offset


def _scaled_again(scan: Scan, before: Scan) -> Scan:
    """The probe scaled to the counts that are left, where it was scaled to the counts before."""
    power = scan.provenance.get(SCALED)
    same = scan.mask is before.mask and scan.M == before.M
    if not isinstance(power, dict) or (same and scan.diffraction is before.diffraction):
        return scan
    counts = float(np.mean(Look(scan).sums))
    now = probe_power(scan.probe, scan.mask, scan.propagator)
    if not (counts > 0 and now > 0):
        return scan
    factor = float(np.sqrt(counts / now))
    obj = None if scan.object is None else scan.object / np.complex64(factor)
    return replace(scan, probe=scan.probe * np.float32(factor), object=obj)


def chosen_pixels(block: Any, good: NDArray[np.bool_]) -> Array:
    """(b, number of good pixels) of patterns (b, N, N); no copy where all are good."""
    frames = np.asarray(block)
    return frames.reshape(len(frames), -1) if good.all() else frames[:, good]


class Look:
    """A scan with what all checks ask of it, found when it is first asked for.

    sums : (M,) counts on good pixels.  marks : (M,) checksums of the middle rows, the same for the
    same readings.  mean, largest : (N, N) over all patterns, bad pixels
    included.  sample : (S, N, N) float32 patterns at even distances, and numbers : (S,) which.
    vacuum : (N, N) what the probe alone would give, with the sum of ``mean`` on good pixels.
    origin : (M,) the numbers of the patterns in the scan as it was given.  photon : the counts of
    one photon, or the noise of a reading where that is more; where neither can be told, what one in
    1e5 photons of a pattern would have.
    """

    def __init__(self, scan: Scan, origin: NDArray[np.int64] | None = None) -> None:
        self.scan = scan
        self.origin = np.arange(scan.M) if origin is None else origin
        self.good = scan.good_pixels

    def after(self, mend: Mend) -> Look:
        """The look at the mended scan."""
        origin = self.origin if mend.left_out is None else np.delete(self.origin, mend.left_out)
        return Look(mend.of(self.scan), origin)

    @cached_property
    def _totals(self) -> tuple[Array, Array, Array, Array, Array]:
        scan, numbers = self.scan, self.numbers
        sample = np.empty((len(numbers), scan.N, scan.N), np.float32)
        sums, total = np.zeros(scan.M), np.zeros((scan.N, scan.N))
        largest = np.zeros((scan.N, scan.N))
        marks, half = np.zeros(scan.M, np.uint32), max(1, round(MARKED_ROWS * scan.N / 2))
        rows = slice(scan.N // 2 - half, scan.N // 2 + half)
        for part in slices(scan.M, batch_length(scan.N, 8)):
            block = np.asarray(scan.diffraction[part])
            sums[part] = chosen_pixels(block, self.good).sum(axis=1, dtype=np.float64)
            marks[part] = [crc32(one.tobytes()) for one in block[:, rows]]
            total += block.sum(axis=0, dtype=np.float64)
            np.maximum(largest, block.max(axis=0), out=largest)
            first, last = np.searchsorted(numbers, (part.start, part.stop))
            sample[first:last] = block[numbers[first:last] - part.start]
        return sums, marks, total / scan.M, largest, sample

    @property
    def sums(self) -> Array:
        return self._totals[0]

    @property
    def marks(self) -> Array:
        return self._totals[1]

    @property
    def mean(self) -> Array:
        return self._totals[2]

    @property
    def largest(self) -> Array:
        return self._totals[3]

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        fits = max(16, SAMPLE_BYTES // (4 * self.scan.N**2))
        count = min(self.scan.M, SAMPLE, fits)
        return np.unique(np.linspace(0, self.scan.M - 1, count).round().astype(np.int64))

    @property
    def sample(self) -> Array:
        return self._totals[4]

    @cached_property
    def photon(self) -> float:
        usual = float(np.median(self.sums))
        step = max(1, len(self.sample) * int(self.good.sum()) // PHOTON_PIXELS)
        found = noise_by_steps(self.sample[::step], self.good)
        if found is None:
            # Few photons tell their noise by many readings only.
            found = noise_of_patterns(self.sample[:: max(1, step // 2)], self.good)
        return usual / ASSUMED_DOSE if found is None else max(found.photon, found.readout)

    @cached_property
    def vacuum(self) -> Array:
        pattern = vacuum_pattern(self.scan.probe, self.scan.propagator).astype(np.float64)
        there = pattern[self.good].sum()
        return pattern * (self.mean[self.good].sum() / there if there > 0 else 0.0)


Noticed = tuple[Finding, Mend | None]
Check = Callable[[Look], Iterator[Noticed]]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Register a check; they run in the order in which they are registered.

    Its findings have its name.
    """

    def register(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return register


def finding(name: str, level: Level, message: str, **details: Any) -> Finding:
    return Finding(name, level, message, details)


@dataclass(frozen=True, eq=False)
class Checked:
    """A scan after the look: ``scan`` is mended, ``findings`` say what was noticed."""

    scan: Scan
    findings: tuple[Finding, ...]

    def require(self) -> Scan:
        """The mended scan.

        Raises
        ------
        InputError
            When there is a fault, with its message.
        """
        for found in self.findings:
            if found.level == "fault":
                raise InputError(refused(found))
        return self.scan


def examine(scan: Scan, no_mend: Collection[str] = ()) -> Checked:
    """Run the checks, each on what those before it have mended, until one finds a fault.

    Parameters
    ----------
    no_mend : names of checks that are left out, or "all".

    Raises
    ------
    InputError
        For a name that no check has.
    """
    skipped = chosen_names(no_mend)
    findings: list[Finding] = []
    look = Look(scan)
    for name, run in CHECKS.items():
        if name in skipped:
            continue
        for found, mend in run(look):
            findings.append(found)
            if mend is not None:
                look = look.after(mend)
        if any(found.level == "fault" for found in findings):
            break
    mended = look.scan
    if findings:
        mended = replace(mended, provenance=with_findings(mended.provenance, findings))
    return Checked(mended, tuple(findings))


# Checks that need a reconstruction are made by the verbs.
LATER = (
    "probe-plane", "distance", "closed-gap", "orientation", "frame-order", "frame-offset",
    "frame-slip", "position-unit",
)  # fmt: skip
# Not a check, but left out with them: what the verdict on a fit tries.
ALTERNATIVES = "alternatives"
# The affine part of wrong positions: a refinement of positions mends it.
AXES = "scan-axes"
# Whether anything tells the object from its complex conjugate.
TWIN = "twin"


def chosen_names(no_mend: Collection[str]) -> frozenset[str]:
    """The names of the checks that are left out."""
    known = (*CHECKS, *LATER, ALTERNATIVES, AXES, TWIN, *EFFECTS)
    several = isinstance(no_mend, Collection) and not isinstance(no_mend, str)
    names: tuple[Any, ...] = tuple(no_mend) if several else (no_mend,)
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown:
        raise InputError(
            f"no_mend must be all or names of checks ({', '.join(known)}), received "
            f"{shown(unknown[0])}; correct it."
        )
    return frozenset(known if "all" in names else names)


def likeness(a: Array, b: Array) -> float:
    """The cosine of the angle between two real arrays of one shape: 1 where they are the same."""
    return float((a * b).sum() / max(1e-30, np.linalg.norm(a) * np.linalg.norm(b)))


def numbered(values: Collection[int], most: int = 12) -> str:
    """Numbers in words, cut where there are many."""
    shown_ones = [str(int(v)) for v in list(values)[:most]]
    more = len(values) - len(shown_ones)
    return ", ".join(shown_ones) + (f" and {more} more" if more else "")
