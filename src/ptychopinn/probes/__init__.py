"""A probe to start with: from the optics, from an earlier result, or from the patterns alone."""

from __future__ import annotations

from ptychopinn.probes.modes import orthogonalised, with_modes
from ptychopinn.probes.start import make_start_probe, makes_probe, placeholder, with_start_probe

__all__ = [
    "make_start_probe",
    "makes_probe",
    "orthogonalised",
    "placeholder",
    "with_modes",
    "with_start_probe",
]
