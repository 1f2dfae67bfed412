"""Checkpoints without pickle: exact round trips, refusal of anything else."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from ptychopinn.errors import InputError
from ptychopinn.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

ARRAYS = {
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "backwards": np.arange(6, dtype=np.uint16)[::-1],
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(3),
    "not finite": np.array([math.nan, math.inf, -0.0]),
    "bool": np.array([True, False]),
}


def round_trip(state: Any, arrays: Any, folder: Path) -> Checkpoint:
    path = folder / "state.ckpt"
    write_checkpoint(path, Checkpoint("pytorch", {"content": state}, arrays))
    return read_checkpoint(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    array = ARRAYS[name]
    found = round_trip({}, {name: array}, tmp_path).arrays[name]
    assert found.dtype == array.dtype and found.shape == array.shape
    assert found.tobytes() == array.tobytes()


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
LEAVES |= st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(state=TREES)
def test_any_plain_state_comes_back(state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = round_trip(state, {}, tmp_path_factory.mktemp("tree")).state["content"]
    assert json.dumps(found) == json.dumps(state)


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    round_trip(1, {}, tmp_path)
    for state in (math.nan, object(), {1, 2}, b"x"):
        with pytest.raises((TypeError, ValueError)):
            round_trip(state, {}, tmp_path)
    assert read_checkpoint(tmp_path / "state.ckpt").state == {"content": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.ckpt"]


def write_raw(path: Path, state: Any, tensors: bytes | None = None) -> Path:
    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", text)
        archive.writestr("tensors.safetensors", save({}) if tensors is None else tensors)
    return path


HEADER = {"format": "ptychopinn-checkpoint", "format_version": 2, "backend": "pytorch", "state": {}}


def test_the_layout_is_what_these_tests_take_it_for(tmp_path: Path) -> None:
    found = read_checkpoint(write_raw(tmp_path / "state.ckpt", HEADER))
    assert found.backend == "pytorch" and not found.arrays


@pytest.mark.parametrize(
    "state",
    [
        b"not json",
        b"[" * 100_000,
        [],
        {"state": {}},
        {**HEADER, "format": "ptychopinn-bundle"},
        {**HEADER, "backend": None},
        {**HEADER, "state": []},
        {**HEADER, "state": None},
        json.dumps(HEADER).replace("{}", "NaN").encode(),
    ],
)
def test_foreign_states_are_refused(state: Any, tmp_path: Path) -> None:
    path = write_raw(tmp_path / "state.ckpt", state)
    with pytest.raises(InputError, match="training checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_another_version_is_named(version: Any, tmp_path: Path) -> None:
    path = write_raw(tmp_path / "state.ckpt", {**HEADER, "format_version": version})
    with pytest.raises(InputError, match=f"version 2, received {version!r} .* start a new run"):
        read_checkpoint(path)


def test_foreign_arrays_are_refused(tmp_path: Path) -> None:
    one = save({"x": np.ones(2, np.float32)})
    for blob in (b"", b"12345678", one[:-1], one.replace(b"F32", b"Z32"), one + b"0"):
        path = write_raw(tmp_path / "broken.ckpt", HEADER, blob)
        with pytest.raises(InputError, match="training checkpoint"):
            read_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    with pytest.raises(InputError, match="which is none"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"state": 1}))
    with pytest.raises(InputError, match="not a zip"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    with pytest.raises(InputError, match="foreign"):
        read_checkpoint(path)
    round_trip(1, ARRAYS, tmp_path)
    whole = path.read_bytes()
    for size in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            read_checkpoint(path)
