"""The whole files that the fuzz targets start from, made anew for every campaign."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import scipy.io
from raw_targets import PREFIX, make_raw

from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.io import save_scan
from ptychopinn.io.convert import convert
from ptychopinn.io.models import Bundle, Manifest, save_bundle
from ptychopinn.simulation import simulate
from ptychopinn.training.checkpoint import Checkpoint, write_checkpoint

CONFIG = """\
# how it is trained
model:
  architecture: unrolled
  width: 8
  momentum: 0.5
data: {n_groups: 20, validation_fraction: 0.1}
training:
  epochs: 3
  learning_rate: 2.0e-3
  scheduler: cosine
  probe_trainable: false
"""


def make(folder: Path, target: str | None = None) -> None:
    """Write one small file, or pair of files, of every format into ``folder``; only what a
    ``target`` needs, if it is given."""
    if target is None or target.startswith(PREFIX):
        make_raw(folder, target)
    if target is None or not target.startswith(PREFIX):
        _make_formats(folder)


def _make_formats(folder: Path) -> None:
    scan = simulate(
        patterns=9,
        N=32,
        step_px=4,
        photons=3000.0,
        dead_pixels=3,
        pixel_size_m=1e-8,
        energy_eV=8800.0,
        distance_m=1.5,
        seed=3,
    )
    native = save_scan(scan, folder / "native.h5")
    for name in ("scan.cxi", "product.npz", "product.h5", "export.npz"):
        convert(native, folder / name)
    convert(native, folder / "pair_dp.hdf5")
    convert(native, folder / "ptychodus")
    convert(native, folder / "training.h5", to="ptychodus-training")
    counts, y, x = scan.diffraction[:], *scan.positions_px.T
    named = {"ycoords": y, "xcoords": x, "probeGuess": scan.probe[0], "objectGuess": scan.object}
    note = np.array(json.dumps({"sample": "star", "exposure": 0.1}))
    np.savez(folder / "amplitude.npz", diff3d=np.sqrt(counts).astype("f4"), _metadata=note, **named)
    np.savez_compressed(
        folder / "intensity.npz", diffraction=np.moveaxis(counts, 0, -1), nphotons=3e3, **named
    )
    np.savez(
        folder / "tike.npz",
        data=np.fft.ifftshift(counts, axes=(1, 2))[None].astype("f4"),
        scan=(scan.positions_px - 16)[None].astype("f4"),
        probe=scan.probe[None, None, None],
    )
    (folder / "tike.npz.bz2").write_bytes(bz2.compress((folder / "tike.npz").read_bytes()))
    np.save(folder / "probe.npy", scan.probe)
    scipy.io.savemat(folder / "probe5.mat", {"probe": scan.probe}, do_compression=True)
    with h5py.File(folder / "probe73.mat", "w", userblock_size=512) as file:
        pair = np.empty(scan.probe.shape, [("real", "f8"), ("imag", "f8")])
        pair["real"], pair["imag"] = scan.probe.real, scan.probe.imag
        file["probe"] = pair
    with (folder / "probe73.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with h5py.File(folder / "shuffled.h5", "w") as file:
        file.create_dataset("probe", data=np.abs(scan.probe), **hdf5plugin.Bitshuffle())
    assert scan.object is not None
    Reconstruction(
        object=scan.object,
        origin_px=np.zeros(2),
        weight=np.ones(scan.object.shape),
        probe=scan.probe,
        positions_px=scan.positions_px,
        pixel_size_m=1e-8,
        losses=np.linspace(3, 1, 4),
        provenance={"made": "for the fuzz targets", "numbers": [1, 2.5, None]},
    ).save(folder / "reconstruction.h5")
    weights = {f"layer{k}.weight": np.full((3, 4), k, np.float32) for k in range(4)}
    manifest = Manifest(
        backend="pytorch",
        config={"model": {"width": 8}},
        versions={"numpy": "2"},
        seed=1,
        statistics={"counts": 1000.0},
        created="2026-01-01T00:00:00Z",
    )
    save_bundle(Bundle(manifest, weights, scan.probe), folder / "wts.h5.zip")
    state = {"epoch": 3, "history": [{"loss": 1.5}, {"loss": 1.25}], "generator": 2**120}
    write_checkpoint(folder / "last.ckpt", Checkpoint("pytorch", state, weights))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "config.json").write_text(json.dumps({"training": {"epochs": 3, "seed": 1}}))
    (folder / "run.json").write_text(json.dumps({"scan": str(native), "seconds": {"all": 1.5}}))
