"""Rows and columns that count otherwise than their neighbours by the same factor everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan
from ptychopinn.physics.forward import intensities
from ptychopinn.simulation import SimulationConfig, simulate

NAME = "uneven-lines"
Factors = Mapping[int, float]


def scaled(scan: Scan, rows: Factors, columns: Factors) -> Scan:
    """Counts as with pixels of other areas, to the next whole number above or below by chance."""
    counts = np.array(scan.diffraction[:], np.float64)
    for row, factor in rows.items():
        counts[:, row] *= factor
    for column, factor in columns.items():
        counts[:, :, column] *= factor
    counts = np.floor(counts + np.random.default_rng(0).random(counts.shape))
    return replace(scan, diffraction=counts.astype(np.uint32), object=None)


@pytest.fixture(scope="module")
def even() -> Scan:
    return simulate(SimulationConfig(object="leaves", N=64, patterns=60, photons=1e5, seed=3))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ({31: 2.5, 32: 2.5}, {31: 2.5, 32: 2.5}),
        ({24: 2.0}, {}),
        ({}, {40: 0.4}),
        ({20: 3.0, 40: 1.8}, {30: 2.0}),
    ],
    ids=["border of four chips", "row", "weak column", "several"],
)
def test_they_are_masked_and_nothing_else(rows: Factors, columns: Factors, even: Scan) -> None:
    checked = examine(scaled(even, rows, columns))
    (found,) = checked.findings
    assert (found.name, found.level) == (NAME, "mended")
    assert found.details["rows"] == list(rows) and found.details["columns"] == list(columns)
    expected = np.ones((64, 64), bool)
    expected[list(rows)] = False
    expected[:, list(columns)] = False
    assert np.array_equal(checked.scan.good_pixels, expected)


def test_they_can_be_left(even: Scan) -> None:
    scan = scaled(even, {24: 2.0}, {})
    assert not examine(scan, (NAME,)).findings


def test_every_second_row_is_a_doubt(even: Scan) -> None:
    checked = examine(scaled(even, dict.fromkeys(range(0, 64, 2), 2.0), {}))
    found = {one.name: one for one in checked.findings}
    assert found[NAME].level == "doubt" and "flat field" in found[NAME].message
    assert checked.scan.mask is None


@pytest.mark.parametrize("name", ["lines", "grf", "natural", "siemens"])
@pytest.mark.parametrize(("n", "photons"), [(32, 1e6), (64, 3e3)])
def test_even_patterns_are_left_alone(name: Any, n: int, photons: float) -> None:
    scan = simulate(SimulationConfig(object=name, N=n, patterns=60, photons=photons, seed=2))
    assert NAME not in [one.name for one in examine(scan).findings]


def test_a_dead_row_is_called_dead(even: Scan) -> None:
    (found,) = examine(scaled(even, {32: 0.0}, {})).findings
    assert found.name == "dead-pixels"


def striped(scan: Scan) -> np.ndarray[Any, Any]:
    """A probe (1, N, N) whose pupil has stripes two pixels wide, as behind a mirror."""
    pupil = np.fft.fft2(scan.probe[0])
    stripes = np.where(np.arange(scan.N) % 6 < 2, 1.0, 0.6)
    return np.asarray(np.fft.ifft2(pupil * stripes[:, None])[None])


def test_stripes_of_the_beam_are_no_fault(even: Scan) -> None:
    probe = striped(even)
    counts = intensities(np.asarray(even.object), probe, even.positions_px)
    counts = np.random.default_rng(1).poisson(counts).astype(np.uint32)
    scan = replace(even, diffraction=counts, probe=probe.astype(np.complex64), object=None)
    assert NAME not in [one.name for one in examine(scan).findings]


def test_of_a_hologram_nothing_is_said(even: Scan) -> None:
    config = SimulationConfig(N=64, patterns=40, propagator="near-field", seed=3)
    scan = scaled(simulate(config), {24: 2.0}, {})
    assert NAME not in [one.name for one in examine(scan).findings]
