"""What PyTorch differentiates automatically agrees with finite differences, in 64 bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; its gradients cannot be checked")

import torch
from strategies import complex_normal, gaussian_probe
from torch import Tensor

from ptychopinn.backends.pytorch import canvas, losses, physics
from ptychopinn.backends.pytorch.family import pattern_batch
from ptychopinn.physics.forward import canvas_for
from ptychopinn.physics.groups import merge_weight

N = 8


def unknown(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(complex_normal(rng, *shape)).requires_grad_()


def positive(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(0.2, 1, shape)).requires_grad_()


def test_patterns_by_the_canvas_and_the_probe() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(-3, 3, (3, 2))
    shape, origin = canvas_for(positions, N)

    def modelled(image: Tensor, probe: Tensor) -> Tensor:
        nothing = torch.zeros(3, N, N, dtype=torch.float64)
        batch = pattern_batch(nothing, positions, probe, shape, origin)
        return canvas.modelled_intensity(image, batch, probe)

    given = (unknown(rng, *shape), unknown(rng, 2, N, N))
    assert torch.autograd.gradcheck(modelled, given, fast_mode=True)


def test_patches_of_a_canvas_that_does_not_lie_in_one_piece() -> None:
    values = torch.from_numpy(complex_normal(np.random.default_rng(0), 13, 11, 2))
    corner = np.array([[0, 0], [5, 3], [4, 2]])
    rows = physics.row_index(torch.from_numpy(corner), N, 11)
    found = physics.gather(values[..., 1], rows)
    for patch, (y, x) in zip(found, corner, strict=True):
        assert torch.equal(patch, values[y : y + N, x : x + N, 1])


def test_patterns_of_groups_by_the_patches_and_the_probe() -> None:
    rng = np.random.default_rng(1)
    offsets = torch.from_numpy(rng.uniform(-2, 2, (2, 4, 2)))
    weight = torch.from_numpy(merge_weight(gaussian_probe(N, 2.0)))

    def modelled(patches: Tensor, probe: Tensor) -> Tensor:
        return physics.group_intensities(patches, offsets, probe, weight)

    given = (unknown(rng, 2, 4, N, N), unknown(rng, 2, N, N))
    assert torch.autograd.gradcheck(modelled, given, fast_mode=True)


def test_a_physics_step_by_the_canvas() -> None:
    rng = np.random.default_rng(2)
    positions = rng.uniform(-3, 3, (3, 2))
    shape, origin = canvas_for(positions, N)
    probe = torch.from_numpy(complex_normal(rng, 1, N, N))
    good = torch.from_numpy((rng.random((N, N)) < 0.8).astype(float))
    amplitudes = torch.from_numpy(rng.uniform(0.5, 2, (3, N, N)))
    batch = pattern_batch(amplitudes, positions, probe, shape, origin)

    low = physics.LowFrequency(probe, shape)

    def step(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = canvas.modulus_projection(image, [batch], probe, good, low, 1e-3)
        return torch.view_as_real(found.numerator), found.misfit, found.gradients

    # The projection turns fast where a pixel is dark, so the step of the difference is small.
    given = (unknown(rng, *shape),)
    assert torch.autograd.gradcheck(step, given, eps=1e-8, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_the_low_frequency_phase_by_its_gradients() -> None:
    rng = np.random.default_rng(5)
    probe = torch.from_numpy(gaussian_probe(N, 2.0))
    low = physics.LowFrequency(probe, (13, 11))
    centre = torch.tensor([4 * 11 + 4, 8 * 11 + 4, 6 * 11 + 6])
    gradients = torch.from_numpy(rng.normal(size=(3, 2))).requires_grad_()

    def phase(given: Tensor) -> Tensor:
        placed = low.nowhere()
        low.place(placed, given, centre)
        return low.phase(placed)

    assert torch.autograd.gradcheck(phase, (gradients,))


@pytest.mark.parametrize(
    "loss", [losses.poisson_deviance, losses.amplitude_residual, losses.amplitude_mae]
)
def test_losses_by_the_model(loss: Callable[..., Tensor]) -> None:
    rng = np.random.default_rng(3)
    measured = positive(rng, 2, N, N).detach()
    measured[:, 0] = 0
    good = torch.from_numpy((rng.random((N, N)) < 0.8).astype(float))
    given = (positive(rng, 2, N, N),)
    assert torch.autograd.gradcheck(lambda model: loss(model, measured, good), given)


def test_image_losses_by_the_image() -> None:
    rng = np.random.default_rng(4)
    weight = positive(rng, N, N).detach()
    truth = unknown(rng, 2, N, N).detach()
    image = unknown(rng, 2, N, N)
    assert torch.autograd.gradcheck(lambda o: losses.total_variation(o, weight), (image,))
    assert torch.autograd.gradcheck(lambda o: losses.realspace_mae(o, truth, weight), (image,))
    aligned = losses.same_global_phase(truth, truth * np.exp(0.7j), weight)
    assert torch.allclose(aligned, truth * np.exp(0.7j))


@pytest.mark.parametrize(
    "loss", [losses.poisson_deviance, losses.amplitude_residual, losses.amplitude_mae]
)
def test_gradients_stay_finite_in_the_dark(loss: Callable[..., Tensor]) -> None:
    """No photon expected, with and without one measured, in 32 bit."""
    field = torch.zeros(1, 1, N, N, dtype=torch.complex64, requires_grad=True)
    measured = torch.zeros(1, N, N)
    measured[0, 0, 0] = 1
    loss(physics.intensity(field), measured, torch.ones(N, N)).backward()
    assert field.grad is not None
    assert torch.isfinite(torch.view_as_real(field.grad)).all()
