"""Shared fixtures: example data beside the checkout, and a small scan in the amplitude dialect."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from ptychopinn.entry import MORE_OBJECTS

# Test processes run side by side; threads of each would wait for each other, actively.
for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")

# It remembers these variables.
import warm_processes  # noqa: E402

# As in the commands, more so: with both frameworks and all tests loaded there is much to look
# through.
gc.set_threshold(5 * MORE_OBJECTS)

# How long an example takes says something about the machine only.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FIXTURES = Path(__file__).parent / "fixtures"


def pytest_collection_finish() -> None:
    """What is loaded by now stays until the end, and is looked through no more."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked ``gpu`` need one."""
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device and a torch built for it, found none")


def pytest_sessionfinish() -> None:
    """Processes that wait to be forked end with the tests."""
    warm_processes.close_all()


@pytest.fixture
def shared_data() -> Path:
    """Folder with the example scans, a sibling of the repository; skips when it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"example data are not there: no folder {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def star() -> Path:
    """A measured scan of 44 patterns of 64 x 64 pixels, with an iterative reconstruction."""
    return FIXTURES / "siemens_star_64.npz"


@pytest.fixture(scope="session")
def tike_star() -> Path:
    """The same scan as tike stores it, without the reconstruction."""
    return FIXTURES / "siemens_star_64.tike.npz.bz2"


@pytest.fixture
def npz_arrays() -> dict[str, Any]:
    """A valid scan of 12 patterns with 32 x 32 pixels in the amplitude dialect."""
    rng = np.random.default_rng(7)
    n, m = 32, 12
    y, x = np.indices((n, n)) - n / 2
    probe = np.exp(-(y**2 + x**2) / 50 + 0.02j * (y**2 + x**2))
    counts = rng.poisson(30 * np.exp(-(y**2 + x**2) / 60), size=(m, n, n))
    return {
        "diff3d": np.sqrt(counts).astype(np.float32),
        "xcoords": rng.uniform(20, 60, m),
        "ycoords": rng.uniform(20, 40, m),
        "probeGuess": probe.astype(np.complex64),
    }


@pytest.fixture
def write_npz(tmp_path: Path, npz_arrays: dict[str, Any]) -> Callable[..., Path]:
    """Write the valid scan with changes; a value of None removes the key."""

    def write(**changes: Any) -> Path:
        arrays = {k: v for k, v in (npz_arrays | changes).items() if v is not None}
        path = tmp_path / "scan.npz"
        np.savez(path, **arrays)
        return path

    return write
