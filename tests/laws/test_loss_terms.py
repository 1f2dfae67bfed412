"""The laws of the terms of the loss, on every implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adapters import Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import complex_normal, laws, seeds

from oracle import losses

Array = NDArray[Any]


PAIRED = ("poisson_deviance", "amplitude_mae")


def noisy_patterns(seed: int) -> tuple[Array, Array, Array]:
    """Expected and measured counts (3, 16, 16), bright and dark, many zeros; a mask."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(-1, 3)
    model = rng.gamma(2.0, level, size=(3, 16, 16)) + 0.1 * level
    counts = rng.poisson(model).astype(float)
    counts[:, 0, 0] += 1
    mask = rng.random((16, 16)) < 0.8
    mask[0, 0] = True
    return model, counts, mask


@laws
@given(seeds)
def test_losses_are_those_of_the_oracle(implementation: Physics, seed: int) -> None:
    model, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        for good in (None, mask):
            expected = getattr(losses, name)(model, counts, good)
            found = getattr(implementation, name)(model, counts, good)
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@laws
@given(seeds)
def test_losses_are_zero_at_a_perfect_fit(implementation: Physics, seed: int) -> None:
    _, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        assert getattr(implementation, name)(counts, counts, mask) == pytest.approx(0, abs=1e-12)


@laws
@given(seeds)
def test_bad_pixels_enter_no_loss(implementation: Physics, seed: int) -> None:
    model, counts, mask = noisy_patterns(seed)
    spoiled_counts, spoiled_model = np.where(mask, counts, 1e7), np.where(mask, model, 1e-9)
    for name in PAIRED:
        loss = getattr(implementation, name)
        expected = loss(model, counts, mask)
        assert loss(spoiled_model, counts, mask) == pytest.approx(expected, rel=1e-6)
        assert loss(model, spoiled_counts, mask) == pytest.approx(expected, rel=1e-6)


@laws
@given(seeds, st.floats(-3, 3))
def test_losses_do_not_depend_on_the_flux(
    implementation: Physics, seed: int, decade: float
) -> None:
    model, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        loss, flux = getattr(implementation, name), 10.0**decade
        assert loss(flux * model, flux * counts, mask) == pytest.approx(
            loss(model, counts, mask), rel=1e-5
        )


@laws
@given(seeds)
def test_image_losses_are_those_of_the_oracle(implementation: Physics, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, truth = complex_normal(rng, 2, 3, 11, 14)
    assert implementation.total_variation(image) == pytest.approx(
        losses.total_variation(image), rel=1e-5
    )
    assert implementation.realspace_mae(image, truth) == pytest.approx(
        losses.realspace_mae(image, truth), rel=1e-5
    )
    assert implementation.total_variation(np.full((3, 8, 8), 0.3 - 2j)) == pytest.approx(
        0, abs=2e-6
    )
    assert implementation.realspace_mae(image, image) == pytest.approx(0, abs=2e-6)
