"""The U-shaped neural operator U-NO (Rahman, Ross, Azizzadenesheli, TMLR 2023) as a patch network.

The patterns, with the place of each pixel as two further channels, are lifted to w = ``fno_width``
channels and pass four operator layers GELU(spectral(x) + dense(x)) with w, 2w, 2w and w channels,
at N, N/2, N/2 and N pixels. The last one sees the first one's output beside its own input.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from ptychopinn.networks.architecture import architecture
from ptychopinn.networks.operators import OperatorConfig
from ptychopinn.networks.spec import Builder

SCALE = 2


@architecture
class NeuralopUnoConfig(OperatorConfig):
    """Options of the U-shaped operator."""

    about: ClassVar[str] = "U-shaped neural operator"

    architecture: Literal["neuralop_uno"] = "neuralop_uno"

    @property
    def multiple(self) -> int:
        return SCALE

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        width = self.fno_width
        half = None if side is None else side // SCALE

        def operator(name: str, x: str, filters: int, side: int | None) -> str:
            wave = b.spectral(f"{name}_wave", x, filters, self.modes(side))
            both = b.add(f"{name}_both", wave, b.dense(f"{name}_local", x, filters))
            return b.activation(name, both, "gelu")

        x = b.dense("lift_1", b.grid("placed", x), 2 * width, "gelu")
        x = b.dense("lift_2", x, width)
        fine = operator("layer0", x, width, side)
        x = operator("layer1", b.avg_pool("down", fine), 2 * width, half)
        x = operator("layer2", x, 2 * width, half)
        x = b.concat("joined", b.upsample("up", x, SCALE), fine)
        x = operator("layer3", x, width, side)
        return b.dense("project", x, 2 * width, "gelu")
