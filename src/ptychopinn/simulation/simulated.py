"""Objects, probes, positions and counts put together to a scan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import propagator_of
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.physics import forward
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.geometry import canvas_for
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.physics.propagators import Propagator, wavelength_of
from ptychopinn.physics.scaling import check_probe_power, probe_power
from ptychopinn.physics.slices import Slices
from ptychopinn.simulation.config import SimulationConfig
from ptychopinn.simulation.noise import detector_mask, measure
from ptychopinn.simulation.probes import make_probe
from ptychopinn.simulation.scans import make_positions
from ptychopinn.simulation.thick_samples import make_slices

__all__ = ["SimulationConfig", "simulate", "true_slices"]


MARGIN = 4  # object pixels around the outermost patches
BATCH_PIXELS = 1 << 18  # exit-wave pixels held at once: small enough to stay in the cache


def simulate(config: SimulationConfig | None = None, **overrides: Any) -> Scan:
    """Simulate one scan: object, probe, positions, and the counts of the exact forward model.

    Parameters
    ----------
    config : SimulationConfig, optional
        The parameters; the defaults when left out.
    **overrides
        Single parameters, which take precedence over ``config``.

    Returns
    -------
    Scan
        With the true object in ``object``, the true probe in sqrt(counts) in ``probe``, and the
        configuration in ``provenance["simulation"]``. If the stored positions are wrong on purpose
        (``position_error_px``), the true ones are in ``provenance["true_positions_px"]``. Equal
        parameters give equal arrays, bit by bit.

    Raises
    ------
    InputError
        For a parameter that is unknown or out of range, a probe that does not fit its array, or a
        file that cannot be used.
    """
    config = _configured(config, overrides)
    for_object, for_scan, for_errors, for_noise, for_detector = _generators(config)
    n = config.N
    probe = make_probe(config, np.random.default_rng(np.random.SeedSequence(config.probe_seed)))
    true = make_positions(config, for_scan)
    stored = true + config.position_error_px * for_errors.standard_normal(true.shape)
    shape, corner = canvas_for(np.concatenate((true, stored)), n, MARGIN)
    slices = make_slices(config, shape, for_object)
    truth = slices[0] if config.slices == 1 else slices.prod(axis=0)
    # An object from a file can be larger than needed: the scan is put in its middle.
    origin = corner - (np.array(truth.shape) - shape) // 2
    true, stored = true - origin, stored - origin

    place: dict[str, Any] = {
        "pixel_size_m": config.pixel_size_m,
        "energy_eV": config.energy_eV,
        "distance_m": config.distance_m,
        "propagation": config.propagator,
        "focus_distance_m": config.focus_distance_m,
    }
    propagator = propagator_of(SimpleNamespace(**place), n, np.complex128)
    effects, sample = _effects_of(config), (truth if config.slices == 1 else slices)
    expected, mean_power = _expected(sample.astype(np.complex128), probe, true, propagator, effects)
    if mean_power == 0:
        raise InputError(
            "the object must transmit light where it is scanned, received zeros there; "
            "use another object or more patterns."
        )
    scale = config.photons / mean_power
    mask = detector_mask(n, config.dead_pixels, config.beam_stop_px, for_detector)
    counts = measure(
        expected, scale, config.background, mask, for_noise if config.poisson else None
    )
    probe_counts = (np.sqrt(scale) * probe).astype(np.complex64)
    _check_power(probe_counts, counts, mask, propagator)
    provenance: dict[str, Any] = {
        "created_by": f"ptychopinn {_version()}",
        "simulation": config.model_dump(mode="json"),
    }
    if config.position_error_px > 0:
        provenance["true_positions_px"] = true.tolist()
    return Scan(
        diffraction=counts,
        positions_px=stored,
        probe=probe_counts,
        object=truth,
        mask=mask,
        **place,
        name=f"{config.object}-{config.seed}",
        provenance=provenance,
    )


def true_slices(scan: Scan) -> NDArray[np.complex64]:
    """The slices (K, H, W) of the object of a scan of :func:`simulate`, drawn again.

    Raises
    ------
    InputError
        When the scan was not simulated, or has no object.
    """
    made = scan.provenance.get("simulation")
    if made is None or scan.object is None:
        raise InputError(
            f"the scan must be a simulated one with its object, received '{scan.name}'; give the "
            "file that simulate wrote."
        )
    config = _configured(None, dict(made))
    shape = (int(scan.object.shape[0]), int(scan.object.shape[1]))
    return make_slices(config, shape, _generators(config)[0])


def _generators(config: SimulationConfig) -> list[np.random.Generator]:
    """Independent ones, of object, positions, their errors, noise and detector: changing one part
    of the scan leaves the others as they are."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence(config.seed).spawn(5)]


def _effects_of(config: SimulationConfig) -> tuple[Effect, ...]:
    """What the detector does beyond counting photons, and the sample beyond a thin one."""
    spread = (PointSpread(np.array([config.point_spread_px])),) if config.point_spread_px else ()
    if config.slices == 1:
        return spread
    spacing, pixel, energy = config.slice_spacing_m, config.pixel_size_m, config.energy_eV
    assert spacing is not None and pixel is not None and energy is not None  # of the schema
    return (
        *spread,
        Slices.of(config.slices, spacing, pixel, wavelength_of(energy)),
    )


def _expected(
    truth: NDArray[np.complex128],
    probe: NDArray[np.complex128],
    positions: NDArray[np.float64],
    propagator: Propagator,
    effects: tuple[Effect, ...] = (),
) -> tuple[NDArray[np.float32], float]:
    """Patterns (M, N, N) of a probe of unit power, and their mean sum."""
    n = probe.shape[-1]
    expected = np.empty((len(positions), n, n), dtype=np.float32)
    total = 0.0
    batch = max(1, BATCH_PIXELS // probe.size)
    for start in range(0, len(positions), batch):
        part = slice(start, start + batch)
        patterns = forward.intensities(truth, probe, positions[part], (0, 0), propagator, effects)
        total += float(patterns.sum())
        expected[part] = patterns
    return expected, total / len(positions)


def _check_power(
    probe: NDArray[np.complex64],
    counts: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    propagator: Propagator,
) -> None:
    """Refuse a scan that no reader would take, because its probe does not explain its counts."""
    mean = float(counts.sum(dtype=np.float64)) / len(counts)  # masked pixels hold 0
    try:
        check_probe_power(probe, mean, mask, propagator)
    except InputError as error:
        raise InputError(
            f"the counts must come mainly from the probe, received {mean:.4g} counts per pattern "
            f"and a probe of {probe_power(probe, mask, propagator):.4g} counts through vacuum; "
            "lower the background or raise the photons."
        ) from error


def _configured(config: SimulationConfig | None, overrides: dict[str, Any]) -> SimulationConfig:
    if config is not None and not overrides:
        return config
    from ptychopinn.config import validated

    base = {} if config is None else config.model_dump(exclude_unset=True)
    return validated(SimulationConfig, {**base, **overrides})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ptychopinn")
    except PackageNotFoundError:  # run from a source tree
        return "(not installed)"
