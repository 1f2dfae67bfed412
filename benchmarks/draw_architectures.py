"""Makes tables and a picture of what architectures.py measured, from the files of its runs.

python benchmarks/draw_architectures.py architectures.png benchmark-results/architectures_*.json
"""

from __future__ import annotations

import json
import sys
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"pytorch": "C1", "tensorflow": "C0"}
SCORE, UNSEEN, TIME = "phase dB", "phase dB, unseen probe", "inference CPU s"
UNSEEN_ERROR = "NRMSE, unseen probe"
Rows = list[dict[str, Any]]


def median_of(rows: Rows, column: str) -> float:
    """Over the rows that have it; NaN where none does."""
    values = [row[column] for row in rows if isinstance(row[column], (int, float))]
    values = [value for value in values if not isnan(value)]
    return float(median(values)) if values else float("nan")


def score(values: list[float]) -> str:
    """Median and range."""
    if len(values) < 2:
        return "".join(f"{value:.1f}" for value in values)
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def line(name: str, rows: Rows) -> str:
    """A row of the table: medians, and in parentheses the range."""
    scores, unseen = (
        [row[column] for row in rows if isinstance(row.get(column), float)]
        for column in (SCORE, UNSEEN)
    )
    collapsed = sum(row["collapsed"] not in ("no", "-") for row in rows)
    million = median_of(rows, "parameters") / 1e6
    cells = [
        f"`{name.replace(':', ' --').replace('=', ' ')}`",
        f"{million:.2g}" if million == million else "",
        str(len(rows)),
        f"{median_of(rows, 'groups'):.0f}" if million == million else "",
        f"{median_of(rows, 'training CPU s'):.0f}" if million == million else "",
        f"{median_of(rows, 'explained'):.2f}",
        score(scores),
        score(unseen),
        f"{median_of(rows, 'NRMSE'):.3f}",
        f"{median_of(rows, UNSEEN_ERROR):.3f}",
        f"{collapsed} of {len(rows)}" if million == million else "",
        f"{median_of(rows, TIME):.2g}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    target, *files = (Path(word) for word in sys.argv[1:])
    read: Rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    # Files of iterative solvers alone have fewer columns.
    columns = {column for row in read for column in row}
    rows: Rows = [dict.fromkeys(columns, "-") | row for row in read]
    sizes = sorted({row["N"] for row in rows})
    best = max(sizes, key=lambda n: len({row["network"] for row in rows if row["N"] == n}))
    found = {row["network"] for row in rows}
    order = sorted(
        found,
        key=lambda name: median_of(
            [r for r in rows if (r["network"], r["N"]) == (name, best)], SCORE
        ),
    )
    figure = Figure(figsize=(4.2 * len(sizes), 0.34 * len(order) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    head = [
        "network", "parameters, million", "seeds", "groups", "training, CPU s", "explained",
        "phase dB", "unseen probe", "NRMSE", "unseen probe", "collapsed", "inference, CPU s",
    ]  # fmt: skip
    for part, n in zip(parts, sizes, strict=True):
        for number, backend in enumerate(COLOURS):
            own = [row for row in rows if (row["N"], row["backend"]) == (n, backend)]
            if not own:
                continue
            print(f"\nN = {n}, {backend}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
            for name in reversed(order):
                of_name = [row for row in own if row["network"] == name]
                if of_name:
                    print(line(name, of_name))
            height = 0.3 * (0.5 - number)
            for column, face, what in (
                (SCORE, COLOURS[backend], ""), (UNSEEN, "none", ", unseen probe")
            ):  # fmt: skip
                known = [row for row in own if isinstance(row.get(column), float)]
                part.plot(
                    [row[column] for row in known],
                    [order.index(row["network"]) + height for row in known],
                    "o", color=COLOURS[backend], markerfacecolor=face, markersize=5, alpha=0.7,
                    label=backend + what,
                )  # fmt: skip
        part.set_title(f"N = {n}", fontsize=9)
        part.set_xlabel("phase of an unseen object, PSNR (dB)")
        part.set_yticks(range(len(order)), [name.replace(":", "\n") for name in order], fontsize=8)
        part.grid(alpha=0.3)
    parts[0].legend(fontsize=8, loc="lower right")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
