"""The photon scale of probe, object and network input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.forward import intensities
from ptychopinn.errors import InputError
from ptychopinn.physics.scaling import (
    check_probe_power,
    global_scale,
    input_scale,
    probe_power,
    reconcile_probe,
)

N = 16


def random_probe(seed: int, modes: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(modes, N, N)) + 1j * rng.normal(size=(modes, N, N))


@given(
    exponent=st.floats(-6, 6),
    counts=st.floats(1, 1e9),
    seed=st.integers(0, 1000),
    masked=st.booleans(),
)
def test_vacuum_pattern_holds_the_mean_counts(
    exponent: float, counts: float, seed: int, masked: bool
) -> None:
    mask = np.random.default_rng(seed).random((N, N)) < 0.7 if masked else None
    probe, factor = reconcile_probe(10.0**exponent * random_probe(seed), counts, mask)
    vacuum = intensities(
        np.ones((N, N), complex), probe.astype(complex), np.array([[N / 2, N / 2]])
    )[0]
    good = np.ones((N, N), bool) if mask is None else mask
    assert vacuum[good].sum() == pytest.approx(counts, rel=1e-5)
    assert factor > 0 and probe.dtype == np.complex64


@given(exponent=st.floats(-6, 6))
def test_result_does_not_depend_on_the_scale_of_the_given_probe(exponent: float) -> None:
    base, _ = reconcile_probe(random_probe(3), 1e5)
    scaled, _ = reconcile_probe(10.0**exponent * random_probe(3), 1e5)
    np.testing.assert_allclose(scaled, base, rtol=1e-5)


def test_single_precision_probe_of_any_scale_is_summed_in_double() -> None:
    probe = (1e-30 * random_probe(1)).astype(np.complex64)
    assert probe_power(reconcile_probe(probe, 1e5)[0]) == pytest.approx(1e5, rel=1e-5)


@pytest.mark.parametrize(("scale", "counts"), [(0.0, 1.0), (1.0, 0.0), (1.0, np.nan)])
def test_nothing_to_scale_is_an_error(scale: float, counts: float) -> None:
    with pytest.raises(InputError, match="positive number of counts"):
        reconcile_probe(scale * random_probe(0), counts)


def test_stated_probe_may_transmit_between_a_thousandth_and_four() -> None:
    probe = random_probe(0)
    power = probe_power(probe)
    for ratio in (1.1e-3, 1.0, 3.9):
        check_probe_power(probe, ratio * power)
    for ratio in (0.9e-3, 4.1, np.nan):
        with pytest.raises(InputError, match=f"{power:.4g}"):
            check_probe_power(probe, ratio * power)


def test_network_input_has_a_mean_square_of_a_quarter() -> None:
    counts = np.random.default_rng(0).poisson(7, size=(5, N, N))
    a = input_scale(N, counts.sum(axis=(1, 2)).mean())
    assert np.mean((a * np.sqrt(counts)) ** 2) == pytest.approx(0.25)
    with pytest.raises(InputError):
        input_scale(N, 0.0)


def test_global_scale_restores_the_measured_sum() -> None:
    assert global_scale(50.0, 2.0) == pytest.approx(5.0)
    for measured, modelled in ((1.0, 0.0), (np.nan, 1.0), (-1.0, 1.0), (1.0, np.inf)):
        with pytest.raises(InputError):
            global_scale(measured, modelled)
