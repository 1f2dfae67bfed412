"""A short fuzz campaign with a fixed seed; ``make fuzz`` runs a long one."""

from __future__ import annotations

from pathlib import Path

import corpus
import pytest
from campaign import faults
from targets import TARGETS

CASES = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.make(folder)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, whole: Path) -> None:
    assert not list(faults(name, 0, range(CASES), whole, seconds=600))
