"""The model bundle: exact round trips, reproducible bytes, and refusal of everything else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from safetensors.numpy import save

from ptychopinn.errors import InputError
from ptychopinn.io import models as bundle_module
from ptychopinn.io.models import Bundle, Manifest, check_weights, load_bundle, save_bundle

NAMES = ("manifest.json", "weights.safetensors", "probe.safetensors")
EXPECTED = {"a.weight": ((2, 3), "float32"), "b.scale": ((), "float32")}


def make(**changes: Any) -> Bundle:
    fields: dict[str, Any] = {
        "backend": "pytorch",
        "config": {"N": 32, "widths": [8, 16], "name": "ä", "rate": 1e-3, "extra": None},
        "versions": {"ptychopinn": "0.1.0"},
        "seed": 5,
        "statistics": {"mean_counts": 1.0e5, "a": 0.05, "N": 32, "patterns": 9},
        "metrics": {"loss": 0.25},
        "created": "2025-01-31T12:00:00Z",
        **changes,
    }
    weights = {
        "b.scale": np.array(0.5, dtype=np.float32),
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    }
    rng = np.random.default_rng(0)
    probe = (rng.normal(size=(2, 32, 32)) + 1j * rng.normal(size=(2, 32, 32))).astype(np.complex64)
    return Bundle(Manifest(**fields), weights, probe)


def members(bundle: Bundle | None = None) -> dict[str, bytes]:
    """The three members of a good bundle, to be spoilt one at a time."""
    bundle = bundle or make()
    probe = {"probe_real": bundle.probe.real.copy(), "probe_imag": bundle.probe.imag.copy()}
    return {
        "manifest.json": bundle.manifest.model_dump_json().encode(),
        "weights.safetensors": save(dict(bundle.weights)),
        "probe.safetensors": save(probe),
    }


def write_zip(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def assert_equal(a: Bundle, b: Bundle) -> None:
    assert a.manifest == b.manifest
    assert set(a.weights) == set(b.weights)
    for name, value in a.weights.items():
        other = b.weights[name]
        assert value.dtype == other.dtype == np.float32
        assert value.shape == other.shape
        assert value.tobytes() == other.tobytes()
    assert a.probe.dtype == b.probe.dtype == np.complex64
    assert a.probe.tobytes() == b.probe.tobytes()


# ---------------------------------------------------------------- round trips


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "wts.h5.zip"
    save_bundle(make(), path)
    assert_equal(load_bundle(path, EXPECTED), make())
    assert sorted(p.name for p in path.parent.iterdir()) == ["wts.h5.zip"]
    with zipfile.ZipFile(path) as archive:
        assert tuple(archive.namelist()) == NAMES


@settings(max_examples=50, deadline=None)
@given(
    weights=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable()),
        hnp.arrays(
            np.float32,
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
            elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
        ),
        max_size=4,
    )
)
def test_any_weights_come_back(
    weights: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("weights") / "wts.h5.zip"
    bundle = replace(make(), weights=weights)
    save_bundle(bundle, path)
    expected = {name: (value.shape, value.dtype) for name, value in weights.items()}
    assert_equal(load_bundle(path, expected), bundle)


def test_memory_layout_does_not_matter(tmp_path: Path) -> None:
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    weights = {"t": grid.T, "s": grid[:, ::-1, ::2], "f": np.asfortranarray(grid)}
    bundle = replace(make(), weights=weights, probe=make().probe.transpose(0, 2, 1))
    save_bundle(bundle, tmp_path / "wts.h5.zip")
    back = load_bundle(tmp_path / "wts.h5.zip")
    assert_equal(back, bundle)
    for name, value in weights.items():
        np.testing.assert_array_equal(back.weights[name], value)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("1.zip", "2.zip", "3.zip"))
    bundle = make()
    save_bundle(bundle, first)
    backwards = bundle.manifest.model_copy(
        update={"config": dict(reversed(bundle.manifest.config.items()))}
    )
    weights = dict(reversed(bundle.weights.items()))
    save_bundle(Bundle(backwards, weights, bundle.probe), second)
    assert first.read_bytes() == second.read_bytes()
    save_bundle(make(created="2025-01-31T12:00:01Z"), third)
    assert first.read_bytes() != third.read_bytes()
    with zipfile.ZipFile(first) as a, zipfile.ZipFile(third) as b:
        assert a.read(NAMES[1]) == b.read(NAMES[1])
        assert a.read(NAMES[2]) == b.read(NAMES[2])


def test_created_is_now_in_utc_by_default() -> None:
    manifest = Manifest(backend="tensorflow", config={}, versions={}, seed=0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest.created)


def test_a_bundle_is_immutable() -> None:
    source = {"w": np.ones(3, dtype=np.float32)}
    bundle = replace(make(), weights=source)
    source["w"][:] = 7
    assert bundle.weights["w"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        bundle.weights["w"][0] = 2
    with pytest.raises(ValueError, match="read-only"):
        bundle.probe[0, 0, 0] = 2
    with pytest.raises(TypeError):
        bundle.weights["v"] = source["w"]  # type: ignore[index]
    with pytest.raises(ValidationError):
        bundle.manifest.seed = 3


# ---------------------------------------------------------------- where it may lie


def test_folders(tmp_path: Path) -> None:
    save_bundle(make(), tmp_path / "wts.h5.zip")
    (tmp_path / "notes.txt").write_text("anything")
    assert_equal(load_bundle(tmp_path, EXPECTED), make())

    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "wts.h5.zip") as archive:
        archive.extractall(unpacked)
    assert_equal(load_bundle(str(unpacked), EXPECTED), make())

    (unpacked / "notes.txt").write_text("anything")
    with pytest.raises(InputError, match=r"foreign entry 'notes\.txt'"):
        load_bundle(unpacked)
    (unpacked / "notes.txt").unlink()
    (unpacked / "probe.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no probe\.safetensors"):
        load_bundle(unpacked)
    (unpacked / "probe.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="link"):
        load_bundle(unpacked)
    (unpacked / "probe.safetensors").unlink()
    (unpacked / "probe.safetensors").mkdir()
    with pytest.raises(InputError, match="not a plain file"):
        load_bundle(unpacked)


def test_unpacked_members_have_limits(tmp_path: Path) -> None:
    for name, data in members().items():
        (tmp_path / name).write_bytes(data)
    # A sparse file: large, and nothing on the disk.
    os.truncate(tmp_path / "manifest.json", (4 << 20) + 1)
    with pytest.raises(InputError, match=r"manifest\.json larger than"):
        load_bundle(tmp_path)


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no manifest\.json and no wts\.h5\.zip"):
        load_bundle(tmp_path)


def test_saving_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "wts.h5.zip"
    save_bundle(make(seed=1), path)
    with pytest.raises(InputError, match="force=True"):
        save_bundle(make(seed=2), path)
    assert load_bundle(path).manifest.seed == 1
    save_bundle(make(seed=2), path, force=True)
    assert load_bundle(path).manifest.seed == 2
    with pytest.raises(InputError, match="name the file"):
        save_bundle(make(), tmp_path, force=True)
    with pytest.raises(InputError):
        save_bundle(make(), path / "below" / "wts.h5.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["wts.h5.zip"]


def test_loading_has_no_side_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wts.h5.zip"
    save_bundle(make(), path)
    path.chmod(0o400)
    monkeypatch.chdir(tmp_path)
    before = (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
    state, environment = np.random.get_state()[1].tolist(), dict(os.environ)  # noqa: NPY002
    load_bundle(path)
    assert before == (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
    assert [p.name for p in tmp_path.iterdir()] == ["wts.h5.zip"]
    assert state == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert environment == dict(os.environ)


# ---------------------------------------------------------------- hostile zips


def refused(path: Path, match: str) -> None:
    """One sentence, exit code 2, and the file is named."""
    with pytest.raises(InputError, match=match) as caught:
        load_bundle(path)
    assert str(caught.value).endswith(".")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deflated_is_fine(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members(), zipfile.ZIP_DEFLATED)
    assert_equal(load_bundle(path), make())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method: int, tmp_path: Path) -> None:
    refused(write_zip(tmp_path / "b.zip", members(), method), "compression method")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", pickle.dumps({"a": 1}), b"PK\x05\x06"],
)
def test_not_a_zip(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(content)
    refused(path, "not a zip")


def test_a_scan_in_place_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    refused(path, "received the HDF5 file")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members())
    whole = path.read_bytes()
    for size in (*range(0, 120), *range(0, len(whole), 997), *range(len(whole) - 300, len(whole))):
        path.write_bytes(whole[:size])
        refused(path, "the model bundle must hold exactly")


def test_every_damaged_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    """A flipped byte never gives other content: the checksum or a rule catches it."""
    path = write_zip(tmp_path / "b.zip", members())
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    for place in (*range(0, directory, 331), *range(directory, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            assert_equal(load_bundle(path), make())


@pytest.mark.parametrize("name", NAMES)
def test_missing_member(name: str, tmp_path: Path) -> None:
    content = members()
    del content[name]
    refused(write_zip(tmp_path / "b.zip", content), f"no member {name}")


def test_empty_zip(tmp_path: Path) -> None:
    refused(write_zip(tmp_path / "b.zip", {}), "no member")


@pytest.mark.parametrize(
    "name",
    [
        "dill.pkl",
        "/etc/passwd",
        "../manifest.json",
        "./manifest.json",
        "folder/",
        "folder/manifest.json",
        "Manifest.json",
        "C:\\weights.safetensors",
        "__MACOSX/manifest.json",
    ],
)
def test_foreign_member(name: str, tmp_path: Path) -> None:
    refused(write_zip(tmp_path / "b.zip", {**members(), name: b"x"}), "foreign member")
    content = members()
    path = write_zip(tmp_path / "c.zip", {name: content.pop("manifest.json"), **content})
    refused(path, "foreign member")


def test_name_cut_at_a_null_byte_does_not_pass(tmp_path: Path) -> None:
    """zipfile would read ``weights.safetensors\\0x`` as ``weights.safetensors``."""
    content = members()
    stand_in = "manifest.json#exe"
    path = write_zip(tmp_path / "b.zip", {stand_in: content.pop("manifest.json"), **content})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), b"manifest.json\x00exe"))
    refused(path, "foreign member")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("manifest.json", b"{}")
    refused(path, r"member manifest\.json twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    content = members()
    content["manifest.json"] = b"/etc/passwd"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = ((kind if name == "manifest.json" else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, data)
    refused(path, "link or not a plain file")


def patch_directory(path: Path, offset: int, layout: str, value: int) -> None:
    """Overwrite a field of the first entry of the zip's directory."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(data)


