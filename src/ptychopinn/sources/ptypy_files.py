"""Files of ptypy: ``.ptyd`` with patterns, ``.ptyr`` with a result.

``chunks/K`` of a ``.ptyd`` holds ``data`` (m, H, W), ``positions`` (m, 2) as (y, x) in metres and
``weights`` (m, H, W), 0 at bad pixels, or none; ``meta`` (``info`` in older files) has ``energy``
in keV, ``distance`` and ``psize`` in metres, ``center`` in pixels. A ``.ptyr`` has no patterns, and
its probe is read by ``probe``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.frames import StoredFrames, frames_in, joined

NAME = "ptypy"
DESCRIPTION = "ptypy (.ptyd, .ptyr)"

NUMBERED = re.compile(r"[0-9]{1,18}")


def matches(path: Path) -> bool:
    """Whether ptypy wrote the file: chunks of data, or a content with a probe."""
    if not path.is_file() or not is_hdf5(path):
        return False
    with reading(path) as file:
        return isinstance(file.item("chunks"), h5py.Group) or _is_result(file)


def _is_result(file: Reader) -> bool:
    return isinstance(file.item("content/probe"), h5py.Group)


def open_source(path: Path, patterns: str | None) -> Source:
    """Look at the data."""
    with reading(path) as file:
        if _is_result(file):
            raise InputError(
                f"measured patterns were expected, received '{path}', a result of ptypy without "
                "any; name the .ptyd file, and give this one as probe."
            )
        group = file.item("chunks")
        numbers = sorted((key for key in group if NUMBERED.fullmatch(key)), key=int)
        parts: list[StoredFrames] = []
        names, places = [], []
        for number in numbers:
            key = f"chunks/{number}/data"
            if not file.shape(key):
                continue
            parts.append(frames_in(file, key))
            names.append(key)
            positions = file.optional(f"chunks/{number}/positions", "fiu", (2,))
            if positions is not None:
                places.append(positions.reshape(-1, positions.shape[-1])[:, :2])
        if not parts:
            raise InputError(
                f"at least one chunk with data was expected in '{path}', received none; write the "
                "file again with ptypy."
            )
        frames = joined(parts, names)
        points = None
        if sum(map(len, places)) == frames.shape[0]:
            values = np.concatenate(places).astype(np.float64)
            points = ScanPoints(values, "m", f"'chunks' in '{path}'")
        meta = "meta" if isinstance(file.item("meta"), h5py.Group) else "info"
        energy, distance = _number(file, f"{meta}/energy"), _number(file, f"{meta}/distance")
        return Source(
            kind=NAME,
            path=path,
            patterns=frames,
            points=points,
            mask=_mask(file, parts),
            centre=_pair(file, f"{meta}/center"),
            notes={"patterns": f"{len(parts)} chunk(s)"},
            found=(
                [
                    (
                        "energy_eV",
                        None if energy is None else energy * 1e3,
                        f"'{meta}/energy' in '{path}' (keV)",
                    ),
                    ("distance_m", distance, f"'{meta}/distance' in '{path}'"),
                    (
                        "detector_pixel_m",
                        _number(file, f"{meta}/psize"),
                        f"'{meta}/psize' in '{path}'",
                    ),
                ]
            ),
        )


def _number(file: Reader, name: str) -> float | None:
    """A number; of two equal ones the first; None where ptypy did not know it."""
    if not file.shape(name) and file.shape(name) != ():
        return None
    try:
        values = file.array(name).reshape(-1).astype(np.float64)
    except InputError:
        return None
    if not values.size or not np.isfinite(values[0]) or values[0] <= 0:
        return None
    if len(values) > 1 and abs(values[1] / values[0] - 1) > 1e-3:
        raise InputError(
            f"the pixels of the detector must be square, received {values[0]:.6g} by "
            f"{values[1]:.6g} in '{file.path}'; bin them to squares first."
        )
    return float(values[0])


def _pair(file: Reader, name: str) -> tuple[float, float] | None:
    if not file.shape(name):
        return None
    try:
        values = file.array(name).reshape(-1).astype(np.float64)
    except InputError:
        return None
    if len(values) != 2 or not np.isfinite(values).all():
        return None
    return float(values[0]), float(values[1])


def _mask(file: Reader, parts: list[StoredFrames]) -> NDArray[np.bool_] | None:
    """Pixels that have a weight in all patterns."""
    good: NDArray[np.bool_] | None = None
    size = parts[0].stored[-2:]
    named = [(part.key.replace("/data", "/weights"), part.stored[:-2]) for part in parts]
    common = [(f"{group}/weight2d", ()) for group in ("meta", "common", "info")]
    for name, lead in (*named, *common):
        # One for all patterns, or for each of them.
        if file.shape(name) not in (size, (*lead, *size)):
            continue
        stored = file.dataset(name, "biuf")
        for weights in [stored[()]] if stored.ndim == 2 else iter(stored):
            seen = np.asarray(weights > 0).reshape(-1, *size).all(axis=0)
            good = np.asarray(seen if good is None else good & seen)
    return good


def result_probe(path: Path) -> NDArray[Any] | None:
    """The probe modes (P, N, N) of a ``.ptyr`` file; None for any other file."""
    if not path.is_file() or not is_hdf5(path):
        return None
    with reading(path) as file:
        group = file.item("content/probe")
        if not isinstance(group, h5py.Group):
            return None
        for name in group:
            key = f"content/probe/{name}/data"
            if file.shape(key):
                return file.array(key, "fc", (2, 3))
    return None
