"""Objects cut from photographs: those that come with scikit-image, and a folder of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Shape = tuple[int, int]
Real = NDArray[np.float64]

# Inside the scikit-image wheel; none of them is downloaded.
INCLUDED = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass",
    "gravel", "moon", "page", "text",
)  # fmt: skip
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


def included_photographs(shape: Shape, rng: np.random.Generator) -> tuple[Real, Real]:
    """Absorption from one of the included photographs and phase from another, randomly chosen,
    turned and cut."""
    first, second = rng.choice(len(INCLUDED), size=2, replace=False)
    return _cut(INCLUDED[first], shape, rng), _cut(INCLUDED[second], shape, rng)


def _cut(name: str, shape: Shape, rng: np.random.Generator) -> Real:
    from scipy.ndimage import zoom

    image = np.rot90(_included(name), int(rng.integers(4)))
    if rng.integers(2):
        image = image[::-1]
    factor = max(shape[0] / image.shape[0], shape[1] / image.shape[1])
    if factor > 1:  # never reduced: that would alias
        image = zoom(image, factor * 1.001, order=1, mode="nearest", grid_mode=True)
    top, left = (rng.integers(i - s + 1) for i, s in zip(image.shape, shape, strict=True))
    return stretched(image[top : top + shape[0], left : left + shape[1]])


def _included(name: str) -> Real:
    """(H, W) luminance (Rec. 709), 0 to 255."""
    from skimage import data

    image = np.asarray(getattr(data, name)(), dtype=np.float64)
    return image[..., :3] @ np.array((0.2125, 0.7154, 0.0721)) if image.ndim == 3 else image


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name.

    Raises InputError when there are fewer than two."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in inside if path.suffix.lower() in SUFFIXES]
    if len(found) < 2:
        raise InputError(
            f"a folder of photographs must hold two pictures or more, received '{folder}' with "
            f"{len(found)} of the kinds {', '.join(sorted(SUFFIXES))}; name another folder."
        )
    return found


def readable_pictures(folder: Path) -> list[Path]:
    """The same, each of which was opened.

    Raises InputError when one cannot be."""
    found = pictures_in(folder)
    for path in found:
        _opened(path)
    return found


def varied_photographs(folder: Path, shape: Shape, rng: np.random.Generator) -> tuple[Real, Real]:
    """Absorption from one photograph and phase from another, of the folder and of those included,
    each at a random place and scale, turned, with another gradation, at times as a negative.

    Raises InputError when a picture cannot be read."""
    chosen: list[Path | str] = [*pictures_in(folder), *INCLUDED]
    first, second = rng.choice(len(chosen), size=2, replace=False)
    return _varied(chosen[first], shape, rng), _varied(chosen[second], shape, rng)


def _varied(which: Path | str, shape: Shape, rng: np.random.Generator) -> Real:
    from PIL import Image

    image = _opened(which) if isinstance(which, Path) else Image.fromarray(_included(which))
    turns = int(rng.integers(4))
    # Of the picture before it is turned.
    height, width = shape if turns % 2 == 0 else shape[::-1]
    largest = min(image.height / height, image.width / width)
    # Pixels of the picture that become one of the object; a small picture is enlarged.
    scale = np.exp(rng.uniform(0, np.log(largest))) if largest > 1 else largest
    # Rounding must not lead outside.
    tall, wide = min(scale * height, image.height), min(scale * width, image.width)
    top, left = rng.uniform(0, image.height - tall), rng.uniform(0, image.width - wide)
    box = (left, top, min(left + wide, image.width), min(top + tall, image.height))
    small = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
    values = np.rot90(np.asarray(small, dtype=np.float64), turns)
    if rng.integers(2):
        values = values[::-1]
    values = stretched(values) ** np.exp(rng.normal(0, 0.3))
    return 1 - values if rng.random() < 0.3 else values


def _opened(path: Path) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.convert("L")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(
            f"a photograph must be a picture that Pillow reads, received '{path}': {error}; take "
            "it out of its folder."
        ) from error


def stretched(image: Real) -> Real:
    """In [0, 1]; the few extremes saturate."""
    low, high = np.percentile(image, (0.5, 99.5))
    if high <= low:
        return np.zeros(image.shape)
    found: Real = np.clip((image - low) / (high - low), 0.0, 1.0)
    return found
