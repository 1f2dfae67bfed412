"""From a scan in physical units to what the networks work on; the same for training and inference.

Network units: amplitudes ``x = a * sqrt(counts)`` with ``a = (N/2) / sqrt(mean counts per
pattern)``, and a probe scaled so that an object of modulus one explains the mean counts. The
network then depends neither on the photon flux nor on the scale of the given probe. The object in
physical units is ``object_scale`` times the one in network units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import getitem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.fingerprint import identity_of
from ptychopinn.data.scan import PatternArray, Scan, check_counts
from ptychopinn.physics.propagators import Propagator
from ptychopinn.physics.readout import DetectorNoise, noise_by_steps, noise_of_patterns
from ptychopinn.physics.scaling import input_scale, probe_power

Rows = Callable[[Any, NDArray[np.int64]], Any]
READ_BYTES = 64 << 20
# Values that the counts of one photon are read off, and the photons per pattern that are assumed
# where none can be told: so many that their noise does not matter.
PHOTON_PIXELS = 1 << 18
# More patterns, where single pixels must tell.
PHOTON_PATTERNS, PHOTON_BYTES = 128, 64 << 20
LARGEST_DOSE = 1e9


def batch_length(n: int, bytes_per_pixel: int, limit: int = READ_BYTES) -> int:
    """How many patterns of n x n pixels fit into ``limit`` bytes (at least one)."""
    return max(1, limit // (n * n * bytes_per_pixel))


def slices(m: int, length: int) -> Iterator[slice]:
    """Consecutive slices of at most ``length`` that cover range(m)."""
    for start in range(0, m, length):
        yield slice(start, min(start + length, m))


def total_pattern(patterns: PatternArray) -> NDArray[np.float64]:
    """Sum (N, N) of patterns; streamed, once where they remember it (``known_total``)."""
    known: NDArray[np.float64] | None = getattr(patterns, "known_total", None)
    if known is not None:
        return known
    m, n = patterns.shape[:2]
    total = np.zeros((n, n))
    for part in slices(m, batch_length(n, 8)):
        total += patterns[part].sum(axis=0, dtype=np.float64)
    if hasattr(patterns, "known_total"):
        patterns.known_total = total
    return total


def mean_pattern(scan: Scan) -> NDArray[np.float64]:
    """Mean pattern (N, N) in counts, zero on bad pixels."""
    return np.where(scan.good_pixels, total_pattern(scan.diffraction) / scan.M, 0)


def noise_of(scan: Scan, counts: float) -> DetectorNoise:
    """The noise of the patterns, given the mean ``counts`` per pattern.

    Photons are told apart by their steps (:mod:`ptychopinn.physics.photon`), or by how the patterns
    scatter (:mod:`ptychopinn.physics.readout`). Where neither tells, patterns have the noise of
    ``LARGEST_DOSE`` photons.
    """
    good = scan.good_pixels
    most = PHOTON_BYTES // (4 * scan.N**2)
    for number in (max(1, PHOTON_PIXELS // int(good.sum())), min(PHOTON_PATTERNS, most)):
        chosen = np.unique(np.linspace(0, scan.M - 1, min(scan.M, number)).astype(np.int64))
        patterns = np.asarray(scan.diffraction[chosen])
        found = noise_by_steps(patterns, good)
        if found is not None:
            return found
        if len(chosen) >= min(scan.M, PHOTON_PATTERNS):
            break
    return noise_of_patterns(patterns, good) or DetectorNoise(counts / LARGEST_DOSE)


def mean_counts(scan: Scan) -> float:
    """Mean over the patterns of the counts on good pixels."""
    return float(mean_pattern(scan).sum())


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan with its scales.

    Attributes
    ----------
    scan : Scan
    counts : mean counts per pattern on good pixels.
    input_scale : a, unit 1/sqrt(counts).
    photon_scale : amplitude of one photon in network units, a * sqrt(counts of a photon).
    noise : of the readings, in counts.
    probe : (P, N, N) complex64 in network units.
    object_scale : physical object = object_scale * network object.
    expected_misfit : relative misfit of amplitudes that the noise alone gives, ``steadying`` added.
    """

    scan: Scan
    counts: float
    input_scale: float
    photon_scale: float
    probe: NDArray[np.complex64]
    object_scale: float
    expected_misfit: float
    noise: DetectorNoise

    @property
    def likelihood_unit(self) -> float:
        """The relative misfit of one unit of -2 log L, a quarter of a photon."""
        return self.noise.photon / (4 * self.counts * self.scan.M)

    @property
    def steadying(self) -> float:
        """What steps add to measured and modelled intensities where the detector reads with noise,
        see :class:`ptychopinn.physics.readout.DetectorNoise`; in network units."""
        return self.input_scale**2 * self.noise.steadying

    @property
    def propagator(self) -> Propagator:
        """From the exit wave to the detector."""
        return self.scan.propagator

    @cached_property
    def fingerprint(self) -> str:
        """Which scan it is; see :mod:`ptychopinn.data.fingerprint`."""
        return identity_of(self.scan)

    def amplitudes(self, index: Any) -> NDArray[np.float32]:
        """Network input of the chosen patterns: (..., N, N) for index (...); bad pixels are 0."""
        chosen = np.asarray(index)
        x = np.sqrt(self.counts_of(chosen.reshape(-1)), dtype=np.float32) * self.weight
        return x.reshape(*chosen.shape, self.scan.N, self.scan.N)

    def counts_of(self, chosen: NDArray[np.int64], rows: Rows = getitem) -> NDArray[Any]:
        """The counts (M, N, N) of the chosen patterns (M,), as they are stored; ``rows`` takes them
        out of the array of all."""
        counts = np.asarray(rows(self.scan.diffraction, chosen))
        if not isinstance(self.scan.diffraction, np.ndarray):
            check_counts(counts)
        return counts

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        """Amplitude in network units of a root of counts (N, N): 0 for bad pixels."""
        return np.float32(self.input_scale) * self.scan.good_pixels.astype(np.float32)

    def bounds(self, counts: NDArray[Any]) -> NDArray[np.float32] | None:
        """1 where a count is that of a saturated pixel, a lower bound; None when no pixel of the
        scan saturates."""
        if self.scan.saturation is None:
            return None
        return (counts >= self.scan.saturation * (1 - 1e-6)).astype(np.float32)


def prepare(scan: Scan) -> PreparedScan:
    """Compute the scales of a scan in one pass over its patterns.

    Raises
    ------
    InputError
        When the patterns hold no counts, or the probe puts none on the good pixels.
    """
    pattern = mean_pattern(scan)
    counts = float(pattern.sum())
    a = input_scale(scan.N, counts)
    noise = noise_of(scan, counts)
    power = probe_power(scan.probe, scan.mask, scan.propagator)
    to_network = (scan.N / 2) / np.sqrt(power)
    return PreparedScan(
        scan=scan,
        counts=counts,
        input_scale=a,
        photon_scale=a * float(np.sqrt(noise.photon)),
        probe=(scan.probe.astype(np.complex128) * to_network).astype(np.complex64),
        object_scale=float(to_network / a),
        expected_misfit=float(
            noise.of_amplitude(pattern[scan.good_pixels], noise.steadying).sum() / counts
        ),
        noise=noise,
    )
