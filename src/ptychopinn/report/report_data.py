"""What the page of a result shows, as plain data: maps, positions, patterns, probe, curves.

The size is bounded whatever the size of the result: maps are averaged over blocks of pixels until
they fit, and patterns are kept of as many positions as there is room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.levels import probe_levels, summed
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import Evaluation, common_origin
from ptychopinn.evaluation.alignment import scan_box
from ptychopinn.evaluation.beside import Compared, telling
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.evaluation.resolution import FourierRingCorrelation, judged_curve
from ptychopinn.report.colours import (
    AMPLITUDE,
    CIRCLE,
    COUNTS,
    DIFFERENCE,
    DOUBT,
    PHASE,
    limits,
    phases,
)
from ptychopinn.report.packed import packed_bytes, packed_map, packed_numbers
from ptychopinn.report.pictures import scanned, uncertainty_view, view
from ptychopinn.report.probe_figures import power_shares

# Characters of all maps together, and of all patterns; pixels before any is tried.
MOST_MAPS, MOST_PATTERNS, MOST_PIXELS = 2_600_000, 1_300_000, 1_300_000
# Positions with their numbers, patterns, pixels of a pattern along a side, modes of the probe and
# pixels of one along a side.
MOST_POSITIONS, MOST_SAMPLES, MOST_SIDE, MOST_MODES = 20_000, 160, 64, 12
MOST_SIDE_OF_PROBE = 128
# Patterns are packed in groups, until there is no more room.
_GROUP = 20
# The difference of measured and modelled amplitudes: so many levels per standard deviation of
# photon noise, up to so many of them.
SIGMA_LEVELS, MOST_SIGMAS = 4, 8
MAPS = (PHASE, AMPLITUDE, CIRCLE, DOUBT, COUNTS, DIFFERENCE, "cividis")

Pictures = list[tuple[str, str, NDArray[Any], tuple[float, float], str]]


class Other(NamedTuple):
    """A picture (h, w), complex, NaN where unseen, beside that of the result, and the scan position
    (y, x) of its first pixel."""

    name: str
    picture: NDArray[Any]
    first_px: tuple[float, float]


def truth_beside(result: Reconstruction, evaluation: Evaluation, truth: Scan) -> Other:
    """The true object as an evaluation of the result has it."""
    images = evaluation.images
    box = scan_box(truth.positions_px)
    first = np.array([box[0].start, box[1].start]) - common_origin(result, truth)
    picture = images["truth_amplitude"] * np.exp(1j * images["truth_phase"])
    return Other("truth", picture, (float(first[0]), float(first[1])))


def page_data(
    result: Reconstruction,
    compared: Compared | None,
    rings: FourierRingCorrelation | None = None,
    other: Other | None = None,
) -> dict[str, Any]:
    """All of it; ``rings`` is a ring correlation with a truth, ``other`` a picture to begin with
    behind the slider."""
    fit = result.fit
    if fit is None and compared is not None:
        fit = compared.fit
    found: dict[str, Any] = {
        "format": "ptychopinn-report",
        "version": 1,
        "name": result.name,
        "pixel_m": result.pixel_size_m,
        "unit": {"sigma_levels": SIGMA_LEVELS},
        "colours": _colours(),
        **_maps(result, MOST_MAPS if other is None else MOST_MAPS // 2),
        "probe": _probe(result),
        "losses": [float(f"{v:.5g}") if np.isfinite(v) else None for v in result.losses[-2000:]],
    }
    if other is not None:
        known = np.isfinite(other.picture)
        layer = _layer(other.picture, known, None, other.first_px, MOST_MAPS // 2)
        found["other"] = {**layer, "name": other.name, "pixel_m": result.pixel_size_m}
    if result.half_split is not None:
        found["halves"] = _rings(judged_curve(result.half_split, result.pixel_size_m))
    if rings is not None:
        found["truth"] = _rings(rings)
    chosen = _positions_shown(fit, len(result.positions_px))
    found["positions"] = _positions(result, compared, fit, chosen)
    if fit is not None:
        found["fit"] = {"residual": fit.residual, "expected": fit.expected}
    if compared is not None and fit is not None:
        found.update(_patterns(compared, fit, chosen))
    return found


def _colours() -> dict[str, Any]:
    """256 colours of every map."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, 256)
    return {
        name: packed_bytes((colormaps[name](steps)[:, :3] * 255).round().astype(np.uint8))
        for name in MAPS
    }


