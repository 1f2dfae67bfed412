"""From sources and a recipe to everything that a scan needs but its probe."""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.far_away import first_of
from ptychopinn.data.findings import Finding
from ptychopinn.data.orientation import Orientation
from ptychopinn.errors import InputError
from ptychopinn.io.base import sample_indices
from ptychopinn.io.far_positions import far_finding, far_positions
from ptychopinn.io.reading import kind_of
from ptychopinn.machine.memory import check_memory
from ptychopinn.sources.base import Source
from ptychopinn.sources.beam_centre import (
    MIDDLE,
    centre_of_frames,
    doubt_middle,
    rolled_finding,
    rolls_of,
)
from ptychopinn.sources.conditioning import Conditioned, Look, look_at
from ptychopinn.sources.cutting import cut_for
from ptychopinn.sources.file_names import by_number
from ptychopinn.sources.frames import RolledFrames
from ptychopinn.sources.geometry_numbers import (
    numbers_of,
    object_pixel,
    of_electrons,
    own_edge,
    propagation_of,
    replaced_numbers,
)
from ptychopinn.sources.masks import check_mask, given_mask, own_mask
from ptychopinn.sources.odd_frames import doubt_frames
from ptychopinn.sources.paired_points import doubt_axes, paired
from ptychopinn.sources.places import image_at, place_of
from ptychopinn.sources.raw_faults import (
    as_counts,
    dark_frames,
    flat_field,
    hidden_faults,
    with_right_bytes,
)
from ptychopinn.sources.recipe import Recipe, centre_of, crop_of
from ptychopinn.sources.scan_points import (
    check_places,
    check_span,
    to_pixels,
    turned,
)
from ptychopinn.sources.unwritten import unwritten

# Patterns that are looked at before the others; fewer where they are large.
# Bytes of memory for each pixel of the detector while patterns are looked at.
PIXEL_BYTES = 100
SAMPLE, SAMPLE_PIXELS = 64, 1 << 26

_log = logging.getLogger("ptychopinn")


@dataclass(frozen=True)
class Assembly:
    """A scan to be: patterns still to be read, everything else known.

    ``positions_px`` (M, 2) and ``pixel_size_m`` are of the final patterns; ``done`` is plain JSON
    data that says with which numbers the recipe was carried out, ``way`` what a scan calls
    propagation and focus_distance_m, and ``saturation`` from which counts on they are bounds.
    """

    source: Source
    patterns: Conditioned
    look: Look
    given_bad: NDArray[np.bool_]
    findings: tuple[Finding, ...]
    saturation: float | None
    positions_px: NDArray[np.float64]
    pixel_size_m: float | None
    energy_eV: float | None
    distance_m: float | None
    way: dict[str, Any]
    done: dict[str, Any]


