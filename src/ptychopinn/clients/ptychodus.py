"""Scans as ptychodus hands them over, and results as it takes them back.

ptychodus gives arrays or a folder: positions in pixels of the object, counted from the middle of
the patch (see :mod:`ptychopinn.io.record_scan`), photon counts, a probe of any scale. It stamps whatever
comes back with the pixel size and the centre of the *input* object, so the canvas must have that
object's shape, or at least its middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptychopinn.config import Config
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan, scan_of
from ptychopinn.io.base import ReadOptions
from ptychopinn.io.npz_members import Archive, is_archive
from ptychopinn.io.ptychodus_product import stack
from ptychopinn.io.ptychodus_scan import DIFFRACTION, check_patterns
from ptychopinn.io.record import METADATA, Patterns, Product, Record
from ptychopinn.io.record_scan import scan_fields
from ptychopinn.training.plan import subscan_size


def scan_from_arrays(
    diffraction: ArrayLike,
    x_px: ArrayLike,
    y_px: ArrayLike,
    probe: ArrayLike,
    *,
    object_guess: ArrayLike | None = None,
    bad_pixels: ArrayLike | None = None,
    name: str = "scan",
) -> Scan:
    """A scan from arrays in the conventions of ptychodus.

    Parameters
    ----------
    diffraction : (M, N, N) photon counts of any real type, zero frequency at [N/2, N/2]
    x_px, y_px : (M,) columns and rows of the middle of each patch on ``object_guess``
    probe : (P, N, N) or (N, N) complex of any scale
    object_guess : (H, W) complex; one that is the same everywhere counts as none
    bad_pixels : (N, N), True = bad

    Returns
    -------
    The scan, its probe scaled to the counts; positions are ``px + 1/2``.

    Raises
    ------
    InputError
        When the arrays do not belong together.
    """
    source = Path(name)
    counts = np.ascontiguousarray(diffraction)
    if counts.ndim != 3:
        raise InputError(
            f"diffraction must have shape (M, N, N), received {counts.shape}; give one pattern per "
            "position."
        )
    x, y = np.asarray(x_px, np.float64).reshape(-1), np.asarray(y_px, np.float64).reshape(-1)
    if not len(x) == len(y) == len(counts):
        raise InputError(
            f"there must be one position per pattern, received {len(x)} x, {len(y)} y and "
            f"{len(counts)} patterns; use arrays of one scan."
        )
    bad = np.zeros(counts.shape[1:], bool) if bad_pixels is None else np.asarray(bad_pixels, bool)
    obj = None if object_guess is None else np.asarray(object_guess)
    shape = np.zeros(2) if obj is None else np.asarray(obj.shape[-2:])
    indexes = np.arange(len(x), dtype=np.int64)
    product = Product(
        indexes=indexes,
        positions_m=np.stack([y, x], axis=1),
        probe=stack(np.asarray(probe), 4, "probe", source),
        object=None if obj is None or not obj.size else stack(obj, 3, "object", source),
        # One metre per pixel: lengths in pixels are lengths in metres.
        center_m=((shape[0] - 1) / 2, (shape[1] - 1) / 2),
        object_pixel_m=(1.0, 1.0),
        metadata={**METADATA, "name": name},
    )
    patterns = check_patterns(source, Patterns(counts, indexes, bad))
    fields = scan_fields(Record(patterns, product), ReadOptions(), source)
    # The pixel size is not known; the one of the record only served the arithmetic.
    return replace(scan_of(fields, source), pixel_size_m=None)


def load_exported(path: Path) -> Scan:
    """Training data of ptychodus: an NPZ, or the scan in its folder when there is no NPZ.

    Only ``diffraction.h5`` and ``product.h5`` arrive where training is started remotely.

    Raises
    ------
    InputError
        When neither is there, or it cannot be read.
    """
    if not path.exists():
        if (path.parent / DIFFRACTION).is_file():
            return load_scan(path.parent)
        raise InputError(
            f"training data were expected in '{path}', or {DIFFRACTION} and product.h5 in its "
            "folder, received neither; export training data first."
        )
    if not is_archive(path):
        return load_scan(path)
    with Archive(path) as archive:
        if "diff3d" not in archive or archive.dtypes["diff3d"].kind not in "iu":
            return load_scan(path)  # the amplitudes of the earlier program
        arrays = {
            key: archive.numbers(key) for key in ("diff3d", "xcoords", "ycoords", "probeGuess")
        }
        optional = {
            key: archive.numbers(key) if key in archive else None
            for key in ("objectGuess", "bad_pixels")
        }
    return scan_from_arrays(
        arrays["diff3d"],
        arrays["xcoords"],
        arrays["ycoords"],
        arrays["probeGuess"],
        object_guess=optional["objectGuess"],
        bad_pixels=optional["bad_pixels"],
        name=path.stem,
    )


def training_scans(folder: Path) -> list[Scan]:
    """Every scan that ptychodus exported into a folder (``*.npz``), or the scan that lies there.

    Raises
    ------
    InputError
        When there is none.
    """
    if not folder.is_dir():
        raise InputError(
            f"training data were expected in the folder '{folder}', received no such folder; "
            "export training data into it."
        )
    files = sorted(folder.glob("*.npz"))
    return [load_exported(path) for path in files or [folder / "train_data.npz"]]


def one_pass(config: Config, scans: Sequence[Scan]) -> Config:
    """The configuration with epochs as ptychodus counts them: about one pass over the patterns.

    A canvas network is trained on sub-scans; as many are drawn as hold the patterns once.
    """
    if config.model.family == "patch" or config.data.n_groups is None:
        return config
    wanted = sum(max(1, round(scan.M / subscan_size(config, scan.N))) for scan in scans)
    return config.model_copy(update={"data": config.data.model_copy(update={"n_groups": wanted})})


def on_canvas(result: Reconstruction, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """The object on an array of ``shape`` whose pixel [0, 0] is position (0, 0).

    Pixels that were never seen are 1, what lies outside is cut off.
    """
    canvas = np.ones(shape, np.complex64)
    obj, weight = result.object, result.weight
    origin = result.origin_px
    low = np.maximum(origin, 0)
    high = np.minimum(origin + obj.shape, shape)
    if (high <= low).any():
        raise InputError(
            f"the positions must lie on the object of shape {shape}, received a reconstruction "
            f"from {tuple(origin.tolist())} of shape {obj.shape}; check object and positions."
        )
    inner = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
    outer = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    canvas[outer] = np.where(weight[inner] > 0, obj[inner], 1)
    return canvas


def centred_shape(x_px: ArrayLike, y_px: ArrayLike, n: int) -> tuple[tuple[int, int], Any]:
    """Canvas for an object of unknown shape: (H, W), and the position of its pixel [0, 0].

    ptychodus sizes an object round the bounding box of the positions, so that the middle of that
    box is the middle (W-1)/2 of the object: twice the middle, plus one, is the object's shape, and
    its first pixel is position 0. Where that would cut off a patch the canvas grows on both sides.
    """
    shape, first = [], []
    for values in (np.asarray(y_px, np.float64), np.asarray(x_px, np.float64)):
        low, high = float(values.min()), float(values.max())
        length = round(low + high) + 1
        grow = max(0, math.ceil((high - low + n - length) / 2 - 1e-6))
        shape.append(length + 2 * grow)
        first.append(-grow)
    return (shape[0], shape[1]), np.asarray(first)
