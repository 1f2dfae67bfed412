"""Files of ptypy: ``.ptyd`` with patterns, ``.ptyr`` with a result.

``chunks/K`` of a ``.ptyd`` holds ``data`` (m, H, W), ``positions`` (m, 2) as (y, x) in metres and
``weights`` (m, H, W), 0 at bad pixels, or none; ``meta`` (``info`` in older files) has ``energy``
in keV, ``distance`` and ``psize`` in metres, ``center`` in pixels. A ``.ptyr`` has no patterns, and
its probe is read by ``probe``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError, listed
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.hdf5 import Reader, reading
from ptychopinn.io.no_counts import named_patterns
from ptychopinn.sources.base import ScanPoints, Source
from ptychopinn.sources.file_names import gaps_among
from ptychopinn.sources.frames import (
    Frames,
    ReorderedFrames,
    StoredFrames,
    ZeroedFrames,
    frames_in,
    joined,
)

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
        frames: Frames = joined(parts, names)
        points = None
        if places:
            values = np.concatenate(places).astype(np.float64)
            points = ScanPoints(values, "m", f"'chunks' in '{path}'")
        mask, empty, said = _weights(file, parts)
        if len(empty):
            frames = ZeroedFrames(frames, empty)
        numbers = _numbers(file, parts)
        order = np.argsort(numbers, kind="stable")
        if (np.diff(order) != 1).any():
            frames = ReorderedFrames(frames, order)
            if points is not None and len(points.values) == len(order):
                points = replace(points, values=points.values[order])
        meta = "meta" if isinstance(file.item("meta"), h5py.Group) else "info"
        energy, distance = _number(file, f"{meta}/energy"), _number(file, f"{meta}/distance")
        return Source(
            kind=NAME,
            path=path,
            patterns=frames,
            points=points,
            mask=mask,
            findings=said,
            gaps=gaps_among(sorted(numbers)),
            numbered="under 'indices'",
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


def _numbers(file: Reader, parts: list[StoredFrames]) -> list[int]:
    """The numbers that frames have in their scan; 0, 1, 2, ... where none are told.

    Chunks are written as they are made, by several processes in any order.
    """
    found: list[int] = []
    for part in parts:
        stored = file.optional(part.key.replace("/data", "/indices"), "iu")
        found += [] if stored is None else stored.ravel().tolist()
    count = sum(part.shape[0] for part in parts)
    return found if len(found) == len(set(found)) == count else list(range(count))


def _weights(
    file: Reader, parts: list[StoredFrames]
) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64], tuple[Finding, ...]]:
    """Pixels that have a weight in all patterns which have any, the numbers of the patterns that
    have none, and what is to be said about weights."""
    good: NDArray[np.bool_] | None = None
    size, count = parts[0].stored[-2:], 0
    empty: list[int] = []
    said: list[Finding] = []
    named: list[tuple[str, tuple[int, ...], int]] = []
    for part in parts:
        named.append((part.key.replace("/data", "/weights"), part.stored[:-2], count))
        count += part.shape[0]
    named += [(f"{group}/weight2d", (), 0) for group in ("meta", "common", "info")]
    for name, lead, first in named:
        shape = file.shape(name)
        # One for all patterns, or for each of them.
        if shape not in (size, (*lead, *size)):
            said += _unused(name, shape, size)
            continue
        stored = file.dataset(name, "biuf")
        for k, weights in enumerate([stored[()]] if stored.ndim == 2 else stored):
            seen = np.asarray(weights > 0).reshape(-1, *size).all(axis=0)
            if stored.ndim == 3 and not seen.any():
                empty.append(first + k)
            else:
                good = np.asarray(seen if good is None else good & seen)
    if len(empty) == count:
        return np.zeros(size, np.bool_), np.zeros(0, np.int64), tuple(said)
    if empty:
        words = (
            f"set {named_patterns(empty)} of {count} to 0, which "
            f"{'has' if len(empty) == 1 else 'have'} no weight in any pixel; who reconstructs "
            "leaves them out"
        )
        said.append(Finding("lost-patterns", "mended", words, {"numbers": empty}))
    return good, np.array(empty, np.int64), tuple(said)


def _unused(name: str, shape: tuple[int, ...] | None, size: tuple[int, ...]) -> list[Finding]:
    """What is said about weights that belong to no pixels; of a number or none nothing."""
    if not shape or len(shape) < 2:
        return []
    words = (
        f"the weights '{name}' have the shape {shape} where patterns have {size[0]} x {size[1]} "
        "pixels: they were not used; write them anew, or give a mask"
    )
    return [Finding("weights-unused", "doubt", words, {"shape": list(shape)})]


def result_probe(path: Path) -> NDArray[Any] | None:
    """The probe modes (P, N, N) of a ``.ptyr`` file; None for any other file.

    Raises
    ------
    InputError
        When it has those of several scans.
    """
    if not path.is_file() or not is_hdf5(path):
        return None
    with reading(path) as file:
        group = file.item("content/probe")
        if not isinstance(group, h5py.Group):
            return None
        keys = [f"content/probe/{name}/data" for name in group]
        found = [key for key in keys if file.shape(key)]
        if len(found) > 1:
            raise InputError(
                f"the probe of one scan was expected, received '{path}' with {listed(found)}; name "
                "one of them as FILE:KEY."
            )
        return file.array(found[0], "fc", (2, 3)) if found else None
