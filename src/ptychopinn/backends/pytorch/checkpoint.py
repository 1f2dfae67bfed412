"""What Lightning wants to keep, as a checkpoint without pickle (ptychopinn.training.checkpoint).

``tensors.safetensors`` holds every tensor and array; ``state.json`` holds the tree around them. In
that tree null, booleans, numbers, strings, lists and objects mean what they mean in JSON;
everything else is an object whose key begins with ``$``:

    {"$tensor": name}, {"$array": name}, {"$scalar": name}   a tensor, NumPy array or NumPy scalar
    {"$complex": true, ...} beside a name                    stored as real and imaginary part
    {"$float": "inf" | "-inf" | "nan"}                       a float that JSON cannot hold
    {"$dict": [[key, value], ...]}                           a dict with keys that JSON cannot hold
    {"$tuple": [...]}, {"$size": [...]}, {"$dtype": "float32"}, {"$device": "cpu"}
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_bytes

from ptychopinn.training.checkpoint import TENSORS, damaged, read_checkpoint, write_checkpoint

BACKEND: Final = "pytorch"
DEEPEST = 64


class SafetensorsCheckpointIO(CheckpointIO):
    """Lightning plugin: ``Trainer(plugins=[SafetensorsCheckpointIO()])``.

    Values come back with the types they had, except that an ``OrderedDict`` becomes a dict, a path
    a string, a parameter a tensor, and tensors that shared memory become independent.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write ``checkpoint``, atomically.

        Raises
        ------
        TypeError
            When the checkpoint holds an object that cannot be written; the message says where.
        InputError
            When the file cannot be written.
        """
        if storage_options is not None:
            raise TypeError("storage_options must be None: checkpoints are plain local files")
        writer = _Writer()
        state = writer.encode(checkpoint, "checkpoint")
        write_checkpoint(Path(path), BACKEND, state, tensors_bytes(writer.tensors))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: str | torch.device | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; tensors are on the CPU unless ``map_location`` names a device.

        ``weights_only`` is accepted and has no effect, since nothing else can be stored.

        Raises
        ------
        InputError
            When the file is not exactly what :meth:`save_checkpoint` writes.
        """
        source = Path(path)
        backend, state, tensors = read_checkpoint(source)
        try:
            if backend != BACKEND:
                raise ValueError(f"the state of the {backend} backend")
            reader = _Reader(_parse_tensors(tensors), map_location)
            checkpoint = reader.decode(state)
            if reader.tensors:
                raise ValueError(f"the unused tensor '{next(iter(reader.tensors))}'")
            if not isinstance(checkpoint, dict):
                raise ValueError("a state that is not a mapping")
        except ValueError as error:
            damaged(source, error)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file if it exists."""
        Path(path).unlink(missing_ok=True)


class _Writer:
    """Turns a tree into JSON data and collects its tensors."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def encode(self, value: Any, where: str, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise TypeError(
                f"{where} is nested more than {DEEPEST} levels deep, or contains itself"
            )
        # Exact types: a subclass (an enum, say) would silently come back as something else.
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is list:
            return [self.encode(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
        if kind is tuple:
            items = [self.encode(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
            return {"$tuple": items}
        if kind in (dict, OrderedDict):
            return self._encode_dict(value, where, depth)
        if isinstance(value, torch.Tensor):
            return self._store("$tensor", value, where)
        if kind is np.ndarray:
            return self._store("$array", _as_tensor(value, where), where)
        if isinstance(value, np.generic):
            return self._store("$scalar", _as_tensor(np.asarray(value), where), where)
        if kind is torch.Size:
            return {"$size": list(value)}
        if kind is torch.dtype:
            return {"$dtype": str(value).removeprefix("torch.")}
        if kind is torch.device:
            return {"$device": str(value)}
        if isinstance(value, PurePath):
            return str(value)
        raise TypeError(
            f"a checkpoint cannot hold {kind.__module__}.{kind.__qualname__} at {where}"
        )

    def _encode_dict(self, value: Mapping[Any, Any], where: str, depth: int) -> Any:
        items = []
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(
                    f"a checkpoint cannot hold the key {key!r} at {where}: keys are str or int"
                )
            items.append([key, self.encode(item, f"{where}[{key!r}]", depth + 1)])
        if all(type(key) is str and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$dict": items}

    def _store(self, tag: str, tensor: torch.Tensor, where: str) -> dict[str, Any]:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError(
                f"a checkpoint cannot hold a tensor that is not plain and dense at {where}"
            )
        # The number makes the name unique, the path makes it readable.
        name = f"{len(self.tensors)}:{where}"
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        is_complex = plain.is_complex()
        if is_complex:
            plain = torch.view_as_real(plain)
        # A clone, because the format refuses tensors that share memory or are not contiguous.
        self.tensors[name] = plain.clone(memory_format=torch.contiguous_format)
        return {tag: name, "$complex": True} if is_complex else {tag: name}


class _Reader:
    """The inverse of :class:`_Writer`; takes each tensor out of ``tensors`` when it is used."""

    def __init__(
        self, tensors: dict[str, torch.Tensor], device: str | torch.device | None = None
    ) -> None:
        self.tensors = tensors
        self.device = device

    def decode(self, value: Any, depth: int = 0) -> Any:
        if depth > 2 * DEEPEST:
            raise ValueError("a state nested too deeply")
        if isinstance(value, list):
            return [self.decode(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        tag = next((key for key in value if key.startswith("$")), None)
        if tag is None:
            return {key: self.decode(item, depth + 1) for key, item in value.items()}
        content = value[tag]
        if tag in ("$tensor", "$array", "$scalar"):
            return self._fetch(tag, value)
        if len(value) != 1:
            raise ValueError(f"an entry with more than {tag!r}")
        if tag == "$float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if tag == "$tuple" and isinstance(content, list):
            return tuple(self.decode(item, depth + 1) for item in content)
        if tag == "$dict" and isinstance(content, list):
            return self._decode_dict(content, depth)
        if tag == "$size" and isinstance(content, list) and all(type(i) is int for i in content):
            return torch.Size(content)
        if tag == "$dtype" and isinstance(content, str):
            # Not getattr, which would import whatever submodule the file names.
            dtype = vars(torch).get(content)
            if isinstance(dtype, torch.dtype):
                return dtype
        if tag == "$device" and isinstance(content, str):
            try:
                return torch.device(content)
            except RuntimeError as error:
                raise ValueError(f"the unknown device {content!r}") from error
        raise ValueError(f"an unknown entry {tag!r}")

    def _decode_dict(self, pairs: list[Any], depth: int) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int)):
                raise ValueError("a '$dict' without pairs")
            if pair[0] in result:
                raise ValueError(f"the key {pair[0]!r} twice")
            result[pair[0]] = self.decode(pair[1], depth + 1)
        return result

    def _fetch(self, tag: str, entry: dict[str, Any]) -> Any:
        name = entry[tag]
        is_complex = entry.get("$complex", False)
        if not set(entry) <= {tag, "$complex"} or type(is_complex) is not bool:
            raise ValueError(f"an entry with more than {tag!r}")
        if not isinstance(name, str) or name not in self.tensors:
            raise ValueError(f"no tensor {name!r} for its entry")
        tensor = self.tensors.pop(name)
        if is_complex:
            if tensor.dtype not in (torch.float16, torch.float32, torch.float64) or (
                tensor.ndim == 0 or tensor.shape[-1] != 2
            ):
                raise ValueError(f"a complex tensor '{name}' without two parts")
            tensor = torch.view_as_complex(tensor)
        if tag == "$tensor":
            return tensor if self.device is None else tensor.to(self.device)
        try:
            array = tensor.numpy()
        except TypeError as error:
            raise ValueError(
                f"a dtype {tensor.dtype} that is none of NumPy's in '{name}'"
            ) from error
        if tag == "$array":
            return array
        if array.ndim:
            raise ValueError(f"a scalar '{name}' of shape {array.shape}")
        return array[()]


def _parse_tensors(content: bytes) -> dict[str, torch.Tensor]:
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise ValueError(f"a malformed {TENSORS}: {error}") from error
    except KeyError as error:
        raise ValueError(f"a dtype {error} that is none of torch's in {TENSORS}") from error


def _as_tensor(array: np.ndarray[Any, Any], where: str) -> torch.Tensor:
    if not array.dtype.isnative or array.dtype.kind not in "biufc":
        raise TypeError(f"a checkpoint cannot hold an array of dtype {array.dtype} at {where}")
    try:
        # A copy: torch neither accepts negative strides nor wants to share read-only memory.
        return torch.from_numpy(np.array(array, order="C"))
    except TypeError as error:
        raise TypeError(
            f"a checkpoint cannot hold an array of dtype {array.dtype} at {where}"
        ) from error
