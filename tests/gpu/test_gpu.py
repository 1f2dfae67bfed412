"""PyTorch on a CUDA device: what is equal to the CPU, what can be repeated, what happens at the
end of the memory. The laws run there too, as ``pytorch64-cuda`` and ``pytorch32-cuda``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.errors import InputError
from ptychopinn.ops.options import TorchExecution

pytestmark = pytest.mark.gpu
CPU, CUDA = TorchExecution(accelerator="cpu"), TorchExecution(accelerator="cuda")


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="lines", N=64, patterns=100, photons=1e8, step_px=6, seed=3)


def relative(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def trained(scan: pp.Scan, execution: TorchExecution) -> pp.Model:
    config = pp.Config(
        model={"architecture": "unrolled"},
        data={"n_groups": 4, "validation_fraction": 0.0},
        training={"epochs": 2},
    )
    return pp.train(scan, config, backend="pytorch", execution=execution, probe_check=False)


def test_the_pretrained_network_agrees_with_the_cpu(scan: pp.Scan) -> None:
    on_gpu, on_cpu = (pp.reconstruct(scan, refine="never", execution=e) for e in (CUDA, CPU))
    assert relative(on_gpu.object, on_cpu.object) <= 1e-4
    # Patterns are predicted on the device, and judged beside it.
    assert on_gpu.fit is not None and on_cpu.fit is not None
    assert on_gpu.fit.residual == pytest.approx(on_cpu.fit.residual, rel=1e-3)


@pytest.mark.parametrize("refined", [(), ("refine_probe",), ("refine_probe", "refine_positions")])
def test_refinement_agrees_with_the_cpu(scan: pp.Scan, refined: tuple[str, ...]) -> None:
    config = pp.RefineConfig(passes=8, stagnation=0.0, **dict.fromkeys(refined, True))
    on_gpu, on_cpu = (pp.refine(scan, config=config, execution=e) for e in (CUDA, CPU))
    assert relative(on_gpu.object, on_cpu.object) <= 1e-3
    assert relative(on_gpu.probe, on_cpu.probe) <= 1e-3


def test_a_training_can_be_repeated_to_the_last_bit(scan: pp.Scan) -> None:
    first, second = trained(scan, CUDA), trained(scan, CUDA)
    for name, value in first.weights.items():
        assert np.array_equal(value, second.weights[name]), name


def test_patterns_that_fit_stay_on_the_device_unless_a_limit_is_asked_for() -> None:
    from ptychopinn.ops.torch import TorchOps

    assert TorchOps(CUDA).held_bytes(1 << 20) > 1 << 28
    limited = TorchExecution(accelerator="cuda", inference_batch_mib=16)
    assert TorchOps(limited).held_bytes(16 << 20) == 16 << 20


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "float32"])
def test_amplitudes_are_those_of_the_cpu(kind: str) -> None:
    """Copied to pinned memory, turned round and weighted on the device."""
    from ptychopinn.ops.torch import TorchOps

    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (50, 16, 16)).astype(kind)
    weight = rng.random((16, 16)).astype(np.float32)
    chosen = np.sort(rng.permutation(50)[:30])

    def amplitudes(execution: TorchExecution, inward: Any) -> Any:
        xp = TorchOps(execution)
        counts = xp.rows(patterns, chosen)
        return xp.to_numpy(xp.amplitudes(counts, xp.asarray(weight), inward))

    for inward in (np.asarray, lambda x: np.fft.ifftshift(x, axes=(-2, -1))):
        found, expected = (amplitudes(where, inward) for where in (CUDA, CPU))
        assert relative(found, expected) <= 1e-6


def test_a_device_that_is_not_there_is_named() -> None:
    from ptychopinn.ops.torch import TorchOps

    with pytest.raises(InputError, match="must be one of the"):
        TorchOps(TorchExecution(device="cuda:99"))


def test_too_little_memory_is_one_sentence() -> None:
    import torch

    from ptychopinn.ops.torch import TorchOps

    xp = TorchOps(CUDA)
    with pytest.raises(InputError, match="torch_inference_batch_mib"), xp.running():
        torch.empty(1 << 50, dtype=torch.uint8, device=xp.device)
