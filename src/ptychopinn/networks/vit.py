"""A vision transformer (Dosovitskiy et al., ICLR 2021) as a patch network.

The pattern is cut into squares of ``vit_patch`` pixels; each becomes a token of ``vit_width``
channels, to which its learned place is added. ``vit_depth`` blocks follow, x + attention(norm(x))
and x + mlp(norm(x)), whose last matrices are zero at first, so that training begins with a shallow
network. Every token then becomes the features of a square of the object, which one convolution
joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.heads import TrunkConfig
from ptychopinn.networks.spec import Builder

# Channels of a pixel behind the tokens, and how much wider the mlp is in between.
FEATURES, WIDER = 16, 4


@architecture
class VitConfig(TrunkConfig):
    """Options of the transformer."""

    width_option: ClassVar[str] = "vit_width"
    about: ClassVar[str] = "vision transformer"
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {"epochs": 50, "batch_size": 4, "learning_rate": 3e-4}
    }

    architecture: Literal["vit"] = "vit"
    vit_patch: int = Field(8, ge=2, le=32, description="pixels of a token's square on each side")
    vit_width: int = Field(256, ge=8, le=2048, description="channels of a token")
    vit_depth: int = Field(12, ge=1, le=48, description="blocks of attention")
    vit_heads: int = Field(8, ge=1, le=64, description="heads of attention; they divide vit_width")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.vit_patch % 2:
            raise ValueError(
                f"vit_patch must be even, as patterns are, received {self.vit_patch}; choose 8"
            )
        if self.vit_width % self.vit_heads:
            raise ValueError(
                f"vit_width must be a multiple of vit_heads, received {self.vit_width} and "
                f"{self.vit_heads}; change one of them"
            )
        return self

    @property
    def multiple(self) -> int:
        return self.vit_patch

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        size, width = self.vit_patch, self.vit_width
        # Places on images of any size are not learned.
        tokens = None if side is None else side // size
        x = b.position("places", b.patchify("tokens", x, width, size), tokens)
        for k in range(self.vit_depth):
            y = b.norm(f"block{k}_norm1", x, "layer")
            y = b.attention(f"block{k}_seen", y, self.vit_heads, initial="zero")
            x = b.add(f"block{k}_sum1", x, y)
            y = b.norm(f"block{k}_norm2", x, "layer")
            y = b.dense(f"block{k}_1", y, WIDER * width, "gelu")
            x = b.add(f"block{k}_sum2", x, b.dense(f"block{k}_2", y, width, initial="zero"))
        x = b.unpatchify("pixels", b.norm("norm", x, "layer"), FEATURES, size)
        return b.conv("join", x, 2 * FEATURES, "gelu")
