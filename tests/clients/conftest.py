"""The Python of an environment that holds the real ptychodus and this package.

``make clients`` makes one in ``.venv-ptychodus``; ``PTYCHODUS_PYTHON`` names another one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptychopinn.io import save_scan
from ptychopinn.io.convert import convert
from ptychopinn.simulation import SimulationConfig, simulate

ROOT = Path(__file__).resolve().parents[2]
SESSION = Path(__file__).with_name("session.py")


@pytest.fixture(scope="session")
def ptychodus_python() -> Path:
    """The interpreter of that environment; without one these tests are skipped."""
    given = os.environ.get("PTYCHODUS_PYTHON")
    python = Path(given) if given else ROOT / ".venv-ptychodus" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no environment with ptychodus in '{python}'; run: make clients")
    return python


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a user with an empty home, and threads that do not spin."""
    home = tmp_path_factory.mktemp("home")
    return {**os.environ, "HOME": str(home), "OMP_WAIT_POLICY": "PASSIVE"}


Session = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def session(ptychodus_python: Path, environment: dict[str, str]) -> Session:
    """Run one session of ptychodus in a process of its own; see session.py."""

    def run(action: str, variables: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
        done = subprocess.run(
            [ptychodus_python, SESSION, action, json.dumps(given, default=str)],
            env=environment | (variables or {}),
            capture_output=True,
            text=True,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
        assert len(lines) == 1, done.stdout + done.stderr
        seen: dict[str, Any] = json.loads(lines[0].removeprefix("SEEN "))
        return seen

    return run


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders a and b in the layout of ptychodus: 12 x 12 patterns of 64 x 64, two objects."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in ((1, "a"), (2, "b")):
        config = SimulationConfig(
            N=64,
            patterns=144,
            photons=1e6,
            seed=seed,
            pixel_size_m=1e-8,
            energy_eV=8800.0,
            distance_m=1.0,
        )
        save_scan(simulate(config), folder / f"{name}.h5")
        convert(folder / f"{name}.h5", folder / name)
    return folder
