"""A probe that is given where the detector is: its Fourier transform belongs to the sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptychopinn.checks.base import Look, Mend, finding, likeness
from ptychopinn.checks.trial_fits import FEWEST, explained_by, neighbours, residuals_of, trial_of
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops

NAME = "probe-plane"
# What turns the given probe (P, N, N) into that at the sample; pixel [N/2, N/2] stays the middle.
TRANSFORMS = {"inverse": np.fft.ifft2, "forward": np.fft.fft2}
# Passes with the probe held. A transform is believed that leaves this share of what the given probe
# leaves, and explains this share of what distinguishes the patterns; the modulus of the mean
# pattern is no less like that of the given probe, by this much.
PASSES, BELIEVED, EXPLAINS, AS_ALIKE = 10, 0.35, 0.5, 0.02


def plane(xp: Ops, scan: Scan) -> Finding | None:
    """A finding where the Fourier transform of the probe explains patterns that the probe does not.

    The mean pattern of such a scan looks like the probe itself, which is looked at first.
    """
    if scan.M < FEWEST or not scan.propagator.measures_momentum:
        return None
    look = Look(scan)
    mean = np.sqrt(np.where(look.good, look.mean, 0))
    there, here = (
        likeness(mean, np.where(look.good, np.sqrt(intensity), 0))
        for intensity in (look.vacuum, (np.abs(scan.probe) ** 2).sum(axis=0))
    )
    if here < there - AS_ALIKE:
        return None
    numbers = neighbours(scan)

    mends = {name: mend_of_plane({"probe": name}, scan) for name in TRANSFORMS}
    parts = [trial_of(mend.of(scan), numbers) for mend in (Mend(), *mends.values())]
    given, *left = residuals_of(xp, parts, PASSES, free_probe=False)
    others = dict(zip(mends, left, strict=True))
    name = min(others, key=others.__getitem__)
    if not others[name] <= BELIEVED * given:
        return None
    if not explained_by(trial_of(mends[name].of(scan), numbers), others[name]) >= EXPLAINS:
        return None
    return finding(
        NAME, "mended",
        f"the probe was given in the plane of the detector: with its {name} Fourier transform some "
        f"patterns around the middle leave a residual of {others[name]:.4f}, as given {given:.4f}.",
        probe=name, residual=others[name], residual_as_given=given,
        words=f"the {name} Fourier transform of the probe",
    )  # fmt: skip


def mend_of_plane(details: Any, scan: Scan) -> Mend:
    """The probe at the sample, of the same power."""
    if details["probe"] not in TRANSFORMS:
        return Mend()
    middle = np.fft.ifftshift(scan.probe.astype(np.complex128), axes=(1, 2))
    field = np.fft.fftshift(TRANSFORMS[str(details["probe"])](middle), axes=(1, 2))
    power = np.sqrt((np.abs(scan.probe) ** 2).sum() / (np.abs(field) ** 2).sum())
    return Mend(probe=(power * field).astype(np.complex64))
