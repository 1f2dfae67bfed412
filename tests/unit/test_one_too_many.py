"""A pattern or a position more than the other: which of them it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from scan_files import Content, counts_of, positions_of, write

HOW: dict[str, Any] = {"unit": "px", "order": "yx", "probe": "gaussian:fwhm=6px"}
COUNTS, PLACES = counts_of(), positions_of()
DARK = np.insert(COUNTS, 0, 0, axis=0)
TWICE = "{} 8 is the same to the last digit as the one before"


@pytest.mark.parametrize(
    ("counts", "places", "words"),
    [
        (np.insert(COUNTS, 8, COUNTS[7], axis=0), PLACES, TWICE.format("pattern")),
        (COUNTS, np.insert(PLACES, 8, PLACES[7], axis=0), TWICE.format("position")),
        (
            np.append(COUNTS, COUNTS.sum(axis=0, dtype="u2")[None], axis=0),
            PLACES,
            "pattern 24 holds far more light than the others",
        ),
        (DARK, PLACES, "pattern 0 holds hardly any light, .*frames='1:' leaves it out"),
        (np.append(COUNTS, COUNTS[:1], axis=0), PLACES, "say which patterns to use"),
    ],
)
def test_it_is_named(counts: np.ndarray, places: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", counts)
    np.save(tmp_path / "places.npy", places)
    source, how = tmp_path / "frames.npy", {"positions": str(tmp_path / "places.npy"), **HOW}
    with pytest.raises(InputError, match=words):
        prepare(source, **how)
    scan = write("npz", tmp_path, Content(counts=counts, positions=places))
    with pytest.raises(InputError, match=words):
        load_scan(scan)