def test_encrypted(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members())
    patch_directory(path, 8, "<H", 0x1)
    refused(path, "encrypted")


def test_bytes_around_the_archive(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members())
    whole = path.read_bytes()
    path.write_bytes(b"#!/bin/sh\n" + whole)
    refused(path, "bytes before the first member")
    path.write_bytes(whole + b"more")
    refused(path, "not a zip or is cut off")
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment"
    refused(path, "not a zip or is cut off")


def test_zip64_directory(tmp_path: Path) -> None:
    """A ZIP64 record could announce a directory of any size."""
    path = write_zip(tmp_path / "b.zip", members())
    whole = path.read_bytes()
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    path.write_bytes(whole[:-22] + locator + whole[-22:])
    refused(path, "foreign zip")
    many = {**members(), **{f"{'n' * 200}{i}": b"" for i in range(400)}}
    refused(write_zip(tmp_path / "c.zip", many), "foreign zip")


def test_declared_bomb(tmp_path: Path) -> None:
    content = {**members(), "manifest.json": b" " * ((4 << 20) + 1)}
    refused(write_zip(tmp_path / "b.zip", content), r"manifest\.json of 4194305 bytes")


def test_ratio_bomb(tmp_path: Path) -> None:
    blob = b"\0" * (8 << 20)
    content = {**members(), "weights.safetensors": blob}
    path = write_zip(tmp_path / "b.zip", content, zipfile.ZIP_DEFLATED)
    refused(path, "compressed more than 1000 times")


