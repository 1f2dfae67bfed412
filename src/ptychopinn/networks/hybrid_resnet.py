"""A spectral encoder, a residual bottleneck and an upsampling decoder as a patch network.

Spectral blocks (:mod:`ptychopinn.networks.operators`) at N, N/2 and N/4 pixels, with strided
convolutions between them, gather the pattern; residual blocks x + conv(ReLU(conv(norm(x)))) (He et
al., ECCV 2016; six of them as in the generators of Johnson, Alahi, Fei-Fei, ECCV 2016) turn what is
seen in diffraction into what lies in the object; transposed convolutions go back to N pixels.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.operators import OperatorConfig
from ptychopinn.networks.spec import Builder

LEVELS = 2


@architecture
class HybridResnetConfig(OperatorConfig):
    """Options of the hybrid network."""

    about: ClassVar[str] = "spectral encoder, residual bottleneck, upsampling decoder"

    architecture: Literal["hybrid_resnet"] = "hybrid_resnet"
    fno_blocks: int = Field(
        4,
        ge=3,
        le=32,
        description="spectral blocks, one at N and N/2 pixels each and the others at N/4",
    )
    resnet_blocks: int = Field(6, ge=1, le=32, description="residual blocks at N/4 pixels")
    resnet_width: int | None = Field(
        None, ge=4, le=2048, description="their channels (default: 4 times fno_width)"
    )

    @property
    def multiple(self) -> int:
        return 2**LEVELS

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        width = self.fno_width
        x = self.lifted(b, x)
        for k in range(self.fno_blocks):
            x = self.spectral_block(b, f"block{k}", x, width, side)
            if k < LEVELS:
                side, width = None if side is None else side // 2, 2 * width
                x = b.conv(f"down{k}", x, width, "gelu", stride=2)
        inner = width if self.resnet_width is None else self.resnet_width
        if inner != width:
            x = b.dense("enter", x, inner)
        for k in range(self.resnet_blocks):
            y = b.norm(f"residual{k}_norm", x, "instance")
            y = b.conv(f"residual{k}_1", y, inner, "relu")
            x = b.add(f"residual{k}", x, b.conv(f"residual{k}_2", y, inner))
        for k in range(LEVELS):
            width //= 2
            x = b.activation(f"up{k}_gelu", b.conv_transpose(f"up{k}", x, width), "gelu")
            x = b.conv(f"up{k}_conv", x, width, "gelu")
        return x
