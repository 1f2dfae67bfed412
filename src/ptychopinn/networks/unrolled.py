"""The learned part of the canvas network: a corrector of the object after each pass of the physics
(:mod:`ptychopinn.solvers.unrolled`), and the steps, momenta, phase gains and dampings of its
updates (:mod:`ptychopinn.solvers.descent`).

The corrector is a small U-Net, or the trunk of a patch network. It works on blocks of 2 x 2 pixels.
Nothing depends on N, on the canvas size, the probe or the number of patterns.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, cast

import numpy as np
from pydantic import Field, model_validator

from ptychopinn.errors import shown
from ptychopinn.networks.architecture import CanvasConfig, ModelConfig, architecture
from ptychopinn.networks.build import Weights
from ptychopinn.networks.heads import TrunkConfig
from ptychopinn.networks.spec import Builder, Network
from ptychopinn.schema import either

CANVAS_CHANNELS = (
    "object_re",
    "object_im",
    "velocity_re",
    "velocity_im",
    "illumination",
    "noise",
    "misfit",
)
BLOCK = 2
# The corrector of the network that comes with the package.
UNET = "unet"
# Where training starts: steps that converge for every object and probe that was tried.
STEP, PHASE_GAIN, DAMP = 0.7, 0.4, 0.05


@architecture
class UnrolledConfig(CanvasConfig):
    """Options of the canvas network: K = ``iterations``, U = ``updates``, initial m of every update
    = ``momentum``. The finest of the ``levels`` has blocks of 2 x 2 pixels, each coarser one half
    as many per side. Another corrector than the U-Net is the trunk of that architecture with
    ``width`` channels, whose other options are ``corrector_options``."""

    about: ClassVar[str] = "physics steps and a learned correction on the object canvas"

    architecture: Literal["unrolled"] = "unrolled"
    iterations: int = Field(3, ge=1, le=64, description="passes over the patterns")
    updates: int = Field(4, ge=1, le=16, description="updates of the object in a pass")
    width: int = Field(32, ge=4, le=256, description="channels of the correction")
    levels: int = Field(4, ge=1, le=6, description="resolutions of the correction, in the U-Net")
    corrector: str = Field(
        UNET,
        description="what corrects the object: unet, or a patch network that makes images of "
        "images: fno, fno_vanilla, ffno, neuralop_uno, hybrid_resnet, vit",
    )
    corrector_options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="options of a corrector that is not the U-Net"
    )
    momentum: float = Field(0.7, ge=0, lt=1, description="initial momentum")

    @model_validator(mode="after")
    def _corrector_is_known(self) -> Self:
        trunks = [name for name, kind in ModelConfig.kinds.items() if issubclass(kind, TrunkConfig)]
        if self.corrector not in (UNET, *trunks):
            raise ValueError(
                f"the corrector must be {either([UNET, *trunks])}, received "
                f"{shown(self.corrector)}; choose one of them"
            )
        if self.corrector == UNET and self.corrector_options:
            raise ValueError(
                "corrector_options are those of another corrector than unet, received "
                f"{', '.join(self.corrector_options)}; leave them out, or choose a corrector"
            )
        # What its options say of each other, they say here.
        assert self._trunk is None or self._trunk.multiple > 0
        return self

    @property
    def passes(self) -> int:
        return self.iterations

    def describe(self) -> Network:
        """Input ``canvas`` (B, 7, H, W) as in ``CANVAS_CHANNELS``; output the correction of the
        object (B, 2, H, W), real and imaginary part."""
        iterations = self.iterations
        b = Builder()
        x = b.space_to_depth("blocks", "canvas", BLOCK)
        trunk = self._trunk
        x = self._unet(b, x) if trunk is None else trunk.trunk(b, trunk.prepared(b, x), None)
        x = b.conv("out", x, 2 * BLOCK**2, initial="zero")
        x = b.depth_to_space("correction", x, BLOCK)
        every = iterations * self.updates
        return Network(
            inputs={"canvas": len(CANVAS_CHANNELS)},
            layers=tuple(b.layers),
            outputs=(x,),
            vectors={
                "step": (STEP,) * every,
                "momentum": (self.momentum,) * every,
                "phase_gain": (PHASE_GAIN,) * every,
                "damp": (DAMP,) * every,
                "gain": (1.0,) * iterations,
            },
            multiple_of=BLOCK * (2 ** (self.levels - 1) if trunk is None else trunk.multiple),
        )

    @property
    def _trunk(self) -> TrunkConfig | None:
        """The options of the corrector; None for the U-Net."""
        if self.corrector == UNET:
            return None
        kind = ModelConfig.kinds[self.corrector]
        options = {kind.width_option: self.width, **self.corrector_options}
        return cast(TrunkConfig, kind(**options))

    def _unet(self, b: Builder, x: str) -> str:
        """The features that the U-Net makes of blocks ``x``."""
        width, levels = self.width, self.levels
        skips: list[str] = []
        x = b.conv("enter", x, width, "relu")
        for level in range(levels - 1):
            x = b.conv(f"down{level}", x, width, "relu")
            skips.append(x)
            x = b.avg_pool(f"pool{level}", x)
        x = b.conv("bottom_1", x, width, "relu")
        x = b.conv("bottom_2", x, width, "relu", dilation=2)
        for level in reversed(range(levels - 1)):
            x = b.upsample(f"up{level}", x)
            x = b.concat(f"join{level}", x, skips[level])
            x = b.conv(f"merge{level}", x, width, "relu")
        return x


def with_further_passes(
    weights: Weights, earlier: ModelConfig, config: ModelConfig
) -> Weights | None:
    """The weights of a network for one with more passes, each of which begins as the last one is;
    None where that is not all they differ in."""
    if not isinstance(earlier, UnrolledConfig) or not isinstance(config, UnrolledConfig):
        return None
    further = config.iterations - earlier.iterations
    same = config.model_copy(update={"iterations": earlier.iterations}) == earlier
    if further < 0 or not same:
        return None
    found = dict(weights)
    for name, values in earlier.describe().vectors.items():
        last = weights[name][-(len(values) // earlier.iterations) :]
        found[name] = np.concatenate((weights[name], np.tile(last, further)))
    return found
