"""Arrays as text that a page in a browser reads: quantised, compressed, base64."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Levels of a map; 0 stands for a pixel without a value.
LEVELS = 4095
# Fast, and hardly larger than the best.
_LEVEL = 4


def packed_map(image: NDArray[Any], low: float, high: float) -> dict[str, Any]:
    """An image (h, w), NaN where nothing is known, in 4095 levels from ``low`` to ``high``.

    Values outside get the level at the end. What is compressed are the differences of neighbours
    along a row modulo 65536, first all their low bytes, then all their high ones.
    """
    known = np.isfinite(image)
    scale = (LEVELS - 1) / ((high - low) or 1.0)
    levels = np.clip(np.round((np.where(known, image, low) - low) * scale), 0, LEVELS - 1) + 1
    codes = np.where(known, levels, 0).astype(np.uint16)
    steps = np.diff(codes, axis=1, prepend=np.uint16(0))
    planes = np.stack((steps & 0xFF, steps >> 8)).astype(np.uint8)
    return {
        "kind": "map", "shape": list(image.shape), "low": float(low), "high": float(high),
        "data": _text(planes),
    }  # fmt: skip


def packed_bytes(values: NDArray[np.uint8] | NDArray[np.int8]) -> dict[str, Any]:
    """Whole numbers of one byte, of any shape."""
    kind = "u1" if values.dtype == np.uint8 else "i1"
    return {"kind": kind, "shape": list(values.shape), "data": _text(values)}


def packed_numbers(values: NDArray[Any]) -> dict[str, Any]:
    """Numbers (M,) in single precision, NaN among them: all first bytes, then all second ones."""
    numbers = np.ascontiguousarray(values, dtype="<f4")
    planes = numbers.view(np.uint8).reshape(-1, 4).T
    return {"kind": "f4", "shape": [len(numbers)], "data": _text(planes)}


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), _LEVEL)).decode()
