"""Applying a trained network to every pattern of a scan in bounded memory, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ptychopinn.backends.base import CanvasResult
from ptychopinn.config import ModelConfig
from ptychopinn.errors import InputError
from ptychopinn.grouping import nearest_groups, reading_order
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

T = TypeVar("T")


def repeated_passes(
    scan: PreparedScan, limit_bytes: int, read: Callable[[slice], T]
) -> Callable[[], Iterable[T]]:
    """The patterns of a scan in batches, for repeated passes; ``read`` makes one of a slice.

    The batches are kept when all of them fit into ``limit_bytes``; otherwise every pass reads them
    anew and holds one at a time.
    """
    n, modes = scan.scan.N, scan.probe.shape[0]
    per_pattern = n * n * (12 + 8 * modes)
    step = max(1, min(batch_length(n, CANVAS_BYTES * modes, limit_bytes // 4), scan.scan.M))

    def batches() -> Iterator[T]:
        return map(read, slices(scan.scan.M, step))

    if scan.scan.M * per_pattern > limit_bytes:
        return batches
    kept = list(batches())
    return lambda: kept


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
    model: ModelConfig,
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
    size = model.gridsize**2
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
