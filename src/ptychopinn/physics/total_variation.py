"""A prior for objects that few photons saw: small total variation.

    u = argmin_u  1/2 sum |u - v|^2 + sum_x t(x) |grad u|(x),
    |grad u|^2 = |u(y+1, x) - u(y, x)|^2 + |u(y, x+1) - u(y, x)|^2

for the complex object v, by projected gradients of the dual problem (Chambolle, J. Math. Imaging
Vision 20, 89, 2004). Edges stay, noise does not. The thresholds are t = w s^2 / L with the
illumination L and the standard deviation s of an amplitude, s^2 / L being the variance that photon
noise alone gives a pixel of the object, and w the weight of the prior: where gradients of 2 / w per
pixel are usual.
"""

from __future__ import annotations

from typing import Any

from ptychopinn.ops.base import Array, Ops

ITERATIONS = 15
# Share of the strongest illumination that every pixel has at least.
RIM = 0.02
# Where the prior moves pixels by less than this share of their noise it is left out.
NOTHING = 0.1


def matters(weight: float, noise: float, illumination: float) -> bool:
    """Whether the prior does anything, where the strongest ``illumination`` is this and amplitudes
    have this ``noise``."""
    return bool(weight * noise > NOTHING * illumination**0.5)


def thresholds(xp: Ops, illumination: Array, weight: Any, noise: Any) -> Array:
    """t (H, W) from the illumination (H, W)."""
    return weight * noise**2 / (illumination + RIM * xp.max(illumination))


def smoothed(xp: Ops, v: Array, t: Array) -> Array:
    """u (..., H, W) from v (..., H, W) complex and t; opposite borders are neighbours, slices are
    none."""
    least = 1e-12 * xp.max(t)
    down, right = xp.zeros_like(v), xp.zeros_like(v)

    def primal() -> Array:
        return v + (down - xp.roll(down, 1, -2)) + (right - xp.roll(right, 1, -1))

    for _ in range(ITERATIONS):
        u = primal()
        # 8 bounds the squared norm of the gradient.
        down = down + xp.scaled(xp.roll(u, -1, -2) - u, 0.125)
        right = right + xp.scaled(xp.roll(u, -1, -1) - u, 0.125)
        length = xp.sqrt(xp.abs2(down) + xp.abs2(right))
        share = t / (xp.maximum(length - t, 0.0) + t + least)
        down, right = xp.scaled(down, share), xp.scaled(right, share)
    return primal()
