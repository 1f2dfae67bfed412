"""What a result predicts: the patterns that belong to its object, probe, positions and effects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import left_out
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan, check_inside
from ptychopinn.errors import InputError
from ptychopinn.machine.memory import check_memory
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics import forward
from ptychopinn.physics.effects import Effect, restored

# Complex values of one batch of exit waves (8 MiB).
_BATCH_VALUES = 1 << 20


def predict(
    result: Reconstruction,
    positions_px: NDArray[np.float64] | None = None,
    xp: Ops | None = None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Expected counts of the result in batches: (which patterns, (b, N, N) float32).

    The forward model of :mod:`ptychopinn.physics.forward` in single precision; memory is bounded
    whatever the number of patterns. ``positions_px`` defaults to those of the result; at others
    nothing is known of beam and detector. ``xp`` computes, NumPy when not given.

    Raises
    ------
    InputError
        When a patch leaves the canvas.
    """
    positions = result.positions_px if positions_px is None else positions_px
    n = result.N
    check_inside(positions - result.origin_px, n, result.object.shape)
    yield from forward.predict(
        NumpyOps() if xp is None else xp,
        result.object if result.slices is None else result.slices,
        result.probe,
        positions,
        result.origin_px,
        result.propagator,
        max(1, _BATCH_VALUES // result.probe.size),
        [e for e in effects_of(result) if positions_px is None or e.slices > 1],
    )


def effects_of(result: Reconstruction) -> tuple[Effect, ...]:
    """What a result knows of beam and detector."""
    return restored(result.effects, len(result.positions_px), result.N)


def predict_patterns(result: Reconstruction) -> NDArray[np.float32]:
    """Expected counts (M, N, N) at the positions of the result, zero frequency at [N/2, N/2].

    All at once; :func:`predict` gives them in batches.

    Raises
    ------
    InputError
        When a patch leaves the canvas, as after ``crop``, or the patterns do not fit into memory.
    """
    m, n = len(result.positions_px), result.N
    check_memory(
        4 * m * n * n, f"the {m} patterns of {n} x {n} pixels", "predict fewer positions at a time"
    )
    return np.concatenate([frames for _, frames in predict(result)])


def match_patterns(result: Reconstruction, data: Scan) -> NDArray[np.intp] | None:
    """Which patterns of ``data`` the result was made from; None means all, in order.

    With as many positions as patterns they belong together one to one, and so they do without the
    patterns that a finding of the result says were left out. Otherwise each position of
    the result must be that of one pattern, to half a pixel.

    Raises
    ------
    InputError
        When the two cannot belong together.
    """
    if result.N != data.N:
        raise InputError(
            f"result and data must have the same pattern size, received {result.N} and {data.N}; "
            "evaluate the scan that was reconstructed."
        )
    if len(result.positions_px) == data.M:
        return None
    gone = left_out(result.findings)
    if len(gone) and len(result.positions_px) == data.M - len(gone):
        return np.delete(np.arange(data.M, dtype=np.intp), gone)
    from scipy.spatial import cKDTree

    distance, index = cKDTree(data.positions_px).query(result.positions_px)
    if distance.max() > 0.5:
        raise InputError(
            f"each of the {len(result.positions_px)} positions of the result must be one of the "
            f"{data.M} of the data, received one that is {distance.max():.3g} px away; "
            "evaluate the scan that was reconstructed."
        )
    return np.asarray(index, dtype=np.intp)
