"""Every figure of a result as files, in the formats that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.io.atomic import atomic_path
from ptychopinn.report.figure_names import FOLDER
from ptychopinn.report.plots import Look, all_figures


def save_figures(look: Look, folder: Path, formats: Sequence[str]) -> None:
    """Write all that can be drawn into ``folder / "figures"``."""
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    drawn = [kind for kind in formats if kind != "tiff"]
    if drawn:
        from ptychopinn.report.matplotlib_import import load_matplotlib

        load_matplotlib()
        from ptychopinn.report.drawing import write

        for name, figure in all_figures(look):
            for kind in drawn:
                write(figure, target / f"{name}.{kind}")
    if "tiff" in formats:
        _save_data(look.result, target)


def _save_data(result: Reconstruction, target: Path) -> None:
    """Amplitude, phase (rad) and uncertainty of the pictures as 32-bit numbers, NaN where unseen,
    with the pixel size in micrometres where it is known."""
    from ptychopinn.report.colours import phases
    from ptychopinn.report.pictures import scanned, uncertainty_view, view

    picture, extent = view(result)
    images: dict[str, NDArray[Any]] = {
        "amplitude": np.abs(picture),
        "phase": phases(picture, scanned(result, extent)).values.filled(np.nan),
    }
    if result.uncertainty is not None:
        images["uncertainty"] = uncertainty_view(result)[0].filled(np.nan)
    import tifffile

    about: dict[str, Any] = {}
    if result.pixel_size_m is not None:
        micrometres = result.pixel_size_m * 1e6
        about = {"resolution": (1 / micrometres, 1 / micrometres), "metadata": {"unit": "um"}}
    for name, image in images.items():
        with atomic_path(target / f"{name}.tiff") as temporary:
            tifffile.imwrite(
                temporary, image.astype(np.float32), imagej=True, photometric="minisblack", **about
            )
