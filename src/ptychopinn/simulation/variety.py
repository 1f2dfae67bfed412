"""Random scans of every kind, for training a network that has to cope with all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.simulation import simulate
from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.probes import make_probe

# Kinds and how often they are drawn.
OBJECTS = {
    "lines": 0.2, "leaves": 0.15, "natural": 0.3, "textures": 0.2, "grf": 0.07, "points": 0.04,
    "siemens": 0.04,
}  # fmt: skip
SCANS = {"raster": 0.6, "fermat": 0.3, "random": 0.1}
SIZES = {32: 0.1, 48: 0.08, 64: 0.54, 96: 0.1, 128: 0.12, 192: 0.03, 256: 0.03}
# Patterns times N, between these: a scan of N = 64 has 120 to 280 of them, but at least LEAST.
PATTERN_ROWS = (120 * 64, 280 * 64)
LEAST = 36
# Pixels of all exit waves together, at most: training keeps them for every update.
WAVE_PIXELS = 280 * 2 * 64**2
# Shares of objects whose phase wraps, of probes with several modes, and of each fault.
WRAPPED, INCOHERENT, FAULTY = 0.35, 0.3, 0.12
ATTEMPTS = 100


def draw_scan(
    rng: np.random.Generator, photographs: Path | None = None, n: int | None = None
) -> Scan:
    """One simulated scan with everything drawn at random: object, probe, positions, dose, faults.

    Doses are 10^2 to 10^9 photons per pattern; 1.2 to 16 patterns overlap at a point; N is 32 to
    256; phases reach from +-0.1 to +-3.3 rad; a third of the scans has two to five probe modes;
    some have position errors, dead pixels, a beam stop or background. A folder of ``photographs``
    adds its pictures to those that come with the package. ``n`` is N where it is not drawn.
    """
    for _ in range(ATTEMPTS):
        try:
            return simulate(draw_config(rng, photographs, n))
        except InputError:
            continue  # a probe that does not fit its array, or light lost behind the beam stop
    raise RuntimeError(f"no possible scan among {ATTEMPTS} draws")


def draw_config(
    rng: np.random.Generator, photographs: Path | None = None, n: int | None = None
) -> SimulationConfig:
    """The parameters of one random scan, of this N where one is given; InputError when its probe
    does not fit into its array."""
    drawn = int(_choice(rng, SIZES))
    n = drawn if n is None else n
    most = max(1, WAVE_PIXELS // (LEAST * n**2))
    probe: dict[str, Any] = {
        "probe": "aperture" if rng.random() < 0.75 else "gaussian",
        "diameter": rng.uniform(0.2, 0.6),
        "central_stop": rng.uniform(0.2, 0.5) if rng.random() < 0.3 else 0.0,
        "defocus": rng.choice((-1, 1)) * rng.uniform(0.15, 0.5),
        "astigmatism": rng.exponential(0.2),
        "coma": rng.exponential(0.25),
        "modes": min(most, int(rng.integers(2, 6))) if rng.random() < INCOHERENT else 1,
        "mode_decay": rng.uniform(0.1, 0.5),
        "probe_seed": int(rng.integers(2**31)),
        "N": n,
    }
    trial = SimulationConfig(**probe)
    light = np.abs(make_probe(trial, np.random.default_rng(trial.probe_seed))) ** 2
    density = light.sum(axis=0)
    area = density.sum() ** 2 / (density**2).sum()
    step = np.sqrt(area / np.exp(rng.uniform(np.log(1.2), np.log(16))))
    half_phase = rng.uniform(1.6, 3.3) if rng.random() < WRAPPED else rng.uniform(0.1, 1.6)
    faulty = rng.random(4) < FAULTY
    waves = WAVE_PIXELS // probe["modes"]
    return SimulationConfig(
        **probe,
        object=_choice(rng, OBJECTS),
        photographs=photographs,
        amplitude=(rng.uniform(0.3, 0.95), 1.0),
        phase=(-half_phase, half_phase),
        density=rng.uniform(0.5, 1.5),
        spectrum_exponent=rng.uniform(2, 4),
        blur_px=rng.uniform(0.6, 1.6),
        scan=_choice(rng, SCANS),
        patterns=int(max(LEAST, min(rng.uniform(*PATTERN_ROWS) / n, waves // n**2))),
        step_px=step,
        jitter_px=rng.uniform(0.1, 0.3) * step,
        position_error_px=rng.uniform(0, 0.5) if faulty[0] else 0.0,
        photons=10 ** rng.uniform(2, 9),
        dead_pixels=rng.uniform(0, 0.01) if faulty[1] else 0.0,
        beam_stop_px=rng.uniform(1, 2) if faulty[2] else 0.0,
        background=10 ** rng.uniform(-4, -2) if faulty[3] else 0.0,
        seed=int(rng.integers(2**31)),
    )


def _choice(rng: np.random.Generator, shares: dict[Any, float]) -> Any:
    """A key, as often as its share says."""
    keys = list(shares)
    weights = np.array(list(shares.values()))
    return keys[rng.choice(len(keys), p=weights / weights.sum())]
