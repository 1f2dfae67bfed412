"""A scan on a canvas, ready for a solver: ordered subsets of its patterns, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan, batch_length
from ptychopinn.data.sampling import ordered_subsets
from ptychopinn.errors import InputError
from ptychopinn.machine.readers import read_ahead
from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.effects import Inward
from ptychopinn.physics.forward import PatternBatch, pattern_batch
from ptychopinn.physics.geometry import canvas_for, mean_overlap
from ptychopinn.physics.propagators import Propagator, placed

# Share of the strongest illumination added to the weight of an update, so that dim pixels at the
# rim of the scan take small steps instead of amplifying noise.
RIM = 0.05
# Bytes per pattern pixel while a physics step works on it, for one probe mode: exit wave, field,
# correction (complex64), amplitude, index.
STEP_BYTES = 64
# Photons added to measured and modelled intensities in the modulus projection. Where hardly a
# photon is expected, the wave's phase is unknown and a photon that arrives must not be followed.
STABILISER = 0.05
# The same for steps by the photons, which need no more than a finite ratio.
FLOOR = 0.001
# Intensity, in network units, that keeps the ratio finite where no noise is known.
DARK = 1e-12
# Bytes of single precision that are read at a time, so that opening the file does not count.
READ_TOGETHER = 4 << 20
# Of a scan that does not fit, as much of the first subset is kept at least, or nothing.
WORTH_KEEPING = 0.5
# Ordered subsets are so large that this many of their patterns overlap, on average.
LEAST_OVERLAP = 1.5
# One in so many patterns of a training sub-scan is left out of the physics steps and judges their
# result, which shows whether the object is right or fits the noise.
LEFT_OUT = 5

Subset = Callable[[], Iterable[PatternBatch]]


@dataclass(frozen=True, eq=False)
class Problem:
    """One (sub-)scan on its own canvas, in network units.

    xp : the operations of the framework.
    propagator : to the detector.
    subsets : of each ordered subset a callable that iterates over its patterns.
    shape : canvas (H, W).
    probe : (P, N, N).
    good : (N, N) good pixels in the order of the fields, 0 or 1.
    power : sum of amplitudes^2 over good pixels of all patterns.
    noise : standard deviation of an amplitude due to photon noise, half the amplitude of a photon.
    expected : relative misfit that noise alone gives.
    steadying : what is added to intensities where the detector reads with noise.
    numbers : of each subset the numbers of the patterns that this process has, in the order of its
        batches.
    inward : brings pixels (N, N) of a pattern into the order of the fields.
    """

    xp: Ops
    propagator: Propagator
    subsets: Sequence[Subset]
    shape: tuple[int, int]
    probe: Array
    good: Array
    power: Any
    noise: Any
    expected: float = 0.0
    steadying: float = 0.0
    numbers: Sequence[NDArray[np.int64]] = ()
    inward: Inward = np.asarray

    @property
    def stabiliser(self) -> Any:
        """What is added to intensities in the modulus projection."""
        return STABILISER * (2 * self.noise) ** 2 + self.steadying + DARK

    @property
    def floor(self) -> Any:
        """What is added to intensities in a step by the photons."""
        return FLOOR * (2 * self.noise) ** 2 + self.steadying + DARK

    def merged(self, count: int) -> Problem:
        """The same patterns with always ``count`` subsets, or what is left, made one."""
        if count == 1:
            return self
        groups = [slice(k, k + count) for k in range(0, len(self.subsets), count)]
        return replace(
            self,
            subsets=[partial(_chained, self.subsets[group]) for group in groups],
            numbers=[np.concatenate(self.numbers[group]) for group in groups],
        )


def _chained(subsets: Sequence[Subset]) -> Iterable[PatternBatch]:
    return chain.from_iterable(batches() for batches in subsets)


def scan_problem(
    xp: Ops,
    scan: PreparedScan,
    updates: int,
    limit_bytes: int,
    *,
    refine_probe: bool = False,
    place: tuple[tuple[int, int], NDArray[np.int64]] | None = None,
    copies: int = 1,
) -> tuple[Problem, NDArray[np.int64]]:
    """A whole scan as a problem with at most ``updates`` subsets, and the origin of its canvas.

    ``place`` is shape and origin of the canvas, the smallest one when not given; ``copies`` are the
    waves that a mode of the probe becomes. The patterns are kept, ready for the physics, when all
    of them fit into ``limit_bytes``. Otherwise those of the first subsets are, up to half of it:
    passes are judged by the first one, which is worked on most; none, where that would be little
    of it. The others are taken anew in each pass, a thread reading the next ones meanwhile. Of
    processes that work together each has its share of every subset.

    Raises
    ------
    InputError
        When there are fewer patterns than processes.
    """
    n, m, modes = scan.scan.N, scan.scan.M, scan.probe.shape[0]
    positions, propagator = scan.scan.positions_px, scan.propagator
    shape, origin = canvas_for(positions, n) if place is None else place
    probe, weight = xp.asarray(scan.probe), xp.asarray(propagator.inward(scan.weight))
    workers = xp.ranks.size
    if m < workers:
        raise InputError(
            f"each process needs a pattern, received {m} patterns for {workers} processes; start "
            "fewer of them."
        )
    whole = ordered_subsets_of(positions, scan.probe, min(updates, m // workers))
    subsets = [xp.ranks.share(subset) for subset in whole]
    held = xp.held_bytes(limit_bytes)
    # Amplitudes, bounds, and the probe at each place.
    shifted = 0 if refine_probe else 8 * modes
    size = n * n * (4 + 4 * (scan.scan.saturation is not None) + shifted)
    own = sum(map(len, subsets))
    keeps = own * size <= held
    cached = None if refine_probe else probe
    wanted = max(xp.batch_bytes, xp.batch_canvases * 8 * shape[0] * shape[1])
    step = batch_length(n, STEP_BYTES * modes * copies, min(held // 4, wanted))

    def counts_of(chosen: NDArray[np.int64]) -> NDArray[Any]:
        return scan.counts_of(chosen, xp.rows)

    def made(chosen: NDArray[np.int64], counts: NDArray[Any], probe: Array | None) -> PatternBatch:
        measured = xp.amplitudes(counts, weight, propagator.inward)
        found = pattern_batch(xp, measured, positions[chosen], shape, origin, probe)
        bounds = scan.bounds(counts)
        if bounds is None:
            return found
        return found._replace(bounds=xp.asarray(propagator.inward(bounds)))

    at_once = max(1, batch_length(n, 4, READ_TOGETHER) // step)

    def passing(
        parts: Sequence[NDArray[np.int64]], probe: Array | None = None
    ) -> Iterator[PatternBatch]:
        read = read_in_parts(counts_of, parts, at_once)
        for _, found in xp.each(lambda each: made(each[0], each[1], probe), read):
            yield found

    room = own if keeps else held // 2 // size
    if room < WORTH_KEEPING * len(subsets[0]):
        room = 0
    readers: list[Subset] = []
    for subset in subsets:
        parts = np.array_split(subset, -(-len(subset) // step))
        count = int(np.searchsorted(np.cumsum([len(part) for part in parts]), room, "right"))
        room = max(0, room - len(subset))
        ready = list(passing(parts[:count], cached))
        readers.append(partial(_chained, [partial(iter, ready), partial(passing, parts[count:])]))
    problem = Problem(
        xp=xp,
        propagator=placed(xp, propagator),
        subsets=readers,
        shape=shape,
        probe=probe,
        good=good_pixels(xp, scan),
        power=m * n * n / 4.0,
        noise=scan.photon_scale / 2,
        expected=scan.expected_misfit,
        steadying=scan.steadying,
        numbers=subsets,
        inward=propagator.inward,
    )
    return problem, origin


def read_in_parts(
    counts_of: Callable[[NDArray[np.int64]], NDArray[Any]],
    parts: Sequence[NDArray[np.int64]],
    together: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """The patterns of all ``parts``, each with its counts; a thread reads so many ``together``, and
    the next ones while the last are worked on."""
    groups = [parts[k : k + together] for k in range(0, len(parts), together)]

    def read(group: Sequence[NDArray[np.int64]]) -> NDArray[Any]:
        return counts_of(np.concatenate(group))

    if not groups:
        return
    with ThreadPoolExecutor(1, "reading") as reader:
        for group, counts in zip(groups, read_ahead(read, groups, reader, 1), strict=True):
            at = 0
            for part in group:
                yield part, counts[at : at + len(part)]
                at += len(part)


def good_pixels(xp: Ops, scan: PreparedScan) -> Array:
    """(N, N) good pixels in the order of the fields, 0 or 1."""
    return xp.asarray(scan.propagator.inward(scan.scan.good_pixels).astype(np.float32))


def canvas_of(
    obj: NDArray[np.complex64],
    illumination: NDArray[np.float32],
    origin_px: NDArray[np.int64],
    misfits: Sequence[float],
) -> Canvas:
    """The object of a canvas solver; pixels with hardly any illumination count as never seen."""
    light = illumination.reshape(-1, *obj.shape[-2:]).mean(axis=0)
    light = light / light.max()
    weight = np.where(light > RIM / 10, light, 0).astype(np.float32)
    return Canvas(obj, weight, origin_px, np.array(misfits))


def subset_count(overlap: float, patterns: int, updates: int) -> int:
    """How many ordered subsets a scan is divided into, given its mean overlap."""
    return max(1, min(updates, patterns, int(overlap / LEAST_OVERLAP)))


def ordered_subsets_of(
    positions_px: NDArray[np.float64], probe: NDArray[Any], updates: int
) -> list[NDArray[np.int64]]:
    """The ordered subsets of a scan: as many as its overlap allows, ``updates`` at most."""
    count = subset_count(mean_overlap(positions_px, probe), len(positions_px), updates)
    return ordered_subsets(positions_px, count, np.random.default_rng(0))


def judged_subsets(
    positions_px: NDArray[np.float64], probe: NDArray[Any], updates: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The ordered subsets of a training sub-scan, and the patterns left out to judge the result."""
    *parts, left_out = ordered_subsets(positions_px, LEFT_OUT, np.random.default_rng(0))
    used = np.sort(np.concatenate(parts))
    return [used[s] for s in ordered_subsets_of(positions_px[used], probe, updates)], left_out