def _maps(result: Reconstruction, most: int) -> dict[str, Any]:
    """Pictures around the scanned box."""
    picture, (left, right, bottom, top) = view(result)
    inside = scanned(result, (left, right, bottom, top))
    radius = None
    if result.uncertainty is not None:
        radius = uncertainty_view(result)[0].filled(np.nan)
    layers = () if result.slices is None else result.slices
    slices = [view(replace(result, object=layer))[0] for layer in layers]
    return _layer(picture, inside, radius, (top + 0.5, left + 0.5), most, slices)


def _layer(
    picture: NDArray[Any],
    inside: NDArray[np.bool_],
    radius: NDArray[Any] | None,
    first_px: tuple[float, float],
    most: int,
    slices: Sequence[NDArray[Any]] = (),
) -> dict[str, Any]:
    """The maps of a complex picture and of its slices, averaged over blocks of pixels until they
    fit."""
    block = max(1, int(np.ceil(np.sqrt(picture.size / MOST_PIXELS))))
    while True:
        maps, size = [], 0
        whole = _averaged(picture, block)
        part = _averaged(inside.astype(float), block) > 0.5
        shown = _complex(whole, part)
        cyclic = shown[0][-1] == CIRCLE
        if radius is not None:
            errors = _averaged(radius, block)
            shown.append(("uncertainty", "", errors, limits(np.ma.masked_invalid(errors)), DOUBT))
        for number, layer in enumerate(slices, 1):
            shown += _complex(_averaged(layer, block), part, f"slice {number}: ")
        for name, unit, image, (low, high), colours in shown:
            ends = (-np.pi, np.pi) if colours == CIRCLE else _ends(image, low, high)
            one = packed_map(image, *ends)
            size += len(one["data"])
            maps.append(
                {**one, "name": name, "unit": unit, "limits": [low, high], "colours": colours}
            )
        if size <= most:
            break
        block += 1
    return {
        "maps": maps,
        # The position (y, x) of the middle of the first pixel shown, and the step to the next.
        "origin": [float(v) + (block - 1) / 2 for v in first_px],
        "step": block,
        "cyclic": cyclic,
    }


def _complex(picture: NDArray[Any], inside: NDArray[np.bool_], of: str = "") -> Pictures:
    """Phase and amplitude."""
    phase, amplitude = phases(picture, inside), np.ma.masked_invalid(np.abs(picture))
    angles, ends = phase.values.filled(np.nan), (phase.low, phase.high)
    return [
        (f"{of}phase", "rad", angles, ends, phase.colours),
        (f"{of}amplitude", "", amplitude.filled(np.nan), limits(amplitude, inside), AMPLITUDE),
    ]


