"""What the neural operators among the patch networks share: their options, the first layers, the
spectral block and the refiners.

A spectral convolution multiplies the lowest spatial frequencies of an image by learned matrices
over its channels, so every pixel sees the whole image in one layer (Li et al., ICLR 2021). A
diffraction pattern is the transform of what it is to become, which no single place of it tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ptychopinn.networks.heads import TrunkConfig
from ptychopinn.networks.spec import Builder


class OperatorConfig(TrunkConfig):
    """Options of networks with spectral convolutions."""

    width_option: ClassVar[str] = "fno_width"
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {"epochs": 50, "batch_size": 4, "learning_rate": 1e-3}
    }

    fno_modes: int = Field(
        12,
        ge=1,
        le=256,
        description="spatial frequencies that a spectral convolution keeps along each axis; "
        "images of S pixels have S/2, and no more are kept",
    )
    fno_width: int = Field(32, ge=4, le=512, description="channels of the first layers")
    fno_input_transform: Literal["none", "sqrt", "log1p", "instancenorm"] = Field(
        "none",
        description="what is done to the amplitudes before the first layer: nothing, the square "
        "root, log(1 + x), or mean 0 and variance 1 for each pattern",
    )

    def modes(self, side: int | None) -> int:
        """Frequencies that are kept along an axis of ``side`` pixels."""
        return self.fno_modes if side is None else max(1, min(self.fno_modes, side // 2))

    def prepared(self, b: Builder, x: str) -> str:
        if self.fno_input_transform == "none":
            return x
        if self.fno_input_transform == "instancenorm":
            return b.norm("transformed", x, "instance")
        return b.compress("transformed", x, self.fno_input_transform)

    def lifted(self, b: Builder, x: str) -> str:
        """The image ``x`` in ``fno_width`` channels: two convolutions, each followed by GELU."""
        x = b.conv("lift_1", x, self.fno_width, "gelu")
        return b.conv("lift_2", x, self.fno_width, "gelu")

    def spectral_block(self, b: Builder, name: str, x: str, width: int, side: int | None) -> str:
        """x + GELU(spectral(x) + conv3x3(x)) of an image of ``side`` pixels and ``width``
        channels."""
        wave = b.spectral(f"{name}_wave", x, width, self.modes(side))
        both = b.add(f"{name}_both", wave, b.conv(f"{name}_local", x, width))
        return b.add(name, x, b.activation(f"{name}_gelu", both, "gelu"))


def refined(b: Builder, x: str, width: int, blocks: int) -> str:
    """x + conv3x3(GELU(conv3x3(x))), ``blocks`` times: what is finer than the kept frequencies."""
    for k in range(blocks):
        y = b.conv(f"refine{k}_1", x, width, "gelu")
        x = b.add(f"refine{k}", x, b.conv(f"refine{k}_2", y, width))
    return x
