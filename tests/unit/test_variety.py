"""Random scans for pretraining: valid, of every kind, and the same again for the same seed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.data.normalization import prepare
from ptychopinn.errors import InputError
from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.variety import (
    LEAST,
    OBJECTS,
    SCANS,
    SIZES,
    WAVE_PIXELS,
    draw_config,
    draw_scan,
)
from ptychopinn.training.data import known_object


def drawn(count: int) -> list[SimulationConfig]:
    """Configurations of the first seeds whose probe fits into its array."""
    found = []
    for seed in range(count):
        try:
            found.append(draw_config(np.random.default_rng(seed)))
        except InputError:
            continue
    return found


@pytest.fixture(scope="module")
def configs() -> list[SimulationConfig]:
    return drawn(300)


def test_nearly_every_draw_is_possible_and_all_kinds_occur(
    configs: list[SimulationConfig],
) -> None:
    assert len(configs) > 240
    assert {c.object for c in configs} == set(OBJECTS)
    assert {c.scan for c in configs} == set(SCANS)
    assert {c.N for c in configs} == set(SIZES)
    assert {c.modes for c in configs} == {1, 2, 3, 4, 5}
    assert {c.probe for c in configs} == {"aperture", "gaussian"}


def test_doses_and_faults_are_what_is_said(configs: list[SimulationConfig]) -> None:
    doses = np.log10([c.photons for c in configs])
    assert 2 <= doses.min() < 2.5 and 8.5 < doses.max() <= 9
    for name in ("position_error_px", "dead_pixels", "beam_stop_px", "background"):
        share = np.mean([getattr(c, name) > 0 for c in configs])
        assert 0.05 < share < 0.25, name
    assert 0.2 < np.mean([c.modes > 1 for c in configs]) < 0.35
    assert 0.25 < np.mean([c.phase[1] > np.pi / 2 for c in configs]) < 0.45
    assert max(c.phase[1] for c in configs) > np.pi


def test_no_scan_costs_much_more_than_others(configs: list[SimulationConfig]) -> None:
    waves = [c.patterns * c.modes * c.N**2 for c in configs]
    assert max(waves) <= max(WAVE_PIXELS, LEAST * max(SIZES) ** 2)
    assert min(c.patterns for c in configs) == LEAST


def test_photographs_of_a_folder_are_drawn(tmp_path: Path) -> None:
    configs = []
    for seed in range(60):
        with suppress(InputError):
            configs.append(draw_config(np.random.default_rng(seed), tmp_path))
    assert {c.photographs for c in configs} == {tmp_path}


def test_seeds_reproduce_and_differ() -> None:
    one, again, other = (draw_config(np.random.default_rng([7, k])) for k in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_drawn_scan_is_valid_and_reproducible(seed: int) -> None:
    state = str(np.random.get_state())  # noqa: NPY002 - it must not move
    one, again = (draw_scan(np.random.default_rng([seed, 5])) for _ in range(2))
    assert str(np.random.get_state()) == state  # noqa: NPY002
    assert np.array_equal(one.diffraction, again.diffraction)
    assert np.array_equal(one.positions_px, again.positions_px)
    assert np.array_equal(one.probe, again.probe)
    assert one.M >= 36 and one.N in SIZES
    prepared = prepare(one)
    assert np.isfinite(prepared.amplitudes(np.arange(one.M))).all()
    assert np.isfinite(known_object(prepared)).all()


def test_an_impossible_draw_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And when nothing is possible, that is said instead of going on for ever."""
    from ptychopinn.simulation import variety

    calls = []
    possible = draw_config(np.random.default_rng(1)).model_copy(update={"N": 32, "patterns": 36})

    def second(
        rng: np.random.Generator, photographs: Path | None, n: int | None
    ) -> SimulationConfig:
        calls.append(rng)
        if len(calls) == 1:
            raise InputError("the probe must fit")
        return possible

    monkeypatch.setattr(variety, "draw_config", second)
    assert draw_scan(np.random.default_rng(0)).N == 32
    assert len(calls) == 2

    def never(
        rng: np.random.Generator, photographs: Path | None, n: int | None
    ) -> SimulationConfig:
        raise InputError("the probe must fit")

    monkeypatch.setattr(variety, "draw_config", never)
    with pytest.raises(RuntimeError, match="100 draws"):
        draw_scan(np.random.default_rng(0))


def test_the_size_may_be_given() -> None:
    """All else is drawn as it would be."""
    drawn = [draw_config(np.random.default_rng(k)) for k in range(1, 5)]
    fixed = [draw_config(np.random.default_rng(k), n=48) for k in range(1, 5)]
    assert {config.N for config in fixed} == {48}
    assert [c.diameter for c in drawn] == [c.diameter for c in fixed]
