"""Positions on a line, and moves in the place of positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

NAMES = ("one-line", "few-places")


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(
        object="leaves", N=32, patterns=100, step_px=4, jitter_px=0.2, photons=1e4, seed=1
    )


def found(scan: Scan) -> list[str]:
    return [one.name for one in examine(scan).findings if one.name in NAMES]


@pytest.mark.parametrize("count", [3, 6, 10])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_line_of_positions_is_named(scan: Scan, count: int, angle: float) -> None:
    line = np.arange(count)[:, None] * 4.0 * np.array([np.sin(angle), np.cos(angle)])
    some = replace(
        scan, diffraction=np.array(scan.diffraction[:count]), positions_px=line + 30, object=None
    )
    assert found(some) == ["one-line"]
    two = np.concatenate([line, line + np.array([4.0, 0])])
    double = np.array(scan.diffraction[: 2 * count])
    assert found(replace(some, diffraction=double, positions_px=two)) == []


def test_moves_are_no_positions(scan: Scan) -> None:
    to_and_fro = scan.positions_px.reshape(10, 10, 2).copy()
    to_and_fro[1::2] = to_and_fro[1::2, ::-1]
    for places in (scan.positions_px, to_and_fro.reshape(-1, 2)):
        right = replace(scan, positions_px=places, object=None)
        assert found(right) == []
        moves = np.diff(places, axis=0, prepend=places[:1])
        assert "few-places" in found(replace(right, positions_px=moves))


@pytest.mark.parametrize("step", [0.3, 0.6, 1.0])
def test_narrow_rasters_are_no_moves(scan: Scan, step: float) -> None:
    y, x = np.indices((10, 10)).reshape(2, -1) * step
    places = np.stack([y, x], axis=1)
    for middle in (places.mean(axis=0), -30):
        assert found(replace(scan, positions_px=places - middle, object=None)) == []


@pytest.mark.parametrize(
    ("pattern", "pitch"),
    [("raster", 2.0), ("raster", 3.3), ("fermat", 2.0), ("random", 2.0), ("random", 7.0)],
)
def test_rounded_positions_are_named(pattern: str, pitch: float) -> None:
    scan = pp.simulate(N=32, patterns=100, scan=pattern, step_px=4.1, photons=1e4, seed=1)
    places = np.rint((scan.positions_px + 1e4) / pitch) * pitch
    rounded = replace(scan, positions_px=places, object=None)
    said = {one.name: one for one in examine(rounded).findings}["rounded-positions"]
    assert said.level == "doubt" and said.details["error_px"] == pytest.approx(pitch / 2)


def test_positions_in_32_bits_far_from_zero_are_named(scan: Scan) -> None:
    metres = (1.2345678 + scan.positions_px * 2e-8).astype(np.float32)
    places = metres.astype(np.float64) / 2e-8
    said = [one.name for one in examine(replace(scan, positions_px=places, object=None)).findings]
    assert "rounded-positions" in said


@pytest.mark.parametrize(("rows", "columns"), [(10, 10), (4, 25), (25, 4), (2, 50)])
@pytest.mark.parametrize("step", [(3.0, 3.0), (4.0, 2.0), (5.3, 5.3)])
def test_rasters_are_not_rounded(
    scan: Scan, rows: int, columns: int, step: tuple[float, float]
) -> None:
    grid = np.stack(np.indices((rows, columns)), axis=-1) * step
    to_and_fro = grid.copy()
    to_and_fro[1::2] = to_and_fro[1::2, ::-1]
    hexagonal = grid + np.where(np.arange(rows)[:, None, None] % 2, (0.0, step[1] / 2), (0.0, 0.0))
    gone = np.delete(
        np.concatenate([grid, grid[-1:] + np.array([step[0], 0])]).reshape(-1, 2), 33, axis=0
    )
    for places in (grid, to_and_fro, hexagonal, grid.swapaxes(0, 1), gone[: rows * columns]):
        some = replace(scan, positions_px=places.reshape(-1, 2), object=None)
        assert "rounded-positions" not in [one.name for one in examine(some).findings]
    whole = np.rint(scan.positions_px)
    assert "rounded-positions" not in [
        one.name for one in examine(replace(scan, positions_px=whole, object=None)).findings
    ]
