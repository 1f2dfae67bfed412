"""Probes: the illumination in the sample plane, as mutually incoherent modes.

A pupil A(rho) with the wavefront error W (in wavelengths) is focused to the sample:

    P = F^-1 [ A(rho) exp(2 pi i W(rho, theta)) ]
    W = w_d rho^2 + w_a rho^2 cos 2(theta - theta_a) + w_c (3 rho^3 - 2 rho) cos(theta - theta_c)

with rho = 1 at the pupil edge; the terms are defocus (Fresnel propagation), astigmatism and coma
(Born and Wolf, Principles of Optics, section 9.2). Far enough from focus the spot is the
geometric image of the pupil, of radius w_d * 2 / k_0 pixels, k_0 the pupil radius in cycles per
pixel; this gives w_d from the size of the spot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.propagators import focus, fourier_shift
from ptychopinn.probes.modes import hermite_like
from ptychopinn.simulation.arrays import read_array
from ptychopinn.simulation.config import SimulationConfig

Complex = NDArray[np.complex128]

# Softness of the pupil edge (sigma, in frequency pixels): without it the probe has the long tails
# of a sharp aperture, which would wrap around the border of the array.
EDGE_SOFTNESS = 1.5
# A soft aperture just before the sample takes away what is left of them: it begins to close at the
# first radius and is shut at the second, both as fractions of the width of the array.
APERTURE_RADII = (0.36, 0.47)
# The largest part of the light that this aperture may take; more means that the spot is too large.
MOST_CUT = 0.05


def make_probe(config: SimulationConfig, rng: np.random.Generator) -> Complex:
    """The probe modes (P, N, N) complex128, orthogonal, with ``sum(abs(probe)**2) = 1``.

    A simulated probe has its centre of mass at [N/2, N/2]; one from a file stays where it is.

    Raises
    ------
    InputError
        When a simulated probe does not fit into the array, or the probe file cannot be used.
    """
    tilt = rng.uniform(0, 2 * np.pi, 3)  # directions of astigmatism, coma and the higher modes
    if config.probe == "file":
        modes = _read_probe(config)
        if len(modes) > 1:
            return modes / np.sqrt((np.abs(modes) ** 2).sum())
        first = modes[0]
    else:
        first = focused_pupil(config, tilt[0], tilt[1])
    return incoherent_modes(first, config.modes, config.mode_decay, tilt[2])


def focused_pupil(config: SimulationConfig, astigmatism_angle: float, coma_angle: float) -> Complex:
    """The coherent probe (N, N) of unit power in the sample plane."""
    n = config.N
    edge = config.diameter * n / 2  # radius of the pupil in frequency pixels
    q = np.arange(n) - n // 2
    radius = np.hypot(q[:, None], q[None, :])
    theta = np.arctan2(q[:, None], q[None, :])
    rho = radius / edge
    spot_radius = config.defocus * n / 2
    w_defocus = spot_radius * (edge / n) / 2
    wavefront = (
        w_defocus * rho**2
        + config.astigmatism * rho**2 * np.cos(2 * (theta - astigmatism_angle))
        + config.coma * (3 * rho**3 - 2 * rho) * np.cos(theta - coma_angle)
    )
    field = focus(_pupil(config, radius, edge) * np.exp(2j * np.pi * wavefront))
    return _confined(_centre(field))


def _pupil(
    config: SimulationConfig, radius: NDArray[np.float64], edge: float
) -> NDArray[np.float64]:
    from scipy.special import erf

    if config.probe == "gaussian":
        # exp(-2 r^2/edge^2) is the intensity: 1/e^2 at the edge.
        amplitude: NDArray[np.float64] = np.exp(-((radius / edge) ** 2))
    else:
        amplitude = (1 - erf((radius - edge) / (np.sqrt(2) * EDGE_SOFTNESS))) / 2
    if config.central_stop > 0:
        inner = config.central_stop * edge
        amplitude = amplitude * (1 + erf((radius - inner) / (np.sqrt(2) * EDGE_SOFTNESS))) / 2
    return amplitude


def _centre(field: Complex) -> Complex:
    """Move the centre of mass of abs(field)^2 to [N/2, N/2]. Coma displaces it."""
    n = field.shape[-1]
    u = np.arange(n) - n // 2
    weight = np.abs(field) ** 2 / (np.abs(field) ** 2).sum()
    centre = np.array(((weight.sum(axis=1) * u).sum(), (weight.sum(axis=0) * u).sum()))
    return np.asarray(fourier_shift(NumpyOps(), field, -centre), np.complex128)


def _confined(field: Complex) -> Complex:
    """The field behind the aperture at the sample: unit power, zero at the border of the array."""
    n = field.shape[-1]
    u = np.arange(n) - n // 2
    open_until, shut_from = (fraction * n for fraction in APERTURE_RADII)
    closing = (np.hypot(u[:, None], u[None, :]) - open_until) / (shut_from - open_until)
    cut = field * np.cos(np.pi / 2 * np.clip(closing, 0, 1)) ** 2
    lost = 1 - (np.abs(cut) ** 2).sum() / (np.abs(field) ** 2).sum()
    if lost > MOST_CUT:
        raise InputError(
            f"the probe must fit into a circle of radius {open_until:.0f} px in its array of "
            f"{n} px, received one with {100 * lost:.2g} % of its power outside; lower defocus, "
            "coma or astigmatism, or enlarge a small pupil."
        )
    return _centre(cut / np.linalg.norm(cut))


def incoherent_modes(first: Complex, count: int, decay: float, angle: float) -> Complex:
    """Orthogonal modes (count, N, N) of total power 1 (see
    :func:`ptychopinn.probes.modes.hermite_like`), each with ``decay`` times the power of the one
    before."""
    weights = decay ** np.arange(count)
    amplitudes = np.sqrt(weights / weights.sum())
    return hermite_like(first, count, angle) * amplitudes[:, None, None]


def _read_probe(config: SimulationConfig) -> Complex:
    """All modes in the file, (P, N, N), strongest first is not assumed."""
    assert config.probe_file is not None  # guaranteed by the schema
    probe = read_array(config.probe_file, ("probe", "probeGuess")).astype(np.complex128)
    while probe.ndim > 3 and probe.shape[0] == 1:
        probe = probe[0]
    if probe.ndim == 2:
        probe = probe[None]
    n = config.N
    if probe.ndim != 3 or probe.shape[1:] != (n, n) or len(probe) == 0:
        raise InputError(
            f"the probe in '{config.probe_file}' must have shape (N, N) or (P, N, N) with N = {n}, "
            f"received {probe.shape}; set N to the width of the probe."
        )
    if not probe.any():
        raise InputError(
            f"the probe in '{config.probe_file}' must not be zero everywhere, received one that "
            "is; check the file."
        )
    if len(probe) > 1 and config.modes not in (1, len(probe)):
        raise InputError(
            f"the probe in '{config.probe_file}' has {len(probe)} modes, which are all used, "
            f"received modes = {config.modes}; leave the option out."
        )
    return probe
