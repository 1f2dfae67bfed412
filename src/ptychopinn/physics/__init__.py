"""The physics of the experiment, over the operations of any framework; importing this package makes
those effects of beam, sample and detector known that come with it."""

from ptychopinn.physics import (
    background,
    beam_current,
    moving_exposure,
    pattern_shift,
    point_spread,
    slices,
    varying_probe,
)

__all__ = [
    "background",
    "beam_current",
    "moving_exposure",
    "pattern_shift",
    "point_spread",
    "slices",
    "varying_probe",
]
