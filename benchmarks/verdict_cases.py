"""Simulated scans with one fault each, and how far it spoils the picture; for verdicts.py.

Each seed draws an experiment (object, probe, detector, dose, overlap, modes) and a way to
reconstruct it (the network, refinement of the object, or of object and probe), and reconstructs it
without a fault and with some. What the checks would mend is left in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks.base import ALTERNATIVES, AXES, CHECKS, LATER, TWIN
from ptychopinn.data.findings import AFTERGLOW, CLIPPED, FLAT_PROBE

Array = NDArray[Any]

# A picture is right when it is at most this much below the one without a fault, and wrong when it
# is so far below that one, or below what is more than enough.
NEAR_DB, ENOUGH_DB, WRONG_DB = 2.0, 35.0, 5.0
FAULTS_PER_SCAN = 4
WAYS = ("network", "refined", "probe")


@dataclass(frozen=True, eq=False)
class Experiment:
    """What was drawn: ``scan`` holds expected counts, float32, the true object and probe."""

    seed: int
    scan: pp.Scan
    settings: dict[str, Any]
    way: str
    rng: np.random.Generator

    def measured(self, expected: Array | None = None, **changes: Any) -> pp.Scan:
        """A scan with counts drawn from these expected ones, or from those of the experiment."""
        mean = np.asarray(self.scan.diffraction if expected is None else expected)
        counts = self.rng.poisson(np.maximum(mean, 0).astype(np.float64)).astype(np.uint32)
        return replace(self.scan, diffraction=counts, **changes)


def experiment(seed: int) -> Experiment:
    """Draw one."""
    rng = np.random.default_rng([seed, 13])
    n = int(rng.choice([32, 64, 128], p=[0.5, 0.42, 0.08]))
    count = {32: (90, 200), 64: (80, 160), 128: (64, 90)}[n]
    dose = float(rng.choice([3e2, 3e3, 1e4, 1e5, 1e6, 1e7, 1e9]))
    strength = float(rng.choice([0.3, 1.0, 2.0], p=[0.2, 0.6, 0.2]))
    settings: dict[str, Any] = {
        "N": n,
        "patterns": int(rng.integers(*count)),
        "object": str(rng.choice(["lines", "leaves", "natural", "grf", "siemens"])),
        "photons": dose,
        "phase": (-strength, strength),
        "amplitude": (float(rng.choice([0.55, 0.9], p=[0.7, 0.3])), 1.0),
        "step_px": n * float(rng.uniform(0.06, 0.12)),
        "scan": str(rng.choice(["raster", "fermat", "random"], p=[0.6, 0.25, 0.15])),
        "jitter_px": float(rng.uniform(0.3, 1.5)),
        "defocus": float(rng.uniform(0.25, 0.5) * rng.choice([-1, 1])),
        "coma": float(rng.uniform(0, 0.3)),
        "central_stop": float(rng.choice([0, 0.4])),
        "modes": int(rng.choice([1, 1, 1, 2, 3])),
    }
    scan = pp.simulate(seed=seed, poisson=False, **settings)
    return Experiment(seed, scan, settings, WAYS[int(rng.integers(3))], rng)


def _again(e: Experiment, **changes: Any) -> pp.Scan:
    """The same object and positions with another setting."""
    return pp.simulate(seed=e.seed, poisson=False, **{**e.settings, **changes})


def _moved(e: Experiment, move: Callable[[Array], Array]) -> pp.Scan:
    return e.measured(positions_px=move(np.array(e.scan.positions_px)), object=None)


def _jitter(e: Experiment, sigma: float) -> pp.Scan:
    return _moved(e, lambda r: r + sigma * e.rng.standard_normal(r.shape))


def _affine(e: Experiment, scale: float, degrees: float) -> pp.Scan:
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.diag([1 + scale, 1 - scale / 2])

    def move(r: Array) -> Array:
        middle = r.mean(axis=0)
        return (r - middle) @ matrix.T + middle

    return _moved(e, move)


def _probe(e: Experiment, **changes: Any) -> pp.Scan:
    other = _again(e, **changes).probe
    power = np.sqrt((np.abs(e.scan.probe) ** 2).sum() / (np.abs(other) ** 2).sum())
    return e.measured(probe=other * np.float32(power))


def _one_mode(e: Experiment) -> pp.Scan:
    scan = _again(e, modes=3)
    power = np.sqrt((np.abs(scan.probe) ** 2).sum() / (np.abs(scan.probe[0]) ** 2).sum())
    return e.measured(np.asarray(scan.diffraction), probe=scan.probe[:1] * np.float32(power))


def _background(e: Experiment) -> pp.Scan:
    share = e.rng.choice([0.01, 0.05, 0.2, 0.5])
    expected = np.asarray(e.scan.diffraction)
    return e.measured(expected + share * expected.mean())


def _current(e: Experiment) -> pp.Scan:
    factor = 1 + e.rng.choice([0.05, 0.15, 0.3]) * e.rng.uniform(-1, 1, e.scan.M)
    return e.measured(np.asarray(e.scan.diffraction) * factor[:, None, None])


def _hot(e: Experiment) -> pp.Scan:
    scan = e.measured()
    counts = np.array(scan.diffraction)
    y, x = e.rng.integers(0, e.scan.N, (2, int(e.rng.integers(3, 25))))
    counts[:, y, x] = np.quantile(counts, 0.999) + 5
    return replace(scan, diffraction=counts)


def _dead(e: Experiment) -> pp.Scan:
    scan = e.measured()
    counts = np.array(scan.diffraction)
    half = e.scan.N // 2
    y, x = half + e.rng.integers(-half // 3, half // 3, (2, int(e.rng.integers(2, 12))))
    counts[:, y, x] = 0
    return replace(scan, diffraction=counts)


def _some_shuffled(e: Experiment) -> pp.Scan:
    scan = e.measured()
    order = np.arange(scan.M)
    chosen = e.rng.choice(scan.M, max(2, int(scan.M * e.rng.choice([0.03, 0.1]))), replace=False)
    order[np.sort(chosen)] = chosen
    return replace(scan, diffraction=np.asarray(scan.diffraction)[order])


def _shuffled(e: Experiment) -> pp.Scan:
    scan = e.measured()
    return replace(scan, diffraction=np.asarray(scan.diffraction)[e.rng.permutation(scan.M)])


def _some_empty(e: Experiment) -> pp.Scan:
    expected = np.array(e.scan.diffraction)
    chosen = e.rng.choice(e.scan.M, max(1, e.scan.M // 20), replace=False)
    expected[chosen] *= 1e-3
    return e.measured(expected)


def _saturated(e: Experiment) -> pp.Scan:
    scan = e.measured()
    counts = np.asarray(scan.diffraction)
    level = max(2, int(np.quantile(counts, e.rng.choice([0.97, 0.99, 0.995]))))
    return replace(scan, diffraction=np.minimum(counts, level))


def _moving(e: Experiment) -> pp.Scan:
    length = float(e.rng.choice([2, 4, 8])) * e.scan.N / 64
    obj = np.asarray(e.scan.object, dtype=np.complex128)
    total: Any = 0
    for part in np.linspace(-0.5, 0.5, 5):
        at = e.scan.positions_px + np.array([0, length * part])
        total = total + pp.intensities(obj, e.scan.probe.astype(np.complex128), at) / 5
    return e.measured(total)


def _drifting(e: Experiment) -> pp.Scan:
    most = float(e.rng.choice([1, 2, 4])) * e.scan.N / 64
    way = most * np.linspace(0, 1, e.scan.M)
    return e.measured(_tilted(e, np.stack([way, -way / 2], axis=1)))


def _knocked(e: Experiment) -> pp.Scan:
    after = np.arange(e.scan.M) >= int(e.scan.M * e.rng.uniform(0.3, 0.7))
    shift = e.rng.choice([1, 2, 4], 2) * e.rng.choice([-1, 1], 2) * e.scan.N / 64
    return e.measured(_tilted(e, after[:, None] * shift))


def _tilted(e: Experiment, shifts: Array) -> Array:
    """Expected patterns, each moved on the detector by (dy, dx) pixels."""
    obj, n = np.asarray(e.scan.object, dtype=np.complex128), e.scan.N
    u = (np.arange(n) - n // 2) / n
    patterns = []
    for at, (y, x) in zip(e.scan.positions_px, shifts, strict=True):
        ramp = np.exp(2j * np.pi * (y * u[:, None] + x * u[None]))
        patterns.append(pp.intensities(obj, e.scan.probe * ramp, at[None])[0])
    return np.stack(patterns)


def _one_axis(e: Experiment) -> pp.Scan:
    factors = np.ones(2)
    factors[int(e.rng.integers(2))] = float(e.rng.choice([0.1, 0.5, 2, 10]))
    return _moved(e, lambda r: r * factors)


def _averaged(e: Experiment) -> pp.Scan:
    counts = np.asarray(e.measured().diffraction).astype(np.int64)
    share = float(e.rng.choice([0.1, 0.25, 0.5]))
    before = np.concatenate([counts[:1], counts[:-1]])
    mixed = np.round((1 - share) * counts + share * before).astype(np.uint32)
    return replace(e.scan, diffraction=mixed)


FAULTS: dict[str, Callable[[Experiment], pp.Scan]] = {
    "axes swapped": lambda e: _moved(e, lambda r: r[:, ::-1]),
    "y axis flipped": lambda e: _moved(e, lambda r: r * [-1, 1] + [r[:, 0].max() + e.scan.N, 0]),
    "patterns transposed": lambda e: replace(
        scan := e.measured(), diffraction=np.asarray(scan.diffraction).swapaxes(1, 2)
    ),
    "positions off 0.5 px": lambda e: _jitter(e, 0.5),
    "positions off 1.5 px": lambda e: _jitter(e, 1.5),
    "positions off 3 px": lambda e: _jitter(e, 3.0),
    "scan axes scaled 4 %": lambda e: _affine(e, 0.04, 0.0),
    "scan axes turned 3 deg": lambda e: _affine(e, 0.0, 3.0),
    "probe defocused": lambda e: _probe(e, defocus=e.settings["defocus"] * 0.7),
    "probe much defocused": lambda e: _probe(e, defocus=-e.settings["defocus"]),
    "probe too narrow": lambda e: _probe(e, diameter=0.33),
    "modes missing": _one_mode,
    "background": _background,
    "beam current": _current,
    "hot pixels": _hot,
    "dead pixels": _dead,
    "some shuffled": _some_shuffled,
    "shuffled": _shuffled,
    "offset by one": lambda e: _moved(e, lambda r: np.roll(r, 1, axis=0)),
    "some empty": _some_empty,
    "saturated": _saturated,
    "moving exposure": _moving,
    "beam drifts": _drifting,
    "moved in mid-scan": _knocked,
    "one axis in another unit": _one_axis,
    "frames averaged": _averaged,
}


def reconstructed(e: Experiment, scan: pp.Scan) -> pp.Reconstruction:
    """With the way of the experiment; nothing is mended, no other geometry is tried. What a look
    only says, and the verdict takes up, is said."""
    left = {*CHECKS, *LATER} - {AFTERGLOW, CLIPPED, FLAT_PROBE}
    if e.way == "network":
        return pp.reconstruct(scan, refine="never", no_mend=left)
    start = pp.reconstruct(scan, refine="never", no_mend={*left, ALTERNATIVES, AXES, TWIN})
    config = pp.RefineConfig(passes=15, refine_probe=e.way == "probe")
    return pp.refine(scan, start, config, no_mend=left)


def cases(seed: int) -> Iterator[tuple[dict[str, Any], pp.Reconstruction]]:
    """The scan of this seed without a fault and with some: (row of the table, result).

    Nothing for a draw that cannot be simulated, such as a probe too wide for its array.
    """
    try:
        e = experiment(seed)
    except pp.InputError:
        return
    kinds = list(e.rng.permutation(list(FAULTS))[:FAULTS_PER_SCAN])
    clean = 0.0
    for kind in ["none", *kinds]:
        try:
            scan = e.measured() if kind == "none" else FAULTS[kind](e)
        except pp.InputError:
            continue
        result = reconstructed(e, replace(scan, object=None))
        try:
            scores = pp.evaluate(replace(result, provenance={}), truth=e.scan).metrics
        except pp.InputError:
            continue  # positions in another unit may lie beside the object
        phase = scores["phase_psnr_db"]
        if kind == "none":
            clean = phase
        wrong = min(clean, ENOUGH_DB) - phase > WRONG_DB
        state = "right" if clean - phase <= NEAR_DB else "wrong" if wrong else "between"
        yield {
            "seed": seed, "fault": kind, "way": e.way, **e.settings, "phase_db": phase,
            "clean_db": clean, "state": state,
        }, result  # fmt: skip
