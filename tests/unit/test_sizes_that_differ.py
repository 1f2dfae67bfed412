"""A mask or a probe of another size than the patterns: what is said about it works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.workflows.prepare import prepare
from raw_files import Raw
from scan_files import Content, N, counts_of, probe_of, write


@pytest.mark.parametrize("edge", [N // 2, 2 * N])
def test_a_mask_of_another_size(edge: int, tmp_path: Path) -> None:
    path = write("cxi", tmp_path, Content(bad=np.zeros((edge, edge), bool)))
    with pytest.raises(InputError) as refused:
        load_scan(path)
    said = str(refused.value)
    assert "detector_1/mask'" in said and f"received {edge} x {edge}" in said
    line = re.search(r"type: (ptychopinn prepare .*)\.$", said)
    assert line is not None
    words = shlex.split(line[1])
    assert words[:4] == ["ptychopinn", "prepare", str(path), "--mask"]
    with pytest.raises(InputError, match="give it with the option mask"):
        prepare(path)
    bad = np.zeros((N, N), np.uint8)
    bad[3, 4] = 1
    np.save(tmp_path / "mask.npy", bad)
    scan = prepare(path, mask=str(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(scan.good_pixels, bad == 0)


def test_a_mask_of_a_master_file(tmp_path: Path) -> None:
    import h5py

    raw = Raw(tmp_path)
    path = raw.eiger()
    key = "entry/instrument/detector/detectorSpecific/pixel_mask"
    with h5py.File(path, "r+") as file:
        del file[key]
        file[key] = np.zeros((40, 64), np.uint32)
    more = {"positions": str(raw.table()), "probe": str(raw.native)}
    with pytest.raises(InputError, match="32 x 32 pixels, received 40 x 64"):
        prepare(path, energy_eV=8800.0, **more)
    np.save(tmp_path / "mask.npy", np.zeros((32, 32), np.uint8))
    scan = prepare(path, energy_eV=8800.0, mask=str(tmp_path / "mask.npy"), **more)
    assert (~scan.good_pixels).sum() == 1  # that of the numbers for no pixel


@pytest.mark.parametrize("kind", ["npz", "cxi"])
def test_a_probe_of_another_size(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path, Content(probe=np.pad(probe_of(), N // 2)))
    with pytest.raises(InputError, match="cut or pad it about its middle") as refused:
        load_scan(path)
    assert "probe='auto'" in str(refused.value)
    np.save(tmp_path / "probe.npy", probe_of())
    scan = load_scan(path, probe=str(tmp_path / "probe.npy"))
    np.testing.assert_array_equal(scan.diffraction[:], counts_of())


@pytest.mark.parametrize("kind", ["cxi", "npz", "prepare"])
def test_dark_frames_among_the_patterns_are_named(kind: str, tmp_path: Path) -> None:
    """To leave out the first or the last ones instead would shift all others."""
    dark = np.random.default_rng(0).poisson(0.01, (2, N, N)).astype(np.uint16)
    dark[:, 3, 4] = 65535
    counts = counts_of()
    counts[:, 3, 4] = 65535
    more = np.insert(counts, [7, 15], dark, axis=0)
    path = write("cxi" if kind == "prepare" else kind, tmp_path, Content(counts=more))
    with pytest.raises(InputError, match=r"2 patterns \(7, 16\) hold hardly any light"):
        prepare(path) if kind == "prepare" else load_scan(path)
    some = np.insert(counts, [7, 15], counts[[3, 4]], axis=0)
    path = write("cxi" if kind == "prepare" else kind, tmp_path, Content(counts=some))
    with pytest.raises(InputError, match="say which patterns to use"):
        prepare(path) if kind == "prepare" else load_scan(path)
