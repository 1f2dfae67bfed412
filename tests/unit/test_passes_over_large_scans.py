"""Scans that do not fit into the memory for patterns: the same result, each pattern read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.io import lazy
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.readout import DetectorNoise
from ptychopinn.solvers import problem
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

M, N = 100, 32


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scan = pp.simulate(object="leaves", N=N, patterns=M, photons=1e5, step_px=3, seed=4)
    return pp.save_scan(scan, tmp_path_factory.mktemp("scan") / "scan.h5")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the patterns that are read from the file."""
    numbers: list[int] = []
    before = lazy.Stored.read

    def noted(self: lazy.Stored, wanted: Any) -> Any:
        numbers.extend(wanted.tolist())
        return before(self, wanted)

    monkeypatch.setattr(lazy.Stored, "read", noted)
    return numbers


def refined(scan: Scan, limit: int) -> Any:
    solver = PhysicsSolver(NumpyOps(), PhysicsConfig(passes=3, subsets=4), limit)
    return solver.solve(prepare(scan)).canvas.object


def test_what_is_kept_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, size = pp.load_scan(path), N * N * 12
    # Subsets are cut into the same batches in all three.
    monkeypatch.setattr(NumpyOps, "batch_bytes", 64 * N * N * 5)
    expected = refined(scan, M * size)
    for kept in (60, 30, 10):
        np.testing.assert_allclose(refined(scan, 2 * kept * size), expected, rtol=1e-5)


def test_batches_are_ready_where_they_are_kept(path: Path, reads: list[int]) -> None:
    scan, size = pp.load_scan(path), N * N * 12
    prepared = prepare(scan)
    xp = NumpyOps()
    xp.batch_bytes = 64 * N * N * 5
    found, _ = problem.scan_problem(xp, prepared, 4, 2 * 30 * size)
    kept = [[batch.probes is not None for batch in subset()] for subset in found.subsets]
    first = len(found.numbers[0])
    assert all(kept[0])
    assert not any(any(k) for k in kept[2:])
    assert first <= 30
    found, _ = problem.scan_problem(xp, prepared, 4, 2 * 10 * size)
    assert not any(batch.probes is not None for subset in found.subsets for batch in subset())


def test_patterns_that_are_read_again_stay_in_memory(path: Path, reads: list[int]) -> None:
    patterns = pp.load_scan(path).diffraction
    expected = patterns[:]
    patterns[:]
    reads.clear()
    np.testing.assert_array_equal(patterns[np.array([7, 3, 3])], expected[[7, 3, 3]])
    assert reads == []


def test_a_part_of_the_memory_bounds_what_stays(
    path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptychopinn.machine.memory.available_memory", lambda: 64 * M * N * N)
    patterns = pp.load_scan(path).diffraction
    for _ in range(3):
        patterns[:]
    reads.clear()
    patterns[5]
    assert reads == [5]


def test_the_misfit_reads_each_pattern_once(
    path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "HELD_PART", 0)
    scan = pp.load_scan(path)
    result = pp.refine(scan, config=PhysicsConfig(passes=1), backend="numpy", no_mend="all")
    monkeypatch.setattr("ptychopinn.evaluation.misfit.noise_of", lambda *_: DetectorNoise(1.0))
    reads.clear()
    again = misfit(result, scan)
    assert sorted(reads) == list(range(M))
    held = misfit(result, pp.Scan(scan.diffraction[:], scan.positions_px, scan.probe))
    assert again.residual == pytest.approx(held.residual, rel=1e-6)
    np.testing.assert_allclose(again.counts, held.counts)


def test_side_by_side_is_the_same_as_one_by_one(path: Path) -> None:
    torch = pytest.importorskip("torch")
    from ptychopinn.ops.options import TorchExecution

    scan = pp.load_scan(path)
    before = torch.get_num_threads()
    objects = [
        pp.refine(
            scan, config=PhysicsConfig(passes=2), backend="pytorch", no_mend="all",
            execution=TorchExecution(threads=threads, accelerator="cpu"),
        ).object
        for threads in (1, 2)
    ]  # fmt: skip
    assert torch.get_num_threads() == before
    np.testing.assert_allclose(objects[1], objects[0], rtol=1e-4, atol=1e-5)
