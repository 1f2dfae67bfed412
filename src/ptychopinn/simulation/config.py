"""Everything a simulated scan depends on: one frozen schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ptychopinn.data.experiment import Propagation
from ptychopinn.data.scan import CANVAS_BYTES
from ptychopinn.errors import InputError
from ptychopinn.machine.memory import check_memory
from ptychopinn.physics.slices import MOST
from ptychopinn.schema import Section, either

ObjectKind = Literal["lines", "leaves", "grf", "points", "siemens", "natural", "textures", "file"]
ProbeKind = Literal["aperture", "gaussian", "file"]
ScanKind = Literal["raster", "fermat", "random"]
# Of amplitudes and phases (rad); squares of larger ones are no longer finite in single precision.
LARGEST_VALUE = 1e6
# What slices need beside their spacing: with 16 um each blurs the next by 5 pixels.
THICK = {"pixel_size_m": 1e-8, "energy_eV": 8000.0}
# A near-field experiment with hard X-rays; the Fresnel number of a pixel is 1/31.
NEAR_FIELD = {"pixel_size_m": 1e-7, "energy_eV": 12_000.0, "distance_m": 3e-3}

# Options that mean something with some objects, probes or arrangements of positions only.
MEANT_FOR: dict[str, tuple[str, tuple[str, ...]]] = {
    "photographs": ("object", ("natural",)),
    "density": ("object", ("lines", "points")),
    "spectrum_exponent": ("object", ("grf",)),
    "jitter_px": ("scan", ("raster",)),
    **dict.fromkeys(
        ("diameter", "central_stop", "defocus", "astigmatism", "coma"),
        ("probe", ("aperture", "gaussian")),
    ),
}


class SimulationConfig(Section):
    """The parameters of a simulated scan; equal parameters give equal bytes.

    Lengths with the suffix ``_px`` are pixels, aberrations are wavelengths at the pupil edge.
    ``seed`` drives object, positions and noise; the probe depends on the probe parameters and on
    ``probe_seed`` only, so scans of different objects can share it.
    """

    object: ObjectKind = Field("lines", description="What the object is made of.")
    object_file: Path | None = Field(
        None,
        validate_default=True,
        description="NPY, NPZ or HDF5 file with the object, for the object 'file': complex values "
        "are used as they are, a real image is mapped to the amplitude and phase ranges.",
    )
    photographs: Path | None = Field(
        None,
        description="Folder with pictures for the object 'natural', beside those of scikit-image: "
        "cut at any scale, turned, with other gradations.",
    )
    amplitude: tuple[float, float] = Field(
        (0.55, 1.0), description="Smallest and largest amplitude of the object."
    )
    phase: tuple[float, float] = Field(
        (-1.0, 1.0), description="Smallest and largest phase of the object, in radians."
    )
    density: float = Field(
        1.0, gt=0, le=10, description="Lines or points per area, relative to the usual number."
    )
    spectrum_exponent: float = Field(
        3.0, ge=0, le=6, description="b in the power spectrum 1/k^b of the object 'grf'."
    )
    blur_px: float = Field(
        0.9, ge=0, le=10, description="Gaussian blur of the object (sigma), which limits its band."
    )

    probe: ProbeKind = Field(
        "aperture", description="Pupil that forms the probe: a soft-edged disc or a Gaussian."
    )
    probe_file: Path | None = Field(
        None,
        validate_default=True,
        description="NPY, NPZ or HDF5 file with the probe (N, N) or (P, N, N), for the probe "
        "'file'.",
    )
    modes: int = Field(1, ge=1, le=8, description="Number of mutually incoherent probe modes.")
    mode_decay: float = Field(
        0.4, gt=0, lt=1, description="Power of each probe mode relative to the one before."
    )
    diameter: float = Field(
        0.375,
        ge=1e-3,
        le=1,
        description="Pupil diameter as a fraction of the detector width (1/e^2 for a Gaussian).",
    )
    central_stop: float = Field(
        0.0, ge=0, lt=1, description="Central stop of the pupil as a fraction of its diameter."
    )
    defocus: float = Field(
        0.35,
        ge=-1,
        le=1,
        description="Diameter of the defocused spot as a fraction of the patch width; "
        "the sign is that of the curvature.",
    )
    astigmatism: float = Field(
        0.05, ge=-5, le=5, description="Astigmatism, in wavelengths at the pupil edge."
    )
    coma: float = Field(0.2, ge=-5, le=5, description="Coma, in wavelengths at the pupil edge.")
    probe_seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Seed of the directions of coma, astigmatism and higher probe modes.",
    )

    N: int = Field(64, ge=32, le=512, multiple_of=2, description="Width of a pattern, in pixels.")
    scan: ScanKind = Field("raster", description="Arrangement of the positions.")
    patterns: int = Field(900, ge=1, le=1_000_000, description="Number of diffraction patterns.")
    step_px: float = Field(
        6.2, gt=0, le=512, description="Scan step: the positions have a mean density of 1/step^2."
    )
    jitter_px: float = Field(
        1.2, ge=0, le=512, description="Largest random displacement from the raster, per axis."
    )
    position_error_px: float = Field(
        0.0, ge=0, le=64, description="Error of the stored positions (sigma per axis)."
    )

    photons: float = Field(
        1e5,
        gt=0,
        le=1e15,
        description="Mean counts per pattern, before beam stop, dead pixels and background.",
    )
    poisson: bool = Field(True, description="Draw Poisson counts, else store the expected ones.")
    background: float = Field(0.0, ge=0, le=1e9, description="Mean background counts per pixel.")
    point_spread_px: float = Field(
        0.0,
        ge=0,
        le=5,
        description="Detector pixels over which a point spreads (standard deviation).",
    )
    dead_pixels: float = Field(
        0.0,
        ge=0,
        le=2**18,
        description="Dead detector pixels: a fraction when below 1, else a number.",
    )
    beam_stop_px: float = Field(
        0.0, ge=0, le=1024, description="Radius of the beam stop; 0 for none."
    )

    propagator: Propagation = Field(
        "far-field",
        description="How the exit wave reaches the detector. The near field needs pixel size, "
        "energy and distance: 100 nm, 12 keV and 3 mm when not given.",
    )
    pixel_size_m: float | None = Field(None, gt=0, le=1e3, description="Object pixel in metres.")
    energy_eV: float | None = Field(
        None, gt=0, le=1e12, description="Photon energy in electron volts."
    )
    distance_m: float | None = Field(
        None, gt=0, le=1e9, description="Distance from sample to detector in metres."
    )
    focus_distance_m: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Distance from the focus of a cone beam to the sample in metres, near field; a "
        "parallel beam when not given.",
    )
    slices: int = Field(
        1,
        ge=1,
        le=MOST,
        description="Slices of a thick sample, whose product is the object.",
    )
    slice_spacing_m: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Distance from slice to slice in metres. Slices need pixel size and energy as "
        "well: 10 nm and 8 keV when not given.",
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="Seed of object, positions, noise and dead pixels."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_usual(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        usual: dict[str, float] = {}
        if values.get("slice_spacing_m") is not None:
            usual = THICK
        if values.get("propagator") == "near-field":
            usual = NEAR_FIELD
        return {**usual, **{k: v for k, v in values.items() if v is not None or k not in usual}}

    @field_validator("amplitude", "phase")
    @classmethod
    def _ordered(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        low, high = value
        if low > high:
            raise ValueError("expected the smaller value first")
        if info.field_name == "amplitude" and (low < 0 or high == 0):
            raise ValueError("expected amplitudes that are not negative and not all zero")
        if max(abs(low), abs(high)) > LARGEST_VALUE:
            raise ValueError(f"expected values up to {LARGEST_VALUE:g}")
        return value

    @field_validator("object_file")
    @classmethod
    def _object_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return _file_for("object", value, info)

    @field_validator("probe_file")
    @classmethod
    def _probe_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return _file_for("probe", value, info)

    @field_validator("dead_pixels")
    @classmethod
    def _whole_number(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("expected a fraction below 1 or a whole number of pixels")
        return value

    @model_validator(mode="after")
    def _thick(self) -> SimulationConfig:
        if (self.slices > 1) != (self.slice_spacing_m is not None):
            raise ValueError(
                "the options slices and slice_spacing_m belong together, received "
                f"slices={self.slices} and slice_spacing_m={self.slice_spacing_m}; give 2 slices "
                "or more with their distance, or neither"
            )
        if self.slices > 1 and self.object == "file":
            raise ValueError("expected an object that is drawn, received slices of a file")
        return self

    @model_validator(mode="after")
    def _fits(self) -> SimulationConfig:
        side = self.N + self.step_px * math.sqrt(self.patterns)
        side += 2 * self.jitter_px + 12 * self.position_error_px
        # The expected patterns in float32 and the counts, beside the object.
        needed = 8 * self.patterns * self.N**2 + CANVAS_BYTES * side**2
        check_memory(
            int(needed),
            f"a scan of {self.patterns} patterns of {self.N} x {self.N} pixels on an object of "
            f"about {side:.0f} x {side:.0f} pixels",
            "lower patterns, N or step_px",
        )
        return self


def check_followed(config: SimulationConfig) -> None:
    """Raise InputError for an option that does nothing with this object, probe or scan.

    Those who draw parameters draw all of them; who types one wants it to be followed.
    """
    for name, (of, kinds) in MEANT_FOR.items():
        value, kind = getattr(config, name), getattr(config, of)
        if kind not in kinds and value != type(config).model_fields[name].default:
            raise InputError(
                f"option {name} does nothing with {of}={kind}, received {name}={value}; choose "
                f"{of}={either(kinds)}, or leave it out."
            )


def _file_for(noun: str, value: Path | None, info: ValidationInfo) -> Path | None:
    kind = info.data.get(noun)
    if kind == "file" and value is None:
        raise ValueError(f"expected the file to read, which {noun}='file' needs")
    if kind not in (None, "file") and value is not None:
        raise ValueError(f"expected {noun}='file' together with it instead of {noun}='{kind}'")
    return value
