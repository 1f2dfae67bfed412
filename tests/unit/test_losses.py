"""The formulas of the oracle: laws that hold for all inputs; the photon noise against its sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from oracle.losses import (
    amplitude_mae,
    amplitude_residual,
    expected_residual,
    poisson_deviance,
    realspace_mae,
    total_variation,
)
from ptychopinn.physics.noise import deviance_terms, noise_of_amplitude

PAIRED = (poisson_deviance, amplitude_residual, amplitude_mae)
seeds = st.integers(0, 2**32 - 1)


def patterns(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    model = rng.gamma(1.0, 10.0 ** rng.uniform(-1, 3), size=(3, 8, 8)) + 1e-6
    counts = rng.poisson(model)
    counts[0, 0, 0] += 1
    return model, counts, rng.random((8, 8)) < 0.8


@given(seeds)
def test_losses_are_zero_at_a_perfect_fit_only(seed: int) -> None:
    model, counts, _ = patterns(seed)
    for loss in PAIRED:
        assert loss(counts.astype(float), counts) == pytest.approx(0, abs=1e-12)
        assert loss(model, counts) > 0


@given(seeds)
def test_masked_pixels_have_no_influence(seed: int) -> None:
    model, counts, mask = patterns(seed)
    mask[0, 0] = True
    spoiled = np.where(mask, counts, counts + 1000)
    for loss in PAIRED:
        assert loss(model, spoiled, mask) == loss(model, counts, mask)


@given(seeds, st.floats(1e-3, 1e3))
def test_losses_do_not_depend_on_the_unit_of_both(seed: int, factor: float) -> None:
    model, counts, mask = patterns(seed)
    mask[0, 0] = True
    for loss in PAIRED:
        scaled = loss(factor * model, factor * counts, mask)
        assert scaled == pytest.approx(loss(model, counts, mask), rel=1e-9)


@given(seeds)
def test_the_best_global_scale_of_the_deviance_is_the_ratio_of_sums(seed: int) -> None:
    model, counts, _ = patterns(seed)
    best = counts.sum() / model.sum()
    at_best = poisson_deviance(best * model, counts)
    for off in (0.9, 1.1):
        assert poisson_deviance(off * best * model, counts) > at_best


def test_deviance_matches_its_formula_and_knows_empty_pixels() -> None:
    model, counts = np.array([[2.0, 0.5], [4.0, 1.0]]), np.array([[3, 0], [4, 1]])
    by_hand = (2 * (2 - 3 + 3 * np.log(3 / 2)) + 2 * 0.5) / 8
    assert poisson_deviance(model, counts) == pytest.approx(by_hand)
    assert poisson_deviance(np.array([[0.0, 1.0]]), np.array([[1, 1]])) == np.inf
    assert poisson_deviance(np.array([[0.0, 1.0]]), np.array([[0, 1]])) == 0


@pytest.mark.parametrize("lam", [0, 1e-3, 0.05, 0.7, 2, 9.3, 35.9, 36.1, 200, 1e6])
def test_noise_expectation_equals_the_exact_sum(lam: float) -> None:
    spread = 12 * np.sqrt(lam) + 60
    n = np.arange(max(0, int(lam - spread)), int(lam + spread))
    exact = (poisson.pmf(n, lam) * (np.sqrt(n) - np.sqrt(lam)) ** 2).sum()
    assert float(noise_of_amplitude(lam)) == pytest.approx(exact, abs=2e-5)


@given(seeds)
@settings(max_examples=25)
def test_noise_and_deviance_are_those_of_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = rng.gamma(1.0, 10.0 ** rng.uniform(-2, 3), (2, 8, 8)) + 1e-6
    residual = noise_of_amplitude(model).sum() / model.sum()
    assert residual == pytest.approx(expected_residual(model), rel=1e-4, abs=2e-5)
    counts = rng.poisson(model)
    counts[0, 0, 0] += 1
    found = deviance_terms(model, counts.astype(float)).sum() / counts.sum()
    assert found == pytest.approx(poisson_deviance(model, counts), rel=1e-12)


def test_expected_residual_agrees_with_sampling() -> None:
    rng = np.random.default_rng(3)
    model = rng.gamma(0.5, 8.0, size=(30, 32, 32))
    mask = rng.random((32, 32)) < 0.9
    found = amplitude_residual(model, rng.poisson(model), mask)
    assert found == pytest.approx(expected_residual(model, mask), rel=0.02)


@given(seeds, st.floats(0, 6.28))
@settings(max_examples=25)
def test_real_space_terms(seed: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    obj = rng.normal(size=(9, 7)) + 1j * rng.normal(size=(9, 7))
    turned = obj * np.exp(1j * angle)
    assert total_variation(np.full((4, 4), 2 + 1j)) == 0
    assert total_variation(turned) == pytest.approx(total_variation(obj))
    assert total_variation(3 * obj) == pytest.approx(3 * total_variation(obj))
    assert realspace_mae(obj, obj) == 0
    assert realspace_mae(obj + 0.5j, obj) == pytest.approx(0.5)


def test_total_variation_of_a_slope() -> None:
    y, x = np.indices((5, 6))
    assert total_variation(3 * y + 4j * x) == pytest.approx(5)


def test_the_oracle_is_not_asked_for_nonsense() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        poisson_deviance(np.ones((2, 4, 4)), np.ones((3, 4, 4)))
    with pytest.raises(ValueError, match="no counts"):
        amplitude_residual(np.ones((4, 4)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="no intensity"):
        expected_residual(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="shapes differ"):
        realspace_mae(np.ones((2, 2)), np.ones((3, 2)))


def test_noise_and_deviance_in_single_precision_are_those_in_double() -> None:
    """Up to the rounding of single precision, on both sides of the tabulated range."""
    model = np.concatenate([np.zeros(1), np.geomspace(1e-5, 1e5, 400), [36.0]])
    short = noise_of_amplitude(model.astype(np.float32))
    assert short.dtype == np.float32
    np.testing.assert_allclose(short, noise_of_amplitude(model), rtol=2e-4, atol=2e-6)
    counts = np.random.default_rng(0).poisson(model).astype(float)
    found = deviance_terms(model.astype(np.float32), counts.astype(np.float32))
    np.testing.assert_allclose(found, deviance_terms(model, counts), rtol=1e-4, atol=1e-2)
    assert deviance_terms(np.array([3.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])).tolist() == [
        6.0, np.inf, 0.0,
    ]  # fmt: skip
