"""What a source holds, what its arrays probably are, and the line that prepares it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from ptychopinn.errors import InputError
from ptychopinn.io.guess import NUMBERS, Guess, guess, line_for, typed
from ptychopinn.io.listing import Item, items_of
from ptychopinn.sources import kind_for, open_source
from ptychopinn.sources.base import Source
from ptychopinn.sources.zarr_store import items_of_store, matches

GUESSED = {
    "patterns": "patterns",
    "probe": "probe",
    "mask": "mask",
    "dark": "dark frames",
    "flat": "flat field",
    "energy": "energy",
    "distance": "distance",
    "detector_pixel": "pixel of the detector",
    "wavelength": "wavelength",
}


@dataclass(frozen=True)
class Overview:
    """``roles`` says of keys what they probably are; ``line`` is None where nothing fits."""

    kind: str
    items: list[Item]
    roles: dict[str, str]
    facts: list[tuple[str, str]]
    line: str | None


def overview(path: Path) -> Overview:
    """Look at a source without reading its patterns.

    Raises
    ------
    InputError
        When it is missing, damaged, or of no kind.
    """
    kind = kind_for(path)
    if matches(path):
        items = items_of_store(path)
    elif path.is_file():
        items = items_of(path)
    else:
        items = []
    found = guess(items)
    roles = dict.fromkeys(found.positions, "positions")
    for field in fields(found):
        key = getattr(found, field.name)
        if field.name in GUESSED and isinstance(key, str):
            roles[key] = GUESSED[field.name]
    try:
        source = open_source(path)
    except InputError as error:
        return Overview(kind.DESCRIPTION, items, roles, [("note", str(error))], None)
    return Overview(kind.DESCRIPTION, items, roles, _facts(source), _line(path, source, found))


def _facts(source: Source) -> list[tuple[str, str]]:
    m, height, width = source.patterns.shape
    facts = [("patterns", f"{m} of {height} x {width} pixels, {source.patterns.dtype}")]
    if source.points is not None:
        unit = source.points.unit or "unit unknown"
        count = len(source.points.values)
        facts.append(("positions", f"{count} from {source.points.where}, {unit}"))
    elif source.grid is not None:
        facts.append(("raster", f"{source.grid[0]} x {source.grid[1]} (rows, columns)"))
    if source.probe is not None:
        facts.append(("probe", " x ".join(map(str, source.probe.shape))))
    if source.mask is not None:
        facts.append(("mask", f"{int((~source.mask).sum())} bad pixels"))
    if source.centre is not None:
        facts.append(("centre", f"({source.centre[0]:.6g}, {source.centre[1]:.6g}) (y, x)"))
    for name, value in source.numbers.items():
        facts.append((name, f"{value:.6g} from {source.where.get(name, 'the file')}"))
    return facts


def _line(path: Path, source: Source, found: Guess) -> str:
    """The line to type; words in capitals are to be filled in."""
    if source.kind == "keys":
        return line_for(path, found, told=source.numbers)
    options: dict[str, str] = {}
    unit = None
    if source.points is not None:
        unit = source.points.unit
    elif source.grid is None:
        options["positions"] = "POSITIONS.txt"
        if source.kind == "zarr" and found.positions:
            options["positions"] = ",".join(f"{path}:{key}" for key in found.positions)
    elif source.step_m is None:
        options["step"] = "STEP"
    if unit is None and source.step_m is None:
        options["unit"] = "UNIT"
    height, width = source.patterns.shape[1:]
    if height != width or height % 2 or not 32 <= height <= 512 or source.centre is not None:
        side = min(height, width, 512)
        options["crop"] = str(2 ** (side.bit_length() - 1))
        if source.centre is None:
            options["centre"] = "auto"
    known = source.sampling_1_m is not None or "pixel_size_m" in source.numbers
    if unit != "px" and not known:
        options |= {
            key: value
            for key, value in NUMBERS.items()
            if key not in source.numbers and not (source.angle_rad and key != "energy_eV")
        }
    if source.probe is None:
        options["probe"] = "auto"
    return typed(path, options)
