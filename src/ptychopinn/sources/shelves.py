"""MATLAB files of PtychoShelves and fold_slice, version 7.3 or 5.

Patterns are ``dp``, ``data``, ``cbed`` (counts) or ``fmag`` (sqrt(counts)), at the top or in the
structure ``p``. Positions are ``ppX`` and ``ppY`` or ``positions_real`` (y, x) in metres, or
``positions`` (y, x) in pixels of the object; ``lambda`` and ``dx`` (or ``dx_spec``), ``z`` and
``ds`` are metres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.errors import InputError
from ptychopinn.io.listing import Item, items_of
from ptychopinn.io.matlab import is_version_5, is_version_73
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.by_keys import frames_at
from ptychopinn.sources.places import Place, array_at

NAME = "shelves"
DESCRIPTION = "MATLAB file of PtychoShelves or fold_slice (.mat)"

PATTERNS = ("dp", "cbed", "fmag", "data")
PROBES = ("probe", "probes")
# The sides of a pixel may differ by this part.
ALIKE = 1e-3


def matches(path: Path) -> bool:
    """Whether this is a MATLAB file with patterns of a known name."""
    if not path.is_file() or not (is_version_5(path) or is_version_73(path)):
        return False
    return _patterns(items_of(path)) is not None


def _patterns(items: list[Item]) -> str | None:
    for word in PATTERNS:
        for item in items:
            if item.key.rsplit("/", 1)[-1] == word and item.is_real and len(item.shape) >= 3:
                return item.key
    return None


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the file."""
    items = items_of(path)
    known = {item.key.rsplit("/", 1)[-1]: item.key for item in reversed(items)}
    key = patterns or _patterns(items) or ""
    frames = frames_at(Place(path, key))

    def array(name: str) -> Any:
        return array_at(Place(path, known[name])) if name in known else None

    def number(*names: str) -> tuple[float | None, str]:
        for name in names:
            values = array(name)
            if values is not None and values.size and values.dtype.kind in "iuf":
                value, *others = (float(v) for v in values.reshape(-1)[:2])
                if np.isfinite(value) and value > 0:
                    if others and abs(others[0] / value - 1) > ALIKE:
                        raise InputError(
                            f"pixels must be square, received {value:.6g} by {others[0]:.6g} as "
                            f"'{known[name]}' in '{path}'; bin the patterns to squares first."
                        )
                    return value, f"'{known[name]}' in '{path}'"
        return None, ""

    wavelength, where = number("lambda")
    energy = None if wavelength is None else wavelength_of(1.0) / wavelength
    probe = next((array(name) for name in PROBES if name in known), None)
    return Source(
        kind=NAME,
        path=path,
        patterns=frames,
        points=_points(path, array),
        probe=probe[0] if probe is not None and probe.ndim == 4 else probe,
        units="amplitude" if key.endswith("fmag") else None,
        notes={"patterns": key},
        found=(
            [
                ("energy_eV", energy, where),
                ("pixel_size_m", *number("dx_spec", "dx")),
                ("distance_m", *number("z")),
                ("detector_pixel_m", *number("ds")),
            ]
        ),
    )


def _points(path: Path, array: Any) -> ScanPoints | None:
    y, x = array("ppY"), array("ppX")
    if y is not None and x is not None:
        if y.size != x.size:
            raise InputError(
                f"'ppX' and 'ppY' must be of one length, received {x.size} and {y.size} numbers in "
                f"'{path}'; write those of one scan."
            )
        values = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
        return ScanPoints(values, "m", f"'ppX' and 'ppY' in '{path}'")
    for name, unit in (("positions_real", "m"), ("positions", "px")):
        values = array(name)
        if values is None or values.ndim != 2 or values.dtype.kind not in "iuf":
            continue
        if values.shape[1] != 2 and values.shape[0] == 2:
            values = values.T
        if values.shape[1] == 2:
            return ScanPoints(values.astype(np.float64), unit, f"'{name}' in '{path}'")
    return None
