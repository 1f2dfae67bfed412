"""A probe that is given where the detector is: told, and brought to the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.probe_plane import NAME, plane
from ptychopinn.checks.replay import mended_like
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.twin import likeness
from ptychopinn.simulation import simulate


def scan_of(**options: object) -> Scan:
    settings = {"object": "leaves", "N": 32, "patterns": 64, "photons": 1e5, "seed": 2}
    return replace(simulate(**{**settings, **options}), object=None)


def at_detector(scan: Scan, transform: object = np.fft.fft2) -> Scan:
    """The scan with the Fourier transform of its probe, of any power."""
    field = transform(np.fft.ifftshift(scan.probe, axes=(1, 2)))  # type: ignore[operator]
    return replace(scan, probe=np.fft.fftshift(field, axes=(1, 2)).astype(np.complex64))


@pytest.mark.parametrize(
    ("transform", "back"), [(np.fft.fft2, "inverse"), (np.fft.ifft2, "forward")]
)
def test_it_is_told_and_brought_to_the_sample(transform: object, back: str) -> None:
    true = scan_of()
    given = pp.check_scan(at_detector(true, transform)).require()
    found = plane(NumpyOps(), given)
    assert found is not None and found.level == "mended"
    assert found.details["probe"] == back
    assert f"with its {back} Fourier transform" in found.message
    mended = mended_like(given, [found])
    assert likeness(mended.probe[0], true.probe[0]) > 0.99
    power = [float((np.abs(scan.probe) ** 2).sum()) for scan in (mended, given)]
    assert power[0] == pytest.approx(power[1], rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"defocus": 0.0}, {"object": "siemens"}, {"photons": 1e3}])
def test_a_probe_at_the_sample_stays(options: dict[str, object]) -> None:
    assert plane(NumpyOps(), scan_of(**options)) is None


def test_the_near_field_has_no_such_plane() -> None:
    assert plane(NumpyOps(), scan_of(propagator="near-field")) is None


def test_a_poor_probe_is_no_such_one() -> None:
    scan = scan_of()
    for factor in (np.conj, np.abs):
        wrong = replace(scan, probe=factor(scan.probe).astype(np.complex64))
        assert plane(NumpyOps(), wrong) is None


def test_a_refinement_looks_for_it_and_can_be_told_not_to() -> None:
    given = at_detector(scan_of())
    result = pp.refine(given, backend="numpy")
    assert NAME in {found.name for found in result.findings}
    assert result.fit is not None and result.fit.verdict == "good"
    without = pp.refine(given, backend="numpy", no_mend=[NAME, "alternatives"])
    assert NAME not in {found.name for found in without.findings}
