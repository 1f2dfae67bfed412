"""What an architecture says of itself: its options, its network, what it asks of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from ptychopinn.errors import InputError
from ptychopinn.networks.spec import Network
from ptychopinn.schema import Variant

Family = Literal["patch", "canvas"]


class ModelConfig(Variant):
    """What the network is. The options of each architecture are a subclass, in the file that
    describes its network, registered with ``@architecture``; ``ModelConfig(**options)`` gives the
    one that the option ``architecture`` names.

    Attributes
    ----------
    family : what the network maps patterns to, object patches or an object canvas.
    recipe : defaults of options of other sections that this architecture needs, by section.
    unused : options of other sections that it has no use for, as "section.option".
    unnamed : what options meant to models that do not name them, because they are older.
    """

    tag: ClassVar[str] = "architecture"
    kinds: ClassVar[dict[str, Any]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "hybrid",
            "stable_hybrid",
            "hybrid_resnet_ffno_bottleneck",
            "hybrid_resnet_convnext_bottleneck",
            "hybrid_resnet_ffno_ptychoblock_encoder",
            "hybrid_resnet_ptychoblock_ffno_encoder",
            "spectral_resnet_bottleneck_net",
            "spectral_resnet_bottleneck_linear_decoder",
        ),
        "hybrid_resnet",
    )
    family: ClassVar[Family]
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    unused: ClassVar[frozenset[str]] = frozenset()
    unnamed: ClassVar[Mapping[str, Any]] = {}

    architecture: str = "unrolled"
    mode: Literal["pinn", "supervised"] = Field(
        "pinn", description="pinn: learn from the patterns alone; supervised: from known objects"
    )

    def describe(self) -> Network:
        """The network, the same for every backend.

        Raises
        ------
        InputError
            When the options do not go together.
        """
        raise NotImplementedError

    @property
    def patterns_per_group(self) -> int:
        """Number C of neighbouring patterns that the network sees at once, at least."""
        return 1

    @property
    def passes(self) -> int:
        """How many passes over all patterns the network makes."""
        return 1

    def for_patterns(self, n: int) -> Self:
        """These options for patterns of ``n`` x ``n`` pixels.

        Raises
        ------
        InputError
            When they are for patterns of another size.
        """
        return self


architecture = ModelConfig.register


class CanvasConfig(ModelConfig):
    """Options of networks that correct the object canvas between physics steps. They are trained
    on sub-scans and do not depend on N."""

    family: ClassVar[Family] = "canvas"
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {"data": {"n_groups": 50}}
    unused: ClassVar[frozenset[str]] = frozenset({"data.neighbor_count"})


class PatchConfig(ModelConfig):
    """Options of networks that map the patterns of a group (B, C, N, N) to amplitude and phase of
    its object patches."""

    family: ClassVar[Family] = "patch"
    unused: ClassVar[frozenset[str]] = frozenset({"data.subscan_patterns", "loss.iterate_decay"})

    N: int | None = Field(
        None, ge=32, le=512, description="pattern size; taken from the training scan"
    )
    gridsize: int = Field(1, ge=1, le=3, description="gridsize^2 neighbours form one group")

    @property
    def patterns_per_group(self) -> int:
        return self.gridsize**2

    def for_patterns(self, n: int) -> Self:
        if self.N is not None and n != self.N:
            raise InputError(
                f"the option N must be the pattern size of the scan, received {self.N} for "
                f"patterns of {n}; leave N out."
            )
        return self.model_copy(update={"N": n})
