"""A scan of arrays that somebody holds in memory, by the rules for files."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.scan import Scan, Unit
from ptychopinn.data.units import METRES
from ptychopinn.errors import InputError, shown
from ptychopinn.io import read_probe, scan_of
from ptychopinn.io.base import ScanFields, refuse_metres
from ptychopinn.io.counts import counts_from_array
from ptychopinn.io.detector import clean
from ptychopinn.io.layout import as_patterns, as_points, probe_modes
from ptychopinn.io.rescaled import LOGARITHMS
from ptychopinn.io.scans import needs_scan

ORDERS = ("yx", "xy")


def scan_from_arrays(
    counts: Any,
    positions: Any,
    probe: Any,
    modes: int | None,
    *,
    unit: Unit,
    order: str,
    scale_probe: bool,
    pixel_size_m: float | None,
    object: Any,
    mask: Any,
    clip_negative: bool,
    **fields: Any,
) -> Scan:
    """See :meth:`ptychopinn.data.scan.Scan.from_arrays`; ``fields`` are passed on as they are."""
    places = _array(positions, "positions")
    if places.ndim != 2:
        stored = as_patterns(_array(counts, "counts"), None, "counts")
    else:
        stored = as_patterns(_array(counts, "counts"), len(places), "counts")
    if places.ndim > 1 and places.dtype.kind in "iuf" and 2 in (places.shape[0], places.shape[-1]):
        places = as_points(places, len(stored), (2,), "positions", "(M, 2)")
    good = None if mask is None else _mask(_array(mask, "mask"))
    cleaned = clean(
        stored, "counts", good, meaning="good", clip_negative=clip_negative, undo=LOGARITHMS
    )
    spec = probe if isinstance(probe, str) else None
    given_probe = None
    if spec is not None and not needs_scan(spec):
        given_probe = read_probe(spec)
    elif probe is not None and spec is None:
        given_probe = probe_modes(_array(probe, "probe"), "probe", stored.shape[-1])
    return scan_of(
        ScanFields(
            diffraction=counts_from_array(cleaned.patterns, "counts"),
            positions_px=_pixels(places, unit, order, pixel_size_m),
            probe=given_probe,
            probe_in_counts=not scale_probe,
            object=None if object is None else _array(object, "object"),
            mask=cleaned.good,
            findings=cleaned.findings,
            pixel_size_m=pixel_size_m,
            provenance={"made_from": "arrays", "positions": f"{order} in {unit}"},
            **fields,
        ),
        None,
        spec,
        modes,
    )


def _array(value: Any, what: str) -> NDArray[Any]:
    """The numbers of an array, a list, or an array of another package."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} must be an array of numbers, received {shown(value)} ({error}); convert it to "
            "a NumPy array."
        ) from error
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"{what} must be an array of numbers, received {array.dtype} of shape {array.shape}; "
            "convert it to a NumPy array."
        )
    return array


def _pixels(
    positions: NDArray[Any], unit: str, order: str, pixel_size_m: float | None
) -> NDArray[np.float64]:
    """Positions (M, 2) as (y, x) in object pixels."""
    for value, name, known in ((unit, "unit", get_args(Unit)), (order, "order", ORDERS)):
        if value not in known:
            raise InputError(
                f"{name} must be one of {', '.join(known)}, received {shown(value)}; correct it."
            )
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "iuf":
        raise InputError(
            f"positions must be real with shape (M, 2), received {positions.dtype} of shape "
            f"{positions.shape}; give one position per pattern."
        )
    placed = positions.astype(np.float64)
    if order == "xy":
        placed = placed[:, ::-1]
    if unit == "px":
        refuse_metres(placed, "positions of unit='px'")
        return placed
    if pixel_size_m is None:
        raise InputError(
            f"positions in {unit} need the size of an object pixel, received no pixel_size_m; give "
            "it in metres."
        )
    number = isinstance(pixel_size_m, int | float | np.number)
    if not (number and np.isfinite(pixel_size_m) and pixel_size_m > 0):
        raise InputError(
            f"pixel_size_m must be positive, received {shown(pixel_size_m)}; give the size of an "
            "object pixel in metres."
        )
    return placed * (METRES[unit] / pixel_size_m)


def _mask(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Good pixels: booleans, or whole numbers that are 0 or 1."""
    if not np.isin(mask, (0, 1)).all():
        raise InputError(
            "mask must be True or 1 at good pixels and False or 0 at bad ones, received other "
            "numbers; give mask == 0 if yours holds codes of what is wrong."
        )
    return mask.astype(bool)
