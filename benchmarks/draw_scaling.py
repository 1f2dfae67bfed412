"""Draws what scaling.py measured: time and memory against patterns, N, batch and processes.

python benchmarks/draw_scaling.py benchmark-results/scaling.json docs/figures/scaling.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Axis of the rows -> its column and its name in the picture.
AXES = {
    "patterns": ("M", "patterns M"),
    "N": ("N", "pattern size N"),
    "batch": ("batch", "memory for a batch (MiB)"),
    "threads": ("threads", "threads"),
    "ranks": ("ranks", "processes that train together"),
}
VALUES = {"patterns/s": "patterns x passes per second", "peak GiB": "largest memory (GiB)"}
COLOURS = {"pytorch": "C1", "tensorflow": "C0"}
LINES = {"network": ("-", "o"), "refine": ("--", "s"), "train": (":", "^")}


def lines_of(rows: list[dict[str, Any]], axis: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["axis"] == axis:
            found.setdefault((row["backend"], row["what"]), []).append(row)
    return found


def main() -> None:
    source, target = (Path(word) for word in sys.argv[1:3])
    content = json.loads(source.read_text())
    rows = content["rows"]
    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure = Figure(figsize=(3.4 * len(axes), 6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(VALUES), len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        key, label = AXES[axis]
        for line, (value, name) in enumerate(VALUES.items()):
            part = grid[line, column]
            for (backend, what), found in lines_of(rows, axis).items():
                style, mark = LINES[what]
                part.plot(
                    [row[key] for row in found], [row[value] for row in found], style,
                    marker=mark, color=COLOURS[backend], label=f"{backend}, {what}",
                )  # fmt: skip
            if axis in ("patterns", "N", "batch"):
                part.set_xscale("log", base=2 if axis != "patterns" else 10)
            else:
                part.set_xticks(sorted({row[key] for row in rows if row["axis"] == axis}))
            part.set_ylim(bottom=0)
            part.set_xlabel(label)
            part.grid(alpha=0.3)
            if column == 0:
                part.set_ylabel(name)
    handles = {text: handle for part in grid.flat
               for handle, text in zip(*part.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=8)
    machine = content["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['cores']} cores", fontsize=9)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
