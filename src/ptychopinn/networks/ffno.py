"""The factorised Fourier neural operator (Tran, Mathews, Xie, Ong, ICLR 2023) as a patch network.

A block mixes the frequencies of the columns and those of the rows by matrices of their own, adds
both, and passes the sum through two matrices over the channels with GELU between them, beside x
itself. What a block learns grows with the number of modes and not with its square. Local refiners
follow.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.operators import OperatorConfig, refined
from ptychopinn.networks.spec import Builder

# The two matrices of a block widen by this in between.
WIDER = 2


@architecture
class FfnoConfig(OperatorConfig):
    """Options of the factorised operator."""

    about: ClassVar[str] = "Fourier neural operator that mixes each axis alone"

    architecture: Literal["ffno"] = "ffno"
    fno_blocks: int = Field(4, ge=1, le=32, description="spectral blocks")
    fno_cnn_blocks: int = Field(
        2, ge=0, le=32, description="convolutional blocks that refine what the operator gives"
    )

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        modes, width = self.modes(side), self.fno_width
        x = self.lifted(b, x)
        for k in range(self.fno_blocks):
            columns = b.spectral_axis(f"block{k}_y", x, width, modes, "y")
            rows = b.spectral_axis(f"block{k}_x", x, width, modes, "x")
            y = b.add(f"block{k}_both", columns, rows)
            y = b.dense(f"block{k}_1", y, WIDER * width, "gelu")
            x = b.add(f"block{k}", x, b.dense(f"block{k}_2", y, width))
        return refined(b, x, width, self.fno_cnn_blocks)
