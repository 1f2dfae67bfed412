"""Is there a weak background where the residual is that of noise, or nearly?

A few counts in every pixel are hidden in the noise of the moduli, and an object makes up for most
of them; yet they spoil it, because the finest details write as little. What is left in the dark of
the mean pattern asks for a trial, and the likelihood of counted photons decides.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptychopinn.checks.trial_fits import FEWEST, LIMIT_BYTES, neighbours
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.prediction import effects_of
from ptychopinn.evaluation.signs import signs_of
from ptychopinn.ops.base import Ops
from ptychopinn.physics.background import Background
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.forward import predict
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.beyond_probe import in_network_units

# In the dark the mean pattern has at least this share of all counts above the model, and so many
# standard deviations; a probe that was refined hides all but a twentieth of a background. Below
# that share, of very many photons, one only makes up for an object that is not finished.
LEAST, SIGMA = 1e-4, 20.0
PASSES = 16
# A background is believed when it raises the likelihood (-2 log L) by so much more than its pixels.
LIKELIER = 40.0
# Patterns that are modelled at once.
BATCH = 16


def weak_background(xp: Ops, scan: Scan, result: Reconstruction) -> tuple[float, float] | None:
    """The residual of some patterns around the middle, and what it would be if it fell as the
    likelihood rises with a background, where that is clearly more; None elsewhere.

    Parameters
    ----------
    scan : the patterns, with the probe and the positions of a result that is good otherwise.
    """
    fit = result.fit
    assert fit is not None  # every verb states it
    signs = signs_of(fit)
    dark = signs.background >= LEAST and signs.background_sigma >= SIGMA
    # Noise of reading lifts the dark, and has its own likelihood.
    if not dark or Background.name in result.effects or fit.noise.readout > 0 or scan.M < FEWEST:
        return None
    numbers = neighbours(scan)
    chosen = replace(scan.select(numbers), object=None)
    part = prepare(chosen)
    here = in_network_units([effect.chosen(numbers) for effect in effects_of(result)], part)
    power, photon = part.input_scale**2, fit.noise.photon
    good = chosen.good_pixels
    counts = np.asarray(chosen.diffraction, np.float64)
    saturated = np.zeros(counts.shape, bool)
    if chosen.saturation is not None:
        saturated = counts >= chosen.saturation
    counted = good & ~saturated

    def left(*further: Effect) -> tuple[float, float]:
        config = PhysicsConfig(passes=PASSES, stagnation=0.0)
        solver = PhysicsSolver(xp, config, LIMIT_BYTES, effects=(*here.values(), *further))
        solved = solver.solve(part)
        canvas = solved.canvas
        with xp.running():
            model = predict(
                xp, canvas.object, part.probe, part.scan.positions_px, canvas.origin_px,
                part.propagator, BATCH, solved.effects,
            )  # fmt: skip
            frames = np.concatenate([intensities for _, intensities in model]) / power
        frames = np.maximum(frames.astype(np.float64), 1e-3 * photon)
        likelihood = float(2 * (frames - counts * np.log(frames))[counted].sum() / photon)
        return float(canvas.losses[-1]), likelihood

    given, before = left()
    _, after = left(Background.none(chosen.positions_px, chosen.N))
    gain = before - after
    if gain <= LIKELIER + good.sum():
        return None
    return given, given - gain * photon / (4 * float(counts[:, good].sum()))
