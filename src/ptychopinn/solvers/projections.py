"""What patterns ask of their exit waves, by their moduli or by their photons.

With x^2 = (I + e) / (I_hat + e), the modulus projection replaces the modelled modulus by the
measured one and keeps the phase,

    chi = D^-1 [ (x - 1) Psi ].

Where photons are few that is biased: the mean of the square root of a Poisson number lies below the
root of its mean. The gradient of the Poisson likelihood is not (Thibault and Guizar-Sicairos, New
J. Phys. 14, 063004, 2012),

    chi = D^-1 [ (x - 1) min((x + 1) / 2, b) Psi ],

which agrees with the projection to first order in x - 1. Where much more is measured than modelled
the bound b keeps its steps those of the moduli within a factor: 3 where that may be chance, a
photon or a few, and 1.5 where it is not and the model is still wrong.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ptychopinn.ops.base import Array, Ops
from ptychopinn.physics.forward import (
    Passage,
    PatternBatch,
    exits_of,
    into_slices,
    missing,
    modelled,
    spread_out,
)
from ptychopinn.physics.propagators import Propagator

# b in the steps by photons, of pixels with many and with few, and how many times e a few are.
BOLD, BOLDEST, FEW = 1.5, 3.0, 3500.0


class Projection(NamedTuple):
    """What M patterns ask of their exit waves.

    patches, modelled : (M, N, N) of the first slice of the object, and intensities.
    difference, excess : (M, N, N) measured minus modelled moduli, and intensities, of good pixels.
    chi : (M, P, N, N) change of the waves behind it.  back : (K M, N, N) sum_p conj(P_p) chi_p of
        each slice.
    way, exits : through the sample, and (M, P, N, N) change of the waves behind the last slice.
    """

    patches: Array
    modelled: Array
    difference: Array
    excess: Array
    chi: Array
    back: Array
    way: Passage
    exits: Array


def projection(
    xp: Ops,
    propagator: Propagator,
    canvas: Array,
    batch: PatternBatch,
    good: Array,
    e: Any,
    by_photons: Any = (),
) -> Projection:
    """Of a batch with its probes; ``e`` is added to the intensities. By the moduli if
    ``by_photons`` is (), else by the photons."""
    way, fields, model = modelled(xp, propagator, canvas, batch)
    amplitude = xp.sqrt(model + e)
    counts = xp.square(batch.amplitudes) + e
    measured = xp.sqrt(counts)
    difference = missing(xp, batch, measured, amplitude, good)
    share = difference / amplitude
    if not isinstance(by_photons, tuple):
        bold = BOLD + (BOLDEST - BOLD) * xp.astype(counts < FEW * e, amplitude)
        # min(x, y) = -max(-x, -y)
        share = -share * xp.maximum(-0.5 * (measured / amplitude + 1.0), -bold)
    share = spread_out(xp, share, batch)
    exits = exits_of(xp, propagator, xp.scaled(fields, share[:, None]), batch)
    chi, back = into_slices(xp, exits, batch, way)
    # (a - A)(a + A) = a^2 - A^2
    excess = difference * (measured + amplitude)
    return Projection(way.patches[0], model, difference, excess, chi, back, way, exits)
