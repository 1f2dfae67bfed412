"""What a model gets: patterns as amplitudes, and the scan they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho import params
from ptycho.raw_data import GroupedData


@dataclass(frozen=True, eq=False)
class PtychoDataContainer:
    """X : (n, N, N, 1) float32, sqrt(counts) divided by ``intensity_scale``.  The offsets stand for
    the whole scan: the model and ``reassemble_position`` take from it what they need."""

    X: NDArray[np.float32]
    local_offsets: GroupedData
    global_offsets: GroupedData


def load(
    cb: Callable[[], GroupedData], probeGuess: Any, which: Any = None, create_split: bool = False
) -> PtychoDataContainer:
    """The container of the scan that ``cb`` returns; its probe is the one of the scan."""
    data = cb()
    scale = params.cfg.get("intensity_scale", 1.0)
    amplitudes = np.sqrt(np.asarray(data.scan.diffraction[:], np.float32)) / scale
    return PtychoDataContainer(amplitudes[..., None].astype(np.float32), data, data)
