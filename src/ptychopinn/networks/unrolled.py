"""The canvas network: passes of physics steps over the patterns, each followed by a learned
correction.

The state is the object canvas O and its velocity v. The patterns are divided into ordered subsets
that each cover the whole scan. A pass makes one update per subset, u = 1..U,

    v <- m_u v + a_u d_u,   (O, v) <- (O, v) exp(i b_u phi_u),   O <- O + v

with d the modulus projection of the patterns of that subset, averaged with the illumination as
weight and damped where photon noise outweighs what is left to find,

    d_u = sum conj(P) chi / (sum |P|^2 + 0.05 max + w_u noise^2),
    chi = F^-1 [ (sqrt(I + e) / sqrt(I_hat + e) - 1) Psi ],

e being a twentieth of a photon, and phi the low-frequency phase that their centres of mass still
miss (ptychopinn.physics.low_frequency). After each of the K passes a small U-Net on the canvas,
shared by all passes, corrects the object,

    O <- O + c_k U(O, v, illumination, noise, misfit).

The steps a, the momenta m, the phase gains b, the dampings w and the gains c are learned. The
U-Net works on blocks of 2 x 2 pixels. Nothing depends on N, on the canvas size, the probe or the
number of patterns.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ptychopinn.networks.architecture import CanvasConfig, architecture
from ptychopinn.networks.spec import Builder, Network

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
# Where training starts: steps that converge for every object and probe that was tried.
STEP, PHASE_GAIN, DAMP = 0.7, 0.4, 0.05
# w in the damping is so many times the learned number, 1 / w being the variance of what is left to
# find: in these units the learned numbers are of order one, like all others.
DAMP_UNIT = 100.0
# Share of the strongest illumination added to the weight of a physics step, so that dim pixels at
# the rim of the scan take small steps instead of amplifying noise.
RIM = 0.05
# Photons added to measured and modelled intensities in the modulus projection. Where hardly a
# photon is expected, the wave's phase is unknown and a photon that arrives must not be followed.
STABILISER = 0.05
# Intensity, in network units, that keeps the ratio finite where no noise is known.
DARK = 1e-12
# Steps of the probe, when it is refined, with the same rule for the weight.
PROBE_STEP, PROBE_MOMENTUM, PROBE_RIM = 1.0, 0.7, 0.05
# Shares of a learned correction that are tried, in this order, before it is rejected.
DAMPING = (1.0, 0.5, 0.25)
# How much the low-frequency phase may raise the misfit, relatively, and is still followed: once
# photon noise dominates it changes the misfit by less than that, either way.
PHASE_TOLERANCE = 1e-3
# Ordered subsets are so large that this many of their patterns overlap, on average.
LEAST_OVERLAP = 1.5
# One in so many patterns of a training sub-scan is left out of the physics steps and judges their
# result, which shows whether the object is right or fits the noise.
LEFT_OUT = 5


@architecture
class UnrolledConfig(CanvasConfig):
    """Options of the canvas network: K = ``iterations``, U = ``updates``, initial m of every update
    = ``momentum``. The finest of the ``levels`` has blocks of 2 x 2 pixels, each coarser one half
    as many per side."""

    about: ClassVar[str] = "physics steps and a learned correction on the object canvas"

    architecture: Literal["unrolled"] = "unrolled"
    iterations: int = Field(3, ge=1, le=64, description="passes over the patterns")
    updates: int = Field(4, ge=1, le=16, description="updates of the object in a pass")
    width: int = Field(32, ge=4, le=256, description="channels of the correction")
    levels: int = Field(4, ge=1, le=6, description="resolutions of the correction")
    momentum: float = Field(0.7, ge=0, lt=1, description="initial momentum")

    @property
    def passes(self) -> int:
        return self.iterations

    def describe(self) -> Network:
        return unrolled_network(self)


def subset_count(overlap: float, patterns: int, updates: int) -> int:
    """How many ordered subsets a scan is divided into, given its mean overlap."""
    return max(1, min(updates, patterns, int(overlap / LEAST_OVERLAP)))


def spare_intensity(noise: Any) -> Any:
    """What is added to intensities in the modulus projection, given the standard deviation of an
    amplitude due to photon noise, half the amplitude of a photon."""
    return STABILISER * (2 * noise) ** 2 + DARK


def unrolled_network(config: UnrolledConfig) -> Network:
    """Describe the learned part of the canvas network.

    Input ``canvas`` (B, 7, H, W) as in ``CANVAS_CHANNELS``; output the correction of the object
    (B, 2, H, W), real and imaginary part.
    """
    iterations, width, levels = config.iterations, config.width, config.levels
    b = Builder()
    skips: list[str] = []
    x = b.space_to_depth("blocks", "canvas", BLOCK)
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
    x = b.conv("out", x, 2 * BLOCK**2, initial="zero")
    x = b.depth_to_space("correction", x, BLOCK)
    every = iterations * config.updates
    return Network(
        inputs={"canvas": len(CANVAS_CHANNELS)},
        layers=tuple(b.layers),
        outputs=(x,),
        vectors={
            "step": (STEP,) * every,
            "momentum": (config.momentum,) * every,
            "phase_gain": (PHASE_GAIN,) * every,
            "damp": (DAMP,) * every,
            "gain": (1.0,) * iterations,
        },
        multiple_of=BLOCK * 2 ** (levels - 1),
    )
