"""The patch network of the PtychoPINN papers: patterns of a group in, object patches out.

An encoder of conv-conv-pool blocks, then one decoder of conv-conv-upsample blocks each for
amplitude and phase (Hoidn, Mishra, Mehta, Sci. Rep. 13, 22789, 2023). At N = 64 the encoder has
s*(32, 64, 128) filters and the decoders s*(64, 32), with s the ``n_filters_scale``; each doubling
of N adds one level, so the encoder always ends with about 8 x 8 pixels. The decoders end at N/2:
half the field per side is reconstructed at full resolution, which is the oversampling that phase
retrieval needs. Around it the object is 1, or (``probe_big``) comes from four reserved channels at
half the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from ptychopinn.errors import InputError
from ptychopinn.networks.architecture import PatchConfig, architecture
from ptychopinn.networks.spec import Builder, Network

RESERVED = 4
# Amplitudes of the sigmoid head lie in (0, 2): in network units the mean modulus of the object is
# 1.
SIGMOID_RANGE = 2.0
# Bias with which each amplitude head starts at modulus 1 (inverse of the activation).
START_AT_ONE = {"sigmoid": 0.0, "softplus": 0.5413, "swish": 1.2785, "relu": 1.0}


@architecture
class CnnConfig(PatchConfig):
    """Options of the patch network."""

    about: ClassVar[str] = "the published network from patterns to object patches"
    # Larger steps and larger batches drive the network towards one patch for all patterns.
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {"epochs": 50, "batch_size": 4, "learning_rate": 3e-4}
    }

    architecture: Literal["cnn"] = "cnn"
    n_filters_scale: float = Field(2.0, gt=0, le=8, description="multiplies all filter counts")
    amp_activation: Literal["sigmoid", "swish", "softplus", "relu"] = Field(
        "sigmoid", description="activation of the amplitude head"
    )
    pad_object: bool = Field(True, description="the object lives in the central N/2 pixels")
    probe_big: bool = Field(
        True, description="add a low-resolution border around the central N/2 pixels"
    )

    def describe(self) -> Network:
        """Input ``patterns`` (B, C, Np, Np), Np = :func:`padded_size` and C = gridsize^2; outputs
        the amplitude and the phase (radians, in (-pi, pi)) of the C patches, (B, C, Np, Np) each.

        Raises
        ------
        InputError
            When ``N`` is not set, or ``pad_object`` is off together with ``probe_big``.
        """
        if self.N is None:
            raise InputError(
                "the patch network must know the pattern size, received N=None; set N."
            )
        if self.probe_big and not self.pad_object:
            raise InputError(
                "probe_big adds a border around the padded object, received probe_big with "
                "pad_object off; switch one of them."
            )
        b = Builder()
        channels = self.gridsize**2
        levels = ladder(self.N)
        size = padded_size(self.N)

        def filters(base: float) -> int:
            return max(RESERVED + 1, round(self.n_filters_scale * base))

        top = 128
        x = "patterns"
        for level in range(levels):
            width = filters(top / 2 ** (levels - 1 - level))
            x = b.conv(f"encoder{level}_1", x, width, "relu")
            x = b.conv(f"encoder{level}_2", x, width, "relu")
            x = b.max_pool(f"encoder{level}_pool", x)
        code = x

        # Without pad_object one more upsampling takes the decoders to the full N.
        widths = [top / 2 ** (k + 1) for k in range(levels - 1)]
        if not self.pad_object:
            widths.append(top / 2**levels)
        outputs = []
        for part in ("amplitude", "phase"):
            x = code
            for step, base in enumerate(widths):
                x = b.conv(f"{part}{step}_1", x, filters(base), "relu")
                x = b.conv(f"{part}{step}_2", x, filters(base), "relu")
                x = b.upsample(f"{part}{step}_up", x)
            last = filters(widths[-1])
            bias = START_AT_ONE[self.amp_activation] if part == "amplitude" else 0.0
            if not self.pad_object:
                x = b.conv(f"{part}_head", x, channels, initial="zero", bias=bias)
                outputs.append(_head(b, part, part, x, self))
                continue
            inner = x
            if self.probe_big:
                inner = b.channels(f"{part}_centre", x, 0, last - RESERVED)
            y = b.conv(f"{part}_head", inner, channels, initial="zero", bias=bias)
            y = _head(b, f"{part}_inner", part, y, self)
            frame = size // 4
            if self.probe_big:
                rim = b.channels(f"{part}_rim", x, last - RESERVED, last)
                rim = b.upsample(f"{part}_rim_up", rim)
                rim = b.conv(f"{part}_rim_head", rim, channels, initial="zero", bias=bias)
                rim = _head(b, f"{part}_outer", part, rim, self)
                rim = b.border(f"{part}_border", rim, frame)
                y = b.pad(f"{part}_pad", y, frame, 0.0)
                y = b.add(part, y, rim)
            else:
                y = b.pad(part, y, frame, 1.0 if part == "amplitude" else 0.0)
            outputs.append(y)
        return Network(
            inputs={"patterns": channels},
            layers=tuple(b.layers),
            outputs=tuple(outputs),
            multiple_of=2**levels,
        )


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


def _head(b: Builder, name: str, part: str, x: str, config: CnnConfig) -> str:
    if part == "phase":
        return b.scale(name, b.activation(f"{name}_tanh", x, "tanh"), 3.141592653589793)
    function = config.amp_activation
    y = b.activation(f"{name}_{function}", x, function)
    return b.scale(name, y, SIGMOID_RANGE if function == "sigmoid" else 1.0)
