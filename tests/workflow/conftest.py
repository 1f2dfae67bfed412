"""Small simulated scans, made once; commands must write nothing where they are not told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptychopinn.io import save_scan
from ptychopinn.simulation import SimulationConfig, simulate


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a.h5 and b.h5: 120 patterns of 32 x 32, one probe, two objects."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate("ab", start=1):
        config = SimulationConfig(N=32, patterns=120, photons=1e6, seed=seed)
        save_scan(simulate(config), folder / f"{name}.h5")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, which must stay empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []
