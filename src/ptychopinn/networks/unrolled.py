"""The canvas network: physics steps over all patterns, alternating with a learned correction.

State: the object canvas O and its velocity v. Each of the K iterations takes the physics direction
d (modulus projection averaged over all patterns with the illumination as weight, as in the
difference-map and ePIE family) and a small U-Net on the canvas:

    v <- b_k v + a_k d + c_k U(O, d, v, illumination, misfit);   O <- O + v

The steps a, the momenta b and the gains c are learned per iteration, the U-Net is shared by all of
them. Nothing depends on N, on the canvas size, the probe or the number of patterns.
"""

from __future__ import annotations

from ptychopinn.networks.spec import Builder, Network

# Share of the strongest illumination added to the weight of a physics step, so that dim pixels at
# the rim of the scan take small steps instead of amplifying noise.
RIM = 0.02

CANVAS_CHANNELS = (
    "object_re",
    "object_im",
    "direction_re",
    "direction_im",
    "velocity_re",
    "velocity_im",
    "illumination",
    "misfit",
)


def unrolled_network(iterations: int, width: int, levels: int, momentum: float) -> Network:
    """Describe the learned part of the canvas network.

    Parameters
    ----------
    iterations : number K of physics steps.
    width : channels at full resolution and at every level of the U-Net.
    levels : number of resolutions; each coarser one has half the pixels per side.
    momentum : initial b of every step.
    """
    b = Builder()
    skips: list[str] = []
    x = b.conv("enter", "canvas", width, "relu")
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
    x = b.conv("correction", x, 2, initial="zero")
    return Network(
        inputs={"canvas": len(CANVAS_CHANNELS)},
        layers=tuple(b.layers),
        outputs=(x,),
        vectors={
            "step": (1.0,) * iterations,
            "momentum": (momentum,) * iterations,
            "gain": (1.0,) * iterations,
        },
        multiple_of=2 ** (levels - 1),
    )
