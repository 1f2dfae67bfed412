"""The metrics of every epoch, and their table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptychopinn.io.atomic import atomic_path

# Metric -> (epoch, value) pairs, epochs counted from 1.
History = dict[str, list[tuple[int, float]]]


def metrics_at_best(history: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, float]:
    """The metrics of the epoch with the lowest ``val_loss``, and its number as ``epoch``.

    Empty when no epoch was finished.
    """
    losses = history.get("val_loss")
    if not losses:
        return {}
    best = min(losses, key=lambda point: point[1])[0]
    found = {name: dict(points) for name, points in history.items()}
    return {"epoch": best, **{name: at[best] for name, at in found.items() if best in at}}


def write_table(history: History, path: Path) -> None:
    """Write the history as ``metrics.csv``, one line per epoch, those before a resumption too."""
    rows: dict[int, dict[str, float]] = {}
    for name, points in history.items():
        for epoch, value in points:
            rows.setdefault(epoch, {})[name] = value
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["epoch", *sorted(history)], lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": epoch, **row} for epoch, row in sorted(rows.items()))
