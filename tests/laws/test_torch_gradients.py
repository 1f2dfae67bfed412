"""What PyTorch differentiates automatically agrees with finite differences, in 64 bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; its gradients cannot be checked")

import torch
from adapters import OnOps
from strategies import complex_normal, fresnel, gaussian_probe
from torch import Tensor

from oracle.forward import canvas_for
from oracle.near_field import FreeSpace
from ptychopinn.physics import losses
from ptychopinn.physics.forward import modelled
from ptychopinn.physics.groups import group_intensities, merge_weight, reach_of
from ptychopinn.physics.low_frequency import low_frequency, missing_phase
from ptychopinn.physics.propagators import FarField
from ptychopinn.solvers.descent import object_step

N = 8
SPACES = {"far field": None, "near field": fresnel(3.0)}


@pytest.fixture(scope="module")
def double() -> OnOps:
    return OnOps("pytorch", 64)


def unknown(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(complex_normal(rng, *shape)).requires_grad_()


def positive(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(0.2, 1, shape)).requires_grad_()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_patterns_by_the_canvas_and_the_probe(double: OnOps, space: FreeSpace | None) -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(-3, 3, (3, 2))
    shape, origin = canvas_for(positions, N)
    propagator = double.propagator(N, space)

    def patterns(image: Tensor, probe: Tensor) -> Tensor:
        batch = double.batch(probe, positions, shape, origin, propagator)
        found: Tensor = modelled(double.xp, propagator, image, batch)[2]
        return found

    given = (unknown(rng, *shape), unknown(rng, 2, N, N))
    assert torch.autograd.gradcheck(patterns, given, fast_mode=True)


def test_patches_of_a_canvas_that_does_not_lie_in_one_piece(double: OnOps) -> None:
    values = torch.from_numpy(complex_normal(np.random.default_rng(0), 13, 11, 2))
    corner = np.array([[0, 0], [5, 3], [4, 2]])
    places = double.xp.places(torch.from_numpy(corner), N, 11)
    found = double.xp.gather(values[..., 1], places, N)
    for patch, (y, x) in zip(found, corner, strict=True):
        assert torch.equal(patch, values[y : y + N, x : x + N, 1])


def test_patterns_of_groups_by_the_patches_and_the_probe(double: OnOps) -> None:
    rng = np.random.default_rng(1)
    offsets = rng.uniform(-2, 2, (2, 4, 2))
    weight = torch.from_numpy(merge_weight(gaussian_probe(N, 2.0)))

    def patterns(patches: Tensor, probe: Tensor) -> Tensor:
        given = (patches, double.exactly(offsets), probe, weight, reach_of(offsets))
        found: Tensor = group_intensities(double.xp, FarField(), *given)
        return found

    given = (unknown(rng, 2, 4, N, N), unknown(rng, 2, N, N))
    assert torch.autograd.gradcheck(patterns, given, fast_mode=True)


@pytest.mark.parametrize("by_photons", [(), 1.0], ids=["moduli", "photons"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_physics_step_by_the_canvas(
    double: OnOps, space: FreeSpace | None, by_photons: Any
) -> None:
    rng = np.random.default_rng(2)
    positions = rng.uniform(-3, 3, (3, 2))
    shape, origin = canvas_for(positions, N)
    probe = torch.from_numpy(complex_normal(rng, 1, N, N))
    good = torch.from_numpy((rng.random((N, N)) < 0.8).astype(float))
    counts = rng.uniform(0.25, 4, (3, N, N))
    propagator = double.propagator(N, space)
    batch = double.batch(probe, positions, shape, origin, propagator, counts)
    k = low_frequency(double.xp, probe.numpy(), shape).k

    def step(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = (batch, good, 1e-3, by_photons, k, shape[0] * shape[1])
        numerator, misfit, _, slopes = object_step(double.xp, propagator, image, *given)
        return torch.view_as_real(double.xp.plus(None, numerator)), misfit, slopes

    # The projection turns fast where a pixel is dark, so the step of the difference is small.
    given = (unknown(rng, *shape),)
    assert torch.autograd.gradcheck(step, given, eps=1e-8, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_the_low_frequency_phase_by_its_gradients(double: OnOps) -> None:
    rng = np.random.default_rng(5)
    low = low_frequency(double.xp, gaussian_probe(N, 2.0), (13, 11))
    centre = torch.tensor([4 * 11 + 4, 8 * 11 + 4, 6 * 11 + 6])
    slopes = torch.from_numpy(rng.normal(size=(3, 2))).requires_grad_()

    def phase(given: Tensor) -> Tensor:
        found: Tensor = missing_phase(double.xp, given, centre, low)
        return found

    assert torch.autograd.gradcheck(phase, (slopes,))


PAIRED = (losses.poisson_deviance, losses.amplitude_mae)


@pytest.mark.parametrize("loss", PAIRED)
def test_losses_by_the_model(double: OnOps, loss: Callable[..., Any]) -> None:
    rng = np.random.default_rng(3)
    measured = positive(rng, 2, N, N).detach()
    measured[:, 0] = 0
    good = torch.from_numpy((rng.random((N, N)) < 0.8).astype(float))
    given = (positive(rng, 2, N, N),)
    assert torch.autograd.gradcheck(lambda model: loss(double.xp, model, measured, good), given)


def test_image_losses_by_the_image(double: OnOps) -> None:
    rng, xp = np.random.default_rng(4), double.xp
    weight = positive(rng, N, N).detach()
    truth = unknown(rng, 2, N, N).detach()
    image = unknown(rng, 2, N, N)
    assert torch.autograd.gradcheck(lambda o: losses.total_variation(xp, o, weight), (image,))
    assert torch.autograd.gradcheck(lambda o: losses.realspace_mae(xp, o, truth, weight), (image,))
    aligned = losses.same_global_phase(xp, truth, truth * np.exp(0.7j), weight)
    assert torch.allclose(aligned, truth * np.exp(0.7j))


@pytest.mark.parametrize("loss", PAIRED)
def test_gradients_stay_finite_in_the_dark(double: OnOps, loss: Callable[..., Any]) -> None:
    """No photon expected, with and without one measured, in 32 bit."""
    field = torch.zeros(1, 1, N, N, dtype=torch.complex64, requires_grad=True)
    measured = torch.zeros(1, N, N)
    measured[0, 0, 0] = 1
    modelled = double.xp.sum_modes(double.xp.abs2(field))
    loss(double.xp, modelled, measured, torch.ones(N, N)).backward()
    assert field.grad is not None
    assert torch.isfinite(torch.view_as_real(field.grad)).all()
