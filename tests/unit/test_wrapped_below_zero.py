"""Counts below zero in unsigned numbers, where they are the largest ones; links to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.errors import InputError
from ptychopinn.io.signed import refuse_wrapped
from ptychopinn.workflows.prepare import prepare

GOOD = np.ones((32, 32), bool)
SAID = "they stand for -[0-9]+ to -1"


@pytest.fixture(scope="module")
def counts() -> Any:
    made = pp.simulate(object="leaves", N=32, patterns=36, photons=1e5, seed=4201)
    return np.asarray(made.diffraction[:]).astype(np.int64)


@pytest.mark.parametrize("kind", ["u2", "u4", ">u2"])
@pytest.mark.parametrize("noise", [False, True])
def test_an_offset_that_wrapped_is_named(
    counts: Any, kind: str, noise: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    less = np.rint(rng.normal(0, 1, counts.shape)).astype(int) if noise else -2
    stored = (counts + less).astype(kind)
    with pytest.raises(InputError, match=SAID):
        refuse_wrapped(stored, GOOD, "patterns")
    np.save(tmp_path / "frames.npy", stored)
    with pytest.raises(InputError, match=SAID):
        prepare(tmp_path / "frames.npy", grid="6,6", step=4, unit="px", probe="auto")
    scan = tmp_path / "scan.npz"
    np.savez(scan, diff3d=stored, xcoords=np.arange(36.0), ycoords=np.arange(36.0))
    with pytest.raises(InputError, match=SAID):
        pp.load_scan(scan)


def test_gaps_saturated_light_and_spikes_are_none(counts: Any) -> None:
    rng = np.random.default_rng(0)
    gap, bright, struck = counts.copy(), counts * 100, counts.copy()
    gap[:, :, 12:14] = 65535
    struck[:, 5, 5] = 65535 * (rng.random(36) < 0.5)
    for given in (counts, gap, np.minimum(bright, 65535), struck):
        refuse_wrapped(given.astype("u2"), GOOD, "patterns")


@pytest.mark.parametrize("link", [h5py.SoftLink("/gone/data"), h5py.ExternalLink("b.h5", "data")])
def test_a_link_to_nothing_is_named(link: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = link
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["other"] = 1
    with pytest.raises(InputError, match=r"received a link to '(/gone/data|b.h5:data)', which is"):
        prepare(path, patterns=f"{path}:frames", grid="6,6", step=4, unit="px", probe="auto")


@pytest.mark.filterwarnings("error")
def test_a_flat_field_of_zeros_is_told_without_a_warning_of_numpy(
    counts: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "frames.npy", counts.astype("u4"))
    np.save(tmp_path / "flat.npy", np.zeros((32, 32)))
    with pytest.raises(InputError):
        prepare(
            tmp_path / "frames.npy", grid="6,6", step=4, unit="px", probe="auto",
            flat=str(tmp_path / "flat.npy"),
        )  # fmt: skip
