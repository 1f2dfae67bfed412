"""The model bundle ``wts.h5.zip``: everything needed to use a trained model, and nothing that runs.

A zip with exactly three members, the same for every backend (see docs/bundle.md):

- ``manifest.json``: configuration, versions, seed, statistics of the training data, metrics;
- ``weights.safetensors``: the parameters by name, float32;
- ``probe.safetensors``: the probe modes as ``probe_real`` and ``probe_imag``, float32 (P, N, N).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as safetensors_bytes

from ptychopinn.data.scan import N_MAX, N_MIN
from ptychopinn.errors import InputError, shown
from ptychopinn.io.atomic import refuse_existing
from ptychopinn.io.base import is_hdf5
from ptychopinn.io.reading import kind_of, parse_json
from ptychopinn.io.strict_zip import (
    Damaged,
    check_tensors,
    read_archive,
    read_capped,
    refuse,
    write_archive,
)

BUNDLE_NAME = "wts.h5.zip"
FORMAT: Final = "ptychopinn-bundle"
FORMAT_VERSION: Final = 1
MANIFEST, WEIGHTS, PROBE = "manifest.json", "weights.safetensors", "probe.safetensors"
#: Largest size of each member in bytes.
LIMITS: Mapping[str, int] = MappingProxyType(
    {MANIFEST: 4 << 20, WEIGHTS: 1 << 30, PROBE: 512 << 20}
)

_WHAT = "the model bundle"

Expected = Mapping[str, tuple[tuple[int, ...], DTypeLike]]


def utc_now() -> str:
    """The present time as an ISO 8601 string in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Manifest(BaseModel):
    """What a bundle says about itself. All fields are plain JSON with finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["ptychopinn-bundle"] = Field(FORMAT, description="Always the same.")
    format_version: Literal[1] = Field(FORMAT_VERSION, description="Version of this layout.")
    backend: Literal["pytorch", "tensorflow"] = Field(description="Backend that trained the model.")
    config: dict[str, JsonValue] = Field(description="The full configuration of the training.")
    versions: dict[str, str] = Field(description="Versions of the packages that were used.")
    seed: int = Field(ge=0, description="Seed of the training.")
    statistics: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="The training data: mean counts per pattern, input scale a, N, patterns, ...",
    )
    metrics: dict[str, JsonValue] = Field(
        default_factory=dict, description="What the training reached."
    )
    created: str = Field(default_factory=utc_now, description="Time of creation, ISO 8601, UTC.")

    @field_validator("config", "versions", "statistics", "metrics")
    @classmethod
    def _exchangeable(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Every reader can take it: finite numbers, and text that UTF-8 can hold."""
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
        return value

    @field_validator("created")
    @classmethod
    def _utc(cls, value: str) -> str:
        if datetime.fromisoformat(value).utcoffset() != timedelta(0):
            raise ValueError("the time of creation must be UTC")
        return value


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model, independent of the backend. Immutable: the arrays are read-only copies.

    Attributes
    ----------
    manifest : Manifest
    weights : mapping from parameter name to float32 array
    probe : (P, N, N) complex64
        Probe modes of the training in sqrt(counts), see :class:`ptychopinn.data.scan.Scan`.

    Raises
    ------
    InputError
        When the weights or the probe break this contract.
    """

    manifest: Manifest
    weights: Mapping[str, NDArray[np.float32]]
    probe: NDArray[np.complex64]

    def __post_init__(self) -> None:
        check_weights(self.weights)
        weights = {name: np.array(value, order="C") for name, value in self.weights.items()}
        probe = np.array(self.probe, order="C")
        _check_probe(probe)
        for array in (*weights.values(), probe):
            array.flags.writeable = False
        object.__setattr__(self, "weights", MappingProxyType(weights))
        object.__setattr__(self, "probe", probe)


def check_weights(weights: Mapping[str, NDArray[Any]], expected: Expected | None = None) -> None:
    """Raise InputError unless all weights are finite float32 arrays and match ``expected``.

    ``expected`` maps every parameter of the network to its shape and dtype. The message names the
    first parameter that is missing, unexpected, or of another shape or dtype.
    """
    remedy = "use a bundle trained with the same network configuration"
    for name, (shape, dtype) in ({} if expected is None else expected).items():
        wanted = f"the weights must hold '{name}' with shape {tuple(shape)} and {np.dtype(dtype)}"
        if name not in weights:
            raise InputError(f"{wanted}, received no such parameter; {remedy}.")
        value = weights[name]
        if tuple(value.shape) != tuple(shape) or value.dtype != np.dtype(dtype):
            raise InputError(
                f"{wanted}, received shape {tuple(value.shape)} and {value.dtype}; {remedy}."
            )
    for name, value in weights.items():
        if expected is not None and name not in expected:
            raise InputError(
                f"the weights must hold only the {len(expected)} parameter(s) of the network, "
                f"received the unexpected {shown(name)}; {remedy}."
            )
        # "__metadata__" is a reserved word of the safetensors format.
        if not name or not name.isprintable() or name == "__metadata__":
            raise InputError(
                f"the name of a parameter must be printable text, received {shown(name)}; "
                "rename it."
            )
        if value.dtype != np.float32:
            raise InputError(
                f"the weights must be float32, received {value.dtype} in '{name}'; "
                "convert the parameter first."
            )
        if not np.isfinite(value).all():
            raise InputError(
                f"the weights must be finite, received NaN or infinity in '{name}'; "
                "train the model again."
            )


def save_bundle(bundle: Bundle, path: str | Path, force: bool = False) -> None:
    """Write ``bundle`` to the file ``path``, atomically.

    Bundles of equal content, ``created`` included, give equal bytes.

    Raises
    ------
    InputError
        When ``path`` exists and ``force`` is False, is a folder, or cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(
            f"{_WHAT} must be written to a file, received the folder '{target}'; "
            f"name the file, for example '{target / BUNDLE_NAME}'."
        )
    refuse_existing(target.parent, [target.name], force)
    # Through JSON mode and sorted keys: the bytes depend on the content, not on how it was built.
    manifest = json.dumps(
        bundle.manifest.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False
    )
    # Contiguous copies, because a sliced or transposed part would be stored in memory order.
    probe = {
        "probe_real": np.array(bundle.probe.real, dtype=np.float32, order="C"),
        "probe_imag": np.array(bundle.probe.imag, dtype=np.float32, order="C"),
    }
    members = {
        MANIFEST: (manifest + "\n").encode(),
        WEIGHTS: safetensors_bytes(dict(bundle.weights)),
        PROBE: safetensors_bytes(probe),
    }
    write_archive(target, members, LIMITS, _WHAT, force=force)


