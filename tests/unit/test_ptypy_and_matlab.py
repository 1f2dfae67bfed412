"""Files of ptypy and MATLAB that say something unusual: order, weights, structures, pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.workflows.prepare import prepare
from raw_files import Raw, wavelength

M = 40


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    return Raw(tmp_path)


def put(path: Path, name: str, values: Any) -> None:
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize("inside", [True, False])
def test_frames_are_put_in_the_order_of_their_indices(inside: bool, raw: Raw) -> None:
    path, order = raw.ptyd(), np.random.default_rng(0).permutation(M)
    for chunk, part in enumerate((order[:15], order[15:])):
        put(path, f"chunks/{chunk}/data", raw.counts[part])
        put(path, f"chunks/{chunk}/indices", part)
        places = np.stack([raw.y, raw.x], axis=1)[part]
        put(path, f"chunks/{chunk}/positions", places if inside else None)
    more = {} if inside else {"positions": str(raw.table())}
    scan = prepare(path, probe=str(raw.native), **more)
    bad = ~scan.good_pixels
    np.testing.assert_array_equal(scan.diffraction, np.where(bad, 0, raw.counts))
    place = scan.positions_px - raw.scan.positions_px
    assert np.abs(place - place[0]).max() < 1e-3


def test_indices_name_frames_that_were_left_out(raw: Raw) -> None:
    path, kept = raw.ptyd(), np.delete(np.arange(M), [5, 20])
    put(path, "chunks/1", None)
    put(path, "chunks/0/data", raw.counts[kept])
    put(path, "chunks/0/indices", kept)
    for name in ("positions", "weights"):
        put(path, f"chunks/0/{name}", None)
    how = {"positions": str(raw.table()), "probe": str(raw.native)}
    with pytest.raises(InputError, match=r"'indices' leave out those of 2 patterns \(5, 20\)"):
        prepare(path, **how)
    assert len(prepare(path, leave_out="5,20", **how).positions_px) == M - 2


def test_a_frame_without_any_weight_is_left_out(raw: Raw) -> None:
    path = raw.ptyd()
    weights = np.ones((15, 32, 32))
    weights[4] = 0
    put(path, "chunks/0/weights", weights)
    scan = prepare(path, probe=str(raw.native))
    messages = [found.message for found in recorded_findings(scan.provenance)]
    assert any("set pattern 4 of 40 to 0" in message for message in messages)
    assert not scan.diffraction[4].any() and (~scan.good_pixels).sum() == 1


def test_weights_of_another_size_are_named(raw: Raw) -> None:
    path = raw.ptyd()
    put(path, "chunks/0/weights", np.ones((15, 16, 32)))
    names = [f.name for f in recorded_findings(prepare(path, probe=str(raw.native)).provenance)]
    assert "weights-unused" in names


@pytest.mark.parametrize("more", [1, -1])
def test_positions_of_ptypy_in_another_number(more: int, raw: Raw) -> None:
    path = raw.ptyd()
    put(path, "chunks/1/positions", np.resize(np.stack([raw.y, raw.x], axis=1), (25 + more, 2)))
    with pytest.raises(InputError, match=f"received 40 patterns and {M + more} positions"):
        prepare(path, probe=str(raw.native))


def test_the_probes_of_several_scans(raw: Raw) -> None:
    path = raw.ptyr()
    put(path, "content/probe/other/data", raw.probe[:, ::-1])
    with pytest.raises(InputError, match="the probe of one scan was expected"):
        prepare(raw.ptyd(), probe=str(path))
    scan = prepare(raw.ptyd(), probe=f"{path}:content/probe/SscanMFG00/data")
    assert np.corrcoef(np.abs(scan.probe).ravel(), np.abs(raw.probe).ravel())[0, 1] > 0.999


def mat(raw: Raw, **changed: Any) -> Path:
    content = {
        "dp": raw.counts.transpose(1, 2, 0), "ppY": raw.y, "ppX": raw.x, "lambda": wavelength(),
        "dx": 1e-8, "probe": raw.probe[0],
    }  # fmt: skip
    path = raw.folder / "scan.mat"
    scipy.io.savemat(path, {k: v for k, v in {**content, **changed}.items() if v is not None})
    return path


def cell(raw: Raw) -> np.ndarray:
    found = np.empty(M, object)
    found[:] = list(raw.counts)
    return found


def test_what_matlab_keeps_to_itself_is_named(raw: Raw) -> None:
    with pytest.raises(InputError, match=r"the cell dp \(save it as one array"):
        prepare(mat(raw, dp=cell(raw)))
    path = raw.folder / "struct.mat"
    scipy.io.savemat(path, {"p": {"dp": raw.counts}})
    with pytest.raises(InputError, match=r"the struct p \(save its fields as variables"):
        prepare(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ppX": np.arange(41.0)}, "received 41 and 40 numbers"),
        ({"ppX": np.arange(41.0), "ppY": np.arange(41.0) ** 2}, "40 patterns and 41 positions"),
        (
            {"ppX": None, "ppY": None, "positions": np.ones((41, 2)) * np.arange(41)[:, None]},
            "40 patterns and 41 positions",
        ),
        ({"dx": None, "dx_spec": np.array([1e-8, 1.1e-8])}, "pixels must be square"),
    ],
)
def test_numbers_of_matlab_that_do_not_fit(changed: dict[str, Any], words: str, raw: Raw) -> None:
    with pytest.raises(InputError, match=words):
        prepare(mat(raw, **changed))


def test_a_probe_by_its_key_in_the_source(raw: Raw) -> None:
    how = {"energy_eV": 8800, "distance_m": 1, "detector_pixel_m": raw.detector_pixel}
    path = raw.keys(illumination=raw.probe)
    scan = prepare(path, probe="illumination", **how)
    assert np.corrcoef(np.abs(scan.probe).ravel(), np.abs(raw.probe).ravel())[0, 1] > 0.999
    assert scan.provenance["recipe"]["probe"] == "illumination"
    with pytest.raises(InputError, match="with 'illumination', which may be one"):
        prepare(path, **how)


def test_positions_of_zarr_are_found_by_their_names(raw: Raw) -> None:
    pytest.importorskip("zarr")
    scan = prepare(raw.zarr(3), probe=str(raw.native), pixel_size_m=1e-8)
    place = scan.positions_px - raw.scan.positions_px
    assert np.abs(place - place[0]).max() < 1e-3