def test_lying_bomb(tmp_path: Path) -> None:
    """A small declared size over a large stream: read up to the limit, then refused."""
    content = {**members(), "manifest.json": os.urandom(1000) * 5000}
    path = write_zip(tmp_path / "b.zip", content, zipfile.ZIP_DEFLATED)
    patch_directory(path, 24, "<I", 1000)
    refused(path, r"manifest\.json larger than 4194304 bytes")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("difference", [-10, 10])
def test_wrong_declared_size(method: int, difference: int, tmp_path: Path) -> None:
    content = members()
    path = write_zip(tmp_path / "b.zip", content, method)
    patch_directory(path, 24, "<I", len(content["manifest.json"]) + difference)
    refused(path, "are declared|damaged")


def test_oversized_file(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members())
    os.truncate(path, 2 << 30)
    refused(path, "a file of 2147483648 bytes")


def test_actual_limits_bound_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**bundle_module.LIMITS, "weights.safetensors": 64}
    path = write_zip(tmp_path / "b.zip", members())
    monkeypatch.setattr(bundle_module, "LIMITS", small)
    refused(path, r"weights\.safetensors of \d+ bytes, the limit being 64")
    with pytest.raises(InputError, match=r"within 64 bytes"):
        save_bundle(make(), tmp_path / "c.zip")