def load_bundle(path: str | Path, expected: Expected | None = None) -> Bundle:
    """Read a bundle; nothing is extracted, executed or written.

    Parameters
    ----------
    path
        The file, a folder that holds ``wts.h5.zip`` (and anything else), or a folder that holds the
        three unpacked members and nothing else.
    expected
        The parameters of the network to be filled, see :func:`check_weights`.

    Raises
    ------
    InputError
        When the bundle is not exactly what :func:`save_bundle` writes, was written by a newer
        version, or does not hold the expected parameters.
    """
    source = Path(path)
    if kind_of(source) == "folder" and kind_of(source / BUNDLE_NAME) != "nothing":
        source = source / BUNDLE_NAME
    kind = kind_of(source)
    if kind == "folder":
        members = _read_folder(source)
    elif kind == "file":
        if source.stat().st_size and is_hdf5(source):
            raise InputError(
                f"{_WHAT} must be a file {BUNDLE_NAME} or the folder that holds it, received the "
                f"HDF5 file '{source}', as scans and results are; name the model, and the scan "
                "beside it."
            )
        members = read_archive(source, LIMITS, _WHAT)
    else:
        raise InputError(
            f"{_WHAT} must be a file {BUNDLE_NAME} or the folder that holds it, received "
            f"'{source}', which does not exist; check the path."
        )
    manifest = _parse_manifest(members[MANIFEST], source)
    weights = _parse_tensors(members[WEIGHTS], WEIGHTS, source)
    parts = _parse_tensors(members[PROBE], PROBE, source)
    if set(parts) != {"probe_real", "probe_imag"}:
        _refuse(source, f"the arrays {shown(sorted(parts))} instead of probe_real and probe_imag")
    if parts["probe_real"].shape != parts["probe_imag"].shape:
        _refuse(source, "probe_real and probe_imag of different shapes")
    probe = np.empty(parts["probe_real"].shape, dtype=np.complex64)
    probe.real, probe.imag = parts["probe_real"], parts["probe_imag"]
    if expected is not None:
        check_weights(weights, expected)
    return Bundle(manifest, weights, probe)


