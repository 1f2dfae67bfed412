"""How patch networks write a complex patch: one choice for all of them.

=================  =========================  ==================================================
head               real images                object
=================  =========================  ==================================================
amplitude_phase    amplitude a, phase p       a exp(i p); p = pi tanh(.) ends at +-pi
real_imaginary     real r, imaginary q        r + i q, any complex number
cos_sin            amplitude a, cosine c,     a (c + i s) / sqrt(c^2 + s^2): the phase goes round
                   sine s                     without an end
=================  =========================  ==================================================

Every head starts at the object 1: its last convolutions are zero but for their bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ptychopinn.errors import InputError
from ptychopinn.networks.architecture import PatchConfig
from ptychopinn.networks.spec import Builder, Network
from ptychopinn.physics.probe_images import PROBE_IMAGES

Trunk = Literal["amplitude", "phase"]
Head = Literal["amplitude_phase", "real_imaginary", "cos_sin"]
HEADS_IN_WORDS = (
    "what the network writes the object with: amplitude and phase, real and imaginary part, or "
    "amplitude, cosine and sine of a phase that may go round"
)

# Amplitudes of the sigmoid head lie in (0, 2): in network units the mean modulus of the object is
# 1.
SIGMOID_RANGE = 2.0
# Bias with which each amplitude starts at modulus 1 (inverse of the activation).
START_AT_ONE = {"sigmoid": 0.0, "softplus": 0.5413, "swish": 1.2785, "relu": 1.0}
# Names of the inputs of a network: patterns of a group, and images of the probe where it sees it.
PATTERNS, PROBE = "patterns", "probe"


@dataclass(frozen=True)
class Part:
    """A real image that the object is made of.

    trunk : of two decoders, the one that it is read from.  rest : its value where the object is 1.
    bias : of the last convolution, with which it is that.  function, factor : what follows.
    """

    name: str
    trunk: Trunk
    rest: float
    bias: float
    function: str | None = None
    factor: float = 1.0

    def finished(self, b: Builder, name: str, x: str) -> str:
        """The layer of this name: the image that follows from the last convolution ``x``."""
        if self.function is not None:
            x = b.activation(f"{name}_{self.function}", x, self.function)
        return b.scale(name, x, self.factor)


class HeadConfig(PatchConfig):
    """Options of patch networks that end with one of these heads."""

    head: Head = Field("amplitude_phase", description=HEADS_IN_WORDS)
    amp_activation: Literal["sigmoid", "swish", "softplus", "relu"] = Field(
        "sigmoid", description="activation of the amplitude head"
    )
    probe_input: Literal["none", "channels"] = Field(
        "none",
        description="whether the network sees the probe: none binds it to the probe it is trained "
        "with, channels gives it images of the probe of each scan beside the patterns",
    )

    @model_validator(mode="after")
    def _has_an_amplitude(self) -> Self:
        if self.head == "real_imaginary" and self.amp_activation != "sigmoid":
            raise ValueError(
                "amp_activation is for an amplitude, received "
                f"{self.amp_activation} with head=real_imaginary; leave it out, or choose "
                "head=cos_sin"
            )
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The real images of a patch, in the order of their channels."""
        function = self.amp_activation
        factor = SIGMOID_RANGE if function == "sigmoid" else 1.0
        amplitude = Part("amplitude", "amplitude", 1.0, START_AT_ONE[function], function, factor)
        if self.head == "amplitude_phase":
            return amplitude, Part("phase", "phase", 0.0, 0.0, "tanh", np.pi)
        if self.head == "real_imaginary":
            return Part("real", "amplitude", 1.0, 1.0), Part("imaginary", "phase", 0.0, 0.0)
        return amplitude, Part("cosine", "phase", 1.0, 1.0), Part("sine", "phase", 0.0, 0.0)

    @property
    def sees_probe(self) -> bool:
        """Whether images of the probe are an input of the network."""
        return self.probe_input != "none"

    def with_probe(self, b: Builder, x: str) -> str:
        """What the first layer sees: the patterns ``x``, and the images of the probe
        (:mod:`ptychopinn.physics.probe_images`) as further channels where they are asked for."""
        return b.concat("patterns_and_probe", x, PROBE) if self.sees_probe else x

    def network(self, b: Builder, images: Mapping[str, str], multiple_of: int = 1) -> Network:
        """The network whose layers are in ``b``, with the object made of ``images``, layers with
        C channels each by the names of the parts."""
        options: dict[str, Any] = {"multiple_of": multiple_of}
        outputs = tuple(images[part.name] for part in self.parts)
        if self.head != "amplitude_phase":
            options["complex_as"] = "cartesian"
        if self.head == "cos_sin":
            amplitude, cosine, sine = outputs
            real = b.direction("real_part", cosine, sine)
            imaginary = b.direction("imaginary_part", sine, cosine)
            outputs = (
                b.multiply("real", amplitude, real),
                b.multiply("imaginary", amplitude, imaginary),
            )
        inputs = {PATTERNS: self.patterns_per_group}
        if self.sees_probe:
            inputs[PROBE] = len(PROBE_IMAGES)
        return Network(inputs, tuple(b.layers), outputs, **options)

    def ended(self, b: Builder, x: str, multiple_of: int = 1) -> Network:
        """The network whose last features are ``x``, read by a convolution of one pixel."""
        channels = self.patterns_per_group
        images = {}
        for part in self.parts:
            y = b.dense(f"{part.name}_head", x, channels, initial="zero", bias=part.bias)
            images[part.name] = part.finished(b, f"{part.name}_image", y)
        return self.network(b, images, multiple_of)

    def side(self, multiple_of: int = 1) -> int:
        """The side of the images that the network sees: N, with empty pixels up to a multiple.

        Raises
        ------
        InputError
            When ``N`` is not set.
        """
        if self.N is None:
            raise InputError(
                "the patch network must know the pattern size, received N=None; set N."
            )
        return -(-self.N // multiple_of) * multiple_of


class TrunkConfig(HeadConfig):
    """Options of patch networks that are a trunk, layers from an image to features of the same
    size, and a head. The trunk can also be the corrector of a canvas network.

    Attributes
    ----------
    multiple : what sides of the image must be a multiple of.
    width_option : the option that says how many channels it has.
    """

    width_option: ClassVar[str]

    @property
    def multiple(self) -> int:
        return 1

    def prepared(self, b: Builder, x: str) -> str:
        """What is done to the image ``x`` before the trunk sees it."""
        return x

    def trunk(self, b: Builder, x: str, side: int | None) -> str:
        """The features of the image ``x``, whose sides have ``side`` pixels; None where they are
        not known, which images of any size then fit."""
        raise NotImplementedError

    def describe(self) -> Network:
        """Input ``patterns`` (B, C, Np, Np), Np the next multiple of ``multiple``, and where it is
        asked for ``probe`` (B, 4, Np, Np); outputs as said above.

        Raises InputError when ``N`` is not set."""
        b, multiple = Builder(), self.multiple
        x = self.with_probe(b, self.prepared(b, PATTERNS))
        return self.ended(b, self.trunk(b, x, self.side(multiple)), multiple)
