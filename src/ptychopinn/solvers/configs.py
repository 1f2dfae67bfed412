"""Options of the iterations on the patterns after, or in place of, a network."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ptychopinn.schema import Variant


class RefineConfig(Variant):
    """How a scan is refined. The options of each engine are a subclass, registered with
    ``@engine``; ``RefineConfig(**options)`` gives the one that the option ``engine`` names."""

    tag: ClassVar[str] = "engine"
    kinds: ClassVar[dict[str, Any]] = {}

    engine: str = "physics"
    passes: int = Field(40, ge=1, le=1_000_000, description="passes over the patterns")
    refine_probe: bool = Field(False, description="refine the probe modes as well")
    refine_positions: bool = Field(False, description="refine the scan positions as well")
    positions_from: int = Field(
        4, ge=0, le=1_000_000, description="passes before positions are first moved"
    )


engine = RefineConfig.register


@engine
class PhysicsConfig(RefineConfig):
    """Options of the physics iterations of this program."""

    about: ClassVar[str] = "the steps of this program"

    engine: Literal["physics"] = "physics"
    passes: int = Field(40, ge=1, le=1_000_000, description="passes over the patterns, at most")
    probe_from: int = Field(
        0, ge=0, le=1_000_000, description="passes before the probe is first moved"
    )
    subsets: int = Field(4, ge=1, le=16, description="updates of the object in a pass, at first")
    beam_current: bool = Field(
        True, description="fit a factor for each pattern, where the beam changes its intensity"
    )
    background: bool | None = Field(
        None,
        description="fit a smooth background of all patterns; without either, where the fit shows "
        "one",
    )
    exposure_px: float | None = Field(
        None, gt=0, le=100, description="way of the sample during an exposure, in object pixels"
    )
    exposure_along: Literal["scan", "y", "x"] = Field(
        "scan", description="direction of that way: from pattern to pattern, or along an axis"
    )
    point_spread: bool = Field(
        False, description="fit over how many detector pixels a point of a pattern spreads"
    )
    point_spread_px: float | None = Field(
        None,
        gt=0,
        le=5,
        description="detector pixels over which it spreads (standard deviation), or is taken to at "
        "first",
    )
    pattern_shift: bool = Field(
        False,
        description="fit how far each pattern is from its place on the detector, where the beam or "
        "the detector moves during the scan",
    )
    eigenprobes: int | None = Field(
        None,
        ge=1,
        le=20,
        description="fit so many eigenprobes, where the probe changes during the scan",
    )
    total_variation: float = Field(
        20.0,
        ge=0,
        le=1e6,
        description="weight of a prior against noise, which does something where photons are few: "
        "small total variation of the object",
    )
    slices: int | None = Field(
        None, ge=1, le=8, description="take the sample as so many slices, one behind the other"
    )
    slice_spacing_m: float | None = Field(
        None,
        gt=0,
        le=1,
        description="distance from slice to slice in metres; found from the patterns when not "
        "given",
    )
    wavelength_m: float | None = Field(
        None,
        gt=0,
        le=1e-3,
        description="wavelength, which slices need; from the photon energy of the scan when not "
        "given",
    )
    stagnation: float = Field(
        2e-4, ge=0, lt=1, description="end when a pass lowers the misfit by less, relatively"
    )


@engine
class PtychiConfig(RefineConfig):
    """Options of the package pty-chi."""

    about: ClassVar[str] = "those of the package pty-chi"

    engine: Literal["ptychi"] = "ptychi"
    passes: int = Field(40, ge=1, le=1_000_000, description="passes over the patterns, exactly")
    algorithm: Literal["lsqml", "rpie", "epie"] = Field(
        "lsqml", description="the algorithm, with the settings that pty-chi gives it"
    )
    batch_size: int = Field(
        100, ge=1, le=1_000_000, description="patterns that are treated at once"
    )
    batching: Literal["random", "compact"] = Field(
        "random",
        description="random patterns form a batch and an update; compact: neighbours form a batch, "
        "lsqml then updates the object once per pass, with momentum",
    )
