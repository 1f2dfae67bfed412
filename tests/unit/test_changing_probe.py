"""A probe that changes during the scan is told from other faults by the order of what patterns ask
for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics import forward
from ptychopinn.workflows.changing_probe import asked_for, changing_probe

N, M = 32, 144


@pytest.fixture(scope="module")
def scan() -> Scan:
    options: dict[str, Any] = {"object": "leaves", "N": N, "patterns": M, "photons": 1e6}
    return pp.simulate(**options, step_px=3.0, seed=4)


def counts_of(scan: Scan, probe: Callable[[int], Any]) -> Any:
    """What is measured where each pattern has a probe of its own."""
    origin = np.zeros(2, np.int64)

    def pattern(j: int) -> Any:
        where, seen = scan.positions_px[[j]], scan.object
        ((_, frames),) = forward.predict(
            NumpyOps(), seen, probe(j), where, origin, scan.propagator, 1, []
        )
        return frames[0]

    mean = np.stack([pattern(j) for j in range(scan.M)])
    return np.random.default_rng(1).poisson(np.maximum(mean, 0)).astype(np.uint32)


def defocused(probe: Any, rad: float) -> Any:
    """By so much at the rms radius of the pupil."""
    pupil, q = np.fft.fft2(probe), np.fft.fftfreq(N)
    square = q[:, None] ** 2 + q**2
    weight = (np.abs(pupil) ** 2).sum(axis=0)
    mean = (weight * square).sum() / weight.sum()
    return np.fft.ifft2(pupil * np.exp(1j * rad * square / mean)).astype(np.complex64)


def refined(scan: Scan, free: bool = False, no_mend: Any = "all") -> Reconstruction:
    config = pp.RefineConfig(passes=20, refine_probe=free)
    return pp.refine(replace(scan, object=None), None, config, backend="numpy", no_mend=no_mend)


@pytest.mark.parametrize("free", [False, True])
def test_a_defocus_that_drifts_is_named(scan: Scan, free: bool) -> None:
    counts = counts_of(scan, lambda j: defocused(scan.probe, 0.5 * np.sin(2 * np.pi * j / M)))
    fit = refined(replace(scan, diffraction=counts), free, ()).fit
    assert fit is not None
    assert (fit.verdict, fit.likely) == ("doubtful", "changing-probe")
    assert fit.cause is not None and "the defocus by 0." in fit.cause


@pytest.mark.parametrize("fault", ["none", "defocused", "positions", "axes", "drift"])
def test_other_faults_do_not_look_like_it(scan: Scan, fault: str) -> None:
    random = np.random.default_rng(2)
    if fault == "defocused":
        scan = replace(scan, probe=defocused(scan.probe, 0.5))
    if fault == "positions":
        scan = replace(scan, positions_px=scan.positions_px + random.normal(0, 0.7, (M, 2)))
    if fault == "axes":
        scan = replace(scan, positions_px=scan.positions_px[:, ::-1].copy())
    if fault == "drift":
        counts = np.asarray(scan.diffraction)
        moved = [np.roll(frame, round(2 * j / M), axis=1) for j, frame in enumerate(counts)]
        scan = replace(scan, diffraction=np.stack(moved))
    assert changing_probe(scan, refined(scan)) is None


def test_a_pattern_that_only_has_bounds_asks_for_nothing(scan: Scan) -> None:
    counts = np.array(scan.diffraction)
    counts[5] = counts.max()
    part = replace(scan, diffraction=counts, saturation=float(counts.max()))
    result = refined(scan.select(np.arange(M)))
    assert np.isfinite(asked_for(part, result)).all()
