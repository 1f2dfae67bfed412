"""What beam and detector do beyond the ideal experiment: with and without the effect for it.

    python benchmarks/departures.py [--backend pytorch tensorflow] [--patterns 400] [--quick]
        [--only NAME]

One simulated scan for each departure, of a departure alone and of two at once; scored against the
true object. *without* are the iterations that know nothing of it, *with* those that follow it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.evaluation import evaluate
from ptychopinn.evaluation.alignment import scan_box
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.moving_exposure import directions_of
from ptychopinn.physics.propagators import HC
from ptychopinn.probes.modes import hermite_like
from ptychopinn.simulation import true_slices

# Relative change of the beam (rms about 0.21), share of the counts in the background, and pixels.
BEAM, BACKGROUND, WAY = 0.3, 0.3, 6.0
# Shares of the power of modes, and the angle of the second (rad).
SHARES, ANGLE = (0.7, 0.2, 0.1), 0.6
PLACES = 24
# Phases over the pupil, of defocus and coma (rad where the radius is that of the mean square), and
# share of the intensity; how often each comes and goes during the scan, and where it begins (rad).
DEFOCUS, COMA, INTENSITY = 0.5, 0.25, 0.15
TURNS, STARTS = (1.3, 2.1, 1.7), (0.4, 1.0, 0.0)
# Between two slices: wavelength * distance is that of 25 squares of a pixel.
SPACE = {"pixel_size_m": 1e-8, "energy_eV": 8000.0, "slice_spacing_m": 25e-16 * 8000.0 / HC}
NOTHING = {"beam_current": False, "background": False}


@dataclass(frozen=True)
class Departure:
    """What is done to a scan, and the options that follow it."""

    name: str
    beam: bool = False
    background: bool = False
    moving: bool = False
    modes: bool = False
    varying: bool = False
    slices: int = 1

    @property
    def sample(self) -> dict[str, Any]:
        """Options of the simulation."""
        return {"slices": self.slices, **SPACE} if self.slices > 1 else {}

    @property
    def options(self) -> dict[str, Any]:
        if self.slices > 1:
            return {"slices": self.slices, "passes": 100}
        if self.modes:
            return {"modes": "auto"}
        if self.varying:
            return {"refine_probe": True, "eigenprobes": 4, "passes": 60}
        known: dict[str, Any] = {"beam_current": self.beam, "background": self.background}
        return {**known, "exposure_px": WAY} if self.moving else known

    def counts(self, scan: pp.Scan, rng: np.random.Generator) -> NDArray[np.float64]:
        """Expected counts (M, N, N)."""
        obj = np.asarray(scan.object)
        ways = WAY * directions_of(scan.positions_px) * self.moving
        times = (np.arange(PLACES) + 0.5) / PLACES - 0.5 if self.moving else np.zeros(1)
        probe = partly_coherent(scan.probe) if self.modes else scan.probe
        found = np.zeros(np.shape(scan.diffraction))
        if self.varying:
            return varied_counts(obj, scan)
        for t in times:
            found += intensities(obj, probe, scan.positions_px + t * ways) / len(times)
        if self.beam:
            factors = 1 + BEAM * np.sin(np.arange(scan.M) / 9)
            found = found * (factors / factors.mean())[:, None, None]
        if self.background:
            found = found + BACKGROUND * found.mean()
        return found


DEPARTURES = (
    Departure("none"),
    Departure("beam current", beam=True),
    Departure("background", background=True),
    Departure("moving exposure", moving=True),
    Departure("3 incoherent modes, one given", modes=True),
    Departure("probe changes its defocus, coma and intensity", varying=True),
    Departure("two slices", slices=2),
    Departure("beam current and background", beam=True, background=True),
)


def varied_counts(obj: NDArray[Any], scan: pp.Scan) -> NDArray[np.float64]:
    """Expected counts (M, N, N) where defocus, coma and intensity change smoothly; the coma leaves
    the centre of the probe where it is."""
    n, turns = scan.N, 2 * np.pi * np.arange(scan.M) / scan.M
    pupil = np.fft.fft2(scan.probe[0])
    share = np.abs(pupil) ** 2 / (np.abs(pupil) ** 2).sum()
    y, x = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    square = (y**2 + x**2) / (share * (y**2 + x**2)).sum()
    across = x / np.sqrt((share * (y**2 + x**2)).sum())
    coma = (square - (share * (square + 2 * across**2)).sum()) * across
    found = np.zeros((scan.M, n, n))
    for j, turn in enumerate(turns):
        defocused, comatic, bright = np.sin(np.add(np.multiply(TURNS, turn), STARTS))
        phase = DEFOCUS * defocused * square + COMA * comatic * coma
        probe = np.fft.ifft2(pupil * np.exp(1j * phase))[None]
        (counts,) = intensities(obj, probe, scan.positions_px[j : j + 1])
        found[j] = (1 + INTENSITY * bright) * counts
    return found


def partly_coherent(probe: NDArray[Any]) -> NDArray[np.complex128]:
    """Three modes (3, N, N) with the power of ``probe`` (1, N, N), the first one like it."""
    power = (np.abs(probe[0]) ** 2).sum()
    strength = np.sqrt(np.array(SHARES) * power)
    return hermite_like(probe[0], len(SHARES), ANGLE) * strength[:, None, None]


def scored(
    scan: pp.Scan, truth: pp.Scan, backend: Any, options: dict[str, Any]
) -> tuple[float, float, float, float]:
    """Phase dB, amplitude dB, residual and seconds."""
    begun = time.perf_counter()
    modes = options.get("modes")
    config = pp.RefineConfig(**{name: v for name, v in options.items() if name != "modes"})
    result = pp.refine(scan, None, config, backend=backend, modes=modes, no_mend="all")
    seconds = time.perf_counter() - begun
    found = evaluate(result, truth=truth).to_json()["metrics"]
    assert result.fit is not None
    if result.slices is not None:
        print(f"slices against true slices: {correlations(result, truth).round(3).tolist()}")
    return (
        found["phase_psnr_db"], found["amplitude_psnr_db"], result.fit.residual, seconds,
    )  # fmt: skip


def correlations(result: pp.Reconstruction, truth: pp.Scan) -> NDArray[np.float64]:
    """(K, K) of the phases of the slices found with those of the true ones, in the box of the
    scan."""
    assert result.slices is not None
    box = scan_box(truth.positions_px)
    here = tuple(slice(b.start - o, b.stop - o) for b, o in zip(box, result.origin_px, strict=True))

    def phases(slices: NDArray[Any]) -> NDArray[np.float64]:
        means = slices.sum(axis=(1, 2), keepdims=True)
        return np.asarray(np.angle(slices * np.conj(means))).reshape(len(slices), -1)

    count = len(result.slices)
    both = phases(result.slices[:, *here]), phases(true_slices(truth)[:, *box])
    return np.asarray(np.corrcoef(*both)[:count, count:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", nargs="+", default=["pytorch"])
    parser.add_argument("--patterns", type=int, default=400)
    parser.add_argument("--photons", type=float, nargs="+", default=[1e6, 1e5])
    parser.add_argument("--only", help="the departure of this name")
    parser.add_argument("--quick", action="store_true", help="two departures, one dose")
    o = parser.parse_args()
    if o.quick:
        o.patterns, o.photons = 144, [1e5]
    print("| departure | photons | backend | without dB, residual, s | with dB, residual, s |")
    print("| --- | --- | --- | --- | --- |")
    for photons in o.photons:
        ideal: dict[str, Any] = {"patterns": o.patterns, "photons": photons, "seed": 3}
        for departure in DEPARTURES[: 2 if o.quick else None]:
            if o.only not in (None, departure.name):
                continue
            truth = pp.simulate(object="leaves", N=64, **ideal, **departure.sample)
            rng = np.random.default_rng(0)
            scan = replace(truth, object=None)
            if departure.slices == 1:
                counts = rng.poisson(departure.counts(truth, rng)).astype(np.uint32)
                scan = replace(scan, diffraction=counts)
            for backend in o.backend:
                cells = []
                options = {} if departure.name == "none" else departure.options
                # A refined probe makes up for a part of missing modes.
                ignorant: dict[str, Any] = {"refine_probe": True} if departure.modes else NOTHING
                if departure.varying:
                    ignorant = {"refine_probe": True, "passes": 60}
                for chosen in (ignorant, options):
                    phase, amplitude, residual, seconds = scored(scan, truth, backend, chosen)
                    cells.append(f"{phase:.1f} / {amplitude:.1f}, {residual:.5f}, {seconds:.1f}")
                row = (departure.name, f"{photons:.0e}", backend, *cells)
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
