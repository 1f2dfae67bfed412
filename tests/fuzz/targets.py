"""What is fuzzed: for every format its files in the corpus, and how they are read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from raw_targets import PREFIX, RAW_KINDS

from ptychopinn.cli.refine import scan_of
from ptychopinn.config import Config, merged, validated
from ptychopinn.io import load_scan, read_probe
from ptychopinn.io.config_file import read_config_file
from ptychopinn.io.models import load_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.io.summary import summarise
from ptychopinn.training.checkpoint import read_checkpoint


@dataclass(frozen=True)
class Target:
    """``files`` of the corpus, one of which is damaged; ``read`` gives what they hold as arrays.

    ``ours`` marks formats that this program alone writes: with checksums, damaged bytes must be
    refused or change nothing.
    """

    files: tuple[str, ...]
    read: Callable[[Path], Mapping[str, Any]]
    ours: bool = False

    def checked(self, path: Path) -> bool:
        """Whether the file carries checksums: files of earlier versions in HDF5 do not."""
        if not self.ours or path.suffix != ".h5":
            return self.ours
        with h5py.File(path) as file:
            return bool(file["probe"].fletcher32)


def _scan(path: Path) -> Mapping[str, Any]:
    scan = load_scan(path)
    json.dumps(summarise(scan), allow_nan=False)
    fields = {"counts": scan.diffraction[:64], "positions": scan.positions_px, "probe": scan.probe}
    return {**fields, "object": scan.object, "mask": scan.mask, "pixel": scan.pixel_size_m}


def _pair(path: Path) -> Mapping[str, Any]:
    return _scan_with_probe(path.with_name("pair_dp.hdf5"))


def _scan_with_probe(path: Path) -> Mapping[str, Any]:
    return {"counts": load_scan(path).diffraction[:64]}


def _folder(path: Path) -> Mapping[str, Any]:
    return _scan(path.parent)


def _result(path: Path) -> Mapping[str, Any]:
    result = load_reconstruction(path)
    json.dumps(dict(result.provenance), allow_nan=False)
    return {"object": result.object, "probe": result.probe, "positions": result.positions_px}


def _bundle(path: Path) -> Mapping[str, Any]:
    bundle = load_bundle(path)
    return {**bundle.weights, "probe": bundle.probe, "manifest": bundle.manifest.model_dump_json()}


def _checkpoint(path: Path) -> Mapping[str, Any]:
    checkpoint = read_checkpoint(path)
    told = {"backend": checkpoint.backend, "state": json.dumps(checkpoint.state)}
    return {**told, **checkpoint.arrays}


def _config(path: Path) -> Mapping[str, Any]:
    return {"config": validated(Config, merged(read_config_file(path))).model_dump_json()}


def _record(path: Path) -> Mapping[str, Any]:
    arguments: list[Any] = [path.parent]
    if len(inspect.signature(scan_of).parameters) > 1:
        arguments.append(load_reconstruction(path.with_name("reconstruction.h5")))
    return {"scan": str(scan_of(*arguments))}


def _probe(path: Path) -> Mapping[str, Any]:
    return {"probe": read_probe(str(path))}


TARGETS: Mapping[str, Target] = {
    "npz-amplitude": Target(("amplitude.npz",), _scan),
    "npz-intensity": Target(("intensity.npz",), _scan),
    "npz-export": Target(("export.npz",), _scan),
    "tike": Target(("tike.npz",), _scan),
    "tike-bz2": Target(("tike.npz.bz2",), _scan),
    "native": Target(("native.h5",), _scan, ours=True),
    "cxi": Target(("scan.cxi",), _scan),
    "fold_slice": Target(("pair_dp.hdf5", "pair_para.hdf5"), _pair),
    "ptychodus": Target(("ptychodus/diffraction.h5", "ptychodus/product.h5"), _folder),
    "ptychodus-training": Target(("training.h5",), _scan),
    "product-hdf5": Target(("product.h5",), _result),
    "product-npz": Target(("product.npz",), _result),
    "reconstruction": Target(("reconstruction.h5",), _result, ours=True),
    "bundle": Target(("wts.h5.zip",), _bundle, ours=True),
    "checkpoint": Target(("last.ckpt",), _checkpoint, ours=True),
    "config-yaml": Target(("config.yaml",), _config),
    "config-json": Target(("config.json",), _config),
    "run-json": Target(("run.json",), _record),
    "probe-npy": Target(("probe.npy",), _probe),
    "probe-matlab-5": Target(("probe5.mat",), _probe),
    "probe-matlab-7.3": Target(("probe73.mat",), _probe),
    "bitshuffle": Target(("shuffled.h5",), _probe),
    **{
        f"{PREFIX}{name}": Target(tuple(f"{PREFIX}{name}/{file}" for file in kind.files), kind.read)
        for name, kind in RAW_KINDS.items()
    },
}


def equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two readings are the same."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key])
        if isinstance(first[key], np.ndarray)
        else first[key] == second[key]
        for key in first
    )
