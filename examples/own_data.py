"""A scan from your own arrays: counts, positions in metres and a guess of the probe.

python examples/own_data.py [RESULT.h5]

``measured`` stands for whatever reads your files; here it simulates an experiment, and gives a
probe that is out of focus. The rest is what you would write.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

import ptychopinn as pp

# Planck's constant times the speed of light, in electron volts times metres.
HC_EV_M = 1.239841984e-6


class Measured(NamedTuple):
    counts: np.ndarray  # (M, N, N) photons, zero frequency at [N/2, N/2]
    y_m: np.ndarray  # (M,) rows of the object, metres
    x_m: np.ndarray  # (M,) columns
    probe: np.ndarray  # (N, N) complex, any scale
    good: np.ndarray  # (N, N) bool, True where the detector works
    energy_eV: float
    distance_m: float  # sample to detector
    detector_pixel_m: float


def measured() -> Measured:
    known = pp.simulate(object="siemens", patterns=196, N=64, photons=1e6, seed=3)
    guess = pp.simulate(patterns=4, N=64, photons=1e6, defocus=0.28).probe[0]
    energy_eV, distance_m, detector_pixel_m = 8800.0, 1.5, 75e-6
    pixel_m = HC_EV_M / energy_eV * distance_m / (64 * detector_pixel_m)
    y, x = known.positions_px.T * pixel_m
    good = np.ones((64, 64), bool)
    good[:, 40] = False  # a dead column
    return Measured(
        np.where(good, known.diffraction, 0), y, x, guess, good,
        energy_eV, distance_m, detector_pixel_m,
    )  # fmt: skip


def main(output: str = "own_data.h5") -> None:
    data = measured()
    n = data.counts.shape[-1]
    # A pixel of the object is the wavelength over the angle that the detector spans.
    wavelength_m = HC_EV_M / data.energy_eV
    pixel_m = wavelength_m * data.distance_m / (n * data.detector_pixel_m)
    # Any origin of the positions will do. The probe is scaled so that it counts through an empty
    # sample what the patterns count on average, which is near enough when the sample absorbs little.
    scan = pp.Scan.from_arrays(
        data.counts,
        np.stack([data.x_m, data.y_m], axis=1),
        data.probe,
        unit="m",
        order="xy",
        pixel_size_m=pixel_m,
        mask=data.good,
        energy_eV=data.energy_eV,
        distance_m=data.distance_m,
    )
    # The guess of the probe is not good enough to keep: both are found.
    result = pp.refine(scan, None, pp.RefineConfig(passes=20, refine_probe=True))
    fit = result.fit
    print(f"residual {fit.residual:.4f}, photon noise {fit.expected:.4f}: {fit.verdict}")
    print(result.save(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
