"""The patch network of the PtychoPINN papers: patterns of a group in, object patches out.

An encoder of conv-conv-pool blocks, then one decoder of conv-conv-upsample blocks each for
amplitude and phase (Hoidn, Mishra, Mehta, Sci. Rep. 13, 22789, 2023). At N = 64 the encoder has
s*(32, 64, 128) filters and the decoders s*(64, 32), with s the ``n_filters_scale``; each doubling
of N adds one level, so the encoder always ends with about 8 x 8 pixels. The decoders end at N/2:
half the field per side is reconstructed at full resolution, which is the oversampling that phase
retrieval needs. Around it the object is 1, or (``probe_big``) comes from four reserved channels at
half the resolution.

Five sixths of that work are the encoder's, most of it on large images, though no place of a pattern
tells of a place of the object. With the ``stem`` space_to_depth the encoder therefore begins where
the published one ends: squares of N/8 x N/8 pixels become the channels of an image of about 8 x 8
pixels, which loses nothing, and two convolutions with s*128 filters follow. The decoders have half
of the filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ptychopinn.errors import InputError
from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.heads import HEADS_IN_WORDS, PATTERNS, Head, HeadConfig, Part
from ptychopinn.networks.spec import Builder, Network

RESERVED = 4
# Filters of the last level of the encoder.
WIDEST = 128


@architecture
class CnnConfig(HeadConfig):
    """Options of the patch network."""

    about: ClassVar[str] = "the published network from patterns to object patches"
    # Larger steps and larger batches drive the network towards one patch for all patterns.
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {"epochs": 50, "batch_size": 4, "learning_rate": 3e-4}
    }

    architecture: Literal["cnn"] = "cnn"
    unnamed: ClassVar[Mapping[str, Any]] = {"stem": "convolution", "head": "amplitude_phase"}
    # Measured to be better with this network; see docs/performance.md.
    head: Head = Field("cos_sin", description=HEADS_IN_WORDS)
    stem: Literal["space_to_depth", "convolution"] = Field(
        "space_to_depth",
        description="space_to_depth: squares of N/8 x N/8 pixels become channels before the first "
        "convolution; convolution: the network as it was published, about seven times slower",
    )
    n_filters_scale: float = Field(2.0, gt=0, le=8, description="multiplies all filter counts")
    pad_object: bool = Field(True, description="the object lives in the central N/2 pixels")
    probe_big: bool = Field(
        True, description="add a low-resolution border around the central N/2 pixels"
    )

    def describe(self) -> Network:
        """Input ``patterns`` (B, C, Np, Np), Np = :func:`padded_size` and C = gridsize^2, and
        where it is asked for ``probe`` (B, 4, Np, Np); outputs as in
        :mod:`ptychopinn.networks.heads`, (B, C, Np, Np) each.

        Raises
        ------
        InputError
            When ``N`` is not set, or ``pad_object`` is off together with ``probe_big``.
        """
        if self.probe_big and not self.pad_object:
            raise InputError(
                "probe_big adds a border around the padded object, received probe_big with "
                "pad_object off; switch one of them."
            )
        b = Builder()
        levels = ladder(self.side())
        size = self.side(2**levels)

        published = self.stem == "convolution"
        code = self._encoder(b, levels) if published else self._squares(b, levels)
        # Without pad_object one more upsampling takes the decoders to the full N.
        steps = levels - 1 if self.pad_object else levels
        top = WIDEST if published else WIDEST / 2
        widths = [self._filters(top / 2 ** (k + 1)) for k in range(steps)]
        images: dict[str, str] = {}
        for trunk in ("amplitude", "phase"):
            x = code
            for step, width in enumerate(widths):
                x = b.conv(f"{trunk}{step}_1", x, width, "relu")
                x = b.conv(f"{trunk}{step}_2", x, width, "relu")
                x = b.upsample(f"{trunk}{step}_up", x)
            for part in self.parts:
                if part.trunk == trunk:
                    images[part.name] = self._image(b, part, x, widths[-1], size)
        return self.network(b, images, 2**levels)

    def _filters(self, base: float) -> int:
        return max(RESERVED + 1, round(self.n_filters_scale * base))

    def _encoder(self, b: Builder, levels: int) -> str:
        """The published one."""
        x = self.with_probe(b, PATTERNS)
        for level in range(levels):
            width = self._filters(WIDEST / 2 ** (levels - 1 - level))
            x = b.conv(f"encoder{level}_1", x, width, "relu")
            x = b.conv(f"encoder{level}_2", x, width, "relu")
            x = b.max_pool(f"encoder{level}_pool", x)
        return x

    def _squares(self, b: Builder, levels: int) -> str:
        """The one that begins with images as small as the published one ends with."""
        x = b.space_to_depth("squares", self.with_probe(b, PATTERNS), 2**levels)
        x = b.conv("encoder_1", x, self._filters(WIDEST), "relu")
        return b.conv("encoder_2", x, self._filters(WIDEST), "relu")

    def _image(self, b: Builder, part: Part, x: str, last: int, size: int) -> str:
        """A part of the object, ``size`` pixels wide, from the ``last`` channels of its decoder."""
        channels, name = self.patterns_per_group, part.name

        def head(which: str, x: str) -> str:
            return b.conv(which, x, channels, initial="zero", bias=part.bias)

        if not self.pad_object:
            return part.finished(b, f"{name}_full", head(f"{name}_head", x))
        inner, frame = x, size // 4
        if self.probe_big:
            inner = b.channels(f"{name}_centre", x, 0, last - RESERVED)
        y = part.finished(b, f"{name}_inner", head(f"{name}_head", inner))
        if not self.probe_big:
            return b.pad(f"{name}_full", y, frame, part.rest)
        rim = b.channels(f"{name}_rim", x, last - RESERVED, last)
        rim = b.upsample(f"{name}_rim_up", rim)
        rim = part.finished(b, f"{name}_outer", head(f"{name}_rim_head", rim))
        y = b.pad(f"{name}_pad", y, frame, 0.0)
        return b.add(f"{name}_full", y, b.border(f"{name}_border", rim, frame))


def ladder(n: int) -> int:
    """Number of poolings for pattern size n: 2 at 32, 3 at 64, 4 at 128, 5 at 256, 6 at 512."""
    levels = 1
    while 8 * 2 ** (levels + 1) <= n:
        levels += 1
    return levels


def padded_size(n: int) -> int:
    """Pattern size after padding with empty pixels to a multiple of 2**ladder(n)."""
    multiple = 2 ** ladder(n)
    return -(-n // multiple) * multiple
