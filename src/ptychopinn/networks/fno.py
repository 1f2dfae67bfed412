"""Fourier neural operators (Li et al., ICLR 2021) as patch networks, with and without local
refiners.

The patterns are lifted to ``fno_width`` channels by two convolutions with GELU, pass
``fno_blocks`` blocks x + GELU(spectral(x) + conv3x3(x)) and a matrix over the channels. ``fno``
then refines with ``fno_cnn_blocks`` convolutional blocks what the kept frequencies are too coarse
for; ``fno_vanilla`` does not.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.operators import OperatorConfig, refined
from ptychopinn.networks.spec import Builder


class FourierConfig(OperatorConfig):
    """Options of both."""

    fno_blocks: int = Field(4, ge=1, le=32, description="spectral blocks")

    @property
    def refiners(self) -> int:
        """Number of convolutional blocks after the spectral ones."""
        return 0

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        width = self.fno_width
        x = self.lifted(b, x)
        for k in range(self.fno_blocks):
            x = self.spectral_block(b, f"block{k}", x, width, side)
        x = b.dense("project", x, width)
        return refined(b, x, width, self.refiners)


@architecture
class FnoConfig(FourierConfig):
    """Options of the operator with refiners."""

    about: ClassVar[str] = "Fourier neural operator with convolutional refiners"

    architecture: Literal["fno"] = "fno"
    fno_cnn_blocks: int = Field(
        2, ge=0, le=32, description="convolutional blocks that refine what the operator gives"
    )

    @property
    def refiners(self) -> int:
        return self.fno_cnn_blocks


@architecture
class FnoVanillaConfig(FourierConfig):
    """Options of the operator alone."""

    about: ClassVar[str] = "Fourier neural operator alone"

    architecture: Literal["fno_vanilla"] = "fno_vanilla"
