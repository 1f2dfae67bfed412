"""Where a training leaves its model."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = "best.ckpt"


def find_best_checkpoint(run_dir: str | Path) -> Path | None:
    """The model of the run in this folder; None when there is none."""
    path = Path(run_dir) / CHECKPOINT
    return path if path.is_file() else None
