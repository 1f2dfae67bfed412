"""Draw docs/figures/axes.svg: the axes of an object and the patch at a position.

Run ``python docs/figures/axes.py`` from anywhere.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

H, W, N = 14, 20, 8
Y, X = 8, 12  # the position r: pixel [N/2, N/2] of the patch sits on object pixel [8, 12]
BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#8a8a8a"


def grid(axes: plt.Axes, height: int, width: int, colour: str, first: tuple[int, int]) -> None:
    """Pixel borders; pixel [i, j] is centred on (y, x) = (i, j)."""
    top, left = first
    for i in range(height + 1):
        y = top + i - 0.5
        axes.plot([left - 0.5, left + width - 0.5], [y, y], color=colour, lw=0.5, zorder=0)
    for j in range(width + 1):
        x = left + j - 0.5
        axes.plot([x, x], [top - 0.5, top + height - 0.5], color=colour, lw=0.5, zorder=0)


def main() -> None:
    # Fixed ids and no date: the same drawing gives the same file.
    mpl.rcParams.update({"svg.hashsalt": "axes", "font.size": 9, "svg.fonttype": "path"})
    figure, axes = plt.subplots(figsize=(7.2, 5.0), layout="constrained")
    figure.patch.set_facecolor("white")
    axes.set(xlim=(-3.6, W + 0.6), ylim=(H + 1.6, -2.6), aspect="equal")
    axes.axis("off")
    grid(axes, H, W, "#d5d5d5", (0, 0))
    axes.add_patch(Rectangle((-0.5, -0.5), W, H, fill=False, ec="black", lw=1.2))
    axes.text(W - 0.5, H - 0.1, f"object (H, W) = ({H}, {W})", ha="right", va="top")

    top, left = Y - N // 2, X - N // 2
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), N, N, fc=BLUE, alpha=0.12, ec=BLUE, lw=0))
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), N, N, fill=False, ec=BLUE, lw=1.8))
    axes.text(
        left - 0.4,
        top + N - 0.3,
        f"patch, N = {N}: object[{top}:{top + N}, {left}:{left + N}]",
        color=BLUE,
        va="top",
    )
    axes.add_patch(Rectangle((X - 0.5, Y - 0.5), 1, 1, fc=RED, ec=RED))
    axes.annotate(
        f"position r = (y, x) = ({Y}, {X}):\npatch pixel [N/2, N/2]",
        (X, Y),
        (X + 2.2, Y - 6.4),
        color=RED,
        ha="center",
        arrowprops={"arrowstyle": "-", "color": RED, "shrinkB": 0},
    )
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), 1, 1, fc=BLUE, ec=BLUE))
    axes.annotate(
        "patch\npixel [0, 0]",
        (left, top),
        (left - 5.0, top + 5.0),
        color=BLUE,
        ha="center",
        arrowprops={"arrowstyle": "-", "color": BLUE, "shrinkB": 0},
    )

    arrow = {"arrowstyle": "-|>", "color": "black", "lw": 1.3}
    axes.annotate("", (5.5, -1.3), (-0.5, -1.3), arrowprops=arrow)
    axes.text(5.8, -1.3, "x: columns, second index", va="center")
    axes.annotate("", (-2.2, 5.5), (-2.2, -0.5), arrowprops=arrow)
    axes.text(-2.2, 5.8, "y: rows,\nfirst\nindex", ha="center", va="top")
    axes.add_patch(Rectangle((-0.5, -0.5), 1, 1, fc=GREY, ec=GREY))
    axes.text(0.8, 0.05, "object pixel [0, 0]: r = (0, 0)", va="center", color="#505050")
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