def _refuse(source: Path, reason: str) -> NoReturn:
    refuse(_WHAT, source, LIMITS, reason)


def _check_probe(probe: NDArray[Any]) -> None:
    shape, n = probe.shape, probe.shape[-1] if probe.ndim else 0
    if probe.ndim != 3 or shape[0] == 0 or shape[1] != n or n % 2 or not N_MIN <= n <= N_MAX:
        raise InputError(
            f"the probe of {_WHAT} must have shape (P, N, N) with N even and between {N_MIN} and "
            f"{N_MAX}, received {shape}; give all modes of a square probe."
        )
    if probe.dtype != np.complex64:
        raise InputError(
            f"the probe of {_WHAT} must be complex64, received {probe.dtype}; convert it first."
        )
    if not np.isfinite(probe).all() or not np.any(probe):
        raise InputError(
            f"the probe of {_WHAT} must be finite and not zero everywhere, received one that is "
            "not; train the model again."
        )


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The unpacked members, as strictly as the zip: plain files, no others, within their limits."""
    members = {}
    try:
        entries = {entry.name: entry for entry in folder.iterdir()}
        for name in LIMITS:
            if name not in entries:
                raise Damaged(f"no {name} and no {BUNDLE_NAME}")
        for name, entry in sorted(entries.items()):
            if name not in LIMITS:
                raise Damaged(f"the foreign entry {shown(name)}")
            if entry.is_symlink() or not entry.is_file():
                raise Damaged(f"an entry {name} that is a link or not a plain file")
            with entry.open("rb") as stream:
                members[name] = read_capped(stream, LIMITS[name], name)
    except (Damaged, OSError) as error:
        _refuse(folder, str(error))
    return members


def _parse_manifest(content: bytes, source: Path) -> Manifest:
    try:
        fields = parse_json(content)
    except ValueError as error:
        _refuse(source, f"a {MANIFEST} that is not JSON ({error})")
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        _refuse(source, f"a {MANIFEST} that does not say '{FORMAT}'")
    version = fields.get("format_version")
    if type(version) is not int:
        _refuse(source, f"a {MANIFEST} with the format version {shown(version)}")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{_WHAT} must have format version {FORMAT_VERSION}, received version "
            f"{shown(version)} in '{source}'; upgrade ptychopinn to read it."
        )
    for name in Manifest.model_fields:
        if name not in fields:
            # Defaults are for writing: a time of creation, say, must not be made up here.
            _refuse(source, f"a {MANIFEST} without '{name}'")
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        _refuse(source, f"a {MANIFEST} whose field '{field}' is wrong ({reason})")


def _parse_tensors(content: bytes, member: str, source: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of a safetensors blob, which must all be float32."""
    arrays: dict[str, NDArray[np.float32]] = {}
    try:
        check_tensors(content)
        for name, tensor in deserialize(content):
            if tensor["dtype"] != "F32":
                raise ValueError(f"{tensor['dtype']} instead of F32 in {shown(name)}")
            flat = np.frombuffer(tensor["data"], dtype="<f4").astype(np.float32, copy=False)
            arrays[name] = flat.reshape(tensor["shape"])
    except (SafetensorError, ValueError, OverflowError) as error:
        _refuse(source, f"a malformed {member} ({error})")
    return arrays