def expanded(sources: Sequence[str | Path]) -> list[Path]:
    """Sources as paths; a pattern such as ``frame_*.tif`` becomes the files it fits, numbers in
    their names in their order.

    Raises
    ------
    InputError
        When it fits none.
    """
    paths: list[Path] = []
    for source in sources:
        text = str(source)
        if kind_of(Path(text)) == "nothing" and glob.has_magic(text):
            # Paths would refuse some patterns.
            found = by_number(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207
            if not found:
                raise InputError(
                    f"files were expected for '{text}', received none that fits; check the path."
                )
            paths += found
        else:
            paths.append(Path(text))
    return paths


def assemble(source: Source, recipe: Recipe) -> Assembly:
    """Do what the recipe says with everything but the bulk of the patterns.

    Raises
    ------
    InputError
        When something is missing or contradicts itself.
    """
    pairs = paired(source, recipe)
    source, indices, points = pairs.source, pairs.indices, pairs.points
    stored = source.patterns.shape
    size = (stored[1], stored[2])
    check_memory(
        size[0] * size[1] * PIXEL_BYTES,
        f"a pattern of {size[0]} x {size[1]} pixels",
        "name another array with the option patterns",
    )
    few = min(SAMPLE, max(16, SAMPLE_PIXELS // (size[0] * size[1])))
    sample = indices[sample_indices(len(indices), few)]
    bad = own_mask(source, recipe, size)
    dark = _image(recipe.dark, source, size, "the dark frames")
    flat = _image(recipe.flat, source, size, "the flat field")
    findings = [*source.findings, *pairs.findings, *replaced_numbers(source, recipe)]
    if flat is not None:
        if recipe.mends("flat-field"):
            flat, said = flat_field(flat)
            findings += said
        bad |= ~(np.isfinite(flat) & (flat > 0))
    if recipe.mends("swapped-bytes"):
        frames, said = with_right_bytes(source.patterns, sample, bad)
        findings += said
        source = replace(source, patterns=frames)
    if dark is not None:
        bad |= ~np.isfinite(dark)
        findings += dark_frames(source.patterns, sample, dark, bad)
    findings += doubt_axes(source, recipe, sample, bad)
    findings += doubt_frames(source.patterns, sample)
    look = look_at(source.patterns, sample, bad)
    light = np.where(bad | look.missing, 0, look.mean)
    frames, said = unwritten(source.patterns, indices, light)
    if said:
        findings += said
        source = replace(source, patterns=frames)
    frames, said = as_counts(source.patterns, sample, bad | look.missing, recipe)
    if said:
        findings += said
        source = replace(source, patterns=frames)
        look = look_at(source.patterns, sample, bad)
    bad |= given_mask(recipe, source, size, look)
    check_mask(bad, look)
    way = {"propagation": propagation_of(source, recipe)}
    far_field = way["propagation"] == "far-field"
    by = (
        rolls_of(recipe, source, np.where(bad | look.missing, 0, look.mean))
        if far_field and recipe.mends("patterns-in-corner")
        else (0, 0)
    )
    if any(by):
        source = replace(source, patterns=RolledFrames(source.patterns, by))
        findings.append(rolled_finding(by))
        bad = np.roll(bad, by, (0, 1))
        dark, flat = (None if a is None else np.roll(a, by, (0, 1)) for a in (dark, flat))
        look = look.rolled(by)
    given_bad = bad.copy()
    bad |= look.missing
    orientation = Orientation(recipe.transpose, recipe.flip_y, recipe.flip_x)
    turned_shape = orientation.shape(size)
    crop = None if recipe.crop is None else crop_of(recipe.crop)
    centre, how = centre_of_frames(recipe, source, look, bad, dark, size)
    if crop is not None and crop[1] is not None:
        if recipe.centre is not None and centre_of(recipe.centre) != crop[1]:
            raise InputError(
                f"the centre must be given once, received crop={recipe.crop} and "
                f"centre={recipe.centre}; leave one of them out."
            )
        centre, how = crop[1], "given with crop"
    cut = cut_for(
        turned_shape,
        None if centre is None else orientation.point(centre, size),
        crop=None if crop is None else crop[0],
        binning=recipe.bin,
        pad=recipe.pad,
    )
    patterns = Conditioned(
        frames=source.patterns,
        indices=indices,
        orientation=orientation,
        cut=cut,
        bad=bad,
        dark=dark,
        flat=flat,
        amplitude=_is_amplitude(recipe, source, look),
        clip=recipe.clip_negative or dark is not None,
    )
    known = numbers_of(source, recipe)
    electrons = of_electrons(source, recipe, known["energy_eV"])
    pixel = object_pixel(source, recipe, known, electrons, cut.n * cut.binning, cut.binning)
    placed, unit = to_pixels(points, recipe.unit, pixel)
    if unit == "px" and _are_its_own(source, recipe):
        own = own_edge(source) if far_field else cut.n
        if own is not None:
            placed = placed * (cut.n * (cut.binning if far_field else 1 / cut.binning) / own)
    dead, saturation, said = hidden_faults(patterns, sample, recipe)
    if source.saturation is not None and dark is None and flat is None:
        saturation = min(source.saturation, np.inf if saturation is None else saturation)
    findings += said
    patterns.bad |= dead
    given_bad |= dead
    far = far_positions(placed, cut.n)
    if len(far):
        findings.append(far_finding(placed, far))
        placed, kept = np.delete(placed, far, axis=0), np.delete(indices, far)
        patterns = replace(patterns, indices=kept)
    finite = np.isfinite(placed).all(axis=1)
    if not finite.all():
        raise InputError(
            f"positions must be finite numbers, received {first_of(placed, ~finite)} from "
            f"{points.where}; correct them."
        )
    placed = turned(placed, recipe.rotate_positions)
    check_places(placed, points.where, unit)
    check_span(placed, cut.n, unit, pixel)
    done: dict[str, Any] = {
        "stored": list(stored),
        "frames": [int(indices[0]), int(indices[-1]) + 1, len(indices)],
        "centre_yx": None if centre is None else [round(float(c), 3) for c in centre],
        "centre": how,
        "first_pixel_yx": list(cut.start),
        "N": cut.n,
        "positions": f"{points.where}, {unit}",
        **({"rolled_yx": list(by)} if any(by) else {}),
        **({} if far_field else way),
        "patterns": "amplitudes squared" if patterns.amplitude else "counts",
        **{name: value for name, value in known.items() if value is not None},
    }
    return Assembly(
        source=source,
        patterns=patterns,
        look=look,
        given_bad=given_bad,
        findings=(
            *findings,
            *(doubt_middle(look, bad, size) if how == MIDDLE and far_field else ()),
        ),
        saturation=saturation,
        positions_px=placed,
        pixel_size_m=pixel,
        # A scan's energy is that of photons.
        energy_eV=None if electrons else known["energy_eV"],
        distance_m=None if electrons else known["distance_m"],
        way={**way, "focus_distance_m": known.get("focus_distance_m")},
        done=done,
    )


def _are_its_own(source: Source, recipe: Recipe) -> bool:
    """Whether positions are those of the source, in pixels of its own patterns."""
    given = recipe.positions, recipe.unit, recipe.grid
    return source.points is not None and given == (None, None, None)


def _image(
    text: str | None, source: Source, size: tuple[int, int], what: str
) -> NDArray[np.float64] | None:
    if text is None:
        return None
    place = place_of(text, source.path, what.rsplit(" ", 2)[1].replace("frames", "dark"))
    return image_at(place, size, what, average=True).astype(np.float64)


def _is_amplitude(recipe: Recipe, source: Source, look: Look) -> bool:
    """Whether the stored numbers are sqrt(counts)."""
    if recipe.units is not None:
        return recipe.units == "amplitude"
    if source.patterns.dtype.kind != "f" or look.whole or recipe.dark or recipe.flat:
        return False
    if look.squares_whole:
        _log.info("the squares of all patterns are whole numbers: they are taken as sqrt(counts)")
        return True
    if source.units is not None:
        return source.units == "amplitude"
    raise InputError(
        f"patterns must be counts or sqrt(counts), received fractional numbers up to "
        f"{look.largest:.6g} of which neither they nor their squares are whole; give "
        "units='counts' or units='amplitude', and undo a logarithm before."
    )
