"""Devices of PyTorch, as a machine without GPU answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ptychopinn.errors import InputError
from ptychopinn.ops.options import TorchExecution

torch = pytest.importorskip("torch")
from ptychopinn.ops.torch import TorchOps  # noqa: E402
from ptychopinn.ops.torch_device import taken  # noqa: E402


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_an_accelerator_that_is_not_there_is_an_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.xpu.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(InputError, match=f"accelerator '{kind}' needs .* use the accelerator cpu"):
        TorchOps(TorchExecution(accelerator=kind))


def test_a_device_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert TorchOps(TorchExecution(device="cuda:1")).device == torch.device("cuda", 1)
    with pytest.raises(InputError, match="one of the 2 that torch sees, cuda:0 to cuda:1"):
        TorchOps(TorchExecution(device="cuda:2"))
    assert TorchOps(TorchExecution(device="cpu")).device.type == "cpu"


def test_device_and_accelerator_must_not_contradict() -> None:
    with pytest.raises(InputError, match="leave one of the two out"):
        TorchOps(TorchExecution(accelerator="cpu", device="cuda:0"))


@pytest.mark.parametrize("name", ["cuda", "gpu:0", "cuda:x", "cuda:-1", ""])
def test_a_device_needs_kind_and_number(name: str) -> None:
    with pytest.raises(InputError, match="device"):
        TorchExecution(device=name)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("kind", [">u2", "uint32", "float32"])
def test_threads_copy_the_rows_that_are_chosen(count: int, kind: str) -> None:
    rng = np.random.default_rng(count)
    array = rng.integers(0, 1000, (100, 4, 4)).astype(kind)[::-1]
    chosen = rng.permutation(100)[:count]
    with ThreadPoolExecutor(3) as threads:
        found = taken(array, chosen, np.empty((count, 4, 4), kind), threads)
    np.testing.assert_array_equal(found, array[chosen])
