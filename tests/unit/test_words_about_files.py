"""What is said of a scan file in Python is checked as what is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import load_scan


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"units": "count"}, "counts or amplitude, received 'count'"),
        ({"units": 1}, "counts or amplitude, received 1"),
        ({"photons": -1e5}, "photons must be the mean counts"),
        ({"photons": "many"}, "received 'many'"),
        ({"fallback_photons": 0}, "option photons must be"),
        ({"photons": float("nan")}, "received nan"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    write_npz: Callable[..., Path], said: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        load_scan(write_npz(), **said)
    assert words in str(refused.value)
