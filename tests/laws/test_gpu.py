"""On a GPU the commands' work gives what the CPU gives, and training there can be repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adapters import has_gpu

import ptychopinn as pp
from ptychopinn.errors import InputError
from ptychopinn.ops.options import TorchExecution
from ptychopinn.solvers.configs import PhysicsConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_gpu(), reason="no CUDA device: what runs on it cannot be compared"),
]
DEVICES = [TorchExecution(accelerator=name) for name in ("cuda", "cpu")]


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="leaves", N=64, patterns=200, photons=1e5, seed=4)


def check_close(results: list[Any], rtol: float = 1e-4) -> None:
    there, here = results
    weight = np.minimum(here.weight / 0.3, 1)
    off = np.linalg.norm(weight * (there.object - here.object))
    assert off <= rtol * np.linalg.norm(weight * here.object)


def test_the_network_gives_the_same_object(scan: pp.Scan) -> None:
    check_close([pp.reconstruct(scan, refine="never", execution=device) for device in DEVICES])


@pytest.mark.parametrize("options", [{}, {"refine_probe": True}, {"refine_positions": True}])
def test_the_refinement_gives_the_same_object(scan: pp.Scan, options: Any) -> None:
    """With few passes: rounding grows from pass to pass."""
    config = PhysicsConfig(passes=10, **options)
    check_close([pp.refine(scan, None, config, execution=device) for device in DEVICES])


def test_training_there_repeats_every_bit(scan: pp.Scan) -> None:
    config = pp.Config(
        model={"iterations": 1, "width": 8, "levels": 2},
        data={"n_groups": 6, "subscan_patterns": 50},
        training={"epochs": 2},
    )
    one, other = (pp.train(scan, config, execution=DEVICES[0]).weights for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_patterns_stay_there_unless_a_limit_is_given() -> None:
    from ptychopinn.ops.torch import TorchOps

    assert TorchOps(DEVICES[0]).pattern_bytes() > TorchOps(DEVICES[1]).pattern_bytes()
    limited = TorchExecution(accelerator="cuda", inference_batch_mib=64)
    assert TorchOps(limited).pattern_bytes() == 64 << 20


def test_too_little_memory_is_one_sentence() -> None:
    from ptychopinn.ops.torch import TorchOps

    xp = TorchOps(DEVICES[0])
    with pytest.raises(InputError, match="fit into the memory of the device"), xp.running():
        xp.zeros((1 << 40,), xp.asarray(np.zeros(1, np.float32)))
