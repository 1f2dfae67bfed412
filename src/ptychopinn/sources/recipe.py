"""What ``prepare`` does with a source, as options: flags, YAML and the provenance of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from pydantic import Field, field_validator

from ptychopinn.data.experiment import Propagation
from ptychopinn.errors import InputError, shown
from ptychopinn.io.base import HDF5_SIGNATURE, signature
from ptychopinn.io.config_file import blaming, read_config_file
from ptychopinn.io.hdf5 import reading
from ptychopinn.io.provenance import read_provenance
from ptychopinn.schema import Section, validated
from ptychopinn.sources.cutting import LARGEST_BIN
from ptychopinn.sources.leaving_out import left_out_of

KEY = "recipe"
LONGEST = 200
# Wider than any detector; a larger number would be shown with all its digits.
LARGEST_CROP = 1e6
# Options that are numbers with commas or colons between them.
WRITTEN = ("grid", "step", "crop", "centre", "frames", "leave_out")


def _as_text(value: Any) -> Any:
    """``256`` and ``[256, 10, 20]`` as they are written on a command line."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


Unit = Literal["m", "mm", "um", "nm", "px"]
# What is looked for in stored readings and may be left out.
Mended = Literal[
    "all", "swapped-bytes", "wrapped-counts", "patterns-in-corner", "flat-field", "dead-pixels",
    "saturated-pixels", "source-order",
]  # fmt: skip


