"""Applying a trained network to every pattern of a scan in bounded memory, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult
from ptychopinn.errors import InputError
from ptychopinn.grouping import nearest_groups, reading_order
from ptychopinn.networks.architecture import PatchConfig
from ptychopinn.networks.unrolled import RIM
from ptychopinn.physics.groups import merge_weight, split_offsets
from ptychopinn.preparation import PreparedScan, batch_length, slices
from ptychopinn.stitching import Stitcher

# Bytes per pattern pixel while a physics step works on it, for one probe mode: exit wave, far
# field, correction (complex64), amplitude, index.
CANVAS_BYTES = 64
PATCH_BYTES = 4096
# Groups that a patch network sees at once, at most; more are not faster.
MOST_GROUPS = 256

# Side of the canvas tiles that the correction of a canvas network is computed in, a multiple of
# every ``multiple_of``: a larger canvas would need gigabytes for the channels of the network.
TILE = 512


def kept(scan: PreparedScan, limit_bytes: int) -> bool:
    """Whether all patterns of a scan, with probes and indices, fit into ``limit_bytes``.

    Otherwise every pass reads them anew.
    """
    n, modes = scan.scan.N, scan.probe.shape[0]
    return scan.scan.M * n * n * (12 + 8 * modes) <= limit_bytes


@dataclass(frozen=True)
class Tile:
    """A part of an image: ``core`` is what it is responsible for, ``outer`` what it looks at, and
    ``inner`` where the core lies inside of that. Slices (rows, columns)."""

    core: tuple[slice, slice]
    outer: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(shape: tuple[int, int], side: int, halo: int) -> list[Tile]:
    """Tiles with cores of at most ``side`` pixels that cover an image (H, W), each with a halo."""

    def along(length: int) -> list[tuple[slice, slice, slice]]:
        found = []
        for start in range(0, length, side):
            stop = min(start + side, length)
            low, high = max(0, start - halo), min(length, stop + halo)
            found.append((slice(start, stop), slice(low, high), slice(start - low, stop - low)))
        return found

    return [
        Tile((y[0], x[0]), (y[1], x[1]), (y[2], x[2]))
        for y in along(shape[0])
        for x in along(shape[1])
    ]


def canvas_result(
    canvas: NDArray[np.complex64],
    illumination: NDArray[np.float32],
    origin_px: NDArray[np.int64],
    misfits: Sequence[float],
) -> CanvasResult:
    """The result of a canvas network; what hardly any light reached counts as never seen."""
    light = illumination / illumination.max()
    return CanvasResult(
        object=canvas,
        weight=np.where(light > RIM / 10, light, 0).astype(np.float32),
        origin_px=origin_px,
        losses=np.array(misfits),
    )


def reconstruct_patches(
    model: PatchConfig,
    scan: PreparedScan,
    limit_bytes: int,
    apply: Callable[[NDArray[np.float32], NDArray[np.float64]], NDArray[np.complex64]],
) -> CanvasResult:
    """Every pattern with its nearest neighbours through a patch network, stitched.

    ``apply`` maps amplitudes (B, C, N, N) and offsets (B, C, 2) to patches (B, C, N, N), merged
    within each group when C > 1.

    Raises
    ------
    InputError
        When the model was trained for another N.
    """
    n, m = scan.scan.N, scan.scan.M
    if n != model.N:
        raise InputError(
            f"this model was trained for patterns of N = {model.N}, received a scan with N = {n}; "
            "crop, pad or bin the patterns, or train a model for that size."
        )
    positions = scan.scan.positions_px
    size = model.patterns_per_group
    rng = np.random.default_rng(0)
    nearest = nearest_groups(positions, np.arange(m), size, size - 1, rng)
    groups = reading_order(positions, nearest)
    stitcher = Stitcher(positions, merge_weight(scan.probe))
    step = batch_length(n, PATCH_BYTES * size, limit_bytes)
    for part in slices(m, min(step, MOST_GROUPS)):
        chosen = groups[part]
        places = positions[chosen]
        offsets = places - places.mean(axis=1, keepdims=True)
        patches = apply(scan.amplitudes(chosen), offsets)
        if size > 1:
            # After the merge patch k sits at the whole-pixel offset from the group's centre.
            places = places - split_offsets(offsets)[1]
        stitcher.add(patches.reshape(-1, n, n), places.reshape(-1, 2))
    canvas, weight = stitcher.result()
    return CanvasResult(
        object=canvas, weight=weight, origin_px=stitcher.origin_px, losses=np.empty(0)
    )