def _averaged(image: NDArray[Any], block: int) -> NDArray[Any]:
    """Means over blocks of pixels, of those that are known; what is left at the end is cut off."""
    if block == 1:
        return image
    height, width = (max(side // block, 1) for side in image.shape)
    part = image[: height * block, : width * block]
    parts = part.reshape(height, -1, width, part.shape[1] // width)
    known = np.isfinite(parts)
    count = known.sum(axis=(1, 3))
    total = np.where(known, parts, 0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ends(image: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Between which values are told apart: those that may be asked for, not a single stray one."""
    known = image[np.isfinite(image)]
    if not known.size:
        return low, high
    span = high - low
    return max(float(known.min()), low - span), min(float(known.max()), high + span)


def _probe(result: Reconstruction) -> dict[str, Any]:
    """Amplitude and phase of the modes, averaged to fit."""
    modes = result.probe[:MOST_MODES]
    shares = power_shares(result.probe)
    return {
        "modes": packed_bytes(np.stack([probe_levels(mode, MOST_SIDE_OF_PROBE) for mode in modes])),
        "shares": [float(v) for v in shares[: len(modes)]],
        "count": len(shares),
        "step": -(-result.N // MOST_SIDE_OF_PROBE),
    }


def _rings(frc: FourierRingCorrelation) -> dict[str, Any]:
    return {
        "frequency": _short(frc.frequency),
        "correlation": _short(frc.correlation),
        "half_bit": _short(frc.half_bit),
        "one_bit": _short(frc.one_bit),
        "crossing": frc.half_bit_crossing,
    }


def _short(values: NDArray[Any]) -> list[float | None]:
    """JSON knows no number that is none."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def _positions_shown(fit: Misfit | None, count: int) -> NDArray[np.intp]:
    """Which positions are shown: all, or the worst and others evenly."""
    if count <= MOST_POSITIONS:
        return np.arange(count)
    return np.sort(_told_first(fit, count)[:MOST_POSITIONS])


def _told_first(fit: Misfit | None, count: int) -> NDArray[np.intp]:
    """All positions, those that tell most first: best, typical, worst, thirty that fit worst, then
    others from everywhere."""
    first: list[NDArray[np.intp]] = []
    if fit is not None and np.isfinite(fit.per_pattern).any():
        order = np.argsort(np.where(np.isfinite(fit.per_pattern), -fit.per_pattern, np.inf))
        first = [np.array(telling(fit), dtype=np.intp), order[:30]]
    rest = np.random.default_rng(0).permutation(count)
    joined = np.concatenate([*first, rest])
    return joined[np.sort(np.unique(joined, return_index=True)[1])]


def _positions(
    result: Reconstruction,
    compared: Compared | None,
    fit: Misfit | None,
    chosen: NDArray[np.intp],
) -> dict[str, Any]:
    y, x = result.positions_px[chosen].T
    found: dict[str, Any] = {
        "count": len(result.positions_px),
        "number": packed_numbers(chosen),
        "y": packed_numbers(y),
        "x": packed_numbers(x),
    }
    if fit is not None:
        found["residual"] = packed_numbers(fit.per_pattern[chosen])
        found["expected"] = packed_numbers(fit.expected_per_pattern[chosen])
    if compared is not None:
        moves = result.positions_px - compared.given_px
        moves -= np.median(moves, axis=0)
        if np.abs(moves).max() > 1e-6:
            found["moved_y"], found["moved_x"] = (packed_numbers(v) for v in moves[chosen].T)
    return found


def _patterns(compared: Compared, fit: Misfit, chosen: NDArray[np.intp]) -> dict[str, Any]:
    """Patterns of as many of the positions shown as there is room for; or why there are none."""
    result = compared.result
    order = _told_first(fit, len(result.positions_px))
    numbers = order[np.isin(order, chosen)][:MOST_SAMPLES]
    try:
        found = compared.patterns(numbers)
    except InputError as error:
        # As after ``crop``: the page says so.
        return {"patterns_note": str(error)}
    block = -(-result.N // MOST_SIDE)
    measured, modelled = found.measured, found.modelled
    bad = ~np.isfinite(measured)
    measured, modelled = (
        summed(np.where(bad, 0, frames), block) for frames in (measured, modelled)
    )
    hidden = summed(bad[:1].astype(float), block)[0] > block * block / 2
    high = float(np.log1p(max(measured.max(), modelled.max(), 1e-3)))
    sigma = 0.5 * np.sqrt(fit.noise.photon)
    apart = np.clip((np.sqrt(modelled) - np.sqrt(measured)) / sigma, -MOST_SIGMAS, MOST_SIGMAS)
    groups: list[list[dict[str, Any]]] = []
    size = 0
    for start in range(0, len(numbers), _GROUP):
        part = slice(start, start + _GROUP)
        levels = [np.round(np.log1p(v[part]) / high * 255) for v in (measured, modelled)]
        group = [packed_bytes(v.astype(np.uint8)) for v in levels]
        group.append(packed_bytes(np.round(apart[part] * SIGMA_LEVELS).astype(np.int8)))
        size += sum(len(one["data"]) for one in group)
        if groups and size > MOST_PATTERNS:
            break
        groups.append(group)
    kept = numbers[: len(groups) * _GROUP]
    best, typical, worst = telling(fit)
    shown = {
        "numbers": [int(v) for v in kept],
        "groups": groups,
        "hidden": packed_bytes(hidden.astype(np.uint8)),
        "high": high,
        "block": block,
        "side": int(measured.shape[-1]),
        "told": {"best": best, "typical": typical, "worst": worst},
    }
    return {"patterns": shown}
