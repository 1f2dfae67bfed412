"""What plain physics iterations need no framework for: schedule, passes, moves, gauge."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.forward import canvas_for, intensities, split_positions
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.machine.interruption import Interrupted, StopFlag
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.simulation import simulate
from ptychopinn.solvers.physics import PhysicsSolver, fixed_gauge
from ptychopinn.solvers.positions import LARGEST_MOVE, least_squares_moves, moved
from ptychopinn.solvers.stages import LITTLE, SETTLING, STAGES, Schedule, Stage
from ptychopinn.workflows.stopping import until_stopped

seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=25)


def stages_of(misfits: list[float], config: RefineConfig) -> list[Stage]:
    """Stages of a run whose passes have these misfits."""
    schedule, found = Schedule(config), []
    for done in range(len(misfits) + 1):
        stage = schedule.next_stage(misfits[:done])
        if stage is None:
            break
        found.append(stage)
    return found


def test_a_run_that_improves_stays_in_its_stage_until_the_passes_are_used_up() -> None:
    config = RefineConfig(passes=9)
    falling = [0.5**k for k in range(20)]
    assert stages_of(falling, config) == [STAGES[0]] * 9


def test_a_run_that_stands_still_goes_through_all_stages_and_ends() -> None:
    found = stages_of([1.0] * 100, RefineConfig(passes=100))
    assert [found.count(stage) for stage in STAGES] == [2, 2, SETTLING + 1]
    assert found == sorted(found, key=STAGES.index)


def test_little_ends_a_stage_and_less_the_last() -> None:
    """One per cent a pass is enough for the last stage, whose share is the configured one."""
    gain = 0.9 * LITTLE
    misfits = [(1 - gain) ** k for k in range(100)]
    found = stages_of(misfits, RefineConfig(passes=60, stagnation=1e-3))
    assert len(found) == 60 and found[-1] == STAGES[-1]
    assert len(stages_of(misfits, RefineConfig(passes=60, stagnation=0.02))) < 15


def test_rising_misfits_end_a_run() -> None:
    assert len(stages_of([1.0 + k for k in range(100)], RefineConfig(passes=100))) < 15


class Heard:
    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.metrics: list[Mapping[str, float]] = []
        self.steps: list[tuple[float, float]] = []

    def epoch(self, number: int, steps: int) -> None:
        self.epochs.append((number, steps))

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.steps.append((loss, patterns_per_s))

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        self.metrics.append(metrics)


def test_passes_report_and_move_positions_when_it_is_time() -> None:
    scan = prepare(simulate(N=32, patterns=40, photons=1e5, seed=1, step_px=3.0))
    config, heard = RefineConfig(passes=5, refine_positions=True, positions_from=3), Heard()
    solver = PhysicsSolver(NumpyOps(), config, 1 << 28)
    misfits, moves, before = [], [], scan.scan.positions_px
    for step in solver.run(scan, progress=heard):
        misfits.append(step.misfit)
        found = step.result()
        moves.append(not np.array_equal(found.positions_px, before))
        before = found.positions_px
        assert found.passes == step.number == len(misfits)
        assert found.canvas.losses.tolist() == misfits
    # The positions of a pass are moved at its end.
    assert moves == [False, False, True, True, True]
    assert heard.metrics == [{"misfit": m} for m in misfits]
    assert [number for number, _ in heard.epochs] == list(range(5))
    assert len(heard.steps) == sum(updates for _, updates in heard.epochs)
    still = PhysicsSolver(NumpyOps(), RefineConfig(passes=5), 1 << 28).solve(scan)
    assert np.array_equal(still.positions_px, scan.scan.positions_px)


def test_who_leaves_the_loop_stops_the_iterations() -> None:
    scan = prepare(simulate(N=32, patterns=40, photons=1e5, seed=1, step_px=3.0))
    solver = PhysicsSolver(NumpyOps(), RefineConfig(passes=50), 1 << 28)
    for step in solver.run(scan):
        if step.number == 2:
            break
    found = step.result()
    assert found.passes == 2 and np.isfinite(found.canvas.object).all()


def test_the_loss_shown_is_that_of_the_patterns_so_far() -> None:
    """It can be compared between the steps of a pass; the rate counts patterns, not passes."""
    scan = prepare(simulate(N=32, patterns=40, photons=1e5, seed=1, step_px=3.0))
    heard = Heard()
    for step in PhysicsSolver(NumpyOps(), RefineConfig(passes=3), 1 << 28).run(scan, None, heard):
        last, rate = heard.steps[-1]
        assert last == pytest.approx(step.misfit)
        assert np.isfinite(rate) and rate > 0
    losses = [loss for loss, _ in heard.steps]
    assert max(losses) < 5 * min(losses[: heard.epochs[0][1]])


class Signalled(Heard):
    """A signal comes during the update with this number, counted over all passes."""

    def __init__(self, stop: StopFlag, when: int) -> None:
        super().__init__()
        self.stop, self.when = stop, when

    def step(self, loss: float, patterns_per_s: float) -> None:
        if len(self.steps) == self.when:
            self.stop.note(signal.SIGTERM)
        super().step(loss, patterns_per_s)


@pytest.mark.parametrize("later", [0, 1, 3])
def test_a_signal_ends_the_passes_after_the_present_update(later: int) -> None:
    scan = prepare(simulate(N=32, patterns=40, photons=1e5, seed=1, step_px=3.0))
    solver, free = PhysicsSolver(NumpyOps(), RefineConfig(passes=3), 1 << 28), Heard()
    misfits = [step.misfit for step in solver.run(scan, None, free)]
    stop = StopFlag()
    heard = Signalled(stop, free.epochs[0][1] + later)
    found = until_stopped(solver, scan, None, heard, stop)
    assert len(heard.steps) == heard.when + 1
    assert found.passes == len(heard.metrics) + (heard.when + 1 == free.epochs[0][1])
    assert found.canvas.losses.tolist() == misfits[: found.passes]


def test_a_signal_before_anything_is_finished_leaves_nothing_to_save() -> None:
    scan = prepare(simulate(N=32, patterns=40, photons=1e5, seed=1, step_px=3.0))
    stop, solver = StopFlag(), PhysicsSolver(NumpyOps(), RefineConfig(passes=3), 1 << 28)
    with pytest.raises(Interrupted) as raised:
        until_stopped(solver, scan, None, Signalled(stop, 0), stop)
    assert raised.value.number == signal.SIGTERM


@few
@given(seeds, st.floats(0, 1e6))
def test_no_move_takes_a_patch_off_the_canvas(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    n = 2 * int(rng.integers(4, 16))
    positions = rng.uniform(-40, 40, (12, 2))
    shape, origin = canvas_for(positions, n, margin=int(rng.integers(0, 4)))
    for _ in range(5):
        positions = moved(positions, size * rng.normal(size=(12, 2)), n, shape, origin)
        corner, _ = split_positions(positions, n, origin)
        assert (corner >= 0).all() and (corner + n <= shape).all()


@few
@given(seeds)
def test_moves_are_limited_and_do_not_shift_the_scan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-40, 40, (30, 2))
    shape, origin = canvas_for(positions, 16, margin=4)
    change = moved(positions, 5 * rng.normal(size=(30, 2)), 16, shape, origin) - positions
    assert np.abs(change.mean(axis=0)).max() < 1e-9
    assert np.abs(change).max() <= 2 * LARGEST_MOVE


@few
@given(seeds, st.integers(1, 3))
def test_fixing_the_gauge_changes_no_pattern(seed: int, count: int) -> None:
    """Ramps and factors go from the object to the probe; none is left in the object."""
    rng = np.random.default_rng(seed)
    n, positions = 16, rng.uniform(-12, 12, (9, 2))
    shape, origin = canvas_for(positions, n)
    slope, factor = rng.uniform(-0.3, 0.3, 2), 10 ** rng.uniform(-2, 2)

    def noise(*size: int) -> Any:
        return rng.normal(size=size) + 1j * rng.normal(size=size)

    def ramp(height: int, width: int) -> Any:
        y, x = np.indices((height, width))
        return np.exp(1j * (slope[0] * y + slope[1] * x))

    # Smooth, so that its mean gradient is that of the ramp.
    y, x = np.indices(shape)
    obj = (1 + 0.1 * np.cos(y / 5 + x / 7)) * ramp(*shape) * factor
    # The probe fades to the border: its Fourier shift and the ramp commute.
    v, u = np.indices((n, n)) - n / 2
    probe = noise(count, 1, 1) * np.exp(-(v**2 + u**2) / 8)
    power = float((np.abs(probe) ** 2).sum()) * factor**2
    light = np.ones(shape)
    levelled, other = fixed_gauge(obj.astype("c8"), light, probe.astype("c8"), power)
    before = intensities(obj, probe, positions, origin)
    after = intensities(levelled.astype(complex), other.astype(complex), positions, origin)
    assert np.abs(after - before).max() < 1e-3 * before.max()
    assert (np.abs(other) ** 2).sum() == pytest.approx(power, rel=1e-4)
    for axis in (0, 1):
        near = np.delete(levelled, -1, axis).astype(complex)
        far = np.delete(levelled, 0, axis)
        assert np.angle((near.conj() * far).sum()) == pytest.approx(0, abs=1e-4)


def test_moves_solve_their_systems_where_these_say_something() -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(6, 2, 2))
    matrices = factors @ np.swapaxes(factors, 1, 2) + 2 * np.eye(2)
    wanted = rng.normal(size=(6, 2))
    right = (matrices @ wanted[..., None])[..., 0]
    np.testing.assert_allclose(least_squares_moves(matrices, right), wanted, atol=0.15)
    matrices[0], right[0] = 0, 1e-3
    assert np.abs(least_squares_moves(matrices, right)[0]).max() < 0.05