# ---------------------------------------------------------------- hostile manifests


def change(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(fields)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.pop(name)


@pytest.mark.parametrize(
    "edit, match",
    [
        (change(format="other"), "does not say 'ptychopinn-bundle'"),
        (change(format_version=0), "'format_version' is wrong"),
        (change(format_version="1"), "format version '1'"),
        (change(format_version=True), "format version True"),
        (change(format_version=1.0), r"format version 1\.0"),
        (change(format_version=None), "format version None"),
        (change(format_version=2), "version 2 .*; upgrade ptychopinn"),
        (change(surprise=1), "'surprise' is wrong"),
        (change(backend="jax"), "'backend' is wrong"),
        (change(config=[]), "'config' is wrong"),
        (change(versions={"torch": 2}), r"'versions\.torch' is wrong"),
        (change(seed=-1), "'seed' is wrong"),
        (change(seed="5"), "'seed' is wrong"),
        (change(seed=True), "'seed' is wrong"),
        (change(created="yesterday"), "'created' is wrong"),
        (change(created="2025-01-31T12:00:00"), "'created' is wrong"),
        (change(created="2025-01-31T12:00:00+02:00"), "'created' is wrong"),
        (drop("config"), "without 'config'"),
        (drop("created"), "without 'created'"),
        (drop("format"), "does not say"),
    ],
)
def test_hostile_manifest(
    edit: Callable[[dict[str, Any]], None], match: str, tmp_path: Path
) -> None:
    content = members()
    manifest = json.loads(content["manifest.json"])
    edit(manifest)
    content["manifest.json"] = json.dumps(manifest).encode()
    refused(write_zip(tmp_path / "b.zip", content), match)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": "ptychopinn-bundle", "format": "ptychopinn-bundle"}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 200_000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"seed": NaN}',
        b'{"seed": -Infinity}',
    ],
)
def test_malformed_manifest(text: bytes, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", {**members(), "manifest.json": text})
    refused(path, r"a manifest\.json that (is not JSON|does not say)")


def test_numbers_beyond_float_are_refused(tmp_path: Path) -> None:
    content = members()
    content["manifest.json"] = content["manifest.json"].replace(b"100000.0", b"1e999")
    assert b"1e999" in content["manifest.json"]
    refused(write_zip(tmp_path / "b.zip", content), "1e999 is not a finite number")
    with pytest.raises(ValidationError):
        make(metrics={"loss": float("nan")})


def test_lone_surrogates_are_refused(tmp_path: Path) -> None:
    for place in (b'"0.1.0"', b'"N"'):
        spoilt = members()
        spoilt["manifest.json"] = spoilt["manifest.json"].replace(place, b'"\\ud800"', 1)
        refused(write_zip(tmp_path / "b.zip", spoilt), r"manifest\.json")


# ---------------------------------------------------------------- hostile tensors


def tensor_blob(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
ONE_TEXT = json.dumps(ONE).encode()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 1000) + b"{}",
        tensor_blob(b"not json"),
        tensor_blob([]),
        tensor_blob({"a": 1}),
        tensor_blob({"a": ONE}, bytes(3)),
        tensor_blob({"a": ONE}, bytes(5)),
        tensor_blob({"a": ONE, "__metadata__": {"x": "y"}}, bytes(4)),
        tensor_blob({"a": {**ONE, "more": 1}}, bytes(4)),
        tensor_blob(b'{"a": ' + ONE_TEXT + b', "a": ' + ONE_TEXT + b"}", bytes(4)),
        tensor_blob({"a": {**ONE, "shape": [-1]}}, bytes(4)),
        tensor_blob({"a": {**ONE, "shape": [2**62, 2**62]}}, bytes(4)),
        tensor_blob({"a": {**ONE, "data_offsets": [4, 8]}}, bytes(8)),
        tensor_blob({"a": ONE, "b": ONE}, bytes(4)),
        tensor_blob({"a": {**ONE, "dtype": "object"}}, bytes(4)),
        tensor_blob({"a": {**ONE, "dtype": "BF16", "shape": [2]}}, bytes(4)),
        tensor_blob({"a": {**ONE, "dtype": "I32"}}, bytes(4)),
        save({"a": np.ones(2, dtype=np.float16)}),
        save({"a": np.ones(2, dtype=np.float64)}),
        save({"a": np.ones(2, dtype=np.complex64)}),
        pickle.dumps({"a": 1}),
    ],
)
def test_malformed_weights(blob: bytes, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", {**members(), "weights.safetensors": blob})
    refused(path, r"a malformed weights\.safetensors")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_weights(bad: float, tmp_path: Path) -> None:
    blob = save({"a.weight": np.array([1, bad], dtype=np.float32)})
    path = write_zip(tmp_path / "b.zip", {**members(), "weights.safetensors": blob})
    with pytest.raises(InputError, match=r"NaN or infinity in 'a\.weight'"):
        load_bundle(path)


REAL = np.ones((1, 32, 32), dtype=np.float32)


@pytest.mark.parametrize(
    "parts, match",
    [
        ({"probe_real": REAL}, "instead of probe_real and probe_imag"),
        ({"probe_real": REAL, "probe_imag": REAL, "x": REAL}, "instead of"),
        ({"probe_real": REAL, "probe_imag": REAL[:, :30]}, "different shapes"),
        ({"probe_real": REAL, "probe_imag": REAL[:, :1]}, "different shapes"),
        ({"probe_real": REAL[0], "probe_imag": REAL[0]}, r"\(P, N, N\)"),
        ({"probe_real": REAL[:0], "probe_imag": REAL[:0]}, r"\(P, N, N\)"),
        ({"probe_real": REAL[:, :30], "probe_imag": REAL[:, :30]}, r"\(P, N, N\)"),
        ({"probe_real": REAL[:, :31, :31], "probe_imag": REAL[:, :31, :31]}, "N even"),
        ({"probe_real": REAL * np.nan, "probe_imag": REAL}, "finite"),
        ({"probe_real": REAL * 0, "probe_imag": REAL * 0}, "not zero everywhere"),
        ({"probe_real": REAL.astype("f8"), "probe_imag": REAL}, r"malformed probe\.safetensors"),
    ],
)
def test_hostile_probe(parts: dict[str, Any], match: str, tmp_path: Path) -> None:
    blob = save({name: np.ascontiguousarray(part) for name, part in parts.items()})
    path = write_zip(tmp_path / "b.zip", {**members(), "probe.safetensors": blob})
    with pytest.raises(InputError, match=match):
        load_bundle(path)


# ---------------------------------------------------------------- the expected parameters


@pytest.mark.parametrize(
    "expected, match",
    [
        ({**EXPECTED, "c.bias": ((1,), "float32")}, r"hold 'c\.bias' .* no such parameter"),
        ({"a.weight": EXPECTED["a.weight"]}, r"unexpected 'b\.scale'"),
        ({}, "unexpected"),
        (
            {**EXPECTED, "a.weight": ((3, 2), "float32")},
            r"'a\.weight' with shape \(3, 2\).*\(2, 3\)",
        ),
        ({**EXPECTED, "b.scale": ((1,), "float32")}, r"'b\.scale' with shape \(1,\)"),
        ({**EXPECTED, "b.scale": ((), np.float64)}, "float64, received shape"),
    ],
)
def test_expected_parameters(expected: Any, match: str, tmp_path: Path) -> None:
    path = tmp_path / "wts.h5.zip"
    save_bundle(make(), path)
    with pytest.raises(InputError, match=match):
        load_bundle(path, expected)
    with pytest.raises(InputError, match=match):
        check_weights(make().weights, expected)


@pytest.mark.parametrize(
    "weights, match",
    [
        ({"a": np.ones(2)}, "float64 in 'a'"),
        ({"": np.ones(2, dtype=np.float32)}, "printable"),
        ({"a\n": np.ones(2, dtype=np.float32)}, "printable"),
        ({"__metadata__": np.ones(2, dtype=np.float32)}, "printable"),
        ({"a": np.array([np.nan], dtype=np.float32)}, "NaN"),
    ],
)
def test_what_cannot_be_loaded_cannot_be_made(weights: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(make(), weights=weights)
    with pytest.raises(InputError, match="complex64"):
        replace(make(), probe=np.ones((1, 32, 32)))


# ---------------------------------------------------------------- the documentation


def test_the_documented_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "bundle.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})
    assert {p.name for p in tmp_path.iterdir()} == {"wts.h5.zip", "corrector.onnx"}


def test_the_documented_keys_are_the_keys() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    table = page.split("**`manifest.json`**")[1].split("**`probe.safetensors`**")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Manifest.model_fields)


def test_the_file_like_view_is_the_same(tmp_path: Path) -> None:
    """The bundle is a plain zip for every other reader."""
    save_bundle(make(), tmp_path / "wts.h5.zip")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "wts.h5.zip").read_bytes())) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json"))["seed"] == 5
