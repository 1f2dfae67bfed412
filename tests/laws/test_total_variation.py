"""The prior of small total variation, on every implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
from adapters import OnOps, Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import complex_normal, few, laws, seeds
from test_effect_laws import on_ops

from ptychopinn.physics.total_variation import smoothed

Array = NDArray[Any]


def total_variation(u: Array, t: Array) -> float:
    """sum t |grad u|, periodic."""
    down, right = (np.roll(u, -1, d) - u for d in (0, 1))
    return float((t * np.sqrt(np.abs(down) ** 2 + np.abs(right) ** 2)).sum())


def energy(u: Array, v: Array, t: Array) -> float:
    return float((np.abs(u - v) ** 2).sum() / 2) + total_variation(u, t)


def smooth(on: OnOps, v: Array, t: Array) -> Array:
    return np.asarray(on.numpy(on.xp.call(smoothed, on.to(v), on.to(t))))


def a_field(seed: int) -> tuple[Array, Array, np.random.Generator]:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(9, 30, 2))
    steps = np.where(np.arange(shape[0])[:, None] < shape[0] // 2, 1.0, 0.5 + 0.4j)
    v = steps + 0.1 * complex_normal(rng, *shape)
    return v, 0.1 * rng.uniform(0.5, 1.5, shape), rng


@laws
@given(seeds)
def test_nothing_near_has_less_energy(implementation: Physics, seed: int) -> None:
    """Nor have the field itself and its mean; 15 iterations end near the minimum."""
    on = on_ops(implementation)
    v, t, rng = a_field(seed)
    u = smooth(on, v, t)
    found = energy(u, v, t)
    assert found < 0.8 * energy(v, v, t) and found < energy(np.full_like(v, v.mean()), v, t)
    for size in (0.003, 0.03):
        other = u + size * complex_normal(rng, *v.shape)
        assert energy(other, v, t) > found


@few
@given(seeds, st.floats(0, 2 * np.pi))
def test_mean_and_global_phase_stay(implementation: Physics, seed: int, angle: float) -> None:
    on = on_ops(implementation)
    v, t, _ = a_field(seed)
    u, turned = smooth(on, v, t), smooth(on, v * np.exp(1j * angle), t)
    assert abs(u.mean() - v.mean()) <= 30 * on.rtol
    assert np.abs(turned - u * np.exp(1j * angle)).max() <= 100 * on.rtol


@few
@given(seeds)
def test_no_threshold_changes_nothing(implementation: Physics, seed: int) -> None:
    on = on_ops(implementation)
    v, t, _ = a_field(seed)
    t[2:5] = 0
    assert np.isfinite(smooth(on, v, t)).all()
    np.testing.assert_allclose(smooth(on, v, 0 * t), v, atol=30 * on.rtol)
