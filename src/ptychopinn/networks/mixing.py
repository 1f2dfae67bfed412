"""The kinds of layers in which a pixel sees the whole image, and the norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.networks.kinds import (
    Initial,
    LayerKind,
    Shape,
    Weights,
    constant,
    demand,
    gain_of,
    layer,
    normal,
    per_channel,
)
from ptychopinn.ops.base import Array, Ops

# --- norms ----------------------------------------------------------------------------------------


@layer
class Norm(LayerKind):
    """Mean 0 and variance 1 over a part of each image, then a learned scale and shift per channel.

    over: instance, the pixels of each channel; group, the pixels and channels of each of ``groups``
    groups of neighbouring channels, with one group of the whole image; layer, the channels of each
    pixel.
    """

    name = "norm"
    over: str
    groups: int = 1
    epsilon: float = 1e-5

    def channels(self, into: Sequence[int]) -> int:
        over, groups = self.over, self.groups
        demand(over in ("instance", "group", "layer"), "over = instance, group or layer", over)
        demand(over == "group" or groups == 1, "groups only with over = group", groups)
        fits = groups >= 1 and into[0] % groups == 0
        demand(fits, f"a number of channels that {groups} groups divide", into[0])
        return into[0]

    def looks(self) -> int | None:
        return 0 if self.over == "layer" else None

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        return {"weight": ((into[0],), constant(1.0)), "bias": ((into[0],), constant(0.0))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image, first = xp.single(x[0]), xp.channels == 1
        shape = xp.shape(image)
        if self.over == "layer":
            axes: tuple[int, ...] = (xp.channels,)
        elif self.over == "instance":
            axes = (2, 3) if first else (1, 2)
        else:
            g = self.groups
            if first:
                image, axes = xp.reshape(image, (shape[0], g, -1, *shape[2:])), (2, 3, 4)
            else:
                image = xp.reshape(image, (*shape[:3], g, shape[3] // g))
                axes = (1, 2, 4)
        centred = image - xp.mean(image, axes)
        variance = xp.mean(xp.square(centred), axes)
        found = xp.reshape(centred / xp.sqrt(variance + self.epsilon), shape)
        return found * per_channel(xp, weights["weight"]) + per_channel(xp, weights["bias"])


# --- spectral convolution -------------------------------------------------------------------------


def small_uniform(number: int) -> Initial:
    """Uniform in [0, 1 / number), as Fourier neural operators start (Li et al., ICLR 2021)."""
    return lambda rng, shape: rng.uniform(0, 1 / number, shape)


def mixed(xp: Ops, spectrum: Array, weight: Array) -> Array:
    """Channels of a block of modes (B, C, h, w), mixed by complex weights (out, C, h, w)."""
    by_mode = xp.permute_dims(spectrum, (2, 3, 0, 1))
    matrices = xp.permute_dims(weight, (2, 3, 1, 0))
    return xp.permute_dims(xp.matmul(by_mode, matrices), (2, 3, 0, 1))


def spectral(xp: Ops, image: Array, low: Array, high: Array | None) -> Array:
    """Real images (B, C, H, W) whose lowest modes are mixed and whose others are dropped.

    ``low`` and ``high`` (out, C, m, m', 2), real and imaginary part, belong to the rows of the
    half spectrum from frequency 0 on and to the last ones, the negative frequencies.
    """
    image = xp.single(image)
    batch, _, height, width = xp.shape(image)
    out, _, rows, columns, _ = low.shape
    spectrum = xp.rfft2(image)
    columns = xp.smaller(columns, width // 2 + 1)

    def block(weight: Array, into: Array) -> Array:
        weight = weight[:, :, :, :columns]
        return mixed(xp, into, xp.complex(weight[..., 0], weight[..., 1]))

    top = xp.smaller(rows, (height + 1) // 2)
    parts = [block(low[:, :, :top], spectrum[:, :, :top, :columns])]
    bottom = 0
    if high is not None:
        bottom = xp.smaller(rows, height // 2)
        # The last weight is that of the frequency -1, on images of all sizes.
        last = spectrum[:, :, height - bottom :, :columns]
        parts.append(block(high[:, :, rows - bottom :], last))
    between = xp.zeros((batch, out, height - top - bottom, columns), parts[0])
    parts.insert(1, between)
    found = xp.pad(xp.concat(parts, axis=2), (0, 0), (0, width // 2 + 1 - columns), "zero")
    return xp.irfft2(found, (height, width))


@dataclass(frozen=True)
class _Spectral(LayerKind):
    reach = None
    filters: int
    modes: int

    def channels(self, into: Sequence[int]) -> int:
        least = min(self.filters, self.modes)
        demand(least >= 1, "positive filters and modes", least)
        return self.filters


@layer
class SpectralConvolution(_Spectral):
    """filters, modes: the frequencies -modes to modes - 1 along y, 0 to modes - 1 along x, as many
    as the image has, are multiplied by learned matrices over the channels."""

    name = "spectral"

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        out, m = self.filters, self.modes
        return {"weight": ((2, out, into[0], m, m, 2), small_uniform(into[0] * out))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        low, high = weights["weight"][0], weights["weight"][1]
        return xp.image_in(spectral(xp, xp.image_out(x[0]), low, high))


@layer
class AxisSpectralConvolution(_Spectral):
    """filters, modes, axis y | x: the same along one axis (Tran et al., ICLR 2023), for the
    frequencies 0 to modes - 1 of each column or row."""

    name = "spectral_axis"
    axis: str

    def channels(self, into: Sequence[int]) -> int:
        demand(self.axis in ("y", "x"), "the axis y or x", self.axis)
        return super().channels(into)

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        out = self.filters
        shape = (out, into[0], self.modes, 2)
        return {"weight": (shape, small_uniform(into[0] * out))}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image = xp.image_out(x[0])
        # (B, C, H, W) to (B, lines, C, pixels of a line) and back.
        there, back = ((0, 3, 1, 2), (0, 2, 3, 1)) if self.axis == "y" else (
            (0, 2, 1, 3), (0, 2, 1, 3)
        )  # fmt: skip
        lines = xp.permute_dims(image, there)
        batch, count, channels, length = xp.shape(lines)
        flat = xp.reshape(lines, (batch * count, channels, 1, length))
        found = spectral(xp, flat, weights["weight"][:, :, None], None)
        found = xp.reshape(found, (batch, count, self.filters, length))
        return xp.image_in(xp.permute_dims(found, back))


# --- attention ------------------------------------------------------------------------------------


@layer
class Attention(LayerKind):
    """heads; initial: he | zero of the last matrix. Self-attention in which every pixel is a token:
    memory grows with the square of the number of pixels, so images are small."""

    name = "attention"
    reach = None
    heads: int = 1
    initial: str = "he"

    def channels(self, into: Sequence[int]) -> int:
        heads = self.heads
        fits = heads >= 1 and into[0] % heads == 0
        demand(fits, f"a number of channels that {heads} heads divide", into[0])
        return into[0]

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        c = into[0]
        return {
            "query_key_value": ((3 * c, c), normal(c, np.sqrt(0.5))),
            "query_key_value_bias": ((3 * c,), constant(0.0)),
            "weight": ((c, c), normal(c, np.sqrt(0.5) * gain_of(self.initial))),
            "bias": ((c,), constant(0.0)),
        }

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image = xp.permute_dims(x[0], (0, 2, 3, 1)) if xp.channels == 1 else x[0]
        batch, height, width, c = xp.shape(image)
        heads = self.heads
        tokens = xp.reshape(image, (batch, height * width, c))
        three = self._dense(xp, tokens, weights["query_key_value"], weights["query_key_value_bias"])
        three = xp.reshape(three, (batch, height * width, 3, heads, c // heads))
        three = xp.permute_dims(three, (2, 0, 3, 1, 4))
        key = xp.permute_dims(three[1], (0, 1, 3, 2))
        share = xp.softmax(xp.matmul(three[0], key) * (c // heads) ** -0.5)
        seen = xp.permute_dims(xp.matmul(share, three[2]), (0, 2, 1, 3))
        seen = xp.reshape(seen, (batch, height * width, c))
        found = self._dense(xp, seen, weights["weight"], weights["bias"])
        found = xp.reshape(found, (batch, height, width, c))
        return xp.permute_dims(found, (0, 3, 1, 2)) if xp.channels == 1 else found

    @staticmethod
    def _dense(xp: Ops, tokens: Array, weight: Array, bias: Array) -> Array:
        return xp.matmul(tokens, xp.permute_dims(weight, (1, 0))) + bias


# --- where a pixel lies ---------------------------------------------------------------------------


@layer
class Position(LayerKind):
    """Add to each pixel what tells its place, since attention alone does not know it.

    side: learned, for images of up to side x side pixels; None: fixed sines and cosines of y and x
    with periods from 2 pi to ``longest`` * 2 pi pixels (Vaswani et al., NeurIPS 2017).
    """

    name = "position"
    reach = None
    side: int | None = None
    longest: float = 1e4

    def channels(self, into: Sequence[int]) -> int:
        side = self.side
        if side is None:
            demand(into[0] % 4 == 0, "a multiple of 4 channels", into[0])
        else:
            demand(side >= 1, "a positive side", side)
        return into[0]

    def parameters(self, into: Sequence[int]) -> dict[str, tuple[Shape, Initial]]:
        side = self.side
        if side is None:
            return {}
        first: Initial = lambda rng, shape: 0.02 * rng.standard_normal(shape)  # noqa: E731
        return {"weight": ((into[0], side, side), first)}

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image, side = xp.image_out(x[0]), self.side
        height, width = xp.shape(image)[2:]
        if side is None:
            return xp.image_in(image + self._waves(xp, image, self.longest))
        # Lengths of a graph under construction are not known yet.
        longest = max((n for n in (height, width) if isinstance(n, int)), default=0)
        if longest > side:
            raise InputError(
                f"the places of pixels were learned for images of up to {side} x {side} pixels "
                f"at this layer, received {height} x {width}; use smaller patterns, or an "
                "architecture without learned places."
            )
        return xp.image_in(image + weights["weight"][:, :height, :width])

    @staticmethod
    def _waves(xp: Ops, image: Array, longest: float) -> Array:
        """(C, H, W): quarters with sin and cos of y, sin and cos of x."""
        _, channels, height, width = xp.shape(image)
        quarter = channels // 4
        rates = xp.asarray(
            (longest ** (-np.arange(quarter) / quarter)).astype(np.float32)
        )[:, None]  # fmt: skip
        rates = xp.astype(rates, image)

        def of(n: Any) -> Array:
            angle = rates * xp.arange(n, image)
            return xp.concat([xp.sin(angle), xp.sin(angle + np.pi / 2)])

        half = (2 * quarter, height, width)
        y = xp.broadcast_to(of(height)[:, :, None], half)
        x = xp.broadcast_to(of(width)[:, None, :], half)
        return xp.concat([y, x])


@layer
class Grid(LayerKind):
    """Two further channels with the place of each pixel, y / height and x / width in [0, 1)."""

    name = "grid"
    reach = None

    def channels(self, into: Sequence[int]) -> int:
        return into[0] + 2

    def run(self, xp: Ops, x: list[Array], weights: Weights) -> Array:
        image = xp.single(xp.image_out(x[0]))
        batch, _, height, width = xp.shape(image)
        one = (batch, 1, height, width)
        y, z = (xp.arange(n, image) / xp.number(n, image) for n in (height, width))
        places = [xp.broadcast_to(y[:, None], one), xp.broadcast_to(z, one)]
        return xp.image_in(xp.concat([image, *places], axis=1))