class Recipe(Section):
    """How a source becomes a scan, in the order in which it is done."""

    patterns: str | None = Field(
        None, description="Where the patterns are: FILE:KEY, or KEY in SOURCE."
    )
    detector_first: bool | None = Field(
        None,
        description="Whether the array has the axes (row, column, scan y, scan x); without it the "
        "number of positions tells.",
    )
    positions: str | None = Field(
        None,
        description="Where the positions are: FILE:KEY, FILE:KEY,FILE:KEY, or a text, CSV or NPY "
        "file, FILE or FILE:COLUMN,COLUMN with names or numbers from 1.",
    )
    unit: Unit | None = Field(
        None,
        description="Unit of the positions and of the step; px are pixels of the prepared object.",
    )
    order: Literal["yx", "xy"] | None = Field(
        None, description="Which of the two columns of the positions is the first."
    )
    grid: str | None = Field(
        None, description="Y,X: rows and columns of a raster scan without stored positions."
    )
    step: str | None = Field(
        None, description="Step of the grid in the unit given: one number, or Y,X."
    )
    frames: str | None = Field(
        None,
        description="A:B or A:B:S, which patterns to take, counted from 0, B is not taken; where "
        "positions are more than patterns, which of the positions.",
    )
    leave_out: str | None = Field(
        None,
        description="Patterns to leave out with their positions, as warnings name them: numbers "
        "counted from 0, or A:B, with commas between them; where positions are more than patterns, "
        "which of the positions.",
    )
    mask: str | None = Field(None, description="FILE:KEY of the mask of the detector.")
    mask_marks: Literal["good", "bad"] | None = Field(
        None, description="Which pixels the mask marks with 1 or True."
    )
    dark: str | None = Field(None, description="FILE:KEY of dark frames, which are subtracted.")
    flat: str | None = Field(None, description="FILE:KEY of a flat field, which is divided by.")
    units: Literal["counts", "amplitude"] | None = Field(
        None, description="What the stored patterns are, where the file does not tell."
    )
    clip_negative: bool = Field(False, description="Set values below zero to zero.")
    transpose: bool = Field(False, description="Exchange rows and columns of the patterns.")
    flip_y: bool = Field(False, description="Turn the rows of the patterns upside down.")
    flip_x: bool = Field(False, description="Turn the columns of the patterns left to right.")
    centre: str | None = Field(
        None,
        description="Zero frequency on the detector: auto, or y,x in pixels of the stored "
        "patterns; without it the file tells, or the middle is taken.",
    )
    crop: str | None = Field(
        None,
        description="N: keep N x N detector pixels around the centre; N,y,x also says the centre.",
    )
    bin: int = Field(
        1, ge=1, le=LARGEST_BIN, description="Add up blocks of so many pixels squared."
    )
    pad: int | None = Field(
        None, ge=1, description="Fill the patterns up to N x N pixels, which are masked."
    )
    rotate_positions: float = Field(
        0.0,
        ge=-360,
        le=360,
        description="Turn the positions by so many degrees, from +x towards +y.",
    )
    energy_eV: float | None = Field(None, gt=0, description="Energy in electron volts.")
    particle: Literal["photon", "electron"] | None = Field(
        None, description="What the energy is of; files of electron microscopes tell."
    )
    distance_m: float | None = Field(None, gt=0, description="Sample to detector in metres.")
    propagation: Propagation | None = Field(
        None, description="How waves reach the detector, where the file does not tell."
    )
    focus_distance_m: float | None = Field(
        None,
        gt=0,
        description="Focus of a cone beam to the sample in metres, in the near field; without it "
        "the beam is parallel.",
    )
    detector_pixel_m: float | None = Field(
        None, gt=0, description="Pixel of the detector in metres, before binning."
    )
    pixel_size_m: float | None = Field(
        None, gt=0, description="Pixel of the object in metres, in place of the computed one."
    )
    probe: str | None = Field(
        None, description="FILE or FILE:KEY of a probe, or how to make one: auto, fzp:..., ..."
    )

    no_mend: tuple[Mended, ...] = Field(
        (),
        description="Leave out this look at the stored readings, or all of them: "
        f"{', '.join(get_args(Mended)[1:])}.",
    )

    @field_validator("no_mend", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator(*WRITTEN, mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        return _as_text(value)

    @field_validator(*WRITTEN)
    @classmethod
    def _readable(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            {
                "grid": grid_of,
                "step": step_of,
                "crop": crop_of,
                "centre": centre_of,
                "frames": frames_of,
                "leave_out": left_out_of,
            }[info.field_name](value)
        return value

    def mends(self, name: Mended) -> bool:
        """Whether stored readings are looked at for this."""
        return name not in self.no_mend and "all" not in self.no_mend

    def given(self) -> dict[str, Any]:
        """Only what is not as it would be without a recipe, in plain JSON data."""
        return self.model_dump(mode="json", exclude_defaults=True)


def _numbers(text: str, kind: type, how_many: tuple[int, ...], what: str) -> list[Any]:
    try:
        values = [kind(part) for part in text.split(",")] if len(text) < LONGEST else []
    except ValueError:
        values = []
    finite = kind is not float or bool(np.isfinite(values).all())
    if len(values) not in how_many or not finite:
        raise ValueError(f"it must be {what}")
    return values


def grid_of(text: str) -> tuple[int, int]:
    """Rows and columns; ValueError for anything but two positive whole numbers."""
    y, x = _numbers(text.lower().replace("x", ","), int, (2,), "Y,X, two whole numbers")
    if y < 1 or x < 1:
        raise ValueError("it must be Y,X, two whole numbers above 0")
    return y, x


def step_of(text: str) -> tuple[float, float]:
    """Step along (y, x)."""
    values = _numbers(text, float, (1, 2), "one number or Y,X")
    return values[0], values[-1]


def crop_of(text: str) -> tuple[int, tuple[float, float] | None]:
    """N, and the centre (y, x) if it is given."""
    values = _numbers(text, float, (1, 3), "N or N,y,x")
    if not 1 <= values[0] <= LARGEST_CROP or values[0] != int(values[0]):
        raise ValueError("it must be N or N,y,x with N a whole number above 0")
    return int(values[0]), (values[1], values[2]) if len(values) == 3 else None


def centre_of(text: str) -> tuple[float, float] | None:
    """The centre (y, x); None when it is to be found."""
    if text == "auto":
        return None
    y, x = _numbers(text, float, (2,), "auto or y,x")
    return y, x


def frames_of(text: str) -> slice:
    """The slice that A:B or A:B:S means."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 3:
        raise ValueError("it must be A:B or A:B:S, whole numbers")
    try:
        found = slice(*(int(part) if part.strip() else None for part in parts))
    except ValueError as error:
        raise ValueError("it must be A:B or A:B:S, whole numbers") from error
    if found.step is not None and found.step < 1:
        raise ValueError("it must have a step S above 0")
    return found


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file, or in the provenance of a prepared scan.

    Raises
    ------
    InputError
        When there is none, or it is none of this program.
    """
    if signature(path) != HDF5_SIGNATURE:
        content = read_config_file(path)
        with blaming(path):
            return validated(Recipe, content)
    with reading(path) as file:
        recipe = read_provenance(file, "/").get(KEY)
    if not isinstance(recipe, Mapping):
        raise InputError(
            f"a recipe was expected in '{path}', received a file without one "
            f"({shown(type(recipe).__name__)}); name a YAML file, or a scan made by prepare."
        )
    with blaming(path):
        return validated(Recipe, recipe)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML."""
    return str(yaml.safe_dump(recipe.given(), sort_keys=False, allow_unicode=True))
