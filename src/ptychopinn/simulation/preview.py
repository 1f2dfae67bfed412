"""One picture of a simulated scan: object, probe, positions and patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io.atomic import atomic_path


def save_preview(scan: Scan, path: str | Path, *, force: bool = False) -> None:
    """Write a PNG with six panels; ``scan.object`` must be known.

    Raises
    ------
    InputError
        When the scan has no object, or the file exists and ``force`` is False.
    """
    target = check_preview(Path(path), force)
    with atomic_path(target, force) as temporary:
        draw_preview(scan, temporary)


def draw_preview(scan: Scan, path: Path) -> None:
    """Write the picture into a temporary file of :func:`ptychopinn.io.atomic.atomic_paths`."""
    from matplotlib.figure import Figure

    if scan.object is None:
        raise InputError(
            f"a preview needs the object of the scan, received '{scan.name}' without one; "
            "use a simulated scan."
        )
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    y, x = scan.positions_px.T
    first = np.asarray(scan.diffraction[0], dtype=np.float64)
    panels: list[tuple[str, Any, str, str]] = [
        ("object amplitude", np.abs(scan.object), "viridis", ""),
        ("object phase", np.angle(scan.object), "gray", "rad"),
        ("probe amplitude, all modes", _total_amplitude(scan), "inferno", "sqrt(counts)"),
        ("probe phase, first mode", np.angle(scan.probe[0]), "twilight", "rad"),
        ("pattern 0, log10(1 + counts)", np.log10(1 + first), "inferno", ""),
        ("mean pattern, log10(1 + counts)", np.log10(1 + _mean_pattern(scan)), "inferno", ""),
    ]
    for axis, (title, image, colours, unit) in zip(axes, panels, strict=True):
        drawn = axis.imshow(image, cmap=colours, interpolation="nearest")
        axis.set_title(title)
        figure.colorbar(drawn, ax=axis, label=unit, shrink=0.85)
    axes[0].plot(x, y, ".", color="tab:orange", markersize=1)
    axes[0].set_title("object amplitude and positions")
    figure.suptitle(f"{scan.name}: {scan.M} patterns of {scan.N} x {scan.N} pixels")
    figure.savefig(path, format="png", dpi=100)


def check_preview(path: Path, force: bool) -> Path:
    """``path``, if a PNG may be written there.

    Raises
    ------
    InputError
        When it has another suffix, or exists and ``force`` is False.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"the preview must be a .png file, received '{path}'; rename it.")
    if path.exists() and not force:
        raise InputError(
            f"the preview must be a new file, received '{path}' which exists; "
            "choose another name or add force=True to overwrite."
        )
    return path


def _total_amplitude(scan: Scan) -> Any:
    return np.sqrt((np.abs(scan.probe) ** 2).sum(axis=0))


def _mean_pattern(scan: Scan) -> Any:
    total = np.zeros((scan.N, scan.N))
    for start in range(0, scan.M, 64):
        total += np.asarray(scan.diffraction[start : start + 64], dtype=np.float64).sum(axis=0)
    return total / scan.M
